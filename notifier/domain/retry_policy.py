"""
What becomes of a delivery once the sender has reported what it saw.

    pending --claim--> leased --Sent-----------------------> delivered
       ^                 |
       |                 +--Failed, Ambiguous--> pending, later (schedule)
       |                 +--Refused(MESSAGE)---> pending, plainer | dead
       |                 +--Refused(DESTINATION|GONE)--> pending, destination suspended
       |                 +--Ambiguous, where `on_ambiguous: drop`--> dropped
       |                 +--attempts, 72 h or usefulness used up--> dead | expired
       +--lease expired, process died: like Ambiguous

Every attempt is counted when it is claimed, so a message that kills the process runs
out of attempts too. An attempt that only probes a destination (circuit_breaker) is
refunded when it fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import assert_never

from notifier.domain.circuit_breaker import (
    MAX_RETRY_AFTER,
    DestinationState,
    RecentAttempts,
    after_attempt,
)
from notifier.domain.models import (
    URGENT,
    Ambiguous,
    Failed,
    Kind,
    Outcome,
    Refused,
    Scope,
    Sent,
    State,
)
from notifier.domain.outgoing import Lease, PendingDelivery, RenderLevel

_S, _M, _H = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

#: Waits after the first, second ... attempt; after the last of them it is dead.
RETRY_SCHEDULE = (
    *(5 * _S, 30 * _S, 2 * _M, 10 * _M, 30 * _M),
    *(1 * _H, 2 * _H, 4 * _H, 8 * _H, 12 * _H, 20 * _H, 24 * _H),
)
#: Waits of what is worth nothing when late; the last one repeats until it expires.
URGENT_RETRY_SCHEDULE = (5 * _S, 15 * _S, 30 * _S, 1 * _M, 2 * _M, 5 * _M)
#: Nothing is attempted later than this after it became due.
MAX_AGE = 72 * _H
#: The same where the destination is suspended.
MAX_SUSPENDED = timedelta(days=7)
LEASE_EXPIRED = "the attempt was cut off by a crash or never came back"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextState:
    """What a leased delivery becomes: pending again, or a final state."""

    state: State
    reason: str | None = None
    #: The rest applies to `pending` alone. When it is attempted again:
    due_at: datetime | None = None
    level: RenderLevel = RenderLevel.RICH
    #: It may have arrived: it is sent again with the same members and id.
    frozen: bool = False
    #: The attempt does not count.
    refunded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """A message that was attempted, and what was seen."""

    lease: Lease
    outcome: Outcome
    #: When the outcome came in, and how long it took.
    at: datetime
    took: timedelta
    #: Uniform in [-1, 1]: moves the next attempt by up to a fifth of its wait.
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What an attempt means for the message's members and for its destination."""

    result: AttemptResult
    #: One for each member, in order.
    next_states: tuple[NextState, ...]
    before: DestinationState
    after: DestinationState
    #: Members whose lease was lost to another process: they stay as they are.
    lost: int = 0


def evaluate_attempt(
    result: AttemptResult,
    before: DestinationState,
    recent: RecentAttempts,
    *,
    drop_ambiguous: bool = False,
) -> Settlement:
    """
    Decide about all members of a message and about its destination.

    `recent` is how the destination fared without this attempt; only failures need it.
    """
    message, outcome = result.lease.message, result.outcome
    known: dict[tuple[object, ...], NextState] = {}
    states: list[NextState] = []
    for member in message.members:
        alike = (
            member.kind in URGENT,
            member.created_at,
            member.expires_at,
            member.attempts_counted,
            member.frozen_in,
        )
        if alike not in known:
            known[alike] = next_state(
                replace(
                    member,
                    attempts_counted=member.attempts_counted + 1,
                    level=message.level,
                ),
                outcome,
                attempt=message.attempt,
                in_digest=len(message.members) > 1,
                now=result.at,
                jitter=result.jitter,
                destination=before,
                drop_ambiguous=drop_ambiguous,
            )
        states.append(known[alike])
    next_states = keep_together(states)
    again = (one.due_at for one in next_states if one.due_at is not None)
    after = after_attempt(
        before,
        outcome,
        now=result.at,
        retry_at=max(again, default=None),
        recent=RecentAttempts(failed=recent.failed + 1, total=recent.total + 1),
    )
    if after.open_since is not None and (probe_at := after.paused_until) is not None:
        # What has just failed is there when the open breaker lets a probe pass.
        next_states = tuple(
            one if one.due_at is None else replace(one, due_at=min(one.due_at, probe_at))
            for one in next_states
        )
    return Settlement(result=result, next_states=next_states, before=before, after=after)


def next_state(
    delivery: PendingDelivery,
    outcome: Outcome,
    *,
    attempt: int,
    in_digest: bool,
    now: datetime,
    jitter: float,
    destination: DestinationState | None = None,
    drop_ambiguous: bool = False,
) -> NextState:
    """
    Decide about one member of a message, its attempt counted already.

    `attempt` is the message's, so that all members wait alike. `destination` is the
    state in which the outcome found it: a failed probe costs no attempt.
    """
    destination = destination or DestinationState()
    match outcome:
        case Sent():
            return NextState(state=State.DELIVERED)
        case Refused(scope=Scope.MESSAGE, reason=reason) if outcome.delivered_to:
            # Another rendering would reach those recipients who have it as well.
            return NextState(state=State.DEAD, reason=reason)
        case Refused(scope=Scope.MESSAGE, reason=reason):
            return _plainer(delivery, reason, in_digest=in_digest, now=now)
        case Refused():
            return _wait_suspended(delivery, outcome.reason, now, frozen=bool(outcome.delivered_to))
        case Ambiguous(unsure=True) if drop_ambiguous:
            return _dropped(outcome.reason)
        case Failed() | Ambiguous():
            wait = _wait(delivery.kind, attempt, jitter)
            return _after_failure(delivery, outcome, wait, destination, now)
        case _:
            assert_never(outcome)


