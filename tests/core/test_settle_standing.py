"""How a destination stands after an attempt."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.core.model import Ambiguous, Failed, Outcome, Refused, Scope, Sent
from notifier.core.settle import Standing, standing

SENT = Sent(status=200)
DOWN = Failed(reason="503", status=503)
BUSY = Failed(reason="429", status=429, retry_after=10 * MINUTE)
SILENT = Ambiguous(reason="no answer")
BAD = Refused(reason="400", status=400, scope=Scope.MESSAGE)
UNKNOWN = Refused(reason="401", status=401, scope=Scope.DESTINATION)
GONE = Refused(reason="410", status=410, scope=Scope.GONE)

WELL = Standing()
SUSPENDED = Standing(
    paused_until=NOON, suspended_since=NOON - 15 * MINUTE, probes=1, reason="401"
)


def _after(
    before: Standing,
    outcome: Outcome,
    *,
    now: datetime = NOON,
    due_at: datetime | None = None,
) -> Standing:
    return standing(before, outcome, now=now, due_at=due_at)


@pytest.mark.parametrize(
    "outcome", [SENT, DOWN, SILENT, BAD], ids=["sent", "failed", "ambiguous", "400"]
)
def test_what_concerns_one_message_leaves_the_destination_as_it_is(
    outcome: Outcome,
) -> None:
    assert _after(WELL, outcome) == WELL


def test_a_service_that_asks_for_patience_is_left_alone_for_as_long() -> None:
    after = _after(WELL, BUSY, due_at=NOON + 20 * MINUTE)

    assert after.paused_until == NOON + 20 * MINUTE
    assert after.suspended_since is None


@pytest.mark.parametrize(
    ("hint", "wait"), [(10 * MINUTE, 10 * MINUTE), (5 * HOUR, HOUR)], ids=str
)
def test_it_is_left_alone_too_when_the_message_does_not_go_again(
    hint: timedelta, wait: timedelta
) -> None:
    after = _after(WELL, replace(BUSY, retry_after=hint))

    assert after.paused_until == NOON + wait


def test_the_longest_pause_that_was_asked_for_counts() -> None:
    paused = _after(WELL, BUSY, due_at=NOON + HOUR)

    assert _after(paused, BUSY, due_at=NOON + MINUTE).paused_until == NOON + HOUR


def test_a_success_beside_it_does_not_end_a_pause_that_was_asked_for() -> None:
    paused = _after(WELL, BUSY, due_at=NOON + HOUR)

    assert _after(paused, SENT, now=NOON + SECOND) == paused
    assert _after(paused, SENT, now=NOON + HOUR) == WELL


# --- suspended ----------------------------------------------------------------


def test_a_destination_that_refuses_us_is_suspended() -> None:
    assert _after(WELL, UNKNOWN) == Standing(
        paused_until=NOON + 15 * MINUTE, suspended_since=NOON, probes=1, reason="401"
    )


def test_probes_come_after_a_quarter_of_an_hour_doubling_to_six_hours() -> None:
    stands, now, waits = WELL, NOON, []
    for _ in range(8):
        stands = _after(stands, UNKNOWN, now=now)
        assert stands.paused_until is not None
        waits.append(stands.paused_until - now)
        now = stands.paused_until

    quarter = 15 * MINUTE
    doubling = [quarter, 2 * quarter, HOUR, 2 * HOUR, 4 * HOUR]
    assert waits == [*doubling, 6 * HOUR, 6 * HOUR, 6 * HOUR]
    assert stands.suspended_since == NOON


def test_months_of_probes_overflow_nothing() -> None:
    weary = replace(SUSPENDED, probes=10_000)

    assert _after(weary, UNKNOWN).paused_until == NOON + 6 * HOUR


def test_a_success_ends_a_suspension() -> None:
    assert _after(SUSPENDED, SENT) == WELL


@pytest.mark.parametrize(
    "outcome", [DOWN, BUSY, SILENT, BAD], ids=["503", "429", "no answer", "400"]
)
def test_any_other_end_of_a_probe_leaves_it_suspended_until_the_next(
    outcome: Outcome,
) -> None:
    # Else the whole backlog would be spent on a destination that takes nothing.
    after = _after(SUSPENDED, outcome, due_at=NOON + SECOND)

    assert after.suspended_since == SUSPENDED.suspended_since
    assert after.paused_until == NOON + 30 * MINUTE
    assert after.probes == 2


def test_what_had_left_before_the_suspension_is_no_probe() -> None:
    suspended = _after(WELL, UNKNOWN)

    assert _after(suspended, UNKNOWN, now=NOON + SECOND) == suspended
    assert _after(suspended, DOWN, now=NOON + SECOND) == suspended


# --- gone ---------------------------------------------------------------------


def test_a_destination_that_says_it_is_gone_is_gone() -> None:
    after = _after(WELL, GONE)

    assert after.gone
    assert after.suspended_since == NOON


def test_a_suspended_destination_may_turn_out_to_be_gone_at_any_time() -> None:
    assert _after(_after(WELL, UNKNOWN), GONE, now=NOON + SECOND).gone


@pytest.mark.parametrize("outcome", [SENT, DOWN, BUSY, UNKNOWN], ids=str)
def test_nothing_that_was_seen_brings_back_what_is_gone(outcome: Outcome) -> None:
    gone = _after(WELL, GONE)

    assert _after(gone, outcome, now=NOON + DAY) == gone
