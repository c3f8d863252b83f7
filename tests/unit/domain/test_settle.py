"""What becomes of a delivery once the sender has said what it saw."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from owed import due, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.models import Ambiguous, Due, Failed, Form, Kind, Outcome, Refused, Scope, Sent
from notifier.domain.retry_policy import (
    Dead,
    Delivered,
    Expired,
    Rescheduled,
    Verdict,
    abandoned,
    settle,
    together,
)

DOWN = Failed(reason="503", status=503)
BUSY = Failed(reason="429", status=429, retry_after=10 * MINUTE)
SILENT = Ambiguous(reason="no answer")
BAD = Refused(reason="400", status=400, scope=Scope.MESSAGE)
UNKNOWN = Refused(reason="401", status=401, scope=Scope.DESTINATION)
GONE = Refused(reason="410", status=410, scope=Scope.GONE)

PATIENT = [
    *(5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR),
    *(2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 20 * HOUR, 24 * HOUR),
]
HASTY = [5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE]


def _settle(
    one: Due,
    outcome: Outcome,
    *,
    now: datetime = NOON,
    jitter: float = 0.0,
    in_digest: bool = False,
) -> Verdict:
    """As the loop does it: the try counts, and is the message's only one."""
    return settle(
        one,
        outcome,
        attempt=one.attempts,
        in_digest=in_digest,
        now=now,
        jitter=jitter,
    )


def _again(verdict: Verdict) -> Rescheduled:
    assert isinstance(verdict, Rescheduled)
    return verdict


def _tries(
    one: Due, outcome: Outcome, *, jitter: Callable[[], float] = lambda: 0.0
) -> tuple[list[datetime], Verdict]:
    """When it is tried while every try ends alike, and how that ends."""
    now = one.born_at
    at: list[datetime] = []
    while len(at) < 1000:
        at.append(now)
        one = replace(one, attempts=one.attempts + 1)
        verdict = _settle(one, outcome, now=now, jitter=jitter())
        if not isinstance(verdict, Rescheduled):
            return at, verdict
        one = replace(
            one,
            attempts=one.attempts - verdict.refunded,
            form=verdict.form,
            frozen_in="msg_1" if verdict.frozen else None,
        )
        now = verdict.due_at
    pytest.fail("it is tried for ever")


def _waits(at: Sequence[datetime]) -> list[timedelta]:
    return [later - sooner for sooner, later in pairwise(at)]


# --- the schedules ------------------------------------------------------------


def test_what_arrived_is_delivered() -> None:
    assert _settle(due(attempts=1), Sent(status=200)) == Delivered()


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED])
@pytest.mark.parametrize("outcome", [DOWN, SILENT], ids=["failed", "ambiguous"])
def test_what_keeps_failing_is_tried_thirteen_times_and_then_dead(
    kind: Kind, outcome: Outcome
) -> None:
    at, end = _tries(due(1, kind), outcome)

    assert _waits(at) == PATIENT
    assert end == Dead(reason=outcome.reason if not isinstance(outcome, Sent) else "")


@given(dice=st.lists(st.floats(-1, 1), min_size=13, max_size=13))
def test_the_dice_cost_no_try_and_add_no_hour(dice: list[float]) -> None:
    thrown = iter(dice)

    at, end = _tries(due(), DOWN, jitter=lambda: next(thrown))

    assert len(at) == 13
    assert isinstance(end, Dead)
    assert at[-1] - NOON <= 72 * HOUR


@given(jitter=st.floats(-1, 1), attempt=st.integers(1, 12))
def test_a_wait_is_the_schedules_up_to_a_fifth(jitter: float, attempt: int) -> None:
    verdict = _settle(due(attempts=attempt), DOWN, jitter=jitter)

    wait, step = _again(verdict).due_at - NOON, PATIENT[attempt - 1]
    assert 0.8 * step <= wait <= 1.2 * step


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.UPCOMING])
def test_news_of_a_start_is_tried_hastily_until_it_expires(kind: Kind) -> None:
    one = due(1, kind, expires_at=NOON + 30 * MINUTE)

    at, end = _tries(one, DOWN)

    assert _waits(at) == [*HASTY, *[5 * MINUTE] * 4]
    assert at[-1] <= NOON + 30 * MINUTE
    assert end == Expired(reason="503")


