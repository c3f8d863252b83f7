"""Statements that look for what is due, and for what a claim must know beside."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from notifier.domain.changes import net
from notifier.domain.models import URGENT, Change, Due, Event, Form, Kind, Message, State
from notifier.domain.timers import is_placeholder
from notifier.kalshi import decoding
from notifier.storage import schema as t
from notifier.storage.queries import changes_of, events_of

_URGENT = tuple(kind.value for kind in URGENT)
# Spelled out, not bound: SQLite uses a partial index only for what it can read.
PENDING: ColumnElement[str] = literal_column(f"'{State.PENDING.value}'")
LEASED: ColumnElement[str] = literal_column(f"'{State.LEASED.value}'")
_AHEAD = t.deliveries.alias("ahead")
_d, _a = t.deliveries.c, t.attempts.c
# All that follow are made once: it costs more to make a statement than to run it.
#: No attempt lasts longer, its settlement included.
_LONGEST_ATTEMPT = timedelta(seconds=60)
# What is under way has not reached anybody yet, for all that is known.
_reached = func.coalesce(
    _a.ended_at, bindparam("now", type_=t.Instant), _a.started_at, type_=t.Instant
)
_ATTEMPTS_SINCE = (
    select(_reached.label("at"))
    .where(
        _a.destination == bindparam("destination"),
        _a.started_at > bindparam("begun", type_=t.Instant),
        _reached > bindparam("since", type_=t.Instant),
    )
    .order_by(_a.started_at.desc())
)
_GATHERING = (
    select(_d.route, func.min(_d.due_at))
    .where(
        _d.destination == bindparam("destination"),
        _d.state == PENDING,
        _d.gathered,
        _d.held.is_not(None),
        _d.due_at > bindparam("now", type_=t.Instant),
    )
    .group_by(_d.route)
)
#: What is kept back of these milestones.
_KEPT_BACK = select(_d.milestone_id, _d.route, _d.seq, _d.due_at).where(
    _d.destination == bindparam("destination"),
    _d.milestone_id.in_(bindparam("milestones", expanding=True)),
    _d.state.in_((PENDING, LEASED)),
    _d.held.is_not(None),
    _d.kind.not_in(_URGENT),
    _d.due_at > bindparam("now", type_=t.Instant),
)
#: By milestone: the last delivery that a destination has, or may have, got.
_HEARD = (
    select(_d.milestone_id, _d.kind, func.max(_d.seq).label("last"))
    .join(t.events, t.events.c.id == _d.event_id)
    .where(
        t.events.c.milestone_id.in_(bindparam("milestones", expanding=True)),
        _d.destination == bindparam("destination"),
        or_(_d.sent_at.is_not(None), _d.frozen),
    )
    .group_by(_d.milestone_id, _d.kind)
)
#: What has become of milestones since these events were seen.
_PRESENT = (
    select(t.events.c.id, t.milestones.c.doc)
    .join(t.milestones, t.milestones.c.id == t.events.c.milestone_id)
    .where(
        t.events.c.id.in_(bindparam("ids", expanding=True)),
        t.milestones.c.changed_at > t.events.c.seen_at,
    )
)
_TOLD_TOO = (
    select(_d.superseded_by, _d.event_id)
    .where(
        _d.superseded_by.in_(bindparam("events", expanding=True)),
        _d.destination == bindparam("destination"),
        _d.kind == Kind.UPDATED.value,
    )
    .order_by(_d.seq)
)
_SERVED = select(t.served).where(t.served.c.message_id.in_(bindparam("messages", expanding=True)))


def next_due(conn: Connection, destinations: Sequence[str]) -> dict[str, datetime]:
    """By destination: when there will be something to claim next."""
    found = {name: conn.scalar(_next_due(), {"destination": name}) for name in destinations}
    return {name: due_at for name, due_at in found.items() if due_at is not None}


@cache
def _next_due() -> Select[Any]:
    d = t.deliveries.c
    return (
        select(d.due_at)
        .where(
            d.state == PENDING,
            d.destination == bindparam("destination"),
            ~_is_behind(d.due_at),
        )
        .order_by(d.due_at)
        .limit(1)
    )


def due(conn: Connection, destination: str, now: datetime, *, limit: int) -> list[Due]:
    """
    What may go to a destination now: urgent ones first, then in order of birth.

    Left out is what waits behind an earlier delivery of the same milestone, unless
    it is urgent, and whatever shares its milestone with a leased one. A message
    that may have arrived comes with all of its members. `limit` is doubled for
    urgent ones: many starts of one instant are one message.
    """
    asked = {"destination": destination, "now": now, "most": limit}
    rows = conn.execute(_due_now(), asked).all()
    if len(rows) == limit and rows[-1].kind in _URGENT:
        rows = conn.execute(_due_now(), asked | {"most": 2 * limit}).all()
    whole, waiting = _whole(conn, {row.message_id for row in rows if row.frozen})
    first = _first(waiting)
    free = [row for row in rows if not row.frozen and not _is_after(row, first)]
    found = [one(row, now) for row in (*whole, *free)]
    found = _with_changes(conn, destination, found)
    return _with_heard(conn, destination, found)


def _with_changes(conn: Connection, destination: str, found: list[Due]) -> list[Due]:
    """The same; what may be netted away knows all that it would tell."""
    updates = Counter(
        one.milestone_id for one in found if one.kind is Kind.UPDATED and one.frozen_in is None
    )
    several = [
        one.event_id for one in found if one.kind is Kind.UPDATED and updates[one.milestone_id] > 1
    ]
    if not several:
        return found
    events = events_of(conn, several)
    nets = _nets(conn, destination, events)
    changes = {key: event.changes for key, event in events.items()}
    changes |= {key: changed for key, (_, changed) in nets.items()}
    return [
        replace(one, changes=changes[one.event_id], row=events[one.event_id].milestone.doc)
        if one.event_id in events
        else one
        for one in found
    ]


def _with_heard(conn: Connection, destination: str, found: list[Due]) -> list[Due]:
    """The same; what might be passed over knows whether anything was told since."""
    removed = {one.milestone_id for one in found if one.kind is Kind.REMOVED}
    removed &= {one.milestone_id for one in found if one.kind is Kind.CREATED}
    over = {one.milestone_id for one in found if one.over and one.kind not in URGENT}
    if not removed and not over:
        return found
    asked = {"milestones": list(removed | over), "destination": destination}
    last: dict[str, int] = defaultdict(int)
    gone: dict[str, int] = defaultdict(int)
    for row in conn.execute(_HEARD, asked):
        last[row.milestone_id] = max(last[row.milestone_id], row.last)
        if row.kind == Kind.REMOVED.value:
            gone[row.milestone_id] = row.last
    return [
        replace(
            one,
            heard=last[one.milestone_id] > one.seq,
            gone_told=gone[one.milestone_id] > one.seq,
        )
        for one in found
    ]


@cache
def _due_now() -> Select[Any]:
    d = t.deliveries.c
    now = bindparam("now", type_=t.Instant)
    return (
        rows(PENDING)
        .where(d.destination == bindparam("destination"), d.due_at <= now)
        .where(~_is_behind(now))
        .order_by(d.kind.in_(_URGENT).desc(), d.seq)
        .limit(bindparam("most"))
    )


def _whole(conn: Connection, messages: set[str]) -> tuple[Sequence[Row[Any]], Sequence[Row[Any]]]:
    """All members of these messages; apart, those that wait for one of their own."""
    if not messages:
        return [], []
    rows = conn.execute(_frozen(), {"messages": list(messages)}).all()
    waiting = {row.message_id for row in rows if row.waits}
    whole = [row for row in rows if row.message_id not in waiting]
    return whole, [row for row in rows if row.message_id in waiting]


def _first(waiting: Sequence[Row[Any]]) -> dict[str, int]:
    """By milestone: the first of these that only urgent ones may overtake."""
    first: dict[str, int] = {}
    for row in waiting:
        if row.kind not in _URGENT:
            first[row.milestone_id] = min(row.seq, first.get(row.milestone_id, row.seq))
    return first


def _is_after(row: Row[Any], first: Mapping[str, int]) -> bool:
    return row.kind not in _URGENT and first.get(row.milestone_id, row.seq) < row.seq


@cache
def _frozen() -> Select[Any]:
    d = t.deliveries.c
    return (
        rows(PENDING)
        .add_columns(_has_sibling(_AHEAD.c.state == LEASED).label("waits"))
        .where(d.message_id.in_(bindparam("messages", expanding=True)), d.frozen)
    )


def rows(state: ColumnElement[Any]) -> Select[Any]:
    """Deliveries in a state, beside what their milestones have become."""
    d, e, m = t.deliveries.c, t.events.c, t.milestones.c
    return (
        select(t.deliveries, e.at, e.lead_s, m.start_at, m.end_at, m.gone_at)
        .join(t.events, e.id == d.event_id)
        .outerjoin(t.milestones, m.id == d.milestone_id)
        .where(d.state == state)
        .with_for_update(of=t.deliveries, skip_locked=True)
    )


def _is_behind(until: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether another delivery of the milestone has to go first, or is on its way."""
    d, a = t.deliveries.c, _AHEAD.c
    waits = and_(
        d.kind.not_in(_URGENT),
        a.kind.not_in(_URGENT),
        a.seq < d.seq,
        a.due_at > until,
        # What is kept back does not keep back what is let pass.
        a.held.is_(None),
    )
    return _has_sibling(or_(a.state == LEASED, waits))


