"""Rows: death while old things are forgotten or copied; damage, and its repair."""

import json
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from e2e.village import PATIENCE_S, until
from servers.http_sink import Answer

from faults.ledger import NOTHING, Counts, Row, Stage
from faults.scene import HOOK, Scene, command, scene
from faults.services import FUSE
from faults.strace import started
from faults.verdict import arrivals

_TABLES = ("deliveries", "events", "served", "attempts", "reads")
_KEEP_NOTHING = "retention: {events: 1s, deliveries: 1s}\n"

# --- forgetting ---------------------------------------------------------------


async def _forgetting(stage: Stage) -> Counts:
    """It dies before and after each statement that forgets something."""
    points = [(table, when) for table in _TABLES for when in ("before", "after")]
    _set_fuse(stage.folder)
    async with scene(stage, program=("faults.services", "failing")) as there:
        await there.baseline()
        config = stage.folder / "notifier.yaml"
        calm = config.read_text("utf-8")
        open_key = await _one_open_and_one_done(there)
        await anyio.sleep(2)
        for table, when in points[:2] if stage.quick else points:
            config.write_text(calm + _KEEP_NOTHING, "utf-8")
            _set_fuse(stage.folder, f"DELETE FROM {table}", when)
            before = _rows(there)
            async with there.service.life() as life:
                with anyio.move_on_after(PATIENCE_S):
                    await life.end()
                where = f"{when} {table}"
                there.check(life.process.returncode == -9, f"{where}: it lived on")
                await there.killed(life)
            there.check(_rows(there) == before, f"{where}: forgotten in part")
        _set_fuse(stage.folder)
        await _forget(there)
        config.write_text(calm, "utf-8")
        return _of_keys(there, open_key)


async def _one_open_and_one_done(there: Scene) -> str:
    """Two milestones are told; the news of one of them is refused for now."""
    async with there.service.life() as life:
        await life.started()
        for _ in range(3):
            await there.add()
        await until(lambda: there.service.store.states() == {"delivered": 3})
        there.hook.answer(HOOK, Answer(status=401))
        key = await there.add()
        await until(lambda: there.service.store.states().get("pending") == 1)
        await there.stopped(life)
    return key


async def _forget(there: Scene) -> None:
    """A whole life, in which what is done is forgotten and what is open is told."""
    async with there.service.life() as life:
        await until(lambda: "store.pruned" in life.said)
        there.hook.answer(HOOK, Answer())
        status, said = await command(there.stage.folder, "resume", "hook")
        there.check(status == 0, said)
        await until(lambda: not there.service.store.states().get("pending"))
        await there.stopped(life)
    rest = there.service.store.ask("SELECT count(*) FROM events")
    there.check(rest[0][0] <= 1, "what was done is still there")


def _rows(there: Scene) -> dict[str, int]:
    """What may not be forgotten unless all of it is."""
    ask = there.service.store.ask
    return {table: ask(f"SELECT count(*) FROM {table}")[0][0] for table in ("deliveries", "events")}


def _of_keys(there: Scene, open_key: str) -> Counts:
    """As the events are forgotten: each milestone is to be told once."""
    came = Counter(event["subject"] for one in arrivals(there.hook.requests) for event in one.told)
    sound = there.service.store.ask("PRAGMA integrity_check") == [("ok",)]
    there.check(sound, "the database is not sound")
    there.check(came[open_key] > 0, "what was open was forgotten")
    return replace(
        NOTHING,
        faults=there.faults,
        events=len(there.keys),
        messages=came.total(),
        lost=sum(key not in came for key in there.keys),
        spurious=sum(key not in there.keys for key in came),
        repeats=sum(count - 1 for count in came.values()),
        broken=tuple(there.broken),
    )


def _set_fuse(folder: Path, beginning: str = "", when: str = "before") -> None:
    plan = {"beginning": beginning, "when": when}
    (folder / FUSE).write_text(json.dumps(plan), "utf-8")


# --- copying ------------------------------------------------------------------

_COPY = "copy.db"


