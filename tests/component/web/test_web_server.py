"""The listening sockets, the server on them, and how both end."""

import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import structlog
from anyio.abc import SocketStream
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from notifier.web.listen import Address, ListenSocket, PortTaken, bind_unix_socket
from notifier.web.server import serve

pytestmark = pytest.mark.anyio

ANY_PORT = Address(host="127.0.0.1", port=0)
GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"
#: Longer than anything here takes.
TIMEOUT_S = 20.0


def address_of(listen: ListenSocket) -> Address:
    assert listen.address is not None
    return listen.address


def configured(address: Address) -> Address:
    return Address(host=address.host, port=address.port, is_asked_for=True)


def accepts(address: Address) -> bool:
    with socket.socket() as client:
        return client.connect_ex((address.host, address.port)) == 0


@pytest.fixture
async def listen() -> AsyncIterator[ListenSocket]:
    found = ListenSocket()
    found.move(ANY_PORT)
    yield found
    found.close()


# --- sockets ------------------------------------------------------------------


async def test_a_default_port_in_use_is_a_warning_and_a_configured_one_an_error(
    listen: ListenSocket,
) -> None:
    second, taken = ListenSocket(), address_of(listen)
    assert accepts(taken)

    with structlog.testing.capture_logs() as logs:
        second.move(taken)
    assert second.address is None
    assert [(one["event"], one["log_level"]) for one in logs] == [("web.port_taken", "warning")]
    with pytest.raises(PortTaken, match=rf"web.listen: cannot listen on {taken}: .*`web"):
        second.move(configured(taken))
    listen.close()
    assert listen.address is None
    second.move(configured(taken))
    assert address_of(second) == configured(taken)
    second.close()


async def test_a_socket_moves_only_if_the_new_address_is_free(listen: ListenSocket) -> None:
    other, before = ListenSocket(), address_of(listen)
    other.move(ANY_PORT)

    with pytest.raises(PortTaken):
        listen.move(configured(address_of(other)))
    assert listen.address == before
    assert accepts(before)
    listen.move(configured(before))
    assert accepts(before)

    listen.move(Address(host="localhost", port=0))
    assert not accepts(before)
    other.close()


def test_addresses_are_written_as_in_the_configuration() -> None:
    assert str(Address(host="::1", port=80)) == "[::1]:80"
    assert Address(host="::", port=80).url == "http://[::1]:80/"
    assert Address(host="0.0.0.0", port=80).url == "http://127.0.0.1:80/"
    assert str(Address(host="127.0.0.1", port=80)) == "127.0.0.1:80"


# --- the server ---------------------------------------------------------------


async def _hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _stream(_request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        yield b"first\n"
        await anyio.sleep_forever()

    return StreamingResponse(lines())


@asynccontextmanager
async def served(bound: socket.socket, *, header_timeout_s: float = 10.0) -> AsyncIterator[None]:
    """A server on this socket, stopped at the end of the block."""
    app = Router([Route("/", _hello), Route("/stream", _stream)])

    async def run() -> None:
        await serve(app, bound, header_timeout_s=header_timeout_s)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        yield
        tasks.cancel_scope.cancel()


def duplicate(listen: ListenSocket) -> socket.socket:
    bound = listen.duplicate()
    assert bound is not None
    return bound


async def connect(listen: ListenSocket) -> SocketStream:
    address = address_of(listen)
    return await anyio.connect_tcp(address.host, address.port)


async def receive(stream: SocketStream, until: bytes) -> bytes:
    found = b""
    with anyio.fail_after(TIMEOUT_S):
        while until not in found:
            found += await stream.receive()
    return found


async def test_requests_are_answered_without_the_name_of_the_server(listen: ListenSocket) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    async with served(duplicate(listen)), await connect(listen) as stream:
        await stream.send(GET % b"/")
        answer = await receive(stream, b"hello")
        during = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"server:" not in answer.lower()
    assert during == before


async def test_the_end_of_the_server_cuts_streams_at_once(listen: ListenSocket) -> None:
    async with await connect(listen) as stream:
        with anyio.fail_after(TIMEOUT_S):
            async with served(duplicate(listen)):
                await stream.send(GET % b"/stream")
                await receive(stream, b"first")
                begun = anyio.current_time()
        assert anyio.current_time() - begun < 0.9  # the grace of other responses
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await receive(stream, b"never")


async def test_between_two_servers_connections_wait_in_the_socket(listen: ListenSocket) -> None:
    async with served(duplicate(listen)):
        pass
    stream = await connect(listen)
    await stream.send(GET % b"/")
    async with served(duplicate(listen)), stream:
        assert await receive(stream, b"hello")


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
@pytest.mark.parametrize("requests", [0, 1])
async def test_a_client_that_does_not_complete_its_headers_is_disconnected(
    listen: ListenSocket, requests: int, begin: bytes
) -> None:
    server = served(duplicate(listen), header_timeout_s=0.05)
    async with server, await connect(listen) as stream:
        if requests:
            await stream.send(GET % b"/")
            assert await receive(stream, b"hello")
        if begin:
            await stream.send(begin)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await receive(stream, b"never")


async def test_a_slow_response_is_not_taken_for_a_slow_client(listen: ListenSocket) -> None:
    server = served(duplicate(listen), header_timeout_s=0.02)
    async with server, await connect(listen) as stream:
        await stream.send(GET % b"/stream")
        await receive(stream, b"first")
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await stream.receive()


async def test_a_client_that_does_not_speak_http_disturbs_nobody(listen: ListenSocket) -> None:
    async with served(duplicate(listen)):
        async with await connect(listen) as stream:
            await stream.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
            assert b"400" in await receive(stream, b"\r\n")
        async with await connect(listen) as stream:
            await stream.send(GET % b"/")
            assert await receive(stream, b"hello")


async def test_a_unix_socket_is_for_its_owner_and_replaces_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "notifier.sock"
    bind_unix_socket(path).close()  # as a killed process leaves it behind
    async with (
        served(bind_unix_socket(path)),
        httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://localhost"
        ) as client,
    ):
        assert (await client.get("/")).text == "hello"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