def _has_sibling(such: ColumnElement[bool]) -> ColumnElement[bool]:
    d, a = t.deliveries.c, _AHEAD.c
    return exists(
        select(a.seq).where(
            a.destination == d.destination,
            a.milestone_id == d.milestone_id,
            a.state.in_((PENDING, LEASED)),
            such,
        )
    )


def one(row: Row[Any], now: datetime) -> Due:
    """A delivery out of its row."""
    lead = None if row.lead_s is None else timedelta(seconds=row.lead_s)
    start = row.start_at or row.at
    # An end that is not after the start is of no use: starts move, ends are left.
    ended = row.end_at is not None and start < row.end_at <= now
    return Due(
        delivery_id=row.id,
        event_id=row.event_id,
        kind=Kind(row.kind),
        milestone_id=row.milestone_id,
        route=row.route,
        seq=row.seq,
        born_at=row.born_at,
        expires_at=row.expires_at,
        attempts=row.attempts,
        tries=row.tries,
        form=Form(row.form),
        frozen_in=row.message_id if row.frozen else None,
        at=row.at,
        lead=lead,
        start=start,
        storm=row.storm,
        gathered=row.gathered,
        over=row.gone_at is not None or (ended and not is_placeholder(row.end_at)),
    )


def attempts_since(
    conn: Connection,
    destination: str,
    since: datetime,
    now: datetime | None = None,
) -> list[datetime]:
    """
    When requests may have reached a destination after an instant, newest first.

    The latest moment at which each can have arrived: a connection takes its time. What
    is under way may arrive `now`.
    """
    begun = since - _LONGEST_ATTEMPT
    asked = {"destination": destination, "since": since, "begun": begun, "now": now}
    return list(conn.scalars(_ATTEMPTS_SINCE, asked))


