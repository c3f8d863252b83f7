"""Single services of Apprise, against a real server."""

# Apprise types its class attributes by their empty defaults, and half its calls.
# mypy: disable-error-code="no-untyped-call,assignment,override"

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType

import anyio
import pytest
import requests
from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager
from apprise.plugins import jira, opsgenie
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from sending import destination, opened, rendered, send_once
from servers.http_sink import Answer, Hang, HttpSink, Step, http_sink

from notifier.domain.models import (
    Ambiguous,
    Failed,
    Format,
    Outcome,
    Refused,
    Rendered,
    Scope,
    Sent,
)

pytestmark = pytest.mark.anyio

KEY = "8b799edf-6f98-4d3a-9be7-2862fb4e5752"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
SLACK_PATH = "/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
BOT = "slack://xoxb-1234-1234-abc124/"


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


@pytest.fixture
def slack(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> HttpSink:
    monkeypatch.setattr(NotifySlack, "webhook_url", sink.url("").rstrip("/"))
    monkeypatch.setattr(NotifySlack, "api_url", sink.url("/api/{}"))
    return sink


@pytest.mark.parametrize(
    ("message", "posted"),
    [
        (
            rendered(title="Bears <at> **Packers**", body="a <b> *c* & `d`"),
            {"title": "Bears <at> **Packers**", "message": "a <b> *c* & `d`", "type": "info"},
        ),
        (rendered(body="x" * 99_999), {"message": "x" * 32_768}),
        (rendered(urgent=True), {"type": "warning"}),
        (rendered(body=""), {"message": "Bears at Packers"}),
    ],
    ids=["as it was rendered", "cut and not split", "urgent", "a title alone"],
)
async def test_a_message_arrives(
    sink: HttpSink, message: Rendered, posted: dict[str, object]
) -> None:
    outcome = await send_once(f"json://{sink.netloc}/in", message)

    [received] = sink.requests
    assert outcome == Sent(status=200)
    assert isinstance(received.json, dict)
    assert received.json.items() >= posted.items()


async def test_a_retry_hint_may_be_a_date(sink: HttpSink) -> None:
    until = datetime.now(UTC) + timedelta(minutes=10)
    header = {"Retry-After": format_datetime(until, usegmt=True)}
    sink.answer("/in", Answer(429, headers=header))

    outcome = await send_once(f"json://{sink.netloc}/in")

    assert isinstance(outcome, Failed)
    assert outcome.retry_after is not None
    assert timedelta(minutes=9) < outcome.retry_after <= timedelta(minutes=10)


async def test_a_netrc_is_not_used(
    sink: HttpSink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    await send_once(f"json://{sink.netloc}/in")

    assert "authorization" not in sink.requests[0].headers


async def test_slack_gets_its_own_markdown_and_no_pictures(slack: HttpSink) -> None:
    body = "**moved** to [15:30](https://kalshi.com/x)"

    outcome = await send_once(SLACK, rendered(body=body, format=Format.MARKDOWN))

    [received] = slack.at(SLACK_PATH)
    assert outcome == Sent(status=200)
    assert isinstance(received.json, dict)
    [attachment] = received.json["attachments"]
    assert attachment["title"] == "Bears at Packers"
    assert attachment["text"] == "*moved* to <https://kalshi.com/x|15:30>"
    assert b"github.com" not in received.body


async def test_plain_text_for_slack_mentions_nobody(slack: HttpSink) -> None:
    await send_once(SLACK, rendered(title="<!here>", body="<!channel> & <@U1>"))

    text = slack.requests[0].body.decode()
    assert "<!" not in text
    assert "<@" not in text


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (
            Answer(429, b"", headers={"Retry-After": "30"}),
            Failed(reason="HTTP 429", status=429, retry_after=timedelta(seconds=30)),
        ),
        (
            Answer(400, b"invalid_payload"),
            Refused(reason="Slack: invalid_payload", scope=Scope.MESSAGE, status=400),
        ),
        (
            Answer(200, b"<html>the hotel's log-in page"),
            Refused(reason="HTTP 200, but not taken as a success", scope=Scope.MESSAGE),
        ),
    ],
)
async def test_answers_of_a_slack_webhook(slack: HttpSink, step: Step, expected: Outcome) -> None:
    slack.answer(SLACK_PATH, step)

    assert await send_once(SLACK) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"ok": true, "channel": "C1"}', Sent(status=200)),
        (
            # Apprise takes any body with OK in it for a success.
            b'{"ok": false, "error": "bad TOKENS"}',
            Refused(reason="Slack: no reason", scope=Scope.MESSAGE, status=200),
        ),
        (
            b'{"ok": false, "error": "ratelimited"}',
            Failed(reason="Slack: ratelimited", status=200, retry_after=timedelta(seconds=3)),
        ),
    ],
)
async def test_answers_of_a_slack_bot(slack: HttpSink, body: bytes, expected: Outcome) -> None:
    slack.answer("/api/chat.postMessage", Answer(200, body, headers={"Retry-After": "3"}))

    assert await send_once(f"{BOT}%23ops") == expected


