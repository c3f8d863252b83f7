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


def mail_to(address: str, *, scheme: str = "mailto", login: str = "", to: str = ANN) -> str:
    return f"{scheme}://{login}{address}?from=us@example.com&to={to}"


async def test_a_mail_arrives_in_html_and_in_text(sink: SmtpSink) -> None:
    message = rendered(body="<p>moved to <b>15:30</b></p>", format=Format.HTML)

    outcome = await send_once(mail_to(sink.netloc), message)

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


@pytest.mark.parametrize("body", [".\n..two\n. three\nend", "see\n\nMessage-ID: <a@b>\nend"])
async def test_a_text_arrives_as_it_is(sink: SmtpSink, body: str) -> None:
    async with opened(destination(mail_to(sink.netloc), format=Format.TEXT)) as sender:
        await sender.send("ops", rendered(body=body))

    text = sink.mails[0].message.get_content()
    assert text.replace("\r\n", "\n").strip() == body


async def test_a_title_with_line_breaks_adds_no_header(sink: SmtpSink) -> None:
    await send_once(mail_to(sink.netloc), rendered(title="Bears\r\nBcc: eve@example.com"))

    [mail] = sink.mails
    assert mail.recipients == (ANN,)
    assert "bcc" not in mail.message


async def test_a_repeated_mail_keeps_its_message_id(sink: SmtpSink) -> None:
    for message_id in ("msg_ONE", "msg_ONE", "msg_TWO"):
        # Each by a sender of its own, as after a restart.
        await send_once(mail_to(sink.netloc, to=f"{ANN},{BOB}"), rendered(message_id))

    ids = [mail.message["message-id"] for mail in sink.mails]
    assert [mail.recipients[0] for mail in sink.mails] == [ANN, BOB] * 3
    assert ids[:2] == ids[2:4]
    assert len(set(ids)) == 4
    assert all(one.startswith("<msg_ONE.") and one.endswith("@127.0.0.1>") for one in ids[:2])


async def test_mails_share_one_connection(sink: SmtpSink) -> None:
    async with opened(destination(mail_to(sink.netloc))) as sender:
        outcomes = [await sender.send("ops", rendered(f"m{n}")) for n in range(4)]

    assert outcomes == [Sent(status=250)] * 4
    assert len(sink.mails) == 4
    assert sink.connections == 1


@pytest.mark.parametrize("mode", ["starttls", "ssl"])
async def test_mails_share_one_connection_over_tls(mode: str) -> None:
    logins = {"me": "pa$$"} if mode == "starttls" else None
    with smtp_sink(tls=authority(), implicit_tls=mode == "ssl", logins=logins) as sink:
        login = "me:pa%24%24@" if logins else ""
        url = mail_to(sink.netloc, scheme="mailtos", login=login) + f"&mode={mode}"
        async with opened(destination(url)) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(3)]

        assert outcomes == [Sent(status=250)] * 3
        assert sink.connections == 1
        assert {(mail.tls, mail.login) for mail in sink.mails} == {
            (True, "me" if logins else None),
        }


async def test_a_closed_connection_is_opened_anew(sink: SmtpSink) -> None:
    async with opened(destination(mail_to(sink.netloc))) as sender:
        await sender.send("ops", rendered())
        sink.drop_connections()
        outcome = await sender.send("ops", rendered())

    assert outcome == Sent(status=250)
    assert sink.connections == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("451 4.7.1 Greylisted", Failed(reason="SMTP 451: 4.7.1 Greylisted", status=451)),
        (
            f"550 5.1.1 <{ANN}> unknown",
            # The address is a secret of the URL.
            Refused(reason="SMTP 550: 5.1.1 <***> unknown", scope=Scope.MESSAGE, status=550),
        ),
        ("421 4.3.2 closing", Failed(reason="SMTP 421: 4.3.2 closing", status=421)),
        (DROP, Failed(reason="connection lost while sending")),
    ],
)
async def test_a_refused_recipient_has_an_outcome(
    sink: SmtpSink, reply: str, expected: Outcome
) -> None:
    sink.on_recipient(ANN, reply)

    assert await send_once(mail_to(sink.netloc)) == expected
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
        assert await send_once(mail_to(sink.netloc), attempt_limit=SHORT) == expected


async def test_after_greylisting_the_same_connection_is_used(sink: SmtpSink) -> None:
    sink.on_recipient(ANN, "451 4.7.1 Greylisted", "250 OK")

    async with opened(destination(mail_to(sink.netloc))) as sender:
        assert isinstance(await sender.send("ops", rendered()), Failed)
        assert await sender.send("ops", rendered()) == Sent(status=250)

    assert len(sink.mails) == 1
    assert sink.connections == 1


@pytest.mark.parametrize(
    ("login", "reply", "kind", "status"),
    [
        ("me:HUSHHUSH@", None, Refused, 535),
        ("me:right@", "454 4.7.0 Temporary authentication failure", Failed, 454),
        ("", None, Refused, 530),
    ],
    ids=["a wrong password", "for now", "no login"],
)
async def test_a_login_that_fails_has_an_outcome(
    login: str, reply: str | None, kind: type, status: int
) -> None:
    with smtp_sink(logins={"me": "right"}) as sink:
        if reply is not None:
            sink.on_login(reply)
        outcome = await send_once(mail_to(sink.netloc, login=login))

    assert isinstance(outcome, Failed | Refused)
    assert isinstance(outcome, kind)
    assert outcome.status == status
    assert getattr(outcome, "scope", Scope.DESTINATION) is Scope.DESTINATION
    assert "HUSHHUSH" not in outcome.reason


@pytest.mark.parametrize(
    ("scheme", "login", "reason"),
    [
        ("mailto", "me:right@", "the server offers no login"),
        ("mailtos", "", "the server offers no STARTTLS"),
    ],
)
async def test_a_server_that_lacks_what_the_url_wants_gets_no_mail(
    sink: SmtpSink, scheme: str, login: str, reason: str
) -> None:
    outcome = await send_once(mail_to(sink.netloc, scheme=scheme, login=login))

    assert outcome == Refused(reason=reason, scope=Scope.DESTINATION)
    assert sink.mails == []


async def test_an_unknown_authority_is_trusted_only_with_verify_no() -> None:
    with smtp_sink(tls=Authority()) as sink:
        url = mail_to(sink.netloc, scheme="mailtos")

        assert await send_once(url) == Refused(
            reason="certificate not trusted", scope=Scope.DESTINATION
        )
        assert await send_once(f"{url}&verify=no") == Sent(status=250)


async def test_a_server_that_was_not_reached_received_nothing() -> None:
    refused = await send_once(mail_to(f"127.0.0.1:{closed_port()}"))
    with http_sink() as silent:
        silent.answer("/", Hang())
        with anyio.fail_after(3):
            timed_out = await send_once(mail_to(silent.netloc), attempt_limit=SHORT)

    assert refused == Failed(reason="connection refused")
    assert timed_out == Failed(reason="timed out while connecting")
