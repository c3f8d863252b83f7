"""The live status of milestones: which to ask about, and what was answered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from notifier.domain.live_status import Candidate, LiveAnswer, LiveData, Status, updated_status
from notifier.storage.milestones import watches
from notifier.storage.sql import execute_many, sql

#: Milestones ahead, and those that have just started, come first.
_STARTING = sql(
    """
    SELECT m.id, m.start_at, l.status, l.word, l.since, l.checked_at
    FROM milestones AS m LEFT JOIN live AS l ON l.milestone_id = m.id
    WHERE m.start_at >= :since AND m.start_at <= :until
        AND m.watches & :bits != 0 AND m.gone_at IS NULL
    ORDER BY m.start_at DESC, m.id LIMIT :limit
    """,
    instants=("start_at", "since", "checked_at"),
)
_KNOWN = sql("SELECT * FROM live WHERE milestone_id IN :ids", instants=("since", "checked_at"))
_SAVE = sql(
    "INSERT INTO live (milestone_id, status, word, since, checked_at)"
    " VALUES (:milestone_id, :status, :word, :since, :checked_at)"
    " ON CONFLICT (milestone_id) DO UPDATE SET status = excluded.status, word = excluded.word,"
    " since = excluded.since, checked_at = excluded.checked_at"
)


def starting(
    conn: Connection, names: Sequence[str], *, after: datetime, before: datetime, limit: int
) -> list[Candidate]:
    """The milestones of these watches that start between two instants, latest first."""
    bits = sum(watch.bit for watch in watches(conn) if watch.name in names)
    rows = conn.execute(_STARTING, {"since": after, "until": before, "bits": bits, "limit": limit})
    return [Candidate(milestone_id=row.id, start=row.start_at, known=data(row)) for row in rows]


def learn(conn: Connection, answers: Mapping[str, LiveAnswer], now: datetime) -> None:
    """Store what was answered."""
    rows = conn.execute(_KNOWN, {"ids": list(answers)})
    known = {row.milestone_id: data(row) for row in rows}
    fresh = {key: updated_status(known.get(key), answer, now) for key, answer in answers.items()}
    execute_many(
        conn,
        _SAVE,
        [
            {
                "milestone_id": key,
                "status": one.status.value,
                "word": one.word,
                "since": one.since,
                "checked_at": one.checked_at,
            }
            for key, one in fresh.items()
        ],
    )


def data(row: Row[Any]) -> LiveData | None:
    """The live status in a row; None where it holds none."""
    if row.status is None:
        return None
    return LiveData(
        status=Status(row.status), word=row.word, since=row.since, checked_at=row.checked_at
    )
