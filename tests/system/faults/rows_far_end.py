"""Rows: the far end is down, refuses, is in doubt, or asks for patience."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from itertools import pairwise

import anyio
from e2e.village import Life, until
from servers.http_sink import Answer, CutShort, Hang, Reset, Step, http_sink

from faults.ledger import Counts, Row, Stage
from faults.proxy import proxy
from faults.scene import HOOK, Scene, command, scene


async def _met(stage: Stage, *, steps: Sequence[Step], messages: int = 2) -> Counts:
    """The first messages meet these steps; whatever follows is taken."""
    async with scene(stage) as there:
        await there.baseline()
        there.hook.answer(HOOK, *steps, Answer())
        there.faults += len(steps)
        async with there.service.life() as life:
            await life.started()
            for _ in range(messages):
                key = await there.add()
                await until(lambda key=key: there.service.store.has(key))  # type: ignore[misc] # bound now
                await there.update(key)
            await there.settled(life)
        return await there.counts()


async def _down(stage: Stage) -> Counts:
    """Nobody listens there for a while, in the middle of traffic."""
    async with scene(stage) as there, proxy(there.hook.port) as way:
        _lead_through(there, way.port)
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            async with there.traffic():
                await anyio.sleep(1)
                way.is_down = True
                await way.cut()
                there.faults += 1
                await anyio.sleep(4 if stage.quick else 30)
                way.heal()
            await there.settled(life)
        return await there.counts()


async def _torn(stage: Stage) -> Counts:
    """The wire is cut again and again, wherever a message happens to be."""
    async with scene(stage) as there, proxy(there.hook.port) as way:
        _lead_through(there, way.port)
        await there.baseline()
        way.latency_s = 0.02
        async with there.service.life() as life:
            await life.started()
            for _ in range(3 if stage.quick else 10):
                before = len(there.hook.requests)
                await there.add()
                with anyio.move_on_after(2):
                    await until(lambda n=before: there.arrived(n + 1))  # type: ignore[misc] # bound now
                under_way = there.leased()
                there.faults += await way.cut()
                under_way |= there.leased()
                await there.requests_until_now()
                there.doubt(under_way)
            way.heal()
            await there.settled(life)
        return await there.counts()


async def _slow(stage: Stage) -> Counts:
    """One of two far ends keeps its first message; the other gets all of its own."""
    with http_sink() as far:
        far.answer(HOOK, Hang(), Answer())
        async with scene(stage) as there:
            config = stage.folder / "notifier.yaml"
            said = config.read_text("utf-8")
            slow = f'  slow: {{url: "webhook://{far.netloc}{HOOK}"}}\n'
            config.write_text(said + slow, "utf-8")
            await there.baseline()
            async with there.service.life() as life:
                await life.started()
                await there.add()
                await until(lambda: len(far.requests) == 1)
                there.faults += 1
                for n in range(10):
                    await there.add()
                    await until(lambda n=n: there.arrived(n + 2))  # type: ignore[misc] # bound now
                there.check(len(far.requests) == 1, "they had to wait")
                await there.settled(life)
            return await there.counts()


def _lead_through(there: Scene, port: int) -> None:
    config = there.stage.folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(said.replace(there.hook.netloc, f"127.0.0.1:{port}"), "utf-8")


async def _storm(stage: Stage) -> Counts:
    """Every other answer asks for patience, under a burst of messages."""
    async with scene(stage) as there:
        _never_together(stage)
        await there.baseline()
        wait = Answer(status=429, headers={"Retry-After": "2"})
        there.hook.answer(HOOK, *[wait, Answer()] * 8, Answer())
        async with there.service.life() as life:
            await life.started()
            for _ in range(20):
                await there.add()
                await anyio.sleep(there.random.uniform(0.05, 0.6))
            await there.settled(life)
        there.faults += len(_waits(there))
        hasty = sum(wait < timedelta(seconds=2) for wait in _waits(there))
        there.check(not hasty, f"{hasty} came before the time that was asked for")
        return await there.counts()


def _never_together(stage: Stage) -> None:
    config = stage.folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(said.replace('"}', '", digest: off}'), "utf-8")


def _waits(there: Scene) -> list[timedelta]:
    """How long it left the far end alone after each 429."""
    return [
        after.at - before.at
        for before, after in pairwise(there.hook.requests)
        if isinstance(before.met, Answer) and before.met.status == 429
    ]


async def _suspended(stage: Stage) -> Counts:
    """It refuses us until a person says that it works again."""
    async with scene(stage) as there:
        await there.baseline()
        there.hook.answer(HOOK, Answer(status=401))
        async with there.service.life() as life:
            await life.started()
            await there.add()
            await until(lambda: _is_suspended(there))
            there.faults += 1
            for _ in range(4):
                await there.add()
            await until(lambda: there.service.store.has("new-row-005"))
            there.check(len(there.hook.requests) == 1, "it went on asking")
            there.hook.answer(HOOK, Answer())
            status, said = await command(stage.folder, "resume", "hook")
            there.check(status == 0, said)
            await there.settled(life)
        return await there.counts()


def _is_suspended(there: Scene) -> bool:
    ask = there.service.store.ask
    return bool(ask("SELECT 1 FROM destinations WHERE suspended_since IS NOT NULL"))


async def _killed_in_doubt(stage: Stage) -> Counts:
    """It hangs with the message, and the process is killed while it waits."""
    async with scene(stage) as there:
        await there.baseline()
        there.hook.answer(HOOK, Answer(), Hang(), Answer())
        async with there.service.life() as life:
            await life.started()
            key = await there.add()
            await until(lambda: there.arrived(1))
            await there.update(key)
            await until(lambda: there.arrived(2))
            await _more(there, life)
            await there.killed(life)
        return await there.ending()


async def _more(there: Scene, life: Life) -> None:
    """News that wait behind it, of the same milestone and of another."""
    await there.update("new-row-001")
    await there.add()
    await until(lambda: there.service.store.has("new-row-002"))
    there.check(life.process.returncode is None, "it ended")


_ONE = "each is repeated once, with its id and its members; nothing is lost or overtaken"
_NONE = "what surely did not arrive is sent again; nothing is lost, repeated, overtaken"

ROWS = (
    Row(
        id="sink-500",
        matrix="28",
        done="two messages meet 500, 503",
        holds=_NONE,
        run=partial(_met, steps=(Answer(status=500), Answer(status=503))),
    ),
    Row(
        id="sink-down",
        matrix="28",
        done="nobody listens for 30 s in the middle of traffic",
        holds="all arrives afterwards, once and in order",
        run=_down,
    ),
    Row(
        id="sink-reset",
        matrix="30",
        done="the connection is reset after a message was read",
        holds=_ONE,
        run=partial(_met, steps=(Reset(), Answer(), Reset())),
    ),
    Row(
        id="sink-reset-early",
        matrix="30",
        done="the connection is reset before a message was read",
        holds="nothing is lost; nobody sees it twice",
        run=partial(_met, steps=(Reset(after_reading=False), Answer())),
    ),
    Row(
        id="sink-cut-short",
        matrix="30",
        done="the answer 200 breaks off in its middle",
        holds="its status was seen, so nothing is repeated, or once with its id",
        run=partial(_met, steps=(CutShort(), Answer(), CutShort())),
    ),
    Row(
        id="sink-hangs",
        matrix="30",
        done="a message is read and never answered",
        holds=_ONE,
        run=partial(_met, steps=(Hang(),)),
    ),
    Row(
        id="sink-hangs-kill",
        matrix="30, 3",
        done="a message is read and never answered; SIGKILL while it waits",
        holds=_ONE,
        run=_killed_in_doubt,
        quick=True,
    ),
    Row(
        id="sink-slow",
        matrix="29",
        done="one of two far ends reads a message and never answers",
        holds="ten messages to the other arrive meanwhile; in the end both have all",
        run=_slow,
    ),
    Row(
        id="sink-wire-cut",
        matrix="30",
        done="the wire is cut ten times, as each message comes through",
        holds="each cut repeats one message at most",
        run=_torn,
    ),
    Row(
        id="sink-429",
        matrix="31",
        done="every other answer is 429 with `Retry-After: 2`, under a burst",
        holds=_NONE,
        run=_storm,
    ),
    Row(
        id="sink-401",
        matrix="32",
        done="401, until `notifier resume`",
        holds="it is asked once, the rest waits and arrives",
        run=_suspended,
    ),
)
