"""What the store tells the web: lists, stories, and figures kept for a while."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import anyio
from sqlalchemy import Connection

from notifier.domain.models import Limits, Rendered
from notifier.domain.pagination import (
    DeliveryFilter,
    EventFilter,
    Leaf,
    MilestoneFilter,
    RowJson,
    Slice,
)
from notifier.domain.rules import Destination, Rate, Route
from notifier.errors import StoreError
from notifier.storage import browse, queries, stats
from notifier.storage.database import Database
from notifier.storage.explain import Desk, NoSuchEvent, story

T = TypeVar("T")

#: What people look at together is read once.
_SOON = timedelta(seconds=2)
#: What takes longer to count.
_LATER = timedelta(seconds=30)
#: So often the milestones are counted, which looks at all of them.
_COUNT_EVERY_S = 30.0
#: A question that takes longer is given up: what is read for long can neither be
#: cleared away in the database's log nor put into the file.
PATIENCE_S = 2.0
#: Questions at a time: the loops ask as well.
_AT_ONCE = 2
#: An hour's events are all there so long after its end.
_SETTLED = timedelta(minutes=10)


class Books:
    """
    What people and programs read, without ever making the loops wait.

    Lists are newest first unless said otherwise. Figures may be as old as said, but
    show what somebody had done once they were told to `forget`. Milestones are
    counted by `keep` alone: nobody waits for that.

    Raises: StoreSlow for what takes too long.
    """

    def __init__(
        self,
        db: Database,
        *,
        routes: Sequence[Route],
        destinations: Sequence[Destination],
        rates: Mapping[str, Rate | None],
        now: Callable[[], datetime],
        limits: Mapping[str, Limits] | None = None,
        external_url: str | None = None,
        monotonic: Callable[[], float] | None = None,
        programs: Mapping[str, Callable[[Rendered, datetime], str]] | None = None,
    ) -> None:
        self._db = db
        self._now = now
        self._monotonic = monotonic
        self._names = [one.name for one in destinations]
        self._services = {one.name: _service(one) for one in destinations}
        self._rates = rates
        self._desk = Desk(
            routes=routes,
            limits=limits or {},
            zones={one.name: one.zone for one in destinations},
            external_url=external_url,
            programs=programs or {},
        )
        self._room = anyio.Semaphore(_AT_ONCE)
        self._status: _Kept[RowJson] = _Kept(_SOON)
        self._overview: _Kept[RowJson] = _Kept(_SOON)
        self._latency: _Kept[RowJson] = _Kept(_LATER)
        self._routes: _Kept[Sequence[RowJson]] = _Kept(_LATER)
        self._destinations: _Kept[Sequence[RowJson]] = _Kept(_SOON)
        self._hours: dict[datetime, dict[str, int]] = {}
        self._counted: browse.Kinds | None = None

    def forget(self) -> None:
        """Somebody had something done: what shows it is read anew."""
        for kept in (self._status, self._overview, self._destinations, self._routes):
            kept.forget()

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Count the milestones again and again, until cancelled."""
        while True:
            # What cannot be read is told by whoever needs it.
            with suppress(StoreError):
                await self.count()
            await sleep(_COUNT_EVERY_S)

    async def count(self) -> None:
        """Count the milestones, in pieces that are short enough for a cold disk."""
        counted: browse.Kinds = {}
        after: int | None = None
        while True:
            piece, after = await self._ask(partial(browse.kinds_after, after=after))
            for kind, number in piece.items():
                counted[kind] = counted.get(kind, 0) + number
            if after is None:
                break
        self._counted = counted

    # --- at a glance ---

    async def status(self, now: datetime) -> RowJson:
        """
        What `notifier status --json` says of the store; two seconds old at most.

        Its count of milestones is half a minute old, and null before the first.
        """

        async def made() -> RowJson:
            known = self._counted
            living = None if known is None else sum(known.values())
            found = await self._ask(partial(queries.status, now=now, living=living or 0))
            return found | {"milestones": living}

        return await self._status.get(now, made)

    async def overview(self, now: datetime) -> RowJson:
        """What the first page shows; a few seconds old at most, its latency 30 s."""

        async def made() -> RowJson:
            return {
                "status": await self.status(now),
                "starts": await self._ask(partial(stats.starts, now=now)),
                "hours": await self._by_hour(now),
                "latency": await self._latency.get(now, partial(self._took, now)),
            }

        return await self._overview.get(now, made)

    async def _by_hour(self, now: datetime) -> list[RowJson]:
        """Only what may have changed since the last time is counted again."""
        hours = stats.hours_of(now)
        settled = [hour for hour in hours if hour in self._hours and _is_settled(hour, now)]
        fresh = hours[len(settled) :] if settled == hours[: len(settled)] else hours
        counted = await self._ask(partial(stats.by_hour, hours=fresh))
        known = {hour: self._hours[hour] for hour in hours if hour not in counted}
        self._hours = {hour: (known | counted)[hour] for hour in hours}
        return stats.hour_rows(self._hours)

    async def _took(self, now: datetime) -> RowJson:
        return await self._ask(partial(stats.latency, names=self._names, now=now))

    # --- milestones ---

    async def kinds_of_milestones(self) -> Sequence[RowJson]:
        """How many of each category and type, by name; none before the first count."""
        return browse.kind_rows(self._counted or {})

    async def milestones(self, wanted: MilestoneFilter, part: Slice) -> Leaf:
        """By start, soonest first."""
        return await self._ask(partial(browse.milestones, wanted=wanted, part=part))

    async def milestone(self, milestone_id: str) -> RowJson | None:
        """One milestone and all that is known of it."""
        return await self._ask(
            partial(browse.milestone, milestone_id=milestone_id, now=self._now())
        )

    # --- events ---

    async def events(self, wanted: EventFilter, part: Slice) -> Leaf:
        """The events' rows."""
        return await self._ask(partial(browse.events, wanted=wanted, part=part))

    async def newest(self) -> int:
        """The number of the newest event; 0 without any."""
        return await self._ask(browse.newest)

    async def events_after(self, number: int, *, limit: int) -> Sequence[tuple[int, RowJson]]:
        """Events with their numbers, oldest first: those above a number."""
        return await self._ask(partial(browse.events_after, number=number, limit=limit))

    async def explain(self, beginning: str, now: datetime) -> RowJson | None:
        """One event and why it went where it went; None: no such, or several."""

        def told(conn: Connection) -> RowJson | None:
            try:
                found = story(conn, beginning, self._desk, now=now)
            except NoSuchEvent:
                return None
            return found.as_json()

        return await self._ask(told)

    # --- what is sent, and where ---

    async def deliveries(self, wanted: DeliveryFilter, part: Slice) -> Leaf:
        """The deliveries' rows, each with its milestone's title."""
        return await self._ask(
            partial(browse.deliveries, wanted=wanted, part=part, now=self._now())
        )

    async def destinations(self, now: datetime) -> Sequence[RowJson]:
        """Those of `status`, and what else there is to know; two seconds old."""
        ask = partial(
            stats.destinations,
            now=now,
            services=self._services,
            rates=self._rates,
        )
        return await self._destinations.get(now, partial(self._ask, ask))

    async def routes(self, now: datetime) -> Sequence[RowJson]:
        """The routes in their order; half a minute old at most."""
        ask = partial(stats.routes, rules=self._desk.routes, now=now)
        return await self._routes.get(now, partial(self._ask, ask))

    async def silences(self, now: datetime, *, everything: bool = False) -> Sequence[RowJson]:
        """The rows of `notifier silence list --json`."""

        def listed(conn: Connection) -> list[RowJson]:
            return list(queries.silence_rows(conn, now, everything=everything))

        return await self._ask(listed)

    async def audit(self, part: Slice) -> Leaf:
        """What people had done."""
        return await self._ask(partial(browse.audit, part=part))

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        async with self._room:
            return await self._db.read_until(self._deadline(), question)

    def _deadline(self) -> Callable[[], bool] | None:
        """Says when a question that begins now has taken too long."""
        if (monotonic := self._monotonic) is None:
            return None
        end = monotonic() + PATIENCE_S
        return lambda: monotonic() > end


