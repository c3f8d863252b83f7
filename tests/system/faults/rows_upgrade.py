"""Rows: the process dies while it upgrades the store of an earlier version."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from alembic import command as alembic
from alembic.config import Config
from e2e.village import until
from servers.http_sink import Answer
from sqlalchemy import create_engine

from faults.ledger import Counts, Row, Stage
from faults.scene import HOOK, Scene, command, scene
from faults.strace import SYNCS, WRITES, killed_at
from notifier.storage.sqlite import HEAD, SCRIPTS

_FIRST = "0001"
_OLD = "old.db"
_SEEN = "seen"
_BACKUP = f"notifier.db.before-{HEAD}"
#: More than a start makes; the walk ends behind the upgrade.
_MANY = 2_000


async def _upgrade(stage: Stage) -> Counts:
    """Die at each sync of the upgrade, and at writes; the next start finishes it."""
    async with scene(stage) as there:
        await there.baseline()
        await _three_done_and_one_open(there)
        database, old = stage.folder / "notifier.db", stage.folder / _OLD
        await anyio.to_thread.run_sync(_write_as_first, database, old)
        rows = _rows_of(old)
        there.check(len(rows.milestones) > 3, "the old store is empty")
        there.check(rows.revision == _FIRST, f"the old store is at {rows.revision}")
        for calls in (SYNCS, WRITES):
            for n in _walk(is_sparse=calls == WRITES, quick=stage.quick):
                if await _dies(there, calls, n, rows):
                    break
        return await _told(there)


def _walk(*, is_sparse: bool, quick: bool) -> Iterator[int]:
    """Each one; or each of the first, and then ever fewer."""
    n = 1
    while n < (4 if quick else _MANY):
        yield n
        n += max(1, n // 2) if is_sparse else 1


async def _three_done_and_one_open(there: Scene) -> None:
    """What an upgrade must not lose: what was told, and what is still owed."""
    async with there.service.life() as life:
        await life.started()
        for _ in range(3):
            await there.add()
        await until(lambda: there.service.store.states() == {"delivered": 3})
        there.hook.answer(HOOK, Answer(status=401))
        await there.add()
        await until(lambda: there.service.store.states().get("pending") == 1)
        await until(
            lambda: bool(
                there.service.store.ask(
                    "SELECT 1 FROM destinations WHERE suspended_since IS NOT NULL"
                )
            )
        )
        await there.stopped(life)


def _write_as_first(database: Path, old: Path) -> None:
    """The same store as the first version would have kept it."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    engine = create_engine(f"sqlite:///{old}")
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        alembic.upgrade(config, _FIRST)
    engine.dispose()
    with closing(sqlite3.connect(old)) as copy:
        copy.execute("PRAGMA journal_mode = wal")
        copy.execute("ATTACH ? AS new", (str(database),))
        tables = copy.execute(
            "SELECT name FROM main.sqlite_master WHERE type = 'table' "
            "AND name NOT IN ('alembic_version', 'sqlite_sequence')"
        ).fetchall()
        for (table,) in tables:
            found = copy.execute(f"PRAGMA main.table_info({table})").fetchall()
            names = ", ".join(f'"{column[1]}"' for column in found)
            copy.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
        copy.commit()


async def _dies(there: Scene, calls: str, n: int, rows: "_Rows") -> bool:
    """One death, and the start after it; whether the upgrade was over before."""
    folder = there.stage.folder
    where = f"{calls} {n}"
    _put_back(folder)
    start = [sys.executable, "-m", "notifier", "run"]
    status = await killed_at(start, calls, n, cwd=folder)
    await there.died()
    if status is None:
        there.check(False, f"{where}: the upgrade came to no end")
        return True
    there.struck(status)
    left = _seen(folder)
    is_over = left.revision == HEAD
    there.check(left.revision in (_FIRST, HEAD), f"{where}: it is at {left.revision}")
    there.check(left.is_sound, f"{where}: the database is not sound")
    there.check(left.is_as(rows), f"{where}: rows are lost")
    async with there.service.life() as life:
        await life.started()
        await there.stopped(life)
    _is_finished(there, where, rows)
    return is_over


