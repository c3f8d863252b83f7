"""Heartbeats against a real server."""

import gc
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from servers.http_sink import Answer, closed_port, http_sink
from structlog.testing import capture_logs

from notifier.clock import SystemClock
from notifier.domain.egress_policy import anywhere
from notifier.errors import ConfigError
from notifier.senders.egress_guard import Egress
from notifier.senders.heartbeat import Heartbeat

pytestmark = pytest.mark.anyio


class PausedClock(SystemClock):
    """Sleeps until the test lets it go on."""

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
async def running(url: str, clock: PausedClock) -> AsyncIterator[Heartbeat]:
    heartbeat = Heartbeat(url, clock=clock, user_agent="notifier/test")
    async with aclosing(heartbeat), anyio.create_task_group() as tasks:
        tasks.start_soon(heartbeat.run)
        yield heartbeat
        tasks.cancel_scope.cancel()


async def failures(url: str, *, timeout_s: float = 10.0, may_reach: Egress = anywhere) -> list[str]:
    """The reasons that are logged for one beat."""
    heartbeat = Heartbeat(
        url,
        clock=PausedClock(),
        user_agent="notifier/test",
        may_reach=may_reach,
        timeout_s=timeout_s,
    )
    with capture_logs() as lines:
        async with aclosing(heartbeat):
            heartbeat.beat()
            await heartbeat.once()
    assert "hunter2" not in str(lines)
    assert "127.0.0.1" not in str(lines)
    assert {(line["event"], line["log_level"]) for line in lines} <= {
        ("heartbeat.failed", "warning")
    }
    return [str(line["reason"]) for line in lines]


async def test_a_beat_is_one_request_and_all_beats_of_the_next_10_s_are_another() -> None:
    clock = PausedClock()
    with http_sink() as sink, capture_logs() as lines:
        async with running(sink.url("/ping/1?a=b"), clock) as heartbeat:
            heartbeat.beat()
            await clock.wait_until_asleep()
            for _ in range(5):
                heartbeat.beat()
            assert [seen.method for seen in sink.at("/ping/1")] == ["GET"]

            clock.let_go()
            await clock.wait_until_asleep()
            clock.let_go()
            await anyio.wait_all_tasks_blocked()

        [first, _second] = sink.at("/ping/1")
        assert first.headers["user-agent"] == "notifier/test"
    assert clock.slept == [10.0, 10.0]
    assert lines == []


async def test_without_a_beat_there_is_no_request() -> None:
    with http_sink() as sink:
        heartbeat = Heartbeat(sink.url(), clock=PausedClock(), user_agent="x")
        async with aclosing(heartbeat):
            await heartbeat.once()

        assert sink.requests == []


async def test_a_failure_is_logged_without_the_url() -> None:
    with http_sink() as sink:
        sink.answer("/moved/hunter2", Answer(status=302, headers={"location": "/b"}))
        sink.answer("/broken/hunter2", Answer(status=500))
        for url, reason in (
            (sink.url("/moved/hunter2"), "the answer is 302; redirects are not followed"),
            (sink.url("/broken/hunter2"), "the answer is 500"),
            (f"http://127.0.0.1:{closed_port()}/hunter2", "cannot be reached: ConnectError"),
        ):
            assert await failures(url) == [reason]

        assert sink.at("/b") == []


async def test_a_tls_handshake_without_an_answer_leaves_no_connection_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/hunter2"

        assert await failures(url, timeout_s=0.5) == ["cannot be reached: ConnectTimeout"]
    # An open connection would be a ResourceWarning, which fails the test.
    gc.collect()


async def test_a_bad_url_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError) as caught:
        Heartbeat("https://-ä.hunter2", clock=PausedClock(), user_agent="x")

    assert caught.value.problems == ("heartbeat_url: is no web address",)


async def test_a_forbidden_address_is_not_connected_to() -> None:
    with http_sink() as sink:
        reasons = await failures(sink.url("/hunter2"), may_reach=lambda _: False)

        assert sink.connections == 0
    assert reasons == ["egress forbids its address"]
