"""A real store in a folder, and milestones to put into it."""

import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from notifier.domain.batching import BatchingPolicy, DeliveryPlan, DestinationPolicy
from notifier.domain.changes import (
    DecodedRow,
    DiffPolicy,
    ReadContext,
    RowChange,
    StoredMilestone,
    diff,
)
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.models import Event, Json, Outcome
from notifier.domain.outgoing import Lease, Suppressed
from notifier.domain.poll_schedule import Progress, ReadEnd, ReadKind, WatchRow
from notifier.domain.retry_policy import AttemptResult, NextState, Settlement
from notifier.domain.routing import deliveries, leads, route
from notifier.domain.rules import Route, Watch
from notifier.domain.timers import TimePolicy, fire
from notifier.kalshi import decoding
from notifier.storage import destination_state, message_events, milestones, outbox, timers
from notifier.storage.database import Database, Priority, open_database
from notifier.storage.milestones import PageCommit, Release
from notifier.storage.outbox import ClaimRequest

T = TypeVar("T")

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
UTC_ZONE = ZoneInfo("UTC")
EVERYTHING = Watch().name
HOOK = "hook"
TO_HOOK = (Route(name="all", to=(HOOK,)),)
GRACE = TimePolicy().started_grace


async def inline(work: Callable[[], T]) -> T:
    """Run the store's work here and now, as a simulation does."""
    return work()


