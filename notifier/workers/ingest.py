"""
LOOP in, one read of it: page -> what is known of it -> diff -> route -> commit.

One transaction a page. A read that breaks off keeps what it has committed; only a
complete one moves the watermark or counts an absence.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain import poll_schedule
from notifier.domain.changes import (
    DiffPolicy,
    ReadContext,
    Row,
    RowChange,
    StoredMilestone,
    diff,
    removed,
)
from notifier.domain.clock_offset import offset_bounds
from notifier.domain.commit import (
    BadRow,
    PageCommit,
    Progress,
    ReadEnd,
    ReadKind,
    Release,
    WatchRow,
)
from notifier.domain.models import Delivery, Event, Milestone
from notifier.domain.poll_schedule import Plan
from notifier.domain.routing import deliveries, matches_any, route
from notifier.domain.rules import Route, Watch
from notifier.errors import RowInvalid, SourceError, SourceGarbled
from notifier.metrics import Metrics
from notifier.storage import milestones
from notifier.storage.database import Connection, Database, Priority
from notifier.workers.rate_limiter import RateLimiter, RequestPriority

log = structlog.get_logger()

#: Deliveries of a long read wait for its end, but no longer than this.
HELD = timedelta(seconds=20)
#: So many events need not be looked at together before they are told.
_LITTLE = 50
#: New rows that one transaction takes: nobody waits long behind it.
_PART = 100
#: Milestones asked for by id after one read.
_ASKED_FOR = 20
#: Unreadable rows of one page that are named.
_NAMED = 10
#: Bytes of a bad row that are kept for a person to look at.
_BAD_BYTES = 64 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The watch of everything.
ALL = Watch().name
#: Reads that are worth a line only when they brought something.
_ROUTINE = (ReadKind.POLL, ReadKind.SWEEP)


class SourceRow(Protocol):
    """A row of a page, not read any further."""

    @property
    def id(self) -> str: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def fingerprint(self) -> bytes: ...


class SourceBadRow(Protocol):
    """A row that is no milestone."""

    @property
    def key(self) -> str: ...
    @property
    def raw(self) -> bytes: ...
    @property
    def fingerprint(self) -> bytes: ...
    @property
    def error(self) -> str: ...


class SourcePage(Protocol):
    """One answer of the API; an empty cursor ends the list."""

    @property
    def rows(self) -> Sequence[SourceRow]: ...
    @property
    def bad(self) -> Sequence[SourceBadRow]: ...
    @property
    def cursor(self) -> str: ...
    @property
    def sent_at(self) -> datetime: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def date(self) -> datetime | None: ...


class Source(Protocol):
    """What a read needs of the API. Raises SourceError and nothing else."""

    def pages(
        self,
        *,
        watch: Watch,
        pace: Callable[[], Awaitable[None]],
        min_updated: datetime | None = None,
        starts_after: datetime | None = None,
    ) -> AsyncIterator[SourcePage]:
        """The list to its end; complete only if it ends without an error."""

    async def milestone(self, milestone_id: str) -> bytes | None:
        """One row's bytes; None: the API says that there is no such milestone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRules:
    """What the configuration says about the rows of a read."""

    diff: DiffPolicy
    look_back: timedelta
    started_grace: timedelta
    ignore_tickers: tuple[str, ...]
    announce_existing: bool


@dataclass(slots=True, kw_only=True)
class _Read:
    """One read under way."""

    id: int
    plan: Plan
    started_at: datetime
    #: A sweep's window; None: the read shows everything.
    since: datetime | None
    silent: bool
    progress: Progress = field(default_factory=Progress)
    watermark: datetime | None = None
    #: Ids on its pages, and how many of them the store knows.
    shown: set[str] = field(default_factory=set)
    held: int = 0

    def count(self, page: SourcePage) -> None:
        """Add one page to the progress."""
        before = self.progress
        self.progress = replace(before, pages=before.pages + 1, rows=before.rows + len(page.rows))

    def due_at(self, now: datetime, fresh: Sequence[Row], is_last: bool) -> datetime:  # noqa: FBT001 - it is no switch
        """Now, if this is all there is and not much; else at the read's end."""
        is_little = self.progress.events + len(fresh) <= _LITTLE
        return now if is_last and is_little else now + HELD

    def add(self, steps: Sequence[RowChange], *, new_bad: int) -> None:
        """Add what a page, or a part of it, has brought."""
        before = self.progress
        self.progress = replace(
            before,
            events=before.events + sum(step.event is not None for step in steps),
            touched=before.touched + sum(step.touched for step in steps),
            bad=before.bad + new_bad,
        )


