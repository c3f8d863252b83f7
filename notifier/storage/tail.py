"""
What was committed since the last look, told to the tally: a few short questions.

Events are numbered in the order in which they are committed. Attempts are too, but
end later: those under way are asked for again. Reads and deliveries that end unsent
are found by when they ended, a while back, and those that were counted are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import anyio
from sqlalchemy import Connection, Row, bindparam, case, func, literal_column, select

from notifier.domain.metrics import Marks, ReadDone, Tally, Told, TryDone, Untold
from notifier.domain.models import Kind, State
from notifier.storage import queries
from notifier.storage import schema as t
from notifier.storage.database import Database

_e, _a, _d, _r = t.events.c, t.attempts.c, t.deliveries.c, t.reads.c
_w, _to = t.watches.c, t.destinations.c
#: A read that takes longer is not counted.
_LONGEST_READ = timedelta(hours=6)
#: A transaction that says it ended something earlier than this is not waited for.
_LONGEST_COMMIT = timedelta(minutes=1)
_PIECE = 500
#: What takes longer to count is this old at most.
_COUNTED = timedelta(minutes=1)

#: Not by an index of all there are, for the sake of its order.
_kind = _e.kind + ""
_EVENTS = (
    select(
        _kind.label("kind"),
        func.count().label("many"),
        func.max(_e.seq).label("last"),
    )
    .where(_e.seq > bindparam("seq"))
    .group_by(_kind)
)
_ATTEMPTS = select(t.attempts).where(_a.seq > bindparam("seq")).order_by(_a.seq).limit(_PIECE)
_THESE = select(t.attempts).where(_a.seq.in_(bindparam("seqs", expanding=True)))
_OPEN = select(_a.seq).where(_a.seq > bindparam("seq"), _a.ended_at.is_(None))
_TOLD = (
    select(_d.destination, _d.kind, _d.sent_at, _e.at, _e.seen_at)
    .join(t.events, _e.id == _d.event_id)
    .where(
        _d.message_id.in_(bindparam("messages", expanding=True)),
        _d.sent_at.is_not(None),
    )
)
_READS = select(t.reads).where(_r.id > bindparam("since"))
_UNTOLD = select(_d.seq, _d.settled_at, _d.state, _d.reason).where(
    _d.settled_at > bindparam("since", type_=t.Instant),
    (_d.state + "").in_(
        [state.value for state in (State.EXPIRED, State.SUPERSEDED, State.DROPPED, State.DEAD)]
    ),
)
_WATCHES = select(_w.polled_at, _w.swept_at, _w.full_at, _w.sweep_only)
#: One look at each delivery that waits, by the index of those.
_WAITING = (
    select(
        _d.destination,
        func.count().label("pending"),
        func.sum(case((_d.held.is_not(None), 1), else_=0)).label("held"),
        func.min(case((_d.held.is_(None), _d.born_at))).label("oldest"),
    )
    .where(_d.state == literal_column("'pending'"))
    .group_by(_d.destination)
)
_DEAD = (
    select(_d.destination, func.count())
    .where(_d.state == literal_column("'dead'"))
    .group_by(_d.destination)
)
_DESTINATIONS = select(_to.name, _to.suspended_since, _to.gone, _to.open_since)


class Ticking(Protocol):
    """The clocks."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How things stand at one destination."""

    pending: int = 0
    #: Of these: kept back by quiet hours or for a digest.
    held: int = 0
    dead: int = 0
    #: Since when the oldest that is not kept back is owed.
    oldest: datetime | None = None
    suspended: bool = False
    #: It seems to be down; only probes go there.
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """How things stand just now."""

    now: datetime
    milestones: int
    #: When the last complete read of a kind began, of the watch that waits longest;
    #: nothing while one has never been read so.
    read_at: dict[str, datetime]
    destinations: dict[str, Standing]


