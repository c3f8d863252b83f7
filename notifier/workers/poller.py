"""
The poller: which read comes next, and how long to wait after a failed one.

Two loops share the API's rate: polls, which are short and must be on time, and sweeps,
which are long and may wait.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain import poll_schedule
from notifier.domain.poll_schedule import Plan, ReadKind, ReadPolicy
from notifier.domain.rules import Watch
from notifier.errors import NotifierError, SourceError, SourceRefused
from notifier.storage import milestones, timers
from notifier.storage.database import Database, Priority
from notifier.workers.ingest import Ingest

log = structlog.get_logger()

#: A plan is renewed after so many seconds, because another start may have come closer.
_REPLAN_S = 4.0
_UNAUTHORISED = (401, 403)
_BAD_REQUEST = 400
_EVERYTHING = Watch().name


@dataclass(slots=True)
class ReadLoop:
    """The state of one of the two loops that read."""

    #: Set when a read of the other loop has ended.
    wakeup: WakeupEvent = field(default_factory=WakeupEvent)
    #: Failed reads in a row.
    failures: int = 0
    #: No read begins before; monotonic.
    quiet_until: float = 0.0


@dataclass(slots=True, kw_only=True)
class Poller:
    """Makes the reads that are planned next, and backs off when they fail."""

    ingest: Ingest
    db: Database
    clock: Clock
    policy: ReadPolicy
    #: Uniform in [0, 1).
    random: Callable[[], float]
    heartbeat: Callable[[str], None]
    #: By watch: when its last read failed.
    _failed_at: dict[str, datetime] = field(default_factory=dict)
    #: The watches that this process has polled, or tried to, and has swept.
    _polled: set[str] = field(default_factory=set)
    _swept: set[str] = field(default_factory=set)
    #: The last jump of the machine's clock after which the API was asked.
    _asked: int = 0
    _polls: ReadLoop = field(default_factory=ReadLoop)
    _sweeps: ReadLoop = field(default_factory=ReadLoop)

    async def polls(self) -> None:
        """Poll until cancelled."""
        while True:
            self.heartbeat("poll")
            jump = self._new_jump()
            plan = await self._next_poll()
            if plan is None:
                await self._polls.wakeup.wait(_REPLAN_S)
                continue
            at = plan.at if jump is None else self.clock.now()
            if await self._is_time(at, self._polls):
                if await self._read(plan) and jump is not None:
                    self._asked = jump
                self._polled.add(plan.watch.name)
                self._sweeps.wakeup.set()

    async def sweeps(self) -> None:
        """Make baselines, sweeps and full reads until cancelled, each after its poll."""
        while True:
            self.heartbeat("sweep")
            jump = self._new_jump()
            if jump is not None and await self._next_poll() is not None:
                jump = None  # a poll asks sooner
            plan = await self._next_sweep()
            at = plan.at if jump is None else self.clock.now()
            watch = plan.watch
            if poll_schedule.can_be_polled(watch) and watch.name not in self._polled:
                await self._sweeps.wakeup.wait(_REPLAN_S)
            elif await self._is_time(at, self._sweeps):
                if await self._read(plan):
                    self._swept.add(watch.name)
                    if jump is not None:
                        self._asked = jump
                self._polls.wakeup.set()

    async def once(self) -> bool:
        """Make a baseline or a poll and a due sweep of each watch; whether all succeeded."""
        succeeded = True
        for watch in await self.db.read(milestones.watches):
            now = self.clock.now()
            if poll_schedule.can_be_polled(watch):
                succeeded &= await self._read(Plan(at=now, watch=watch, kind=ReadKind.POLL))
            sweep = poll_schedule.next_sweep(
                [watch], policy=self.policy, swept={watch.name}, now=now
            )
            if sweep.at <= now:
                succeeded &= await self._read(sweep)
        return succeeded

    def _new_jump(self) -> int | None:
        """A jump of the machine's clock after which the API has not been asked yet."""
        jump = self.clock.doubt()
        return None if jump == self._asked else jump

    async def _next_poll(self) -> Plan | None:
        now, watches = self.clock.now(), await self.db.read(milestones.watches)
        after = poll_schedule.uncovered(watches, now=now)
        return poll_schedule.next_poll(
            watches,
            policy=self.policy,
            next_start=await self.db.read(timers.next_start, after),
            now=now,
            polled=self._polled,
            failed=self._failed_at,
        )

    async def _next_sweep(self) -> Plan:
        return poll_schedule.next_sweep(
            await self.db.read(milestones.watches),
            policy=self.policy,
            now=self.clock.now(),
            swept=self._swept,
            failed=self._failed_at,
        )

    async def _is_time(self, at: datetime, loop: ReadLoop) -> bool:
        """Whether the moment has come; False after a short wait: plan again."""
        quiet_s = loop.quiet_until - self.clock.monotonic()
        wait_s = max((at - self.clock.now()).total_seconds(), quiet_s)
        if wait_s > 0:
            await loop.wakeup.wait(min(wait_s, _REPLAN_S))
        return wait_s <= 0

    async def _read(self, plan: Plan) -> bool:
        """Make the planned read; whether it succeeded."""
        try:
            await self.ingest.read(plan)
        except SourceError as exc:
            await self._back_off(plan, exc)
            return False
        except NotifierError:
            raise
        except Exception as exc:
            # An answer that this code cannot handle must not stop the scheduler.
            log.exception("read.broken", watch=plan.watch.name, kind=plan.kind.value)
            await self._back_off(plan, SourceError(type(exc).__name__))
            return False
        self._loop_of(plan).failures = 0
        self._failed_at.pop(plan.watch.name, None)
        return True

    def _loop_of(self, plan: Plan) -> ReadLoop:
        return self._polls if plan.kind is ReadKind.POLL else self._sweeps

    async def _back_off(self, plan: Plan, exc: SourceError) -> None:
        loop, watch = self._loop_of(plan), plan.watch
        loop.failures += 1
        self.clock.no_answer()
        self._failed_at[watch.name] = self.clock.now()
        hint = getattr(exc, "retry_after", None)
        wait = poll_schedule.backoff(loop.failures, hint=hint, jitter=self.random())
        status = exc.status if isinstance(exc, SourceRefused) else None
        is_unauthorised = status in _UNAUTHORISED
        if is_unauthorised:
            wait = poll_schedule.REFUSED_WAIT
        # What Kalshi asks of us holds for both loops; any other failure for its own.
        until = self.clock.monotonic() + wait.total_seconds()
        for each in (self._polls, self._sweeps):
            if each is loop or is_unauthorised or hint is not None:
                each.quiet_until = max(each.quiet_until, until)
        (log.error if is_unauthorised else log.warning)(
            "read.failed",
            watch=watch.name,
            kind=plan.kind.value,
            reason=str(exc),
            next_try_s=round(wait.total_seconds(), 1),
        )
        is_poll = plan.kind is ReadKind.POLL
        if status == _BAD_REQUEST and is_poll and watch.name != _EVERYTHING:
            # Kalshi cannot combine this watch's filter with `min_updated_ts`.
            await self.db.write(Priority.PAGE, milestones.set_sweep_only, watch)
            log.error("watch.sweep_only", watch=watch.name, reason=str(exc))
