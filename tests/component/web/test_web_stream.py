"""The stream of new events: what listeners get, and what they cost."""

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from notifier.storage import queries
from notifier.web.reader import StoreReader
from notifier.web.stream import (
    CHECK_EVERY_S,
    KEEP_ALIVE_S,
    MAX_LISTENERS,
    SEND_TIMEOUT_S,
    Broadcast,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A clock that jumps to whatever is waited for."""
    from trio.testing import MockClock  # noqa: PLC0415 - this file alone

    return "trio", {"clock": MockClock(autojump_threshold=0)}


@dataclass
class Events:
    """A reader that counts how often it is asked."""

    last: int = 0
    asked: int = 0
    batches: int = 0

    async def read(self, query: Any, *args: int) -> Any:
        if query is queries.newest_event:
            self.asked += 1
            return self.last
        number, limit = args
        self.batches += 1
        numbers = range(number + 1, self.last + 1)
        return [(number, _event(number)) for number in numbers[:limit]]


def _event(number: int) -> dict[str, str]:
    return {"event_id": f"evt_{number}", "kind": "created"}


@dataclass
class Listener:
    """A browser with a page open."""

    broadcast: Broadcast
    query: str = ""
    last: str | None = None
    method: str = "GET"
    #: Whether it may still listen.
    is_in: bool = True
    #: It takes nothing of what is sent.
    is_stuck: bool = False
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    said: bytes = b""
    gone: anyio.Event = field(default_factory=anyio.Event)
    is_over: bool = False
    is_ended: bool = False

    async def listen(self) -> None:
        headers = [] if self.last is None else [(b"last-event-id", self.last.encode())]
        scope = {
            "type": "http",
            "method": self.method,
            "path": "/stream",
            "query_string": self.query.encode(),
            "headers": headers,
            "state": {"is_still_authenticated": self._is_still_authenticated},
        }
        answer = await self.broadcast.respond(Request(scope))
        await answer(scope, self._receive, self._send)
        self.is_over = True

    async def _is_still_authenticated(self) -> bool:
        return self.is_in

    async def _receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            pairs = message["headers"]
            self.headers = {key.decode(): value.decode() for key, value in pairs}
        else:
            self.said += message["body"]
            self.is_ended = not message.get("more_body", False)
            if self.is_stuck:
                await anyio.sleep_forever()

    @property
    def told(self) -> list[dict[str, str]]:
        """The events, each with its lines by name."""
        blocks = self.said.decode().split("\n\n")
        lines = [dict(_line(line) for line in block.splitlines()) for block in blocks]
        return [block for block in lines if "data" in block]

    @property
    def numbers(self) -> list[int]:
        return [int(block["id"]) for block in self.told]


def _line(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name, value


def _broadcast(events: Events) -> Broadcast:
    return Broadcast(cast(StoreReader, events))


class Listening:
    """Listeners that listen until the block ends."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> None:
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        for one in self._listeners:
            tasks.start_soon(one.listen)
        await anyio.sleep(0.1)

    async def __aexit__(self, *exc: object) -> None:
        for one in self._listeners:
            one.gone.set()
        await self._stack.aclose()


async def test_a_new_event_is_sent_within_a_third_of_a_second() -> None:
    events = Events(last=7)
    listener = Listener(_broadcast(events))

    async with Listening(listener):
        assert listener.numbers == []
        events.last = 8
        await anyio.sleep(0.3)

        assert listener.status == 200
        assert listener.headers["content-type"].startswith("text/event-stream")
        [told] = listener.told
        assert (told["id"], told["event"]) == ("8", "event")
        assert json.loads(told["data"]) == {"event_id": "evt_8", "kind": "created"}


@pytest.mark.parametrize(
    ("known", "numbers"),
    [
        ({"query": "after=4"}, [5, 6, 7]),
        ({"last": "5"}, [6, 7]),
        ({"last": "6", "query": "after=2"}, [7]),
        ({}, []),
        ({"query": "after=99"}, []),
    ],
)
async def test_a_client_that_reconnects_gets_the_events_it_missed(
    known: dict[str, Any], numbers: list[int]
) -> None:
    events = Events(last=7)
    listener = Listener(_broadcast(events), **known)

    async with Listening(listener):
        assert listener.numbers == numbers
        events.last = 8
        await anyio.sleep(1)
        assert listener.numbers == [*numbers, 8]


async def test_many_missed_events_come_in_batches_and_in_order() -> None:
    listener = Listener(_broadcast(Events(last=1234)), query="after=0")

    async with Listening(listener):
        await anyio.sleep(10)
        assert listener.numbers == list(range(1, 1235))


async def test_many_listeners_read_the_store_as_often_as_one() -> None:
    events = Events(last=5)
    broadcast = _broadcast(events)
    crowd = [Listener(broadcast) for _ in range(20)]

    async with Listening(*crowd):
        events.asked = events.batches = 0
        for _ in range(10):
            events.last += 1
            await anyio.sleep(1)

        assert all(one.numbers == list(range(6, 16)) for one in crowd)
        assert events.asked <= 41
        assert events.batches <= 11


async def test_the_store_is_not_read_without_listeners() -> None:
    events = Events(last=5)
    listener = Listener(_broadcast(events))
    async with Listening(listener):
        pass

    events.asked = 0
    await anyio.sleep(60)

    assert events.asked == 0
    assert listener.broadcast.listeners == 0
    assert listener.is_over


async def test_a_late_listener_misses_no_event_that_others_read() -> None:
    events = Events(last=0)
    broadcast = _broadcast(events)
    fast, late = Listener(broadcast), Listener(broadcast, query="after=0")

    async with Listening(fast):
        events.last = 3
        await anyio.sleep(1)
        async with Listening(late):
            events.last = 900
            await anyio.sleep(10)
            assert fast.numbers == late.numbers == list(range(1, 901))


async def test_a_quiet_stream_sends_keep_alives() -> None:
    listener = Listener(_broadcast(Events(last=1)))

    async with Listening(listener):
        await anyio.sleep(2 * KEEP_ALIVE_S + 1)
        assert listener.said.count(b": still here\n\n") == 2


async def test_a_listener_that_takes_nothing_is_disconnected() -> None:
    listener = Listener(_broadcast(Events(last=1)), is_stuck=True)

    async with Listening(listener):
        await anyio.sleep(SEND_TIMEOUT_S + 1)
        assert listener.is_over
        assert listener.broadcast.listeners == 0


@pytest.mark.parametrize("is_busy", [False, True], ids=["quiet", "busy"])
async def test_a_listener_that_loses_its_rights_is_disconnected(*, is_busy: bool) -> None:
    events = Events(last=1)
    broadcast = _broadcast(events)
    out, stays = Listener(broadcast), Listener(broadcast)

    async with Listening(out, stays):
        await anyio.sleep(CHECK_EVERY_S + 1)
        assert broadcast.listeners == 2
        out.is_in = False
        for _ in range(int(CHECK_EVERY_S) + 1):
            events.last += is_busy
            await anyio.sleep(1)
        known = out.said
        events.last += 1
        await anyio.sleep(1)

        assert out.is_over
        assert out.is_ended
        assert out.said == known
        assert not stays.is_over
        assert broadcast.listeners == 1


async def test_too_many_listeners_are_refused() -> None:
    broadcast = _broadcast(Events(last=1))

    async with Listening(*(Listener(broadcast) for _ in range(MAX_LISTENERS))):
        with pytest.raises(HTTPException) as caught:
            await Listener(broadcast).listen()

    assert caught.value.status_code == 503
    assert caught.value.headers == {"retry-after": "30"}


async def test_head_returns_without_listening() -> None:
    listener = Listener(_broadcast(Events(last=1)), method="HEAD")

    await listener.listen()

    assert (listener.status, listener.said) == (200, b"")


@pytest.mark.parametrize("last", ["", "x", "-1", "1_0", "9" * 30])
async def test_a_bad_last_event_id_is_refused(last: str) -> None:
    with pytest.raises(HTTPException, match="Last-Event-ID"):
        await Listener(_broadcast(Events(last=1)), last=last).listen()
