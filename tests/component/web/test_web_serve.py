"""The socket, the server on it, and how both end."""

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog
from anyio.abc import SocketStream
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from notifier.web.listen import Front, Place, PortTaken
from notifier.web.server import serve

pytestmark = pytest.mark.anyio

ANY = Place(host="127.0.0.1", port=0)
GET = b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n"
#: Longer than anything here takes.
PATIENCE_S = 20.0


def place_of(front: Front) -> Place:
    assert front.place is not None
    return front.place


def asked(place: Place) -> Place:
    return Place(host=place.host, port=place.port, is_asked_for=True)


def is_open(place: Place) -> bool:
    with socket.socket() as link:
        return link.connect_ex((place.host, place.port)) == 0


# --- where it listens ---------------------------------------------------------


def test_it_listens_before_anybody_answers() -> None:
    front = Front()
    front.move(ANY)

    assert is_open(place_of(front))
    front.close()
    assert front.place is None


def test_a_usual_address_that_is_taken_is_a_warning_and_one_asked_for_an_error() -> None:
    first, second = Front(), Front()
    first.move(ANY)
    place = place_of(first)

    with structlog.testing.capture_logs() as logs:
        second.move(place)
    assert second.place is None
    assert [(one["event"], one["log_level"]) for one in logs] == [("web.port_taken", "warning")]
    with pytest.raises(PortTaken, match=rf"web.listen: {place} cannot be had: .*`web"):
        second.move(asked(place))
    first.close()
    second.move(asked(place))
    assert place_of(second) == asked(place)
    second.close()


def test_who_cannot_move_stays() -> None:
    front, other = Front(), Front()
    front.move(ANY)
    other.move(ANY)
    before = place_of(front)

    with pytest.raises(PortTaken):
        front.move(asked(place_of(other)))

    assert front.place == before
    assert is_open(before)
    other.close()
    front.close()


def test_who_moves_leaves_the_old_address() -> None:
    front = Front()
    front.move(ANY)
    before = place_of(front)
    front.move(asked(before))
    assert is_open(before)

    front.move(Place(host="localhost", port=0))
    assert not is_open(before)
    front.move(None)
    assert front.place is None


def test_an_address_is_spelt_as_in_the_configuration() -> None:
    assert str(Place(host="::1", port=80)) == "[::1]:80"
    assert Place(host="::", port=80).url == "http://[::1]:80/"
    assert Place(host="0.0.0.0", port=80).url == "http://127.0.0.1:80/"
    assert str(Place(host="127.0.0.1", port=80)) == "127.0.0.1:80"


# --- the server ---------------------------------------------------------------


async def _hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _for_ever(_request: Request) -> StreamingResponse:
    async def lines() -> AsyncIterator[bytes]:
        yield b"first\n"
        await anyio.sleep_forever()

    return StreamingResponse(lines())


@asynccontextmanager
async def served(front: Front, *, patience_s: float = 10.0) -> AsyncIterator[None]:
    """A server on that socket, which is told to end at the end."""
    app = Router([Route("/", _hello), Route("/stream", _for_ever)])
    listening = front.share()
    assert listening is not None
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await serve(app, listening, patience_s=patience_s)

        tasks.start_soon(run)
        yield
        tasks.cancel_scope.cancel()


async def said(link: SocketStream, until: bytes) -> bytes:
    found = b""
    with anyio.fail_after(PATIENCE_S):
        while until not in found:
            found += await link.receive()
    return found


async def linked(front: Front) -> SocketStream:
    place = place_of(front)
    return await anyio.connect_tcp(place.host, place.port)


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    found = Front()
    found.move(ANY)
    yield found
    found.close()


async def test_it_answers_and_does_not_say_what_it_is(front: Front) -> None:
    async with served(front), await linked(front) as link:
        await link.send(GET % b"/")
        answer = await said(link, b"hello")

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"server:" not in answer.lower()


async def test_its_end_cuts_streams_and_waits_for_no_reader(front: Front) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with served(front):
            link = await linked(front)
            await link.send(GET % b"/stream")
            await said(link, b"first")
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        await said(link, b"never")
    await link.aclose()


async def test_after_its_end_the_next_one_answers_on_the_same_socket(
    front: Front,
) -> None:
    async with served(front):
        pass
    link = await linked(front)  # in between: it waits for whoever comes next
    await link.send(GET % b"/")
    async with served(front), link:
        assert await said(link, b"hello")


async def test_signals_are_left_to_the_service(front: Front) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    async with served(front), await linked(front) as link:
        await link.send(GET % b"/")
        await said(link, b"hello")
        during = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]

    assert during == before


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_who_does_not_get_to_the_point_is_hung_up_on(front: Front, begin: bytes) -> None:
    async with served(front, patience_s=0.05), await linked(front) as link:
        if begin:
            await link.send(begin)
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await said(link, b"never")


async def test_what_is_no_http_hurts_nobody_else(front: Front) -> None:
    async with served(front):
        async with await linked(front) as link:
            await link.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
            assert b"400" in await said(link, b"\r\n")
        async with await linked(front) as link:
            await link.send(GET % b"/")
            assert await said(link, b"hello")
