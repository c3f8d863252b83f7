"""
Statements of delivery: what is due, claim with lease and token, settle.

Every change of a leased delivery is a compare-and-set on its token: whoever lost
the lease changes nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import cache
from typing import Any, assert_never

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Update,
    and_,
    bindparam,
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
# All that follow are made once: it costs more to make a statement than to run it.
_AHEAD = t.deliveries.alias("ahead")
_d, _a, _to = t.deliveries.c, t.attempts.c, t.destinations.c
_FINAL = ("settled_at", "sent_at")
#: No attempt lasts longer, its settlement included.
_LONGEST_ATTEMPT = timedelta(seconds=60)
_ATTEMPTS_SINCE = (
    select(func.coalesce(_a.ended_at, _a.started_at, type_=t.Instant).label("at"))
    .where(
        _a.destination == bindparam("destination"),
        _a.started_at > bindparam("begun", type_=t.Instant),
        func.coalesce(_a.ended_at, _a.started_at, type_=t.Instant)
        > bindparam("since", type_=t.Instant),
    )
    .order_by(_a.started_at.desc())
)
_LEASE = (
    update(t.deliveries)
    .where(_d.id == bindparam("key"), _d.state == _PENDING)
    .values(
        state=State.LEASED.value,
        token=bindparam("mine"),
        message_id=bindparam("message"),
        lease_until=bindparam("until"),
        attempts=_d.attempts + 1,
    )
)
_ATTEMPT = t.attempts.insert()
_END = (
    update(t.deliveries)
    .where(_d.id == bindparam("key"), _d.state == _PENDING)
    .values(state=bindparam("to"), reason=bindparam("why"), settled_at=bindparam("now"))
)
_CRASHED = (
    update(t.deliveries).where(_d.id == bindparam("key")).values(crashes=_d.crashes + 1)
)
_END_ATTEMPT = (
    update(t.attempts)
    .where(
        _a.seq
        == select(func.max(_a.seq))
        .where(_a.message_id == bindparam("message"), _a.n == bindparam("number"))
        .scalar_subquery(),
        _a.outcome.is_(None),
    )
    .values(
        ended_at=bindparam("now"),
        outcome=bindparam("seen"),
        status=bindparam("said"),
        reason=bindparam("why"),
    )
)
_STANDING = select(t.destinations).where(_to.name == bindparam("key"))
_STAND = (
    update(t.destinations)
    .where(_to.name == bindparam("key"))
    .values(
        {
            name: bindparam(name)
            for name in ("paused_until", "suspended_since", "probes", "gone", "reason")
        }
    )
)


def next_due(conn: Connection) -> dict[str, datetime]:
    """By destination: when there will be something to claim next."""
    return {row[0]: row[1] for row in conn.execute(_next_due())}


@cache
def _next_due() -> Select[Any]:
    d = t.deliveries.c
    return (
        select(d.destination, func.min(d.due_at))
        .where(d.state == _PENDING, ~_is_behind(d.due_at))
        .group_by(d.destination)
    )


def due(conn: Connection, destination: str, now: datetime, *, limit: int) -> list[Due]:
    """
    What may go to a destination now: urgent ones first, then in order of birth.

    Left out is what waits behind an earlier delivery of the same milestone, unless
    it is urgent, and whatever shares its milestone with a leased one. A message
    that may have arrived comes with all of its members.
    """
    asked = {"destination": destination, "now": now, "most": limit}
    rows = conn.execute(_due_now(), asked).all()
    frozen = {row.message_id for row in rows if row.frozen}
    free = [row for row in rows if not row.frozen]
    return [_due(row, now) for row in (*_whole(conn, frozen), *free)]


@cache
def _due_now() -> Select[Any]:
    d = t.deliveries.c
    now = bindparam("now", type_=t.Instant)
    return (
        _rows(_PENDING)
        .where(d.destination == bindparam("destination"), d.due_at <= now)
        .where(~_is_behind(now))
        .order_by(d.kind.in_(_URGENT).desc(), d.seq)
        .limit(bindparam("most"))
    )


def _whole(conn: Connection, messages: set[str]) -> list[Row[Any]]:
    """All members of these messages; none while one of them must wait."""
    if not messages:
        return []
    rows = conn.execute(_frozen(), {"messages": list(messages)}).all()
    waiting = {row.message_id for row in rows if row.waits}
    return [row for row in rows if row.message_id not in waiting]


@cache
def _frozen() -> Select[Any]:
    d = t.deliveries.c
    return (
        _rows(_PENDING)
        .add_columns(_has_sibling(_AHEAD.c.state == _LEASED).label("waits"))
        .where(d.message_id.in_(bindparam("messages", expanding=True)), d.frozen)
    )


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
    d, a = t.deliveries.c, _AHEAD.c
    waits = and_(
        d.kind.not_in(_URGENT), a.kind.not_in(_URGENT), a.seq < d.seq, a.due_at > until
    )
    return _has_sibling(or_(a.state == _LEASED, waits))


def _has_sibling(such: ColumnElement[bool]) -> ColumnElement[bool]:
    d, a = t.deliveries.c, _AHEAD.c
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
        storm=row.storm,
        over=row.gone_at is not None or (ended and not is_placeholder(row.end_at)),
    )


def attempts_since(
    conn: Connection, destination: str, since: datetime
) -> list[datetime]:
    """
    When requests may have reached a destination after an instant, newest first.

    The latest moment at which each can have arrived: a connection takes its time.
    """
    begun = since - _LONGEST_ATTEMPT
    asked = {"destination": destination, "since": since, "begun": begun}
    return list(conn.scalars(_ATTEMPTS_SINCE, asked))


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
    many(
        conn,
        _LEASE,
        [
            {
                "key": member.delivery_id,
                "mine": token,
                "message": message.id,
                "until": until,
            }
            for message, token in messages
            for member in message.members
        ],
    )
    many(
        conn,
        _ATTEMPT,
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
    many(
        conn,
        _END,
        [
            {"key": x.delivery_id, "to": x.state.value, "why": x.reason, "now": now}
            for x in ended
        ],
    )


# --- settle -------------------------------------------------------------------


def settle(conn: Connection, settlement: Settlement) -> int:
    """
    Write what became of a message; how many members were still leased by it.

    If none was, the lease is lost, and nothing at all is written.
    """
    alike: dict[Verdict, list[str]] = defaultdict(list)
    for key, verdict in settlement.verdicts:
        alike[verdict].append(key)
    held = 0
    for verdict, keys in alike.items():
        held += conn.execute(
            _settled(again=isinstance(verdict, Rescheduled)),
            _values(verdict, settlement.now) | {"keys": keys, "mine": settlement.token},
        ).rowcount
    if not held:
        return 0
    _end_attempt(conn, settlement)
    _stand(conn, settlement.destination, settlement.standing)
    return held


@cache
def _settled(*, again: bool) -> Update:
    """Compare-and-set: only what the token still holds gets the verdict's values."""
    d = t.deliveries.c
    names = ["state", "reason", *_FINAL]
    values: dict[str, Any] = {"lease_until": None, "token": None}
    if again:
        names = ["state", "reason", "due_at", "form", "frozen"]
        values["attempts"] = d.attempts - bindparam("refund")
    values |= {name: bindparam(f"new_{name}", type_=d[name].type) for name in names}
    return (
        update(t.deliveries)
        .where(d.id.in_(bindparam("keys", expanding=True)))
        .where(d.token == bindparam("mine"), d.state == _LEASED)
        .values(values)
    )


