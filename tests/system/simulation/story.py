"""One seed from the first boot to the verdict."""

import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import anyio
import structlog
import trio._core._run as trio_run
from anyio.abc import TaskGroup
from servers.faulty_api import FaultyApi
from structlog import DropEvent
from structlog.typing import EventDict
from trio.testing import MockClock

from notifier import app
from notifier.clock import Clock
from notifier.domain.models import Kind, Rendered
from notifier.domain.rules import (
    Destination,
    DigestPolicy,
    Match,
    OnAmbiguous,
    QuietPolicy,
    Rate,
    Route,
    Then,
    Window,
)
from notifier.kalshi.client import KalshiClient
from notifier.settings.models import Level, LogFormat, LogSettings, Settings, SourceSettings
from simulation import fate
from simulation.far_end import Attempt, FarEnd
from simulation.fate import Death, Life
from simulation.ledger import Ledger
from simulation.machine import BIRTH, Crash, Machine, VirtualClock
from simulation.manners import GATHERED_FOR, GATHERS, ONCE, QUIET, QUIET_ZONE, is_quiet
from simulation.reference import AGAIN_AFTER, Arrived, Reference
from simulation.rows import start
from simulation.verdict import Evidence, complaints, uncounted
from simulation.weather import Weather
from simulation.wire import Wire

LEADS = (timedelta(minutes=1), timedelta(minutes=10))
#: In memory where there is such a folder: the disk is not what is examined here.
_MEMORY = Path("/dev/shm")
_SECOND = timedelta(seconds=1)
_RATES = {
    "hook": None,
    "mail": Rate(count=10, per=timedelta(minutes=1)),
    "chat": Rate(count=1, per=_SECOND),
    ONCE: None,
}
#: Something happens to the list so often, while the process is up.
_GUST_S = 6.0
#: Lines of the log that say that something of ours broke.
_NEVER = {"read.broken", "message.unrenderable", "template.failed"}


@dataclass(kw_only=True)
class Ending:
    """What came out."""

    seed: int
    complaints: Sequence[str]
    trace: Sequence[str]
    #: How much happened, by what it was.
    counts: dict[str, int]


def tell(seed: int, *, days: float = 2.5, uptime: float = 10 * 60.0) -> Ending:
    """The whole story of a seed, in simulated time."""
    with (
        _fixed_schedule(seed),
        _own_logging(),
        TemporaryDirectory(dir=_folder()) as folder,
    ):
        story = _Story(seed, Path(folder) / "notifier.db")
        anyio.run(
            partial(story.run, days, uptime),
            backend="trio",
            backend_options={"clock": MockClock(autojump_threshold=0)},
        )
        return story.ending()


def _folder() -> Path | None:
    return _MEMORY if _MEMORY.is_dir() else None


@contextmanager
def _own_logging() -> Iterator[None]:
    before = structlog.get_config()
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _fixed_schedule(seed: int) -> Iterator[None]:
    """Which of several ready tasks runs first is decided by the seed as well."""
    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING
    state = trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # trio's own switch for this
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._r.setstate(state)
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]  # as above


