"""`notifier backup`."""

import sys
from pathlib import Path

from notifier.cli.exit_codes import DONE
from notifier.cli.options import Options
from notifier.cli.where import database, existing
from notifier.errors import StoreError
from notifier.storage import sqlite

_SQLITE = b"SQLite format 3\x00"
_MEGABYTE = 1_000_000
#: What lies beside a database and is part of it, or of the service.
_BESIDE = ("", "-wal", "-shm", ".lock", ".sock")


def backup(options: Options, target: Path) -> int:
    """
    Write a consistent copy; an earlier one is replaced, whole or not at all.

    Raises: StoreError, also when the target is anything but a copy.
    """
    source = existing(database(options))
    _check_target(source, target)
    sqlite.backup(source, target)
    size = target.stat().st_size / _MEGABYTE
    sys.stdout.write(f"{target}: {size:,.1f} MB, checked\n")
    return DONE


def _check_target(source: Path, target: Path) -> None:
    if target.is_dir():
        raise StoreError(f"{target} is a folder; name a file in it")
    if target.resolve() in {Path(f"{source.resolve()}{end}") for end in _BESIDE}:
        raise StoreError(f"{target} is the database itself; name another file")
    if not target.exists():
        return
    with target.open("rb") as file:
        if file.read(len(_SQLITE)) != _SQLITE:
            raise StoreError(f"{target} is there, and no database; it stays as it is")
