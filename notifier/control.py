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

from notifier.core.model import Json
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


async def serve(database: Path, answer: Answer) -> None:
    """Answer questions for ever. Whoever calls holds the store's lock."""
    with _reachable(socket_path(database)) as path:
        Path(path).unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            listener = await anyio.create_unix_listener(path)
        finally:
            os.umask(before)
        try:
            await listener.serve(lambda stream: _converse(stream, answer))
        finally:
            Path(path).unlink(missing_ok=True)


async def _converse(stream: SocketStream, answer: Answer) -> None:
    async with stream:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            with anyio.fail_after(_TIMEOUT_S):
                line = await stream.receive(_LONGEST)
            try:
                said = await answer(json.loads(line))
            except (ValueError, NotifierError) as exc:
                said = {"error": str(exc)}
            await stream.send(json.dumps(said).encode() + b"\n")


def ask(database: Path, question: Mapping[str, Json]) -> Mapping[str, Json]:
    """
    Ask the running service; blocks until it has answered.

    Raises:
        NotRunning: nobody listens.
    """
    try:
        with (
            _reachable(socket_path(database)) as path,
            socket.socket(socket.AF_UNIX) as link,
        ):
            link.settimeout(_TIMEOUT_S)
            link.connect(path)
            link.sendall(json.dumps(question).encode() + b"\n")
            with link.makefile("rb") as answers:
                line = answers.readline()
    except OSError as exc:
        raise NotRunning(f"no service is running on {database}") from exc
    if not line:
        raise NotRunning(f"the service on {database} hung up")
    said: Mapping[str, Json] = json.loads(line)
    return said


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
