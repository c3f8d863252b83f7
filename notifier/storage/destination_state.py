"""What is stored about each destination: its circuit breaker, and its attempts."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.domain.circuit_breaker import (
    BREAK_SPAN,
    TOO_MANY_REQUESTS,
    DestinationState,
    RecentAttempts,
)
from notifier.storage.sql import sql

#: No attempt lasts longer, its settlement included.
_LONGEST_ATTEMPT = timedelta(seconds=60)
_LOAD = sql(
    "SELECT paused_until, suspended_since, probes, gone, reason, failures, open_since "
    "FROM destinations WHERE name = :name",
    instants=("paused_until", "suspended_since", "open_since"),
)
_SAVE = sql(
    "UPDATE destinations SET paused_until = :paused_until, suspended_since = :suspended_since, "
    "probes = :probes, gone = :gone, reason = :reason, failures = :failures, "
    "open_since = :open_since WHERE name = :name"
)
#: A destination that refuses a message, or asks for patience, works.
_RECENT = sql(
    "SELECT count(*) AS total, coalesce(sum(CASE WHEN outcome IN ('failed', 'ambiguous') "
    f"AND coalesce(status, 0) <> {TOO_MANY_REQUESTS} THEN 1 ELSE 0 END), 0) AS failed "
    "FROM attempts WHERE destination = :destination AND started_at > :since "
    "AND outcome IS NOT NULL"
)
# An attempt under way has not reached anybody yet, for all that is known.
_SENT = sql(
    """
    SELECT coalesce(ended_at, :now, started_at) AS at FROM attempts
    WHERE destination = :destination AND started_at > :earliest_at
        AND coalesce(ended_at, :now, started_at) > :since
    ORDER BY started_at DESC
    """,
    instants=("at",),
)
#: What failed before is due at once when its destination works again.
_DUE_AGAIN = sql(
    "UPDATE deliveries SET due_at = :now WHERE destination = :destination "
    "AND state = 'pending' AND attempts > 0 AND held IS NULL AND due_at > :now"
)
#: The time of a suspension makes no delivery older.
_NO_OLDER = sql(
    """
    UPDATE deliveries
    SET born_at = born_at + :now - CASE WHEN born_at > :since THEN born_at ELSE :since END
    WHERE destination = :destination AND state IN ('pending', 'leased')
    """
)
_NAMES = sql("SELECT name, fingerprint FROM destinations")
_ADD = sql("INSERT INTO destinations (name, fingerprint) VALUES (:name, :fingerprint)")
_SET_FINGERPRINT = sql("UPDATE destinations SET fingerprint = :fingerprint WHERE name = :name")
_REMOVE = sql("DELETE FROM destinations WHERE name = :name")


def load(conn: Connection, name: str) -> DestinationState:
    """The state of a destination."""
    row = conn.execute(_LOAD, {"name": name}).first()
    if row is None:
        return DestinationState()
    return DestinationState(
        paused_until=row.paused_until,
        suspended_since=row.suspended_since,
        probes=row.probes,
        gone=bool(row.gone),
        reason=row.reason,
        failures=row.failures,
        open_since=row.open_since,
    )


def save(
    conn: Connection,
    name: str,
    before: DestinationState,
    after: DestinationState,
    now: datetime,
) -> None:
    """Write the state of a destination; once it works again nothing waits any more."""
    conn.execute(_SAVE, {"name": name, **asdict(after)})
    asked = {"destination": name, "now": now}
    if before.suspended_since is not None and after.suspended_since is None:
        conn.execute(_NO_OLDER, asked | {"since": before.suspended_since})
    if before.half_open and not after.half_open:
        conn.execute(_DUE_AGAIN, asked)


def reset(conn: Connection, name: str, now: datetime) -> None:
    """Let a destination count as working: a person, or another URL, says so."""
    save(conn, name, load(conn, name), DestinationState(), now)


def set_destinations(conn: Connection, fingerprints: Mapping[str, str], now: datetime) -> None:
    """
    Store the configured destinations, and no others.

    One whose URL changed counts as working, and so does one that comes back.
    """
    old = {row.name: row.fingerprint for row in conn.execute(_NAMES)}
    for name, fingerprint in fingerprints.items():
        values = {"name": name, "fingerprint": fingerprint}
        if name not in old:
            conn.execute(_ADD, values)
        elif old[name] != fingerprint:
            reset(conn, name, now)
            conn.execute(_SET_FINGERPRINT, values)
    for name in old.keys() - fingerprints.keys():
        # The time of its suspension makes nothing older that it is owed.
        reset(conn, name, now)
        conn.execute(_REMOVE, {"name": name})


def recent_attempts(conn: Connection, name: str, now: datetime) -> RecentAttempts:
    """How a destination fared within `BREAK_SPAN`."""
    row = conn.execute(_RECENT, {"destination": name, "since": now - BREAK_SPAN}).one()
    return RecentAttempts(failed=row.failed, total=row.total)


def attempts_since(
    conn: Connection, name: str, since: datetime, now: datetime | None = None
) -> list[datetime]:
    """
    When requests may have reached a destination after an instant, newest first.

    The latest moment at which each can have arrived: a connection takes its time. What
    is under way may arrive `now`.
    """
    asked = {
        "destination": name,
        "since": since,
        "earliest_at": since - _LONGEST_ATTEMPT,
        "now": now,
    }
    return list(conn.scalars(_SENT, asked))