def test_the_members_of_a_message_wait_alike() -> None:
    fresh = settle(due(attempts=1), DOWN, attempt=4, in_digest=True, now=NOON, jitter=0.0)

    assert _again(fresh).due_at == NOON + 10 * MINUTE


def test_nothing_is_tried_longer_than_three_days() -> None:
    old = due(attempts=2, born_at=NOON - 72 * HOUR)

    assert _settle(old, DOWN) == Dead(reason="503")


def test_the_last_try_is_made_in_time() -> None:
    old = due(attempts=12, born_at=NOON - 60 * HOUR)

    assert _again(_settle(old, DOWN)).due_at == NOON + 12 * HOUR


# --- patience asked for -------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "attempt", "wait"),
    [
        (10 * MINUTE, 1, 10 * MINUTE),
        (SECOND, 3, 2 * MINUTE),
        (-HOUR, 1, 5 * SECOND),
        (timedelta(0), 1, 5 * SECOND),
        (5 * HOUR, 1, HOUR),
        (SECOND, 12, HOUR),
    ],
    ids=str,
)
def test_a_services_hint_is_honoured_beside_the_schedule_up_to_an_hour(
    hint: timedelta, attempt: int, wait: timedelta
) -> None:
    busy = replace(BUSY, retry_after=hint)

    assert _again(_settle(due(attempts=attempt), busy)).due_at == NOON + wait


def test_patience_that_was_asked_for_costs_no_try() -> None:
    assert _again(_settle(due(attempts=13), BUSY)).refunded
    assert not _again(_settle(due(attempts=12), DOWN)).refunded


def test_a_service_that_asks_for_patience_for_ever_gets_three_days() -> None:
    at, end = _tries(due(), replace(BUSY, retry_after=HOUR))

    assert isinstance(end, Dead)
    assert 71 * HOUR <= at[-1] - NOON <= 72 * HOUR


def test_a_start_does_not_wait_longer_than_it_is_good_for() -> None:
    verdict = _settle(replace(started(), attempts=1), replace(BUSY, retry_after=HOUR))

    assert verdict == Expired(reason="429")


# --- refused ------------------------------------------------------------------


def test_a_single_that_is_refused_goes_once_more_in_plain_and_then_dies() -> None:
    rich = due(attempts=1)

    plain = _again(_settle(rich, BAD))

    assert (plain.form, plain.due_at, plain.refunded) == (Form.PLAIN, NOON, False)
    assert _settle(replace(rich, form=Form.PLAIN), BAD) == Dead(reason="400")


def test_a_digest_that_is_refused_goes_plainer_and_in_the_end_one_by_one() -> None:
    one, forms = due(attempts=1), [Form.RICH]
    for _ in range(3):
        verdict = _again(_settle(one, BAD, in_digest=True))
        assert verdict.due_at == NOON
        forms.append(verdict.form)
        one = replace(one, form=verdict.form)

    assert forms == [Form.RICH, Form.PLAIN, Form.COUNTS, Form.ALONE]
    assert _settle(one, BAD) == Dead(reason="400")


def test_the_last_of_a_digest_that_counted_is_told_in_words_before_it_dies() -> None:
    verdict = _settle(due(attempts=3, form=Form.COUNTS), BAD, in_digest=False)

    assert _again(verdict).form is Form.ALONE


def test_plainer_forms_are_no_way_around_the_thirteen_tries() -> None:
    assert isinstance(_settle(due(attempts=13), BAD), Dead)


def test_a_refused_start_is_not_tried_after_it_expired() -> None:
    late = _settle(replace(started(), attempts=1), BAD, now=NOON + 31 * MINUTE)

    assert late == Expired(reason="400")


@pytest.mark.parametrize("outcome", [UNKNOWN, GONE], ids=["401", "410"])
def test_what_a_destination_refuses_as_a_whole_waits_and_costs_no_try(
    outcome: Outcome,
) -> None:
    verdict = _again(_settle(due(attempts=13, form=Form.PLAIN), outcome))

    assert verdict.refunded
    assert (verdict.due_at, verdict.form) == (NOON, Form.PLAIN)


