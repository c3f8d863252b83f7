"""What some of several recipients have goes, after a restart, only to the others."""

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
from sending import destination, opened, rendered, send_once
from servers.http_sink import Answer, Hang, HttpSink, http_sink
from servers.smtp_sink import DROP, SmtpSink, smtp_sink

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent

pytestmark = pytest.mark.anyio

ANN, BOB, CY = "ann@example.com", "bob@example.com", "cy@example.com"
NOBODY = frozenset[str]()
SHORT = timedelta(milliseconds=400)


async def again(
    url: str,
    last: Outcome | None = None,
    *,
    message_id: str = "msg_P",
    attempt_limit: timedelta = timedelta(seconds=10),
) -> Outcome:
    """One attempt by a process that knows only what the last outcome gave."""
    async with opened(destination(url), attempt_limit=attempt_limit) as sender:
        return await sender.send(
            "ops",
            rendered(message_id),
            served=NOBODY if last is None or isinstance(last, Sent) else last.served,
        )


# --- e-mail -------------------------------------------------------------------


@pytest.fixture
def post() -> Iterator[SmtpSink]:
    with smtp_sink() as running:
        yield running


def mail_to(post: SmtpSink, *recipients: str, more: str = "") -> str:
    everyone = ",".join(recipients)
    return f"mailto://hush:HUSHHUSH@{post.netloc}?from=us@example.com&to={everyone}{more}"


def plain_mail_to(post: SmtpSink, *recipients: str, more: str = "") -> str:
    return mail_to(post, *recipients, more=more).replace("hush:HUSHHUSH@", "")


def receivers(post: SmtpSink) -> list[str]:
    return [one for mail in post.mails for one in mail.recipients]


async def test_after_a_restart_a_mail_goes_only_to_those_who_lack_it(
    post: SmtpSink,
) -> None:
    url = plain_mail_to(post, ANN, BOB, CY)
    post.on_recipient(BOB, "450 4.2.1 busy", "250 OK")

    first = await again(url)
    before = sorted(receivers(post))
    second = await again(url, first)

    assert isinstance(first, Ambiguous)
    assert first.reason == "partly sent; SMTP 450: 4.2.1 busy"
    assert len(first.served) == 2
    assert before == [ANN, CY]
    assert second == Sent(status=250)
    assert sorted(receivers(post)) == [ANN, BOB, CY]


async def test_without_its_marks_a_mail_goes_to_everyone(post: SmtpSink) -> None:
    url = plain_mail_to(post, ANN, BOB)
    post.on_recipient(BOB, "450 4.2.1 busy", "250 OK")

    first = await again(url)
    await again(url)
    await again(url, first, message_id="msg_OTHER")

    assert receivers(post).count(ANN) == 3


async def test_the_marks_of_another_url_pass_over_nobody(post: SmtpSink) -> None:
    post.on_recipient(BOB, "450 4.2.1 busy", "250 OK")

    first = await again(plain_mail_to(post, ANN, BOB))
    await again(plain_mail_to(post, ANN, BOB, more="&name=Us"), first)

    assert receivers(post).count(ANN) == 2


async def test_marks_add_up_until_everyone_has_it(post: SmtpSink) -> None:
    url = plain_mail_to(post, ANN, BOB, CY)
    post.on_recipient(BOB, "450 4.2.1 busy", "250 OK")
    post.on_recipient(CY, "450 4.2.1 busy", "450 4.2.1 busy", "250 OK")

    first = await again(url)
    second = await again(url, first)
    third = await again(url, second)

    assert isinstance(first, Ambiguous)
    assert isinstance(second, Ambiguous)
    assert (len(first.served), len(second.served)) == (1, 2)
    assert first.served < second.served
    assert third == Sent(status=250)
    assert sorted(receivers(post)) == [ANN, BOB, CY]


async def test_a_server_that_is_away_takes_no_marks_away(post: SmtpSink) -> None:
    url = plain_mail_to(post, ANN, BOB)
    post.on_recipient(BOB, "450 4.2.1 busy", DROP, "250 OK")

    first = await again(url)
    second = await again(url, first)
    third = await again(url, second)

    assert isinstance(first, Ambiguous)
    assert second == Ambiguous(
        reason="partly sent; connection lost while sending",
        served=first.served,
        unsure=False,
    )
    assert third == Sent(status=250)
    assert sorted(receivers(post)) == [ANN, BOB]


