"""Rows: the API is down, slow, garbled, or shows too little."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from e2e.village import until

from faults.ledger import Counts, Row, Stage, Unavailable
from faults.scene import Scene, scene
from notifier.domain.models import Json

Fault = Mapping[str, Json]

#: Less than one of the answers that it must not keep.
_LARGEST = 180 << 20
#: An answer that is given up in time was served and not read: for wires only.
_HASTY = {"timeout": "2s"}


async def _met(
    stage: Stage,
    *,
    faults: Sequence[Sequence[Fault]],
    milestones: int = 0,
    source: Mapping[str, str] | None = None,
) -> Counts:
    """In the middle of traffic each of these faults hits an answer or two."""
    async with scene(stage, milestones=milestones, source=source) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            async with there.traffic():
                for together in faults:
                    await _strike(there, together)
            await there.api.tell("heal")
            await there.settled(life)
        there.check("Traceback" not in life.said, "a traceback was logged")
        return await there.counts()


async def _strike(there: Scene, together: Sequence[Fault]) -> None:
    """Two answers are hit; come back when both lanes may have met one."""
    before = await there.api.requests()
    await there.fault(*together, times=2)
    with anyio.move_on_after(8):
        while await there.api.requests() < before + 4:  # noqa: ASYNC110 - elsewhere
            await anyio.sleep(0.1)


async def _down(stage: Stage) -> Counts:
    """Every answer is 503 for a while; a start comes meanwhile."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            key = await there.add()
            await until(lambda: there.service.store.has(key))
            await there.bring_near(key, seconds=5)
            await until(lambda: _is_armed(there, key, there.starts[key]))
            await there.fault({"kind": "status", "status": 503}, times=None)
            await until(lambda: _has_started(there))
            await there.add()
            await anyio.sleep(1 if stage.quick else 20)
            await there.api.tell("heal")
            await there.settled(life)
        return await there.counts()


def _is_armed(there: Scene, key: str, start: str) -> bool:
    events = "SELECT 1 FROM events WHERE milestone_id = ? AND kind = 'updated'"
    return bool(start and there.service.store.ask(events, key))


def _has_started(there: Scene) -> bool:
    return any(b".started" in one.body for one in there.hook.requests)


async def _wired(stage: Stage, *, fail: Callable[[Scene], Awaitable[None]]) -> Counts:
    """The wire to the API fails in the middle of traffic."""
    async with scene(stage, source=_HASTY) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            async with there.traffic():
                for _ in range(1 if stage.quick else 4):
                    begun = await there.api.requests()
                    await fail(there)
                    there.faults += 1
                    there.wire.heal()
                    # What was under way may still be given up.
                    await anyio.sleep(2.5)
                    span = (begun, await there.api.requests())
                    there.lost_on_the_way.append(span)
                    await anyio.sleep(1)
            await there.settled(life)
        return await there.counts()


async def _cut(there: Scene) -> None:
    for _ in range(5):
        await anyio.sleep(there.random.uniform(0.05, 0.3))
        await there.wire.cut()


async def _hole(there: Scene) -> None:
    there.wire.is_hole = True
    await anyio.sleep(5)
    await there.wire.cut()


async def _thin(there: Scene) -> None:
    there.wire.latency_s, there.wire.width = 0.3, 20_000
    await anyio.sleep(5)


async def _bombed(stage: Stage) -> Counts:
    """Answers without end, as they are and gzipped: none of it is kept."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.update(await there.add())
            for gzip in (False, True):
                await _strike(there, ({"kind": "gigantic", "gzip": gzip},))
            await there.add()
            await there.api.tell("heal")
            there.check("read.failed" in life.said, "an answer was taken")
            most = _peak(life.process.pid)
            there.check(most < _LARGEST, f"it took {most >> 20} MB of memory")
            await there.settled(life)
        return await there.counts()


def _peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        raise Unavailable("this machine does not tell how much memory is used")
    [line] = [s for s in status.read_text().splitlines() if s.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


async def _skewed(stage: Stage, *, seconds: float) -> Counts:
    """The API's clock is wrong for a while: a watermark too high must lose nothing."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.fault({"kind": "skew", "seconds": seconds}, times=None)
            for _ in range(3 if stage.quick else 12):
                key = await there.add()
                await anyio.sleep(0.6)
                await there.update(key)
            await there.api.tell("heal")
            await there.update(await there.add())
            await there.settled(life)
        return await there.counts()


