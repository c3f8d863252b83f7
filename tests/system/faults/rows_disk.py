"""Rows: the disk fails, is full, or somebody else holds the database."""

import sqlite3
from contextlib import closing
from functools import partial

import anyio
from e2e.village import Life, until

from faults.ledger import Counts, Row, Stage
from faults.scene import Scene, scene
from faults.strace import SYNCS, WRITES, injected

_SAYS = "notifier: the database failed: "


async def _failing(stage: Stage, *, calls: str, error: str, quick: int, most: int) -> Counts:
    """The first, second, ... call since the news came fails, and all after it."""
    async with scene(stage) as there:
        await there.baseline()
        for n in range(1, 1 + (quick if stage.quick else most)):
            async with there.service.life() as life:
                await life.started()
                database = stage.folder / "notifier.db-wal"
                fail = f"error={error}:when={n}+"
                async with injected(life.process.pid, calls, fail, path=database):
                    key = await there.add()
                    await _ends(there, life, f"{error} at {n}")
                there.faults += 1
                await there.died(life)
            there.check(_is_silent_about(there, key), f"{error} at {n}: sent unstored")
        return await there.ending()


async def _ends(there: Scene, life: Life, where: str) -> None:
    """It must end by itself, and say why."""
    with anyio.move_on_after(15):
        status = await life.end()
        there.check(status == 1, f"{where}: it ended with {status}")
        there.check(_SAYS in life.said, f"{where}: it did not say why")
        return
    there.check(False, f"{where}: it lived on")
    await life.kill()


def _is_silent_about(there: Scene, key: str) -> bool:
    """What is not stored is not sent either."""
    if there.service.store.has(key):
        return True
    return not any(key.encode() in one.body for one in there.hook.requests)


async def _once(stage: Stage, *, calls: str, error: str, most: int) -> Counts:
    """A single call fails; what that commit did is unknown."""
    async with scene(stage) as there:
        await there.baseline()
        for n in range(1, 1 + most):
            async with there.service.life() as life:
                await life.started()
                database = stage.folder / "notifier.db-wal"
                fail = f"error={error}:when={n}"
                async with injected(life.process.pid, calls, fail, path=database):
                    await there.add()
                    await _ends(there, life, f"{error} at {n}")
                there.faults += 1
                await there.died(life)
        return await there.ending()


async def _held(stage: Stage) -> Counts:
    """Somebody else writes, and does not let go for 8 s."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            alien = sqlite3.connect(stage.folder / "notifier.db", isolation_level=None, timeout=0)
            with closing(alien):
                await until(partial(_takes, alien))
                there.faults += 1
                await there.add()
                await anyio.sleep(8)
            await there.settled(life)
            there.check("store.locked" in life.said, "it did not say why it waited")
            return await there.counts()


def _takes(alien: sqlite3.Connection) -> bool:
    try:
        alien.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


async def _read_only(stage: Stage) -> Counts:
    """Every write to the database is refused, as on a disk mounted read-only."""
    return await _failing(stage, calls=WRITES, error="EROFS", quick=1, most=2)


_HOLDS = (
    "it ends with 1 and says why; nothing that is not stored was sent; after the next "
    "start nothing is lost, nothing is told under two ids"
)

ROWS = (
    Row(
        id="sync-error-once",
        matrix="9",
        done="EIO from a single `fdatasync`, the first, second, ... after news came",
        holds=_HOLDS,
        run=partial(_once, calls=SYNCS, error="EIO", most=6),
    ),
    Row(
        id="sync-error",
        matrix="9",
        done="EIO from each `fdatasync`, from the first, second, ... on",
        holds=_HOLDS,
        run=partial(_failing, calls=SYNCS, error="EIO", quick=1, most=4),
    ),
    Row(
        id="write-error",
        matrix="9",
        done="EIO from each `pwrite64`, from the first, second, ... on",
        holds=_HOLDS,
        run=partial(_failing, calls=WRITES, error="EIO", quick=1, most=6),
    ),
    Row(
        id="disk-full",
        matrix="10, 11",
        done="ENOSPC from each `pwrite64`, from the first, second, ... on",
        holds=_HOLDS,
        run=partial(_failing, calls=WRITES, error="ENOSPC", quick=1, most=8),
        quick=True,
    ),
    Row(
        id="read-only",
        matrix="12",
        done="EROFS from each `pwrite64`",
        holds=_HOLDS,
        run=_read_only,
    ),
    Row(
        id="write-lock-held",
        matrix="14",
        done="another program holds the database's write lock for 8 s",
        holds="it waits, says for whom, and goes on; nothing is lost or repeated",
        run=_held,
    ),
)
