"""What people and programs read: rows as the contract shows them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, literal_column, select

from notifier.domain.live_status import LiveData
from notifier.domain.models import Change, Event, Json, Kind, State, TimerKind
from notifier.domain.silences import keys_of
from notifier.kalshi import decoding
from notifier.storage import admin, statements
from notifier.storage import schema as t
from notifier.storage.live_status import data

_FINAL = (
    *(State.DELIVERED.value, State.EXPIRED.value, State.SUPERSEDED.value),
    *(State.DROPPED.value, State.DEAD.value),
)

_a, _d = t.attempts.c, t.deliveries.c
#: The latest finished attempt of a destination.
_LATEST = (
    select(_a.outcome, _a.reason)
    .where(_a.destination == bindparam("destination"), _a.outcome.is_not(None))
    .order_by(_a.started_at.desc(), _a.seq.desc())
    .limit(1)
)
_LAST_SENT = select(func.max(_d.sent_at)).where(
    _d.destination == bindparam("destination"), _d.sent_at.is_not(None)
)
#: By destination: how many deliveries are in one of the states that last.
_LASTING = tuple(
    select(_d.destination, literal_column(f"'{state.value}'"), func.count())
    .where(_d.state == literal_column(f"'{state.value}'"))
    # Not by an index of all there are, for the sake of its order.
    .group_by(_d.destination + "")
    for state in (State.PENDING, State.LEASED, State.DEAD)
)
#: By destination: how many deliveries quiet hours or a digest keep back.
_HELD = (
    select(t.deliveries.c.destination, func.count())
    .where(
        statements.is_pending(t.deliveries.c.state),
        t.deliveries.c.held.is_not(None),
        t.deliveries.c.due_at > bindparam("now", type_=t.Instant),
    )
    .group_by(t.deliveries.c.destination)
)
#: By destination: how many deliveries were dropped lately.
_DROPPED = (
    select(t.deliveries.c.destination, func.count())
    .where(
        t.deliveries.c.state == State.DROPPED.value,
        t.deliveries.c.settled_at >= bindparam("day", type_=t.Instant),
    )
    .group_by(t.deliveries.c.destination)
)
_STANDINGS = select(t.destinations).order_by(t.destinations.c.name)
_OWED = (
    select(t.deliveries.c.destination).where(statements.is_pending(t.deliveries.c.state)).distinct()
)
#: How a destination stands that is not in force.
_UNKNOWN: Mapping[str, Json] = {
    "paused_until": None,
    "suspended_since": None,
    "gone": False,
    "open_since": None,
    "reason": None,
    "next_try_at": None,
}
#: Built once: it is asked for with every message.
_EVENTS = (
    select(t.events, t.live.c.status, t.live.c.word, t.live.c.since)
    .add_columns(t.live.c.checked_at)
    .outerjoin(t.live, t.live.c.milestone_id == t.events.c.milestone_id)
    .where(t.events.c.id.in_(bindparam("ids", expanding=True)))
)
_CHANGES = select(t.events.c.id, t.events.c.changes).where(
    t.events.c.id.in_(bindparam("ids", expanding=True))
)


def stamp(instant: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z`; fractions only where there are any."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


# --- events -------------------------------------------------------------------


def events_of(conn: Connection, ids: Sequence[str]) -> dict[str, Event]:
    """The events with these ids, each with what live data says of its milestone."""
    rows = conn.execute(_EVENTS, {"ids": list(ids)})
    return {row.id: event(row, live=data(row)) for row in rows}


def changes_of(conn: Connection, ids: Sequence[str]) -> dict[str, tuple[Change, ...]]:
    """What the updates with these ids changed."""
    rows = conn.execute(_CHANGES, {"ids": list(ids)})
    return {row.id: tuple(map(_change, row.changes)) for row in rows}


def event(row: Row[Any], *, live: LiveData | None = None) -> Event:
    """A stored event, with what live data says of its milestone."""
    return Event(
        id=row.id,
        kind=Kind(row.kind),
        milestone=decoding.milestone(row.doc),
        at=row.at,
        seen_at=row.seen_at,
        changes=tuple(_change(change) for change in row.changes),
        missed=row.missed,
        lead=None if row.lead_s is None else timedelta(seconds=row.lead_s),
        again_from=row.again_from,
        live=live,
    )


def _change(row: dict[str, Any]) -> Change:
    return Change(
        field=row["field"],
        before=row["before"],
        after=row["after"],
        added=tuple(row["added"]) if "added" in row else None,
        removed=tuple(row["removed"]) if "removed" in row else None,
    )


def events_since(conn: Connection, since: datetime) -> Iterator[Event]:
    """The events seen since then, oldest first."""
    wanted = select(t.events).where(t.events.c.seen_at >= since)
    for row in _oldest_first(conn, wanted, t.events.c.seq, None):
        yield event(row)


def event_rows(
    conn: Connection, *, since: datetime | None = None, limit: int | None = None
) -> Iterator[dict[str, Json]]:
    """Events, oldest first; with `limit` the newest of them."""
    e = t.events.c
    wanted = select(t.events)
    if since is not None:
        wanted = wanted.where(e.seen_at >= since)
    for row in _oldest_first(conn, wanted, e.seq, limit):
        yield event_row(row)


def event_row(row: Row[Any]) -> dict[str, Json]:
    """One event as the contract shows it."""
    return {
        "event_id": row.id,
        "kind": row.kind,
        "milestone_id": row.milestone_id,
        "at": stamp(row.at),
        "seen_at": stamp(row.seen_at),
        "missed": row.missed,
        "changes": row.changes,
        "milestone": msgspec.json.decode(row.doc),
    }


def _oldest_first(conn: Connection, wanted: Any, seq: Any, limit: int | None) -> Iterator[Row[Any]]:
    if limit is None:
        yield from conn.execution_options(yield_per=500).execute(wanted.order_by(seq))
    else:
        newest = conn.execute(wanted.order_by(seq.desc()).limit(limit)).all()
        yield from reversed(newest)


# --- deliveries ---------------------------------------------------------------


def delivery_rows(
    conn: Connection,
    *,
    dead: bool = False,
    since: datetime | None = None,
    limit: int | None = None,
    now: datetime | None = None,
) -> Iterator[dict[str, Json]]:
    """
    Deliveries, oldest first; with `limit` the newest of them.

    With `now`, what waits for its destination alone says so.
    """
    d = t.deliveries.c
    rests = resting(conn, now)
    wanted = select(t.deliveries)
    if dead:
        wanted = wanted.where(d.state == State.DEAD.value)
    if since is not None:
        wanted = wanted.where(d.born_at >= since)
    for row in _oldest_first(conn, wanted, d.seq, limit):
        yield delivery_row(row, rests)


def resting(conn: Connection, now: datetime | None) -> dict[str, str]:
    """By destination: why nothing is sent to it."""
    if now is None:
        return {}
    found = {row.name: _rest(row, now) for row in conn.execute(_STANDINGS)}
    for name in conn.scalars(_OWED):
        found.setdefault(name, f"{name} is not configured any more")
    return {name: words for name, words in found.items() if words is not None}


def _rest(row: Row[Any], now: datetime) -> str | None:
    """Why nothing is sent to a destination; None: no such reason."""
    if row.gone:
        how = "gone"
    elif row.suspended_since is not None:
        how = "suspended"
    elif row.open_since is not None:
        how = "failing"
    elif row.paused_until is not None and row.paused_until > now:
        how = "paused"
    else:
        return None
    return ": ".join(filter(None, (f"{row.name} is {how}", row.reason)))


def delivery_row(row: Row[Any], resting: Mapping[str, str]) -> dict[str, Json]:
    """One delivery as the contract shows it; `resting` says who is sent nothing."""
    waits = row.state == State.PENDING.value
    reason = row.reason
    if row.superseded_by not in {None, row.event_id}:
        reason = f"{row.reason}: {row.superseded_by}"
    return {
        "delivery_id": row.id,
        "event_id": row.event_id,
        "kind": row.kind,
        "milestone_id": row.milestone_id,
        "message_id": row.message_id,
        "destination": row.destination,
        "route": row.route,
        "state": row.state,
        "attempts": row.attempts,
        "due_at": None if row.state in _FINAL else stamp(row.due_at),
        "sent_at": stamp(row.sent_at),
        "reason": (waits and row.held)
        or reason
        or (resting.get(row.destination) if waits else None),
    }


def event_with_deliveries(
    conn: Connection, event_id: str, *, now: datetime | None = None
) -> tuple[Event, dict[str, Json], list[dict[str, Json]]] | None:
    """
    One event as value and as row, and its deliveries; None: no such event.

    With `now`, what waits for its destination alone says so.
    """
    row = conn.execute(select(t.events).where(t.events.c.id == event_id)).first()
    if row is None:
        return None
    d = t.deliveries.c
    owed = conn.execute(select(t.deliveries).where(d.event_id == event_id).order_by(d.seq))
    rests = resting(conn, now)
    rows = [delivery_row(row, rests) | {"tries": _tries(conn, row.message_id)} for row in owed]
    return event(row), event_row(row), rows


def _tries(conn: Connection, message_id: str | None) -> list[dict[str, Json]]:
    a = t.attempts.c
    return try_rows(
        conn.execute(select(t.attempts).where(a.message_id == message_id).order_by(a.seq))
    )


def try_rows(rows: Iterable[Row[Any]]) -> list[dict[str, Json]]:
    """Attempts as people see them."""
    return [
        {
            "at": stamp(row.started_at),
            "outcome": row.outcome or "no answer yet",
            "status": row.status,
            "reason": row.reason,
            "members": row.members,
        }
        for row in rows
    ]


def event_ids(conn: Connection, beginning: str, *, limit: int) -> list[str]:
    """The ids that begin so."""
    e = t.events.c
    # A range, and not LIKE: that would look at every id.
    begins = (e.id >= beginning, e.id < beginning + "\U0010ffff")
    return list(conn.scalars(select(e.id).where(*begins).order_by(e.id).limit(limit)))


# --- status -------------------------------------------------------------------


def status(conn: Connection, now: datetime, *, living: int | None = None) -> dict[str, Json]:
    """
    What is watched, the last reads, what is owed, and the next starts.

    `living` may say how many milestones there are: to count them takes longest.
    """
    e, q = t.events.c, t.quarantine.c
    day = now - timedelta(days=1)
    kinds = conn.execute(
        select(e.kind, func.count()).where(e.seen_at >= day).group_by(e.kind + "")
    ).all()
    return {
        "milestones": count_living(conn) if living is None else living,
        "watches": [_watch(conn, row) for row in conn.execute(select(t.watches))],
        "events_24h": {row[0]: row[1] for row in kinds},
        "destinations": destination_rows(conn, now),
        "quarantined": conn.scalar(select(func.count(q.fingerprint))),
        "next_starts": _next_starts(conn, now),
        "conditions": _conditions(conn),
        "silences": [
            {key: row[key] for key in ("id", "until", "match", "why")}
            for row in silence_rows(conn, now)
        ],
    }


def _conditions(conn: Connection) -> list[Json]:
    """What is wrong with the service itself, oldest first; told once to operators."""
    c = t.conditions.c
    # A downtime that is still to be told is no trouble any more.
    wrong = select(t.conditions).where(c.key.not_like("catchup:%"))
    rows = conn.execute(wrong.order_by(c.since, c.key))
    return [{"key": row.key, "since": stamp(row.since), "words": row.words} for row in rows]


def silence_rows(
    conn: Connection, now: datetime, *, everything: bool = False
) -> Iterator[dict[str, Json]]:
    """Silences in force, oldest first; with `everything` also those that are over."""
    for silence, expired_at in admin.list_silences(conn, now, everything=everything):
        yield {
            "id": silence.id,
            "active": expired_at is None and silence.until > now,
            "created_at": stamp(silence.created_at),
            "until": stamp(silence.until),
            "expired_at": stamp(expired_at),
            "match": keys_of(silence),
            "why": silence.why,
        }


def destination_names(conn: Connection) -> list[str]:
    """The destinations that the service sends to, by name."""
    name = t.destinations.c.name
    return list(conn.scalars(select(name).order_by(name)))


def outlook(conn: Connection, now: datetime) -> tuple[int, int]:
    """How many milestones there are, and how many starts lie ahead."""
    c = t.timers.c
    starts = select(func.count()).where(c.kind == TimerKind.START.value, c.fire_at > now)
    return count_living(conn), conn.scalar(starts) or 0


def count_living(conn: Connection) -> int:
    """How many milestones there are."""
    m = t.milestones.c
    living = select(func.count()).where(m.gone_at.is_(None), m.watches != 0)
    return conn.scalar(living) or 0


def _watch(conn: Connection, row: Row[Any]) -> dict[str, Json]:
    r = t.reads.c
    last = conn.execute(
        select(t.reads).where(r.watch == row.name).order_by(r.id.desc()).limit(1)
    ).first()
    return {
        "name": row.name,
        "baselined_at": stamp(row.baselined_at),
        "watermark": stamp(row.watermark),
        "polled_at": stamp(row.polled_at),
        "swept_at": stamp(row.swept_at),
        "full_at": stamp(row.full_at),
        "sweep_only": row.sweep_only,
        "last_read": None if last is None else _read(last),
    }


def _read(row: Row[Any]) -> dict[str, Json]:
    return {
        "kind": row.kind,
        "ended_at": stamp(row.ended_at),
        "pages": row.pages,
        "rows": row.rows,
        "events": row.events,
        "error": row.error,
    }


def destination_rows(conn: Connection, now: datetime) -> list[dict[str, Json]]:
    """Those in force by name, then those that are not and are owed something."""
    lasting = [row for asked in _LASTING for row in conn.execute(asked)]
    counts = {(row[0], row[1]): row[2] for row in lasting}
    held = {row[0]: row[1] for row in conn.execute(_HELD, {"now": now})}
    day = {"day": now - timedelta(days=1)}
    dropped = {row[0]: row[1] for row in conn.execute(_DROPPED, day)}
    stands = _standings(conn)
    owed = {name for name, state in counts if state == State.PENDING.value}
    names = (*stands, *sorted(owed - stands.keys()))
    sent = {one: conn.scalar(_LAST_SENT, {"destination": one}) for one in names}
    return [
        {
            "name": name,
            "configured": name in stands,
            "pending": counts.get((name, State.PENDING.value), 0),
            "held": held.get(name, 0),
            "leased": counts.get((name, State.LEASED.value), 0),
            "dead": counts.get((name, State.DEAD.value), 0),
            "dropped_24h": dropped.get(name, 0),
            "last_sent_at": stamp(sent.get(name)),
            **stands.get(name, _UNKNOWN),
        }
        for name in names
    ]


def _standings(conn: Connection) -> dict[str, dict[str, Json]]:
    """How each destination in force stands, by name."""
    d = t.deliveries.c
    again = {
        row[0]: row[1]
        for row in conn.execute(
            select(d.destination, func.min(d.due_at))
            .where(statements.is_pending(d.state), d.attempts > 0)
            .group_by(d.destination)
        )
    }
    return {
        row.name: {
            "paused_until": stamp(row.paused_until),
            "suspended_since": stamp(row.suspended_since),
            "gone": row.gone,
            "open_since": stamp(row.open_since),
            "reason": row.reason or _failing(conn, row.name),
            "next_try_at": stamp(again.get(row.name)),
        }
        for row in conn.execute(_STANDINGS)
    }


def _failing(conn: Connection, destination: str) -> str | None:
    """Why the latest finished attempt was not taken; None: it was."""
    last = conn.execute(_LATEST, {"destination": destination}).first()
    return None if last is None or last.outcome == "sent" else last.reason


def _next_starts(conn: Connection, now: datetime) -> list[Json]:
    c, m = t.timers.c, t.milestones.c
    rows = conn.execute(
        select(m.id, m.title, m.category, m.type, c.fire_at)
        .join(t.timers, c.milestone_id == m.id)
        .where(c.kind == TimerKind.START.value, c.fire_at > now)
        .order_by(c.fire_at)
        .limit(5)
    )
    return [
        {
            "milestone_id": row.id,
            "title": row.title,
            "category": row.category,
            "type": row.type,
            "start": stamp(row.fire_at),
        }
        for row in rows
    ]
