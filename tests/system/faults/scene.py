"""The API, the far end and the service of one row, and what happens there."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import anyio
from e2e.differ import Span
from e2e.traffic import Story
from e2e.village import Api, Life, Service, api, soon, until
from servers.http_sink import HttpSink, http_sink

from faults.ledger import Counts, Stage
from faults.proxy import Proxy, proxy
from faults.verdict import Evidence, Owed, verdict
from notifier.demo.fake_api import milestone
from notifier.domain.models import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOOK = "/hook"
OWED = (
    "SELECT event_id, state, superseded_by, reason, attempts, expires_at, settled_at "
    "FROM deliveries"
)
#: The longest that anything owed may take to come to its end.
LONGEST_S = 180.0


@dataclass(kw_only=True)
class Scene:
    """One row's world."""

    stage: Stage
    api: Api
    #: The wire between the service and the API.
    wire: Proxy
    hook: HttpSink
    service: Service
    story: Story
    random: Random
    deaths: list[int] = field(default_factory=list)
    lost_on_the_way: list[Span] = field(default_factory=list)
    #: The numbers of the requests to the far end that may rightly be repeated: the
    #: last ones of messages that were under way when a fault struck.
    in_doubt: set[int] = field(default_factory=set)
    #: How often the fault struck.
    faults: int = 0
    broken: list[str] = field(default_factory=list)
    #: Starts of milestones that the row brought itself, by milestone.
    starts: dict[str, str] = field(default_factory=dict)
    added: int = 0

    # --- what happens ---

    async def add(self, **more: Json) -> str:
        """One new milestone, which everybody is to be told of."""
        key = self.next_key
        self.added += 1
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
        doc = milestone(
            milestone_id=key,
            title=f"Added {key}",
            start=start,
            tickers=("KXNFLGAME-A",),
        )
        await self.api.tell("add", **{**doc, **more})
        return key

    @property
    def next_key(self) -> str:
        """What the next new one will be called."""
        return f"new-row-{self.added + 1:03d}"

    @property
    def keys(self) -> list[str]:
        """All that was added."""
        return [f"new-row-{n + 1:03d}" for n in range(self.added)]

    async def update(self, key: str) -> None:
        """Change it."""
        text = f"Changed {self.random.getrandbits(64):016x}"
        await self.api.tell("update", id=key, fields={"title": text})

    async def bring_near(self, key: str, *, seconds: float) -> str:
        """Move its start; it must be told then."""
        start = soon(datetime.now(UTC), seconds)
        await self.api.tell("move_start", id=key, start=start)
        self.starts[key] = start
        return start

    async def fault(self, *faults: Mapping[str, Json], times: int | None = 1) -> None:
        """What goes wrong at the API with the next so many answers of the list."""
        await self.api.tell("fault", faults=list(faults), times=times, path="/milestones")
        self.faults += 1

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Milestones come, change, move and start, as long as it lasts."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.story.go_on)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    # --- the service ---

    async def baseline(self) -> None:
        """A first life, which reads what is there and tells nobody."""
        async with self.service.life() as life:
            await until(self.service.store.is_baselined)
            await self.stopped(life)
        told = self.service.store.ask("SELECT 1 FROM events")
        self.check(not told, "the baseline was announced")

    async def killed(self, life: Life) -> None:
        """Kill it, if the fault has not, and note what it was at."""
        if life.process.returncode is None:
            await life.kill()
        self.struck(life.process.returncode)
        await self.died(life)

    def struck(self, status: int | None) -> None:
        """Count a death, if it was one."""
        is_strike = status == -signal.SIGKILL
        self.faults += is_strike
        self.check(is_strike, f"it was not killed, but ended with {status}")

    async def died(self, life: Life | None = None) -> None:
        """Note what it was at when it died."""
        self.deaths.append(await self.requests_until_now())
        self.doubt(self.leased())
        if life is not None:
            self.check("Traceback" not in life.said, "a traceback was logged")

    async def requests_until_now(self) -> int:
        """How many the API has had, the last ones of a dead process included."""
        before = (-1, -1)
        while before != (now := (await self.api.requests(), len(self.hook.requests))):
            before = now
            await anyio.sleep(0.05)
        return now[0]

    def leased(self) -> set[str]:
        """The messages that are under way now, as the store has it."""
        rows = self.service.store.ask(
            "SELECT DISTINCT message_id FROM deliveries WHERE state = 'leased'"
        )
        return {message_id for (message_id,) in rows}

    def doubt(self, message_ids: AbstractSet[str]) -> None:
        """Nobody may know whether the last requests of these were taken."""
        last = {one.headers["webhook-id"]: n for n, one in enumerate(self.hook.requests)}
        self.in_doubt |= {n for key, n in last.items() if key in message_ids}

    async def stopped(self, life: Life) -> None:
        """Stop it as one should."""
        self.check(await life.stop() == 0, "it did not end well")
        await self.died(life)

    def arrived(self, count: int) -> bool:
        """Whether so many requests have come."""
        return len(self.hook.requests) >= count

    def check(self, holds: bool, else_: str) -> None:
        """Something that must hold in this row."""
        if not holds:
            self.broken.append(else_)

    # --- the end ---

    async def settled(self, life: Life, *, patience_s: float = LONGEST_S) -> None:
        """Stop it once all was read, every start has passed, and all is told."""

        def living(is_so: Callable[[], bool]) -> bool:
            assert life.process.returncode is None, life.said[-500:]
            return is_so()

        await until(partial(living, self._starts_are_over), patience_s=patience_s)
        is_read = partial(self._have_read, self._reads())
        await until(partial(living, is_read), patience_s=patience_s)
        await until(partial(living, self._nothing_is_open), patience_s=patience_s)
        await self.stopped(life)

    async def ending(self, *, patience_s: float = LONGEST_S) -> Counts:
        """A last, calm life; then what is counted."""
        async with self.service.life() as life:
            await life.started()
            await self.settled(life, patience_s=patience_s)
        return await self.counts()

    async def counts(self) -> Counts:
        """What was counted."""
        return verdict(await self.evidence())

    async def evidence(self) -> Evidence:
        """All that is known when it is over."""
        store = self.service.store
        sound = store.ask("PRAGMA integrity_check") == [("ok",)]
        self.check(sound, "the database is not sound")
        return Evidence(
            pages=await self.api.pages(),
            deaths=self.deaths,
            lost_on_the_way=self.lost_on_the_way,
            in_doubt=frozenset(self.in_doubt),
            faults=self.faults,
            events=store.events(),
            deliveries=[Owed(*row) for row in store.ask(OWED)],
            requests=list(self.hook.requests),
            starts={**self.story.near, **self.starts},
            broken=self.broken,
        )

    def _reads(self) -> tuple[int, int]:
        """How many polls, and how many longer reads, have come to a good end."""
        rows = self.service.store.ask(
            "SELECT kind = 'poll', count(*) FROM reads WHERE error IS NULL GROUP BY 1"
        )
        found = dict(rows)
        return found.get(1, 0), found.get(0, 0)

    def _have_read(self, before: tuple[int, int]) -> bool:
        """Of two that have ended since then the second began since then, too."""
        return all(now >= then + 2 for now, then in zip(self._reads(), before, strict=True))

    def _starts_are_over(self) -> bool:
        starts = [*self.story.near.values(), *self.starts.values()]
        return all(datetime.fromisoformat(at) < datetime.now(UTC) for at in starts)

    def _nothing_is_open(self) -> bool:
        ask = self.service.store.ask
        states = self.service.store.states()
        now = (datetime.now(UTC) - _EPOCH) // timedelta(microseconds=1)
        due = ask("SELECT 1 FROM timers WHERE fire_at <= ?", now)
        return not due and not states.get("pending") and not states.get("leased")