def _is_finished(there: Scene, where: str, rows: "_Rows") -> None:
    folder = there.stage.folder
    now = _rows_of(folder / "notifier.db")
    there.check(now.revision == HEAD, f"{where}: then it is at {now.revision}")
    there.check(now.is_sound, f"{where}: then the database is not sound")
    there.check(now.is_as(rows), f"{where}: then rows are lost")
    tries = there.service.store.ask("SELECT 1 FROM deliveries WHERE tries <> attempts")
    there.check(not tries, f"{where}: tries were not carried over")
    kept = folder / _BACKUP
    there.check(kept.exists(), f"{where}: there is no backup")
    if kept.exists():
        before = _rows_of(kept)
        is_whole = before.revision == _FIRST and before.is_as(rows)
        there.check(before.is_sound and is_whole, f"{where}: the backup is not sound")
    rest = list(folder.glob("*.partial*"))
    there.check(not rest, f"{where}: left behind: {rest}")


async def _told(there: Scene) -> Counts:
    """What was owed before the upgrade is told after it, once."""
    there.hook.answer(HOOK, Answer())
    async with there.service.life() as life:
        await life.started()
        status, said = await command(there.stage.folder, "resume", "hook")
        there.check(status == 0, said)
        await there.add()
        await there.settled(life)
    return await there.counts()


def _put_back(folder: Path) -> None:
    for file in folder.glob("notifier.db*"):
        file.unlink()
    shutil.copyfile(folder / _OLD, folder / "notifier.db")


# --- what is in a database ----------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """What no upgrade changes, and whether it can be read."""

    revision: str
    is_sound: bool
    milestones: frozenset[Any]
    events: frozenset[Any]
    deliveries: frozenset[Any]
    watches: frozenset[Any]

    def is_as(self, other: "_Rows") -> bool:
        """Whether the same rows are there."""
        return (
            self.milestones == other.milestones
            and self.events == other.events
            and self.deliveries == other.deliveries
            and self.watches == other.watches
        )


def _seen(folder: Path) -> _Rows:
    """In a copy: what looks at a log mends it, and that is for the next start."""
    seen = folder / _SEEN
    shutil.rmtree(seen, ignore_errors=True)
    seen.mkdir()
    for ending in ("", "-wal"):
        file = folder / f"notifier.db{ending}"
        if file.exists():
            shutil.copyfile(file, seen / file.name)
    return _rows_of(seen / "notifier.db")


def _rows_of(database: Path) -> _Rows:
    with closing(sqlite3.connect(database)) as conn:

        def rows(text: str) -> frozenset[Any]:
            return frozenset(conn.execute(text).fetchall())

        revision = conn.execute("SELECT version_num FROM alembic_version").fetchone()
        return _Rows(
            revision=str(revision[0]),
            is_sound=rows("PRAGMA integrity_check") == {("ok",)},
            milestones=rows("SELECT id, fingerprint, doc FROM milestones"),
            events=rows("SELECT seq, id, kind, at FROM events"),
            deliveries=rows(
                "SELECT id, event_id, destination, born_at, state = 'delivered', "
                "CASE state WHEN 'delivered' THEN message_id END FROM deliveries"
            ),
            watches=rows("SELECT id, name, baselined_at FROM watches"),
        )


ROWS = (
    Row(
        id="kill-upgrade",
        matrix="5",
        done="SIGKILL at each `fdatasync`, and at more and more distant `pwrite64`, of "
        "the start that upgrades a store of the first version, until it is upgraded",
        holds="it is upgraded as a whole or not at all; the next start finishes it; "
        "every row is there, the backup is sound, what was owed is told once",
        run=_upgrade,
    ),
)
