"""Rows: the power is cut, and the disk loses what was not synced."""

import importlib.util
import json
import os
import sys
from dataclasses import replace

import anyio

from faults.acknowledged import NOTES, POWER, Acknowledged, judge
from faults.ledger import NOTHING, Counts, Row, Stage, Unavailable
from faults.scene import Scene, scene

_NO_FUSE = -1


def _needs_apsw() -> None:
    if importlib.util.find_spec("apsw") is None:
        raise Unavailable("apsw is not there")


async def _store(stage: Stage) -> Counts:
    """Life after life of a store, with nothing but its statements: many cuts."""
    _needs_apsw()
    command = [sys.executable, "-m", "faults.cuts", str(stage.seed)]
    done = await anyio.run_process(
        [*command, str(20 if stage.quick else 200)],
        cwd=stage.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=None,
    )
    told = json.loads(done.stdout)
    return replace(NOTHING, **{**told, "broken": tuple(told["broken"])})


async def _service(stage: Stage) -> Counts:
    """The whole service, in the middle of traffic."""
    _needs_apsw()
    _set(stage, fuse=_NO_FUSE)
    seen, worked = Acknowledged(), 0
    async with scene(stage, program=("faults.services", "powered")) as there:
        await there.baseline()
        async with there.traffic():
            for n in range(2 if stage.quick else 12):
                # A fuse that is longer than its life: all that was not synced is lost.
                _set(stage, fuse=there.random.randint(1, 400), life=n)
                async with there.service.life() as life:
                    with anyio.move_on_after(there.random.uniform(2, 4)):
                        await life.end()
                    await there.killed(life)
                worked += _check(there, seen, where=f"life {n}")
        there.check(worked > 0, "no life came as far as a commit")
        _set(stage, fuse=_NO_FUSE)
        return await there.ending()


def _set(stage: Stage, *, fuse: int, life: int = 0) -> None:
    plan = {"seed": 1000 * stage.seed + life, "fuse": fuse}
    (stage.folder / POWER).write_text(json.dumps(plan), "utf-8")


def _check(there: Scene, seen: Acknowledged, *, where: str) -> bool:
    """What was acknowledged in this life, and before it, is there; if it wrote any."""
    folder = there.stage.folder
    notes = folder / NOTES
    if not notes.exists():
        return False
    for line in notes.read_text("utf-8").splitlines():
        match line.split():
            case ["trying", content]:
                seen.trying(content)
            case _:
                seen.done()
    notes.unlink()
    left = judge(folder / "notifier.db", seen)
    there.check(not left.lost, f"{where}: {left.lost} commits are lost")
    there.broken += [f"{where}: {text}" for text in left.broken]
    return True


_HOLDS = (
    "what was acknowledged is there; of what was under way all or nothing; the database is sound"
)

ROWS = (
    Row(
        id="power-cut",
        matrix="8",
        done="power cuts at seeded writes, syncs and deletions of the store at work; "
        "of what was not synced none, all or any sectors come through; nobody is there "
        "to get the `messages`",
        holds=_HOLDS,
        run=_store,
        quick=True,
        seeded=True,
    ),
    Row(
        id="power-cut-service",
        matrix="8",
        done="the same to the whole service in seeded traffic",
        holds=_HOLDS + "; nothing lost, nothing made up; only what was leased is repeated",
        run=_service,
        seeded=True,
    ),
)
