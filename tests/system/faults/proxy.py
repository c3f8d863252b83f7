"""A wire on loopback that fails: slow, thin, cut, or a black hole."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketAttribute, SocketStream
from servers.loopback import HOST

_PORT = SocketAttribute.local_port
_CHUNK = 64 * 1024


@dataclass(eq=False)
class Proxy:
    """What happens on the wire from now on; both ways alike."""

    target: int
    port: int = 0
    latency_s: float = 0.0
    #: No more bytes a second than this.
    width: int | None = None
    #: What is sent vanishes, and nobody is told.
    is_hole: bool = False
    #: Nobody answers at all.
    is_down: bool = False
    _open: set[SocketStream] = field(default_factory=set)

    async def cut(self) -> int:
        """Close every connection, wherever it is; how many there were."""
        everyone = list(self._open)
        for one in everyone:
            await anyio.aclose_forcefully(one)
        return len(everyone) // 2

    def heal(self) -> None:
        """Nothing is wrong any more."""
        self.latency_s, self.width = 0.0, None
        self.is_hole = self.is_down = False

    async def converse(self, near: SocketStream) -> None:
        """One connection, from beginning to end."""
        async with near:
            if self.is_down:
                return
            with suppress(OSError):
                async with await anyio.connect_tcp(HOST, self.target) as far:
                    self._open |= {near, far}
                    try:
                        await self._carry(near, far)
                    finally:
                        self._open -= {near, far}

    async def _carry(self, near: SocketStream, far: SocketStream) -> None:
        async with anyio.create_task_group() as tasks:

            async def one_way(source: SocketStream, to: SocketStream) -> None:
                with suppress(
                    anyio.BrokenResourceError,
                    anyio.ClosedResourceError,
                    anyio.EndOfStream,
                ):
                    while True:
                        await self._pass_on(await source.receive(_CHUNK), to)
                tasks.cancel_scope.cancel()

            tasks.start_soon(one_way, near, far)
            tasks.start_soon(one_way, far, near)

    async def _pass_on(self, data: bytes, to: SocketStream) -> None:
        if self.latency_s:
            await anyio.sleep(self.latency_s)
        if self.is_hole:
            return
        step = len(data) if self.width is None else max(1, self.width // 20)
        for at in range(0, len(data), step):
            await to.send(data[at : at + step])
            if self.width is not None:
                await anyio.sleep(0.05)


@asynccontextmanager
async def proxy(target: int) -> AsyncIterator[Proxy]:
    """A wire to that port, for as long as the context lasts."""
    async with (
        await anyio.create_tcp_listener(local_host=HOST) as listener,
        anyio.create_task_group() as tasks,
    ):
        wire = Proxy(target, port=listener.extra(_PORT))
        tasks.start_soon(listener.serve, wire.converse)
        try:
            yield wire
        finally:
            tasks.cancel_scope.cancel()
