"""
Statements of delivery: what is due, claim with lease and token, settle.

Every change of a leased delivery is a compare-and-set on its token: whoever lost
the lease changes nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from notifier.core.commit import Settlement
from notifier.core.compose import Ended
from notifier.core.model import URGENT, Due, Event, Form, Kind, Message, State
from notifier.core.settle import (
    Dead,
    Delivered,
    Expired,
    Rescheduled,
    Standing,
    Verdict,
    abandoned,
    together,
)
from notifier.core.timing import is_placeholder
from notifier.store import schema as t
from notifier.store.look import events_of
from notifier.store.pages import Decode, many

_URGENT = tuple(kind.value for kind in URGENT)
# Spelled out, not bound: SQLite uses a partial index only for what it can read.
_PENDING: ColumnElement[str] = literal_column(f"'{State.PENDING.value}'")
_LEASED: ColumnElement[str] = literal_column(f"'{State.LEASED.value}'")


def next_due(conn: Connection) -> dict[str, datetime]:
    """By destination: when there will be something to claim next."""
    d = t.deliveries.c
    rows = conn.execute(
        select(d.destination, func.min(d.due_at))
        .where(d.state == _PENDING, ~_is_behind(d.due_at))
        .group_by(d.destination)
    )
    return {row[0]: row[1] for row in rows}


def due(conn: Connection, destination: str, now: datetime, *, limit: int) -> list[Due]:
    """
    What may go to a destination now: urgent ones first, then in order of birth.

    Left out is what waits behind an earlier delivery of the same milestone, unless
    it is urgent, and whatever shares its milestone with a leased one. A message
    that may have arrived comes with all of its members.
    """
    d = t.deliveries.c
    rows = conn.execute(
        _rows(_PENDING)
        .where(d.destination == destination, d.due_at <= now, ~_is_behind(now))
        .order_by(d.kind.in_(_URGENT).desc(), d.seq)
        .limit(limit)
    ).all()
    frozen = {row.message_id for row in rows if row.frozen}
    free = [row for row in rows if not row.frozen]
    return [_due(row, now) for row in (*_whole(conn, frozen), *free)]


def _whole(conn: Connection, messages: set[str]) -> list[Row[Any]]:
    """All members of these messages, as they were told; none while one must wait."""
    if not messages:
        return []
    d, e = t.deliveries.c, t.events.c
    rows = conn.execute(
        _rows(_PENDING)
        .add_columns(_has_leased_sibling().label("waits"))
        .where(d.message_id.in_(messages), d.frozen)
        .order_by(case((d.kind.in_(_URGENT), e.at)), d.seq)
    ).all()
    waiting = {row.message_id for row in rows if row.waits}
    return [row for row in rows if row.message_id not in waiting]


def _rows(state: ColumnElement[Any]) -> Select[Any]:
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
    d, ahead = t.deliveries.c, t.deliveries.alias("ahead")
    a = ahead.c
    waits = and_(
        d.kind.not_in(_URGENT), a.kind.not_in(_URGENT), a.seq < d.seq, a.due_at > until
    )
    return _has_sibling(ahead, or_(a.state == _LEASED, waits))


def _has_leased_sibling() -> ColumnElement[bool]:
    ahead = t.deliveries.alias("ahead")
    return _has_sibling(ahead, ahead.c.state == _LEASED)


def _has_sibling(ahead: FromClause, such: ColumnElement[bool]) -> ColumnElement[bool]:
    d, a = t.deliveries.c, ahead.c
    return exists(
        select(a.seq).where(
            a.destination == d.destination,
            a.milestone_id == d.milestone_id,
            a.state.in_((_PENDING, _LEASED)),
            such,
        )
    )


def _due(row: Row[Any], now: datetime) -> Due:
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
        form=Form(row.form),
        frozen_in=row.message_id if row.frozen else None,
        at=row.at,
        lead=lead,
        start=start,
        over=row.gone_at is not None or (ended and not is_placeholder(row.end_at)),
    )


def attempts_since(
    conn: Connection, destination: str, since: datetime, *, limit: int
) -> list[datetime]:
    """The latest attempts of a destination after an instant, newest first."""
    a = t.attempts.c
    return list(
        conn.scalars(
            select(a.started_at)
            .where(a.destination == destination, a.started_at > since)
            .order_by(a.started_at.desc())
            .limit(limit)
        )
    )


# --- claim --------------------------------------------------------------------


def lease(
    conn: Connection,
    messages: Sequence[tuple[Message, str]],
    ended: Sequence[Ended],
    *,
    now: datetime,
    until: datetime,
) -> None:
    """Lease each message's members under its token, counting the attempt now."""
    d = t.deliveries.c
    many(
        conn,
        update(t.deliveries)
        .where(d.id == bindparam("key"), d.state == _PENDING)
        .values(
            state=State.LEASED.value,
            token=bindparam("mine"),
            message_id=bindparam("message"),
            lease_until=until,
            attempts=d.attempts + 1,
        ),
        [
            {"key": member.delivery_id, "mine": token, "message": message.id}
            for message, token in messages
            for member in message.members
        ],
    )
    many(
        conn,
        t.attempts.insert(),
        [
            {
                "message_id": message.id,
                "destination": message.destination,
                "n": message.attempt,
                "members": len(message.members),
                "started_at": now,
            }
            for message, _ in messages
        ],
    )
    _end(conn, ended, now)