def test_what_waits_for_a_suspended_destination_waits_seven_days() -> None:
    patient = _settle(due(attempts=1, born_at=NOON - 7 * DAY), UNKNOWN)
    weary = _settle(due(attempts=1, born_at=NOON - 7 * DAY - SECOND), UNKNOWN)

    assert isinstance(patient, Rescheduled)
    assert weary == Dead(reason="401")


def test_a_start_does_not_wait_for_a_suspended_destination() -> None:
    late = _settle(replace(started(), attempts=1), UNKNOWN, now=NOON + HOUR)

    assert late == Expired(reason="401")


# --- what may have arrived ----------------------------------------------------


def test_what_may_have_arrived_goes_again_as_it_is() -> None:
    assert _again(_settle(due(attempts=1), SILENT)).frozen


def test_what_surely_did_not_arrive_is_free() -> None:
    assert not _again(_settle(due(attempts=1), DOWN)).frozen
    assert not _again(_settle(due(attempts=1), BAD)).frozen


@pytest.mark.parametrize("outcome", [DOWN, BUSY, BAD, UNKNOWN], ids=lambda o: o.reason)
def test_what_may_have_arrived_once_stays_together_whatever_comes(
    outcome: Outcome,
) -> None:
    one = due(attempts=2, frozen_in="msg_1")

    assert _again(_settle(one, outcome, in_digest=True)).frozen


def test_only_going_one_by_one_parts_what_may_have_arrived() -> None:
    one = due(attempts=2, form=Form.COUNTS, frozen_in="msg_1")

    verdict = _again(_settle(one, BAD, in_digest=True))

    assert (verdict.form, verdict.frozen) == (Form.ALONE, False)


def test_as_long_as_one_member_is_worth_it_none_leaves_what_may_have_arrived() -> None:
    members = [due(1, attempts=13), due(2, attempts=2), started(3, at=NOON - HOUR)]
    decided = [_settle(one, SILENT) for one in members]
    assert [type(one) for one in decided] == [Dead, Rescheduled, Expired]

    agreed = together(decided)

    assert set(agreed) == {decided[1]}


def test_what_surely_did_not_arrive_is_decided_one_by_one() -> None:
    decided = [_settle(one, DOWN) for one in (due(1, attempts=13), due(2, attempts=2))]

    assert together(decided) == tuple(decided)


def test_what_may_have_arrived_ends_when_no_member_is_worth_it() -> None:
    decided = [_settle(due(seq, attempts=13), SILENT) for seq in (1, 2)]

    assert together(decided) == tuple(decided)


# --- a crash ------------------------------------------------------------------


def test_after_the_first_crash_it_goes_at_once_with_the_same_members() -> None:
    verdict = _again(abandoned(due(attempts=1), crashes=0, now=NOON))

    assert (verdict.due_at, verdict.frozen, verdict.refunded) == (NOON, True, False)


@pytest.mark.parametrize(("attempts", "wait"), [(2, 30 * SECOND), (6, HOUR)])
def test_after_another_crash_it_waits_for_the_next_step(attempts: int, wait: timedelta) -> None:
    verdict = _again(abandoned(due(attempts=attempts), crashes=1, now=NOON))

    assert verdict.due_at == NOON + wait


def test_a_message_that_kills_the_process_runs_out_of_tries() -> None:
    now, waits = NOON, []
    for tries in range(1, 13):
        verdict = _again(abandoned(due(attempts=tries), crashes=tries - 1, now=now))
        waits.append(verdict.due_at - now)
        now = verdict.due_at

    assert waits == [timedelta(0), *PATIENT[1:]]
    assert isinstance(abandoned(due(attempts=13), crashes=12, now=now), Dead)


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_start_that_was_cut_off_expires(crashes: int) -> None:
    one = replace(started(), attempts=1)

    late = abandoned(one, crashes=crashes, now=NOON + 30 * MINUTE + SECOND)

    assert isinstance(late, Expired)


def test_a_start_that_was_cut_off_in_time_goes_again_at_once() -> None:
    one = replace(started(), attempts=1)

    assert _again(abandoned(one, crashes=0, now=NOON + MINUTE)).due_at == NOON + MINUTE
