"""Rows: leases that others take over. `python -m teeth` takes away what guards them."""

import threading
from contextlib import suppress
from pathlib import Path

import anyio
from e2e.village import Life, until
from servers.http_sink import Answer, Received

from faults.ledger import Counts, Row, Stage
from faults.scene import HOOK, Scene, scene
from faults.services import SLEPT

#: Longer than a lease.
_SLEEP_S = 100
#: Much shorter than a lease.
_SOON_S = 30.0


class _Gates:
    """Keeps the first so many answers back, each until it is let go."""

    def __init__(self, count: int) -> None:
        self._gates = [threading.Event() for _ in range(count)]
        self._next = iter(self._gates)

    def __call__(self, _request: Received) -> None:
        gate = next(self._next, None)
        if gate is not None:
            gate.wait(_SLEEP_S)

    def let_go(self, n: int) -> None:
        """Let the answer with this number go."""
        self._gates[n].set()


async def _lost(stage: Stage) -> Counts:
    """The machine sleeps while a message is under way, and its lease runs out."""
    async with scene(stage, program=("faults.services", "slept")) as there:
        _two_at_a_time(stage)
        await there.baseline()
        there.hook.answer(HOOK, Answer(status=503), Answer())
        there.hook.before_answer = gates = _Gates(2)
        async with there.service.life() as life:
            await life.started()
            # An API that slept as well would show a later time, too.
            await there.fault({"kind": "no_date"}, times=None)
            await there.add()
            await until(lambda: there.arrived(1))
            _sleep(stage.folder)
            await until(lambda: there.arrived(2))
            gates.let_go(0)
            with anyio.move_on_after(3):
                await until(lambda: "lease.lost" in life.said)
            gates.let_go(1)
            await there.settled(life)
        return await there.counts()


def _two_at_a_time(stage: Stage) -> None:
    config = stage.folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(said.replace('"}', '", concurrency: 2}'), "utf-8")


def _sleep(folder: Path) -> None:
    """At once and whole, for whoever reads it at this moment."""
    new = folder / f"{SLEPT}.new"
    new.write_text(str(_SLEEP_S), "utf-8")
    new.replace(folder / SLEPT)


async def _second(stage: Stage) -> Counts:
    """A second instance comes while the first has a message under way."""
    async with scene(stage) as there:
        await there.baseline()
        there.hook.before_answer = gates = _Gates(1)
        async with there.service.life() as first:
            await first.started()
            await there.add()
            await until(lambda: there.arrived(1))
            async with there.service.life() as second:
                # Longer than this no attempt may take.
                with anyio.move_on_after(20):
                    await until(lambda: _is_over(second) or there.arrived(2))
                gates.let_go(0)
                await _turned_away(there, second)
            there.faults += 1
            await there.settled(first)
        return await there.counts()


async def _turned_away(there: Scene, second: Life) -> None:
    """On a busy machine it may take its time to look at the lock."""
    with anyio.move_on_after(0 if there.arrived(2) else 30):
        await second.process.wait()
    if _is_over(second):
        status = second.process.returncode
        there.check(status == 75, f"the second ended with {status}")
        return
    there.check(False, "a second instance lives beside the first")
    with suppress(ProcessLookupError):
        await second.kill()


def _is_over(life: Life) -> bool:
    return life.process.returncode is not None


async def _reaped(stage: Stage) -> Counts:
    """What a life had leased when it died is free for the next at once."""
    async with scene(stage) as there:
        await there.baseline()
        for _ in range(1 if stage.quick else 3):
            there.hook.before_answer = gates = _Gates(1)
            before = len(there.hook.requests)
            async with there.service.life() as life:
                await life.started()
                await there.add()
                await until(lambda n=before: there.arrived(n + 1))  # type: ignore[misc] # bound now
                await there.killed(life)
            gates.let_go(0)
            async with there.service.life() as life:
                await life.started()
                with anyio.move_on_after(_SOON_S):
                    await until(lambda n=before: there.arrived(n + 2))  # type: ignore[misc] # bound now
                is_again = there.arrived(before + 2)
                there.check(is_again, f"it still waits {_SOON_S:.0f} s after the start")
                await there.settled(life)
        return await there.counts()


ROWS = (
    Row(
        id="lease-lost",
        matrix="3, 38",
        done="the machine sleeps for longer than a lease while a message is under way; "
        "its late 503 comes while the message is under way again",
        holds="the lost lease settles nothing: what then arrives is not sent once more",
        run=_lost,
    ),
    Row(
        id="second-comer",
        matrix="15",
        done="a second instance on the same store, while a message is under way",
        holds="it ends with 75 and sends nothing",
        run=_second,
    ),
    Row(
        id="leased-at-death",
        matrix="4",
        done="SIGKILL while a message is under way",
        holds="the next life sends it again at once, not when its lease runs out",
        run=_reaped,
    ),
)