@pytest.mark.parametrize("to", [(ANN, BOB), (BOB, ANN)])
async def test_a_copy_goes_with_each_mail_once(post: SmtpSink, to: tuple[str, ...]) -> None:
    url = plain_mail_to(post, *to, more=f"&cc={CY}")
    post.on_recipient(CY, "450 4.2.1 busy", "250 OK")

    first = await again(url)
    second = await again(url, first)

    assert isinstance(first, Ambiguous)
    assert second == Sent(status=250)
    assert sorted(receivers(post)) == [ANN, BOB, CY, CY]


async def test_a_recipient_who_is_refused_keeps_the_mail_from_nobody(
    post: SmtpSink,
) -> None:
    url = plain_mail_to(post, ANN, BOB, CY)
    post.on_recipient(BOB, "550 5.1.1 nobody")

    first = await again(url)
    second = await again(url, first)

    assert isinstance(first, Refused)
    assert first.reason == "partly sent; SMTP 550: 5.1.1 nobody"
    assert first.scope is Scope.MESSAGE
    assert len(first.served) == 2
    assert second == first
    assert sorted(receivers(post)) == [ANN, CY]


async def test_a_mail_that_nobody_has_gives_no_marks(post: SmtpSink) -> None:
    post.on_recipient(ANN, "450 4.2.1 busy")
    post.on_recipient(BOB, "450 4.2.1 busy")

    assert await again(plain_mail_to(post, ANN, BOB)) == Failed(
        reason="SMTP 450: 4.2.1 busy", status=450
    )


# --- services over HTTP -------------------------------------------------------


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


@pytest.fixture
def slack(sink: HttpSink, monkeypatch: pytest.MonkeyPatch) -> HttpSink:
    monkeypatch.setattr(NotifySlack, "api_url", sink.url("/api/{}"))
    return sink


BOT = "slack://xoxb-1234-1234-abc124/%23one/%23two"
FINE = Answer(200, b'{"ok": true}')


def said(sink: HttpSink, key: str) -> list[object]:
    bodies = [one.json for one in sink.requests]
    return [one[key] for one in bodies if isinstance(one, Mapping)]


async def test_after_a_restart_only_the_topic_that_lacks_it_gets_it(
    sink: HttpSink,
) -> None:
    url = f"ntfy://{sink.netloc}/one/two/three"
    sink.answer("/", FINE, Answer(503), FINE)

    first = await again(url)
    asked = said(sink, "topic")
    second = await again(url, first)

    assert isinstance(first, Ambiguous)
    assert first.reason == "partly sent; HTTP 503"
    assert len(first.served) == 2
    assert sorted(map(str, asked)) == ["one", "three", "two"]
    assert second == Sent(status=200)
    assert said(sink, "topic")[3:] == asked[1:2]


async def test_after_a_restart_only_the_channel_that_lacks_it_gets_it(
    slack: HttpSink,
) -> None:
    slack.answer("/api/chat.postMessage", FINE, Answer(503, b""), FINE)

    first = await again(BOT)
    second = await again(BOT, first)

    channels = said(slack, "channel")
    assert isinstance(first, Ambiguous)
    assert second == Sent(status=200)
    assert sorted(map(str, channels[:2])) == ["#one", "#two"]
    assert channels[2:] == channels[1:2]


async def test_a_channel_that_is_gone_does_not_stop_the_destination(
    slack: HttpSink,
) -> None:
    gone = Answer(200, b'{"ok": false, "error": "channel_not_found"}')
    slack.answer("/api/chat.postMessage", FINE, gone)

    first = await again(BOT)
    second = await again(BOT, first)

    assert isinstance(first, Refused)
    assert first.scope is Scope.MESSAGE
    assert first.reason == "partly sent; Slack: channel_not_found"
    assert len(first.served) == 1
    assert isinstance(second, Refused)
    assert second.served == first.served
    assert len(slack.requests) == 3


