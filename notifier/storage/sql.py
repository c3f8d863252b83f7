"""Statements as SQL text with named parameters, good for SQLite and PostgreSQL."""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, text
from sqlalchemy.types import TypeEngine

from notifier.storage.schema import Instant

#: Parameters of these names take datetimes.
_INSTANT = re.compile(r"^(?:at|now|before|\w+_at|(?:\w+_)?(?:since|until))$")
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")
_LIST = re.compile(r"\bIN :(\w+)")


def sql(
    statement: str,
    *,
    instants: tuple[str, ...] = (),
    **columns: type[TypeEngine[Any]],
) -> Executable:
    """
    A statement ready to be executed; to make one costs more than to execute it.

    A parameter after IN takes a list; one that is named like an instant (`now`, `due_at`,
    `paused_until` ...) takes a datetime. The result's columns `instants` hold datetimes,
    those in `columns` values of these types, and the others what the database returns.
    """
    lists = set(_LIST.findall(statement))
    parameters = [
        bindparam(name, type_=Instant if _INSTANT.match(name) else None, expanding=name in lists)
        for name in set(_PARAMETER.findall(statement))
    ]
    clause = text(statement).bindparams(*parameters)
    types: dict[str, type[TypeEngine[Any]]] = {**dict.fromkeys(instants, Instant), **columns}
    return clause.columns(**types) if types else clause


def execute_many(conn: Connection, statement: Executable, rows: Sequence[dict[str, Any]]) -> int:
    """Execute a statement for each row, if there are any; how many rows it changed."""
    return conn.execute(statement, rows).rowcount if rows else 0
