"""
The state of a destination: working, paused on request, failing, suspended, or gone.

    working --5 failures in a row, or half of 10 or more in 5 min--> open (failing)
    working --Retry-After--------------------> paused
    any     --Refused(DESTINATION)-----------> suspended --Refused(GONE)--> gone
    open, suspended --attempt succeeds-------> working

While the breaker is open or the destination is suspended, one probe at a time is sent
(half-open), after waits that double. Only a person, or another URL, ends `gone`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent

#: A breaker opens after so many failures in a row ...
BREAK_AFTER = 5
#: ... or when half of at least so many attempts within this span failed.
BREAK_ATTEMPTS, BREAK_SPAN = 10, timedelta(minutes=5)
#: An open breaker lets a probe pass after the first wait, then after twice as long ...
BREAKER_PROBE_FIRST, BREAKER_PROBE_LAST = timedelta(seconds=30), timedelta(minutes=15)
#: The same for a suspended destination.
PROBE_FIRST, PROBE_LAST = timedelta(minutes=15), timedelta(hours=6)
#: No `Retry-After` makes us wait longer.
MAX_RETRY_AFTER = timedelta(hours=1)
#: A destination that is gone is asked about again so rarely: a person may bring it back.
GONE_PAUSE = timedelta(minutes=5)
TOO_MANY_REQUESTS = 429
#: Doublings after which every wait has reached its limit.
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationState:
    """What a restart must not forget about a destination."""

    #: Nothing is sent to it before.
    paused_until: datetime | None = None
    #: It refused us as a whole; only a probe is sent.
    suspended_since: datetime | None = None
    #: Probes that failed since it was suspended, or since its breaker opened.
    probes: int = 0
    #: It said that it is gone for good: not even a probe is sent.
    gone: bool = False
    reason: str | None = None
    #: Attempts in a row that failed transiently.
    failures: int = 0
    #: Its breaker is open: only a probe is sent.
    open_since: datetime | None = None

    @property
    def half_open(self) -> bool:
        """Whether an attempt now only tests if the destination works again."""
        return self.suspended_since is not None or self.open_since is not None

    def pause(self, now: datetime) -> timedelta:
        """For how long nothing may be sent."""
        if self.gone:
            return GONE_PAUSE
        return (
            timedelta(0)
            if self.paused_until is None
            else max(timedelta(0), self.paused_until - now)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentAttempts:
    """The attempts at a destination within `BREAK_SPAN`."""

    failed: int = 0
    total: int = 0

    @property
    def is_half_lost(self) -> bool:
        """Whether so many of so many failed that it cannot be chance."""
        return self.total >= BREAK_ATTEMPTS and 2 * self.failed >= self.total


def after_attempt(
    before: DestinationState,
    outcome: Outcome,
    *,
    now: datetime,
    retry_at: datetime | None,
    recent: RecentAttempts,
) -> DestinationState:
    """
    The state after an attempt, of which `recent` knows already.

    `retry_at` is when the attempted message is sent again, if it is: a service that
    sends `Retry-After` is left alone until then. Only a success ends a suspension. An
    open breaker closes as soon as the answer is anything but a transient failure.
    """
    if before.gone:
        return before
    match outcome:
        case Sent():
            paused_on_request = not before.half_open and before.pause(now)
            return replace(before, failures=0) if paused_on_request else DestinationState()
        case Refused(scope=Scope.DESTINATION | Scope.GONE as scope):
            return _suspended(before, outcome.reason, now, gone=scope is Scope.GONE)
        case Failed() | Ambiguous() | Refused() if before.suspended_since is not None:
            return _suspended(before, outcome.reason, now, gone=False)
        case Refused():
            return DestinationState() if before.open_since else replace(before, failures=0)
        case Failed() | Ambiguous():
            return _after_failure(before, outcome, now, retry_at, recent)
        case _:
            assert_never(outcome)


def _suspended(
    before: DestinationState, reason: str, now: datetime, *, gone: bool
) -> DestinationState:
    """Refused as a whole, or a failed probe: the next probe waits twice as long."""
    if before.suspended_since is not None and before.pause(now) and not gone:
        return before  # this attempt had begun before the suspension
    probes = before.probes if before.suspended_since is not None else 0
    return DestinationState(
        paused_until=now + min(PROBE_FIRST * 2 ** min(probes, _DOUBLINGS), PROBE_LAST),
        suspended_since=before.suspended_since or now,
        probes=probes + 1,
        gone=gone,
        reason=reason,
    )


def _after_failure(
    before: DestinationState,
    outcome: Failed | Ambiguous,
    now: datetime,
    retry_at: datetime | None,
    recent: RecentAttempts,
) -> DestinationState:
    is_open = before.open_since is not None
    if outcome.delivered_to and not is_open:
        return before  # the destination works; one of its recipients does not
    retry_after = outcome.retry_after if isinstance(outcome, Failed) else None
    after = before
    if retry_after is not None and not is_open:
        until = retry_at or now + min(retry_after, MAX_RETRY_AFTER)
        until = max(until, before.paused_until or until)
        after = replace(before, paused_until=until, reason=outcome.reason)
        # 429 asks for patience and is no failure; 503 with the same header is one.
        if isinstance(outcome, Failed) and outcome.status == TOO_MANY_REQUESTS:
            return after
    after = replace(after, failures=before.failures + 1)
    if is_open and before.pause(now):
        return after  # this attempt had begun before the breaker opened
    if not (is_open or after.failures >= BREAK_AFTER or recent.is_half_lost):
        return after
    wait = min(BREAKER_PROBE_FIRST * 2 ** min(before.probes, _DOUBLINGS), BREAKER_PROBE_LAST)
    until = now + max(wait, min(retry_after or wait, MAX_RETRY_AFTER))
    return replace(
        after,
        open_since=before.open_since or now,
        probes=before.probes + 1,
        paused_until=max(until, before.paused_until or until),
        reason=outcome.reason,
    )
