"""
What becomes of a delivery once the sender has said what it saw.

    pending --claim--> leased --Sent-----------------------> delivered
       ^                 |
       |                 +--Failed, Ambiguous--> pending, later (schedule)
       |                 +--Refused(MESSAGE)---> pending, plainer | dead
       |                 +--Refused(DESTINATION|GONE)--> pending, destination suspended
       |                 +--tries, 72 h or worth used up--> dead | expired
       +--lease ran out, process died: like Ambiguous

Every try is counted when it is claimed, so a message that kills the process runs
out of tries too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeAlias, assert_never

from notifier.core.model import (
    URGENT,
    Ambiguous,
    Due,
    Failed,
    Form,
    Kind,
    Outcome,
    Refused,
    Scope,
    Sent,
)

_S, _M, _H = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

#: Waits after the first, second ... try; after the last of them it is dead.
PATIENT = (
    *(5 * _S, 30 * _S, 2 * _M, 10 * _M, 30 * _M),
    *(1 * _H, 2 * _H, 4 * _H, 8 * _H, 12 * _H, 20 * _H, 24 * _H),
)
#: Waits of what is worth nothing when late; the last one repeats until it expires.
HASTY = (5 * _S, 15 * _S, 30 * _S, 1 * _M, 2 * _M, 5 * _M)
#: Nothing is tried longer than this after it became due.
MAX_AGE = 72 * _H
#: No hint of a service makes us wait longer.
MAX_HINT = 1 * _H
#: A suspended destination is probed after the first wait, then after twice as long ...
PROBE_FIRST, PROBE_LAST = 15 * _M, 6 * _H
#: What waits for a suspended destination waits so long at most.
MAX_SUSPENDED = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """It arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescheduled:
    """It is tried again."""

    due_at: datetime
    form: Form
    reason: str
    #: It may have arrived: it goes again with the same members and id.
    frozen: bool = False
    #: The service asked for patience: the try does not count.
    refunded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Given up: a person may put it back."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """Too late to be of use to anyone."""

    reason: str


Verdict: TypeAlias = Delivered | Rescheduled | Dead | Expired


def settle(
    delivery: Due,
    outcome: Outcome,
    *,
    attempt: int,
    in_digest: bool,
    now: datetime,
    jitter: float,
) -> Verdict:
    """
    Decide about one member of a message.

    `attempt` is the message's (so that all members wait alike), `jitter` lies in
    [-1, 1] and moves the wait by up to a fifth.
    """
    match outcome:
        case Sent():
            return Delivered()
        case Refused(scope=Scope.MESSAGE):
            return _plainer(delivery, outcome.reason, in_digest=in_digest, now=now)
        case Refused():
            return _parked(delivery, outcome.reason, now=now)
        case Failed(retry_after=timedelta() as hint):
            due = now + min(max(hint, _wait(delivery.kind, attempt, jitter)), MAX_HINT)
            return _again(delivery, outcome.reason, due, refunded=True)
        case Failed() | Ambiguous():
            due = _next_try(delivery, now + _wait(delivery.kind, attempt, jitter), now)
            frozen = isinstance(outcome, Ambiguous)
            return _again(delivery, outcome.reason, due, frozen=frozen)
        case _:
            assert_never(outcome)


def abandoned(delivery: Due, *, crashes: int, now: datetime) -> Verdict:
    """
    Decide about a delivery whose lease ended without a settlement.

    The attempt may have arrived. `crashes` counts such ends before this one: at
    once the first time, then after the next back-off step.
    """
    reason = "the attempt was cut off by a crash or never came back"
    wait = _wait(delivery.kind, delivery.attempts, 0.0) if crashes else timedelta(0)
    due = _next_try(delivery, now + wait, now)
    return _again(delivery, reason, due, frozen=True)


def together(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """
    What was decided about the members of one message, made to agree.

    What may have arrived goes again with exactly the same members: as long as one
    of them is worth it, none of them leaves.
    """
    again = [v for v in verdicts if isinstance(v, Rescheduled) and v.frozen]
    if not again:
        return tuple(verdicts)
    last = max(again, key=attrgetter("due_at"))
    return tuple(v if isinstance(v, Rescheduled) else last for v in verdicts)


def _is_used_up(delivery: Due) -> bool:
    return delivery.kind not in URGENT and delivery.attempts > len(PATIENT)


def _wait(kind: Kind, attempt: int, jitter: float) -> timedelta:
    schedule = HASTY if kind in URGENT else PATIENT
    step = schedule[min(max(attempt, 1), len(schedule)) - 1]
    return step * (1 + 0.2 * jitter)


def _next_try(delivery: Due, due_at: datetime, now: datetime) -> datetime:
    """By the schedule; the last try is made in time, however the jitter fell."""
    last = delivery.born_at + MAX_AGE
    return min(due_at, last) if now < last else due_at


def _again(
    delivery: Due,
    reason: str,
    due_at: datetime,
    *,
    frozen: bool = False,
    refunded: bool = False,
) -> Verdict:
    if delivery.expires_at is not None and due_at > delivery.expires_at:
        return Expired(reason=reason)
    if due_at > delivery.born_at + MAX_AGE:
        return Dead(reason=reason)
    if _is_used_up(delivery) and not refunded:
        return Dead(reason=reason)
    return Rescheduled(
        due_at=due_at,
        form=delivery.form,
        reason=reason,
        frozen=frozen or (delivery.frozen_in is not None),
        refunded=refunded,
    )


def _plainer(delivery: Due, reason: str, *, in_digest: bool, now: datetime) -> Verdict:
    after = {Form.RICH: Form.PLAIN, Form.COUNTS: Form.ALONE}
    if in_digest:
        after[Form.PLAIN] = Form.COUNTS
    form = after.get(delivery.form)
    if form is None:
        return Dead(reason=reason)
    verdict = _again(replace(delivery, form=form), reason, now)
    if form is Form.ALONE and isinstance(verdict, Rescheduled):
        return replace(verdict, frozen=False)
    return verdict


def _parked(delivery: Due, reason: str, *, now: datetime) -> Verdict:
    if delivery.expires_at is not None and now > delivery.expires_at:
        return Expired(reason=reason)
    if now - delivery.born_at > MAX_SUSPENDED:
        return Dead(reason=reason)
    return Rescheduled(
        due_at=now,
        form=delivery.form,
        reason=reason,
        frozen=delivery.frozen_in is not None,
        refunded=True,
    )


# --- the destination ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a destination stands: what a restart must not forget about it."""

    #: Nothing is sent to it before.
    paused_until: datetime | None = None
    #: It refused us as a whole; only a probe goes to it.
    suspended_since: datetime | None = None
    #: Probes that were refused since.
    probes: int = 0
    #: It said that it is gone for good: not even a probe.
    gone: bool = False
    reason: str | None = None


