"""Apprise's HTTP services against a real server."""

# Apprise types its class attributes by their empty defaults, and half its calls.
# mypy: disable-error-code="no-untyped-call,assignment,override"

import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
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

from notifier.domain.models import Ambiguous, Failed, Format, Outcome, Refused, Scope, Sent

pytestmark = pytest.mark.anyio

KEY = "8b799edf-6f98-4d3a-9be7-2862fb4e5752"
SHORT = timedelta(milliseconds=300)
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


async def answered(sink: HttpSink, step: Step) -> Outcome:
    sink.answer("/in", step)
    return await send_once(f"json://{sink.netloc}/in", attempt_limit=SHORT)


async def test_a_message_arrives_as_it_was_rendered(sink: HttpSink) -> None:
    message = rendered(title="Bears <at> **Packers**", body="a <b> *c* & `d`")

    outcome = await send_once(f"json://{sink.netloc}/in", message)

    [received] = sink.requests
    assert outcome == Sent(status=200)
    assert isinstance(received.json, dict)
    assert received.json["title"] == "Bears <at> **Packers**"
    assert received.json["message"] == "a <b> *c* & `d`"
    assert received.json["type"] == "info"


async def test_a_text_that_is_too_long_is_cut_and_not_split(sink: HttpSink) -> None:
    await send_once(f"json://{sink.netloc}/in", rendered(body="x" * 99_999))

    [received] = sink.requests
    assert isinstance(received.json, dict)
    assert len(received.json["message"]) == 32_768


async def test_an_urgent_message_stands_out(sink: HttpSink) -> None:
    await send_once(f"json://{sink.netloc}/in", rendered(urgent=True))

    assert isinstance(sink.requests[0].json, dict)
    assert sink.requests[0].json["type"] == "warning"


async def test_a_message_of_a_title_alone_is_sent(sink: HttpSink) -> None:
    outcome = await send_once(f"json://{sink.netloc}/in", rendered(body=""))

    assert outcome == Sent(status=200)
    assert isinstance(sink.requests[0].json, dict)
    assert sink.requests[0].json["message"] == "Bears at Packers"


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Answer(204, b""), Sent(status=204)),
        (Answer(500), Failed(reason="HTTP 500", status=500)),
        (
            Answer(503, headers={"Retry-After": "7"}),
            Failed(reason="HTTP 503", status=503, retry_after=timedelta(seconds=7)),
        ),
        (Answer(408), Failed(reason="HTTP 408", status=408)),
        (Answer(400), Refused(reason="HTTP 400", scope=Scope.MESSAGE, status=400)),
        (Answer(401), Refused(reason="HTTP 401", scope=Scope.DESTINATION, status=401)),
        (Answer(410), Refused(reason="HTTP 410", scope=Scope.GONE, status=410)),
        (Hang(), Ambiguous(reason="timed out after the request was sent")),
        (Reset(), Ambiguous(reason="connection lost after the request was sent")),
        (Garbage(), Ambiguous(reason="connection lost after the request was sent")),
        (Drip(200), Ambiguous(reason="the answer was cut short")),
        (Drip(503), Failed(reason="HTTP 503", status=503)),
        (CutShort(200), Ambiguous(reason="the answer was cut short")),
        (CutShort(500), Failed(reason="HTTP 500", status=500)),
    ],
)
async def test_each_answer_has_its_outcome(sink: HttpSink, step: Step, expected: Outcome) -> None:
    with anyio.fail_after(5):
        assert await answered(sink, step) == expected


async def test_a_date_to_come_back_at_is_understood(sink: HttpSink) -> None:
    then = datetime.now(UTC) + timedelta(minutes=10)
    step = Answer(429, headers={"Retry-After": format_datetime(then, usegmt=True)})

    outcome = await answered(sink, step)

    assert isinstance(outcome, Failed)
    assert outcome.retry_after is not None
    assert timedelta(minutes=9) < outcome.retry_after <= timedelta(minutes=10)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_no_success(sink: HttpSink, status: int) -> None:
    location = {"Location": sink.url("/elsewhere")}

    outcome = await answered(sink, Answer(status, headers=location))

    assert isinstance(outcome, Refused)
    assert outcome.scope is Scope.DESTINATION
    assert sink.at("/elsewhere") == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("json://127.0.0.1:{closed}/", "connection refused"),
        ("json://does-not-exist.invalid/", "name not found"),
        ("json://127.0.0.1:{deaf}/", "timed out while connecting"),
    ],
)
async def test_a_service_that_was_never_reached_got_nothing(url: str, reason: str) -> None:
    with deaf_port() as deaf, anyio.fail_after(8):
        outcome = await send_once(url.format(closed=closed_port(), deaf=deaf), attempt_limit=SHORT)

    assert isinstance(outcome, Failed)
    assert outcome.reason == reason


async def test_messages_share_one_connection(sink: HttpSink) -> None:
    async with opened(destination(f"json://{sink.netloc}/in")) as sender:
        for number in range(5):
            await sender.send("ops", rendered(f"msg_{number}"))

    assert len(sink.requests) == 5
    assert sink.connections == 1


