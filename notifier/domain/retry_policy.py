"""
What becomes of a delivery once the sender has said what it saw.

    pending --claim--> leased --Sent-----------------------> delivered
       ^                 |
       |                 +--Failed, Ambiguous--> pending, later (schedule)
       |                 +--Refused(MESSAGE)---> pending, plainer | dead
       |                 +--Refused(DESTINATION|GONE)--> pending, destination suspended
       |                 +--Ambiguous, where one may not repeat--> dropped
       |                 +--tries, 72 h or worth used up--> dead | expired
       +--lease ran out, process died: like Ambiguous

Every try is counted when it is claimed, so a message that kills the process runs
out of tries too. A destination that fails again and again has its breaker opened:
then one message at a time probes it, which costs no try.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TypeAlias, assert_never

from notifier.domain.models import (
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
_TOO_MANY = 429
#: A breaker opens after so many failures in a row, or when half of so many tries in
#: so long failed; then it lets a probe pass, after twice as long each time.
BREAK_AFTER, BREAK_TRIES, BREAK_SPAN = 5, 10, 5 * _M
TRY_FIRST, TRY_LAST = 30 * _S, 15 * _M


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """It may have arrived, and a rule says not to send such a one again."""

    reason: str


Verdict: TypeAlias = Delivered | Rescheduled | Dead | Expired | Dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a destination stands: what a restart must not forget about it."""

    #: Nothing is sent to it before.
    paused_until: datetime | None = None
    #: It refused us as a whole; only a probe goes to it.
    suspended_since: datetime | None = None
    #: Probes in vain since it was suspended, or since its breaker opened.
    probes: int = 0
    #: It said that it is gone for good: not even a probe.
    gone: bool = False
    reason: str | None = None
    #: Tries in a row that failed for the time being.
    failures: int = 0
    #: Its breaker is open: it seems to be down; only a probe goes to it.
    open_since: datetime | None = None

    @property
    def is_probed(self) -> bool:
        """Whether what goes to it now only tries whether it works again."""
        return self.suspended_since is not None or self.open_since is not None


def settle(
    delivery: Due,
    outcome: Outcome,
    *,
    attempt: int,
    in_digest: bool,
    now: datetime,
    jitter: float,
    standing: Standing | None = None,
    drop_ambiguous: bool = False,
) -> Verdict:
    """
    Decide about one member of a message.

    `attempt` is the message's (so that all members wait alike), `jitter` lies in
    [-1, 1] and moves the wait by up to a fifth. `standing` is the destination's as
    it was when the outcome came in: a probe in vain costs no try.
    """
    match outcome:
        case Sent():
            return Delivered()
        case Refused():
            return _refused(delivery, outcome, in_digest=in_digest, now=now)
        case Ambiguous(unsure=True) if drop_ambiguous:
            return Dropped(reason=f"it may have arrived: {outcome.reason}")
        case Failed() | Ambiguous():
            if standing is not None and standing.is_probed:
                return _probed_in_vain(delivery, outcome, standing, now=now)
            wait = _wait(delivery.kind, attempt, jitter)
            return _later(delivery, outcome, wait, now=now)
        case _:
            assert_never(outcome)


def _refused(delivery: Due, outcome: Refused, *, in_digest: bool, now: datetime) -> Verdict:
    if outcome.scope is not Scope.MESSAGE:
        frozen = bool(outcome.served)
        return _parked(delivery, outcome.reason, now=now, frozen=frozen)
    if outcome.served:
        # Put otherwise it would go to those who have it as well.
        return Dead(reason=outcome.reason)
    return _plainer(delivery, outcome.reason, in_digest=in_digest, now=now)


def _later(
    delivery: Due, outcome: Failed | Ambiguous, wait: timedelta, *, now: datetime
) -> Verdict:
    if isinstance(outcome, Failed) and outcome.retry_after is not None:
        due = now + min(max(outcome.retry_after, wait), MAX_HINT)
        return _again(delivery, outcome.reason, due, refunded=True)
    due = _next_try(delivery, now + wait, now)
    frozen = isinstance(outcome, Ambiguous)
    return _again(delivery, outcome.reason, due, frozen=frozen)


def _probed_in_vain(
    delivery: Due, outcome: Failed | Ambiguous, standing: Standing, *, now: datetime
) -> Verdict:
    frozen = isinstance(outcome, Ambiguous)
    if standing.suspended_since is not None:
        return _parked(delivery, outcome.reason, now=now, frozen=frozen)
    return _again(delivery, outcome.reason, now, frozen=frozen, refunded=True)


def abandoned(
    delivery: Due,
    *,
    crashes: int,
    now: datetime,
    standing: Standing | None = None,
    drop_ambiguous: bool = False,
) -> Verdict:
    """
    Decide about a delivery whose lease ended without a settlement.

    The attempt may have arrived. `crashes` counts such ends before this one: at
    once the first time, then after the next back-off step.
    """
    reason = "the attempt was cut off by a crash or never came back"
    if drop_ambiguous:
        return Dropped(reason=f"it may have arrived: {reason}")
    if standing is not None and standing.suspended_since is not None:
        return _parked(delivery, reason, now=now, frozen=True)
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