@dataclass
class _Story:
    seed: int
    database: Path
    trace: list[str] = field(default_factory=list)
    ends: list[datetime] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.machine = Machine(self._chance("machine"))
        self.ledger = Ledger(self.database)
        self.tokens = iter(range(10**9))
        self.decisions = self._chance("decisions")

    def _chance(self, name: str) -> Random:
        return Random(f"{self.seed} {name}")

    # --- the run ---

    async def run(self, days: float, uptime: float) -> None:
        self._build()
        structlog.configure(processors=[self._hear])
        self.weather.populate(60)
        lives = fate.lives(self._chance("fate"), days=days, uptime=uptime)
        with self.machine.wired():
            for life in lives:
                await self._rest_until(life)
                await self._live(life)

    def _build(self) -> None:
        self.api = FaultyApi(self.clock, record=True)
        self.weather = Weather(
            self.api, clock=self.clock, chance=self._chance("world"), says=self.say
        )
        self.reference = Reference(leads=LEADS, loud=self.weather.loud)
        self.wire = Wire(
            self.api,
            clock=self.clock,
            machine=self.machine,
            chance=self._chance("wire"),
            weather=self.weather,
            arrives=self._arrives,
            asks=lambda target: self.say(f"request {target}"),
        )
        self.far_end = FarEnd(
            clock=self.clock,
            machine=self.machine,
            chance=self._chance("far end"),
            rates=dict(_RATES),
            begins=self._begins,
            says=self.say,
        )

    async def _rest_until(self, life: Life) -> None:
        """Nobody is there; the world goes on."""
        if life.calm:
            self.wire.is_calm = self.far_end.is_calm = True
            self.weather.calm_down()
        else:
            for _ in range(3):
                await self._sleep_until(
                    self.clock.monotonic() + (life.boots_at - self.clock.monotonic()) / 3
                )
                self.weather.gust()
        await self._sleep_until(life.boots_at)

    async def _sleep_until(self, moment: float) -> None:
        await anyio.sleep(max(0.0, moment - self.clock.monotonic()))

    async def _live(self, life: Life) -> None:
        self.say(f"boot, {life.death.name} at {life.ends_at:.3f}")
        is_fused = life.death is Death.AT_STATEMENT
        self.machine.boot(fuse=life.fuse if is_fused else None)
        self.reference.booted(self.clock.now())
        async with anyio.create_task_group() as tasks:
            if not life.calm:
                tasks.start_soon(partial(self.weather.blow, mean_s=_GUST_S))
            await self._serve(life, tasks)
            tasks.cancel_scope.cancel()
        self._bury()

    async def _serve(self, life: Life, tasks: TaskGroup) -> None:
        stop = anyio.Event()
        with anyio.CancelScope() as scope:
            tasks.start_soon(self._end, life, stop, scope)
            try:
                async with app.build_services(self._config(), self._parts()) as loops:
                    await app.serve(loops, stop, self.database, self._parts())
            except* Crash:
                self.say("crash")

    async def _end(self, life: Life, stop: anyio.Event, scope: anyio.CancelScope) -> None:
        """Let a life end, unless it has died by itself before."""
        if life.death is Death.IN_SEND:
            await self._sleep_until((life.boots_at + life.ends_at) / 2)
            self.far_end.kills = True
        await self._sleep_until(life.ends_at)
        self.say("end")
        if life.death is Death.STOPPED:
            self.reference.stopping(self.clock.now())
            stop.set()
        else:
            self.machine.die()
            scope.cancel()

    def _bury(self) -> None:
        """The process is gone; what it left behind is looked at."""
        died_at = self.machine.died_at or self.clock.monotonic()
        self.machine.die()
        self.far_end.kills = False
        at = BIRTH + timedelta(seconds=died_at)
        self.ends.append(at)
        self.say("down")
        self.reference.died(at, self.ledger)
        self.alarms += uncounted(self.ledger.deliveries(), self.far_end.attempts)

    # --- what is seen of it ---

    def say(self, line: str) -> None:
        self.trace.append(f"{self.clock.now():%d %H:%M:%S.%f} {line}")

    def _arrives(self, answer: Arrived) -> None:
        self.say(f"answer {answer.status} {len(answer.body)} {answer.target}")
        self.reference.arrived(answer)

    def _begins(self, attempt: Attempt, message: Rendered) -> None:
        self.reference.settle(attempt.begun_at)
        is_first = attempt.message_id not in {one.message_id for one in self.far_end.attempts[:-1]}
        for event in message.events:
            is_sure = not self.reference.is_waiting
            if is_first and is_sure and event.type == "kalshi.milestone.started":
                self._check_start(event.subject, event.time, attempt)

    def _check_start(self, key: str, at: datetime, attempt: Attempt) -> None:
        """A start is announced only if that is still when it starts."""
        known = self.reference.known[key]
        moved = start(known.doc) - at
        if known.is_gone or moved > AGAIN_AFTER:
            self.alarms.append(
                f"{key}: attempt {attempt.number} announces its start at {at}, "
                f"gone: {known.is_gone}, moved by {moved}"
            )

    def _hear(self, logger: object, method: str, line: EventDict) -> EventDict:
        """Take a line of the service's log into the trace."""
        del logger, method
        if line.get("exc_info"):
            line["exc_info"] = traceback.format_exc()
        line.pop("file", None)  # another folder each time
        self.say(f"log {dict(line)}")
        if line["event"] in _NEVER:
            self.alarms.append(f"{dict(line)}")
        raise DropEvent

    def ending(self) -> Ending:
        world = self.api
        evidence = Evidence(
            reference=self.reference,
            ledger=self.ledger,
            attempts=self.far_end.attempts,
            ends=self.ends,
            rates=_RATES,
            world={key: world.document(key) for key in world},
            alarms=[*self.reference.complaints, *self.alarms],
        )
        return Ending(
            seed=self.seed,
            complaints=list(complaints(evidence)),
            trace=self.trace,
            counts=self._counts(),
        )

    def _counts(self) -> dict[str, int]:
        """So that nobody believes in a story in which nothing happened."""
        found = Counter(event.kind for event in self.ledger.events())
        found.update(one.state for one in self.ledger.deliveries())
        found["answers"] = self.api.requests
        found["attempts"] = len(self.far_end.attempts)
        found["cut"] = sum(a.ended_at is None for a in self.far_end.attempts)
        found["lives"] = len(self.ends)
        arrived = [a for a in self.far_end.attempts if a.arrived_at is not None]
        found["net"] = sum(any(e.supersedes for e in a.told) for a in arrived)
        found["quiet"] = sum(a.destination == QUIET and is_quiet(a.begun_at) for a in arrived)
        return dict(sorted(found.items()))

    # --- the service ---

    def _parts(self) -> app.Dependencies:
        return app.Dependencies(
            clock=self.clock,
            run_in_thread=self.machine.offload,
            source=self._source,
            sender=self._sender,
            random=self.decisions.random,
            new_token=lambda: f"token-{next(self.tokens)}",
            serve_commands=False,
        )

    def _source(self, config: Settings, clock: Clock) -> KalshiClient:
        return KalshiClient(
            base_url=config.source.base_url,
            timeout=config.source.timeout,
            clock=clock,
            user_agent="simulation",
            transport=self.wire,
        )

    async def _sender(self, config: Settings) -> FarEnd:
        del config
        return self.far_end

    def _config(self) -> Settings:
        return Settings(
            source=_SOURCE,
            store=f"sqlite:///{self.database}",
            destinations=_DESTINATIONS,
            routes=_ROUTES,
            log=LogSettings(level=Level.DEBUG, format=LogFormat.JSON),
            web=None,
        )