async def test_messages_share_one_connection_over_tls() -> None:
    with http_sink(tls=authority()) as sink:
        async with opened(destination(f"jsons://{sink.netloc}/in")) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

        assert outcomes == [Sent(status=200)] * 3
        assert sink.connections == 1


async def test_destinations_share_no_connection(sink: HttpSink) -> None:
    one = destination(f"json://{sink.netloc}/1", name="one")
    two = destination(f"json://{sink.netloc}/2", name="two")

    async with opened(one, two) as sender:
        await sender.send("one", rendered())
        await sender.send("two", rendered())

    assert sink.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_opened_anew(
    sink: HttpSink,
) -> None:
    async with opened(destination(f"json://{sink.netloc}/in")) as sender:
        await sender.send("ops", rendered())
        sink.drop_connections()
        outcome = await sender.send("ops", rendered())

    assert outcome == Sent(status=200)
    assert sink.connections == 2


async def test_a_stranger_with_a_certificate_is_not_trusted() -> None:
    with http_sink(tls=Authority()) as sink:
        outcome = await send_once(f"jsons://{sink.netloc}/in")

    assert outcome == Refused(reason="certificate not trusted", scope=Scope.DESTINATION)
    assert sink.requests == []


async def test_verify_no_trusts_anyone_without_a_warning() -> None:
    with http_sink(tls=Authority()) as sink:
        outcome = await send_once(f"jsons://{sink.netloc}/in?verify=no")

    assert outcome == Sent(status=200)


async def test_a_service_without_tls_got_nothing() -> None:
    with smtp_sink() as stranger:
        outcome = await send_once(f"jsons://{stranger.netloc}/in")

    assert outcome == Failed(reason="TLS handshake failed")


async def test_a_slow_service_delays_no_other(sink: HttpSink) -> None:
    sink.answer("/slow", Hang())
    slow = [destination(f"json://{sink.netloc}/slow", name=f"s{n}") for n in range(8)]
    fast = destination(f"json://{sink.netloc}/fast", name="fast")

    async with opened(*slow, fast) as sender, anyio.create_task_group() as group:
        for one in slow:
            group.start_soon(sender.send, one.name, rendered())
        await anyio.to_thread.run_sync(sink.wait_for, 8)
        with anyio.fail_after(2):
            assert await sender.send("fast", rendered()) == Sent(status=200)
        group.cancel_scope.cancel()


class Posting(NotifyBase):
    """A plugin that posts once, and notes when its thread is done."""

    service_name = "Posting"
    protocol = "posting"
    done = threading.Event()

    def send(self, body: str, **_kwargs: object) -> bool:
        try:
            return requests.post(f"http://{self.host}:{self.port}/in", body, timeout=30).ok
        finally:
            self.done.set()


@pytest.fixture
def posting() -> Iterator[threading.Event]:
    NotificationManager().add(Posting)
    Posting.done.clear()
    yield Posting.done
    NotificationManager().remove("posting")


@pytest.mark.parametrize("ended_by", ["its limit", "cancellation"])
async def test_an_attempt_that_is_ended_leaves_no_thread_behind(
    sink: HttpSink, posting: threading.Event, ended_by: str
) -> None:
    sink.answer("/in", Hang())
    ops = destination(f"posting://{sink.netloc}")
    limit = SHORT if ended_by == "its limit" else timedelta(seconds=20)

    async with opened(ops, attempt_limit=limit) as sender:
        with anyio.fail_after(2), anyio.move_on_after(0.9) as scope:
            await sender.send("ops", rendered())

        assert scope.cancelled_caught == (ended_by == "cancellation")
        assert posting.wait(1.0)


async def test_a_netrc_is_not_used(
    sink: HttpSink,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path_factory.mktemp("home") / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hush\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    await send_once(f"json://{sink.netloc}/in")

    assert "authorization" not in sink.requests[0].headers


async def test_a_proxy_of_the_environment_is_used(
    sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", sink.url())
    monkeypatch.setenv("no_proxy", "")

    outcome = await send_once("json://elsewhere.invalid/in")

    assert outcome == Sent(status=200)
    assert sink.requests[0].path == "http://elsewhere.invalid/in"


# --- Slack --------------------------------------------------------------------


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
            Answer(404, b"no_service"),
            Refused(reason="Slack: no_service", scope=Scope.DESTINATION, status=404),
        ),
        (
            Answer(403, b"invalid_token"),
            Refused(reason="Slack: invalid_token", scope=Scope.DESTINATION, status=403),
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
async def test_slacks_hook_is_understood(slack: HttpSink, step: Step, expected: Outcome) -> None:
    slack.answer(SLACK_PATH, step)

    assert await send_once(SLACK) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"ok": true, "channel": "C1"}', Sent(status=200)),
        (
            b'{"ok": false, "error": "invalid_auth"}',
            Refused(reason="Slack: invalid_auth", scope=Scope.DESTINATION, status=200),
        ),
        (
            b'{"ok": false, "error": "bad TOKENS"}',
            Refused(reason="Slack: no reason", scope=Scope.MESSAGE, status=200),
        ),
        (
            b'{"ok": false, "error": "ratelimited"}',
            Failed(
                reason="Slack: ratelimited",
                status=200,
                retry_after=timedelta(seconds=3),
            ),
        ),
    ],
)
async def test_slacks_bot_says_no_in_a_200(slack: HttpSink, body: bytes, expected: Outcome) -> None:
    step = Answer(200, body, headers={"Retry-After": "3"})
    slack.answer("/api/chat.postMessage", step)

    assert await send_once(f"{BOT}%23ops") == expected


