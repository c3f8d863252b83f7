"""
What the things seen on the wire mean. Pure.

One answer is judged alone by `of`; an attempt of several requests by `judge`:
what may have arrived outweighs what may arrive later, and that outweighs a
refusal, so that nobody is told twice and nobody is forgotten. `partly` judges
anew where some of several recipients have the message.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias, assert_never

import msgspec

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent
from notifier.senders.attempt import Answer, Break, Broken, Reply, Seen, Stage

#: What a service says in its own words; None: the status says it all.
Dialect: TypeAlias = Callable[[Answer, timedelta | None], Outcome | None]

#: Try again later: these say nothing about the message or the destination.
_LATER = frozenset({408, 423, 424, 425, 429})
#: This message will not do; another may. 409: the receiver knows it already.
_NOT_THIS = frozenset({400, 409, 413, 414, 415, 422, 431})
_GONE = 410
_LONGEST_HINT = timedelta(days=1)
_TEXT_KEPT = 120

#: 530, 534, 535, 538: log in first, or otherwise.
_NO_ENTRY = frozenset({530, 534, 535, 538})
#: 552, 523: too big, which is the message's fault even when said to MAIL FROM.
_TOO_BIG = frozenset({552, 523})

_NOTHING_ARRIVED = frozenset(
    {
        Break.NAME,
        Break.REFUSED,
        Break.UNREACHABLE,
        Break.CONNECT_TIMEOUT,
        Break.TLS,
        Break.SENDING,
        Break.SENDING_TIMEOUT,
        Break.LIMIT,
    }
)
_SET_UP_WRONGLY = frozenset({Break.CERTIFICATE, Break.FORBIDDEN, Break.NO_STARTTLS, Break.NO_LOGIN})


def judge(
    *,
    accepted: bool,
    seen: Sequence[Seen],
    now: datetime,
    dialect: Dialect | None = None,
) -> Outcome | None:
    """
    The outcome of one attempt that made the requests `seen`.

    `accepted` is what Apprise's plugin made of them. None: nothing was seen, and
    the plugin says no.
    """
    outcomes = [of(one, now=now, dialect=dialect) for one in seen]
    wrong = [one for one in outcomes if not isinstance(one, Sent)]
    if accepted:
        return _accepted(seen, outcomes)
    if wrong:
        return max(wrong, key=_weight)
    if outcomes:
        return Refused(
            reason=f"{_short(seen[-1])}, but not taken as a success",
            scope=Scope.MESSAGE,
        )
    return None


def partly(outcome: Outcome, *, before: frozenset[str], after: frozenset[str]) -> Outcome:
    """
    The outcome of an attempt, given who of several recipients has the message.

    `before` and `after` mark who had it before the attempt and who has it since.
    Once some have it, the rest must get the very same message under its id, so
    it is never Failed, which lets others join. A refusal remains one; but beside
    a success in the same attempt it is the recipient's, not the destination's.
    """
    if isinstance(outcome, Sent) or not after:
        return outcome
    reason = f"partly sent; {outcome.reason}"
    if isinstance(outcome, Refused):
        scope = Scope.MESSAGE if after > before else outcome.scope
        return replace(outcome, reason=reason, scope=scope, served=after)
    unsure = isinstance(outcome, Ambiguous)
    return Ambiguous(reason=reason, served=after, unsure=unsure)


def is_taken(seen: Sequence[Seen], *, now: datetime, dialect: Dialect | None = None) -> bool:
    """Whether the last thing seen bears out a plugin that says: this one has it."""
    if not seen:
        return True  # the plugin speaks by ways that are not watched
    if any(isinstance(one, Answer) and _is_redirect(one) for one in seen[-2:-1]):
        return False
    return isinstance(of(seen[-1], now=now, dialect=dialect), Sent)


def of(seen: Seen, *, now: datetime, dialect: Dialect | None = None) -> Outcome:
    """The outcome of one request."""
    match seen:
        case Answer():
            hint = retry_hint(seen, now=now)
            said = dialect(seen, hint) if dialect is not None else None
            return said or of_status(seen.status, hint)
        case Reply():
            return _of_reply(seen)
        case Broken(why):
            return _of_break(why)
        case _:
            assert_never(seen)


def of_status(status: int, hint: timedelta | None) -> Outcome:
    """What an HTTP status means by itself."""
    reason = f"HTTP {status}"
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's own
        return Sent(status=status)
    if status in _LATER or status >= 500:  # noqa: PLR2004 - HTTP's own
        return Failed(reason=reason, status=status, retry_after=hint)
    if status in _NOT_THIS:
        return Refused(reason=reason, scope=Scope.MESSAGE, status=status)
    if status == _GONE:
        return Refused(reason=reason, scope=Scope.GONE, status=status)
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own
        reason = f"HTTP {status}: redirects are not followed"
    return Refused(reason=reason, scope=Scope.DESTINATION, status=status)


def retry_hint(answer: Answer, *, now: datetime) -> timedelta | None:
    """
    How long the service asks us to wait, at most a day.

    From `Retry-After` in seconds or as a date, else from the body: `retry_after`
    (Discord, seconds), `parameters.retry_after` (Telegram), `retry_after_ms`
    (Matrix).
    """
    if answer.retry_after is not None:
        seconds = _header_seconds(answer.retry_after, now=now)
    elif answer.status in _LATER or answer.status >= 500:  # noqa: PLR2004 - HTTP's own
        seconds = _body_seconds(answer.body)
    else:
        seconds = None
    if seconds is None or not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(0.0, seconds), _LONGEST_HINT.total_seconds()))


def json_object(body: bytes) -> Mapping[str, object]:
    """The JSON object that a body is; empty if it is none."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _accepted(seen: Sequence[Seen], outcomes: Sequence[Outcome]) -> Outcome:
    # A plugin may take a redirect's target, or a 200 that says no, for a success.
    traps = [
        outcome
        for one, outcome in zip(seen, outcomes, strict=True)
        if isinstance(one, Answer) and one.status < 400  # noqa: PLR2004 - HTTP's own
        if not isinstance(outcome, Sent)
    ]
    if traps:
        return max(traps, key=_weight)
    sent = [outcome for outcome in outcomes if isinstance(outcome, Sent)]
    if not sent and outcomes:
        return max(outcomes, key=_weight)
    return sent[-1] if sent else Sent()


