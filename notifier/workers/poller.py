"""
LOOP in: which read comes next, and what a failed one costs.

Two lanes share the API's rate: polls, which are short and must be on time, and
sweeps, which are long and may wait.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain import poll_schedule
from notifier.domain.commit import ReadKind
from notifier.domain.poll_schedule import Plan, ReadPolicy
from notifier.errors import NotifierError, SourceError, SourceRefused
from notifier.storage import milestones, timers
from notifier.storage.database import Database, Priority
from notifier.workers.ingest import ALL

log = structlog.get_logger()

#: A plan is made anew after so many seconds: another start may have come closer.
_REPLAN_S = 4.0
_UNAUTHORISED = (401, 403)
_BAD_REQUEST = 400


class Ingest(Protocol):
    """What makes a read."""

    async def read(self, plan: Plan) -> None:
        """Read what the plan says, to its end; SourceError: it broke off."""


@dataclass(slots=True)
class _Lane:
    """How one of the two lanes fares."""

    #: A read of the other lane has ended.
    wakeup: WakeupEvent = field(default_factory=WakeupEvent)
    #: Failed reads in a row.
    failures: int = 0
    #: Nothing is asked before.
    quiet_until: float = 0.0


@dataclass(slots=True, kw_only=True)
class Poller:
    """The reading loop."""

    reader: Ingest
    db: Database
    clock: Clock
    policy: ReadPolicy
    #: Uniform in [0, 1).
    chance: Callable[[], float]
    #: Called whenever the loop has something to show for itself.
    heartbeat: Callable[[str], None]
    #: By watch: when its last read failed.
    _failed_at: dict[str, datetime] = field(default_factory=dict)
    #: The watches that this process has polled, or tried to, and has swept.
    _polled: set[str] = field(default_factory=set)
    _swept: set[str] = field(default_factory=set)
    #: The last jump of the machine's clock after which the API was asked.
    _asked: int = 0
    _poll: _Lane = field(default_factory=_Lane)
    _sweep: _Lane = field(default_factory=_Lane)

    async def polls(self) -> None:
        """Poll for ever."""
        while True:
            self.heartbeat("poll")
            jump = self._new_jump()
            plan = await self._next_poll()
            if plan is None:
                await self._poll.wakeup.wait(_REPLAN_S)
                continue
            at = plan.at if jump is None else self.clock.now()
            if await self._is_time(at, self._poll):
                if await self._attempt(plan) and jump is not None:
                    self._asked = jump
                self._polled.add(plan.watch.name)
                self._sweep.wakeup.set()

    async def sweeps(self) -> None:
        """Baseline, sweep and read in full for ever, each after the polls it needs."""
        while True:
            self.heartbeat("sweep")
            jump = self._new_jump()
            if jump is not None and await self._next_poll() is not None:
                jump = None  # a poll asks sooner
            plan = await self._next_sweep()
            at = plan.at if jump is None else self.clock.now()
            if not self._is_polled(plan):
                await self._sweep.wakeup.wait(_REPLAN_S)
            elif await self._is_time(at, self._sweep):
                if await self._attempt(plan):
                    self._swept.add(plan.watch.name)
                    if jump is not None:
                        self._asked = jump
                self._poll.wakeup.set()

    async def once(self) -> bool:
        """A baseline or a poll and a due sweep for each watch; whether all worked."""
        worked = True
        for watch in await self.db.read(milestones.watches):
            now = self.clock.now()
            if poll_schedule.can_be_polled(watch):
                poll = Plan(at=now, watch=watch, kind=ReadKind.POLL)
                worked &= await self._attempt(poll)
            sweep = poll_schedule.next_sweep(
                [watch], policy=self.policy, swept={watch.name}, now=now
            )
            if sweep.at <= now:
                worked &= await self._attempt(sweep)
        return worked

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

    def _is_polled(self, plan: Plan) -> bool:
        """Whether the poll that goes before a sweep has been made, or tried."""
        is_polled = poll_schedule.can_be_polled(plan.watch)
        return not is_polled or plan.watch.name in self._polled

    async def _is_time(self, at: datetime, lane: _Lane) -> bool:
        """Whether the moment has come; False, after a while: think again."""
        quiet_s = lane.quiet_until - self.clock.monotonic()
        wait_s = max((at - self.clock.now()).total_seconds(), quiet_s)
        if wait_s > 0:
            await lane.wakeup.wait(min(wait_s, _REPLAN_S))
        return wait_s <= 0

    async def _attempt(self, plan: Plan) -> bool:
        try:
            await self.reader.read(plan)
        except SourceError as exc:
            await self._failed(plan, exc)
            return False
        except NotifierError:
            raise
        except Exception as exc:
            # Whatever one answer makes us stumble over must not stop the starts.
            log.exception("read.broken", watch=plan.watch.name, kind=plan.kind.value)
            await self._failed(plan, SourceError(type(exc).__name__))
            return False
        self._lane(plan).failures = 0
        self._failed_at.pop(plan.watch.name, None)
        return True

    def _lane(self, plan: Plan) -> _Lane:
        return self._poll if plan.kind is ReadKind.POLL else self._sweep

    async def _failed(self, plan: Plan, exc: SourceError) -> None:
        lane = self._lane(plan)
        lane.failures += 1
        self._failed_at[plan.watch.name] = self.clock.now()
        hint = getattr(exc, "retry_after", None)
        wait = poll_schedule.backoff(lane.failures, hint=hint, jitter=self.chance())
        is_unwelcome = isinstance(exc, SourceRefused) and exc.status in _UNAUTHORISED
        if is_unwelcome:
            wait = poll_schedule.REFUSED_WAIT
        # What Kalshi says to us concerns both lanes; what one stumbles over, itself.
        until = self.clock.monotonic() + wait.total_seconds()
        for each in (self._poll, self._sweep):
            if each is lane or is_unwelcome or hint is not None:
                each.quiet_until = max(each.quiet_until, until)
        (log.error if is_unwelcome else log.warning)(
            "read.failed",
            watch=plan.watch.name,
            kind=plan.kind.value,
            reason=str(exc),
            next_try_s=round(wait.total_seconds(), 1),
        )
        if _is_refused_filter(plan, exc):
            await self.db.write(Priority.PAGE, milestones.set_sweep_only, plan.watch)
            log.error("watch.sweep_only", watch=plan.watch.name, reason=str(exc))


def _is_refused_filter(plan: Plan, exc: SourceError) -> bool:
    """Whether Kalshi cannot combine this watch's filter with `min_updated_ts`."""
    return (
        isinstance(exc, SourceRefused)
        and exc.status == _BAD_REQUEST
        and plan.kind is ReadKind.POLL
        and plan.watch.name != ALL
    )