async def test_a_message_that_everyone_has_may_be_sent_again_to_everyone(
    sink: HttpSink,
) -> None:
    async with opened(destination(f"json://{sink.netloc}/in")) as sender:
        await sender.send("ops", rendered("msg_P"))
        await sender.send("ops", rendered("msg_P"))

    assert len(sink.requests) == 2


# --- others -------------------------------------------------------------------


async def test_discord_is_asked_once_and_its_wait_is_passed_on(
    sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NotifyDiscord, "notify_url", sink.url("/discord"))
    reset = str(int(time.time()) + 60)
    limits = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    path = "/discord/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"
    sink.answer(path, Answer(429, b'{"retry_after": 1.5}', limits), Answer(204, b"", limits))
    url = "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"

    with anyio.fail_after(5):
        async with opened(destination(url)) as sender:
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


async def test_a_service_without_http_says_but_yes_or_no() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        outcome = await send_once(f"rsyslog://127.0.0.1:{log.getsockname()[1]}")

    assert outcome == Sent()


class Stumbling(NotifyBase):
    """A plugin that raises, before or after it has sent."""

    service_name = "Stumbling"
    protocol = "stumbling"

    def send(self, body: str, **_kwargs: object) -> bool:
        if self.port:
            requests.post(f"http://{self.host}:{self.port}/in", body, timeout=3)
        raise KeyError("HUSH")


@pytest.fixture
def stumbling() -> Iterator[None]:
    NotificationManager().add(Stumbling)
    yield
    NotificationManager().remove("stumbling")


@pytest.mark.usefixtures("stumbling")
async def test_a_plugin_that_raises_before_it_sends_has_failed() -> None:
    outcome = await send_once("stumbling://h.example")

    assert outcome == Failed(reason="KeyError in the service's plugin")


@pytest.mark.usefixtures("stumbling")
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Answer(200), Ambiguous(reason="KeyError in the service's plugin")),
        (Answer(503), Failed(reason="HTTP 503", status=503)),
    ],
)
async def test_a_plugin_that_stumbles_over_the_answer_may_have_sent(
    sink: HttpSink, step: Step, expected: Outcome
) -> None:
    sink.answer("/in", step)

    assert await send_once(f"stumbling://{sink.netloc}") == expected


# --- secrets ------------------------------------------------------------------


class Everything(logging.Handler):
    """Hears what reaches the root logger, and formats it."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.name}: {record.getMessage()}")


@pytest.fixture
def everything() -> Iterator[Everything]:
    root, handler = logging.getLogger(), Everything()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.parametrize("step", [Answer(200), Answer(500), Answer(401), Reset()])
async def test_no_log_and_no_reason_shows_a_secret(
    sink: HttpSink,
    step: Step,
    everything: Everything,
    capfd: pytest.CaptureFixture[str],
) -> None:
    sink.answer("/tok-in-path", step)
    options = "%2BAuthorization=Bearer%20HUSH1&-key=HUSH2&:field=HUSH3"
    urls = [
        f"json://ann:HUSH4@{sink.netloc}/tok-in-path?{options}",
        f"webhook://ann:HUSH4@{sink.netloc}/tok-in-path?+X-Key=HUSH1&-key=HUSH2",
    ]

    outcomes = [await send_once(url) for url in urls]

    assert len(sink.requests) == 2
    out, err = capfd.readouterr()
    shown = "\n".join([*everything.heard, out, err, *map(str, outcomes)])
    assert "HUSH" not in shown
    assert "tok-in-path" not in shown


@pytest.mark.parametrize("module", [opsgenie, jira])
async def test_what_is_not_urgent_opens_an_alert_too(
    module: ModuleType, sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = module.__name__.rpartition(".")[2]
    lookup = dict.fromkeys(("us", "eu"), sink.url("/alerts"))
    monkeypatch.setattr(module, f"{scheme.upper()}_API_LOOKUP", lookup)
    sink.answer("/alerts", Answer(status=202, body=b'{"requestId": "one"}'))

    outcome = await send_once(f"{scheme}://{KEY}")

    assert isinstance(outcome, Sent)
    assert len(sink.requests) == 1


async def test_a_yes_without_a_request_is_no_yes() -> None:
    outcome = await send_once(f"opsgenie://{KEY}?:info=note")

    assert isinstance(outcome, Refused)
    assert "sent nothing" in outcome.reason
