"""Maintenance: expired leases, retention, and daily backups."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import anyio
import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.models import State
from notifier.domain.retry_policy import MAX_AGE
from notifier.errors import StoreError
from notifier.metrics import Metrics
from notifier.settings.models import RetentionSettings
from notifier.storage import incidents, outbox, retention
from notifier.storage.database import Database, Priority

log = structlog.get_logger()

_EVERY_S = 10.0
_ALIVE_EVERY_S = 60.0
#: Between two rounds of pruning, once there is nothing more to prune.
_PRUNE_EVERY_S = 3600.0
#: Before the first backup, so that it does not slow down the start.
_BACK_UP_AFTER_S = 300.0
_BACK_UP_EVERY_S = 3600.0

#: Writes the day's backup, and returns its path; None: there is one already.
BackUp = Callable[[date], Awaitable[Path | None]]


@dataclass(slots=True, kw_only=True)
class Maintenance:
    """Keeps the database in order."""

    db: Database
    clock: Clock
    retention: RetentionSettings
    #: Set when deliveries can be claimed again.
    dispatcher_wakeup: WakeupEvent
    heartbeat: Callable[[str], None]
    #: The configured destinations; deliveries for others are given up. None: all are.
    destinations: Collection[str] | None = None
    #: Destinations where a message that may have arrived is not sent again.
    unrepeated: Collection[str] = ()
    #: None: there are no backups.
    back_up: BackUp | None = None
    metrics: Metrics = field(default_factory=Metrics)
    _prune_at: float = 0.0
    _alive_at: float = 0.0

    async def run(self) -> None:
        """Run until cancelled."""
        async with anyio.create_task_group() as tasks:
            if self.back_up is not None:
                # Beside the rest: leases must not wait for a backup.
                tasks.start_soon(self._back_up_daily, self.back_up)
            # The monitor notes the start itself, when it has computed the downtime.
            self._alive_at = self.clock.monotonic() + _ALIVE_EVERY_S
            while True:
                self.heartbeat("maintain")
                await self._run_once()
                await self.clock.sleep(_EVERY_S)

    async def _run_once(self) -> None:
        maintain, now = Priority.MAINTENANCE, self.clock.now()
        if self.clock.monotonic() >= self._alive_at:
            await self.db.write(maintain, incidents.alive, now)
            self._alive_at = self.clock.monotonic() + _ALIVE_EVERY_S
        freed = await self.db.write(
            maintain,
            outbox.release_expired_leases,
            now,
            everything=False,
            drop_ambiguous=self.unrepeated,
        )
        expired = await self.db.write(maintain, outbox.expire_paused, now)
        dead = await self.db.write(maintain, outbox.give_up_suspended, now)
        self.metrics.count_unsent(State.EXPIRED, None, expired)
        self.metrics.count_unsent(State.DEAD, None, dead)
        for destination, attempts in freed.items():
            self.metrics.count_cut_off(destination, attempts)
        if dead:
            log.error("deliveries.given_up", deliveries=dead)
        if freed:
            log.warning("lease.reaped", messages=freed.total())
            self.dispatcher_wakeup.set()
        if self.clock.monotonic() >= self._prune_at:
            await self._prune()

    async def _prune(self) -> None:
        maintain, now = Priority.MAINTENANCE, self.clock.now()
        deleted = await self.db.write(
            maintain,
            retention.prune,
            events_before=now - self.retention.events,
            deliveries_before=now - self.retention.deliveries,
        )
        if self.destinations is not None:
            orphans = await self.db.write(
                maintain, outbox.kill_orphans, self.destinations, before=now - MAX_AGE, now=now
            )
            self.metrics.count_unsent(State.DEAD, None, orphans)
        if deleted:
            log.info("store.pruned", rows=deleted)
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
                log.error("backup.failed", reason=failed)  # noqa: TRY400 - the text says where
            else:
                if written is not None:
                    log.info("backup.written", file=str(written))
            await self.db.write(
                Priority.MAINTENANCE, incidents.note_backup, failed=failed, now=self.clock.now()
            )
            await self.clock.sleep(_BACK_UP_EVERY_S)