async def _copying(stage: Stage) -> Counts:
    """`notifier backup` dies at a write, a sync, the renaming; a good copy is there."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.add()
            await there.add()
            status, said = await command(stage.folder, "backup", _COPY)
            there.check(status == 0, said)
            good = (stage.folder / _COPY).read_bytes()
            await there.add()
            for calls, n in _POINTS[:2] if stage.quick else _POINTS:
                await _die_copying(there, calls, n)
                found = (stage.folder / _COPY).read_bytes()
                there.check(
                    found == good or _is_sound(stage.folder / _COPY),
                    f"{calls} {n}: the copy is neither the old one nor a new one",
                )
            status, said = await command(stage.folder, "backup", _COPY)
            there.check(status == 0, said)
            there.check(_is_sound(stage.folder / _COPY), "the last copy is not sound")
            rest = list(stage.folder.glob("*.partial*"))
            there.check(not rest, f"left behind: {rest}")
            await there.settled(life)
        return await there.counts()


_POINTS = (
    *(("rename", n) for n in (1,)),
    *(("pwrite64", n) for n in (1, 2, 9, 30)),
    *(("fsync,fdatasync", n) for n in (1, 2, 3, 4, 5)),
    *(("unlink,unlinkat", n) for n in (1, 2)),
)


async def _die_copying(there: Scene, calls: str, n: int) -> None:
    words = [sys.executable, "-m", "notifier", "backup", _COPY]
    folder = there.stage.folder
    kill = f"signal=SIGKILL:when={n}"
    log = folder / "backup.log"
    async with started(words, calls, kill, cwd=folder, log=log) as process:
        with anyio.fail_after(30):
            status = await process.wait()
    # Where there are fewer such calls it comes to its end.
    there.check(status in (0, -9), f"{calls} {n}: it ended with {status}")
    there.faults += status == -9
    if n == 1:
        there.check(status == -9, f"{calls}: none came")


def _is_sound(copy: Path) -> bool:
    with closing(sqlite3.connect(f"file:{copy}?mode=ro", uri=True)) as conn:
        known: int = conn.execute("SELECT count(*) FROM milestones").fetchone()[0]
        said = conn.execute("PRAGMA integrity_check").fetchone()
    return known > 0 and said == ("ok",)


# --- damage -------------------------------------------------------------------

_PAGE = 4096

Damage = Callable[[bytearray], None]


async def _damaged(stage: Stage) -> Counts:
    """Parts of the file are wiped; then the copy is put back."""
    async with scene(stage) as there:
        await there.baseline()
        for name, damage in _damages(there)[: 2 if stage.quick else None]:
            await _tell(there)
            status, said = await command(stage.folder, "backup", _COPY)
            there.check(status == 0, said)
            since = len(there.hook.requests)
            await _tell(there)
            await _meets(there, name, damage)
            _restore(there)
            # What was told since the copy was made is told again, by the same ids.
            there.in_doubt |= set(range(since, len(there.hook.requests)))
        return await there.ending()


async def _tell(there: Scene) -> None:
    async with there.service.life() as life:
        await life.started()
        await there.add()
        await there.settled(life)


def _damages(there: Scene) -> list[tuple[str, Damage]]:
    return [
        ("the header", partial(_wipe, begin=0, end=100)),
        ("the schema", partial(_wipe, begin=100, end=_PAGE)),
        *((f"page {n}", partial(_wipe_page, there, n)) for n in range(1, 4)),
    ]


def _wipe(content: bytearray, *, begin: int, end: int) -> None:
    content[begin:end] = bytes(end - begin)


def _wipe_page(there: Scene, _which: int, content: bytearray) -> None:
    n = there.random.randrange(1, len(content) // _PAGE)
    _wipe(content, begin=n * _PAGE, end=(n + 1) * _PAGE)


async def _meets(there: Scene, what: str, damage: Damage) -> None:
    """It ends and says why; where it has not met the damage, no copy is made of it."""
    database = there.stage.folder / "notifier.db"
    content = bytearray(database.read_bytes())
    damage(content)
    database.write_bytes(content)
    there.faults += 1
    async with there.service.life() as life:
        with anyio.move_on_after(4):
            await life.end()
        if (status := life.process.returncode) is None:
            await _is_not_copied(there, what)
            return
        there.check(status == 1, f"{what}: it ended with {status}")
        there.check("notifier: " in life.said, f"{what}: it did not say why")
        there.check("Traceback" not in life.said, f"{what}: a traceback was logged")


async def _is_not_copied(there: Scene, what: str) -> None:
    copy = there.stage.folder / _COPY
    before = copy.read_bytes()
    status, said = await command(there.stage.folder, "backup", _COPY)
    there.check(status == 1, f"{what}: it was copied: {said}")
    there.check(copy.read_bytes() == before, f"{what}: the good copy is no more")


def _restore(there: Scene) -> None:
    """As docs/operate.md says."""
    folder = there.stage.folder
    for ending in ("-wal", "-shm"):
        (folder / f"notifier.db{ending}").unlink(missing_ok=True)
    shutil.copyfile(folder / _COPY, folder / "notifier.db")


ROWS = (
    Row(
        id="kill-forgetting",
        matrix="6",
        done="SIGKILL before and after each statement that forgets what is old",
        holds="it is forgotten together or not at all; what is open stays, and is told",
        run=_forgetting,
        quick=True,
    ),
    Row(
        id="kill-copying",
        matrix="6",
        done="SIGKILL to `notifier backup` at writes, syncs, deletions, the renaming",
        holds="the earlier copy stays as it was until a whole new one takes its place; "
        "the service does not notice",
        run=_copying,
    ),
    Row(
        id="damage",
        matrix="13, 16",
        done="the database's header, its schema, or pages of it are wiped; then an "
        "earlier copy is put back",
        holds="it ends with 1 and says why, or has not met the damage and no copy is "
        "made of it; what came after the copy is told again by the same ids",
        run=_damaged,
        seeded=True,
    ),
)
