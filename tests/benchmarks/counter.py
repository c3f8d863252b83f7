"""
A receiver that costs next to nothing: it answers every POST and counts.

`python tests/benchmarks/counter.py` prints its port as one JSON line and serves until
it is stopped. `GET /` tells how many `requests` came so far, and the seconds that they
`took` from the first to the last.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

import httpx

_END = b"\r\n\r\n"
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


@contextmanager
def counter() -> Iterator[str]:
    """A fresh counter in a process of its own: its URL."""
    with Popen([sys.executable, __file__], stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/"
        finally:
            process.kill()


def counted(url: str) -> tuple[int, float]:
    """Requests so far, and the seconds from the first to the last."""
    said = httpx.get(url).json()
    return said["requests"], said["took"]


class Conversation(asyncio.Protocol):
    """One connection; every body comes with its length."""

    def __init__(self, arrivals: list[float]) -> None:
        self._arrivals = arrivals
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._got += data
        while (end := self._got.find(_END)) >= 0:
            head = self._got[:end].lower()
            whole = end + len(_END) + _length(head)
            if len(self._got) < whole:
                return
            self._got = self._got[whole:]
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        if head.startswith(b"get "):
            return _told(self._arrivals)
        self._arrivals.append(time.monotonic())
        return _TAKEN


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def _told(arrivals: list[float]) -> bytes:
    took = arrivals[-1] - arrivals[0] if arrivals else 0.0
    body = json.dumps({"requests": len(arrivals), "took": took}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def main() -> None:
    """Serve until stopped."""
    arrivals: list[float] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Conversation(arrivals), "127.0.0.1", 0, backlog=512
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(json.dumps({"port": port}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