@dataclass(kw_only=False)
class _Kept(Generic[T]):
    """
    A value that is good for a while.

    Whoever finds it too old makes it anew; others get the old one meanwhile. What was
    begun before it was to be forgotten is no more than what whoever began it gets.
    """

    good_for: timedelta
    value: T | None = None
    at: datetime | None = None
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    #: How often it was to be forgotten.
    life: int = 0

    def forget(self) -> None:
        """Something else is true by now."""
        self.at = None
        self.life += 1

    async def get(self, now: datetime, make: Callable[[], Awaitable[T]]) -> T:
        if self._is_good(now):
            return self._known()
        if self.at is not None and self.lock.statistics().locked:
            return self._known()
        async with self.lock:
            if self._is_good(now):
                return self._known()
            life = self.life
            value = await make()
            if life == self.life:
                self.value, self.at = value, now
            return value

    def _is_good(self, now: datetime) -> bool:
        return self.at is not None and abs(now - self.at) <= self.good_for

    def _known(self) -> T:
        return self.value  # type: ignore[return-value]  # there is one since `at` is


def _is_settled(hour: datetime, now: datetime) -> bool:
    return hour + timedelta(hours=1) + _SETTLED < now


def _service(destination: Destination) -> str:
    """The kind of service, which is no secret: what its URL begins with."""
    return urlsplit(destination.url).scheme or destination.url.partition(":")[0]
