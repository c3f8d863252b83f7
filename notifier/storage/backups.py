"""Daily backups beside the database, one for each of the last seven days."""

import re
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

from notifier.errors import StoreError
from notifier.storage import sqlite
from notifier.storage.database import RunInThread

KEPT = 7
_DAY = re.compile(r"\d{8}")
_LEFT_OVER = re.compile(r"\d{8}\.partial")


class DailyBackups:
    """Writes `<database>.backup-YYYYMMDD`; the files say which days there are."""

    def __init__(self, database: Path, *, run_in_thread: RunInThread) -> None:
        self._database = database
        self._run_in_thread = run_in_thread

    async def write(self, today: date) -> Path | None:
        """
        Write and check the day's backup, and delete all but the newest seven.

        None: there is one of this day already.

        Raises:
            StoreError: the backup could not be written, or is not sound; the older ones
                are unchanged.
        """
        return await self._run_in_thread(partial(_write, self._database, today))


def _write(database: Path, today: date) -> Path | None:
    target = database.with_name(f"{database.name}.backup-{today:%Y%m%d}")
    if target.exists():
        return None
    sqlite.backup(database, target)
    try:
        old = sorted(_copies(database, _DAY))[:-KEPT]
        for path in (*old, *_copies(database, _LEFT_OVER)):
            path.unlink(missing_ok=True)
    except OSError as exc:
        raise StoreError(f"{exc.filename}: {exc.strerror}") from exc
    return target


def _copies(database: Path, ending: re.Pattern[str]) -> Iterator[Path]:
    beginning = f"{database.name}.backup-"
    for path in database.parent.iterdir():
        name = path.name
        if name.startswith(beginning) and ending.fullmatch(name, len(beginning)):
            yield path
