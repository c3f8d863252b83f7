"""Dead letters: found, and put back into the outbox; and the end of a suspension."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from notifier.domain.pagination import DeadFilter, DeadLetters, RowJson, parts
from notifier.errors import StoreError
from notifier.storage import destination_state
from notifier.storage.sql import sql

#: Of several deliveries, so many are named in an error.
_MAX_NAMED = 5
#: Ids of one query.
_IDS_AT_ONCE = 500
_UNLIMITED = 2**62

_COLUMNS = "SELECT seq, id, destination, kind, state, reason FROM deliveries"
_BY_ID = sql(f"{_COLUMNS} WHERE id IN :ids")
#: A range, because LIKE uses no index.
_BY_PREFIX = sql(f"{_COLUMNS} WHERE id >= :prefix AND id < :end ORDER BY id LIMIT :limit")
# Without "|| ''" and "+ 0" SQLite walks through all deliveries of the destination, or all
# there are in their order, instead of through the small index of the dead ones.
_IS_DEAD = "state = 'dead' AND (:destination IS NULL OR destination || '' = :destination)"
_DEAD = sql(f"{_COLUMNS} WHERE {_IS_DEAD} ORDER BY seq + 0 LIMIT :limit")
_DEAD_KEYS = sql(f"SELECT seq FROM deliveries WHERE {_IS_DEAD} ORDER BY seq + 0")
_COUNT_DEAD = sql(f"SELECT count(*) FROM deliveries WHERE {_IS_DEAD}")
_PUT_BACK = sql(
    "UPDATE deliveries SET state = 'pending', due_at = :now, born_at = :now, attempts = 0,"
    " crashes = 0, form = 'rich', frozen = FALSE, held = NULL, gathered = FALSE, reason = NULL,"
    " settled_at = NULL WHERE seq IN :keys AND state = 'dead'"
)
_DESTINATIONS = sql("SELECT name FROM destinations ORDER BY name")
#: Destinations that are not configured any more may still have unfinished deliveries.
_OWED_DESTINATIONS = sql(
    "SELECT destination FROM deliveries WHERE state IN ('pending', 'leased')"
    " UNION SELECT destination FROM deliveries WHERE state = 'dead'"
)
_IS_WAITING = "destination = :destination AND state = 'pending'"
_MAKE_DUE = sql(
    f"UPDATE deliveries SET due_at = :now WHERE {_IS_WAITING} AND due_at > :now AND held IS NULL"
)
_COUNT_WAITING = sql(f"SELECT count(*) FROM deliveries WHERE {_IS_WAITING}")


def resume(conn: Connection, destination: str, *, now: datetime) -> int:
    """
    End a destination's suspension or pause; how many deliveries waited for it.

    Raises:
        StoreError: there has never been such a destination.
    """
    known = list(conn.scalars(_DESTINATIONS))
    if destination not in known:
        raise _unknown_destination(destination, known)
    destination_state.reset(conn, destination, now)
    conn.execute(_MAKE_DUE, {"destination": destination, "now": now})
    return conn.scalar(_COUNT_WAITING, {"destination": destination}) or 0


def dead_letters(conn: Connection, wanted: DeadFilter) -> DeadLetters:
    """
    Find dead deliveries; without ids and destination all of them.

    Of an id its beginning is enough. There is a row for each that is dead, and for each
    that was named and is not: `delivery_id`, `destination`, `kind`, `state`, `reason`.

    Raises:
        StoreError: there is no such delivery or destination, or several deliveries have
            ids that begin so; it names those that there are.
    """
    destination, limit = wanted.destination, wanted.most
    if destination is not None:
        known = set(conn.scalars(_DESTINATIONS))
        if destination not in known:
            known |= set(conn.scalars(_OWED_DESTINATIONS))
        if destination not in known:
            raise _unknown_destination(destination, sorted(known))
    if wanted.ids:
        named = _by_ids(conn, wanted.ids, destination)
        keys = [row.seq for row in named if row.state == "dead"]
        return DeadLetters(rows=_rows(named[:limit]), count=len(keys), keys=keys)
    values = {"destination": destination}
    found = conn.execute(_DEAD, values | {"limit": _UNLIMITED if limit is None else limit})
    rows = _rows(found.all())
    if wanted.to_put_back:
        keys = list(conn.scalars(_DEAD_KEYS, values))
        return DeadLetters(rows=rows, count=len(keys), keys=keys)
    return DeadLetters(rows=rows, count=conn.scalar(_COUNT_DEAD, values) or 0)


def put_back(conn: Connection, keys: Sequence[int], *, now: datetime) -> int:
    """
    Put those of these deliveries back that are dead, with no attempts made; how many.

    A redrive begins a new message: its members may be others than those of the message
    that was given up, so that a harmful one can be left out.
    """
    return conn.execute(_PUT_BACK, {"keys": list(keys), "now": now}).rowcount


def redrive(conn: Connection, wanted: DeadFilter, *, now: datetime) -> DeadLetters:
    """Find dead letters and put all of them back at once, while no service runs."""
    found = dead_letters(conn, wanted)
    if wanted.to_put_back:
        for keys in parts(found.keys):
            put_back(conn, keys, now=now)
    return found


def _unknown_destination(name: str, known: Sequence[str]) -> StoreError:
    there = ", ".join(known) or "none"
    return StoreError(f"{name!r} is no destination; there are {there}")


def _by_ids(conn: Connection, ids: Sequence[str], destination: str | None) -> list[Row[Any]]:
    """The deliveries whose ids begin so, each of them once."""
    whole: dict[str, Row[Any]] = {}
    for at in range(0, len(ids), _IDS_AT_ONCE):
        rows = conn.execute(_BY_ID, {"ids": list(ids[at : at + _IDS_AT_ONCE])})
        whole |= {row.id: row for row in rows}
    found: dict[str, Row[Any]] = {}
    for wanted in ids:
        row = whole.get(wanted) or _by_prefix(conn, wanted)
        if destination is not None and row.destination != destination:
            raise StoreError(f"{row.id} is owed to {row.destination}, no other")
        found[row.id] = row
    return list(found.values())


def _by_prefix(conn: Connection, prefix: str) -> Row[Any]:
    limit = _MAX_NAMED + 1
    values = {"prefix": prefix, "end": prefix + "\U0010ffff", "limit": limit}
    rows = conn.execute(_BY_PREFIX, values).all() if prefix else []
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise StoreError(f"{prefix} is the beginning of {_names(rows)}")
    dead = conn.execute(_DEAD, {"destination": None, "limit": limit}).all()
    there = f"the dead ones are {_names(dead)}" if dead else "none is dead"
    raise StoreError(f"there is no delivery {prefix!r}; {there}")


def _names(rows: Sequence[Row[Any]]) -> str:
    named = ", ".join(f"{row.id} ({row.destination})" for row in rows[:_MAX_NAMED])
    return named + (" ..." if rows[_MAX_NAMED:] else "")


def _rows(rows: Sequence[Row[Any]]) -> list[RowJson]:
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