def standing(
    before: Standing, outcome: Outcome, *, now: datetime, due_at: datetime | None
) -> Standing:
    """
    How the destination stands after an attempt.

    `due_at` is when the attempted message goes again, if it does: a service that
    asked for patience is left alone until then. Only a success ends a suspension,
    and nothing that was seen ends one that is for good.
    """
    if before.gone:
        return before
    match outcome:
        case Sent():
            is_asked_for = before.suspended_since is None and _is_paused(before, now)
            return before if is_asked_for else Standing()
        case Refused(scope=Scope.DESTINATION | Scope.GONE as scope):
            return _suspended(before, outcome.reason, now, gone=scope is Scope.GONE)
        case Failed() | Ambiguous() | Refused() if before.suspended_since is not None:
            return _suspended(before, outcome.reason, now, gone=False)
        case Failed(retry_after=timedelta() as hint):
            until = due_at or now + min(hint, MAX_HINT)
            return Standing(
                paused_until=max(until, before.paused_until or until),
                reason=outcome.reason,
            )
        case Failed() | Ambiguous() | Refused():
            return before
        case _:
            assert_never(outcome)


def _is_paused(before: Standing, now: datetime) -> bool:
    return before.paused_until is not None and before.paused_until > now


def _suspended(before: Standing, reason: str, now: datetime, *, gone: bool) -> Standing:
    """Refused as a whole, or a probe in vain: the next one waits twice as long."""
    if before.suspended_since is not None and _is_paused(before, now) and not gone:
        return before  # it had left before the suspension began
    wait = min(PROBE_FIRST * 2 ** min(before.probes, 10), PROBE_LAST)
    return Standing(
        paused_until=now + wait,
        suspended_since=before.suspended_since or now,
        probes=before.probes + 1,
        gone=gone,
        reason=reason,
    )
