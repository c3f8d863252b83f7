"""
uvicorn on a socket of ours, beside the loops: its end is quick, and its own.

It installs no signal handlers and writes no logs. Nothing that goes wrong in here
takes a loop along.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

log = structlog.get_logger()

#: More connections at once are answered with 503.
_CONNECTIONS = 100
_IDLE_S = 5
_HEADERS_S = 10.0
_LONGEST_HEADERS = 32 * 1024
#: Requests under way are cut after this, streams at once.
_GRACE_S = 1
_LAST_S = 2.0
#: After a mistake in the server itself.
_AGAIN_S = 5.0


async def serve(app: ASGIApp, listening: socket.socket, *, patience_s: float = _HEADERS_S) -> None:
    """
    Answer on this socket, which is closed at the end, until cancelled.

    `patience_s`: the headers of a request come within this.
    """
    streams = _Streams(app)
    while True:
        server = _Server(_config(streams, patience_s))
        end = anyio.CancelScope(shield=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_run, server, listening.dup(), end)
            try:
                await server.is_over.wait()
            except anyio.get_cancelled_exc_class():
                listening.close()
                server.should_exit = True
                streams.cut()
                end.deadline = anyio.current_time() + _LAST_S
                raise
        log.error("web.ended", again_s=_AGAIN_S)
        await anyio.sleep(_AGAIN_S)


async def _run(server: "_Server", listening: socket.socket, end: anyio.CancelScope) -> None:
    with end:
        try:
            await server.serve(sockets=[listening])
        except Exception as exc:
            log.exception("web.broken", reason=type(exc).__name__)
        finally:
            listening.close()
            server.is_over.set()


class _Streams:
    """Knows which answers are under way, so that a stream need not hold up the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._begun: set[anyio.CancelScope] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with anyio.CancelScope() as whole:

            async def watch(message: Message) -> None:
                self._begun.add(whole)
                await send(message)

            try:
                await self._app(scope, receive, watch)
            finally:
                self._begun.discard(whole)

    def cut(self) -> None:
        """End what has begun and will not end by itself; the rest has its grace."""
        for whole in self._begun:
            whole.cancel()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_over = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the service as a whole."""
        yield


class _Protocol(H11Protocol):
    """HTTP/1.1 for those who get to the point."""

    patience_s = _HEADERS_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    @property
    def _is_busy(self) -> bool:
        """Whether a request is being answered; before the first there is no cycle."""
        return not getattr(self.cycle, "response_complete", True)

    def _watch(self) -> None:
        """While no request is being answered, the next one has to come in time."""
        if self._is_busy:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.patience_s, self._give_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_busy and not self.transport.is_closing():
            self.transport.close()


def _config(app: ASGIApp, patience_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=type("_Patient", (_Protocol,), {"patience_s": patience_s}),
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_LONGEST_HEADERS,
    )
