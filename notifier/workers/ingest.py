"""
One read of the API: decode what is new on each page, diff, route, and commit.

A page is written in transactions of 100 rows. A read that breaks off keeps what it has
committed; only a complete one moves the watermark or counts missing milestones.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain import poll_schedule
from notifier.domain.changes import DecodedRow, DiffPolicy, ReadContext, diff, removed
from notifier.domain.clock_offset import offset_bounds
from notifier.domain.models import Delivery, Event, Milestone
from notifier.domain.poll_schedule import Plan, Progress, ReadEnd, ReadKind, WatchRow
from notifier.domain.routing import deliveries, matches_any, route
from notifier.domain.rules import Route
from notifier.domain.timers import TimePolicy
from notifier.errors import RowInvalid, SourceError, SourceGarbled
from notifier.kalshi import decoding
from notifier.kalshi.client import KalshiClient
from notifier.kalshi.decoding import BadRow, Page
from notifier.metrics import Metrics
from notifier.settings.models import SourceSettings, Updates
from notifier.storage import milestones
from notifier.storage.database import Connection, Database, Priority
from notifier.storage.milestones import PageCommit, Release
from notifier.workers.rate_limiter import RateLimiter, RequestPriority

log = structlog.get_logger()

#: Deliveries of a long read wait for its end, but no longer than this.
MAX_HOLD = timedelta(seconds=20)
#: So few events are sent at once, without a look at all of the read's events together.
_FEW_EVENTS = 50
#: New rows of one transaction, so that other writers wait a short time.
_ROWS_AT_ONCE = 100
#: Missing milestones that are asked for by id after one read.
_MAX_SINGLE_REQUESTS = 20
#: Unreadable rows of one page that are named in the log.
_MAX_NAMED = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Reads that are logged at level info only when they brought something.
_ROUTINE = (ReadKind.POLL, ReadKind.SWEEP)

#: Called after each page of a read; with the last one comes the read's end.
Watcher = Callable[[ReadKind, Progress, ReadEnd | None], None]


@dataclass(slots=True, kw_only=True)
class _Read:
    """One read under way."""

    id: int
    plan: Plan
    started_at: datetime
    #: Start of a sweep's window; None: the read shows everything.
    since: datetime | None
    #: A baseline announces nothing, unless the configuration says so.
    silent: bool
    progress: Progress = field(default_factory=Progress)
    watermark: datetime | None = None
    #: The ids on its pages.
    shown: set[str] = field(default_factory=set)
    #: How many of its readable rows are stored after it.
    stored: int = 0

    def end(
        self, now: datetime, *, watermark: datetime | None = None, error: str | None = None
    ) -> ReadEnd:
        """The end of the read; its watermark never goes back."""
        before = self.plan.watch.watermark
        if watermark is not None and before is not None:
            watermark = max(watermark, before)
        return ReadEnd(
            id=self.id,
            watch=self.plan.watch,
            kind=self.plan.kind,
            started_at=self.started_at,
            ended_at=now,
            progress=self.progress,
            watermark=watermark,
            error=error,
        )


@dataclass(slots=True, kw_only=True)
class Ingest:
    """Makes reads: at most one poll and one sweep at a time."""

    source: KalshiClient
    db: Database
    clock: Clock
    rate_limiter: RateLimiter
    settings: SourceSettings
    time: TimePolicy
    routes: Sequence[Route]
    scheduler_wakeup: WakeupEvent
    dispatcher_wakeup: WakeupEvent
    watcher: Watcher
    heartbeat: Callable[[str], None]
    metrics: Metrics = field(default_factory=Metrics)
    _last_id: int = 0

    async def read(self, plan: Plan) -> None:
        """
        Make the planned read, to its end.

        Raises:
            SourceError: it broke off; its pages so far are committed, and it is recorded
                as incomplete.
        """
        now = self.clock.now()
        # Two reads may begin at the same moment: their ids must differ.
        ticks = (now - _EPOCH) // timedelta(microseconds=1)
        self._last_id = max(ticks, self._last_id + 1)
        is_baseline = plan.kind is ReadKind.BASELINE
        read = _Read(
            id=self._last_id,
            plan=plan,
            started_at=now,
            since=now - self.settings.look_back if plan.kind is ReadKind.SWEEP else None,
            silent=is_baseline and not self.settings.announce_existing,
        )
        is_poll = plan.kind is ReadKind.POLL
        priority = RequestPriority.POLL if is_poll else RequestPriority.SWEEP
        # Without a watermark, because answers had no date, the last full read serves.
        since = plan.watch.watermark or plan.watch.full_at or now
        pages = self.source.pages(
            watch={watch.name: watch for watch in self.settings.watches}[plan.watch.name],
            pace=lambda: self.rate_limiter.acquire(priority),
            min_updated=since - poll_schedule.OVERLAP if is_poll else None,
            starts_after=read.since,
        )
        try:
            async with aclosing(pages):
                async for page in pages:
                    await self._ingest_page(read, page)
            self._log_completed(read)
            if plan.kind in (ReadKind.FULL, ReadKind.SWEEP):
                await self._count_missed(read)
        except SourceError as exc:
            end = read.end(self.clock.now(), error=str(exc))
            waiting = await self.db.write(Priority.PAGE, milestones.end_read, end)
            self.metrics.count_read(end.kind.value, None)
            await self._release(waiting)
            self.dispatcher_wakeup.set()
            raise

    async def _ingest_page(self, read: _Read, page: Page) -> None:
        self.heartbeat("poll" if read.plan.kind is ReadKind.POLL else "sweep")
        self._note_clock(read, page)
        new, bad = await self._decode_new(read, page)
        read.progress = replace(
            read.progress,
            pages=read.progress.pages + 1,
            rows=read.progress.rows + len(page.rows),
        )
        end: ReadEnd | None = None
        parts = [new[at : at + _ROWS_AT_ONCE] for at in range(0, len(new), _ROWS_AT_ONCE)] or [[]]
        for number, rows in enumerate(parts, 1):
            is_last = number == len(parts) and not page.cursor
            if rows or bad or is_last:
                # All events of a read become due together, unless this is all it has.
                is_all = is_last and read.progress.events + len(rows) <= _FEW_EVENTS
                hold = timedelta(0) if is_all else MAX_HOLD
                end = await self._commit(read, rows, bad, hold=hold, is_last=is_last)
            bad = []
        self.watcher(read.plan.kind, read.progress, end)

    async def _decode_new(self, read: _Read, page: Page) -> tuple[list[DecodedRow], list[BadRow]]:
        """Decode the rows whose bytes are not stored yet; apart, the unreadable ones."""
        fingerprints = {row.id: row.fingerprint for row in page.rows}
        watch = read.plan.watch
        unchanged = await self.db.read(milestones.unchanged, fingerprints, watch)
        new: list[DecodedRow] = []
        bad = list(page.bad)
        for row in page.rows:
            if row.id in unchanged:
                continue
            try:
                milestone = decoding.milestone(row.raw)
            except RowInvalid as exc:
                bad.append(decoding.bad_row(row, exc))
                continue
            if not self._is_ignored(milestone):
                new.append(DecodedRow(milestone=milestone, fingerprint=row.fingerprint))
        read.shown.update(fingerprints, (row.key for row in page.bad))
        read.stored += len(unchanged) + len(new)
        return new, bad

    def _is_ignored(self, milestone: Milestone) -> bool:
        patterns, tickers = self.settings.ignore_tickers, milestone.tickers
        return bool(patterns and tickers) and all(
            matches_any(patterns, ticker) for ticker in tickers
        )

    async def _commit(
        self,
        read: _Read,
        rows: Sequence[DecodedRow],
        bad: Sequence[BadRow],
        *,
        hold: timedelta,
        is_last: bool,
    ) -> ReadEnd | None:
        """Diff and route some rows and write them; with the last ones, end the read."""
        now, watch = self.clock.now(), read.plan.watch
        policy = DiffPolicy(
            time=self.time, touched_is_updated=self.settings.updates is Updates.TIMESTAMP
        )
        context = ReadContext(read_id=read.id, policy=policy, silent=read.silent, seen_at=now)

        def commit(conn: Connection) -> tuple[PageCommit, list[BadRow], Release | None]:
            stored = milestones.stored(conn, [row.milestone.id for row in rows], watch)
            changes = diff(stored, rows, context)
            events = [change.event for change in changes if change.event is not None]
            new_bad = milestones.not_quarantined(conn, bad) if bad else []
            before = read.progress
            read.progress = replace(
                before,
                events=before.events + len(events),
                touched=before.touched + sum(change.touched for change in changes),
                bad=before.bad + len(new_bad),
            )
            page = PageCommit(
                read_id=read.id,
                watch=watch,
                now=now,
                changes=changes,
                deliveries=self._deliveries(events, due_at=now + hold, now=now),
                bad=bad,
                end=self._complete(read, now) if is_last else None,
            )
            return page, new_bad, milestones.commit_page(conn, page)

        page, new_bad, waiting = await self.db.write(Priority.PAGE, commit)
        self.metrics.count_events(c.event for c in page.changes if c.event is not None)
        await self._release(waiting)
        # When the format changes, `read.drifting` says so instead of a line for each row.
        for row in new_bad[:_MAX_NAMED]:
            log.warning("row.quarantined", id=row.key, reason=row.error)
        if any(c.timers.replaces_start or c.timers.replaces_end for c in page.changes):
            self.scheduler_wakeup.set()
        if page.deliveries or is_last:
            self.dispatcher_wakeup.set()
        return page.end

    def _deliveries(
        self, events: Sequence[Event], *, due_at: datetime, now: datetime
    ) -> tuple[Delivery, ...]:
        return tuple(
            delivery
            for event in events
            for delivery in deliveries(
                event,
                route(event, self.routes),
                due_at=due_at,
                now=now,
                started_grace=self.time.started_grace,
            )
        )

    def _complete(self, read: _Read, now: datetime) -> ReadEnd:
        """The end of a complete read; one with many unreadable rows moves no watermark."""
        progress, plan = read.progress, read.plan
        is_drifting = poll_schedule.is_drifting(bad=progress.bad, rows=progress.rows)
        if is_drifting:
            log.error("read.drifting", watch=plan.watch.name, bad=progress.bad, rows=progress.rows)
        if is_drifting or plan.kind is ReadKind.SWEEP:
            return read.end(now)
        return read.end(now, watermark=read.watermark)

    async def _release(self, waiting: Release | None) -> None:
        """Make due what waited for the end of the read, in short transactions."""
        more = waiting is not None
        while waiting is not None and more:
            more = await self.db.write(Priority.PAGE, milestones.release, waiting)

    # --- after a complete read ---

    def _log_completed(self, read: _Read) -> None:
        progress = read.progress
        is_quiet = progress.events == 0 and read.plan.kind in _ROUTINE
        took = self.clock.now() - read.started_at
        self.metrics.count_read(read.plan.kind.value, took)
        (log.debug if is_quiet else log.info)(
            "read.completed",
            watch=read.plan.watch.name,
            kind=read.plan.kind.value,
            pages=progress.pages,
            rows=progress.rows,
            events=progress.events,
            touched=progress.touched,
            took_s=round(took.total_seconds(), 3),
        )

    async def _count_missed(self, read: _Read) -> None:
        """Count the milestones that the read should have shown, and ask for them by id."""
        watch, shown = read.plan.watch, frozenset(read.shown)
        known = await self.db.read(milestones.count_in_window, watch, read.since)
        # As many as it showed, and none of them twice: none is missing.
        is_whole = known == read.stored and len(shown) == read.progress.rows
        if is_whole and not await self.db.read(milestones.any_missed_reads):
            await self._set_suspected(watch, None)
            return
        rows = min(read.stored, len(shown))  # some may have come twice
        if poll_schedule.is_suspicious(shown=rows, known=known):
            if watch.suspected_at is None:
                log.error("read.suspicious", watch=watch.name, rows=rows, known=known)
            await self._set_suspected(watch, watch.suspected_at or self.clock.now())
            return
        await self._set_suspected(watch, None)
        missing = await self.db.write(
            Priority.PAGE, milestones.count_missed_reads, watch, read.since, shown
        )
        for milestone_id in missing[:_MAX_SINGLE_REQUESTS]:
            await self._ask_for(read, milestone_id)

    async def _set_suspected(self, watch: WatchRow, since: datetime | None) -> None:
        if since != watch.suspected_at:
            await self.db.write(Priority.PAGE, milestones.set_suspected, watch, since)

    async def _ask_for(self, read: _Read, milestone_id: str) -> None:
        """Ask for one milestone: a true 404 removes it, an answer is taken like a row."""
        self.heartbeat("sweep")
        await self.rate_limiter.acquire(RequestPriority.SWEEP)
        try:
            raw = await self.source.milestone(milestone_id)
        except SourceGarbled as exc:
            # An answer that cannot be read must not keep the others from being asked for.
            log.warning("milestone.unreadable", id=milestone_id, reason=str(exc))
            return
        if raw is None:
            events = await self.db.write(
                Priority.PAGE, self._remove, milestone_id, read.plan.watch, self.clock.now()
            )
            self.metrics.count_events(events)
            self.dispatcher_wakeup.set()
            self.scheduler_wakeup.set()
            return
        row = decoding.Row(id=milestone_id, raw=raw, fingerprint=decoding.fingerprint(raw))
        rows: list[DecodedRow] = []
        bad: list[BadRow] = []
        try:
            rows.append(DecodedRow(milestone=decoding.milestone(raw), fingerprint=row.fingerprint))
        except RowInvalid as exc:
            bad.append(decoding.bad_row(row, exc))
        await self._commit(read, rows, bad, hold=timedelta(0), is_last=False)

    def _remove(
        self, conn: Connection, milestone_id: str, watch: WatchRow, now: datetime
    ) -> list[Event]:
        stored = milestones.stored(conn, [milestone_id], watch)
        events = [removed(one, now=now) for one in stored.values()]
        milestones.remove(conn, events, self._deliveries(events, due_at=now, now=now), now)
        return events

    def _note_clock(self, read: _Read, page: Page) -> None:
        """Let the clock and the read's watermark learn from the date of an answer."""
        took = page.received_at - page.sent_at
        if page.date is None or took < timedelta(0):
            return  # without a date, or while our clock was set back, it proves nothing
        if read.watermark is None and not read.progress.pages:
            read.watermark = poll_schedule.watermark(date=page.date, took=took)
        proof = offset_bounds(sent_at=page.sent_at, received_at=page.received_at, date=page.date)
        if self.clock.observe(proof):
            self.scheduler_wakeup.set()
