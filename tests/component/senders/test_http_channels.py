"""What holds for HTTP alike, whether a plugin of Apprise or the webhook channel sends."""

import gc
import logging
import socket
from collections.abc import Iterator
from datetime import timedelta

import anyio
import pytest
from sending import authority, destination, opened, rendered, send_once
from servers.authority import Authority
from servers.http_sink import (
    Answer,
    CutShort,
    Drip,
    Garbage,
    Hang,
    HttpSink,
    Reset,
    Step,
    closed_port,
    deaf_port,
    http_sink,
)
from servers.smtp_sink import smtp_sink

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("scheme", ["json", "webhook"])]

SHORT = timedelta(milliseconds=300)


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


CUT = Ambiguous(reason="the answer was cut short")
#: A success ends with its status for a webhook. Apprise's plugins read the body: a 200
#: may hold an error.
AFTER_CUT_SUCCESS = {"webhook": Sent(status=200), "json": CUT}


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Answer(204, b""), Sent(status=204)),
        (
            Answer(503, headers={"Retry-After": "7"}),
            Failed(reason="HTTP 503", status=503, retry_after=timedelta(seconds=7)),
        ),
        (Answer(410), Refused(reason="HTTP 410", scope=Scope.GONE, status=410)),
        (Hang(), Ambiguous(reason="timed out after the request was sent")),
        (Reset(), Ambiguous(reason="connection lost after the request was sent")),
        (Garbage(), Ambiguous(reason="connection lost after the request was sent")),
        (Drip(503), Failed(reason="HTTP 503", status=503)),
        (CutShort(500), Failed(reason="HTTP 500", status=500)),
        (Drip(200), None),
        (CutShort(200), None),
    ],
)
async def test_each_answer_has_its_outcome(
    sink: HttpSink, scheme: str, step: Step, expected: Outcome | None
) -> None:
    sink.answer("/in", step)

    with anyio.fail_after(5):
        outcome = await send_once(f"{scheme}://{sink.netloc}/in", attempt_limit=SHORT)

    assert outcome == (expected or AFTER_CUT_SUCCESS[scheme])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(sink: HttpSink, scheme: str, status: int) -> None:
    sink.answer("/in", Answer(status, headers={"Location": sink.url("/elsewhere")}))

    outcome = await send_once(f"{scheme}://{sink.netloc}/in")

    assert isinstance(outcome, Refused)
    assert outcome.scope is Scope.DESTINATION
    assert sink.at("/elsewhere") == []


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:{closed}", "connection refused"),
        ("does-not-exist.invalid", "name not found"),
        ("127.0.0.1:{deaf}", "timed out while connecting"),
    ],
)
async def test_a_service_that_was_not_reached_received_nothing(
    scheme: str, address: str, reason: str
) -> None:
    with deaf_port() as deaf, anyio.fail_after(8):
        host = address.format(closed=closed_port(), deaf=deaf)
        outcome = await send_once(f"{scheme}://{host}/in", attempt_limit=SHORT)

    assert outcome == Failed(reason=reason)


async def test_messages_share_one_connection(sink: HttpSink, scheme: str) -> None:
    async with opened(destination(f"{scheme}://{sink.netloc}/in")) as sender:
        for number in range(3):
            await sender.send("ops", rendered(f"msg_{number}"))

    assert len(sink.requests) == 3
    assert sink.connections == 1


async def test_messages_share_one_connection_over_tls(scheme: str) -> None:
    with http_sink(tls=authority()) as sink:
        async with opened(destination(f"{scheme}s://{sink.netloc}/in")) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

        assert outcomes == [Sent(status=200)] * 3
        assert sink.connections == 1


async def test_destinations_share_no_connection(sink: HttpSink, scheme: str) -> None:
    names = ("one", "two")
    urls = [destination(f"{scheme}://{sink.netloc}/in", name=name) for name in names]

    async with opened(*urls) as sender:
        for name in names:
            await sender.send(name, rendered())

    assert sink.connections == 2


@pytest.mark.parametrize("closed_by", ["the answer", "the server later"])
async def test_a_closed_connection_is_opened_anew(
    sink: HttpSink, scheme: str, closed_by: str
) -> None:
    sink.answer("/in", Answer(200, close=closed_by == "the answer"))

    async with opened(destination(f"{scheme}://{sink.netloc}/in")) as sender:
        first = await sender.send("ops", rendered())
        if closed_by == "the server later":
            sink.drop_connections()
        second = await sender.send("ops", rendered())

    assert (first, second) == (Sent(status=200), Sent(status=200))
    assert sink.connections == 2


async def test_an_unknown_authority_is_trusted_only_with_verify_no(scheme: str) -> None:
    with http_sink(tls=Authority()) as sink:
        verified = await send_once(f"{scheme}s://{sink.netloc}/in")
        unverified = await send_once(f"{scheme}s://{sink.netloc}/in?verify=no")

    assert verified == Refused(reason="certificate not trusted", scope=Scope.DESTINATION)
    assert unverified == Sent(status=200)
    assert len(sink.requests) == 1


async def test_a_server_without_tls_received_nothing(scheme: str) -> None:
    with smtp_sink() as other:
        outcome = await send_once(f"{scheme}s://{other.netloc}/in")

    assert outcome == Failed(reason="TLS handshake failed")


async def test_a_tls_handshake_without_an_answer_leaves_no_connection_open(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        outcome = await send_once(f"{scheme}s://127.0.0.1:{port}/in", attempt_limit=SHORT)

    assert outcome == Failed(reason="timed out while connecting")
    # An open connection would be a ResourceWarning, which fails the test.
    gc.collect()


async def test_slow_destinations_delay_no_other(sink: HttpSink, scheme: str) -> None:
    sink.answer("/slow", Hang())
    slow = [destination(f"{scheme}://{sink.netloc}/slow", name=f"s{n}") for n in range(8)]
    fast = destination(f"{scheme}://{sink.netloc}/fast", name="fast")

    async with opened(*slow, fast) as sender, anyio.create_task_group() as group:
        for one in slow:
            group.start_soon(sender.send, one.name, rendered())
        await anyio.to_thread.run_sync(sink.wait_for, 8)
        with anyio.fail_after(2):
            assert await sender.send("fast", rendered()) == Sent(status=200)
        group.cancel_scope.cancel()


async def test_a_cancelled_message_ends_at_once(sink: HttpSink, scheme: str) -> None:
    sink.answer("/in", Hang())

    async with opened(destination(f"{scheme}://{sink.netloc}/in")) as sender:
        with anyio.fail_after(2), anyio.move_on_after(0.2) as scope:
            await sender.send("ops", rendered())

    assert scope.cancelled_caught


@pytest.mark.parametrize("step", [Answer(200), Answer(500), Answer(401), Reset()])
async def test_no_log_and_no_reason_shows_a_secret(
    sink: HttpSink,
    scheme: str,
    step: Step,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    sink.answer("/tok-in-path", step)

    outcome = await send_once(
        f"{scheme}://ann:HUSH1@{sink.netloc}/tok-in-path?+X-Key=HUSH2&-key=HUSH3"
    )

    assert sink.requests[0].headers["x-key"] == "HUSH2"
    assert sink.requests[0].query == "key=HUSH3"
    shown = "\n".join([caplog.text, *capfd.readouterr(), str(outcome)])
    assert "HUSH" not in shown
    assert "tok-in-path" not in shown
