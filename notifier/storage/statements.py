"""
Statements that are built once: to put one together costs more than to run it.

Those that know ON CONFLICT are built for each dialect. Conditions on a state are
literal, because a bound value keeps SQLite from its partial indexes.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    literal_column,
)
from sqlalchemy.dialects import postgresql, sqlite

from notifier.domain.models import State
from notifier.storage import schema as t

_m, _d, _q = t.milestones.c, t.deliveries.c, t.quarantine.c


def is_state(column: ColumnElement[Any], *states: State) -> ColumnElement[bool]:
    """A condition that a partial index can answer."""
    return column.in_([literal_column(f"'{state.value}'") for state in states])


def is_pending(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a delivery waits, in the words of the index of those that do."""
    return column == literal_column(f"'{State.PENDING.value}'")


def upsert(dialect: str, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def add_new(dialect: str, table: Table) -> Any:
    """Insert; a row that is there already stays as it is."""
    return upsert(dialect, table).on_conflict_do_nothing()


@cache
def put(dialect: str, table: Table, keys: tuple[str, ...], change: str) -> Any:
    """Insert; of a row that is there already one column is replaced."""
    statement = upsert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=keys, set_={change: statement.excluded[change]}
    )
