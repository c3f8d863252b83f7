"""After a restart, a message that some of several recipients have goes only to the others."""

# Apprise types its class attributes by their empty defaults, and half its calls.
# mypy: disable-error-code="no-untyped-call,assignment,override"

import os
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import ClassVar

import anyio
import pytest
from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager
from apprise.plugins.slack import NotifySlack
from sending import LIMIT, rendered, send_once
from servers.http_sink import Answer, Hang, HttpSink, http_sink
from servers.smtp_sink import DROP, SmtpSink, smtp_sink

from notifier.domain.models import Ambiguous, Outcome, Refused, Scope, Sent

pytestmark = pytest.mark.anyio

ANN, BOB, CY = "ann@example.com", "bob@example.com", "cy@example.com"
BUSY = "450 4.2.1 busy"
FINE = Answer(200, b'{"ok": true}')
BOT = "slack://xoxb-1234-1234-abc124/%23one/%23two"


async def attempt(
    url: str,
    last: Outcome | None = None,
    *,
    message_id: str = "msg_P",
    attempt_limit: timedelta = LIMIT,
) -> Outcome:
    """One attempt by a new sender that knows only what the last outcome carried."""
    delivered_to = frozenset[str]() if last is None or isinstance(last, Sent) else last.delivered_to
    return await send_once(
        url, rendered(message_id), delivered_to=delivered_to, attempt_limit=attempt_limit
    )


@pytest.fixture
def post() -> Iterator[SmtpSink]:
    with smtp_sink() as running:
        yield running


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpSink]:
    with http_sink() as running:
        monkeypatch.setattr(NotifySlack, "api_url", running.url("/api/{}"))
        yield running


def mail_to(post: SmtpSink, *recipients: str, more: str = "") -> str:
    return f"mailto://{post.netloc}?from=us@example.com&to={','.join(recipients)}{more}"


def receivers(post: SmtpSink) -> list[str]:
    return sorted(one for mail in post.mails for one in mail.recipients)


def posted(sink: HttpSink, key: str) -> list[object]:
    bodies = [one.json for one in sink.requests]
    return [one[key] for one in bodies if isinstance(one, Mapping)]


async def test_marks_add_up_until_everyone_has_the_mail(post: SmtpSink) -> None:
    url = mail_to(post, ANN, BOB, CY)
    post.on_recipient(BOB, BUSY, "250 OK")
    post.on_recipient(CY, BUSY, BUSY, "250 OK")

    first = await attempt(url)
    second = await attempt(url, first)
    third = await attempt(url, second)

    assert isinstance(first, Ambiguous)
    assert isinstance(second, Ambiguous)
    assert first.reason == "partly sent; SMTP 450: 4.2.1 busy"
    assert (len(first.delivered_to), len(second.delivered_to)) == (1, 2)
    assert first.delivered_to < second.delivered_to
    assert third == Sent(status=250)
    assert receivers(post) == [ANN, BOB, CY]


async def test_without_its_marks_a_mail_goes_to_everyone(post: SmtpSink) -> None:
    url = mail_to(post, ANN, BOB)
    post.on_recipient(BOB, BUSY, "250 OK")

    first = await attempt(url)
    await attempt(url)
    await attempt(url, first, message_id="msg_OTHER")
    await attempt(url + "&name=Us", first)

    assert receivers(post).count(ANN) == 4


async def test_a_failing_server_takes_no_marks_away(post: SmtpSink) -> None:
    url = mail_to(post, ANN, BOB)
    post.on_recipient(BOB, BUSY, DROP, "250 OK")

    first = await attempt(url)
    second = await attempt(url, first)
    third = await attempt(url, second)

    assert isinstance(first, Ambiguous)
    assert second == Ambiguous(
        reason="partly sent; connection lost while sending",
        delivered_to=first.delivered_to,
        unsure=False,
    )
    assert third == Sent(status=250)
    assert receivers(post) == [ANN, BOB]


async def test_a_copy_goes_with_each_mail_once(post: SmtpSink) -> None:
    url = mail_to(post, ANN, BOB, more=f"&cc={CY}")
    post.on_recipient(CY, BUSY, "250 OK")

    first = await attempt(url)
    second = await attempt(url, first)

    assert isinstance(first, Ambiguous)
    assert second == Sent(status=250)
    assert receivers(post) == [ANN, BOB, CY, CY]


async def test_a_refused_recipient_keeps_the_mail_from_no_other(post: SmtpSink) -> None:
    url = mail_to(post, ANN, BOB, CY)
    post.on_recipient(BOB, "550 5.1.1 nobody")

    first = await attempt(url)
    second = await attempt(url, first)

    assert isinstance(first, Refused)
    assert first.reason == "partly sent; SMTP 550: 5.1.1 nobody"
    assert first.scope is Scope.MESSAGE
    assert len(first.delivered_to) == 2
    assert second == first
    assert receivers(post) == [ANN, CY]


