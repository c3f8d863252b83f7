"""The state of a destination after an attempt."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.circuit_breaker import DestinationState, RecentAttempts, after_attempt
from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent

SENT = Sent(status=200)
DOWN = Failed(reason="503", status=503)
BUSY = Failed(reason="429", status=429, retry_after=10 * MINUTE)
SILENT = Ambiguous(reason="no answer")
BAD = Refused(reason="400", status=400, scope=Scope.MESSAGE)
UNKNOWN = Refused(reason="401", status=401, scope=Scope.DESTINATION)
GONE = Refused(reason="410", status=410, scope=Scope.GONE)

WORKING = DestinationState()
ALONE = RecentAttempts(failed=1, total=1)
SUSPENDED = DestinationState(
    paused_until=NOON, suspended_since=NOON - 15 * MINUTE, probes=1, reason="401"
)


def _after(
    before: DestinationState,
    outcome: Outcome,
    *,
    now: datetime = NOON,
    retry_at: datetime | None = None,
    recent: RecentAttempts = ALONE,
) -> DestinationState:
    return after_attempt(before, outcome, now=now, retry_at=retry_at, recent=recent)


@pytest.mark.parametrize(
    "outcome", [SENT, DOWN, SILENT, BAD], ids=["sent", "failed", "ambiguous", "400"]
)
def test_a_single_failure_or_refusal_leaves_the_destination_working(
    outcome: Outcome,
) -> None:
    assert replace(_after(WORKING, outcome), failures=0) == WORKING


def test_retry_after_pauses_the_destination_until_the_retry() -> None:
    after = _after(WORKING, BUSY, retry_at=NOON + 20 * MINUTE)

    assert after.paused_until == NOON + 20 * MINUTE
    assert after.suspended_since is None
    assert _after(after, BUSY, retry_at=NOON + MINUTE).paused_until == NOON + 20 * MINUTE


@pytest.mark.parametrize(("hint", "wait"), [(10 * MINUTE, 10 * MINUTE), (5 * HOUR, HOUR)], ids=str)
def test_retry_after_pauses_the_destination_also_without_a_retry(
    hint: timedelta, wait: timedelta
) -> None:
    after = _after(WORKING, replace(BUSY, retry_after=hint))

    assert after.paused_until == NOON + wait


def test_a_success_does_not_end_a_retry_after_pause() -> None:
    paused = _after(WORKING, BUSY, retry_at=NOON + HOUR)

    assert _after(paused, SENT, now=NOON + SECOND) == paused
    assert _after(paused, SENT, now=NOON + HOUR) == WORKING


# --- suspended ----------------------------------------------------------------


def test_a_destination_that_refuses_us_is_suspended() -> None:
    assert _after(WORKING, UNKNOWN) == DestinationState(
        paused_until=NOON + 15 * MINUTE, suspended_since=NOON, probes=1, reason="401"
    )


def test_probes_come_after_a_quarter_of_an_hour_doubling_to_six_hours() -> None:
    stands, now, waits = WORKING, NOON, []
    for _ in range(8):
        stands = _after(stands, UNKNOWN, now=now)
        assert stands.paused_until is not None
        waits.append(stands.paused_until - now)
        now = stands.paused_until

    quarter = 15 * MINUTE
    doubling = [quarter, 2 * quarter, HOUR, 2 * HOUR, 4 * HOUR]
    assert waits == [*doubling, 6 * HOUR, 6 * HOUR, 6 * HOUR]
    weary = replace(SUSPENDED, probes=10_000)
    assert _after(weary, UNKNOWN).paused_until == NOON + 6 * HOUR
    assert _after(SUSPENDED, SENT) == WORKING
    assert stands.suspended_since == NOON


@pytest.mark.parametrize(
    "outcome", [DOWN, BUSY, SILENT, BAD], ids=["503", "429", "no answer", "400"]
)
def test_any_other_outcome_of_a_probe_keeps_the_suspension(
    outcome: Outcome,
) -> None:
    # Else the whole backlog would be spent on a destination that takes nothing.
    after = _after(SUSPENDED, outcome, retry_at=NOON + SECOND)

    assert after.suspended_since == SUSPENDED.suspended_since
    assert after.paused_until == NOON + 30 * MINUTE
    assert after.probes == 2


def test_an_attempt_from_before_the_suspension_is_no_probe() -> None:
    suspended = _after(WORKING, UNKNOWN)

    assert _after(suspended, UNKNOWN, now=NOON + SECOND) == suspended
    assert _after(suspended, DOWN, now=NOON + SECOND) == suspended


# --- gone ---------------------------------------------------------------------


def test_410_makes_a_destination_gone() -> None:
    after = _after(WORKING, GONE)

    assert after.gone
    assert after.suspended_since == NOON
    assert _after(_after(WORKING, UNKNOWN), GONE, now=NOON + SECOND).gone


@pytest.mark.parametrize("outcome", [SENT, DOWN, BUSY, UNKNOWN], ids=str)
def test_no_outcome_ends_gone(outcome: Outcome) -> None:
    gone = _after(WORKING, GONE)

    assert _after(gone, outcome, now=NOON + DAY) == gone


# --- the breaker --------------------------------------------------------------


OPEN = DestinationState(
    paused_until=NOON, open_since=NOON - MINUTE, probes=1, failures=5, reason="503"
)


def _fail(times: int, *, before: DestinationState = WORKING) -> DestinationState:
    for _ in range(times):
        before = _after(before, DOWN)
    return before


def test_five_failures_in_a_row_open_the_breaker() -> None:
    assert _fail(4).open_since is None
    assert _fail(5) == DestinationState(
        paused_until=NOON + 30 * SECOND,
        open_since=NOON,
        probes=1,
        failures=5,
        reason="503",
    )


@pytest.mark.parametrize("outcome", [SENT, BAD], ids=["sent", "400"])
def test_any_other_outcome_resets_the_count_of_failures(outcome: Outcome) -> None:
    assert _fail(4, before=_after(_fail(4), outcome)).open_since is None


@pytest.mark.parametrize(
    ("failed", "total", "is_open"),
    [(5, 10, True), (4, 10, False), (4, 8, False), (9, 9, False), (20, 41, False)],
)
def test_half_of_ten_recent_attempts_open_the_breaker(
    failed: int, total: int, is_open: bool
) -> None:
    after = _after(WORKING, DOWN, recent=RecentAttempts(failed=failed, total=total))

    assert (after.open_since is not None) is is_open


def test_429_is_no_failure() -> None:
    recent = RecentAttempts(failed=10, total=10)

    assert _after(_fail(4), BUSY, recent=recent).open_since is None


def test_a_partly_delivered_message_is_no_failure() -> None:
    partly = replace(SILENT, delivered_to=frozenset({"ann"}))

    assert _after(_fail(4), partly, recent=RecentAttempts(failed=10, total=10)) == _fail(4)


def test_probes_of_an_open_breaker_double_to_a_quarter_of_an_hour() -> None:
    stands, now, waits = _fail(4), NOON, []
    for _ in range(8):
        stands = _after(stands, DOWN, now=now)
        assert stands.paused_until is not None
        waits.append((stands.paused_until - now) / SECOND)
        now = stands.paused_until

    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]
    assert stands.open_since == NOON


def test_retry_after_of_a_probe_delays_the_next_probe() -> None:
    assert _after(OPEN, BUSY).paused_until == NOON + 10 * MINUTE
    endless = replace(BUSY, retry_after=DAY)
    assert _after(OPEN, endless).paused_until == NOON + HOUR


def test_an_attempt_from_before_the_breaker_opened_is_no_probe() -> None:
    opened = _fail(5)

    late = _after(opened, DOWN, now=NOON + SECOND)

    assert (late.probes, late.paused_until) == (1, opened.paused_until)


@pytest.mark.parametrize("outcome", [SENT, BAD], ids=["sent", "400"])
def test_any_outcome_but_a_failure_closes_the_breaker(outcome: Outcome) -> None:
    assert _after(OPEN, outcome) == WORKING


def test_a_refusal_of_the_destination_turns_open_into_suspended() -> None:
    after = _after(OPEN, UNKNOWN)

    assert (after.open_since, after.suspended_since) == (None, NOON)
    assert after.paused_until == NOON + 15 * MINUTE


def test_an_opening_breaker_does_not_shorten_a_retry_after_pause() -> None:
    paused = _after(_fail(4), BUSY, retry_at=NOON + HOUR)

    after = _after(paused, DOWN)

    assert (after.open_since, after.paused_until) == (NOON, NOON + HOUR)