async def _edge(stage: Stage) -> Counts:
    """Forty changes within a second, at the edge of what the next poll asks for."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            keys = [await there.add() for _ in range(8)]
            await until(lambda: all(map(there.service.store.has, keys)))
            for _ in range(1 if stage.quick else 5):
                for key in keys * 5:
                    await there.update(key)
                there.faults += 1
                await anyio.sleep(1)
            await there.settled(life)
        return await there.counts()


async def _everything(stage: Stage) -> Counts:
    """The first read of the whole list, killed in its middle, five times."""
    keys = {"rate": "1000/s", "poll_every": "1s", "sweep_every": "20s"}
    everything = 5_000 if stage.quick else 137_200
    async with scene(stage, milestones=everything, source=keys, record=False) as there:
        for _ in range(5):
            async with there.service.life() as life:
                await life.started()
                await anyio.sleep(there.random.uniform(0.2, 3))
                await there.killed(life)
        async with there.service.life() as life:
            await until(there.service.store.is_baselined, patience_s=300)
            there.check(not there.service.store.events(), "the baseline was announced")
            stored = there.service.store.ask("SELECT count(*) FROM milestones")[0][0]
            # Eight of them are Kalshi's simulations; forty are the row's own.
            there.check(stored == everything - 8 + 40, f"{stored} were stored")
            for _ in range(3):
                await there.add()
            await until(lambda: there.arrived(1))
            await until(lambda: there.service.store.states() == {"delivered": 3})
            await there.stopped(life)
        counts = await there.counts()
    # No page of it was recorded: the three that came later are all there is to tell.
    return replace(counts, spurious=counts.events - 3)


def _status(status: int) -> Fault:
    return {"kind": "status", "status": status}


_GARBLED: tuple[tuple[Fault, ...], ...] = (
    ({"kind": "truncated", "share": 0.5},),
    ({"kind": "body"},),
    ({"kind": "reset", "share": 0.5},),
    ({"kind": "gzipped", "share": 0.5},),
    (_status(502),),
)
_CALM = "the read counts for nothing; nothing is lost, nothing is made up"

ROWS = (
    Row(
        id="api-down",
        matrix="17",
        done="503 to everything for 20 s, within which a milestone starts",
        holds="the start is told in time; what changed meanwhile is told after",
        run=_down,
    ),
    Row(
        id="api-garbled",
        matrix="18, 19",
        done="JSON cut short, HTML with 200, a reset within a body, half a gzip, 502",
        holds=_CALM,
        run=partial(_met, faults=_GARBLED),
    ),
    Row(
        id="api-bomb",
        matrix="19",
        done="answers of 200 MB, as they are and as 200 kB of gzip",
        holds="the service keeps below 180 MB; the read counts for nothing",
        run=_bombed,
    ),
    Row(
        id="api-429",
        matrix="17",
        done="429 with `Retry-After: 3`, then 429 without",
        holds=_CALM,
        run=partial(
            _met,
            faults=(
                ({**_status(429), "headers": {"Retry-After": "3"}},),
                (_status(429),),
            ),
        ),
    ),
    Row(
        id="api-cursor",
        matrix="20",
        done="a cursor that repeats for ever",
        holds=_CALM,
        run=partial(_met, faults=(({"kind": "cursor"},),) * 2, milestones=1200),
    ),
    Row(
        id="api-empty",
        matrix="23",
        done="an empty list where thousands are known, in polls and in sweeps",
        holds="nothing counts as removed; nothing is lost",
        run=partial(_met, faults=(({"kind": "empty"},),) * 4, milestones=200),
    ),
    Row(
        id="api-half",
        matrix="20, 23",
        done="the list ends after its first page, in sweeps and in full reads",
        holds="nothing counts as removed; nothing is lost",
        run=partial(
            _met,
            faults=(({"kind": "cursor", "value": ""},),) * 4,
            milestones=1800,
            source={"full_read_every": "2s"},
        ),
    ),
    Row(
        id="api-edge",
        matrix="22",
        done="forty changes of eight milestones within a second, five times",
        holds="each change that a page shows is told, in order",
        run=_edge,
    ),
    Row(
        id="api-ahead",
        matrix="22",
        done="the API's `Date` is ten minutes ahead for a while",
        holds="a watermark in the future loses nothing",
        run=partial(_skewed, seconds=600),
        quick=True,
    ),
    Row(
        id="api-behind",
        matrix="22",
        done="the API's `Date` is ten minutes behind for a while",
        holds="nothing is lost or told twice",
        run=partial(_skewed, seconds=-600),
    ),
    Row(
        id="api-wire-cut",
        matrix="18",
        done="the wire is cut twenty times, wherever an answer happens to be",
        holds=_CALM,
        run=partial(_wired, fail=_cut),
    ),
    Row(
        id="api-black-hole",
        matrix="18",
        done="what is sent vanishes for 5 s, four times; no connection breaks",
        holds="each request is given up in time; nothing is lost",
        run=partial(_wired, fail=_hole),
    ),
    Row(
        id="api-thin",
        matrix="18",
        done="300 ms of latency and 20 kB/s",
        holds=_CALM,
        run=partial(_wired, fail=_thin),
    ),
    Row(
        id="first-read-kill",
        matrix="46",
        done="SIGKILL five times within the first read of 137,200 milestones",
        holds="the sixth life completes it; nobody hears of it; news is told",
        run=_everything,
    ),
)
