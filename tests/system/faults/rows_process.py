"""Rows: the process dies, stands still, is stopped, or is not alone."""

import resource
import signal
import sys
from functools import partial
from pathlib import Path

import anyio
from e2e.village import Life, until
from servers.http_sink import Answer, Received

from faults.ledger import Counts, Row, Stage
from faults.scene import Scene, go_on, pause, scene
from faults.strace import SYNCS, WRITES, injected, killed_at

#: After so long a call that has not come does not come.
_REACHED_S = 15


async def _random(stage: Stage) -> Counts:
    async with scene(stage) as there:
        await there.baseline()
        async with there.traffic():
            for _ in range(2 if stage.quick else 12):
                async with there.service.life() as life:
                    await _live_a_while(there, life)
                    await there.killed(life)
        return await there.ending()


async def _live_a_while(there: Scene, life: Life) -> None:
    """Die young, at work, or with a message under way."""
    how = there.random.choice(("young", "at work", "at work", "with a message"))
    if how != "young":
        await life.started()
    await anyio.sleep(there.random.uniform(0.1, 1.2))
    if how == "with a message":
        before = len(there.hook.requests)
        with anyio.move_on_after(2):
            await until(lambda: there.arrived(before + 1))


async def _answered(stage: Stage) -> Counts:
    """The far end has the message and has said so; nobody has written that down."""
    async with scene(stage) as there:
        await there.baseline()
        for _ in range(1 if stage.quick else 8):
            async with there.service.life() as life:
                await life.started()

                there.hook.after_answer = partial(_kill_at, life, there.next_key)
                await there.add()
                await life.end()
                there.hook.after_answer = lambda _: None
                await there.killed(life)
        return await there.ending()


def _kill_at(life: Life, key: str, request: Received) -> None:
    """Repeats of earlier messages pass."""
    if key.encode() in request.body:
        life.process.kill()


async def _at_call(stage: Stage, *, calls: str, quick: int, most: int) -> Counts:
    """Die at the first, the second, ... call since the news, as long as it comes."""
    async with scene(stage) as there:
        await there.baseline()
        for n in range(1, 1 + (quick if stage.quick else most)):
            if not await _dies_at(there, calls, n):
                break
        return await there.ending()


async def _dies_at(there: Scene, calls: str, n: int) -> bool:
    """Whether it came as far as that call."""
    async with there.service.life() as life:
        await life.started()
        kill = f"signal=SIGKILL:when={n}"
        async with injected(life.process.pid, calls, kill):
            key = await there.add()
            with anyio.move_on_after(_REACHED_S):
                await life.end()
        if life.process.returncode is None:
            there.check(there.service.store.has(key), f"call {n}: stuck")
            await there.stopped(life)
            return False
        await there.killed(life)
        return True


async def _migration(stage: Stage) -> Counts:
    """Die at each sync of a first start; then start as if nothing had been."""
    async with scene(stage) as there:
        command = [sys.executable, "-m", "notifier", "run"]
        for n in range(1, 1 + (2 if stage.quick else 10)):
            _forget(stage.folder)
            status = await killed_at(command, SYNCS, n, cwd=stage.folder)
            await there.died()
            if status is None:
                break
            there.struck(status)
            async with there.service.life() as life:
                await until(there.service.store.is_baselined)
                await there.stopped(life)
            there.check(not there.service.store.events(), "the baseline was announced")
        async with there.service.life() as life:
            await until(there.service.store.is_baselined)
            await there.add()
            await there.settled(life)
        return await there.counts()


def _forget(folder: Path) -> None:
    for file in folder.glob("notifier.db*"):
        file.unlink()


async def _sigterm(stage: Stage) -> Counts:
    """Stopped while a message is under way and others wait."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.traffic():
            for _ in range(1 if stage.quick else 8):
                async with there.service.life() as life:
                    await life.started()
                    before = len(there.hook.requests)
                    await there.add()
                    await until(lambda n=before: there.arrived(n + 1))  # type: ignore[misc] # bound now
                    await anyio.sleep(there.random.uniform(0, 0.2))
                    await there.stopped(life)
                    there.faults += 1
        return await there.ending()


async def _still(stage: Stage) -> Counts:
    """Stopped by the machine in the middle of it all, and woken again."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            async with there.traffic():
                for _ in range(1 if stage.quick else 3):
                    await anyio.sleep(2)
                    pause(life)
                    there.faults += 1
                    await anyio.sleep(3 if stage.quick else 20)
                    go_on(life)
                await anyio.sleep(1)
            await there.settled(life)
        return await there.counts()


