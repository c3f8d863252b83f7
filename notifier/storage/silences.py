"""Statements of silences. They end by themselves: what is over is never asked for."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update

from notifier.domain.rules import Silence
from notifier.domain.silences import keys_of, parse_stored
from notifier.errors import StoreError
from notifier.storage import schema as t
from notifier.storage import statements

_s = t.silences.c
_ALL = select(t.silences).order_by(_s.created_at, _s.id)
#: Asked with every claim.
_ACTIVE = _ALL.where(_s.expired_at.is_(None), _s.until > bindparam("now", type_=t.Instant))
_EXPIRE = (
    update(t.silences)
    .where(_s.id == bindparam("key"))
    .values(expired_at=bindparam("now", type_=t.Instant))
)


def active(conn: Connection, now: datetime) -> list[Silence]:
    """The silences in force, oldest first."""
    return [_silence(row) for row in conn.execute(_ACTIVE, {"now": now})]


def listed(
    conn: Connection, now: datetime, *, everything: bool
) -> list[tuple[Silence, datetime | None]]:
    """
    Silences, oldest first, each with the instant at which a person ended it.

    With `everything` also those that are over.
    """
    wanted = conn.execute(_ALL) if everything else conn.execute(_ACTIVE, {"now": now})
    return [(_silence(row), row.expired_at) for row in wanted]


def add(conn: Connection, silence: Silence) -> None:
    """Put a silence into force; the same one twice is one."""
    conn.execute(
        statements.add_new(conn.dialect.name, t.silences),
        {
            "id": silence.id,
            "match": keys_of(silence),
            "why": silence.why,
            "created_at": silence.created_at,
            "until": silence.until,
        },
    )


def expire(conn: Connection, beginning: str, *, now: datetime) -> Silence:
    """
    End the one silence in force whose id begins so.

    Raises:
        StoreError: there is none, or more than one; it names those that there are.
    """
    silence = _only(beginning, active(conn, now))
    conn.execute(_EXPIRE, {"key": silence.id, "now": now})
    return silence


def _only(beginning: str, silences: Sequence[Silence]) -> Silence:
    if not silences:
        raise StoreError("no silence is in force")
    found = [one for one in silences if beginning and one.id.startswith(beginning)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StoreError(f"{beginning} is the beginning of {_named(found)}")
    raise StoreError(f"no silence in force is called {beginning!r}; there is {_named(silences)}")


def _named(silences: Sequence[Silence]) -> str:
    return ", ".join(f"{one.id} ({one.why})" for one in silences)


def _silence(row: Row[Any]) -> Silence:
    match, destinations = parse_stored(row.match)
    return Silence(
        id=row.id,
        match=match,
        destinations=destinations,
        why=row.why,
        created_at=row.created_at,
        until=row.until,
    )
