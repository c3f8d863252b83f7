"""Webhooks against a real server."""

import base64
import gc
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
from standardwebhooks import Webhook

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent

pytestmark = pytest.mark.anyio

SHORT = timedelta(milliseconds=300)
SECRET = "whsec_" + base64.b64encode(b"a secret that signs").decode()


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


async def answered(sink: HttpSink, step: Step) -> Outcome:
    sink.answer("/in", step)
    return await send_once(f"webhook://{sink.netloc}/in", attempt_limit=SHORT)


async def test_a_receiver_can_verify_what_it_gets(sink: HttpSink) -> None:
    outcome = await send_once(
        f"webhook://{sink.netloc}/in?secret={SECRET}&+X-Key=k", rendered("msg_V")
    )

    [received] = sink.requests
    assert outcome == Sent(status=200)
    assert received.method == "POST"
    assert received.path == "/in"
    assert received.headers["webhook-id"] == "msg_V"
    assert received.headers["x-key"] == "k"
    assert received.headers["content-type"] == "application/cloudevents+json"
    assert received.headers["user-agent"] == "milestone-notifier"
    Webhook(SECRET).verify(received.body, dict(received.headers))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Answer(204, b""), Sent(status=204)),
        (Answer(202), Sent(status=202)),
        (Answer(500), Failed(reason="HTTP 500", status=500)),
        (
            Answer(503, headers={"Retry-After": "7"}),
            Failed(reason="HTTP 503", status=503, retry_after=timedelta(seconds=7)),
        ),
        (
            Answer(429, b'{"retry_after": 2.5}'),
            Failed(reason="HTTP 429", status=429, retry_after=timedelta(seconds=2.5)),
        ),
        (Answer(422), Refused(reason="HTTP 422", scope=Scope.MESSAGE, status=422)),
        (Answer(404), Refused(reason="HTTP 404", scope=Scope.DESTINATION, status=404)),
        (Answer(410), Refused(reason="HTTP 410", scope=Scope.GONE, status=410)),
        (Hang(), Ambiguous(reason="timed out after the request was sent")),
        (Reset(), Ambiguous(reason="connection lost after the request was sent")),
        (Garbage(), Ambiguous(reason="connection lost after the request was sent")),
        (Drip(503), Failed(reason="HTTP 503", status=503)),
        (Drip(200), Sent(status=200)),
        (CutShort(200), Sent(status=200)),
        (CutShort(400), Refused(reason="HTTP 400", scope=Scope.MESSAGE, status=400)),
    ],
)
async def test_each_answer_has_its_outcome(sink: HttpSink, step: Step, expected: Outcome) -> None:
    with anyio.fail_after(5):
        assert await answered(sink, step) == expected


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(sink: HttpSink, status: int) -> None:
    outcome = await answered(sink, Answer(status, headers={"Location": sink.url("/elsewhere")}))

    assert isinstance(outcome, Refused)
    assert outcome.scope is Scope.DESTINATION
    assert sink.at("/elsewhere") == []


async def test_an_endless_answer_to_a_success_is_not_waited_for(
    sink: HttpSink,
) -> None:
    sink.answer("/in", Drip(200, every_s=0.2))

    with anyio.fail_after(4):
        outcome = await send_once(f"webhook://{sink.netloc}/in")

    assert outcome == Sent(status=200)


async def test_a_gigantic_answer_is_not_read_whole(sink: HttpSink) -> None:
    sink.answer("/in", Answer(200, b"x" * 50_000_000), Answer(200))

    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        assert await sender.send("ops", rendered()) == Sent(status=200)
        assert await sender.send("ops", rendered()) == Sent(status=200)

    assert sink.connections == 2


async def test_a_receiver_that_is_away_is_tried_again() -> None:
    outcome = await send_once(f"webhook://127.0.0.1:{closed_port()}/in")

    assert outcome == Failed(reason="connection refused")


async def test_a_name_that_does_not_exist_is_tried_again() -> None:
    outcome = await send_once("webhook://does-not-exist.invalid/in")

    assert outcome == Failed(reason="name not found")


async def test_a_receiver_that_never_connects_got_nothing() -> None:
    with deaf_port() as port, anyio.fail_after(5):
        outcome = await send_once(f"webhook://127.0.0.1:{port}/", attempt_limit=SHORT)

    assert outcome == Failed(reason="timed out while connecting")


async def test_messages_share_one_connection(sink: HttpSink) -> None:
    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        for number in range(5):
            await sender.send("ops", rendered(f"msg_{number}"))

    assert len(sink.requests) == 5
    assert sink.connections == 1


async def test_messages_share_one_connection_over_tls() -> None:
    with http_sink(tls=authority()) as sink:
        async with opened(destination(f"webhooks://{sink.netloc}/in")) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

        assert outcomes == [Sent(status=200)] * 3
        assert sink.connections == 1


async def test_a_connection_that_was_closed_meanwhile_is_opened_anew(
    sink: HttpSink,
) -> None:
    sink.answer("/in", Answer(200, close=True))

    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

    assert outcomes == [Sent(status=200)] * 3
    assert sink.connections == 3


async def test_a_stranger_with_a_certificate_is_not_trusted() -> None:
    with http_sink(tls=Authority()) as sink:
        outcome = await send_once(f"webhooks://{sink.netloc}/in")

    assert outcome == Refused(reason="certificate not trusted", scope=Scope.DESTINATION)


async def test_verify_no_trusts_anyone() -> None:
    with http_sink(tls=Authority()) as sink:
        outcome = await send_once(f"webhooks://{sink.netloc}/in?verify=no")

    assert outcome == Sent(status=200)


async def test_a_receiver_that_speaks_no_tls_got_nothing() -> None:
    with smtp_sink() as stranger:
        outcome = await send_once(f"webhooks://{stranger.netloc}/in")

    assert outcome == Failed(reason="TLS handshake failed")


async def test_a_cancelled_message_is_let_go_at_once(sink: HttpSink) -> None:
    sink.answer("/in", Hang())

    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        with anyio.fail_after(2), anyio.move_on_after(0.2) as scope:
            await sender.send("ops", rendered())

    assert scope.cancelled_caught


async def test_a_tls_handshake_without_an_answer_leaves_no_connection_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        outcome = await send_once(f"webhooks://127.0.0.1:{port}/in", attempt_limit=SHORT)

    assert outcome == Failed(reason="timed out while connecting")
    # An open connection would be a ResourceWarning, which fails the test.
    gc.collect()
