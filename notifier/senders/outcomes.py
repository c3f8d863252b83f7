"""
From observations to the outcome of an attempt. Pure.

`outcome_of` evaluates one observation, `evaluate_attempt` an attempt of several
requests: a doubtful delivery outranks a failure, and a failure outranks a refusal, so
that no message is lost and none is repeated needlessly. `partial_outcome` corrects the
outcome where some of several recipients have the message.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias, assert_never

import msgspec

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent
from notifier.senders.attempt import (
    HttpAnswer,
    NoAnswer,
    Observation,
    SmtpReply,
    SmtpStage,
    TransportError,
)

#: Reads a service's own error codes; None: the HTTP status says it all.
ErrorReader: TypeAlias = Callable[[HttpAnswer, timedelta | None], Outcome | None]

#: HTTP: try again later; nothing is wrong with the message or the destination.
_TRANSIENT = frozenset({408, 423, 424, 425, 429})
#: HTTP: this message is refused, another may not be. 409: the receiver has it already.
_BAD_MESSAGE = frozenset({400, 409, 413, 414, 415, 422, 431})
_GONE = 410
_LONGEST_HINT = timedelta(days=1)
_LARGEST_NUMBER = 1e15
_TEXT_KEPT = 120

#: SMTP: log in first, or differently.
_AUTHENTICATION = frozenset({530, 534, 535, 538})
#: SMTP: too big, the message's fault even as an answer to MAIL FROM.
_TOO_BIG = frozenset({552, 523})

_NOTHING_ARRIVED = frozenset(
    {
        TransportError.NAME,
        TransportError.REFUSED,
        TransportError.UNREACHABLE,
        TransportError.CONNECT_TIMEOUT,
        TransportError.TLS,
        TransportError.SENDING,
        TransportError.SENDING_TIMEOUT,
        TransportError.ATTEMPT_LIMIT,
    }
)
_BAD_DESTINATION = frozenset(
    {
        TransportError.CERTIFICATE,
        TransportError.FORBIDDEN,
        TransportError.NO_STARTTLS,
        TransportError.NO_LOGIN,
    }
)


def evaluate_attempt(
    observations: Sequence[Observation],
    *,
    accepted: bool,
    now: datetime,
    read_error: ErrorReader | None = None,
) -> Outcome | None:
    """
    The outcome of one attempt.

    `accepted` is what Apprise's plugin returned. None: it returned False, and nothing
    was observed.
    """
    outcomes = [outcome_of(one, now=now, read_error=read_error) for one in observations]
    if not outcomes:
        return Sent() if accepted else None
    sent = [one for one in outcomes if isinstance(one, Sent)]
    if not accepted:
        if len(sent) < len(outcomes):
            return max(outcomes, key=_rank)
        protocol = "HTTP" if isinstance(observations[-1], HttpAnswer) else "SMTP"
        reason = f"{protocol} {sent[-1].status}, but not taken as a success"
        return Refused(reason=reason, scope=Scope.MESSAGE)
    # A plugin may take the target of a redirect, or a 200 that holds an error, for a success.
    false_successes = [
        outcome
        for one, outcome in zip(observations, outcomes, strict=True)
        if isinstance(one, HttpAnswer) and one.status < 400  # noqa: PLR2004 - HTTP's own
        if not isinstance(outcome, Sent)
    ]
    if false_successes:
        return max(false_successes, key=_rank)
    return sent[-1] if sent else max(outcomes, key=_rank)


def partial_outcome(outcome: Outcome, *, before: frozenset[str], after: frozenset[str]) -> Outcome:
    """
    The outcome of an attempt, given the recipients who have the message.

    `before` and `after` are their marks before the attempt and since. Once some have
    it, the others must get the very same message under its id, so the outcome is never
    Failed, which lets other deliveries join the message. A refusal stays one; beside a
    success in the same attempt it is the recipient's, not the destination's.
    """
    if isinstance(outcome, Sent) or not after:
        return outcome
    reason = f"partly sent; {outcome.reason}"
    if isinstance(outcome, Refused):
        scope = Scope.MESSAGE if after > before else outcome.scope
        return replace(outcome, reason=reason, scope=scope, delivered_to=after)
    unsure = isinstance(outcome, Ambiguous)
    return Ambiguous(reason=reason, delivered_to=after, unsure=unsure)


def confirms_success(
    observations: Sequence[Observation],
    *,
    now: datetime,
    read_error: ErrorReader | None = None,
) -> bool:
    """Whether the last answer confirms a plugin that reports a recipient as served."""
    if not observations:
        return True  # the plugin sends by means that are not observed
    redirected = any(
        isinstance(one, HttpAnswer) and 300 <= one.status < 400  # noqa: PLR2004 - HTTP's own
        for one in observations[-2:-1]
    )
    last = outcome_of(observations[-1], now=now, read_error=read_error)
    return isinstance(last, Sent) and not redirected


def outcome_of(
    observation: Observation, *, now: datetime, read_error: ErrorReader | None = None
) -> Outcome:
    """The outcome of one request."""
    match observation:
        case HttpAnswer():
            hint = retry_hint(observation, now=now)
            specific = read_error(observation, hint) if read_error is not None else None
            return specific or outcome_of_status(observation.status, hint)
        case SmtpReply():
            return _outcome_of_reply(observation)
        case NoAnswer(error):
            if error in _NOTHING_ARRIVED:
                return Failed(reason=error.value)
            if error in _BAD_DESTINATION:
                return Refused(reason=error.value, scope=Scope.DESTINATION)
            return Ambiguous(reason=error.value)
        case _:
            assert_never(observation)


def outcome_of_status(status: int, hint: timedelta | None) -> Outcome:
    """What an HTTP status means by itself."""
    reason = f"HTTP {status}"
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own
        return Sent(status=status)
    if status in _TRANSIENT or status >= 500:  # noqa: PLR2004 - HTTP's own
        return Failed(reason=reason, status=status, retry_after=hint)
    if status in _BAD_MESSAGE:
        return Refused(reason=reason, scope=Scope.MESSAGE, status=status)
    if status == _GONE:
        return Refused(reason=reason, scope=Scope.GONE, status=status)
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own
        reason = f"HTTP {status}: redirects are not followed"
    return Refused(reason=reason, scope=Scope.DESTINATION, status=status)


def retry_hint(answer: HttpAnswer, *, now: datetime) -> timedelta | None:
    """
    How long the service asks to wait, at most a day.

    From `Retry-After` in seconds or as a date, else from the body: `retry_after`
    (Discord, seconds), `parameters.retry_after` (Telegram), `retry_after_ms`
    (Matrix).
    """
    seconds: float | None = None
    if answer.retry_after is not None:
        seconds = _header_seconds(answer.retry_after, now=now)
    elif answer.status in _TRANSIENT or answer.status >= 500:  # noqa: PLR2004 - HTTP's own
        seconds = _body_seconds(answer.body)
    if seconds is None or not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(0.0, seconds), _LONGEST_HINT.total_seconds()))


def json_object(body: bytes) -> Mapping[str, object]:
    """The JSON object in a body; empty if there is none."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _rank(outcome: Outcome) -> int:
    match outcome:
        case Ambiguous():
            return 5
        case Failed():
            return 4
        case Refused(scope=scope):
            return {Scope.GONE: 3, Scope.DESTINATION: 2, Scope.MESSAGE: 1}[scope]
        case Sent():
            return 0
        case _:
            assert_never(outcome)


