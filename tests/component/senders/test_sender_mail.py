"""E-mail against a real server."""

from collections.abc import Iterator
from datetime import timedelta

import anyio
import pytest
from sending import authority, destination, opened, rendered, send_once
from servers.authority import Authority
from servers.http_sink import Hang, closed_port, http_sink
from servers.smtp_sink import DROP, HANG, SmtpSink, smtp_sink

from notifier.domain.models import Ambiguous, Failed, Format, Outcome, Refused, Scope, Sent

pytestmark = pytest.mark.anyio

SHORT = timedelta(milliseconds=400)
ANN = "ann@example.com"
BOB = "bob@example.com"


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with smtp_sink() as running:
        yield running


def to(sink: SmtpSink, *recipients: str, more: str = "") -> str:
    everyone = ",".join(recipients or (ANN,))
    return f"mailto://{sink.netloc}?from=us@example.com&to={everyone}{more}"


async def test_a_mail_arrives_in_html_and_in_text(sink: SmtpSink) -> None:
    message = rendered(body="<p>moved to <b>15:30</b></p>", format=Format.HTML)

    outcome = await send_once(to(sink), message)

    [mail] = sink.mails
    html = mail.message.get_body(("html",))
    text = mail.message.get_body(("plain",))
    assert outcome == Sent(status=250)
    assert mail.sender == "us@example.com"
    assert mail.message["subject"] == "Bears at Packers"
    assert html is not None
    assert "<b>15:30</b>" in html.get_content()
    assert text is not None
    assert "moved to 15:30" in text.get_content()


async def test_lines_that_begin_with_a_dot_arrive(sink: SmtpSink) -> None:
    body = ".\n..two\n. three\nend"

    async with opened(destination(to(sink), format=Format.TEXT)) as sender:
        await sender.send("ops", rendered(body=body))

    text = sink.mails[0].message.get_content()
    assert text.replace("\r\n", "\n").strip() == body


async def test_a_title_with_line_breaks_adds_no_header(sink: SmtpSink) -> None:
    await send_once(to(sink), rendered(title="Bears\r\nBcc: eve@example.com"))

    assert all(mail.recipients == (ANN,) for mail in sink.mails)
    assert all("bcc" not in mail.message for mail in sink.mails)


async def test_a_mail_that_is_repeated_has_the_id_that_it_had(sink: SmtpSink) -> None:
    for message_id in ("msg_ONE", "msg_ONE", "msg_TWO"):
        # Another process has nothing in common with the one before.
        await send_once(to(sink, ANN, BOB), rendered(message_id))

    seen = [(mail.recipients[0], mail.message["message-id"]) for mail in sink.mails]
    first, again, other = ([i for _, i in seen[n : n + 2]] for n in (0, 2, 4))
    assert [one for one, _ in seen] == [ANN, BOB] * 3
    assert first == again
    assert len({*first, *other}) == 4
    assert all(one.startswith("<msg_ONE.") for one in first)
    assert all(one.endswith("@127.0.0.1>") for one in first)


async def test_a_text_that_looks_like_an_id_is_left_alone(sink: SmtpSink) -> None:
    body = "see\n\nMessage-ID: <a@b>\nend"

    async with opened(destination(to(sink), format=Format.TEXT)) as sender:
        await sender.send("ops", rendered(body=body))

    text = sink.mails[0].message.get_content()
    assert text.replace("\r\n", "\n").strip() == body


async def test_mails_share_one_connection(sink: SmtpSink) -> None:
    async with opened(destination(to(sink))) as sender:
        outcomes = [await sender.send("ops", rendered(f"m{n}")) for n in range(4)]

    assert outcomes == [Sent(status=250)] * 4
    assert len(sink.mails) == 4
    assert sink.connections == 1


async def test_mails_share_one_connection_over_starttls() -> None:
    with smtp_sink(tls=authority(), logins={"me": "pa$$"}) as sink:
        url = f"mailtos://me:pa%24%24@{sink.netloc}?from=us@example.com&to={ANN}"
        async with opened(destination(url)) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

        assert outcomes == [Sent(status=250)] * 3
        assert sink.connections == 1
        assert {(mail.tls, mail.login) for mail in sink.mails} == {(True, "me")}


async def test_a_mail_goes_over_tls_from_the_first_byte() -> None:
    with smtp_sink(tls=authority(), implicit_tls=True) as sink:
        url = f"mailtos://{sink.netloc}?mode=ssl&from=us@example.com&to={ANN}"
        outcome = await send_once(url)

        assert outcome == Sent(status=250)
        assert sink.mails[0].tls