def _parked(delivery: Due, reason: str, *, now: datetime, frozen: bool = False) -> Verdict:
    if delivery.expires_at is not None and now > delivery.expires_at:
        return Expired(reason=reason)
    if now - delivery.born_at > MAX_SUSPENDED:
        return Dead(reason=reason)
    return Rescheduled(
        due_at=now,
        form=delivery.form,
        reason=reason,
        frozen=frozen or delivery.frozen_in is not None,
        refunded=True,
    )


# --- the destination ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How a destination fared in the last five minutes, this attempt included."""

    failed: int
    total: int

    @property
    def is_half_lost(self) -> bool:
        """Whether so many of so many failed that it cannot be chance."""
        return self.total >= BREAK_TRIES and 2 * self.failed >= self.total


def standing(
    before: Standing,
    outcome: Outcome,
    *,
    now: datetime,
    due_at: datetime | None,
    lately: Tries,
) -> Standing:
    """
    How the destination stands after an attempt.

    `due_at` is when the attempted message goes again, if it does: a service that
    asked for patience is left alone until then. Only a success ends a suspension,
    and nothing that was seen ends one that is for good. A breaker closes as soon as
    the destination answers anything but a failure that may pass.
    """
    if before.gone:
        return before
    match outcome:
        case Sent():
            is_asked_for = not before.is_probed and _is_paused(before, now)
            return replace(before, failures=0) if is_asked_for else Standing()
        case Refused(scope=Scope.DESTINATION | Scope.GONE as scope):
            return _suspended(before, outcome.reason, now, gone=scope is Scope.GONE)
        case Failed() | Ambiguous() | Refused() if before.suspended_since is not None:
            return _suspended(before, outcome.reason, now, gone=False)
        case Refused():
            return Standing() if before.open_since else replace(before, failures=0)
        case Failed() | Ambiguous():
            return _strained(before, outcome, now, due_at, lately)
        case _:
            assert_never(outcome)


def _strained(
    before: Standing,
    outcome: Failed | Ambiguous,
    now: datetime,
    due_at: datetime | None,
    lately: Tries,
) -> Standing:
    """It asked for patience, which is no failure of its own; or it failed."""
    hint = outcome.retry_after if isinstance(outcome, Failed) else None
    if outcome.served and before.open_since is None:
        return before  # it works; one of its recipients does not
    asks = isinstance(outcome, Failed) and outcome.status == _TOO_MANY
    if hint is None or before.open_since is not None:
        return _broken(before, outcome.reason, now, lately, hint=hint)
    until = due_at or now + min(hint, MAX_HINT)
    paused = replace(
        before,
        paused_until=max(until, before.paused_until or until),
        reason=outcome.reason,
    )
    # Whoever is overloaded asks for patience; whoever is down does not know.
    if asks:
        return paused
    after = _broken(before, outcome.reason, now, lately, hint=hint)
    return after if after.open_since else replace(paused, failures=after.failures)


def rest(standing: Standing, now: datetime) -> timedelta | None:
    """For how long it is left alone; None: until a person says otherwise."""
    if standing.gone:
        return None
    until = standing.paused_until
    return timedelta(0) if until is None else max(timedelta(0), until - now)


def _is_paused(before: Standing, now: datetime) -> bool:
    return before.paused_until is not None and before.paused_until > now


def _suspended(before: Standing, reason: str, now: datetime, *, gone: bool) -> Standing:
    """Refused as a whole, or a probe in vain: the next one waits twice as long."""
    if before.suspended_since is not None and _is_paused(before, now) and not gone:
        return before  # it had left before the suspension began
    probes = before.probes if before.suspended_since is not None else 0
    wait = min(PROBE_FIRST * 2 ** min(probes, 10), PROBE_LAST)
    return Standing(
        paused_until=now + wait,
        suspended_since=before.suspended_since or now,
        probes=probes + 1,
        gone=gone,
        reason=reason,
    )


def _broken(
    before: Standing,
    reason: str,
    now: datetime,
    lately: Tries,
    *,
    hint: timedelta | None,
) -> Standing:
    """A failure that may pass: one of many opens the breaker, or keeps it open."""
    after = replace(before, failures=before.failures + 1)
    if before.open_since is not None and _is_paused(before, now):
        return after  # it had left before the breaker opened
    is_open = before.open_since is not None
    if not (is_open or after.failures >= BREAK_AFTER or lately.is_half_lost):
        return after
    wait = min(TRY_FIRST * 2 ** min(before.probes, 10), TRY_LAST)
    until = now + max(wait, min(hint or wait, MAX_HINT))
    return replace(
        after,
        open_since=before.open_since or now,
        probes=before.probes + 1,
        paused_until=max(until, before.paused_until or until),
        reason=reason,
    )
