"""System calls of a running process that fail, or are its last."""

import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.text import TextReceiveStream

from faults.ledger import Unavailable

_PATIENCE_S = 20.0
#: After so long a call that has not come since the start does not come.
_REACHED_S = 60.0

#: Every call with which SQLite makes a commit durable.
SYNCS = "fdatasync,fsync"
#: Every call with which it writes.
WRITES = "pwrite64"


def _program() -> str:
    found = shutil.which("strace")
    if found is None or sys.platform != "linux":
        raise Unavailable("strace is not there")
    return found


@asynccontextmanager
async def injected(
    pid: int, calls: str, what: str, *, path: Path | None = None
) -> AsyncIterator[Process]:
    """
    As long as it lasts, these calls of the process meet `what`, as strace spells it.

    With a path, only those on that file do, and others are not counted.
    """
    options = ["-o", "/dev/null", "-e", f"inject={calls}:{what}"]
    if path is not None:
        options += ["-P", str(path)]
    async with _traced(pid, calls, *options) as tracer:
        yield tracer


@asynccontextmanager
async def watched(pid: int, calls: str, *, log: Path) -> AsyncIterator[None]:
    """As long as it lasts, these calls of the process are written down."""
    async with _traced(pid, calls, "-o", str(log)):
        yield


@asynccontextmanager
async def _traced(pid: int, calls: str, *options: str) -> AsyncIterator[Process]:
    tracing = ["-f", "-qq", "-e", f"trace={calls}", *options]
    command = [_program(), *tracing, "-p", str(pid)]
    tracer = await anyio.open_process(command, stdin=None)
    try:
        await _attached(tracer, pid)
        yield tracer
    finally:
        # SIGTERM lets it go on; the tracer's death by SIGKILL would leave it stopped.
        # Not by its method, which may take its exit status away from the event loop.
        with suppress(ProcessLookupError):
            os.kill(tracer.pid, signal.SIGTERM)
        with anyio.CancelScope(shield=True):
            await tracer.wait()
            await tracer.aclose()


async def _attached(tracer: Process, pid: int) -> None:
    """Come back when every thread of the process is traced."""
    with anyio.fail_after(_PATIENCE_S):
        while not _is_traced(pid):
            if tracer.returncode is not None:
                assert tracer.stderr is not None
                stream = TextReceiveStream(BufferedByteReceiveStream(tracer.stderr))
                raise Unavailable(f"strace may not trace: {await stream.receive()}")
            await anyio.sleep(0.005)


def _is_traced(pid: int) -> bool:
    try:
        threads = [Path(f"/proc/{pid}/task/{n}/status") for n in _threads(pid)]
        return all("TracerPid:\t0\n" not in one.read_text() for one in threads)
    except OSError:
        return True  # it is dead already


def _threads(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names, no paths


@asynccontextmanager
async def started(
    command: list[str], calls: str, what: str, *, cwd: Path, log: Path
) -> AsyncIterator[Process]:
    """A process that is traced from its first instruction on; it dies at the end."""
    options = ["-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    options += ["-e", f"inject={calls}:{what}"]
    with log.open("wb") as err:
        process = await anyio.open_process(
            [_program(), *options, *command],
            cwd=cwd,
            stderr=err,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.wait()
                await process.aclose()


async def killed_at(command: list[str], calls: str, n: int, *, cwd: Path) -> int | None:
    """
    Start it, and let its n-th such call be its last; how it ended.

    None: it lived on, as the call did not come; nothing is left of it either.
    """
    kill = f"signal=SIGKILL:when={n}"
    log = cwd / f"killed-{calls}-{n}.log"
    async with started(command, calls, kill, cwd=cwd, log=log) as process:
        with anyio.move_on_after(_REACHED_S):
            return await process.wait()
    return None
