"""
SQLite as apsw brings it, spoken to as `sqlite3` is: as much of it as the store needs.

What was acknowledged is noted: a fingerprint of the whole content at each commit.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import apsw

from faults.acknowledged import fingerprint

Values = Sequence[Any] | Mapping[str, Any]

_OPEN = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


class Witness(Protocol):
    """Who remembers what was acknowledged."""

    def trying(self, content: str) -> None:
        """A commit begins; the content after it."""

    def done(self) -> None:
        """It has come back."""


class Connection:
    """One connection, through a file system that is known by its name."""

    def __init__(self, uri: str, *, vfs: str, witness: Witness) -> None:
        with _spoken():
            self._real = apsw.Connection(uri, flags=_OPEN, vfs=vfs)
        self._real.set_busy_timeout(5000)
        self._witness = witness

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def create_function(
        self,
        name: str,
        narg: int,
        func: Callable[..., Any],
        *,
        deterministic: bool = False,
    ) -> None:
        self._real.create_scalar_function(name, func, narg, deterministic=deterministic)

    def cursor(self) -> "Cursor":
        return Cursor(self._real)

    def execute(self, text: str, values: Values = ()) -> "Cursor":
        cursor = self.cursor()
        cursor.execute(text, values)
        return cursor

    def commit(self) -> None:
        if self.in_transaction:
            with _spoken():
                self._witness.trying(fingerprint(self._real.execute))
            self.execute("COMMIT")
            self._witness.done()

    def rollback(self) -> None:
        if self.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        with _spoken():
            self._real.close()


class Cursor:
    """The rows of a statement, which has run to its end."""

    arraysize = 1

    def __init__(self, real: apsw.Connection) -> None:
        self._connection = real
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, text: str, values: Values = ()) -> None:
        before = self._connection.total_changes()
        real = self._connection.cursor()
        real.exec_trace = self._look
        self.description = None
        with _spoken():
            self._rows = list(real.execute(text, values))
        # Of what other rows were changed by it nothing is said.
        changed = self._connection.total_changes() != before
        self.rowcount = self._connection.changes() if changed else 0
        self.lastrowid = self._connection.last_insert_rowid()

    def executemany(self, text: str, many: Sequence[Values]) -> None:
        changed = 0
        for values in many:
            self.execute(text, values)
            changed += self.rowcount
        self.rowcount = changed

    def _look(self, real: apsw.Cursor, _text: str, _values: object) -> bool:
        found = real.get_description()
        self.description = [(one[0], *[None] * 6) for one in found] or None
        return True

    def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        size = size or self.arraysize
        found, self._rows = self._rows[:size], self._rows[size:]
        return found

    def fetchall(self) -> list[Any]:
        found, self._rows = self._rows, []
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())

    def close(self) -> None:
        self._rows = []


@contextmanager
def _spoken() -> Iterator[None]:
    """Errors by the names that the store knows."""
    try:
        yield
    except apsw.ConstraintError as exc:
        raise sqlite3.IntegrityError(str(exc)) from exc
    except apsw.Error as exc:
        raise sqlite3.OperationalError(str(exc)) from exc
