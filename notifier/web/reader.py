"""Reads of the store for pages and API, which never make the workers wait."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

import anyio

from notifier.domain.rules import Destination, Rate
from notifier.errors import StoreError
from notifier.storage import stats
from notifier.storage.database import Connection, Database
from notifier.storage.explain import NoSuchEvent, RenderContext, explain
from notifier.storage.rows import (
    DestinationRow,
    Explanation,
    MilestoneCount,
    Overview,
    RouteRow,
    StatusRow,
)

T = TypeVar("T")
P = ParamSpec("P")

#: How long results are cached: cheap ones, and those that take longer to count.
SHORT, LONG = timedelta(seconds=2), timedelta(seconds=30)
#: Seconds between two counts of the milestones, each of which reads all of them.
COUNT_EVERY_S = 30.0
#: A read that takes longer is given up: while it lasts, SQLite cannot shorten its log.
TIMEOUT_S = 2.0
#: Reads at a time: the workers read as well.
CONCURRENCY = 2


class TtlCache:
    """Results by key, each loaded by one caller and kept for a while."""

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[datetime, Any]] = {}
        self._locks: dict[Hashable, anyio.Lock] = {}

    def clear(self) -> None:
        """Forget everything; what is being loaded now is not kept."""
        self._entries, self._locks = {}, {}

    async def get(
        self, key: Hashable, ttl: timedelta, now: datetime, load: Callable[[], Awaitable[T]]
    ) -> T:
        """Return the cached result, or load it."""
        entries, lock = self._entries, self._locks.setdefault(key, anyio.Lock())
        async with lock:
            if key not in entries or abs(now - entries[key][0]) > ttl:
                entries[key] = (now, await load())
            found: T = entries[key][1]
            return found


@dataclass(slots=True, kw_only=True)
class StoreReader:
    """
    Runs queries, two at a time and two seconds long, and caches figures.

    Actions of people call `invalidate`. Milestones are counted by `keep_counting` alone, so
    no request waits for that.

    Raises: StoreSlow for a read that takes too long; StoreError.
    """

    db: Database
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    context: RenderContext
    destinations: Sequence[Destination] = ()
    rates: Mapping[str, Rate | None] = field(default_factory=dict)
    _capacity: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(CONCURRENCY))
    _cache: TtlCache = field(default_factory=TtlCache)
    _counts: Sequence[MilestoneCount] | None = None

    async def read(
        self,
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query of `storage.queries` or `storage.stats`."""
        async with self._capacity:
            end = self.monotonic() + TIMEOUT_S
            return await self.db.read_until(lambda: self.monotonic() > end, query, *args, **kwargs)

    async def cached(
        self,
        ttl: timedelta,
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a query, or return its latest result if that is not older than `ttl`."""
        load = partial(self.read, query, *args, **kwargs)
        return await self._cache.get(query, ttl, self.now(), load)

    def invalidate(self) -> None:
        """Read figures anew."""
        self._cache.clear()

    async def keep_counting(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Count the milestones every half a minute, until cancelled."""
        while True:
            # The requests that need the store report what is wrong with it.
            with suppress(StoreError):
                await self.count_milestones()
            await sleep(COUNT_EVERY_S)

    async def count_milestones(self) -> None:
        """Count the milestones by category and type."""
        self._counts = await self.db.read(stats.count_by_type)

    @property
    def milestone_counts(self) -> Sequence[MilestoneCount]:
        """The milestones by category and type; none before the first count."""
        return self._counts or ()

    async def status(self) -> StatusRow:
        """The row of `notifier status --json`, but for the process; 2 s old at most."""
        counts = self._counts
        total = None if counts is None else sum(one.milestones for one in counts)
        return await self.cached(SHORT, stats.status, self.now(), milestones=total)

    async def overview(self) -> Overview:
        """The first page; 2 s old at most, its hours and latency 30 s."""
        now = self.now()
        names = [one.name for one in self.destinations]
        return Overview(
            status=await self.status(),
            starts=await self.cached(SHORT, stats.starts, now, now + timedelta(days=1)),
            hours=await self.cached(LONG, stats.hours, now),
            latency=await self.cached(LONG, stats.latency, names, now),
        )

    async def destination_rows(self) -> Sequence[DestinationRow]:
        """The destinations with their latest attempts; 2 s old at most."""
        services = {one.name: _service(one) for one in self.destinations}
        return await self.cached(SHORT, stats.destinations, self.now(), services, self.rates)

    async def route_rows(self) -> Sequence[RouteRow]:
        """The routes with their latest events; 30 s old at most."""
        return await self.cached(LONG, stats.routes, self.context.routes, self.now())

    async def explain(self, prefix: str) -> Explanation | None:
        """The explanation of the event whose id begins so; None: none, or several."""
        try:
            return await self.read(explain, prefix, self.context, self.now())
        except NoSuchEvent:
            return None


def _service(destination: Destination) -> str:
    """The scheme of the URL, which is no secret."""
    return urlsplit(destination.url).scheme or destination.url.partition(":")[0]
