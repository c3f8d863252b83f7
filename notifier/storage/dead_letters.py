"""Statements by which a person sets something right: resume and redrive."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    update,
)

from notifier.domain.models import State
from notifier.domain.outgoing import RenderLevel
from notifier.domain.pagination import DeadFilter, DeadLetters, RowJson, parts
from notifier.errors import StoreError
from notifier.storage import destination_state, statements
from notifier.storage import schema as t

_d, _to = t.deliveries.c, t.destinations.c
#: Of several deliveries, so many are named.
_SHOWN = 5
#: Ids that one question is about.
_AT_ONCE = 500
_NAMED: Select[Any] = select(_d.seq, _d.id, _d.destination, _d.kind, _d.state, _d.reason)
_ROWS = _NAMED.order_by(_d.seq)
_WHOLE = _NAMED.where(_d.id.in_(bindparam("ids", expanding=True)))
#: A range, because LIKE knows no index.
_BEGINNING = (
    _NAMED.where(_d.id >= bindparam("beginning"), _d.id < bindparam("end"))
    .order_by(_d.id)
    .limit(_SHOWN + 1)
)


def _asking(
    *only: ColumnElement[bool],
) -> tuple[Select[Any], Select[Any], Select[Any]]:
    """How many are dead, the oldest of them, and all; by the index of those."""
    dead = (_d.state == literal_column("'dead'"), *only)
    # Not by the index of all there are, for the sake of its order.
    oldest = select(_d.seq).where(*dead).order_by(_d.seq + 0)
    return select(func.count()).where(*dead), oldest, select(_d.seq).where(*dead)


_ANYWHERE = _asking()
#: Not by the index of all that is owed to it.
_OWED_THERE = _asking(_d.destination + "" == bindparam("destination"))
_IS_KNOWN = select(_to.name).where(_to.name == bindparam("name"))
_OPEN = (State.PENDING, State.LEASED)
_OWED_TO = (
    select(_d.destination)
    .where(statements.is_state(_d.state, *_OPEN))
    .union(select(_d.destination).where(statements.is_state(_d.state, State.DEAD)))
)
_PUT_BACK = (
    update(t.deliveries)
    .where(_d.seq.in_(bindparam("keys", expanding=True)), _d.state == State.DEAD.value)
    .values(
        state=State.PENDING.value,
        due_at=bindparam("now", type_=t.Instant),
        born_at=bindparam("now", type_=t.Instant),
        attempts=0,
        crashes=0,
        form=RenderLevel.RICH.value,
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
    destination_state.reset(conn, destination, now)
    waiting = (_d.destination == destination) & (_d.state == State.PENDING.value)
    conn.execute(
        update(t.deliveries).where(waiting, _d.due_at > now, _d.held.is_(None)).values(due_at=now)
    )
    return conn.scalar(select(func.count()).where(waiting)) or 0


def dead_letters(conn: Connection, wanted: DeadFilter) -> DeadLetters:
    """
    The dead deliveries that are meant. It only reads.

    No ids and no destination mean all of them; of an id its beginning is enough. A
    row for each that is dead, and for each that was named and is not: `delivery_id`,
    `destination`, `kind`, `state`, `reason`.

    Raises:
        StoreError: there is no such delivery or destination, or several deliveries
            have ids that begin so; it names those that there are.
    """
    destination, most = wanted.destination, wanted.most
    if destination is not None:
        _check_destination(conn, destination)
    if wanted.ids:
        named = _named(conn, wanted.ids, destination)
        keys = [row.seq for row in named if row.state == State.DEAD.value]
        return DeadLetters(rows=_shown(named[:most]), count=len(keys), keys=keys)
    asked = {} if destination is None else {"destination": destination}
    number, some, every = _ANYWHERE if destination is None else _OWED_THERE
    rows = conn.execute(_ROWS.where(_d.seq.in_(some.limit(most))), asked)
    shown = _shown(rows.all())
    if wanted.to_put_back:
        keys = sorted(conn.scalars(every, asked))
        return DeadLetters(rows=shown, count=len(keys), keys=keys)
    return DeadLetters(rows=shown, count=conn.scalar(number, asked) or 0)


def put_back(conn: Connection, keys: Sequence[int], *, now: datetime) -> int:
    """
    Put those of these back that are dead still, with all their tries before them.

    A redrive begins a new message: its members may be others than those of the message
    that was given up, so that one of them which does harm can be left out.

    How many. Whoever calls gives few keys at a time: others wait meanwhile.
    """
    return conn.execute(_PUT_BACK, {"keys": list(keys), "now": now}).rowcount


def redrive(conn: Connection, wanted: DeadFilter, *, now: datetime) -> DeadLetters:
    """Put them back all at once, if that is wanted: for whoever has the store alone."""
    found = dead_letters(conn, wanted)
    if wanted.to_put_back:
        for keys in parts(found.keys):
            put_back(conn, keys, now=now)
    return found


def _shown(rows: Sequence[Row[Any]]) -> list[RowJson]:
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


def _check_destination(conn: Connection, name: str) -> None:
    """One that is configured no more may still be owed something."""
    if conn.scalar(_IS_KNOWN, {"name": name}) is not None:
        return
    names = {*conn.scalars(select(_to.name)), *conn.scalars(_OWED_TO)}
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise StoreError(f"{name!r} is no destination; there are {known}")


def _named(conn: Connection, ids: Sequence[str], destination: str | None) -> list[Row[Any]]:
    """The deliveries whose ids begin so, each of them once."""
    whole: dict[str, Row[Any]] = {}
    for at in range(0, len(ids), _AT_ONCE):
        some = list(ids[at : at + _AT_ONCE])
        whole |= {row.id: row for row in conn.execute(_WHOLE, {"ids": some})}
    found: dict[str, Row[Any]] = {}
    for wanted in ids:
        row = whole.get(wanted) or _only(conn, wanted)
        if destination is not None and row.destination != destination:
            raise StoreError(f"{row.id} is owed to {row.destination}, no other")
        found[row.id] = row
    return list(found.values())


def _only(conn: Connection, beginning: str) -> Row[Any]:
    """The delivery whose id begins so, and is not all of it."""
    asked = {"beginning": beginning, "end": beginning + "\U0010ffff"}
    rows = conn.execute(_BEGINNING, asked).all() if beginning else []
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise StoreError(f"{beginning} is the beginning of {_several(rows)}")
    some = _ANYWHERE[1].limit(_SHOWN + 1)
    dead = conn.execute(_ROWS.where(_d.seq.in_(some))).all()
    there = f"the dead ones are {_several(dead)}" if dead else "none is dead"
    raise StoreError(f"there is no delivery {beginning!r}; {there}")


def _several(rows: Sequence[Row[Any]]) -> str:
    named = ", ".join(f"{row.id} ({row.destination})" for row in rows[:_SHOWN])
    return named + (" ..." if rows[_SHOWN:] else "")