async def test_discord_is_asked_once_and_its_wait_is_passed_on(
    sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NotifyDiscord, "notify_url", sink.url("/discord"))
    reset = str(int(time.time()) + 60)
    limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    token = "4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
    sink.answer(
        f"/discord/{token}", Answer(429, b'{"retry_after": 1.5}', limits), Answer(204, b"", limits)
    )

    with anyio.fail_after(5):
        async with opened(destination(f"discord://{token}")) as sender:
            first = await sender.send("ops", rendered())
            second = await sender.send("ops", rendered())

    assert first == Failed(reason="HTTP 429", status=429, retry_after=timedelta(seconds=1.5))
    assert second == Sent(status=204)
    assert len(sink.requests) == 2


async def test_telegrams_wait_is_passed_on(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifyTelegram, "notify_url", sink.url("/bot"))
    body = b'{"ok":false,"error_code":429,"parameters":{"retry_after":5}}'
    sink.answer("/bot123456789:abcdefg_hijklmnop/sendMessage", Answer(429, body))

    outcome = await send_once("tgram://123456789:abcdefg_hijklmnop/12315544/")

    assert outcome == Failed(reason="HTTP 429", status=429, retry_after=timedelta(seconds=5))


async def test_a_service_without_http_is_known_by_the_plugins_answer_only() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        outcome = await send_once(f"rsyslog://127.0.0.1:{log.getsockname()[1]}")

    assert outcome == Sent()


@pytest.mark.parametrize("module", [opsgenie, jira])
async def test_a_message_that_is_not_urgent_opens_an_alert_too(
    module: ModuleType, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = module.__name__.rpartition(".")[2]
    lookup = dict.fromkeys(("us", "eu"), sink.url("/alerts"))
    monkeypatch.setattr(module, f"{scheme.upper()}_API_LOOKUP", lookup)
    sink.answer("/alerts", Answer(status=202, body=b'{"requestId": "one"}'))

    outcome = await send_once(f"{scheme}://{KEY}")

    assert isinstance(outcome, Sent)
    assert len(sink.requests) == 1


async def test_a_plugin_that_returns_true_without_a_request_has_not_sent() -> None:
    outcome = await send_once(f"opsgenie://{KEY}?:info=note")

    assert isinstance(outcome, Refused)
    assert "sent nothing" in outcome.reason


class Posting(NotifyBase):
    """A plugin that posts if it has a port, raises at /raise, and notes its end."""

    service_name = "Posting"
    protocol = "posting"
    ended = threading.Event()

    def send(self, body: str, **_kwargs: object) -> bool:
        try:
            if self.port:
                requests.post(f"http://{self.host}:{self.port}/in", body, timeout=30)
            if self.fullpath == "/raise":
                raise KeyError("HUSH")
            return True
        finally:
            self.ended.set()


@pytest.fixture
def posting() -> Iterator[threading.Event]:
    NotificationManager().add(Posting)
    Posting.ended.clear()
    yield Posting.ended
    NotificationManager().remove("posting")


@pytest.mark.usefixtures("posting")
async def test_a_plugin_that_raises_before_it_sends_has_failed() -> None:
    outcome = await send_once("posting://h.example/raise")

    assert outcome == Failed(reason="KeyError in the service's plugin")


@pytest.mark.usefixtures("posting")
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Answer(200), Ambiguous(reason="KeyError in the service's plugin")),
        (Answer(503), Failed(reason="HTTP 503", status=503)),
    ],
)
async def test_a_plugin_that_raises_after_the_answer_may_have_sent(
    sink: HttpSink, step: Step, expected: Outcome
) -> None:
    sink.answer("/in", step)

    assert await send_once(f"posting://{sink.netloc}/raise") == expected


@pytest.mark.parametrize("ended_by", ["its limit", "cancellation"])
async def test_an_attempt_that_is_ended_leaves_no_thread_behind(
    sink: HttpSink, posting: threading.Event, ended_by: str
) -> None:
    sink.answer("/in", Hang())
    limit = timedelta(seconds=0.3 if ended_by == "its limit" else 20)

    async with opened(destination(f"posting://{sink.netloc}"), attempt_limit=limit) as sender:
        with anyio.fail_after(2), anyio.move_on_after(0.9) as scope:
            await sender.send("ops", rendered())

        assert scope.cancelled_caught == (ended_by == "cancellation")
        assert posting.wait(1.0)