def _values(verdict: Verdict, now: datetime) -> dict[str, Any]:
    """What `_settled` is to write."""
    final = {"new_settled_at": now, "new_sent_at": None}
    match verdict:
        case Delivered():
            final |= {"new_sent_at": now}
            return final | {"new_state": State.DELIVERED.value, "new_reason": None}
        case Dead(reason=reason):
            return final | {"new_state": State.DEAD.value, "new_reason": reason}
        case Expired(reason=reason):
            return final | {"new_state": State.EXPIRED.value, "new_reason": reason}
        case Rescheduled():
            return {
                "new_state": State.PENDING.value,
                "new_reason": verdict.reason,
                "new_due_at": verdict.due_at,
                "new_form": verdict.form.value,
                "new_frozen": verdict.frozen,
                "refund": int(verdict.refunded),
            }
        case _:
            assert_never(verdict)


def _end_attempt(conn: Connection, settlement: Settlement) -> None:
    conn.execute(
        _END_ATTEMPT,
        {
            "message": settlement.message_id,
            "number": settlement.attempt,
            "now": settlement.now,
            "seen": settlement.outcome,
            "said": settlement.status,
            "why": settlement.reason,
        },
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
            conn.execute(_CRASHED, {"key": row.id})
            conn.execute(
                _settled(again=isinstance(verdict, Rescheduled)),
                _values(verdict, now) | {"keys": [row.id], "mine": row.token},
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
    row = conn.execute(_STANDING, {"key": destination}).first()
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
    conn.execute(_STAND, asdict(stands) | {"key": destination})


def members(conn: Connection, message: Message, *, decode: Decode) -> list[Event]:
    """The events of a message, in its order."""
    found = events_of(conn, message.event_ids, decode=decode)
    return [found[event_id] for event_id in message.event_ids]
