"""Retention: what is finished and old is deleted; and single values under a key."""

import json
from datetime import datetime

from sqlalchemy import JSON, Connection

from notifier.domain.timers import TimePolicy
from notifier.storage.sql import sql
from notifier.storage.timers import rearm_reminders

#: Rows of each kind that one transaction deletes, so that other writers wait a short time.
_BATCH = 500

_VALUE = sql("SELECT value FROM facts WHERE key = :key", value=JSON)
_SET_VALUE = sql(
    "INSERT INTO facts (key, value) VALUES (:key, :value)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

#: A superseded delivery stays as long as a message that contains it may be sent. The newest
#: delivery, event and attempt stay however old: SQLite numbers on from the highest row that
#: is there, and readers that follow have seen those below.
_PRUNE = [
    sql(statement)
    for statement in (
        """
        DELETE FROM deliveries WHERE seq IN (
            SELECT d.seq FROM deliveries AS d
            WHERE d.settled_at < :settled_since AND d.state NOT IN ('pending', 'leased', 'dead')
                AND NOT (d.superseded_by IS NOT NULL AND EXISTS (
                    SELECT 1 FROM deliveries AS carrier
                    WHERE carrier.event_id = d.superseded_by
                        AND carrier.destination = d.destination
                        AND carrier.state IN ('pending', 'leased', 'dead')))
                AND d.seq < (SELECT max(seq) FROM deliveries)
            LIMIT :batch)
        """,
        """
        DELETE FROM events WHERE seq IN (
            SELECT e.seq FROM events AS e
            WHERE e.seen_at < :seen_since AND e.seq < (SELECT max(seq) FROM events)
                AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = e.id)
            ORDER BY e.seq LIMIT :batch)
        """,
        """
        DELETE FROM served WHERE NOT EXISTS (
            SELECT 1 FROM deliveries AS d
            WHERE d.message_id = served.message_id AND d.state IN ('pending', 'leased'))
        """,
        """
        DELETE FROM attempts WHERE seq IN (
            SELECT a.seq FROM attempts AS a
            WHERE a.started_at < :settled_since AND a.seq < (SELECT max(seq) FROM attempts)
                AND NOT EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = a.message_id)
            LIMIT :batch)
        """,
        (
            "DELETE FROM reads WHERE id IN"
            " (SELECT id FROM reads WHERE ended_at < :settled_since LIMIT :batch)"
        ),
        (
            "DELETE FROM quarantine WHERE fingerprint IN"
            " (SELECT fingerprint FROM quarantine WHERE last_seen_at < :settled_since LIMIT :batch)"
        ),
        (
            "DELETE FROM live WHERE milestone_id IN"
            " (SELECT milestone_id FROM live WHERE checked_at < :settled_since LIMIT :batch)"
        ),
    )
]


def prune(conn: Connection, *, events_before: datetime, deliveries_before: datetime) -> int:
    """
    Delete at most one small batch of each kind of what is finished and old; how many rows.

    Unfinished and dead deliveries stay, and so does every event that still has one.
    """
    values = {
        "seen_since": events_before,
        "settled_since": deliveries_before,
        "batch": _BATCH,
    }
    return sum(conn.execute(statement, values).rowcount for statement in _PRUNE)


def set_reminders(conn: Connection, policy: TimePolicy, now: datetime) -> int | None:
    """Arm all reminders again if the leads have changed; how many, or None."""
    leads = sorted({lead.total_seconds() for lead in policy.leads})
    if fact(conn, "leads") == leads:
        return None
    armed = rearm_reminders(conn, policy=policy, now=now)
    set_fact(conn, "leads", leads)
    return armed


def fact(conn: Connection, key: str) -> object:
    """The value that is stored under a key, or None."""
    return conn.scalar(_VALUE, {"key": key})


def set_fact(conn: Connection, key: str, value: object) -> None:
    """Store a value under a key."""
    conn.execute(_SET_VALUE, {"key": key, "value": json.dumps(value)})