@pytest.mark.parametrize("service", ["ntfy", "slack"])
async def test_only_the_target_that_lacks_the_message_gets_it(sink: HttpSink, service: str) -> None:
    url, key = (f"ntfy://{sink.netloc}/one/two", "topic") if service == "ntfy" else (BOT, "channel")
    sink.answer("/" if service == "ntfy" else "/api/chat.postMessage", FINE, Answer(503), FINE)

    first = await attempt(url)
    second = await attempt(url, first)

    targets = posted(sink, key)
    assert isinstance(first, Ambiguous)
    assert first.reason == "partly sent; HTTP 503"
    assert len(first.delivered_to) == 1
    assert second == Sent(status=200)
    assert len(set(map(str, targets[:2]))) == 2
    assert targets[2:] == targets[1:2]


async def test_a_missing_channel_does_not_suspend_the_destination(sink: HttpSink) -> None:
    missing = Answer(200, b'{"ok": false, "error": "channel_not_found"}')
    sink.answer("/api/chat.postMessage", FINE, missing)

    first = await attempt(BOT)
    second = await attempt(BOT, first)

    assert isinstance(first, Refused)
    assert first.scope is Scope.MESSAGE
    assert first.reason == "partly sent; Slack: channel_not_found"
    assert len(first.delivered_to) == 1
    assert isinstance(second, Refused)
    assert second.delivered_to == first.delivered_to
    assert len(sink.requests) == 3


async def test_an_error_that_the_plugin_takes_for_a_success_marks_no_target(sink: HttpSink) -> None:
    sink.answer("/api/chat.postMessage", Answer(200, b'{"ok": false, "error": "bad TOKENS"}'))

    first = await attempt(BOT)
    second = await attempt(BOT, first)

    assert isinstance(first, Refused)
    assert first.delivered_to == frozenset()
    assert second == first
    assert len(sink.requests) == 4


async def test_an_aborted_attempt_keeps_its_marks(sink: HttpSink) -> None:
    url = f"ntfy://{sink.netloc}/one/two"
    sink.answer("/", FINE, Hang(), FINE)

    with anyio.fail_after(5):
        first = await attempt(url, attempt_limit=timedelta(milliseconds=400))
        second = await attempt(url, first)

    assert isinstance(first, Ambiguous)
    assert len(first.delivered_to) == 1
    assert second == Sent(status=200)
    topics = posted(sink, "topic")
    assert topics[2:] == topics[1:2]


class Choir(NotifyBase):
    """A plugin without HTTP that reaches ann, and bob never."""

    service_name = "Choir"
    protocol = "choir"
    asked: ClassVar[list[str]] = []

    def send(self, **_kwargs: object) -> bool:
        for one in ("ann", "bob"):
            if not self.is_delivered(one):
                self.asked.append(one)
                if one == "ann":
                    self.mark_delivered(one)
        if self.host == "raises":
            raise KeyError("HUSH")
        return False


@pytest.fixture
def asked() -> Iterator[list[str]]:
    NotificationManager().add(Choir)
    Choir.asked.clear()
    yield Choir.asked
    NotificationManager().remove("choir")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("choir://fails", "partly sent; not sent; the service gives no reason"),
        ("choir://raises", "partly sent; KeyError in the service's plugin"),
    ],
)
async def test_a_plugin_without_http_marks_whom_it_served(
    asked: list[str], url: str, reason: str
) -> None:
    first = await attempt(url)
    second = await attempt(url, first)

    assert isinstance(first, Ambiguous)
    assert first.reason == reason
    assert len(first.delivered_to) == 1
    assert second == first
    assert asked == ["ann", "bob", "bob"]


#: Prints the marks of one attempt.
PROCESS = """
import sys, anyio
from sending import send_once
print(*sorted(anyio.run(send_once, sys.argv[1]).delivered_to))
"""


async def test_marks_are_the_same_in_every_process(post: SmtpSink, sink: HttpSink) -> None:
    post.on_recipient(BOB, BUSY)
    sink.answer("/", *[FINE, Answer(503), FINE] * 2)
    for url in (
        mail_to(post, ANN, BOB, CY, more="&cc=dee@example.com,eve@example.com"),
        f"ntfy://{sink.netloc}/one/two/three",
    ):
        ours = await send_once(url)
        other = await anyio.run_process(
            [sys.executable, "-c", PROCESS, url],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONHASHSEED": "1",
            },
            stderr=None,
        )

        assert isinstance(ours, Ambiguous)
        assert len(ours.delivered_to) >= 2
        assert other.stdout.decode().split() == sorted(ours.delivered_to)


async def test_a_mark_shows_neither_recipient_nor_secret_nor_that_one_got_two_messages(
    sink: HttpSink,
) -> None:
    sink.answer("/", *[FINE, Answer(503)] * 2)
    url = f"ntfy://hush:HUSHHUSH@{sink.netloc}/ann/bob"

    outcomes = [await attempt(url, message_id=one) for one in ("msg_ONE", "msg_TWO")]

    marks = [
        one
        for outcome in outcomes
        if isinstance(outcome, Ambiguous)
        for one in outcome.delivered_to
    ]
    assert len(set(marks)) == 2
    for mark in marks:
        assert mark.startswith("rcp_")
        assert mark.removeprefix("rcp_").isalnum()
        assert len(mark) == 30
        assert not any(word in mark.lower() for word in ("ann", "bob", "hush"))
