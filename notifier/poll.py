"""
LOOP in: which read comes next, and what a failed one costs.

Two lanes share the API's rate: polls, which are short and must be on time, and
sweeps, which are long and may wait.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import structlog

from notifier.clock import Clock
from notifier.core import cadence
from notifier.core.cadence import Plan, ReadPolicy
from notifier.core.commit import ReadKind, WatchRow
from notifier.errors import NotifierError, SourceError, SourceRefused
from notifier.read import ALL
from notifier.turns import Bell

log = structlog.get_logger()

#: A plan is made anew after so many seconds: another start may have come closer.
_REPLAN_S = 4.0
_UNAUTHORISED = (401, 403)
_BAD_REQUEST = 400
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class PollTurn(Protocol):
    """The writer's turn, to note what a watch can bear."""

    async def set_sweep_only(self, watch: WatchRow) -> None: ...


class PollStore(Protocol):
    """What the loop needs of the store."""

    def page_turn(self) -> AbstractAsyncContextManager[PollTurn]: ...
    async def watches(self) -> list[WatchRow]: ...
    async def next_start(self, after: datetime) -> datetime | None: ...


class Reader(Protocol):
    """What makes a read."""

    async def read(self, plan: Plan) -> None:
        """Read what the plan says, to its end; SourceError: it broke off."""


@dataclass(slots=True, kw_only=True)
class Poll:
    """The reading loop."""

    reader: Reader
    store: PollStore
    clock: Clock
    policy: ReadPolicy
    #: Uniform in [0, 1).
    chance: Callable[[], float]
    #: Called whenever the loop has something to show for itself.
    pulse: Callable[[str], None]
    _booted_at: datetime = field(init=False)
    _failures: int = 0
    #: By watch: when its last read failed.
    _failed_at: dict[str, datetime] = field(default_factory=dict)
    _quiet_until: float = 0.0
    #: A read of the other lane has ended.
    _swept: Bell = field(default_factory=Bell)
    _polled: Bell = field(default_factory=Bell)

    def __post_init__(self) -> None:
        self._booted_at = self.clock.now()

    async def polls(self) -> None:
        """Poll for ever."""
        while True:
            self.pulse("poll")
            plan = await self._next_poll()
            if plan is None:
                await self._swept.wait(_REPLAN_S)
            elif await self._wait_until(plan.at, self._swept):
                await self._attempt(plan)
                self._polled.ring()

    async def sweeps(self) -> None:
        """Baseline, sweep and read in full for ever, each after the polls it needs."""
        while True:
            self.pulse("sweep")
            plan = await self._next_sweep()
            if not self._is_polled(plan):
                await self._polled.wait(_REPLAN_S)
            elif await self._wait_until(plan.at, self._polled):
                await self._attempt(plan)
                self._swept.ring()

    async def once(self) -> bool:
        """A baseline or a poll and a due sweep for each watch; whether all worked."""
        worked = True
        for watch in await self.store.watches():
            now = self.clock.now()
            if watch.watermark is not None and not watch.sweep_only:
                poll = Plan(at=now, watch=watch, kind=ReadKind.POLL)
                worked &= await self._attempt(poll)
            sweep = cadence.next_sweep(
                [watch], policy=self.policy, since=_NEVER, now=now
            )
            if sweep.at <= now:
                worked &= await self._attempt(sweep)
        return worked

    async def _next_poll(self) -> Plan | None:
        now = self.clock.now()
        return cadence.next_poll(
            await self.store.watches(),
            policy=self.policy,
            next_start=await self.store.next_start(now),
            now=now,
            failed=self._failed_at,
        )

    async def _next_sweep(self) -> Plan:
        return cadence.next_sweep(
            await self.store.watches(),
            policy=self.policy,
            since=self._booted_at,
            now=self.clock.now(),
            failed=self._failed_at,
        )

    def _is_polled(self, plan: Plan) -> bool:
        """Whether the poll that has to come before a sweep has been made."""
        watch = plan.watch
        if plan.kind is ReadKind.BASELINE or watch.sweep_only:
            return True
        return watch.watermark is None or (
            watch.polled_at is not None and watch.polled_at >= self._booted_at
        )

    async def _wait_until(self, at: datetime, bell: Bell) -> bool:
        """Whether the moment has come; False: think again."""
        quiet_s = self._quiet_until - self.clock.monotonic()
        wait_s = max((at - self.clock.now()).total_seconds(), quiet_s)
        if wait_s <= 0:
            return True
        rung = await bell.wait(min(wait_s, _REPLAN_S))
        return wait_s <= _REPLAN_S and not rung

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
        self._failures = 0
        self._failed_at.pop(plan.watch.name, None)
        return True

    async def _failed(self, plan: Plan, exc: SourceError) -> None:
        self._failures += 1
        self._failed_at[plan.watch.name] = self.clock.now()
        hint = getattr(exc, "retry_after", None)
        wait = cadence.backoff(self._failures, hint=hint, jitter=self.chance())
        if isinstance(exc, SourceRefused) and exc.status in _UNAUTHORISED:
            wait = cadence.REFUSED_WAIT
        self._quiet_until = self.clock.monotonic() + wait.total_seconds()
        log.warning(
            "read.failed",
            watch=plan.watch.name,
            kind=plan.kind.value,
            reason=str(exc),
            next_try_s=round(wait.total_seconds(), 1),
        )
        if _is_refused_filter(plan, exc):
            async with self.store.page_turn() as turn:
                await turn.set_sweep_only(plan.watch)
            log.error("watch.sweep_only", watch=plan.watch.name, reason=str(exc))


def _is_refused_filter(plan: Plan, exc: SourceError) -> bool:
    """Whether Kalshi cannot combine this watch's filter with `min_updated_ts`."""
    return (
        isinstance(exc, SourceRefused)
        and exc.status == _BAD_REQUEST
        and plan.kind is ReadKind.POLL
        and plan.watch.name != ALL
    )
