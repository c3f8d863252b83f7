"""
The scheduler: due timers become events, which are routed and committed in one transaction.

It needs no API. It never sleeps for longer than a second without a look at the wall
clock, and a commit that arms an earlier timer wakes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.models import Delivery, Event, Kind
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Route
from notifier.domain.timers import TimePolicy, fire
from notifier.metrics import Metrics
from notifier.storage import timers
from notifier.storage.database import Connection, Database, Priority

log = structlog.get_logger()

#: Timers of one transaction: starts at one instant are one digest.
_AT_ONCE = 1000
_MAX_SLEEP_S = 1.0


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """Fires timers."""

    db: Database
    clock: Clock
    routes: Sequence[Route]
    policy: TimePolicy
    #: Set when timers may have moved.
    wakeup: WakeupEvent
    dispatcher_wakeup: WakeupEvent
    heartbeat: Callable[[str], None]
    metrics: Metrics = field(default_factory=Metrics)

    async def run(self) -> None:
        """Fire timers until cancelled; a clock in doubt holds them, for a minute at most."""
        while True:
            while self.clock.doubt() is not None:
                self.heartbeat("alarm")
                await self.wakeup.wait(_MAX_SLEEP_S)
            await self.fire_due()
            await self._wait_until(await self.db.read(timers.next_fire))

    async def _wait_until(self, fire_at: datetime | None) -> None:
        """Wait until that instant, or until timers may have moved."""
        while True:
            self.heartbeat("alarm")
            wait_s = _MAX_SLEEP_S
            if fire_at is not None:
                wait_s = (fire_at - self.clock.now()).total_seconds()
            if wait_s <= 0 or await self.wakeup.wait(min(wait_s, _MAX_SLEEP_S)):
                return

    async def fire_due(self) -> None:
        """Fire every timer that is due now."""
        fired = _AT_ONCE
        while fired == _AT_ONCE:
            fired, events, owed = await self.db.write(
                Priority.TIMERS, self._fire_batch, self.clock.now()
            )
            if fired:
                self.metrics.count_events(events)
                self.dispatcher_wakeup.set()
                log.info("timers.fired", timers=fired, events=len(events), owed=owed)

    def _fire_batch(self, conn: Connection, now: datetime) -> tuple[int, list[Event], int]:
        """Fire up to a thousand due timers; how many, their events, and how many deliveries."""
        due = timers.due(conn, now, limit=_AT_ONCE)
        events: list[Event] = []
        owed: list[Delivery] = []
        for one in due:
            event = fire(
                one.timer, one.milestone, announced=one.announced, policy=self.policy, now=now
            )
            if event is None:
                continue
            traces = route(event, self.routes)
            # A reminder that no route asks for is no event.
            if event.kind is Kind.UPCOMING and not any(trace.matched for trace in traces):
                continue
            events.append(event)
            owed += deliveries(
                event, traces, due_at=now, now=now, started_grace=self.policy.started_grace
            )
        if due:
            timers.commit_fired(conn, [one.timer for one in due], events, owed)
        return len(due), events, len(owed)