async def test_a_no_that_the_plugin_takes_for_a_yes_marks_nobody(
    slack: HttpSink,
) -> None:
    no = Answer(200, b'{"ok": false, "error": "bad TOKENS"}')
    slack.answer("/api/chat.postMessage", no)

    first = await again(BOT)
    second = await again(BOT, first)

    assert isinstance(first, Refused)
    assert first.served == NOBODY
    assert second == first
    assert len(slack.requests) == 4


async def test_a_silent_service_keeps_what_was_served_before_the_cut(
    sink: HttpSink,
) -> None:
    url = f"ntfy://{sink.netloc}/one/two"
    sink.answer("/", FINE, Hang(), FINE)

    with anyio.fail_after(5):
        first = await again(url, attempt_limit=SHORT)
        second = await again(url, first)

    assert isinstance(first, Ambiguous)
    assert len(first.served) == 1
    assert second == Sent(status=200)
    assert len(sink.requests) == 3
    assert said(sink, "topic")[1] == said(sink, "topic")[2]


@pytest.mark.parametrize("scheme", ["json", "webhook"])
async def test_a_destination_of_one_recipient_gives_no_marks(sink: HttpSink, scheme: str) -> None:
    sink.answer("/in", Answer(503))

    outcome = await again(f"{scheme}://{sink.netloc}/in")

    assert outcome == Failed(reason="HTTP 503", status=503)


# --- services that are not watched --------------------------------------------


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
        if self.host == "stumbles":
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
        ("choir://stumbles", "partly sent; KeyError in the service's plugin"),
    ],
)
async def test_a_plugin_that_tells_nothing_but_whom_it_served_is_heard(
    asked: list[str], url: str, reason: str
) -> None:
    first = await again(url)
    second = await again(url, first)

    assert isinstance(first, Ambiguous)
    assert first.reason == reason
    assert len(first.served) == 1
    assert second == first
    assert asked == ["ann", "bob", "bob"]


# --- the marks ----------------------------------------------------------------

#: Another process: it prints the marks of one attempt.
CHILD = """
import sys, anyio
from sending import send_once
print(*sorted(anyio.run(send_once, sys.argv[1]).served))
"""


async def marks_of_another_process(url: str, *, hash_seed: str) -> list[str]:
    paths = os.pathsep.join(filter(None, sys.path))
    done = await anyio.run_process(
        [sys.executable, "-c", CHILD, url],
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": hash_seed},
        stderr=None,
    )
    return done.stdout.decode().split()


async def test_marks_are_the_same_in_every_process(post: SmtpSink, sink: HttpSink) -> None:
    post.on_recipient(BOB, "450 4.2.1 busy")
    fails = [FINE, Answer(503), FINE]
    sink.answer("/", *fails, *fails, *fails)
    for url in (
        plain_mail_to(post, ANN, BOB, CY, more="&cc=dee@example.com,eve@example.com"),
        f"ntfy://{sink.netloc}/one/two/three",
    ):
        ours = await send_once(url)

        assert isinstance(ours, Ambiguous)
        assert len(ours.served) >= 2
        for seed in ("1", "2"):
            theirs = await marks_of_another_process(url, hash_seed=seed)
            assert theirs == sorted(ours.served)


async def test_a_mark_shows_no_address_and_no_secret(sink: HttpSink) -> None:
    with smtp_sink(logins={"hush": "HUSHHUSH"}) as post:
        post.on_recipient(BOB, "450 4.2.1 busy")
        mailed = await again(mail_to(post, ANN, BOB))
    sink.answer("/", FINE, Answer(503))
    told = await again(f"ntfy://hush:HUSHHUSH@{sink.netloc}/one/two")

    for outcome in (mailed, told):
        assert isinstance(outcome, Ambiguous)
        [mark] = outcome.served
        assert mark.startswith("rcp_")
        assert mark.removeprefix("rcp_").isalnum()
        assert len(mark) == 30
        assert not any(word in mark.lower() for word in ("ann", "bob", "example", "hush"))


async def test_marks_of_two_messages_do_not_show_that_one_got_both(
    post: SmtpSink,
) -> None:
    post.on_recipient(BOB, "450 4.2.1 busy")
    url = plain_mail_to(post, ANN, BOB)

    one = await again(url, message_id="msg_ONE")
    two = await again(url, message_id="msg_TWO")

    assert isinstance(one, Ambiguous)
    assert isinstance(two, Ambiguous)
    assert not one.served & two.served
