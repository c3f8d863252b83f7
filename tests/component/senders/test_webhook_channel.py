"""Webhooks against a real server, beyond what holds for all HTTP."""

import base64
from collections.abc import Iterator

import anyio
import pytest
from sending import destination, opened, rendered, send_once
from servers.http_sink import Answer, Drip, HttpSink, http_sink
from standardwebhooks import Webhook

from notifier.domain.models import Failed, Sent

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"a secret that signs").decode()


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


async def test_a_receiver_can_verify_what_it_gets(sink: HttpSink) -> None:
    url = f"webhook://{sink.netloc}/in%2Fa%41/é?secret={SECRET}&+X-Key=k&-b=%2F%2B"

    outcome = await send_once(url, rendered("msg_V", body="é" * 100_000))

    [received] = sink.requests
    assert outcome == Sent(status=200)
    assert (received.method, received.path, received.query) == (
        "POST",
        "/in%2Fa%41/%C3%A9",
        "b=%2F%2B",
    )
    assert received.headers["webhook-id"] == "msg_V"
    assert received.headers["x-key"] == "k"
    assert received.headers["user-agent"] == "milestone-notifier"
    assert "accept-encoding" not in received.headers
    Webhook(SECRET).verify(received.body, dict(received.headers))


async def test_a_cookie_is_not_sent_back(sink: HttpSink) -> None:
    sink.answer("/in", Answer(200, headers={"Set-Cookie": "session=" + "1" * 50_000}))

    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        outcomes = [await sender.send("ops", rendered()) for _ in range(2)]

    assert outcomes == [Sent(status=200)] * 2
    assert "cookie" not in sink.requests[1].headers


async def test_several_retry_hints_are_none(sink: HttpSink) -> None:
    sink.answer("/in", Answer(503, headers={"Retry-After": "7", "retry-after": "9"}))

    assert await send_once(f"webhook://{sink.netloc}/in") == Failed(reason="HTTP 503", status=503)


async def test_the_endless_body_of_a_success_is_not_waited_for(sink: HttpSink) -> None:
    sink.answer("/in", Drip(200, every_s=0.2))

    with anyio.fail_after(4):
        assert await send_once(f"webhook://{sink.netloc}/in") == Sent(status=200)


async def test_a_gigantic_answer_is_not_read_whole(sink: HttpSink) -> None:
    sink.answer("/in", Answer(200, b"x" * 50_000_000), Answer(200))

    async with opened(destination(f"webhook://{sink.netloc}/in")) as sender:
        outcomes = [await sender.send("ops", rendered()) for _ in range(2)]

    assert outcomes == [Sent(status=200)] * 2
    assert sink.connections == 2
