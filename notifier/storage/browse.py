"""
Long lists for people, a page at a time.

A page goes on where the one before it ended, by the values of its last row: what is
added meanwhile shifts nothing. Each statement walks an index in the list's order, or
collects the few rows that there can be.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)

from notifier.domain.models import State
from notifier.domain.pagination import (
    DeliveryFilter,
    EventFilter,
    Leaf,
    MilestoneFilter,
    RowJson,
    Slice,
)
from notifier.domain.search import sought
from notifier.storage import cursors, queries
from notifier.storage import schema as t

_m, _e, _d, _u = t.milestones.c, t.events.c, t.deliveries.c, t.audit.c
_Conditions = Sequence[ColumnElement[bool]]
#: How many milestones there are of a category and type.
Kinds: TypeAlias = dict[tuple[str, str], int]

#: Of a milestone's story.
EVENTS_SHOWN = 100
DELIVERIES_SHOWN = 200
#: So many can be looked through one by one in their order; more, in the order in
#: which they lie.
_NARROW = 10_000
#: Milestones that are counted at a time.
_PIECE = 20_000
#: States that few deliveries are in: those that are can be collected and sorted.
_FEW = frozenset({State.PENDING, State.LEASED, State.DEAD})
#: States that have an index of their own, in the list's order.
_UNSENT = frozenset({State.EXPIRED, State.SUPERSEDED, State.DROPPED})

_LISTED = (
    *(_m.id, _m.title, _m.category, _m.type, _m.start_at, _m.end_at, _m.doc),
    *(_m.first_seen_at, _m.changed_at, _m.gone_at),
)
_DELIVERIES = select(
    t.deliveries,
    select(_m.title).where(_m.id == _d.milestone_id).scalar_subquery().label("title"),
)
_NEWEST = select(_e.seq).order_by(_e.seq.desc()).limit(1)


# --- milestones ---------------------------------------------------------------


def milestones(conn: Connection, wanted: MilestoneFilter, part: Slice) -> Leaf:
    """By start, soonest first."""
    start: ColumnElement[int] = type_coerce(_m.start_at, BigInteger)
    if wanted.search and not _is_narrow(conn, wanted):
        # The sum keeps SQLite from its index.
        start = start + 0
    asked: Select[Any] = select(*_LISTED).where(*_of_milestones(wanted, start))
    if part.cursor is not None:
        at, last = cursors.read("milestones", part.cursor, tuple[int, str])
        asked = asked.where(start >= at, or_(start > at, _m.id > last))
    rows = conn.execute(asked.order_by(start, _m.id).limit(part.limit + 1)).all()
    return _leaf(rows, part, milestone_row, _place_of_milestone)


def _is_narrow(conn: Connection, wanted: MilestoneFilter) -> bool:
    """Whether few milestones lie within the time that is asked for."""
    if wanted.since is None:
        return False
    within = select(_m.start_at).where(_m.start_at >= wanted.since).limit(_NARROW)
    return (conn.scalar(select(func.count()).select_from(within.subquery())) or 0) < (_NARROW)


def _place_of_milestone(row: Row[Any]) -> str:
    return cursors.spell("milestones", t.ticks(row.start_at), row.id)


def _of_milestones(
    wanted: MilestoneFilter, start: ColumnElement[int]
) -> Iterable[ColumnElement[bool]]:
    if wanted.gone is not None:
        yield _m.gone_at.is_not(None) if wanted.gone else _m.gone_at.is_(None)
    if wanted.gone is False:
        yield _m.watches != 0
    if wanted.category is not None:
        yield _m.category == wanted.category
    if wanted.type is not None:
        yield _m.type == wanted.type
    if wanted.since is not None:
        yield start >= t.ticks(wanted.since)
    if wanted.until is not None:
        yield start < t.ticks(wanted.until)
    for part in sought(wanted.search):
        in_id = func.lower(_m.id).contains(part, autoescape=True)
        yield or_(_m.search.contains(part, autoescape=True), in_id)


def milestone_row(row: Row[Any]) -> RowJson:
    """One milestone of the list."""
    return {
        "milestone_id": row.id,
        "title": row.title,
        "category": row.category,
        "type": row.type,
        "start": queries.stamp(row.start_at),
        "end": queries.stamp(row.end_at),
        "status": _status(row.doc),
        "first_seen_at": queries.stamp(row.first_seen_at),
        "changed_at": queries.stamp(row.changed_at),
        "gone_at": queries.stamp(row.gone_at),
    }


def _status(doc: bytes) -> str | None:
    details = msgspec.json.decode(doc).get("details")
    status = details.get("status") if isinstance(details, dict) else None
    return status if isinstance(status, str) else None


def kinds_after(
    conn: Connection, after: int | None, *, many: int = _PIECE
) -> tuple[Kinds, int | None]:
    """
    How many there are of each category and type, among the next `many` by their start.

    With the start after which to go on; None: those were the last.
    """
    start: ColumnElement[int] = type_coerce(_m.start_at, BigInteger)
    beyond = [] if after is None else [start > after]
    last = conn.scalar(select(start).where(*beyond).order_by(start).limit(1).offset(many))
    within = beyond if last is None else [*beyond, start <= last]
    asked = select(_m.category, _m.type, func.count()).where(
        *within, _m.gone_at.is_(None), _m.watches != 0
    )
    rows = conn.execute(asked.group_by(_m.category, _m.type))
    return {(category, kind): number for category, kind, number in rows}, last


def kind_rows(kinds: Kinds) -> list[RowJson]:
    """How many there are of each category and type, by name."""
    return [
        {"category": category, "type": kind, "milestones": number}
        for (category, kind), number in sorted(kinds.items())
    ]


def milestone(conn: Connection, milestone_id: str, now: datetime) -> RowJson | None:
    """One milestone and all that is known of it."""
    asked: Select[Any] = select(*_LISTED).where(_m.id == milestone_id)
    row = conn.execute(asked).first()
    if row is None:
        return None
    told = EventFilter(milestone_id=milestone_id)
    owed = DeliveryFilter(milestone_id=milestone_id)
    return {
        "milestone": milestone_row(row),
        "document": msgspec.json.decode(row.doc),
        "events": events(conn, told, Slice(limit=EVENTS_SHOWN)).rows,
        "timers": _timers(conn, milestone_id),
        "deliveries": deliveries(conn, owed, Slice(limit=DELIVERIES_SHOWN), now).rows,
        "live": _live(conn, milestone_id),
    }


def _timers(conn: Connection, milestone_id: str) -> list[RowJson]:
    c = t.timers.c
    asked = select(t.timers).where(c.milestone_id == milestone_id)
    return [
        {"kind": row.kind, "lead_s": row.lead_s, "fire_at": queries.stamp(row.fire_at)}
        for row in conn.execute(asked.order_by(c.fire_at, c.kind))
    ]


def _live(conn: Connection, milestone_id: str) -> RowJson | None:
    asked = select(t.live).where(t.live.c.milestone_id == milestone_id)
    row = conn.execute(asked).first()
    if row is None:
        return None
    return {
        "status": row.status,
        "word": row.word,
        "since": queries.stamp(row.since),
        "checked_at": queries.stamp(row.checked_at),
    }


# --- events -------------------------------------------------------------------


def events(conn: Connection, wanted: EventFilter, part: Slice) -> Leaf:
    """The newest first."""
    conditions = [*_before(part, "events", _e.seq)]
    if wanted.milestone_id is not None:
        conditions.append(_e.milestone_id == wanted.milestone_id)
    if wanted.since is not None:
        # The sum keeps SQLite from walking all numbers up to the first that fits.
        lowest = select(func.min(_e.seq + 0)).where(_e.seen_at >= wanted.since)
        # Nothing is there, but every number is above it: the other half decides.
        conditions.append(_e.seq >= (conn.scalar(lowest) or 0))
        seen = type_coerce(_e.seen_at, BigInteger) + 0
        conditions.append(seen >= t.ticks(wanted.since))
    kinds = list(dict.fromkeys(wanted.kinds))
    seqs = _newest(conn, _e.seq, _each(conditions, _e.kind, kinds), part.limit + 1)
    rows = _these(conn, t.events, seqs)
    return _leaf(rows, part, queries.event_row, _place("events"))


def _each(
    conditions: _Conditions, column: ColumnElement[str], values: Sequence[str]
) -> list[_Conditions]:
    """The same for each of the values: an index gives those of one in order."""
    if not values:
        return [conditions]
    return [[*conditions, column == str(value)] for value in values]


def newest(conn: Connection) -> int:
    """The number of the newest event; 0 without any."""
    return conn.scalar(_NEWEST) or 0


def events_after(conn: Connection, number: int, limit: int) -> list[tuple[int, RowJson]]:
    """Events with their numbers, oldest first: those above a number."""
    asked = select(t.events).where(_e.seq > number).order_by(_e.seq).limit(limit)
    return [(row.seq, queries.event_row(row)) for row in conn.execute(asked)]


# --- deliveries ---------------------------------------------------------------


def deliveries(conn: Connection, wanted: DeliveryFilter, part: Slice, now: datetime) -> Leaf:
    """The newest first."""
    states = list(dict.fromkeys(wanted.states))
    has_index = bool(states) and not set(states) - _FEW - _UNSENT
    conditions = [
        *_before(part, "deliveries", _d.seq),
        *_of_deliveries(wanted, walked=not has_index),
    ]
    many = part.limit + 1
    if wanted.milestone_id is not None:
        ids = _events_of(conn, wanted.milestone_id)
        conditions += [_d.event_id.in_(ids), *_among(states)]
        seqs = _newest(conn, _d.seq, [conditions], many, sorts=True)
    elif has_index:
        seqs = []
        for state in states:
            such = [*conditions, _d.state == literal_column(f"'{state.value}'")]
            seqs += _newest(conn, _d.seq, [such], many, sorts=state in _FEW)
        seqs = sorted(seqs, reverse=True)[:many]
    else:
        seqs = _newest(conn, _d.seq, [[*conditions, *_among(states)]], many)
    asked = _DELIVERIES.where(_d.seq.in_(seqs)).order_by(_d.seq.desc())
    resting = queries.resting(conn, now)

    def spelt(row: Row[Any]) -> RowJson:
        more = {"title": row.title, "born_at": queries.stamp(row.born_at)}
        return queries.delivery_row(row, resting) | more

    return _leaf(conn.execute(asked).all(), part, spelt, _place("deliveries"))


def _of_deliveries(wanted: DeliveryFilter, *, walked: bool) -> Iterable[ColumnElement[bool]]:
    """With `walked` along their own indices."""
    for column, value in (
        (_d.destination, wanted.destination),
        (_d.route, wanted.route),
    ):
        if value is not None:
            yield (column if walked else column + "") == value
    if wanted.since is not None:
        yield _d.born_at >= wanted.since


def _among(states: Sequence[State]) -> Iterable[ColumnElement[bool]]:
    # A partial index would have to be sorted; the order of birth is there already.
    if states:
        yield (_d.state + "").in_([state.value for state in states])


def _events_of(conn: Connection, milestone_id: str) -> list[str]:
    """The newest of a milestone's events: an id for each that may be owed."""
    asked = select(_e.id).where(_e.milestone_id == milestone_id)
    return list(conn.scalars(asked.order_by(_e.seq.desc()).limit(1000)))


