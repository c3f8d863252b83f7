"""Conditions on a delivery's state, spelled out so that partial indexes can answer them."""

from typing import Any

from sqlalchemy import ColumnElement, literal_column

from notifier.domain.models import State


def is_state(column: ColumnElement[Any], *states: State) -> ColumnElement[bool]:
    """Whether a delivery is in one of these states."""
    return column.in_([literal_column(f"'{state.value}'") for state in states])


def is_pending(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a delivery waits, in the words of the index of those that do."""
    return column == literal_column(f"'{State.PENDING.value}'")
