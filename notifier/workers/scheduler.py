"""
LOOP time: due timers -> events -> route -> commit, in one transaction.

It needs no API. No sleep of it is longer than a second without a look at the wall
clock, and a commit that arms an earlier timer rings its bell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.commit import AlarmCommit, DueTimer
from notifier.domain.models import Event, Kind, RouteTrace
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Route
from notifier.domain.timers import TimePolicy, fire
from notifier.metrics import Metrics
from notifier.storage import timers
from notifier.storage.database import Connection, Database, Priority

log = structlog.get_logger()

#: Timers of one transaction: starts at one instant are one digest.
_AT_ONCE = 1000
_LONGEST_SLEEP_S = 1.0


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """The loop of time."""

    db: Database
    clock: Clock
    routes: Sequence[Route]
    policy: TimePolicy
    #: Rung when timers may have moved.
    wakeup: WakeupEvent
    #: Rung when deliveries were born.
    dispatcher_wakeup: WakeupEvent
    heartbeat: Callable[[str], None]
    metrics: Metrics = field(default_factory=Metrics)

    async def run(self) -> None:
        """Fire timers for ever; a clock in doubt holds them, for a minute at most."""
        while True:
            while self.clock.doubt() is not None:
                self.heartbeat("alarm")
                await self.wakeup.wait(_LONGEST_SLEEP_S)
            await self.fire_due()
            await self._wait_for(await self.db.read(timers.next_fire))

    async def _wait_for(self, fire_at: datetime | None) -> None:
        """Until that moment, or until timers may have moved."""
        while True:
            self.heartbeat("alarm")
            wait = _LONGEST_SLEEP_S
            if fire_at is not None:
                wait = (fire_at - self.clock.now()).total_seconds()
            if wait <= 0 or await self.wakeup.wait(min(wait, _LONGEST_SLEEP_S)):
                return

    async def fire_due(self) -> None:
        """Fire every timer that is due now."""
        while await self._fire_some() == _AT_ONCE:
            pass

    async def _fire_some(self) -> int:
        now = self.clock.now()

        def commit(conn: Connection) -> AlarmCommit | None:
            due = timers.due(conn, now, limit=_AT_ONCE)
            if not due:
                return None
            events = self._events(due, now)
            fired = AlarmCommit(
                timers=tuple(one.timer for one in due),
                events=tuple(event for event, _ in events),
                deliveries=tuple(
                    delivery
                    for event, traces in events
                    for delivery in deliveries(
                        event,
                        traces,
                        due_at=now,
                        now=now,
                        started_grace=self.policy.started_grace,
                    )
                ),
            )
            timers.commit_alarm(conn, fired)
            return fired

        fired = await self.db.write(Priority.TIMERS, commit)
        if fired is None:
            return 0
        self.metrics.count_events(fired.events)
        self.dispatcher_wakeup.set()
        log.info(
            "timers.fired",
            timers=len(fired.timers),
            events=len(fired.events),
            owed=len(fired.deliveries),
        )
        return len(fired.timers)

    def _events(
        self, due: Sequence[DueTimer], now: datetime
    ) -> list[tuple[Event, tuple[RouteTrace, ...]]]:
        """What the timers say. A reminder that no route asked for says nothing."""
        found = []
        for one in due:
            event = fire(one.timer, one.milestone, fired=one.fired, policy=self.policy, now=now)
            if event is None:
                continue
            traces = route(event, self.routes)
            if event.kind is not Kind.UPCOMING or any(t.matched for t in traces):
                found.append((event, traces))
        return found
