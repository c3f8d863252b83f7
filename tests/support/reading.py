"""The reading loop over a stand-in in memory: one process after another."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import anyio
import pytest
from servers.api_faults import Stale
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response
from servers.memory_transport import MemoryTransport
from simulated import MachineClock, SimulatedClock
from storing import DAY, HOOK, MINUTE, SECOND, TO_HOOK, ask, doc, inline

from notifier import app
from notifier.clock import Clock
from notifier.domain.models import Format, Json, Limits, Outcome, Rendered, Sent
from notifier.domain.poll_schedule import Plan, ReadKind
from notifier.domain.rules import Destination, Rate, Watch
from notifier.errors import SourceError
from notifier.kalshi.client import KalshiClient
from notifier.settings.models import Level, LogFormat, LogSettings, Settings, SourceSettings
from notifier.storage import milestones

OVERLAP = 120 * SECOND
LOOK_BACK = 7 * DAY
EVERYTHING = Watch()
SPORTS = Watch(category="Sports")
POLITICS = Watch(category="Politics")

_SOURCE: dict[str, Any] = {
    "base_url": "http://kalshi.invalid/trade-api/v2",
    "poll_every": MINUTE,
    "sweep_every": 15 * MINUTE,
    "look_back": LOOK_BACK,
    "rate": Rate(count=10, per=SECOND),
    "timeout": 20 * SECOND,
}


class StubSender:
    """Far ends that take everything; nobody sends here."""

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del destination, message, delivered_to
        return Sent(status=204)

    def limits(self, destination: str) -> Limits:
        del destination
        return Limits(format=Format.TEXT, title=250, body=30_000)

    def default_rate(self, destination: str) -> Rate | None:
        del destination
        return None

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as Kalshi saw it."""

    at: datetime
    path: str
    query: Mapping[str, str]

    @property
    def is_poll(self) -> bool:
        return "min_updated_ts" in self.query

    @property
    def updated_since(self) -> datetime:
        return datetime.fromtimestamp(int(self.query["min_updated_ts"]), UTC)

    @property
    def starts_since(self) -> datetime:
        return datetime.fromisoformat(self.query["minimum_start_date"])


