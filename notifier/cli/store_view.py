"""A store as reading commands see it, whether or not a service runs on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from notifier.cli.options import Options
from notifier.cli.where import database, existing
from notifier.errors import SchemaMismatch, StoreError
from notifier.storage import sqlite
from notifier.storage.database import reading


@contextmanager
def viewing(options: Options) -> Iterator[Connection]:
    """
    A connection that can only read.

    Raises: StoreError when there is nothing that this program can read.
    """
    path = existing(database(options))
    with reading(path) as conn:
        _check(path, sqlite.revision(conn))
        yield conn


def _check(path: Path, revision: str | None) -> None:
    if revision == sqlite.HEAD:
        return
    if revision is None:
        raise StoreError(f"{path} holds nothing yet: `notifier run` has not got so far")
    if revision > sqlite.HEAD:
        raise SchemaMismatch(f"{path} was written by a newer version; use that one")
    raise StoreError(f"{path} was written by an older version; `notifier run` brings it up to date")
