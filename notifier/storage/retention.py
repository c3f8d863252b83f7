"""Statements that keep the house: reminders after a change of routes, retention."""

from datetime import datetime
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
    select,
)

from notifier.domain.models import State
from notifier.domain.timers import TimePolicy
from notifier.storage import schema as t
from notifier.storage import statements
from notifier.storage.timers import rearm_reminders

#: Rows that one transaction forgets at most: nobody waits long behind it.
_BATCH = 500
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
