"""Rows: the clock jumps while reminders and the end of quiet hours come near."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
from e2e.village import until

from faults.ledger import Counts, Row, Stage
from faults.scene import Scene, scene
from faults.services import OFFSET
from faults.verdict import Arrival, arrivals, verdict

_PROGRAM = ("faults.services", "jumping")
_LEAD = timedelta(seconds=60)
_MINUTE = timedelta(minutes=1)
#: After a correction a clock is right to the second that `Date` shows.
_PRECISION = timedelta(seconds=1)
#: A reminder that is later than a tenth of its lead is of no use.
_LATEST = _LEAD / 10


def _set(folder: Path, seconds: int) -> None:
    """At once and whole, for whoever reads it at this moment."""
    new = folder / f"{OFFSET}.new"
    new.write_text(str(seconds), "utf-8")
    new.replace(folder / OFFSET)


def _configure(folder: Path, route: str) -> None:
    config = folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(f"{said}routes:\n  - {{name: all, {route}}}\n", "utf-8")


async def _jump(there: Scene, jumps: Sequence[int]) -> None:
    """Each of them, for a while that is long enough to be noticed, and back."""
    for jump in jumps:
        _set(there.stage.folder, jump)
        there.faults += 1
        await anyio.sleep(4)
        _set(there.stage.folder, 0)
        await anyio.sleep(2)


async def _reminded(stage: Stage, *, jumps: Sequence[int]) -> Counts:
    """Reminders come due before, while and after the clock jumps."""
    _set(stage.folder, 0)
    async with scene(stage, program=_PROGRAM) as there:
        _configure(stage.folder, "reminders: [60s]")
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            for n in range(5):
                key = await there.add()
                await until(partial(there.service.store.has, key))
                await there.bring_near(key, seconds=66 + 6 * n)
            await _jump(there, jumps)
            await there.settled(life)
        evidence = await there.evidence()
        counts = verdict(replace(evidence, precision=_PRECISION))
        return _of_reminders(there, counts, arrivals(evidence.requests))


def _of_reminders(there: Scene, counts: Counts, came: Sequence[Arrival]) -> Counts:
    """What others count as made up is here to be told: once each, in time."""
    stored = there.service.store.ask("SELECT milestone_id FROM events WHERE kind = 'upcoming'")
    told = [
        (event["subject"], one.at)
        for one in came
        for event in one.told
        if event["type"].endswith(".upcoming")
    ]
    reminded = {key for key, _ in told}
    early = late = 0
    for key, at in told:
        due = datetime.fromisoformat(there.starts[key]) - _LEAD
        early += at < due - _PRECISION
        late += at > due + _LATEST + _PRECISION
    there.check(not late, f"{late} reminders came late")
    return replace(
        counts,
        lost=counts.lost + len(there.starts.keys() - reminded),
        spurious=counts.spurious - len({key for (key,) in stored}) + early,
        broken=tuple(there.broken),
    )


async def _slept(stage: Stage, *, jumps: Sequence[int]) -> Counts:
    """It is quiet for one or two minutes more; meanwhile the clock jumps."""
    _set(stage.folder, 0)
    async with scene(stage, program=_PROGRAM) as there:
        await _enough_of_the_minute()
        now = datetime.now(UTC)
        end = now.replace(second=0, microsecond=0) + _MINUTE
        window = f"{now - timedelta(hours=6):%H:%M}-{end:%H:%M}"
        _configure(stage.folder, f'quiet: {{windows: ["{window}"], zone: UTC}}')
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.add()
            await _jump(there, jumps)
            await there.add()
            await there.settled(life)
        evidence = await there.evidence()
        counts = verdict(replace(evidence, precision=_PRECISION))
        came = arrivals(evidence.requests)
        early = sum(one.at < end - _PRECISION for one in came)
        late = sum(one.at > end + timedelta(seconds=20) for one in came)
        broken = (f"{late} came long after it was quiet",) if late else ()
        return replace(
            counts,
            spurious=counts.spurious + early,
            broken=(*counts.broken, *broken),
        )


async def _enough_of_the_minute() -> None:
    """Quiet hours end with a minute: let there be time for what happens in them."""
    while datetime.now(UTC).second > 20:  # noqa: ASYNC110 - no event reaches us
        await anyio.sleep(0.5)


ROWS = (
    Row(
        id="clock-reminders",
        matrix="43",
        done="the machine's clock jumps by an hour and a day, ahead and back, while "
        "five reminders come due",
        holds="each is told once, at its time",
        run=partial(_reminded, jumps=(3_600, -3_600, 86_400, -86_400)),
    ),
    Row(
        id="clock-quiet",
        matrix="43, 44",
        done="the machine's clock jumps out of quiet hours and further into them",
        holds="what waits for their end arrives then, once; nothing arrives before",
        run=partial(_slept, jumps=(3_600, -3_600, 86_400)),
    ),
)