def stamp(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")


def doc(milestone_id: str = "m1", **fields: Json) -> dict[str, Json]:
    """A milestone as Kalshi would send it; it starts two hours from NOW."""
    plain: dict[str, Json] = {
        "id": milestone_id,
        "category": "Sports",
        "type": "football_game",
        "start_date": stamp(NOW + 2 * HOUR),
        "primary_event_tickers": ["KXNFLGAME-A"],
        "related_event_tickers": ["KXNFLGAME-A"],
        "title": f"Game {milestone_id}",
        "notification_message": "The game is about to begin.",
        "details": {"league": "NFL"},
        "last_updated_ts": stamp(NOW),
    }
    return plain | fields


def row(milestone_id: str = "m1", **fields: Json) -> DecodedRow:
    """The same as a read hands it to the diff."""
    raw = msgspec.json.encode(doc(milestone_id, **fields))
    return DecodedRow(milestone=decoding.milestone(raw), fingerprint=decoding.fingerprint(raw))


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"
        open_database(file, run_in_thread=inline).close()
        return file.read_bytes()


def _open(database: Path, parts: dict[str, Any]) -> Database:
    if not database.exists():
        # To copy a database is faster than to make one, hundreds of times.
        database.touch(mode=0o600)
        database.write_bytes(_empty_database())
    return open_database(database, **parts)


@asynccontextmanager
async def opened(database: Path, **parts: Any) -> AsyncIterator[Database]:
    """The store of this file, closed at the end."""
    parts.setdefault("run_in_thread", inline)
    store = _open(database, parts)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def sql(database: Path) -> Iterator[Callable[..., list[Any]]]:
    """Plain SQL on the file, beside whoever has it open."""
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        yield lambda text, *values: conn.execute(text, values).fetchall()


def ask(database: Path, text: str, *values: object) -> list[Any]:
    """One question in plain SQL."""
    with sql(database) as answer:
        return answer(text, *values)


@dataclass
class Shelf:
    """One store, one watch, one destination: the acts of the loops in one line."""

    store: Database
    watch: WatchRow
    routes: tuple[Route, ...] = TO_HOOK
    tokens: Iterator[int] = field(default_factory=itertools.count)
    reads: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def time(self) -> TimePolicy:
        return TimePolicy(leads=leads(self.routes))

    async def show(
        self,
        *rows: DecodedRow,
        now: datetime = NOW,
        kind: ReadKind = ReadKind.POLL,
        read_id: int | None = None,
        more: bool = False,
        due_at: datetime | None = None,
    ) -> tuple[RowChange, ...]:
        """Commit a page as a read would; `more`: it was not the last one."""
        async with self.store.turn(Priority.PAGE) as turn:
            known = await turn.write(milestones.stored, [r.milestone.id for r in rows], self.watch)
            read_id = next(self.reads) if read_id is None else read_id
            page = self.page(known, rows, now=now, kind=kind, read_id=read_id, due_at=due_at or now)
            if not more:
                page = replace(page, end=self.end(read_id, kind=kind, now=now))
            held = await turn.write(milestones.commit_page, page)
        await self.release(held)
        return page.changes

    async def release(self, held: Release | None) -> None:
        """Let what waited for the end of a read come due, as a read does."""
        async with self.store.turn(Priority.PAGE) as turn:
            while held is not None and await turn.write(milestones.release, held):
                pass

    def page(
        self,
        known: Mapping[str, StoredMilestone],
        rows: Sequence[DecodedRow],
        *,
        now: datetime,
        kind: ReadKind,
        read_id: int,
        due_at: datetime,
    ) -> PageCommit:
        steps = diff(
            known,
            rows,
            ReadContext(
                read_id=read_id,
                policy=DiffPolicy(time=self.time),
                silent=kind is ReadKind.BASELINE,
                seen_at=now,
            ),
        )
        owed = tuple(
            delivery
            for step in steps
            if step.event is not None
            for delivery in deliveries(
                step.event,
                route(step.event, self.routes),
                due_at=due_at,
                now=now,
                started_grace=GRACE,
            )
        )
        return PageCommit(
            read_id=read_id, watch=self.watch, now=now, changes=steps, deliveries=owed
        )

    async def ring(self, *, now: datetime) -> list[Event]:
        """Fire what is due as the alarm does."""
        async with self.store.turn(Priority.TIMERS) as turn:
            due = await turn.write(timers.due, now, limit=1000)
            found = [
                fire(d.timer, d.milestone, announced=d.announced, policy=self.time, now=now)
                for d in due
            ]
            events = tuple(event for event in found if event is not None)
            owed = tuple(
                delivery
                for event in events
                for delivery in deliveries(
                    event,
                    route(event, self.routes),
                    due_at=now,
                    now=now,
                    started_grace=GRACE,
                )
            )
            await turn.write(timers.commit_fired, [d.timer for d in due], events, owed)
        return list(events)

    def end(
        self, read_id: int, *, kind: ReadKind, now: datetime, error: str | None = None
    ) -> ReadEnd:
        return ReadEnd(
            id=read_id,
            watch=self.watch,
            kind=kind,
            started_at=now,
            ended_at=now,
            progress=Progress(pages=1),
            watermark=None if error else now,
            error=error,
        )

    async def claim(
        self,
        *,
        now: datetime = NOW,
        to: str = HOOK,
        room: int = 1000,
        over: int | None = None,
        batching: BatchingPolicy | None = None,
    ) -> list["Claimed"]:
        """Claim what is due as the dispatcher does."""
        policy = _policy(to, batching or BatchingPolicy(over=over, zone=UTC_ZONE), room)
        request = ClaimRequest(
            now=now, until=now, free=room, new_token=lambda: f"token-{next(self.tokens)}"
        )
        async with self.store.turn(Priority.CLAIM) as turn:
            got = await turn.write(outbox.settle_and_claim, policy, [], request)
        messages = [one.message for one in got.leases]
        events = [one.events for one in got.leases]
        if messages and not events[0]:
            events = await self.store.read(message_events.events_of_messages, messages)
        return [
            Claimed(
                message=one.message, token=one.token, delivered_to=one.delivered_to, events=told
            )
            for one, told in zip(got.leases, events, strict=True)
        ]

    async def settle(
        self, lease: Lease, outcome: Outcome, *, now: datetime = NOW, drop_ambiguous: bool = False
    ) -> int:
        """Settle a message; how many members it still held."""
        default = BatchingPolicy(over=None, zone=UTC_ZONE)
        policy = _policy(lease.message.destination, default, drop_ambiguous=drop_ambiguous)
        results = [_result(lease, outcome, now)]
        async with self.store.turn(Priority.CLAIM) as turn:
            got = await turn.write(outbox.settle_and_claim, policy, results, None)
        [settlement] = got.settled
        return len(lease.message.members) - settlement.lost

    async def write(
        self,
        lease: Lease,
        outcome: Outcome,
        next_states: tuple[NextState, ...],
        *,
        now: datetime,
    ) -> int:
        """Settle a message with these decisions, whatever the rules would say."""
        settlement = Settlement(
            result=_result(lease, outcome, now),
            next_states=next_states,
            before=DestinationState(),
            after=DestinationState(),
        )
        async with self.store.turn(Priority.CLAIM) as turn:
            settlement = await turn.write(outbox.write_settlement, settlement)
        return len(next_states) - settlement.lost

    async def suppress(self, *suppressed: Suppressed, now: datetime) -> None:
        plan = DeliveryPlan(messages=(), suppressed=suppressed)
        async with self.store.turn(Priority.CLAIM) as turn:
            await turn.write(outbox._suppress_and_defer, HOOK, plan, now)

    async def release_leases(self, *, now: datetime, everything: bool = True) -> int:
        async with self.store.turn(Priority.MAINTENANCE) as turn:
            released = await turn.write(outbox.release_expired_leases, now, everything=everything)
            return released.total()


def _policy(
    name: str, batching: BatchingPolicy, concurrency: int = 1, *, drop_ambiguous: bool = False
) -> DestinationPolicy:
    return DestinationPolicy(
        name=name,
        batching={},
        default=batching,
        concurrency=concurrency,
        drop_ambiguous=drop_ambiguous,
    )


def _result(lease: Lease, outcome: Outcome, now: datetime) -> AttemptResult:
    return AttemptResult(lease=lease, outcome=outcome, at=now, took=timedelta(0), jitter=0.0)


class Claimed(Lease):
    """A message that is ours for now."""

    @property
    def milestones(self) -> list[str]:
        return [member.milestone_id for member in self.message.members]

    @property
    def kinds(self) -> list[str]:
        return [member.kind.value for member in self.message.members]


async def stocked(store: Database, *, routes: tuple[Route, ...] = TO_HOOK) -> Shelf:
    """A shelf whose baseline is complete and empty."""
    async with store.turn(Priority.MAINTENANCE) as turn:
        [watch] = await turn.write(milestones.set_watches, [EVERYTHING])
    async with store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {HOOK: "fingerprint"}, NOW)
    shelf = Shelf(store=store, watch=watch, routes=routes)
    await shelf.show(kind=ReadKind.BASELINE, now=NOW - DAY)
    return shelf