def _after_failure(
    delivery: PendingDelivery,
    outcome: Failed | Ambiguous,
    wait: timedelta,
    destination: DestinationState,
    now: datetime,
) -> NextState:
    frozen = isinstance(outcome, Ambiguous)
    if destination.suspended_since is not None:
        return _wait_suspended(delivery, outcome.reason, now, frozen=frozen)
    if destination.half_open:
        return _retry(delivery, outcome.reason, now, frozen=frozen, refunded=True)
    if isinstance(outcome, Failed) and outcome.retry_after is not None:
        due_at = now + min(max(outcome.retry_after, wait), MAX_RETRY_AFTER)
        return _retry(delivery, outcome.reason, due_at, refunded=True)
    return _retry(delivery, outcome.reason, _in_time(delivery, now + wait, now), frozen=frozen)


def after_lost_lease(
    delivery: PendingDelivery,
    *,
    expired_leases: int,
    now: datetime,
    destination: DestinationState | None = None,
    drop_ambiguous: bool = False,
) -> NextState:
    """
    Decide about a delivery whose lease ended without a settlement: it may have arrived.

    `expired_leases` counts such ends before this one: it is due at once the first time,
    then after the next wait of the schedule.
    """
    if drop_ambiguous:
        return _dropped(LEASE_EXPIRED)
    if destination is not None and destination.suspended_since is not None:
        return _wait_suspended(delivery, LEASE_EXPIRED, now, frozen=True)
    wait = timedelta(0)
    if expired_leases:
        wait = _wait(delivery.kind, delivery.attempts_counted, 0.0)
    due_at = _in_time(delivery, now + wait, now)
    return _retry(delivery, LEASE_EXPIRED, due_at, frozen=True)


def keep_together(states: Sequence[NextState]) -> tuple[NextState, ...]:
    """
    Make the decisions about the members of one message agree.

    What may have arrived is sent again with exactly its members: as long as one of
    them is worth another attempt, none of them leaves.
    """
    again = [one for one in states if one.frozen and one.due_at is not None]
    if not again:
        return tuple(states)
    last = max(again, key=attrgetter("due_at"))
    return tuple(one if one.state is State.PENDING else last for one in states)


def _wait(kind: Kind, attempt: int, jitter: float) -> timedelta:
    schedule = URGENT_RETRY_SCHEDULE if kind in URGENT else RETRY_SCHEDULE
    step = schedule[min(max(attempt, 1), len(schedule)) - 1]
    return step * (1 + 0.2 * jitter)


def _in_time(delivery: PendingDelivery, due_at: datetime, now: datetime) -> datetime:
    """By the schedule; the last attempt is made in time, however the jitter fell."""
    last = delivery.created_at + MAX_AGE
    return min(due_at, last) if now < last else due_at


def _dropped(reason: str) -> NextState:
    return NextState(state=State.DROPPED, reason=f"it may have arrived: {reason}")


def _retry(
    delivery: PendingDelivery,
    reason: str,
    due_at: datetime,
    *,
    frozen: bool = False,
    refunded: bool = False,
) -> NextState:
    """Another attempt at `due_at`, unless the delivery is too old or out of attempts."""
    used_up = delivery.kind not in URGENT and delivery.attempts_counted > len(RETRY_SCHEDULE)
    if delivery.expires_at is not None and due_at > delivery.expires_at:
        return NextState(state=State.EXPIRED, reason=reason)
    if due_at > delivery.created_at + MAX_AGE or (used_up and not refunded):
        return NextState(state=State.DEAD, reason=reason)
    return NextState(
        state=State.PENDING,
        reason=reason,
        due_at=due_at,
        level=delivery.level,
        frozen=frozen or delivery.frozen_in is not None,
        refunded=refunded,
    )


def _wait_suspended(
    delivery: PendingDelivery, reason: str, now: datetime, *, frozen: bool
) -> NextState:
    """Wait, at no cost, for the end of the destination's suspension."""
    if delivery.expires_at is not None and now > delivery.expires_at:
        return NextState(state=State.EXPIRED, reason=reason)
    if now - delivery.created_at > MAX_SUSPENDED:
        return NextState(state=State.DEAD, reason=reason)
    return NextState(
        state=State.PENDING,
        reason=reason,
        due_at=now,
        level=delivery.level,
        frozen=frozen or delivery.frozen_in is not None,
        refunded=True,
    )


def _plainer(
    delivery: PendingDelivery, reason: str, *, in_digest: bool, now: datetime
) -> NextState:
    """The next, plainer level; dead after the last of them."""
    plainer = {RenderLevel.RICH: RenderLevel.PLAIN, RenderLevel.COUNTS: RenderLevel.ALONE}
    if in_digest:
        plainer[RenderLevel.PLAIN] = RenderLevel.COUNTS
    level = plainer.get(delivery.level)
    if level is None:
        return NextState(state=State.DEAD, reason=reason)
    retry = _retry(replace(delivery, level=level), reason, now)
    # It surely did not arrive as a digest: its members part.
    return replace(retry, frozen=False) if level is RenderLevel.ALONE else retry