async def _two(stage: Stage) -> Counts:
    """A second instance on the same store, again and again."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as first:
            await first.started()
            async with there.traffic():
                for _ in range(2 if stage.quick else 5):
                    async with there.service.life() as second:
                        status = await second.end()
                        there.check(status == 75, f"the second ended with {status}")
                        there.faults += 1
            await there.settled(first)
        return await there.counts()


async def _reload(stage: Stage) -> Counts:
    """SIGHUP in the middle of traffic, with good configurations and bad ones."""
    async with scene(stage) as there:
        await there.baseline()
        config = stage.folder / "notifier.yaml"
        good = config.read_text("utf-8")
        async with there.service.life() as life:
            await life.started()
            async with there.traffic():
                for n in range(3 if stage.quick else 10):
                    bad = "routes: [{name: all, to: [nobody]}]\n" if n % 2 else ""
                    config.write_text(good + bad, "utf-8")
                    life.process.send_signal(signal.SIGHUP)
                    there.faults += 1
                    await anyio.sleep(there.random.uniform(0.2, 1.5))
            config.write_text(good, "utf-8")
            await there.settled(life)
        return await there.counts()


async def _starved(stage: Stage) -> Counts:
    """No descriptor is left for a while."""
    async with scene(stage) as there:
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await _starve(there, life)
            if life.process.returncode is None:
                await there.settled(life)
                return await there.counts()
            await there.died()
        return await there.ending()


async def _starve(there: Scene, life: Life) -> None:
    pid = life.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    there.faults += 1
    there.hook.drop_connections()
    await there.wire.cut()
    await there.add()
    await anyio.sleep(4)
    if life.process.returncode is None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


async def _refusing(stage: Stage) -> Counts:
    """Die again and again while the far end refuses: nothing runs out of tries."""
    async with scene(stage) as there:
        await there.baseline()
        there.hook.answer("/hook", *[Answer(status=503)] * 3, Answer())
        for _ in range(3):
            async with there.service.life() as life:
                await life.started()
                before = len(there.hook.requests)
                if not there.added:
                    await there.add()
                with anyio.move_on_after(9):
                    await until(lambda n=before: there.arrived(n + 1))  # type: ignore[misc] # bound now
                await there.killed(life)
        return await there.ending()


_UNDER_WAY = "nothing lost, nothing made up; only what was leased at a death is repeated"

ROWS = (
    Row(
        id="kill-random",
        matrix="1, 4",
        done="SIGKILL at seeded moments of seeded traffic: while it starts, works, sends",
        holds=_UNDER_WAY,
        run=_random,
        quick=True,
        seeded=True,
    ),
    Row(
        id="kill-answered",
        matrix="3",
        done="SIGKILL the moment the far end has answered 200",
        holds="each death repeats one message at most, with its id",
        run=_answered,
    ),
    Row(
        id="kill-sync",
        matrix="2",
        done="SIGKILL at the first, second, ... `fdatasync` after news came",
        holds=_UNDER_WAY + "; a page is committed whole or not at all",
        run=partial(_at_call, calls=SYNCS, quick=1, most=12),
        quick=True,
    ),
    Row(
        id="kill-write",
        matrix="2",
        done="SIGKILL at the first, second, ... `pwrite64` after news came",
        holds=_UNDER_WAY + "; a page is committed whole or not at all",
        run=partial(_at_call, calls=WRITES, quick=1, most=20),
    ),
    Row(
        id="kill-connect",
        matrix="4",
        done="SIGKILL at the first, second, ... `connect` after news came: claimed, not sent",
        holds=_UNDER_WAY,
        run=partial(_at_call, calls="connect", quick=1, most=4),
    ),
    Row(
        id="kill-migration",
        matrix="5",
        done="SIGKILL at each `fdatasync` of a first start",
        holds="the next start makes the database and the baseline, in silence",
        run=_migration,
    ),
    Row(
        id="kill-refused",
        matrix="7",
        done="SIGKILL after each of three 503 to the same message",
        holds="it arrives in the end, once",
        run=_refusing,
    ),
    Row(
        id="stop-sending",
        matrix="48",
        done="SIGTERM while messages are under way",
        holds="it ends with 0; nothing is lost, nothing is repeated",
        run=_sigterm,
    ),
    Row(
        id="stand-still",
        matrix="43",
        done="SIGSTOP for 20 s in the middle of traffic, then SIGCONT, three times",
        holds="starts that came meanwhile are told late, nothing is lost or repeated",
        run=_still,
    ),
    Row(
        id="two-instances",
        matrix="15",
        done="a second instance on the same store, in the middle of traffic",
        holds="it ends with 75; the first does not notice",
        run=_two,
    ),
    Row(
        id="reload",
        matrix="47",
        done="SIGHUP in the middle of traffic, with good and with bad configurations",
        holds="a bad one changes nothing; nothing is lost or repeated",
        run=_reload,
    ),
    Row(
        id="no-descriptors",
        matrix="49",
        done="no file can be opened and no connection made for 4 s",
        holds="it goes on, or ends and starts again; nothing is lost",
        run=_starved,
    ),
)