def gathering(conn: Connection, destination: str, now: datetime) -> dict[str, datetime]:
    """By route: when the digest that gathers for a destination will go."""
    rows = conn.execute(_GATHERING, {"destination": destination, "now": now})
    return {row[0]: row[1] for row in rows}


def behind(conn: Connection, destination: str, found: Sequence[Due], now: datetime) -> list[Due]:
    """The same; each knows until when earlier ones of its milestone are kept back."""
    milestones = list({one.milestone_id for one in found})
    asked = {"destination": destination, "milestones": milestones, "now": now}
    kept = conn.execute(_KEPT_BACK, asked).all()
    if not kept:
        return list(found)
    ahead: dict[tuple[str, str], list[tuple[int, datetime]]] = defaultdict(list)
    for row in kept:
        ahead[row.milestone_id, row.route].append((row.seq, row.due_at))
    return [
        replace(
            one,
            behind=tuple(
                until for seq, until in ahead[one.milestone_id, one.route] if seq < one.seq
            ),
        )
        for one in found
    ]


def carried(conn: Connection, destination: str, found: Sequence[Due]) -> dict[str, list[Event]]:
    """By event of what is due: all that it would tell, itself last."""
    own = [one.event_id for one in found]
    updates = [one.event_id for one in found if one.kind is Kind.UPDATED]
    earlier: dict[str, list[str]] = defaultdict(list)
    if updates:
        asked = {"events": updates, "destination": destination}
        for newest, event_id in conn.execute(_TOLD_TOO, asked):
            earlier[newest].append(event_id)
    ids = [*own, *(key for keys in earlier.values() for key in keys)]
    events = events_of(conn, ids)
    return {
        key: [events[each] for each in (*earlier[key], key) if each in events]
        for key in own
        if key in events
    }


def served(conn: Connection, messages: Sequence[Message]) -> dict[str, frozenset[str]]:
    """By message: the marks of those recipients who have it already."""
    ids = [one.id for one in messages if one.members[0].frozen_in is not None]
    found: dict[str, set[str]] = defaultdict(set)
    if ids:
        for row in conn.execute(_SERVED, {"messages": ids}):
            found[row.message_id].add(row.mark)
    return {key: frozenset(marks) for key, marks in found.items()}


def members(conn: Connection, messages: Sequence[Message]) -> list[list[Event]]:
    """The events of each message, in its order; a net change tells all it contains."""
    ids = [event_id for message in messages for event_id in message.event_ids]
    found = events_of(conn, ids)
    own = {key: one for key, one in found.items() if one.kind is Kind.UPDATED}
    nets = _nets(conn, messages[0].destination, own) if own else {}
    for key, (earlier, changes) in nets.items():
        found[key] = replace(found[key], changes=changes, supersedes=earlier)
    new = [key for key, one in found.items() if one.kind is Kind.CREATED]
    for row in conn.execute(_PRESENT, {"ids": new}) if new else ():
        found[row.id] = replace(found[row.id], present=decoding.milestone(row.doc))
    return [[found[key] for key in message.event_ids] for message in messages]


def _nets(
    conn: Connection, destination: str, own: Mapping[str, Event]
) -> dict[str, tuple[tuple[str, ...], tuple[Change, ...]]]:
    """
    Those of these updates that have taken the place of earlier ones there.

    Each with these, and with what all of them come to together.
    """
    earlier: dict[str, list[str]] = defaultdict(list)
    asked = {"events": list(own), "destination": destination}
    for newest, event_id in conn.execute(_TOLD_TOO, asked):
        earlier[newest].append(event_id)
    if not earlier:
        return {}
    changes = changes_of(conn, [key for keys in earlier.values() for key in keys])
    return {
        newest: (
            tuple(keys),
            net(
                [*(changes[key] for key in keys), own[newest].changes],
                own[newest].milestone.doc,
            ),
        )
        for newest, keys in earlier.items()
        if all(key in changes for key in keys)
    }
