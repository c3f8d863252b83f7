"""A server on a free loopback port, for as long as a context lasts."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from starlette.types import ASGIApp

from notifier.web.server import serve

HOST = "127.0.0.1"


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an application; the port it listens on."""
    listening = socket.create_server((HOST, 0), backlog=128)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, app, listening)
        yield listening.getsockname()[1]
        tasks.cancel_scope.cancel()