def _outcome_of_reply(reply: SmtpReply) -> Outcome:
    code = reply.code
    if 200 <= code < 300:  # noqa: PLR2004 - SMTP's own
        return Sent(status=code)
    printable = "".join(c if c.isprintable() else " " for c in reply.text)
    text = " ".join(printable.split())[:_TEXT_KEPT]
    reason = f"SMTP {code}: {text}" if text else f"SMTP {code}"
    if code < 500:  # noqa: PLR2004 - SMTP's own
        return Failed(reason=reason, status=code)
    scope = Scope.MESSAGE
    if code in _AUTHENTICATION or reply.stage in (SmtpStage.CONNECT, SmtpStage.LOGIN):
        scope = Scope.DESTINATION
    elif reply.stage is SmtpStage.SENDER and code not in _TOO_BIG:
        # The server knows only the sender's address yet: it refuses every message.
        scope = Scope.DESTINATION
    return Refused(reason=reason, scope=scope, status=code)


def _header_seconds(value: str, *, now: datetime) -> float | None:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return (until - now).total_seconds()


def _body_seconds(body: bytes) -> float | None:
    answer = json_object(body)
    parameters = answer.get("parameters")
    nested = parameters.get("retry_after") if isinstance(parameters, dict) else None
    for value, unit in (
        (answer.get("retry_after"), 1),
        (nested, 1),
        (answer.get("retry_after_ms"), 1000),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        # JSON holds integers that no float can hold.
        if abs(value) < _LARGEST_NUMBER:
            return float(value) / unit
    return None
