"""What was seen on the wire, and what it means."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent
from notifier.senders import outcomes
from notifier.senders.attempt import (
    HttpAnswer,
    NoAnswer,
    Observation,
    Phase,
    SmtpReply,
    SmtpStage,
    TransportError,
    no_answer,
)
from notifier.senders.outcomes import (
    ErrorReader,
    confirms_success,
    evaluate_attempt,
    partial_outcome,
    retry_hint,
)
from notifier.senders.service_errors import slack, telegram

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def outcome_of(seen: Observation, read_error: ErrorReader | None = None) -> Outcome:
    return outcomes.outcome_of(seen, now=NOW, read_error=read_error)


def refused(outcome: Outcome) -> Scope:
    assert isinstance(outcome, Refused)
    return outcome.scope


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_sent(status: int) -> None:
    assert outcome_of(HttpAnswer(status=status)) == Sent(status=status)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 507, 599])
def test_a_service_in_trouble_may_take_it_later(status: int) -> None:
    outcome = outcome_of(HttpAnswer(status=status))

    assert outcome == Failed(reason=f"HTTP {status}", status=status)


@pytest.mark.parametrize("status", [400, 409, 413, 414, 415, 422, 431])
def test_a_refused_text_says_nothing_about_the_destination(status: int) -> None:
    assert refused(outcome_of(HttpAnswer(status=status))) is Scope.MESSAGE


@pytest.mark.parametrize(
    "status", [301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 418, 451]
)
def test_a_wrong_address_or_login_refuses_every_message(status: int) -> None:
    assert refused(outcome_of(HttpAnswer(status=status))) is Scope.DESTINATION


def test_gone_is_for_good() -> None:
    assert refused(outcome_of(HttpAnswer(status=410))) is Scope.GONE


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        (TransportError.NAME, Failed),
        (TransportError.REFUSED, Failed),
        (TransportError.UNREACHABLE, Failed),
        (TransportError.CONNECT_TIMEOUT, Failed),
        (TransportError.TLS, Failed),
        (TransportError.SENDING, Failed),
        (TransportError.SENDING_TIMEOUT, Failed),
        (TransportError.ATTEMPT_LIMIT, Failed),
        (TransportError.CERTIFICATE, Refused),
        (TransportError.FORBIDDEN, Refused),
        (TransportError.NO_STARTTLS, Refused),
        (TransportError.NO_LOGIN, Refused),
        (TransportError.ANSWER_TIMEOUT, Ambiguous),
        (TransportError.DROPPED, Ambiguous),
        (TransportError.ANSWER_CUT, Ambiguous),
    ],
)
def test_only_a_written_request_leaves_doubt(why: TransportError, kind: type) -> None:
    outcome = outcome_of(NoAnswer(why))

    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Sent)
    assert outcome.reason == why.value


def test_every_break_has_an_outcome_that_was_thought_of() -> None:
    test = test_only_a_written_request_leaves_doubt
    listed = {row[0] for row in test.pytestmark[0].args[1]}  # type: ignore[attr-defined] # pytest puts it there

    assert listed == set(TransportError)


@pytest.mark.parametrize(
    ("stage", "code", "expected"),
    [
        (SmtpStage.RECIPIENT, 450, "later"),
        (SmtpStage.RECIPIENT, 550, Scope.MESSAGE),
        (SmtpStage.DATA, 451, "later"),
        (SmtpStage.DATA, 554, Scope.MESSAGE),
        (SmtpStage.DATA, 552, Scope.MESSAGE),
        (SmtpStage.LOGIN, 535, Scope.DESTINATION),
        (SmtpStage.LOGIN, 534, Scope.DESTINATION),
        (SmtpStage.LOGIN, 454, "later"),
        (SmtpStage.SENDER, 530, Scope.DESTINATION),
        (SmtpStage.SENDER, 553, Scope.DESTINATION),
        (SmtpStage.SENDER, 552, Scope.MESSAGE),
        (SmtpStage.SENDER, 421, "later"),
        (SmtpStage.CONNECT, 554, Scope.DESTINATION),
        (SmtpStage.CONNECT, 421, "later"),
    ],
)
def test_a_mail_server_means_by_its_code_what_the_step_makes_of_it(
    stage: SmtpStage, code: int, expected: Scope | str
) -> None:
    outcome = outcome_of(SmtpReply(stage=stage, code=code, text="5.1.1 said\r\nso"))

    if expected == "later":
        assert outcome == Failed(reason=f"SMTP {code}: 5.1.1 said so", status=code)
    else:
        assert refused(outcome) is expected


def test_a_long_or_dirty_reply_becomes_one_short_line() -> None:
    reply = SmtpReply(stage=SmtpStage.DATA, code=451, text="try\x1b[31m\r\nlater " + "x" * 999)

    outcome = outcome_of(reply)

    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("SMTP 451: try [31m later xxx")
    assert len(outcome.reason) < 140
    assert outcome.reason.isprintable()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("-3", 0.0),
        ("99999999999", 86400.0),
    ],
)
def test_a_service_says_how_long_to_wait_in_seconds_or_as_a_date(
    header: str, seconds: float
) -> None:
    hint = retry_hint(HttpAnswer(status=429, retry_after=header), now=NOW)

    assert hint == timedelta(seconds=seconds)


@pytest.mark.parametrize("header", ["", "soon", "nan", "inf", "1e999", "Sun, 99 Nov"])
def test_a_hint_that_is_none_is_ignored(header: str) -> None:
    assert retry_hint(HttpAnswer(status=503, retry_after=header), now=NOW) is None


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"message": "rate limited", "retry_after": 1.25}', 1.25),
        (b'{"ok": false, "parameters": {"retry_after": 5}}', 5.0),
        (b'{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}', 1.5),
    ],
)
def test_discord_telegram_and_matrix_say_it_in_the_body(body: bytes, seconds: float) -> None:
    outcome = outcome_of(HttpAnswer(status=429, body=body))

    assert outcome == Failed(reason="HTTP 429", status=429, retry_after=timedelta(seconds=seconds))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"retry_after": true}',
        b'{"retry_after": 1e999}',
        b"\xff\x00",
    ],
)
def test_a_body_without_a_hint_gives_none(body: bytes) -> None:
    assert retry_hint(HttpAnswer(status=429, body=body), now=NOW) is None


@given(st.binary(max_size=200), st.text(max_size=40), st.integers(200, 599))
def test_no_answer_can_upset_the_judge(body: bytes, header: str, status: int) -> None:
    answer = HttpAnswer(status=status, retry_after=header, body=body)

    for read_error in (None, slack, telegram):
        outcome = outcome_of(answer, read_error)
        if isinstance(outcome, Failed) and outcome.retry_after is not None:
            assert timedelta(0) <= outcome.retry_after <= timedelta(days=1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"ok", "sent"),
        (200, b'{"ok": true, "ts": "1"}', "sent"),
        (200, b'{"ok": false, "error": "invalid_auth"}', Scope.DESTINATION),
        (200, b'{"ok": false, "error": "channel_not_found"}', Scope.DESTINATION),
        (200, b'{"ok": false, "error": "msg_too_long"}', Scope.MESSAGE),
        (200, b'{"ok": false, "error": "ratelimited"}', "later"),
        (200, b'{"ok": false}', Scope.MESSAGE),
        (200, b'{"ok": false, "error": "bad TOKENS"}', Scope.MESSAGE),
        (400, b"invalid_token", Scope.DESTINATION),
        (400, b"invalid_payload", Scope.MESSAGE),
        (403, b"action_prohibited", Scope.DESTINATION),
        (404, b"no_service", Scope.DESTINATION),
        (410, b"channel_is_archived", Scope.DESTINATION),
        (500, b"rollup_error", "later"),
        (503, b"<html>", "later"),
    ],
)
def test_slack_is_understood(status: int, body: bytes, expected: Scope | str) -> None:
    outcome = outcome_of(HttpAnswer(status=status, body=body), slack)

    if expected == "sent":
        assert outcome == Sent(status=200)
    elif expected == "later":
        assert isinstance(outcome, Failed)
    else:
        assert refused(outcome) is expected


def test_slacks_word_is_the_reason() -> None:
    outcome = outcome_of(HttpAnswer(status=400, body=b"invalid_blocks"), slack)

    assert outcome == Refused(reason="Slack: invalid_blocks", scope=Scope.MESSAGE, status=400)


def test_telegrams_unknown_chat_is_no_fault_of_the_message() -> None:
    body = b'{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}'

    outcome = outcome_of(HttpAnswer(status=400, body=body), telegram)

    assert outcome == Refused(
        reason="Telegram: chat not found", scope=Scope.DESTINATION, status=400
    )


def judged(
    *seen: Observation,
    accepted: bool = False,
    read_error: ErrorReader | None = None,
) -> Outcome | None:
    return evaluate_attempt(seen, accepted=accepted, now=NOW, read_error=read_error)


OK = HttpAnswer(status=200)


def test_a_plugin_that_followed_a_redirect_has_sent_nothing() -> None:
    outcome = judged(HttpAnswer(status=302), OK, accepted=True)

    assert outcome is not None
    assert refused(outcome) is Scope.DESTINATION


def test_a_200_that_says_no_is_not_sent_even_if_the_plugin_takes_it() -> None:
    said_no = HttpAnswer(status=200, body=b'{"ok":false,"error":"bad TOKENS"}')

    assert isinstance(judged(said_no, accepted=True, read_error=slack), Refused)


def test_a_plugin_that_recovered_by_itself_has_sent() -> None:
    assert judged(HttpAnswer(status=401), OK, accepted=True) == Sent(status=200)


def test_a_plugin_that_had_nobody_left_to_serve_has_sent() -> None:
    assert judged(accepted=True) == Sent()


def test_an_accepted_message_whose_every_answer_was_bad_is_not_sent() -> None:
    assert isinstance(judged(HttpAnswer(status=503), accepted=True), Failed)


def test_doubt_outweighs_everything() -> None:
    outcome = judged(
        HttpAnswer(status=404), NoAnswer(TransportError.ANSWER_TIMEOUT), HttpAnswer(status=503)
    )

    assert outcome == Ambiguous(reason="timed out after the request was sent")


def test_what_may_come_later_outweighs_a_refusal() -> None:
    assert isinstance(judged(HttpAnswer(status=400), HttpAnswer(status=503)), Failed)


ANN, BOTH = frozenset({"rcp_ANN"}), frozenset({"rcp_ANN", "rcp_BOB"})
NOBODY = frozenset[str]()


@pytest.mark.parametrize("before", [NOBODY, ANN])
@pytest.mark.parametrize(
    "outcome",
    [
        Failed(reason="HTTP 503", status=503, retry_after=timedelta(seconds=9)),
        Ambiguous(reason="HTTP 503"),
    ],
)
def test_a_message_that_some_have_is_sent_as_it_is_to_the_others(
    outcome: Outcome, before: frozenset[str]
) -> None:
    assert partial_outcome(outcome, before=before, after=ANN) == Ambiguous(
        reason="partly sent; HTTP 503",
        served=ANN,
        # What surely failed for the others leaves no doubt about them.
        unsure=isinstance(outcome, Ambiguous),
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_a_refusal_beside_a_success_is_that_of_one_recipient(scope: Scope) -> None:
    outcome = Refused(reason="HTTP 404", scope=scope, status=404)

    assert partial_outcome(outcome, before=ANN, after=BOTH) == Refused(
        reason="partly sent; HTTP 404", scope=Scope.MESSAGE, status=404, served=BOTH
    )


@pytest.mark.parametrize("scope", list(Scope))
def test_a_refusal_without_a_success_reaches_as_far_as_ever(scope: Scope) -> None:
    outcome = Refused(reason="HTTP 401", scope=scope, status=401)

    assert partial_outcome(outcome, before=ANN, after=ANN) == Refused(
        reason="partly sent; HTTP 401", scope=scope, status=401, served=ANN
    )


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(reason="HTTP 503"),
        Ambiguous(reason="HTTP 503"),
        Refused(reason="HTTP 400", scope=Scope.MESSAGE),
    ],
)
def test_what_nobody_has_is_judged_alone(outcome: Outcome) -> None:
    assert partial_outcome(outcome, before=NOBODY, after=NOBODY) == outcome


def test_what_everybody_has_is_sent() -> None:
    assert partial_outcome(Sent(), before=ANN, after=BOTH) == Sent()


@pytest.mark.parametrize(
    ("seen", "taken"),
    [
        ([], True),
        ([OK], True),
        ([HttpAnswer(status=503), OK], True),
        ([HttpAnswer(status=200, body=b'{"ok":false,"error":"no"}'), OK], True),
        ([OK, HttpAnswer(status=503)], False),
        ([HttpAnswer(status=302), OK], False),
        ([HttpAnswer(status=200, body=b'{"ok":false,"error":"bad TOKENS"}')], False),
    ],
)
def test_a_plugin_is_believed_if_the_last_answer_was_a_yes(
    seen: list[Observation], taken: bool
) -> None:
    assert confirms_success(seen, now=NOW, read_error=slack) is taken


def test_a_200_that_the_plugin_does_not_take_is_no_success() -> None:
    outcome = judged(HttpAnswer(status=200, body=b"<html>Log in to the hotel's Wi-Fi"))

    assert outcome == Refused(reason="HTTP 200, but not taken as a success", scope=Scope.MESSAGE)


@pytest.mark.parametrize(
    ("cause", "phase", "why"),
    [
        (socket.gaierror(-2, "x"), Phase.CONNECTING, TransportError.NAME),
        (ConnectionRefusedError(), Phase.CONNECTING, TransportError.REFUSED),
        (TimeoutError(), Phase.CONNECTING, TransportError.CONNECT_TIMEOUT),
        (ssl.SSLCertVerificationError(), Phase.CONNECTING, TransportError.CERTIFICATE),
        (ssl.SSLError(), Phase.CONNECTING, TransportError.TLS),
        (OSError(113, "no route"), Phase.CONNECTING, TransportError.UNREACHABLE),
        (BrokenPipeError(), Phase.SENDING, TransportError.SENDING),
        (TimeoutError(), Phase.SENDING, TransportError.SENDING_TIMEOUT),
        (ConnectionResetError(), Phase.WAITING, TransportError.DROPPED),
        (TimeoutError(), Phase.WAITING, TransportError.ANSWER_TIMEOUT),
    ],
)
def test_a_break_is_read_from_the_cause_and_the_phase(
    cause: Exception, phase: Phase, why: TransportError
) -> None:
    wrapped = requests.ConnectionError(ExceptionGroup("all", [cause]))

    assert no_answer(cause, phase) == NoAnswer(why)
    assert no_answer(wrapped, phase) == NoAnswer(why)


def test_an_exception_that_caused_itself_is_read_all_the_same() -> None:
    one, two = OSError("one"), OSError("two")
    one.__cause__, two.__cause__ = two, one

    assert no_answer(one, Phase.CONNECTING) == NoAnswer(TransportError.UNREACHABLE)


def test_httpx_still_makes_all_its_transport_errors_one_family() -> None:
    network = [httpx.TransportError, *_below(httpx.TransportError)]

    assert len(network) > 10
    assert all(issubclass(one, httpx.HTTPError) for one in network)


def _below(kind: type) -> list[type]:
    subclasses: list[type] = kind.__subclasses__()
    return [one for sub in subclasses for one in (sub, *_below(sub))]