async def test_a_connection_that_was_closed_meanwhile_is_opened_anew(
    sink: SmtpSink,
) -> None:
    async with opened(destination(to(sink))) as sender:
        await sender.send("ops", rendered())
        sink.drop_connections()
        outcome = await sender.send("ops", rendered())

    assert outcome == Sent(status=250)
    assert sink.connections == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            "451 4.7.1 Greylisted, come back",
            Failed(reason="SMTP 451: 4.7.1 Greylisted, come back", status=451),
        ),
        (
            "550 5.1.1 mailbox unavailable",
            Refused(
                reason="SMTP 550: 5.1.1 mailbox unavailable",
                scope=Scope.MESSAGE,
                status=550,
            ),
        ),
        ("421 4.3.2 closing", Failed(reason="SMTP 421: 4.3.2 closing", status=421)),
        (DROP, Failed(reason="connection lost while sending")),
    ],
)
async def test_a_refused_recipient_has_an_outcome(
    sink: SmtpSink, reply: str, expected: Outcome
) -> None:
    sink.on_recipient(ANN, reply)

    assert await send_once(to(sink)) == expected
    assert sink.mails == []


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("452 4.2.2 full", Failed(reason="SMTP 452: 4.2.2 full", status=452)),
        (
            "554 5.7.1 spam",
            Refused(reason="SMTP 554: 5.7.1 spam", scope=Scope.MESSAGE, status=554),
        ),
        (DROP, Ambiguous(reason="connection lost after the request was sent")),
        (HANG, Ambiguous(reason="timed out after the request was sent")),
    ],
)
async def test_a_mail_that_was_sent_whole_has_an_outcome(
    sink: SmtpSink, reply: str, expected: Outcome
) -> None:
    sink.on_data(reply)

    with anyio.fail_after(3):
        assert await send_once(to(sink), attempt_limit=SHORT) == expected


async def test_greylisting_is_survived_with_the_same_connection(
    sink: SmtpSink,
) -> None:
    sink.on_recipient(ANN, "451 4.7.1 Greylisted", "250 OK")

    async with opened(destination(to(sink))) as sender:
        assert isinstance(await sender.send("ops", rendered()), Failed)
        assert await sender.send("ops", rendered()) == Sent(status=250)

    assert len(sink.mails) == 1
    assert sink.connections == 1


async def test_a_wrong_password_refuses_every_mail() -> None:
    with smtp_sink(logins={"me": "right"}) as sink:
        url = f"mailto://me:HUSHHUSH@{sink.netloc}?from=us@example.com&to={ANN}"
        outcome = await send_once(url)

    assert isinstance(outcome, Refused)
    assert outcome.scope is Scope.DESTINATION
    assert outcome.status == 535
    assert "HUSHHUSH" not in outcome.reason


async def test_a_login_that_fails_for_now_is_tried_again() -> None:
    with smtp_sink(logins={"me": "right"}) as sink:
        sink.on_login("454 4.7.0 Temporary authentication failure")
        url = f"mailto://me:right@{sink.netloc}?from=us@example.com&to={ANN}"
        outcome = await send_once(url)

    assert isinstance(outcome, Failed)
    assert outcome.status == 454


async def test_a_server_that_wants_a_login_refuses_every_mail() -> None:
    with smtp_sink(logins={"me": "right"}) as sink:
        outcome = await send_once(to(sink))

    assert isinstance(outcome, Refused)
    assert outcome.scope is Scope.DESTINATION
    assert outcome.status == 530


async def test_a_server_without_logins_refuses_every_mail(sink: SmtpSink) -> None:
    url = f"mailto://me:right@{sink.netloc}?from=us@example.com&to={ANN}"

    assert await send_once(url) == Refused(
        reason="the server offers no login", scope=Scope.DESTINATION
    )


async def test_a_server_without_starttls_gets_no_mail(sink: SmtpSink) -> None:
    url = f"mailtos://{sink.netloc}?from=us@example.com&to={ANN}"

    assert await send_once(url) == Refused(
        reason="the server offers no STARTTLS", scope=Scope.DESTINATION
    )
    assert sink.mails == []


async def test_a_stranger_with_a_certificate_gets_no_mail() -> None:
    with smtp_sink(tls=Authority()) as sink:
        url = f"mailtos://{sink.netloc}?from=us@example.com&to={ANN}"

        assert await send_once(url) == Refused(
            reason="certificate not trusted", scope=Scope.DESTINATION
        )
        assert await send_once(f"{url}&verify=no") == Sent(status=250)


async def test_a_server_that_is_away_is_tried_again() -> None:
    url = f"mailto://127.0.0.1:{closed_port()}?from=us@example.com&to={ANN}"

    assert await send_once(url) == Failed(reason="connection refused")


async def test_a_server_that_never_greets_got_nothing() -> None:
    with http_sink() as silent:
        silent.answer("/", Hang())
        url = f"mailto://{silent.netloc}?from=us@example.com&to={ANN}"
        with anyio.fail_after(3):
            outcome = await send_once(url, attempt_limit=SHORT)

    assert outcome == Failed(reason="timed out while connecting")


async def test_a_reply_that_repeats_the_address_does_not_tell_it(
    sink: SmtpSink,
) -> None:
    sink.on_recipient(ANN, f"550 5.1.1 <{ANN}> unknown")

    outcome = await send_once(to(sink))

    assert isinstance(outcome, Refused)
    assert outcome.reason == "SMTP 550: 5.1.1 <***> unknown"
