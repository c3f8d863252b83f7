"""Statements that keep the house: reminders after a change of routes, retention."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from notifier.domain.models import State
from notifier.domain.retry_policy import MAX_SUSPENDED
from notifier.domain.timers import TimePolicy, Trust
from notifier.storage import schema as t
from notifier.storage import statements
from notifier.storage.timers import rearm_reminders

#: Rows that one transaction forgets at most: nobody waits long behind it.
_BATCH = 500
_CLOCK = "clock"
_OPEN = (State.PENDING, State.LEASED)
_KEPT = tuple(state.value for state in (*_OPEN, State.DEAD))


def set_reminders(conn: Connection, policy: TimePolicy, now: datetime) -> int | None:
    """Derive all reminders again if the leads differ from those last in force."""
    leads = sorted({lead.total_seconds() for lead in policy.leads})
    if fact(conn, "leads") == leads:
        return None
    armed = rearm_reminders(conn, policy=policy, now=now)
    set_fact(conn, "leads", leads)
    return armed


def fact(conn: Connection, key: str) -> object:
    """What was remembered under a key, or None."""
    return conn.scalar(select(t.facts.c.value).where(t.facts.c.key == key))


def set_fact(conn: Connection, key: str, value: object) -> None:
    """Remember a value under a key."""
    statement = statements.put(conn.dialect.name, t.facts, ("key",), "value")
    conn.execute(statement, {"key": key, "value": value})


def remember_clock(conn: Connection, trust: Trust) -> None:
    """Note what the machine's clock is taken for."""
    value = {
        "boot": trust.boot,
        "lead_s": trust.lead,
        "offset_s": trust.offset.total_seconds(),
        "sure": trust.is_sure,
    }
    set_fact(conn, _CLOCK, value)


def clock(conn: Connection) -> Trust | None:
    """What the machine's clock was taken for at last; None: nobody knows."""
    match fact(conn, _CLOCK):
        case {
            "boot": str(boot),
            "lead_s": (float() | int()) as lead,
            "offset_s": (float() | int()) as offset,
            "sure": bool(sure),
        }:
            return Trust(
                boot=boot,
                lead=float(lead),
                offset=timedelta(seconds=offset),
                is_sure=sure,
            )
        case _:
            return None


def bury(conn: Connection, homes: Collection[str], *, before: datetime, now: datetime) -> int:
    """Give up what became due before an instant for destinations that are not configured."""
    reason = "the configuration has no such destination any more"
    ended = _Ended(state=State.DEAD, reason=reason, settled_at=now)
    d = t.deliveries.c
    return _end_pending(conn, d.destination.not_in(list(homes)), d.born_at, before, ended)


def expire(conn: Connection, now: datetime) -> int:
    """
    Expire what is too late at destinations that are paused; how many.

    Elsewhere a delivery expires when it is claimed.
    """
    d, to = t.deliveries.c, t.destinations.c
    paused = select(to.name).where(or_(to.gone, to.paused_until > now + timedelta(seconds=5)))
    ended = _Ended(state=State.EXPIRED, reason="too late to be of use", settled_at=now)
    return _end_pending(conn, d.destination.in_(paused), d.expires_at, now, ended)


