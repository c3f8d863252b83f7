"""Timers: which are due, what their events write, and reminders after a change of leads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.domain.models import Delivery, Event, Kind, Milestone, Timer, TimerKind
from notifier.domain.timers import LastAnnounced, TimePolicy, reminders
from notifier.kalshi import decoding
from notifier.storage.milestones import add_deliveries, add_events, add_timers
from notifier.storage.schema import Packed
from notifier.storage.sql import execute_many, sql

_NEXT = sql("SELECT min(fire_at) AS fire_at FROM timers", instants=("fire_at",))
_NEXT_START = sql(
    "SELECT min(fire_at) AS fire_at FROM timers WHERE fire_at > :since AND kind = 'start'",
    instants=("fire_at",),
)
_DUE = sql(
    """
    SELECT t.*, m.doc, m.fired_start, m.fired_end
    FROM timers AS t JOIN milestones AS m ON m.id = t.milestone_id
    WHERE t.fire_at <= :now
    ORDER BY t.fire_at, t.milestone_id, t.kind, t.lead_s
    LIMIT :limit
    """,
    instants=("fire_at", "fired_start", "fired_end"),
    doc=Packed,
)
_DELETE = sql(
    "DELETE FROM timers WHERE milestone_id = :milestone_id AND kind = :kind AND lead_s = :lead_s"
)
_DELETE_REMINDERS = sql("DELETE FROM timers WHERE kind = 'remind'")
_SET_ANNOUNCED_START = sql("UPDATE milestones SET fired_start = :at WHERE id = :id")
_SET_ANNOUNCED_END = sql("UPDATE milestones SET fired_end = :at WHERE id = :id")
_FUTURE_MILESTONES = sql(
    "SELECT doc, fired_start, fired_end FROM milestones"
    " WHERE start_at > :now AND gone_at IS NULL AND watches != 0",
    instants=("fired_start", "fired_end"),
    doc=Packed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimer:
    """A due timer, with its milestone as it is stored."""

    timer: Timer
    milestone: Milestone
    announced: LastAnnounced


def next_fire(conn: Connection) -> datetime | None:
    """When the next timer comes due; None: there is none."""
    found: datetime | None = conn.scalar(_NEXT)
    return found


def next_start(conn: Connection, after: datetime) -> datetime | None:
    """The next start after an instant that will be announced."""
    found: datetime | None = conn.scalar(_NEXT_START, {"since": after})
    return found


def due(conn: Connection, now: datetime, *, limit: int) -> list[DueTimer]:
    """Timers that have come due, oldest first."""
    return [
        DueTimer(
            timer=Timer(
                milestone_id=row.milestone_id,
                kind=TimerKind(row.kind),
                fire_at=row.fire_at,
                lead=timedelta(seconds=row.lead_s),
            ),
            milestone=decoding.milestone(row.doc),
            announced=LastAnnounced(start=row.fired_start, end=row.fired_end),
        )
        for row in conn.execute(_DUE, {"now": now, "limit": limit})
    ]


def commit_fired(
    conn: Connection,
    fired: Sequence[Timer],
    events: Sequence[Event],
    deliveries: Sequence[Delivery],
) -> None:
    """Delete the fired timers, and store their events and what these cause."""
    rows = [
        {
            "milestone_id": timer.milestone_id,
            "kind": timer.kind.value,
            "lead_s": timer.lead.total_seconds(),
        }
        for timer in fired
    ]
    execute_many(conn, _DELETE, rows)
    for kind, statement in (
        (Kind.STARTED, _SET_ANNOUNCED_START),
        (Kind.ENDED, _SET_ANNOUNCED_END),
    ):
        announced = [
            {"id": event.milestone.id, "at": event.at}
            for event in events
            if event.kind is kind and not event.missed
        ]
        execute_many(conn, statement, announced)
    add_events(conn, events)
    add_deliveries(conn, deliveries, read_id=None)


def rearm_reminders(conn: Connection, *, policy: TimePolicy, now: datetime) -> int:
    """Arm all reminders again, after the configured leads have changed; how many."""
    conn.execute(_DELETE_REMINDERS)
    if not policy.leads:
        return 0
    armed = [
        timer
        for row in conn.execute(_FUTURE_MILESTONES, {"now": now})
        for timer in reminders(
            decoding.milestone(row.doc),
            announced=LastAnnounced(start=row.fired_start, end=row.fired_end),
            policy=policy,
            now=now,
        )
    ]
    add_timers(conn, armed)
    return len(armed)
