"""Rows: the clock jumps; and days that only a simulation has time for."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
from e2e.village import until
from simulation.story import Ending, tell

from faults.ledger import NOTHING, Counts, Row, Stage
from faults.scene import Scene, scene
from faults.services import OFFSET
from faults.verdict import verdict


async def _jumps(stage: Stage, *, jumps: tuple[int, ...]) -> Counts:
    """The machine's clock jumps, again and again, while starts come near."""
    _set(stage.folder, 0)
    async with scene(stage, program=("faults.services", "jumping")) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            for jump in jumps[: 1 if stage.quick else None]:
                await _jump(there, jump)
            await there.settled(life)
        return verdict(await there.evidence())


async def _jump(there: Scene, jump: int) -> None:
    """One comes near, one is far; the clock jumps between them, and back."""
    near, far = await there.add(), await there.add()
    await until(lambda: there.service.store.has(far))
    await there.bring_near(near, seconds=5)
    await anyio.sleep(1)
    _set(there.stage.folder, jump)
    there.faults += 1
    await there.add()
    await anyio.sleep(6)
    _set(there.stage.folder, 0)
    await anyio.sleep(3)


async def _repaired(stage: Stage) -> Counts:
    """It was corrected for; it is repaired while nobody can be asked."""
    _set(stage.folder, -100)
    async with scene(stage, program=("faults.services", "jumping")) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            near, far = await there.add(), await there.add()
            await until(lambda: there.service.store.has(far))
            await there.bring_near(near, seconds=70)
            await anyio.sleep(3)
            there.wire.is_down = True
            await there.wire.cut()
            _set(there.stage.folder, 0)
            there.faults += 1
            await anyio.sleep(68)
            there.wire.heal()
            await there.stopped(life)
        async with there.service.life() as life:
            await there.settled(life)
        return await _with_precision(there)


async def _killed(stage: Stage, *, jumps: tuple[int, ...]) -> Counts:
    """It jumps, and the service dies before anybody could say who is right."""
    _set(stage.folder, 0)
    async with scene(stage, program=("faults.services", "jumping")) as there:
        await there.baseline()
        for jump in jumps:
            async with there.service.life() as life:
                await life.started()
                near, far = await there.add(), await there.add()
                await until(lambda key=far: there.service.store.has(key))  # type: ignore[misc] # bound now
                await there.bring_near(near, seconds=15)
                await anyio.sleep(3)
                _set(there.stage.folder, jump)
                await there.killed(life)
            async with there.service.life() as life:
                await there.settled(life)
        return await _with_precision(there)


async def _with_precision(there: Scene) -> Counts:
    """After a correction a clock is right to the second that `Date` shows."""
    evidence = await there.evidence()
    return verdict(replace(evidence, precision=timedelta(seconds=1)))


def _set(folder: Path, seconds: int) -> None:
    """At once and whole, for whoever reads it at this moment."""
    new = folder / f"{OFFSET}.new"
    new.write_text(str(seconds), "utf-8")
    new.replace(folder / OFFSET)


async def _simulated(stage: Stage) -> Counts:
    """Seeded days of faults and crashes in simulated time, held to more promises."""
    ending = await anyio.to_thread.run_sync(tell, stage.seed)
    return _of_story(ending)


def _of_story(ending: Ending) -> Counts:
    """The simulation's verdict says in words what others count."""
    kinds = ("created", "updated", "upcoming", "started", "ended", "removed")
    found = ending.counts
    return replace(
        NOTHING,
        faults=found["lives"],
        events=sum(found.get(kind, 0) for kind in kinds),
        messages=found["attempts"],
        lost=sum(" lost " in text for text in ending.complaints),
        broken=tuple(ending.complaints),
    )


ROWS = (
    Row(
        id="clock-ahead",
        matrix="43",
        done="the machine's clock jumps ahead by an hour, 40 s and a day, and back; "
        "starts are two days away, and near",
        holds="no start is told before its time, or twice; nothing is lost",
        run=partial(_jumps, jumps=(3_600, 40, 86_400)),
    ),
    Row(
        id="clock-behind",
        matrix="43",
        done="the machine's clock jumps back by an hour, 40 s and to 1970, and again ahead",
        holds="no start is told before its time, or twice; nothing is lost",
        run=partial(_jumps, jumps=(-3_600, -40, -1_795_000_000)),
    ),
    Row(
        id="clock-repaired",
        matrix="43",
        done="the machine's clock, corrected for 100 s, is repaired while "
        "the API is away for more than a minute and a start comes near",
        holds="no start is told before its time, or twice; nothing is lost",
        run=_repaired,
    ),
    Row(
        id="clock-killed",
        matrix="43",
        done="the machine's clock jumps ahead by 40 s and a day, and back, and the "
        "service is killed before anybody could say who is right; a start is near",
        holds="no start is told before its time, twice or as missed; nothing is lost",
        run=partial(_killed, jumps=(40, 86_400, -40)),
    ),
    Row(
        id="simulated-days",
        matrix="6, 16, 21, 24-26, 28-32, 44, 45, 52",
        done="the simulation: two and a half days a seed with outages, stale and "
        "garbled answers, deaths at any statement, and the night when Europe's clocks "
        "are set back; quiet hours and digests go on",
        holds="every promise of the simulation's verdict; `messages` are attempts",
        run=_simulated,
        seeded=True,
    ),
)
