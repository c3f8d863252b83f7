"""From what was observed on the network to the outcome of an attempt."""

import socket
import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
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
OK = HttpAnswer(status=200)
FALSE_OK = HttpAnswer(status=200, body=b'{"ok":false,"error":"bad TOKENS"}')


def outcome_of(observation: Observation, read_error: ErrorReader | None = None) -> Outcome:
    return outcomes.outcome_of(observation, now=NOW, read_error=read_error)


@pytest.mark.parametrize(
    ("statuses", "kind", "scope"),
    [
        ([200, 201, 202, 204], Sent, None),
        ([408, 425, 429, 500, 501, 502, 503, 504, 507, 599], Failed, None),
        ([400, 409, 413, 414, 415, 422, 431], Refused, Scope.MESSAGE),
        (
            [301, 302, 303, 307, 308, 401, 402, 403, 404, 405, 407, 418, 451],
            Refused,
            Scope.DESTINATION,
        ),
        ([410], Refused, Scope.GONE),
    ],
)
def test_an_http_status_has_its_outcome(
    statuses: list[int], kind: type, scope: Scope | None
) -> None:
    for status in statuses:
        outcome = outcome_of(HttpAnswer(status=status))

        assert isinstance(outcome, kind)
        assert getattr(outcome, "status", None) == status
        assert getattr(outcome, "scope", None) is scope


#: Only a request that was written leaves a doubt.
TRANSPORT_ERRORS = {
    TransportError.NAME: Failed,
    TransportError.REFUSED: Failed,
    TransportError.UNREACHABLE: Failed,
    TransportError.CONNECT_TIMEOUT: Failed,
    TransportError.TLS: Failed,
    TransportError.SENDING: Failed,
    TransportError.SENDING_TIMEOUT: Failed,
    TransportError.ATTEMPT_LIMIT: Failed,
    TransportError.CERTIFICATE: Refused,
    TransportError.FORBIDDEN: Refused,
    TransportError.NO_STARTTLS: Refused,
    TransportError.NO_LOGIN: Refused,
    TransportError.ANSWER_TIMEOUT: Ambiguous,
    TransportError.DROPPED: Ambiguous,
    TransportError.ANSWER_CUT: Ambiguous,
}


@pytest.mark.parametrize("error", list(TransportError))
def test_a_transport_error_has_its_outcome(error: TransportError) -> None:
    outcome = outcome_of(NoAnswer(error))

    assert type(outcome) is TRANSPORT_ERRORS[error]
    assert not isinstance(outcome, Sent)
    assert outcome.reason == error.value


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
def test_an_smtp_code_means_what_its_stage_makes_of_it(
    stage: SmtpStage, code: int, expected: Scope | str
) -> None:
    outcome = outcome_of(SmtpReply(stage=stage, code=code, text="5.1.1 no\r\nmore"))

    reason = f"SMTP {code}: 5.1.1 no more"
    if isinstance(expected, Scope):
        assert outcome == Refused(reason=reason, scope=expected, status=code)
    else:
        assert outcome == Failed(reason=reason, status=code)


def test_a_long_or_dirty_reply_becomes_one_short_line() -> None:
    text = "try\x1b[31m\r\nlater " + "x" * 999
    outcome = outcome_of(SmtpReply(stage=SmtpStage.DATA, code=451, text=text))

    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("SMTP 451: try [31m later xxx")
    assert len(outcome.reason) < 140
    assert outcome.reason.isprintable()


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (HttpAnswer(status=429, retry_after="7"), 7.0),
        (HttpAnswer(status=429, retry_after="0.5"), 0.5),
        (HttpAnswer(status=429, retry_after="Sun, 22 Nov 2026 12:00:30 GMT"), 30.0),
        (HttpAnswer(status=429, retry_after="Sun, 22 Nov 2026 11:00:00 GMT"), 0.0),
        (HttpAnswer(status=429, retry_after="-3"), 0.0),
        (HttpAnswer(status=429, retry_after="99999999999"), 86400.0),
        (HttpAnswer(status=429, body=b'{"message": "limited", "retry_after": 1.25}'), 1.25),
        (HttpAnswer(status=429, body=b'{"ok": false, "parameters": {"retry_after": 5}}'), 5.0),
        (HttpAnswer(status=429, body=b'{"errcode": "M", "retry_after_ms": 1500}'), 1.5),
    ],
)
def test_a_retry_hint_is_read_from_the_header_or_the_body(
    answer: HttpAnswer, seconds: float
) -> None:
    assert outcome_of(answer) == Failed(
        reason="HTTP 429", status=429, retry_after=timedelta(seconds=seconds)
    )


@pytest.mark.parametrize("header", ["", "soon", "nan", "inf", "1e999", "Sun, 99 Nov", None])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"retry_after": true}',
        b'{"retry_after": 1e999}',
        b'{"retry_after": 1' + b"0" * 400 + b"}",
        b"\xff\x00",
    ],
)
def test_a_retry_hint_that_is_none_is_ignored(header: str | None, body: bytes) -> None:
    assert retry_hint(HttpAnswer(status=503, retry_after=header, body=body), now=NOW) is None


@given(st.binary(max_size=200), st.text(max_size=40), st.integers(200, 599))
def test_every_answer_has_an_outcome(body: bytes, header: str, status: int) -> None:
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
def test_slacks_errors_are_understood(status: int, body: bytes, expected: Scope | str) -> None:
    outcome = outcome_of(HttpAnswer(status=status, body=body), slack)

    if isinstance(expected, Scope):
        assert isinstance(outcome, Refused)
        assert outcome.scope is expected
        assert outcome.reason.startswith("Slack: ")
    else:
        assert isinstance(outcome, Sent if expected == "sent" else Failed)