@dataclass(slots=True, kw_only=True)
class Ingest:
    """Makes one read at a time for each lane."""

    source: Source
    db: Database
    clock: Clock
    rate_limiter: RateLimiter
    decode: Callable[[bytes], Milestone]
    fingerprint: Callable[[bytes], bytes]
    watches: Mapping[str, Watch]
    routes: Sequence[Route]
    rules: DiffRules
    #: Rung when timers may have moved, and when deliveries were born.
    scheduler_wakeup: WakeupEvent
    dispatcher_wakeup: WakeupEvent
    #: Called after each page of a read; with the last one comes the read's end.
    watcher: Callable[[ReadKind, Progress, ReadEnd | None], None]
    #: Called whenever a read has something to show for itself.
    heartbeat: Callable[[str], None]
    metrics: Metrics = field(default_factory=Metrics)
    _last_id: int = 0

    async def read(self, plan: Plan) -> None:
        """
        Read what the plan says, to its end.

        Raises:
            SourceError: it broke off; what was read is committed, and recorded as
                incomplete.
        """
        read = self._begin(plan)
        try:
            async with aclosing(self._pages(read)) as pages:  # type: ignore[type-var]  # an async generator behind its Protocol
                async for page in pages:
                    await self._take(read, page)
            await self._finish(read)
        except SourceError as exc:
            await self._break_off(read, exc)
            raise

    def _begin(self, plan: Plan) -> _Read:
        now = self.clock.now()
        is_sweep = plan.kind is ReadKind.SWEEP
        # Two lanes may begin at the same moment: an id must tell them apart.
        ticks = (now - _EPOCH) // timedelta(microseconds=1)
        self._last_id = max(ticks, self._last_id + 1)
        return _Read(
            id=self._last_id,
            plan=plan,
            started_at=now,
            since=now - self.rules.look_back if is_sweep else None,
            silent=plan.kind is ReadKind.BASELINE and not self.rules.announce_existing,
        )

    def _pages(self, read: _Read) -> AsyncIterator[SourcePage]:
        watch = read.plan.watch
        is_poll = read.plan.kind is ReadKind.POLL
        lane = RequestPriority.POLL if is_poll else RequestPriority.SWEEP
        # A server that never says what time it is has left us without a watermark.
        since = watch.watermark or watch.full_at or read.started_at
        return self.source.pages(
            watch=self.watches[watch.name],
            pace=lambda: self.rate_limiter.acquire(lane),
            min_updated=since - poll_schedule.OVERLAP if is_poll else None,
            starts_after=read.since,
        )

    async def _take(self, read: _Read, page: SourcePage) -> None:
        """Diff one page and commit what it means."""
        self.heartbeat("poll" if read.plan.kind is ReadKind.POLL else "sweep")
        self._note_clock(read, page)
        fresh, bad = await self._fresh_rows(read, page)
        read.count(page)
        end: ReadEnd | None = None
        parts = [fresh[at : at + _PART] for at in range(0, len(fresh), _PART)] or [[]]
        for number, part in enumerate(parts, 1):
            is_last = number == len(parts) and not page.cursor
            if part or bad or is_last:
                end = await self._commit(read, part, bad, is_last=is_last)
            bad = ()
        self.watcher(read.plan.kind, read.progress, end)

    async def _commit(
        self,
        read: _Read,
        fresh: Sequence[Row],
        bad: tuple[BadRow, ...],
        *,
        is_last: bool,
    ) -> ReadEnd | None:
        now = self.clock.now()

        def commit(conn: Connection) -> tuple[PageCommit, list[BadRow], Release | None]:
            known = milestones.known(conn, [r.milestone.id for r in fresh], read.plan.watch)
            steps = diff(known, fresh, self._reading(read, now))
            owed = self._route(steps, due_at=read.due_at(now, fresh, is_last), now=now)
            new_bad = milestones.new_bad(conn, bad)
            read.add(steps, new_bad=len(new_bad))
            page = PageCommit(
                read_id=read.id,
                watch=read.plan.watch,
                now=now,
                steps=steps,
                deliveries=owed,
                bad=bad,
                end=self._end(read, now) if is_last else None,
            )
            return page, new_bad, milestones.commit_page(conn, page)

        page, new_bad, held = await self.db.write(Priority.PAGE, commit)
        self.metrics.count_events(step.event for step in page.steps if step.event is not None)
        await self._release(held)
        _tell_bad(new_bad)
        self._ring(page.steps, wake=bool(page.deliveries) or is_last)
        return page.end

    async def _release(self, held: Release | None) -> None:
        """Let what waited for the end of the read come due, in short transactions."""
        more = held is not None
        while held is not None and more:
            more = await self.db.write(Priority.PAGE, milestones.release, held)

    async def _fresh_rows(
        self, read: _Read, page: SourcePage
    ) -> tuple[list[Row], tuple[BadRow, ...]]:
        """The rows whose bytes are not known yet, read whole; and the unreadable."""
        prints = {row.id: row.fingerprint for row in page.rows}
        read.shown.update(prints)
        known = await self.db.read(milestones.unchanged, prints, read.plan.watch)
        fresh: list[Row] = []
        bad = [_bad(row.key, row, row.error) for row in page.bad]
        read.shown.update(row.key for row in page.bad)
        for row in page.rows:
            if row.id in known:
                continue
            try:
                milestone = self.decode(row.raw)
            except RowInvalid as exc:
                bad.append(_bad(row.id, row, str(exc)))
                continue
            if not self._is_ignored(milestone):
                fresh.append(Row(milestone=milestone, fingerprint=row.fingerprint))
        read.held += len(known) + len(fresh)
        return fresh, tuple(bad)

    def _is_ignored(self, milestone: Milestone) -> bool:
        patterns, tickers = self.rules.ignore_tickers, milestone.tickers
        return bool(patterns and tickers) and all(
            matches_any(patterns, ticker) for ticker in tickers
        )

    def _reading(self, read: _Read, now: datetime) -> ReadContext:
        return ReadContext(id=read.id, policy=self.rules.diff, silent=read.silent, seen_at=now)

    def _route(
        self, steps: Sequence[RowChange], *, due_at: datetime, now: datetime
    ) -> tuple[Delivery, ...]:
        events = [step.event for step in steps if step.event is not None]
        return self._owed(events, due_at=due_at, now=now)

    def _owed(
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
                started_grace=self.rules.started_grace,
            )
        )

    def _ring(self, steps: Sequence[RowChange], *, wake: bool) -> None:
        if any(step.armed.restart or step.armed.reend for step in steps):
            self.scheduler_wakeup.set()
        if wake:
            self.dispatcher_wakeup.set()

    # --- its end ---

    def _end(self, read: _Read, now: datetime) -> ReadEnd:
        """The end of a read that came to its end."""
        progress, plan = read.progress, read.plan
        drifting = poll_schedule.is_drifting(bad=progress.bad, rows=progress.rows)
        if drifting:
            log.error(
                "read.drifting",
                watch=plan.watch.name,
                bad=progress.bad,
                rows=progress.rows,
            )
        moves = plan.kind is not ReadKind.SWEEP and not drifting
        return self._ended(read, now, watermark=read.watermark if moves else None)

    def _ended(
        self,
        read: _Read,
        now: datetime,
        *,
        watermark: datetime | None = None,
        error: str | None = None,
    ) -> ReadEnd:
        before = read.plan.watch.watermark
        if watermark is not None and before is not None:
            watermark = max(watermark, before)
        return ReadEnd(
            id=read.id,
            watch=read.plan.watch,
            kind=read.plan.kind,
            started_at=read.started_at,
            ended_at=now,
            progress=read.progress,
            watermark=watermark,
            error=error,
        )

    async def _break_off(self, read: _Read, exc: SourceError) -> None:
        end = self._ended(read, self.clock.now(), error=str(exc))
        held = await self.db.write(Priority.PAGE, milestones.end_read, end)
        self.metrics.count_read(end.kind.value, None)
        await self._release(held)
        self.dispatcher_wakeup.set()

    async def _finish(self, read: _Read) -> None:
        """Count who was absent from a complete read, and ask for them by id."""
        took = self.clock.now() - read.started_at
        self.metrics.count_read(read.plan.kind.value, took)
        quiet = read.progress.events == 0 and read.plan.kind in _ROUTINE
        (log.debug if quiet else log.info)(
            "read.completed",
            watch=read.plan.watch.name,
            kind=read.plan.kind.value,
            pages=read.progress.pages,
            rows=read.progress.rows,
            events=read.progress.events,
            touched=read.progress.touched,
            took_s=round(took.total_seconds(), 3),
        )
        if read.plan.kind not in (ReadKind.FULL, ReadKind.SWEEP):
            return
        watch, shown = read.plan.watch, frozenset(read.shown)
        known = await self.db.read(milestones.count_known, watch, read.since)
        # As many as it showed, and none of them twice: nobody is missing.
        is_whole = known == read.held and len(shown) == read.progress.rows
        if is_whole and not await self.db.read(milestones.is_anyone_absent):
            await self._suspect(watch, None)
            return
        rows = min(read.held, len(shown))  # some may have come twice
        if poll_schedule.is_suspicious(shown=rows, known=known):
            if watch.suspected_at is None:
                log.error("read.suspicious", watch=watch.name, rows=rows, known=known)
            await self._suspect(watch, watch.suspected_at or self.clock.now())
            return
        await self._suspect(watch, None)
        doubtful = await self.db.write(Priority.PAGE, milestones.absent, watch, read.since, shown)
        for milestone_id in doubtful[:_ASKED_FOR]:
            await self._ask_for(read, milestone_id)

    async def _suspect(self, watch: WatchRow, since: datetime | None) -> None:
        """Remember since when a watch shows too little: it is told once."""
        if since != watch.suspected_at:
            await self.db.write(Priority.PAGE, milestones.set_suspected, watch, since)

    async def _ask_for(self, read: _Read, milestone_id: str) -> None:
        self.heartbeat("sweep")
        await self.rate_limiter.acquire(RequestPriority.SWEEP)
        try:
            raw = await self.source.milestone(milestone_id)
        except SourceGarbled as exc:
            # One that cannot be read must not keep the others from being asked for.
            log.warning("milestone.unreadable", id=milestone_id, reason=str(exc))
            return
        now = self.clock.now()

        def commit(conn: Connection) -> tuple[list[Event], list[BadRow]]:
            known = milestones.known(conn, [milestone_id], read.plan.watch)
            if raw is not None:
                return self._keep(conn, read, known, raw, now)
            gone = [removed(one, now=now) for one in known.values()]
            milestones.remove(conn, gone, self._owed(gone, due_at=now, now=now), now)
            return gone, []

        events, new_bad = await self.db.write(Priority.PAGE, commit)
        self.metrics.count_events(events)
        _tell_bad(new_bad)
        self.dispatcher_wakeup.set()
        self.scheduler_wakeup.set()

    def _keep(
        self,
        conn: Connection,
        read: _Read,
        known: dict[str, StoredMilestone],
        raw: bytes,
        now: datetime,
    ) -> tuple[list[Event], list[BadRow]]:
        """Write the row of a milestone that is still there, like one of a page."""
        fingerprint = self.fingerprint(raw)
        steps: tuple[RowChange, ...] = ()
        bad: tuple[BadRow, ...] = ()
        try:
            row = Row(milestone=self.decode(raw), fingerprint=fingerprint)
            steps = diff(known, [row], self._reading(read, now))
        except RowInvalid as exc:
            [one] = known
            text = str(exc)
            bad = (BadRow(milestone_id=one, fingerprint=fingerprint, raw=raw, error=text),)
        new_bad = milestones.new_bad(conn, bad)
        milestones.commit_page(
            conn,
            PageCommit(
                read_id=read.id,
                watch=read.plan.watch,
                now=now,
                steps=steps,
                deliveries=self._route(steps, due_at=now, now=now),
                bad=bad,
            ),
        )
        return [step.event for step in steps if step.event is not None], new_bad

    # --- the clock ---

    def _note_clock(self, read: _Read, page: SourcePage) -> None:
        if page.date is None:
            return
        took = page.received_at - page.sent_at
        if took < timedelta(0):
            return  # our own clock was set back meanwhile: it proves nothing
        if read.watermark is None and not read.progress.pages:
            read.watermark = poll_schedule.watermark(date=page.date, took=took)
        proof = offset_bounds(sent_at=page.sent_at, received_at=page.received_at, date=page.date)
        if self.clock.observe(proof):
            self.scheduler_wakeup.set()


def _tell_bad(rows: Sequence[BadRow]) -> None:
    """Name the rows that were put aside; a storm of them is told by `read.drifting`."""
    for row in rows[:_NAMED]:
        log.warning("row.quarantined", id=row.milestone_id, reason=row.error)


def _bad(milestone_id: str, row: SourceRow | SourceBadRow, error: str) -> BadRow:
    return BadRow(
        milestone_id=milestone_id,
        fingerprint=row.fingerprint,
        raw=row.raw[:_BAD_BYTES],
        error=error,
    )