# --- audit --------------------------------------------------------------------


def audit(conn: Connection, part: Slice) -> Leaf:
    """What people had done, the newest first."""
    asked = select(t.audit).where(*_before(part, "audit", _u.seq))
    rows = conn.execute(asked.order_by(_u.seq.desc()).limit(part.limit + 1)).all()
    return _leaf(rows, part, _deed, _place("audit"))


def _deed(row: Row[Any]) -> RowJson:
    return {
        "at": queries.stamp(row.at),
        "who": row.who,
        "action": row.action,
        "subject": row.subject,
        "detail": row.detail,
    }


# --- pages --------------------------------------------------------------------


def _before(part: Slice, place: str, seq: ColumnElement[int]) -> Iterable[ColumnElement[bool]]:
    if part.cursor is not None:
        [last] = cursors.read(place, part.cursor, tuple[int])
        yield seq < last


def _place(name: str) -> Callable[[Row[Any]], str]:
    return lambda row: cursors.spell(name, row.seq)


def _newest(
    conn: Connection,
    seq: ColumnElement[int],
    alternatives: Sequence[_Conditions],
    many: int,
    *,
    sorts: bool = False,
) -> list[int]:
    """
    The highest numbers that meet all conditions of one of the alternatives.

    `sorts`: those that do are few; they are collected, not met on a walk.
    """
    found: list[int] = []
    for conditions in alternatives:
        order = (seq + 0 if sorts else seq).desc()
        asked = select(seq).where(*conditions).order_by(order).limit(many)
        found += conn.scalars(asked)
    return sorted(found, reverse=True)[:many]


def _these(conn: Connection, table: Table, seqs: Sequence[int]) -> Sequence[Row[Any]]:
    seq = table.c.seq
    return conn.execute(select(table).where(seq.in_(seqs)).order_by(seq.desc())).all()


def _leaf(
    rows: Sequence[Row[Any]],
    part: Slice,
    spelt: Callable[[Row[Any]], RowJson],
    place: Callable[[Row[Any]], str],
) -> Leaf:
    """A page out of its rows and one more, which says that there is another."""
    shown = rows[: part.limit]
    has_more = len(rows) > len(shown)
    return Leaf(
        rows=[spelt(row) for row in shown],
        next=place(shown[-1]) if has_more and shown else None,
    )