class Kalshi:
    """The fake API, its clock, and how long its answers take."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.api = FaultyApi(self.clock, record=True)
        self.seconds = 0.0

    async def answer(self, request: Request) -> Response:
        await anyio.sleep(self.seconds)
        return await self.api.answer(request)

    def lists(self, *ids: str, **fields: Json) -> None:
        """Let these appear, updated now."""
        for milestone_id in ids:
            one = doc(milestone_id, **fields)
            del one["last_updated_ts"]
            self.api.add(one)

    def withdraw(self, *ids: str) -> None:
        for milestone_id in ids:
            self.api.remove(milestone_id)

    def hide(self, milestone_id: str, *, reads: int) -> None:
        """Leave one out of the list so often, though it is there by its id."""
        kept = self.api.document(milestone_id)
        self.api.remove(milestone_id)
        self.api.take_snapshot("without")
        self.api.add(kept)
        self.late(reads, "without")

    def late(self, reads: int, snapshot: str) -> None:
        self.api.plan(Stale(snapshot=snapshot), times=reads)

    @property
    def asked(self) -> list[Asked]:
        return [_asked(one.at, one.target) for one in self.api.served]

    @property
    def polls(self) -> list[Asked]:
        return [one for one in self.asked if one.is_poll]

    @property
    def sweeps(self) -> list[Asked]:
        return [one for one in self.asked if "minimum_start_date" in one.query]

    @property
    def singles(self) -> list[str]:
        """The ids that were asked for one by one."""
        paths = [one.path for one in self.asked]
        return [p.rpartition("/")[2] for p in paths if not p.endswith("/milestones")]


def _asked(at: datetime, target: str) -> Asked:
    parts = urlsplit(target)
    return Asked(at=at, path=parts.path, query=dict(parse_qsl(parts.query)))


class Scene:
    """One process."""

    def __init__(
        self,
        loops: app.Services,
        kalshi: Kalshi,
        clock: SimulatedClock | MachineClock,
        database: Path,
    ) -> None:
        self.loops = loops
        self.kalshi = kalshi
        self.clock = clock
        self.database = database

    async def read(self, *kinds: ReadKind, watch: Watch = EVERYTHING) -> None:
        """Make these reads, one second apart."""
        for kind in kinds:
            await anyio.sleep(1)
            await self.loops.poller.ingest.read(await self._plan(kind, watch))

    async def fails_to_read(self, kind: ReadKind) -> None:
        with pytest.raises(SourceError):
            await self.read(kind)

    async def _plan(self, kind: ReadKind, watch: Watch) -> Plan:
        found = await self.loops.poller.db.read(milestones.watches)
        [one] = [row for row in found if row.name == watch.name]
        return Plan(at=self.clock.now(), watch=one, kind=kind)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let both lanes read."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.loops.poller.polls)
            tasks.start_soon(self.loops.poller.sweeps)
            yield
            tasks.cancel_scope.cancel()

    def ask(self, text: str, *values: object) -> list[Any]:
        return ask(self.database, text, *values)

    @property
    def events(self) -> list[tuple[str, str]]:
        """Kind and milestone, in the order of their birth."""
        return self.ask("SELECT kind, milestone_id FROM events ORDER BY seq")

    @property
    def timers(self) -> list[str]:
        """Whose start is awaited."""
        found = self.ask("SELECT milestone_id FROM timers WHERE kind='start' ORDER BY 1")
        return [one for (one,) in found]

    @property
    def absences(self) -> dict[str, int]:
        """Of those that are counted as absent."""
        return dict(self.ask("SELECT id, absences FROM milestones WHERE absences > 0"))

    @property
    def watermark(self) -> datetime | None:
        [[ticks]] = self.ask("SELECT watermark FROM watches")
        return None if ticks is None else instant(ticks)


def instant(ticks: int) -> datetime:
    """What the store's number stands for."""
    return datetime.fromtimestamp(ticks // 10**6, UTC) + ticks % 10**6 * SECOND / 10**6


@asynccontextmanager
async def process(
    database: Path,
    kalshi: Kalshi,
    *,
    clock: SimulatedClock | MachineClock | None = None,
    is_known: bool = True,
    **source: Any,
) -> AsyncIterator[Scene]:
    """A process from its start to its end; `source` as in the configuration."""
    clock = clock or SimulatedClock()
    if is_known:
        clock.correct(kalshi.clock.now() - clock.now())
    async with app.build_services(_config(database, source), _parts(clock, kalshi)) as loops:
        yield Scene(loops, kalshi, clock, database)


def _parts(clock: Clock, kalshi: Kalshi) -> app.Dependencies:
    async def sender(config: Settings) -> StubSender:
        del config
        return StubSender()

    def source(config: Settings, clock: Clock) -> KalshiClient:
        return KalshiClient(
            base_url=config.source.base_url,
            timeout=config.source.timeout,
            clock=clock,
            user_agent="test",
            transport=MemoryTransport(kalshi.answer),
        )

    return app.Dependencies(
        clock=clock,
        run_in_thread=inline,
        source=source,
        sender=sender,
        random=lambda: 0.0,
        serve_commands=False,
    )


def _config(database: Path, source: Mapping[str, Any]) -> Settings:
    zone = ZoneInfo("UTC")
    return Settings(
        source=SourceSettings(**{**_SOURCE, **source}),
        store=f"sqlite:///{database}",
        destinations=(Destination(name=HOOK, url="json://hook", zone=zone),),
        routes=TO_HOOK,
        log=LogSettings(level=Level.DEBUG, format=LogFormat.JSON),
        web=None,
    )


def named(count: int) -> Sequence[str]:
    """So many ids."""
    return [f"m{number:04}" for number in range(count)]
