"""TLS in front of a port on loopback, which can go wrong."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream
from servers.loopback import HOST

_PORT = SocketAttribute.local_port
_ENDS = (
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    ssl.SSLError,
    OSError,
)


@dataclass(eq=False)
class Veil:
    """What whoever connects from now on sees."""

    target: int
    #: What it presents itself with.
    context: ssl.SSLContext
    port: int = 0
    #: The connection is closed within the handshake.
    is_cut: bool = False
    #: How many have come.
    count: int = 0
    _open: set[SocketStream] = field(default_factory=set)

    async def become(self, context: ssl.SSLContext, *, is_cut: bool = False) -> None:
        """Be another from now on; nobody keeps an older connection."""
        self.context, self.is_cut = context, is_cut
        for one in list(self._open):
            await anyio.aclose_forcefully(one)

    async def converse(self, near: SocketStream) -> None:
        """One connection, from beginning to end."""
        self.count += 1
        self._open.add(near)
        try:
            with suppress(*_ENDS):
                async with near:
                    await self._veiled(near)
        finally:
            self._open.discard(near)

    async def _veiled(self, near: SocketStream) -> None:
        if self.is_cut:
            await near.receive(16)
            return
        inner = await TLSStream.wrap(near, ssl_context=self.context, standard_compatible=False)
        async with await anyio.connect_tcp(HOST, self.target) as far:
            await _carry(inner, far)


async def _carry(near: ByteStream, far: ByteStream) -> None:
    async with anyio.create_task_group() as tasks:

        async def one_way(source: ByteStream, to: ByteStream) -> None:
            with suppress(*_ENDS):
                while True:
                    await to.send(await source.receive())
            tasks.cancel_scope.cancel()

        tasks.start_soon(one_way, near, far)
        tasks.start_soon(one_way, far, near)


@asynccontextmanager
async def veil(target: int, context: ssl.SSLContext) -> AsyncIterator[Veil]:
    """TLS in front of that port, for as long as the context lasts."""
    async with (
        await anyio.create_tcp_listener(local_host=HOST) as listener,
        anyio.create_task_group() as tasks,
    ):
        one = Veil(target, context, port=listener.extra(_PORT))
        tasks.start_soon(listener.serve, one.converse)
        try:
            yield one
        finally:
            tasks.cancel_scope.cancel()
