"""Statements by which a person sets something right: resume and redrive."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, update

from notifier.core.model import Form, State
from notifier.core.settle import Standing
from notifier.errors import StoreError
from notifier.store import schema as t
from notifier.store import standing

_d, _to = t.deliveries.c, t.destinations.c


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

    No ids and no destination mean all of them. The rows that were put back, or with
    `dry_run` would be: `delivery_id`, `destination`, `kind`, `reason`.
    """
    found = conn.execute(_dead(ids, destination)).all()
    if found and not dry_run:
        conn.execute(
            update(t.deliveries)
            .where(_d.id == bindparam("key"), _d.state == State.DEAD.value)
            .values(
                state=State.PENDING.value,
                due_at=now,
                born_at=now,
                attempts=0,
                crashes=0,
                form=Form.RICH.value,
                frozen=False,
                held=None,
                gathered=False,
                reason=None,
                settled_at=None,
            ),
            [{"key": row.id} for row in found],
        )
    return [
        {
            "delivery_id": row.id,
            "destination": row.destination,
            "kind": row.kind,
            "reason": row.reason,
        }
        for row in found
    ]


def _dead(ids: Sequence[str], destination: str | None) -> Select[Any]:
    wanted = select(_d.id, _d.destination, _d.kind, _d.reason).where(
        _d.state == State.DEAD.value
    )
    if ids:
        wanted = wanted.where(_d.id.in_(ids))
    if destination is not None:
        wanted = wanted.where(_d.destination == destination)
    return wanted.order_by(_d.seq)
