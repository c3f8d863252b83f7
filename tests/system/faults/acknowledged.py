"""What a store has acknowledged, and what is left of it after a power cut."""

import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: When the power of a service is to be cut, and what it notes until then.
POWER, NOTES = "power.json", "power.notes"
_FILES = ("", "-wal", "-journal")


@dataclass(kw_only=True)
class Acknowledged:
    """The content after each commit that came back, and after one that did not."""

    contents: list[str] = field(default_factory=lambda: [_of_nothing()])
    maybe: str | None = None

    def trying(self, content: str) -> None:
        """A commit begins; the content after it."""
        self.maybe = content

    def done(self) -> None:
        """It has come back."""
        if self.maybe is not None:
            self.contents.append(self.maybe)
        self.maybe = None


@dataclass(frozen=True, kw_only=True)
class Left:
    """What was found."""

    #: Commits that were acknowledged and are not there.
    lost: int = 0
    broken: tuple[str, ...] = ()


def _of_nothing() -> str:
    with closing(sqlite3.connect(":memory:")) as conn:
        return fingerprint(conn.execute)


def judge(database: Path, seen: Acknowledged) -> Left:
    """
    What is left after a cut; from now on that counts as acknowledged.

    A copy is looked at: the next life finds the files as the cut has left them.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / database.name
        for ending in _FILES:
            file = database.with_name(database.name + ending)
            if file.exists():
                shutil.copyfile(file, copy.with_name(copy.name + ending))
        try:
            with closing(sqlite3.connect(copy)) as conn:
                broken = _faults(conn)
                content = fingerprint(conn.execute)
        except sqlite3.DatabaseError as exc:
            return Left(broken=(f"it cannot be read: {exc}",))
    return Left(broken=broken) if broken else _compared(content, seen)


def _faults(conn: sqlite3.Connection) -> tuple[str, ...]:
    said = [text for (text,) in conn.execute("PRAGMA integrity_check")]
    found = [] if said == ["ok"] else said[:3]
    if conn.execute("PRAGMA foreign_key_check").fetchone():
        found.append("a reference leads nowhere")
    return tuple(found)


def _compared(content: str, seen: Acknowledged) -> Left:
    if content == seen.maybe:
        seen.done()
    seen.maybe = None
    if content not in seen.contents:
        return Left(broken=("a commit is there in part",))
    place = len(seen.contents) - 1 - seen.contents[::-1].index(content)
    lost = len(seen.contents) - 1 - place
    del seen.contents[place + 1 :]
    return Left(lost=lost)


def fingerprint(ask: Callable[[str], Any]) -> str:
    """Everything that is in a database, in few letters."""
    digest = hashlib.sha256()
    tables = sorted(ask("SELECT name, sql FROM sqlite_schema"), key=repr)
    digest.update(repr(tables).encode())
    for (name,) in ask("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        rows = ask(f'SELECT * FROM "{name}"')
        digest.update(repr((name, sorted(map(repr, rows)))).encode())
    return digest.hexdigest()