@dataclass(slots=True, kw_only=True)
class Tail:
    """Keeps a tally up to date with the store."""

    db: Database
    tally: Tally
    clock: Ticking
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _living: int = 0
    _counted_at: datetime | None = None

    async def begin(self) -> None:
        """Count from here on, unless counting has begun already."""
        async with self._turn:
            await self._begin()

    async def catch_up(self) -> Gauges:
        """Count what is new, and look how things stand."""
        async with self._turn:
            await self._begin()
            now, monotonic = self.clock.now(), self.clock.monotonic()
            since = self._since(now, monotonic)
            await self._count(now, since)
            self.tally.asked_at, self.tally.asked_s = now, monotonic
            return await self._gauges(now)

    async def _begin(self) -> None:
        if self.tally.began_at is not None:
            return
        now, monotonic = self.clock.now(), self.clock.monotonic()

        def asked(conn: Connection) -> Marks:
            return _marks(conn, now)

        self.tally.begin(await self.db.read(asked), monotonic=monotonic)

    def _since(self, now: datetime, monotonic: float) -> datetime:
        """What ended since the last look ended after this, even if the clock jumped."""
        tally = self.tally
        elapsed = timedelta(seconds=max(0.0, monotonic - tally.asked_s))
        return min(tally.asked_at or now, now - elapsed) - _LONGEST_COMMIT

    async def _count(self, now: datetime, since: datetime) -> None:
        tally, ask = self.tally, self.db.read

        def events(conn: Connection) -> Sequence[Row[Any]]:
            return conn.execute(_EVENTS, {"seq": tally.event_seq}).all()

        found = await ask(events)
        upto = max((row.last for row in found), default=0)
        tally.add_events(upto, ((row.kind, row.many) for row in found))
        tally.add_reads(await ask(lambda conn: _reads(conn, now)))
        while await self._count_tries():
            pass
        tally.add_untold(await ask(lambda conn: _untold(conn, since)))

    async def _count_tries(self) -> bool:
        """Count a piece of what was tried; whether there may be more."""
        tally = self.tally
        seq, open_ones = tally.attempt_seq, sorted(tally.under_way)

        def asked(
            conn: Connection,
        ) -> tuple[list[Row[Any]], list[Row[Any]], list[Told]]:
            new = list(conn.execute(_ATTEMPTS, {"seq": seq}))
            old: list[Row[Any]] = []
            for first in range(0, len(open_ones), _PIECE):
                some = open_ones[first : first + _PIECE]
                old += conn.execute(_THESE, {"seqs": some})
            sent = [row.message_id for row in (*old, *new) if row.outcome == "sent"]
            return new, old, _told(conn, sent)

        new, old, told = await self.db.read(asked)
        # Forgotten by now, however they ended.
        tally.under_way &= {row.seq for row in old}
        for row in (*old, *new):
            if row.ended_at is None:
                tally.under_way.add(row.seq)
            else:
                tally.add_try(_try(row))
        for one in told:
            tally.add_told(one)
        tally.attempt_seq = max((row.seq for row in new), default=seq)
        return len(new) == _PIECE

    async def _gauges(self, now: datetime) -> Gauges:
        at = self._counted_at
        if at is None or not timedelta(0) <= now - at < _COUNTED:
            self._living = await self.db.read(queries.count_living)
            self._counted_at = now
        living = self._living

        def asked(conn: Connection) -> Gauges:
            return Gauges(
                now=now,
                milestones=living,
                read_at=_read_at(conn),
                destinations=_standings(conn),
            )

        return await self.db.read(asked)


def _read_at(conn: Connection) -> dict[str, datetime]:
    watches = conn.execute(_WATCHES).all()
    begun: dict[str, list[datetime | None]] = {
        "poll": [one.polled_at for one in watches if not one.sweep_only],
        "sweep": [one.swept_at for one in watches],
        "full": [one.full_at for one in watches],
    }
    known = {kind: [at for at in ats if at is not None] for kind, ats in begun.items()}
    return {kind: min(ats) for kind, ats in known.items() if ats and len(ats) == len(begun[kind])}


def _marks(conn: Connection, now: datetime) -> Marks:
    attempt = conn.scalar(select(func.max(_a.seq))) or 0
    # Whatever is under way began lately: before this program, all were ended.
    under_way = conn.scalars(_OPEN, {"seq": attempt - _PIECE})
    return Marks(
        event=conn.scalar(select(func.max(_e.seq))) or 0,
        attempt=attempt,
        under_way=frozenset(under_way),
        reads=frozenset(one.id for one in _reads(conn, now)),
        untold=frozenset((one.seq, one.settled_at) for one in _untold(conn, now - _LONGEST_COMMIT)),
        now=now,
    )


def _reads(conn: Connection, now: datetime) -> list[ReadDone]:
    """All that began in the last hours and have ended."""
    since = t.ticks(now - _LONGEST_READ)
    return [
        ReadDone(
            id=row.id,
            kind=row.kind,
            is_complete=row.error is None,
            took=timedelta(microseconds=t.ticks(row.ended_at) - row.id),
        )
        for row in conn.execute(_READS, {"since": since})
    ]


def _untold(conn: Connection, since: datetime) -> list[Untold]:
    return [
        Untold(
            seq=row.seq,
            settled_at=row.settled_at,
            state=State(row.state),
            reason=row.reason or "",
        )
        for row in conn.execute(_UNTOLD, {"since": since})
    ]


def _try(row: Row[Any]) -> TryDone:
    return TryDone(
        seq=row.seq,
        destination=row.destination,
        outcome=row.outcome,
        status=row.status,
    )


def _told(conn: Connection, messages: Sequence[str]) -> list[Told]:
    return [
        Told(
            destination=row.destination,
            kind=Kind(row.kind),
            at=row.at,
            seen_at=row.seen_at,
            sent_at=row.sent_at,
        )
        for row in (conn.execute(_TOLD, {"messages": messages}) if messages else ())
    ]


def _standings(conn: Connection) -> dict[str, Standing]:
    """Of the destinations in force, and of others that something is owed to."""
    waiting = {row.destination: row for row in conn.execute(_WAITING)}
    dead = {row[0]: row[1] for row in conn.execute(_DEAD)}
    known = {row.name: row for row in conn.execute(_DESTINATIONS)}
    found: dict[str, Standing] = {}
    for name in sorted({*waiting, *dead, *known}):
        row, home = waiting.get(name), known.get(name)
        found[name] = Standing(
            pending=row.pending if row else 0,
            held=row.held if row else 0,
            oldest=row.oldest if row else None,
            dead=dead.get(name, 0),
            suspended=home is not None and (home.gone or home.suspended_since is not None),
            open=home is not None and home.open_since is not None,
        )
    return found
