"""Statements of notices: who was told, which is the next, what became of it."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    update,
)

from notifier.domain.circuit_breaker import RecentAttempts, after_attempt
from notifier.domain.incidents import (
    DestinationView,
    Notice,
    NoticeKind,
    NoticeVerdict,
    Told,
    unrepeated,
    wait_after,
)
from notifier.domain.models import Ambiguous, Outcome, Sent, State
from notifier.messages.incident_text import notice_id
from notifier.storage import destination_state, statements
from notifier.storage import schema as t

PENDING = "pending"

_n, _d, _to, _a = t.notices.c, t.deliveries.c, t.destinations.c, t.attempts.c
# Spelled out, not bound: SQLite uses a partial index only for what it can read.
is_owed = _n.state == literal_column(f"'{PENDING}'")

_STANDING = select(t.destinations).where(_to.name == bindparam("name"))
_DUE = select(func.count()).where(
    statements.is_pending(_d.state),
    _d.destination == bindparam("name"),
    _d.due_at <= bindparam("now", type_=t.Instant),
)
_UNSETTLED = (
    select(_a.seq).where(_a.message_id == bindparam("message"), _a.outcome.is_(None)).limit(1)
)
_UNSURE = (
    select(_a.seq)
    .where(
        _a.message_id == bindparam("message"),
        _a.outcome.is_(None) | (_a.outcome == Ambiguous.__name__.lower()),
    )
    .limit(1)
)
_NEXT = (
    select(t.notices)
    .where(
        is_owed,
        _n.destination == bindparam("name"),
        _n.due_at <= bindparam("now", type_=t.Instant),
    )
    .order_by(_n.seq)
    .limit(1)
)
_TRY = (
    update(t.notices)
    .where(_n.seq == bindparam("key_"))
    .values(attempts=_n.attempts + 1, due_at=bindparam("again", type_=t.Instant))
)
_SETTLE = (
    update(t.notices)
    .where(is_owed, _n.seq == bindparam("key_"), _n.attempts == bindparam("number"))
    .values(
        state=bindparam("to"),
        reason=bindparam("why"),
        sent_at=bindparam("sent", type_=t.Instant),
        due_at=func.coalesce(bindparam("again", type_=t.Instant), _n.due_at, type_=t.Instant),
    )
)
_END_ATTEMPT = (
    update(t.attempts)
    .where(
        _a.message_id == bindparam("message"),
        _a.n == bindparam("number"),
        _a.outcome.is_(None),
    )
    .values(
        ended_at=bindparam("now", type_=t.Instant),
        outcome=bindparam("seen"),
        status=bindparam("said"),
        reason=bindparam("why"),
    )
)


def told(conn: Connection, keys: Collection[str]) -> list[Told]:
    """To whom the beginning of these conditions was told, or is to be."""
    rows = conn.execute(
        select(t.notices)
        .where(_n.key.in_(list(keys)), _n.kind == NoticeKind.RAISED.value)
        .order_by(_n.seq)
    )
    return [
        Told(
            key=row.key,
            destination=row.destination,
            since=row.since,
            state=row.state,
            may_have_arrived=_is_there(conn, _UNSURE, _notice(row)),
        )
        for row in rows
    ]


def _is_there(conn: Connection, attempt: Select[Any], notice: Notice) -> bool:
    return conn.scalar(attempt, {"message": notice_id(notice)}) is not None


def _notice(row: Row[Any]) -> Notice:
    return Notice(
        seq=row.seq,
        key=row.key,
        kind=NoticeKind(row.kind),
        destination=row.destination,
        since=row.since,
        title=row.title,
        body=row.body,
        born_at=row.born_at,
        attempts=row.attempts,
    )


# --- sending ------------------------------------------------------------------


def standing(conn: Connection, name: str, *, now: datetime) -> DestinationView:
    """How a destination stands just now; of what waits for it, only what is due."""
    row = conn.execute(_STANDING, {"name": name}).first()
    if row is None:
        return DestinationView(name=name)
    return DestinationView(
        name=name,
        paused_until=row.paused_until,
        suspended_since=row.suspended_since,
        gone=row.gone,
        open_since=row.open_since,
        waiting=conn.scalar(_DUE, {"name": name, "now": now}) or 0,
    )


def take(
    conn: Connection, name: str, *, now: datetime, drop_ambiguous: bool = False
) -> Notice | None:
    """
    The next notice of a destination, its attempt counted and noted.

    With `drop_ambiguous` one whose attempt was cut off is given up instead.
    """
    while True:
        row = conn.execute(_NEXT, {"name": name, "now": now}).first()
        if row is None:
            return None
        notice = _notice(row)
        if not (drop_ambiguous and _is_there(conn, _UNSETTLED, notice)):
            break
        _end(conn, notice, unrepeated("the attempt was cut off"), now)
    notice = replace(notice, attempts=notice.attempts + 1)
    # Should the attempt never be settled: as late as after one that failed.
    again = now + wait_after(notice.attempts)
    conn.execute(_TRY, {"key_": notice.seq, "again": again})
    conn.execute(
        t.attempts.insert(),
        {
            "message_id": notice_id(notice),
            "destination": notice.destination,
            "n": notice.attempts,
            "members": 0,
            "started_at": now,
        },
    )
    return notice


def settle(
    conn: Connection,
    notice: Notice,
    verdict: NoticeVerdict,
    *,
    outcome: Outcome,
    now: datetime,
) -> None:
    """
    Write what became of a notice's attempt, and what it shows of its destination.

    A notice that is over stays as it is.
    """
    _end(conn, notice, verdict, now)
    conn.execute(
        _END_ATTEMPT,
        {
            "message": notice_id(notice),
            "number": notice.attempts,
            "now": now,
            "seen": type(outcome).__name__.lower(),
            "said": None if isinstance(outcome, Ambiguous) else outcome.status,
            "why": verdict.reason,
        },
    )
    _restand(conn, notice.destination, outcome, now)


def _end(conn: Connection, notice: Notice, verdict: NoticeVerdict, now: datetime) -> None:
    is_sent = verdict.state == State.DELIVERED.value
    conn.execute(
        _SETTLE,
        {
            "key_": notice.seq,
            "number": notice.attempts,
            "to": verdict.state,
            "why": verdict.reason,
            "sent": now if is_sent else None,
            "again": verdict.due_at,
        },
    )


def _restand(conn: Connection, name: str, outcome: Outcome, now: datetime) -> None:
    """A notice shows how its destination stands just as a delivery does."""
    before, recent = destination_state.load(conn, name), RecentAttempts()
    if not isinstance(outcome, Sent):
        recent = destination_state.recent_attempts(conn, name, now)
    # The wait of the notice itself is nobody else's.
    after = after_attempt(before, outcome, now=now, retry_at=None, recent=recent)
    if after != before:
        destination_state.save(conn, name, before, after, now)