_ZONE = ZoneInfo("UTC")
_SOURCE = SourceSettings(
    base_url="http://kalshi.invalid/trade-api/v2",
    poll_every=12 * _SECOND,
    sweep_every=90 * _SECOND,
    full_read_every=timedelta(minutes=5),
    look_back=timedelta(days=1),
    rate=Rate(count=4, per=_SECOND),
    timeout=20 * _SECOND,
)
#: `manners` says in its own words when that is.
_SLEEP = QuietPolicy(
    windows=(
        Window(days=frozenset(range(7)), start=time(22), end=time(7)),
        Window(days=frozenset(range(5)), start=time(12), end=time(14)),
    ),
    zone=QUIET_ZONE,
    then=Then.DIGEST,
    let_pass=frozenset({Kind.STARTED}),
)
_DESTINATIONS = (
    Destination(name="hook", url="json://hook", zone=_ZONE, concurrency=3),
    Destination(
        name=QUIET,
        url="json://mail",
        zone=_ZONE,
        digest=DigestPolicy(over=3),
        quiet=_SLEEP,
    ),
    Destination(name=GATHERS, url="json://chat", zone=_ZONE, digest=DigestPolicy(over=None)),
    Destination(name=ONCE, url="json://once", zone=_ZONE, on_ambiguous=OnAmbiguous.DROP),
)
#: `verdict.owes` says in its own words where these send what.
_ROUTES = (
    Route(name="news", to=("hook", "mail"), reminders=LEADS),
    Route(
        name="sports",
        to=("chat",),
        match=Match(
            events=frozenset({Kind.CREATED, Kind.UPDATED, Kind.STARTED}),
            fields=(("category", ("sports",)),),
        ),
        reminders=LEADS[1:],
        ignore_changes=(),
        digest=DigestPolicy(over=None, window=GATHERED_FOR),
    ),
    Route(
        name="no-repeats",
        to=(ONCE,),
        match=Match(events=frozenset({Kind.CREATED, Kind.UPDATED, Kind.REMOVED, Kind.STARTED})),
    ),
    Route(
        name="every-word",
        to=("mail",),
        match=Match(events=frozenset({Kind.UPDATED})),
        ignore_changes=(),
        digest=DigestPolicy(over=8),
    ),
)