def _end(conn: Connection, ended: Sequence[Ended], now: datetime) -> None:
    d = t.deliveries.c
    many(
        conn,
        update(t.deliveries)
        .where(d.id == bindparam("key"), d.state == _PENDING)
        .values(state=bindparam("to"), reason=bindparam("why"), settled_at=now),
        [
            {"key": end.delivery_id, "to": end.state.value, "why": end.reason}
            for end in ended
        ],
    )


# --- settle -------------------------------------------------------------------


def settle(conn: Connection, settlement: Settlement) -> int:
    """
    Write what became of a message; how many members were still leased by it.

    If none was, the lease is lost, and nothing at all is written.
    """
    d, now = t.deliveries.c, settlement.now
    alike: dict[Verdict, list[str]] = defaultdict(list)
    for key, verdict in settlement.verdicts:
        alike[verdict].append(key)
    held = 0
    for verdict, keys in alike.items():
        held += conn.execute(
            update(t.deliveries)
            .where(d.id.in_(keys), d.token == settlement.token, d.state == _LEASED)
            .values(_values(verdict, now))
        ).rowcount
    if not held:
        return 0
    _end_attempt(conn, settlement)
    _stand(conn, settlement.destination, settlement.standing)
    return held


def _values(verdict: Verdict, now: datetime) -> dict[Any, Any]:
    released: dict[Any, Any] = {"lease_until": None, "token": None}
    match verdict:
        case Delivered():
            released |= {"sent_at": now, "settled_at": now, "reason": None}
            return released | {"state": State.DELIVERED.value}
        case Dead(reason=reason):
            released |= {"settled_at": now, "reason": reason}
            return released | {"state": State.DEAD.value}
        case Expired(reason=reason):
            released |= {"settled_at": now, "reason": reason}
            return released | {"state": State.EXPIRED.value}
        case Rescheduled():
            return released | {
                "state": State.PENDING.value,
                "due_at": verdict.due_at,
                "form": verdict.form.value,
                "frozen": verdict.frozen,
                "reason": verdict.reason,
                "attempts": t.deliveries.c.attempts - int(verdict.refunded),
            }
        case _:
            assert_never(verdict)


def _end_attempt(conn: Connection, settlement: Settlement) -> None:
    a = t.attempts.c
    latest = select(func.max(a.seq)).where(
        a.message_id == settlement.message_id, a.n == settlement.attempt
    )
    conn.execute(
        update(t.attempts)
        .where(a.seq == latest.scalar_subquery(), a.outcome.is_(None))
        .values(
            ended_at=settlement.now,
            outcome=settlement.outcome,
            status=settlement.status,
            reason=settlement.reason,
        )
    )


# --- leases that nobody will settle -------------------------------------------


def reap(conn: Connection, now: datetime, *, everything: bool) -> int:
    """
    Free leases that ran out, or with `everything` all: those of an earlier boot.

    How many deliveries were freed.
    """
    d = t.deliveries.c
    leased = _rows(_LEASED)
    if not everything:
        leased = leased.where(d.lease_until < now)
    messages: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in conn.execute(leased):
        messages[row.token].append(row)
    for rows in messages.values():
        verdicts = together(
            [abandoned(_due(row, now), crashes=row.crashes, now=now) for row in rows]
        )
        for row, verdict in zip(rows, verdicts, strict=True):
            conn.execute(
                update(t.deliveries)
                .where(d.id == row.id, d.token == row.token)
                .values(_values(verdict, now) | {"crashes": row.crashes + 1})
            )
    return sum(map(len, messages.values()))


# --- destinations -------------------------------------------------------------


def set_destinations(conn: Connection, fingerprints: dict[str, str]) -> None:
    """Remember the destinations in force; one whose URL changed starts afresh."""
    c = t.destinations.c
    old = {row.name: row.fingerprint for row in conn.execute(select(t.destinations))}
    fresh = Standing()
    for name, fingerprint in fingerprints.items():
        if name not in old:
            row = {"name": name, "fingerprint": fingerprint}
            conn.execute(t.destinations.insert(), row)
        elif old[name] != fingerprint:
            _stand(conn, name, fresh)
            conn.execute(
                update(t.destinations)
                .where(c.name == name)
                .values(fingerprint=fingerprint)
            )


def standing(conn: Connection, destination: str) -> Standing:
    """How a destination stands."""
    c = t.destinations.c
    row = conn.execute(select(t.destinations).where(c.name == destination)).first()
    if row is None:
        return Standing()
    return Standing(
        paused_until=row.paused_until,
        suspended_since=row.suspended_since,
        probes=row.probes,
        gone=row.gone,
        reason=row.reason,
    )


def _stand(conn: Connection, destination: str, stands: Standing) -> None:
    conn.execute(
        update(t.destinations)
        .where(t.destinations.c.name == destination)
        .values(
            paused_until=stands.paused_until,
            suspended_since=stands.suspended_since,
            probes=stands.probes,
            gone=stands.gone,
            reason=stands.reason,
        )
    )


def members(conn: Connection, message: Message, *, decode: Decode) -> list[Event]:
    """The events of a message, in its order."""
    found = events_of(conn, message.event_ids, decode=decode)
    return [found[event_id] for event_id in message.event_ids]
