"""
LOOP ask: commands reach the running service through `<database>.sock`.

One JSON object a line in each direction. The socket is open to its owner only.
"""

import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import SocketStream

from notifier.domain.models import Json
from notifier.errors import NotifierError

Answer = Callable[[Mapping[str, Json]], Awaitable[Mapping[str, Json]]]
#: No question is longer.
_LONGEST = 64 * 1024
_TIMEOUT_S = 10.0


class NotRunning(NotifierError):
    """No service answers on this store."""


def socket_path(database: Path) -> Path:
    """Where the service of a store listens."""
    return database.with_name(database.name + ".sock")


async def serve(database: Path, answer: Answer, *, patience_s: float = _TIMEOUT_S) -> None:
    """
    Answer questions for ever. Whoever calls holds the store's lock.

    Raises:
        NotifierError: nothing can be made beside the store.
    """
    with _reachable(socket_path(database)) as path:
        before = os.umask(0o177)
        try:
            _clear(path)
            listener = await anyio.create_unix_listener(path)
        except OSError as exc:
            why = exc.strerror or exc
            raise NotifierError(f"{socket_path(database)}: {why}") from exc
        finally:
            os.umask(before)
        try:
            async with listener:
                await listener.serve(lambda link: _converse(link, answer, patience_s))
        finally:
            # What cannot be taken away now is taken away by the next start.
            with suppress(OSError):
                _clear(path)


def _clear(path: str) -> None:
    """Of what an earlier process left behind, and of ours at the end."""
    Path(path).unlink(missing_ok=True)


async def _converse(stream: SocketStream, answer: Answer, patience_s: float) -> None:
    """One question; whoever asks badly, or not at all, hurts nobody else."""
    async with stream:
        with (
            suppress(anyio.EndOfStream, anyio.BrokenResourceError, TimeoutError),
            anyio.fail_after(patience_s),
        ):
            line = await _line(stream)
            try:
                said = await answer(_question(line))
            except (ValueError, RecursionError, NotifierError) as exc:
                said = {"error": str(exc)}
            await stream.send(json.dumps(said).encode() + b"\n")


async def _line(stream: SocketStream) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST:
        line += await stream.receive(_LONGEST)
    return line


def _question(line: bytes) -> Mapping[str, Json]:
    question = json.loads(line)
    if not isinstance(question, dict):
        raise ValueError("a question is a JSON object")  # noqa: TRY004 - it is its value that is wrong
    return question


def ask(
    database: Path, question: Mapping[str, Json], *, patience_s: float = _TIMEOUT_S
) -> Mapping[str, Json]:
    """
    Ask the running service; blocks until it has answered.

    Raises:
        NotRunning: nobody listens, or nobody answers.
    """
    try:
        line = _exchange(database, json.dumps(question).encode() + b"\n", patience_s)
    except TimeoutError as exc:
        raise NotRunning(f"the service on {database} does not answer") from exc
    except OSError as exc:
        raise NotRunning(f"no service is running on {database}") from exc
    if not line:
        raise NotRunning(f"the service on {database} hung up")
    said: Mapping[str, Json] = json.loads(line)
    return said


def _exchange(database: Path, question: bytes, patience_s: float) -> bytes:
    with (
        _reachable(socket_path(database)) as path,
        socket.socket(socket.AF_UNIX) as link,
    ):
        link.settimeout(patience_s)
        link.connect(path)
        link.sendall(question)
        with link.makefile("rb") as answers:
            return answers.readline()


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name of the socket that fits into the 108 bytes which the kernel takes."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        is_long = len(os.fsencode(path)) >= _SUN_PATH
        yield short if is_long else str(path)
    finally:
        os.close(folder)


_SUN_PATH = 108
