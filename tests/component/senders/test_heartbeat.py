"""Signs of life, as whoever waits for them sees them."""

import gc
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from servers.http_sink import Answer, HttpSink, closed_port, http_sink
from structlog.testing import capture_logs

from notifier.clock import SystemClock
from notifier.errors import ConfigError
from notifier.senders.heartbeat import Heartbeat

pytestmark = pytest.mark.anyio


class PausedClock(SystemClock):
    """Sleeps until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self._go = anyio.Event()
        self._asleep = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._asleep.set()
        await self._go.wait()

    async def wait_until_asleep(self) -> None:
        with anyio.fail_after(10):
            await self._asleep.wait()

    def let_go(self) -> None:
        go, self._go, self._asleep = self._go, anyio.Event(), anyio.Event()
        go.set()


@asynccontextmanager
async def beating(url: str, clock: PausedClock) -> AsyncIterator[Heartbeat]:
    one = Heartbeat(url, clock=clock, user_agent="notifier/test")
    async with aclosing(one), anyio.create_task_group() as tasks:
        tasks.start_soon(one.run)
        yield one
        tasks.cancel_scope.cancel()


async def complaints(url: str, timeout_s: float = 10.0) -> list[dict[str, object]]:
    """What is logged about one beat."""
    one = Heartbeat(url, clock=PausedClock(), user_agent="notifier/test", timeout_s=timeout_s)
    with capture_logs() as lines:
        async with aclosing(one):
            one.beat()
            await one.once()
    return [dict(line) for line in lines]


async def test_a_beat_is_one_request_and_beats_within_10_s_are_the_next() -> None:
    clock = PausedClock()
    with http_sink() as far_end, capture_logs() as lines:
        async with beating(far_end.url("/ping/1?a=b"), clock) as one:
            one.beat()
            await clock.wait_until_asleep()
            for _ in range(5):
                one.beat()
            assert [seen.method for seen in far_end.at("/ping/1")] == ["GET"]

            clock.let_go()
            await clock.wait_until_asleep()
            clock.let_go()
            await anyio.wait_all_tasks_blocked()

        [first, _second] = far_end.at("/ping/1")
        assert first.headers["user-agent"] == "notifier/test"
    assert clock.slept == [10.0, 10.0]
    assert lines == []


async def test_nothing_is_asked_before_there_is_something_to_show() -> None:
    with http_sink() as far_end:
        one = Heartbeat(far_end.url(), clock=PausedClock(), user_agent="x")
        async with aclosing(one):
            await one.once()

        assert far_end.at("/") == []


async def test_a_redirect_is_not_followed() -> None:
    with http_sink() as far_end:
        far_end.answer("/a", Answer(status=302, headers={"location": "/b"}))

        lines = await complaints(far_end.url("/a"))

        assert far_end.at("/b") == []
    assert lines == [
        {
            "event": "heartbeat.failed",
            "log_level": "warning",
            "reason": "the answer is 302; redirects are not followed",
        }
    ]


def _says_500(far_end: HttpSink) -> str:
    far_end.answer("/hunter2", Answer(status=500))
    return far_end.url("/hunter2")


@pytest.mark.parametrize(
    "address",
    [
        _says_500,
        lambda _: f"http://127.0.0.1:{closed_port()}/hunter2",
    ],
    ids=["refused", "nobody there"],
)
async def test_a_failure_is_a_line_that_shows_nothing_of_the_url(
    address: Callable[[HttpSink], str],
) -> None:
    with http_sink() as far_end:
        lines = await complaints(address(far_end))

    assert [line["event"] for line in lines] == ["heartbeat.failed"]
    assert "hunter2" not in str(lines)
    assert "127.0.0.1" not in str(lines)


async def test_a_tls_handshake_without_an_answer_leaves_no_connection_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/hunter2"

        [line] = await complaints(url, timeout_s=0.5)

        assert line["reason"] == "cannot be reached: ConnectTimeout"
    # An open connection would be a ResourceWarning, which fails the test.
    gc.collect()


async def test_an_address_that_is_none_is_an_error_of_configuration() -> None:
    with pytest.raises(ConfigError) as caught:
        Heartbeat("https://-ä.hunter2", clock=PausedClock(), user_agent="x")

    assert caught.value.problems == ("heartbeat_url: is no web address",)


async def test_an_address_that_egress_forbids_is_not_asked() -> None:
    with http_sink() as far_end, capture_logs() as lines:
        one = Heartbeat(
            far_end.url("/hunter2"),
            clock=PausedClock(),
            user_agent="x",
            may_reach=lambda _: False,
        )
        async with aclosing(one):
            one.beat()
            await one.once()

        assert far_end.connections == 0
    assert [line["reason"] for line in lines] == ["egress forbids its address"]
