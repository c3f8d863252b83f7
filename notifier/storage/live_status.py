"""Statements for what live data says: whom to ask about, and what was answered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Row, bindparam, select

from notifier.domain.live_status import Candidate, LiveData, Said, Status, learned
from notifier.storage import schema as t
from notifier.storage.statements import upsert

_m, _l = t.milestones.c, t.live.c
_SAID = ("status", "word", "since", "checked_at")
_WATCHES = select(t.watches.c.id).where(t.watches.c.name.in_(bindparam("names", expanding=True)))
_STARTING = (
    select(_m.id, _m.start_at, *(_l[name] for name in _SAID))
    .outerjoin(t.live, _l.milestone_id == _m.id)
    .where(
        _m.start_at >= bindparam("after", type_=t.Instant),
        _m.start_at <= bindparam("before", type_=t.Instant),
        _m.watches.op("&")(bindparam("mask", type_=BigInteger)) != 0,
        _m.gone_at.is_(None),
    )
    # Those ahead, and those that have just started, matter most.
    .order_by(_m.start_at.desc(), _m.id)
    .limit(bindparam("most"))
)
_KNOWN = select(t.live).where(_l.milestone_id.in_(bindparam("ids", expanding=True)))


def starting(
    conn: Connection,
    watches: Sequence[str],
    *,
    after: datetime,
    before: datetime,
    limit: int,
) -> list[Candidate]:
    """The milestones of these watches that start between two instants, latest first."""
    seen_by = conn.scalars(_WATCHES, {"names": list(watches)})
    mask = sum(1 << watch for watch in seen_by)
    asked = {"after": after, "before": before, "mask": mask, "most": limit}
    return [
        Candidate(milestone_id=row.id, start=row.start_at, known=data(row))
        for row in conn.execute(_STARTING, asked)
    ]


def learn(conn: Connection, heard: Mapping[str, Said], now: datetime) -> None:
    """Remember what was answered."""
    rows = conn.execute(_KNOWN, {"ids": list(heard)})
    known = {row.milestone_id: data(row) for row in rows}
    fresh = {key: learned(known.get(key), one, now) for key, one in heard.items()}
    conn.execute(
        _put(conn.dialect.name),
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


@cache
def _put(dialect: str) -> Any:
    statement = upsert(dialect, t.live)
    return statement.on_conflict_do_update(
        index_elements=["milestone_id"],
        set_={name: statement.excluded[name] for name in _SAID},
    )


def data(row: Row[Any]) -> LiveData | None:
    """What is known, out of a row that may hold nothing of it."""
    if row.status is None:
        return None
    return LiveData(
        status=Status(row.status),
        word=row.word,
        since=row.since,
        checked_at=row.checked_at,
    )