def test_telegrams_unknown_chat_is_the_destinations_fault() -> None:
    body = b'{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}'

    outcome = outcome_of(HttpAnswer(status=400, body=body), telegram)

    assert outcome == Refused(
        reason="Telegram: chat not found", scope=Scope.DESTINATION, status=400
    )


DESTINATION_302 = outcome_of(HttpAnswer(status=302))
TIMEOUT = NoAnswer(TransportError.ANSWER_TIMEOUT)


@pytest.mark.parametrize(
    ("accepted", "observations", "expected"),
    [
        (True, [], Sent()),
        (True, [HttpAnswer(status=401), OK], Sent(status=200)),
        (True, [HttpAnswer(status=302), OK], DESTINATION_302),
        (True, [FALSE_OK], outcome_of(FALSE_OK, slack)),
        (True, [HttpAnswer(status=503)], Failed(reason="HTTP 503", status=503)),
        (False, [], None),
        (
            False,
            [HttpAnswer(status=404), TIMEOUT, HttpAnswer(status=503)],
            Ambiguous(reason="timed out after the request was sent"),
        ),
        (
            False,
            [HttpAnswer(status=400), HttpAnswer(status=503)],
            Failed(reason="HTTP 503", status=503),
        ),
        (
            False,
            [HttpAnswer(status=200, body=b"<html>Log in to the hotel's Wi-Fi")],
            Refused(reason="HTTP 200, but not taken as a success", scope=Scope.MESSAGE),
        ),
    ],
    ids=[
        "nothing was left to send",
        "the plugin logged in again",
        "the plugin followed a redirect",
        "a 200 that holds an error",
        "accepted in spite of a 503",
        "refused before it was sent",
        "a doubt outranks all",
        "a failure outranks a refusal",
        "a 200 that the plugin does not take",
    ],
)
def test_an_attempt_of_several_requests_has_one_outcome(
    accepted: bool, observations: list[Observation], expected: Outcome | None
) -> None:
    outcome = evaluate_attempt(observations, accepted=accepted, now=NOW, read_error=slack)

    assert outcome == expected


@pytest.mark.parametrize(
    ("observations", "confirmed"),
    [
        ([], True),
        ([OK], True),
        ([HttpAnswer(status=503), OK], True),
        ([FALSE_OK, OK], True),
        ([OK, HttpAnswer(status=503)], False),
        ([HttpAnswer(status=302), OK], False),
        ([FALSE_OK], False),
    ],
)
def test_the_last_answer_confirms_a_served_recipient(
    observations: list[Observation], confirmed: bool
) -> None:
    assert confirms_success(observations, now=NOW, read_error=slack) is confirmed


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
def test_a_message_that_some_have_is_sent_unchanged_to_the_others(
    outcome: Outcome, before: frozenset[str]
) -> None:
    assert partial_outcome(outcome, before=before, after=ANN) == Ambiguous(
        reason="partly sent; HTTP 503",
        delivered_to=ANN,
        # What surely failed for the others leaves no doubt about them.
        unsure=isinstance(outcome, Ambiguous),
    )


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("after", [ANN, BOTH])
def test_a_refusal_beside_a_success_is_that_of_one_recipient(
    scope: Scope, after: frozenset[str]
) -> None:
    outcome = Refused(reason="HTTP 404", scope=scope, status=404)

    assert partial_outcome(outcome, before=ANN, after=after) == Refused(
        reason="partly sent; HTTP 404",
        scope=Scope.MESSAGE if after == BOTH else scope,
        status=404,
        delivered_to=after,
    )


def test_an_outcome_for_all_or_for_nobody_stays_as_it_is() -> None:
    for outcome in (
        Failed(reason="HTTP 503"),
        Ambiguous(reason="HTTP 503"),
        Refused(reason="HTTP 400", scope=Scope.MESSAGE),
    ):
        assert partial_outcome(outcome, before=NOBODY, after=NOBODY) == outcome
    assert partial_outcome(Sent(), before=ANN, after=BOTH) == Sent()


@pytest.mark.parametrize(
    ("cause", "phase", "error"),
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
def test_a_transport_error_is_read_from_the_cause_and_the_phase(
    cause: Exception, phase: Phase, error: TransportError
) -> None:
    by_requests = requests.ConnectionError(ExceptionGroup("all", [cause]))
    by_aiohttp = aiohttp.ClientConnectionError()
    by_aiohttp.__cause__ = cause

    for exc in (cause, by_requests, by_aiohttp):
        assert no_answer(exc, phase) == NoAnswer(error)


def test_exceptions_that_caused_each_other_are_read_all_the_same() -> None:
    one, two = OSError("one"), OSError("two")
    one.__cause__, two.__cause__ = two, one

    assert no_answer(one, Phase.CONNECTING) == NoAnswer(TransportError.UNREACHABLE)


def test_all_exceptions_of_aiohttp_have_one_base() -> None:
    """The webhook channel catches aiohttp.ClientError and OSError."""
    raised = [one for one in vars(aiohttp).values() if isinstance(one, type)]
    errors = [one for one in raised if issubclass(one, Exception) and "Client" in one.__name__]

    assert len(errors) > 10
    assert all(issubclass(one, aiohttp.ClientError) for one in errors)
