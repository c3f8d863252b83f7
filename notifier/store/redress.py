"""Statements by which a person sets something right: resume and redrive."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select, update

from notifier.core.model import Form, State
from notifier.core.settle import Standing
from notifier.errors import StoreError
from notifier.store import schema as t
from notifier.store import standing, statements

_d, _to = t.deliveries.c, t.destinations.c
#: Of several deliveries, so many are named.
_SHOWN = 5
_ROWS: Select[Any] = select(
    _d.id, _d.destination, _d.kind, _d.state, _d.reason
).order_by(_d.seq)
_ALL_DEAD = _ROWS.where(statements.is_state(_d.state, State.DEAD))
_OPEN = (State.PENDING, State.LEASED)
_OWED_TO = (
    select(_d.destination)
    .where(statements.is_state(_d.state, *_OPEN))
    .union(select(_d.destination).where(statements.is_state(_d.state, State.DEAD)))
)
_PUT_BACK = (
    update(t.deliveries)
    .where(_d.id == bindparam("key"), _d.state == State.DEAD.value)
    .values(
        state=State.PENDING.value,
        due_at=bindparam("now", type_=t.Instant),
        born_at=bindparam("now", type_=t.Instant),
        attempts=0,
        crashes=0,
        form=Form.RICH.value,
        frozen=False,
        held=None,
        gathered=False,
        reason=None,
        settled_at=None,
    )
)


def resume(conn: Connection, destination: str, *, now: datetime) -> int:
    """
    End a destination's suspension or pause; how many deliveries waited for it.

    Raises:
        StoreError: there has never been such a destination.
    """
    if conn.scalar(select(_to.name).where(_to.name == destination)) is None:
        known = ", ".join(conn.scalars(select(_to.name).order_by(_to.name))) or "none"
        raise StoreError(f"{destination!r} is no destination; there are {known}")
    standing.restand(
        conn, destination, standing.standing(conn, destination), Standing(), now
    )
    waiting = (_d.destination == destination) & (_d.state == State.PENDING.value)
    conn.execute(
        update(t.deliveries)
        .where(waiting, _d.due_at > now, _d.held.is_(None))
        .values(due_at=now)
    )
    return conn.scalar(select(func.count()).where(waiting)) or 0


def redrive(
    conn: Connection,
    *,
    ids: Sequence[str],
    destination: str | None,
    now: datetime,
    dry_run: bool,
) -> list[dict[str, Any]]:
    """
    Put dead deliveries back, with all their tries before them.

    No ids and no destination mean all of them; of an id its beginning is enough. A
    row for each that was dead, and with `dry_run` would be put back, and for each
    that was named and was not dead, which stays as it is: `delivery_id`,
    `destination`, `kind`, `state` (as it was), `reason`.

    Raises:
        StoreError: there is no such delivery or destination, or several deliveries
            have ids that begin so; it names those that there are.
    """
    if destination is not None:
        _check_destination(conn, destination)
    rows = (
        _named(conn, ids, destination)
        if ids
        else list(conn.execute(_dead(destination)))
    )
    if (dead := [row for row in rows if _is_dead(row)]) and not dry_run:
        conn.execute(_PUT_BACK, [{"key": row.id, "now": now} for row in dead])
    return [
        {
            "delivery_id": row.id,
            "destination": row.destination,
            "kind": row.kind,
            "state": row.state,
            "reason": row.reason,
        }
        for row in rows
    ]


def _dead(destination: str | None) -> Select[Any]:
    if destination is None:
        return _ALL_DEAD
    return _ALL_DEAD.where(_d.destination == destination)


def _is_dead(row: Row[Any]) -> bool:
    return bool(row.state == State.DEAD.value)


def _check_destination(conn: Connection, name: str) -> None:
    """One that is configured no more may still be owed something."""
    names = {*conn.scalars(select(_to.name)), *conn.scalars(_OWED_TO)}
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise StoreError(f"{name!r} is no destination; there are {known}")


def _named(
    conn: Connection, ids: Sequence[str], destination: str | None
) -> list[Row[Any]]:
    """The deliveries whose ids begin so, each of them once."""
    found: dict[str, Row[Any]] = {}
    for beginning in ids:
        row = _only(conn, beginning)
        if destination is not None and row.destination != destination:
            raise StoreError(f"{row.id} is owed to {row.destination}, no other")
        found[row.id] = row
    return list(found.values())


def _only(conn: Connection, beginning: str) -> Row[Any]:
    begins = _d.id.startswith(beginning, autoescape=True)
    rows = (
        conn.execute(_ROWS.where(begins).limit(_SHOWN + 1)).all() if beginning else []
    )
    whole = [row for row in rows if row.id == beginning]
    if len(whole or rows) == 1:
        return (whole or rows)[0]
    if rows:
        raise StoreError(f"{beginning} is the beginning of {_several(rows)}")
    dead = conn.execute(_ALL_DEAD.limit(_SHOWN + 1)).all()
    there = f"the dead ones are {_several(dead)}" if dead else "none is dead"
    raise StoreError(f"there is no delivery {beginning!r}; {there}")


def _several(rows: Sequence[Row[Any]]) -> str:
    named = ", ".join(f"{row.id} ({row.destination})" for row in rows[:_SHOWN])
    return named + (" ..." if rows[_SHOWN:] else "")