def _weight(outcome: Outcome) -> int:
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


def _is_redirect(answer: Answer) -> bool:
    return 300 <= answer.status < 400  # noqa: PLR2004 - HTTP's own


def _of_reply(reply: Reply) -> Outcome:
    code = reply.code
    if 200 <= code < 300:  # noqa: PLR2004 - SMTP's own
        return Sent(status=code)
    reason = f"SMTP {code}: {text}" if (text := _one_line(reply.text)) else f"SMTP {code}"
    if code < 500:  # noqa: PLR2004 - SMTP's own
        return Failed(reason=reason, status=code)
    if code in _NO_ENTRY or reply.stage in (Stage.CONNECT, Stage.LOGIN):
        scope = Scope.DESTINATION
    elif reply.stage is Stage.SENDER and code not in _TOO_BIG:
        # The server was told nothing yet but who sends: no message will do.
        scope = Scope.DESTINATION
    else:
        scope = Scope.MESSAGE
    return Refused(reason=reason, scope=scope, status=code)


def _of_break(why: Break) -> Outcome:
    if why in _NOTHING_ARRIVED:
        return Failed(reason=why.value)
    if why in _SET_UP_WRONGLY:
        return Refused(reason=why.value, scope=Scope.DESTINATION)
    return Ambiguous(reason=why.value)


def _short(seen: Seen) -> str:
    match seen:
        case Answer(status=status):
            return f"HTTP {status}"
        case Reply(code=code):
            return f"SMTP {code}"
        case Broken(why):
            return why.value
        case _:
            assert_never(seen)


def _one_line(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_TEXT_KEPT]


def _header_seconds(value: str, *, now: datetime) -> float | None:
    try:
        return float(value)
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    then = then if then.tzinfo is not None else then.replace(tzinfo=UTC)
    return (then - now).total_seconds()


def _body_seconds(body: bytes) -> float | None:
    said = json_object(body)
    parameters = said.get("parameters")
    nested = parameters.get("retry_after") if isinstance(parameters, dict) else None
    milliseconds = _number(said.get("retry_after_ms"))
    for seconds in (_number(said.get("retry_after")), _number(nested)):
        if seconds is not None:
            return seconds
    return None if milliseconds is None else milliseconds / 1000


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
