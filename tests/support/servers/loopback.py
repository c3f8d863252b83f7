"""
A small HTTP/1.1 server on loopback: a function from a request to a response.

It can misbehave as servers do: a body may be an iterator that dawdles, or that
raises `HangUp` to break the connection off in its middle.
"""

import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream, TaskStatus

HOST = "127.0.0.1"

_READ = 64 * 1024
_PORT = SocketAttribute.local_port
_SOCKET = SocketAttribute.raw_socket


class HangUp(Exception):
    """Raised by a body: send nothing more, and reset the connection."""


@dataclass(frozen=True)
class Request:
    """What was asked. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @cached_property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """Every parameter with all of its values, in order."""
        query: dict[str, tuple[str, ...]] = {}
        text = urlsplit(self.target).query
        for key, value in parse_qsl(text, keep_blank_values=True):
            query[key] = (*query.get(key, ()), value)
        return query

    def one(self, key: str) -> str | None:
        """The parameter's last value, if it is there."""
        values = self.query.get(key)
        return values[-1] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    What is answered.

    `content-length` is added to bytes unless `headers` name one; an iterator is sent
    in chunks unless they do.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncGenerator[bytes, None] = b""


Answer = Callable[[Request], Awaitable[Response]]


async def serve(
    answer: Answer,
    *,
    port: int = 0,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `task_status` gets the port that was bound."""
    async with await anyio.create_tcp_listener(
        local_host=HOST, local_port=port, backlog=512
    ) as listener:
        bound: int = listener.extra(_PORT)
        task_status.started(bound)

        async def converse(stream: SocketStream) -> None:
            async with stream:
                with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                    await _Conversation(stream, answer).run()

        await listener.serve(converse)


@asynccontextmanager
async def serving(answer: Answer, *, port: int = 0) -> AsyncIterator[int]:
    """
    A server for as long as the context lasts, and the port it listens on.

    What is raised within comes out as it is, in no group.
    """
    raised: Exception | None = None
    async with anyio.create_task_group() as tasks:

        async def begin(*, task_status: TaskStatus[int]) -> None:
            await serve(answer, port=port, task_status=task_status)

        bound = await tasks.start(begin)
        try:
            yield bound
        except Exception as exc:  # noqa: BLE001 - raised again outside of the group
            raised = exc
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised


class _Conversation:
    """One connection: requests one after the other, until someone has enough."""

    def __init__(self, stream: SocketStream, answer: Answer) -> None:
        self._stream = stream
        self._answer = answer
        self._http = h11.Connection(h11.SERVER)

    async def run(self) -> None:
        try:
            while (request := await self._receive()) is not None:
                await self._send(await self._answer(request))
                if self._http.our_state is not h11.DONE:
                    return
                self._http.start_next_cycle()
        except HangUp:
            _reset(self._stream)
        except h11.RemoteProtocolError:
            await self._stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def _receive(self) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            match await self._event():
                case h11.Request() as head:
                    pass
                case h11.Data() as data:
                    body += bytes(data.data)
                case h11.EndOfMessage() if head is not None:
                    return _request(head, body)
                case _:
                    return None

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._write(go_on)
            try:
                data = await self._stream.receive(_READ)
            except anyio.EndOfStream:
                data = b""
            self._http.receive_data(data)
        return event

    async def _send(self, response: Response) -> None:
        headers = [(k.encode(), v.encode()) for k, v in response.headers.items()]
        body = response.body
        if isinstance(body, bytes) and "content-length" not in response.headers:
            headers.append((b"content-length", str(len(body)).encode()))
        await self._write(h11.Response(status_code=response.status, headers=headers))
        if isinstance(body, bytes):
            await self._write(h11.Data(data=body))
        else:
            async with aclosing(body):
                async for piece in body:
                    await self._write(h11.Data(data=piece))
        await self._write(h11.EndOfMessage())

    async def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send(data)


def _request(head: h11.Request, body: bytes) -> Request:
    return Request(
        method=head.method.decode("ascii"),
        target=head.target.decode("ascii"),
        headers={k.decode("latin-1"): v.decode("latin-1") for k, v in head.headers},
        body=body,
    )


def _reset(stream: SocketStream) -> None:
    """Let the peer see a reset instead of an orderly end."""
    raw: socket.socket = stream.extra(_SOCKET)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