@asynccontextmanager
async def scene(
    stage: Stage,
    *,
    source: Mapping[str, str] | None = None,
    hook_url: str | None = None,
    milestones: int = 0,
    record: bool = True,
    program: Sequence[str] = ("notifier", "run"),
) -> AsyncIterator[Scene]:
    """A world with a few milestones, before anybody has looked."""
    folder = stage.folder
    async with (
        api(folder, milestones=milestones, record=record) as kalshi,
        proxy(urlsplit(kalshi.base_url).port or 0) as wire,
    ):
        with http_sink() as hook:
            service = Service(
                folder,
                base_url=kalshi.base_url.replace(f":{wire.target}/", f":{wire.port}/"),
                hook=hook_url or f"webhook://{hook.netloc}{HOOK}",
                source=source or {},
                program=program,
            )
            random = Random(stage.seed)
            story = Story(kalshi, Random(stage.seed + 1), service.store.has)
            await story.open()
            yield Scene(
                stage=stage,
                api=kalshi,
                wire=wire,
                hook=hook,
                service=service,
                story=story,
                random=random,
            )


async def command(folder: Path, *words: str) -> tuple[int, str]:
    """A command beside the service: its status, and what it said."""
    done = await anyio.run_process(
        [sys.executable, "-m", "notifier", *words],
        cwd=folder,
        check=False,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout.decode()


def pause(life: Life) -> None:
    """Let it stand still."""
    life.process.send_signal(signal.SIGSTOP)


def go_on(life: Life) -> None:
    """Let it go on."""
    life.process.send_signal(signal.SIGCONT)
