"""Statements of the alarm: which timers are due, and what they caused."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, select, update

from notifier.domain.commit import AlarmCommit, DueTimer
from notifier.domain.models import Event, Kind, Timer, TimerKind
from notifier.domain.timers import LastAnnounced, TimePolicy, reminders
from notifier.kalshi import decoding
from notifier.storage import schema as t
from notifier.storage.milestones import (
    add_deliveries,
    add_events,
    add_timers,
    many,
)

_STARTS = (TimerKind.START.value,)


def next_fire(conn: Connection) -> datetime | None:
    """When the next timer comes due; None: there is none."""
    first: datetime | None = conn.scalar(select(func.min(t.timers.c.fire_at)))
    return first


def next_start(conn: Connection, after: datetime) -> datetime | None:
    """The next start that will be announced after an instant."""
    c = t.timers.c
    first: datetime | None = conn.scalar(
        select(func.min(c.fire_at)).where(c.fire_at > after, c.kind.in_(_STARTS))
    )
    return first


def due(conn: Connection, now: datetime, *, limit: int) -> list[DueTimer]:
    """Timers that have come due, oldest first, with their living milestones."""
    c, m = t.timers.c, t.milestones.c
    rows = conn.execute(
        select(t.timers, m.doc, m.fired_start, m.fired_end)
        .join(t.milestones, m.id == c.milestone_id)
        .where(c.fire_at <= now)
        .order_by(c.fire_at, c.milestone_id, c.kind, c.lead_s)
        .limit(limit)
    )
    return [
        DueTimer(
            timer=Timer(
                milestone_id=row.milestone_id,
                kind=TimerKind(row.kind),
                fire_at=row.fire_at,
                lead=timedelta(seconds=row.lead_s),
            ),
            milestone=decoding.milestone(row.doc),
            fired=LastAnnounced(start=row.fired_start, end=row.fired_end),
        )
        for row in rows
    ]


def commit_alarm(conn: Connection, alarm: AlarmCommit) -> None:
    """Take the handled timers away and store what they said."""
    c = t.timers.c
    many(
        conn,
        delete(t.timers).where(
            c.milestone_id == bindparam("key"),
            c.kind == bindparam("of"),
            c.lead_s == bindparam("lead"),
        ),
        [
            {"key": x.milestone_id, "of": x.kind.value, "lead": x.lead.total_seconds()}
            for x in alarm.timers
        ],
    )
    _mark_fired(conn, alarm.events, Kind.STARTED, "fired_start")
    _mark_fired(conn, alarm.events, Kind.ENDED, "fired_end")
    add_events(conn, alarm.events)
    add_deliveries(conn, alarm.deliveries, read_id=None)


def _mark_fired(conn: Connection, events: Sequence[Event], kind: Kind, column: str) -> None:
    many(
        conn,
        update(t.milestones)
        .where(t.milestones.c.id == bindparam("key"))
        .values({column: bindparam("fired")}),
        [
            {"key": event.milestone.id, "fired": event.at}
            for event in events
            if event.kind is kind and not event.missed
        ],
    )


def rearm_reminders(conn: Connection, *, policy: TimePolicy, now: datetime) -> int:
    """Derive all reminders again, after the configured leads have changed."""
    c, m = t.timers.c, t.milestones.c
    conn.execute(delete(t.timers).where(c.kind == TimerKind.REMIND.value))
    if not policy.leads:
        return 0
    rows = conn.execute(
        select(m.doc, m.fired_start, m.fired_end).where(
            m.start_at > now, m.gone_at.is_(None), m.watches != 0
        )
    )
    found = [
        timer
        for row in rows
        for timer in reminders(
            decoding.milestone(row.doc),
            fired=LastAnnounced(start=row.fired_start, end=row.fired_end),
            policy=policy,
            now=now,
        )
    ]
    add_timers(conn, found)
    return len(found)
