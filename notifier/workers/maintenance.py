"""LOOP keep: free leases that ran out, forget what is finished and old, back up."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import anyio
import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.models import State
from notifier.domain.retry_policy import MAX_AGE
from notifier.errors import StoreError
from notifier.metrics import Metrics
from notifier.storage import incidents, outbox, retention
from notifier.storage.database import Database, Priority

log = structlog.get_logger()

_EVERY_S = 10.0
#: Between two notes that the service is alive.
_ALIVE_EVERY_S = 60.0
#: Between two rounds of forgetting, once there is nothing more to forget.
_PRUNE_EVERY_S = 3600.0
#: Before the first copy: a start has better things to do.
_BACK_UP_AFTER_S = 300.0
#: Between two looks whether today's copy is there.
_BACK_UP_EVERY_S = 3600.0

#: Makes the day's copy of the database; None: there is one. StoreError: it cannot.
BackUp = Callable[[date], Awaitable[Path | None]]


@dataclass(slots=True, kw_only=True)
class Maintenance:
    """The keeping loop."""

    db: Database
    clock: Clock
    keep_events: timedelta
    keep_deliveries: timedelta
    #: Rung when deliveries are free again.
    dispatcher_wakeup: WakeupEvent
    heartbeat: Callable[[str], None]
    #: The destinations in force; what is owed to others dies of age. None: all are.
    destinations: Collection[str] | None = None
    #: Destinations where what may have arrived is not sent again.
    unrepeated: Collection[str] = ()
    #: None: nobody wants copies.
    back_up: BackUp | None = None
    metrics: Metrics = field(default_factory=Metrics)
    _prune_at: float = 0.0
    _alive_at: float = 0.0

    async def run(self) -> None:
        """Keep the house for ever."""
        async with anyio.create_task_group() as tasks:
            if self.back_up is not None:
                # A copy takes its time: leases do not wait for it.
                tasks.start_soon(self._back_up_daily, self.back_up)
            await self._keep()

    async def _keep(self) -> None:
        # The start itself is noted by whoever tells how long the service was away.
        self._alive_at = self.clock.monotonic() + _ALIVE_EVERY_S
        while True:
            self.heartbeat("maintain")
            if self.clock.monotonic() >= self._alive_at:
                await self._be_alive()
            await self._reap()
            if self.clock.monotonic() >= self._prune_at:
                await self._prune()
            await self.clock.sleep(_EVERY_S)

    async def _be_alive(self) -> None:
        await self.db.write(Priority.MAINTENANCE, incidents.alive, self.clock.now())
        self._alive_at = self.clock.monotonic() + _ALIVE_EVERY_S

    async def _reap(self) -> None:
        freed = await self.db.write(
            Priority.MAINTENANCE,
            outbox.release_expired_leases,
            self.clock.now(),
            everything=False,
            drop_ambiguous=self.unrepeated,
        )
        now = self.clock.now()
        expired = await self.db.write(Priority.MAINTENANCE, outbox.expire_paused, now)
        dead = await self.db.write(Priority.MAINTENANCE, outbox.give_up_suspended, now)
        self.metrics.count_unsent(State.EXPIRED, None, expired)
        self.metrics.count_unsent(State.DEAD, None, dead)
        for destination, attempts in freed.items():
            self.metrics.count_cut_off(destination, attempts)
        if dead:
            log.error("deliveries.given_up", deliveries=dead)
        if freed:
            log.warning("lease.reaped", messages=freed.total())
            self.dispatcher_wakeup.set()

    async def _prune(self) -> None:
        now = self.clock.now()
        forgotten = await self.db.write(
            Priority.MAINTENANCE,
            retention.prune,
            events_before=now - self.keep_events,
            deliveries_before=now - self.keep_deliveries,
        )
        if self.destinations is not None:
            orphans = await self.db.write(
                Priority.MAINTENANCE,
                outbox.kill_orphans,
                self.destinations,
                before=now - MAX_AGE,
                now=now,
            )
            self.metrics.count_unsent(State.DEAD, None, orphans)
        if forgotten:
            log.info("store.pruned", rows=forgotten)
        else:
            self._prune_at = self.clock.monotonic() + _PRUNE_EVERY_S

    async def _back_up_daily(self, back_up: BackUp) -> None:
        await self.clock.sleep(_BACK_UP_AFTER_S)
        while True:
            failed: str | None = None
            try:
                written = await back_up(self.clock.now().date())
            except StoreError as exc:
                failed = str(exc)
                log.error("backup.failed", reason=str(exc))  # noqa: TRY400 - where it failed is in its text
            else:
                if written is not None:
                    log.info("backup.written", file=str(written))
            await self.db.write(
                Priority.MAINTENANCE,
                incidents.note_backup,
                failed=failed,
                now=self.clock.now(),
            )
            await self.clock.sleep(_BACK_UP_EVERY_S)