def give_up(conn: Connection, now: datetime) -> int:
    """Give up what has waited too long for suspended destinations; how many."""
    d, to = t.deliveries.c, t.destinations.c
    suspended = select(to.name).where(or_(to.gone, to.suspended_since.is_not(None)))
    reason = f"its destination has refused us for {MAX_SUSPENDED.days} days"
    ended = _Ended(state=State.DEAD, reason=reason, settled_at=now)
    before = now - MAX_SUSPENDED
    return _end_pending(conn, d.destination.in_(suspended), d.born_at, before, ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    state: State
    reason: str
    settled_at: datetime


def _end_pending(
    conn: Connection,
    where: ColumnElement[bool],
    age: Column[datetime],
    before: datetime,
    ended: _Ended,
) -> int:
    """
    End the pending deliveries of some destinations whose `age` lies before an instant.

    The members of a message that may have arrived end together or not at all: as long
    as one of them is young enough, the message is sent again with exactly its members.
    """
    d, other = t.deliveries.c, t.deliveries.alias("other")
    waits_with = exists(
        select(other.c.seq).where(
            d.frozen,
            other.c.frozen,
            other.c.message_id == d.message_id,
            statements.is_state(other.c.state, *_OPEN),
            or_(other.c[age.name].is_(None), other.c[age.name] >= before),
        )
    )
    reason: Any = ended.reason
    if ended.state is State.EXPIRED:
        reason = func.coalesce(d.reason, reason)
    return conn.execute(
        update(t.deliveries)
        .where(statements.is_pending(d.state), where, age < before, ~waits_with)
        .values(state=ended.state.value, reason=reason, settled_at=ended.settled_at)
    ).rowcount


def _is_carried() -> ColumnElement[bool]:
    """Whether a message that is still to be sent tells what this one would have."""
    d, carrier = t.deliveries.c, t.deliveries.alias("carrier")
    return and_(
        d.superseded_by.is_not(None),
        exists(
            select(carrier.c.seq).where(
                carrier.c.event_id == d.superseded_by,
                carrier.c.destination == d.destination,
                carrier.c.state.in_(_KEPT),
            )
        ),
    )


def _is_below_the_newest(seq: Column[int]) -> ColumnElement[bool]:
    newest = seq.table.alias("newest")
    return seq < select(func.max(newest.c.seq)).scalar_subquery()


def _old_attempts(before: datetime) -> Select[Any]:
    d, a = t.deliveries.c, t.attempts.c
    return (
        select(a.seq)
        .where(
            a.started_at < before,
            _is_below_the_newest(a.seq),
            ~exists(select(d.seq).where(d.message_id == a.message_id)),
        )
        .limit(_BATCH)
    )


def prune(conn: Connection, *, events_before: datetime, deliveries_before: datetime) -> int:
    """
    Forget at most one small batch of each kind of what is finished and old.

    Unfinished and dead deliveries stay, and so does every event that still has one.
    The newest event, delivery and attempt stay however old: SQLite numbers on from
    the highest row that is there, and whoever follows has seen those below.
    """
    d, e, a, r = t.deliveries.c, t.events.c, t.attempts.c, t.reads.c
    q, li = t.quarantine.c, t.live.c
    old_deliveries = (
        select(d.seq)
        .where(d.settled_at < deliveries_before, d.state.not_in(_KEPT), ~_is_carried())
        .where(_is_below_the_newest(d.seq))
        .limit(_BATCH)
    )
    old_events = (
        select(e.seq)
        .where(
            e.seen_at < events_before,
            _is_below_the_newest(e.seq),
            ~exists(select(d.seq).where(d.event_id == e.id)),
        )
        .order_by(e.seq)
        .limit(_BATCH)
    )
    idle_marks = ~exists(
        select(d.seq).where(
            d.message_id == t.served.c.message_id, statements.is_state(d.state, *_OPEN)
        )
    )
    old_reads = select(r.id).where(r.ended_at < deliveries_before).limit(_BATCH)
    old_live = select(li.milestone_id).where(li.checked_at < deliveries_before).limit(_BATCH)
    old_bad = select(q.fingerprint).where(q.last_seen_at < deliveries_before).limit(_BATCH)
    forgotten = 0
    for statement in (
        delete(t.deliveries).where(d.seq.in_(old_deliveries)),
        delete(t.events).where(e.seq.in_(old_events)),
        delete(t.served).where(idle_marks),
        delete(t.attempts).where(a.seq.in_(_old_attempts(deliveries_before))),
        delete(t.reads).where(r.id.in_(old_reads)),
        delete(t.quarantine).where(q.fingerprint.in_(old_bad)),
        delete(t.live).where(li.milestone_id.in_(old_live)),
    ):
        forgotten += conn.execute(statement).rowcount
    return forgotten
