"""What becomes of a delivery that only probed, or that nobody may repeat."""

from dataclasses import replace
from datetime import datetime

import pytest
from owed import due, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.models import Ambiguous, Due, Failed, Form, Outcome, Refused, Scope, Sent
from notifier.domain.retry_policy import (
    MAX_AGE,
    Dead,
    Delivered,
    Dropped,
    Expired,
    Rescheduled,
    Standing,
    Verdict,
    abandoned,
    settle,
    together,
)

DOWN = Failed(reason="503", status=503)
BUSY = Failed(reason="429", status=429, retry_after=10 * MINUTE)
SILENT = Ambiguous(reason="no answer")
BAD = Refused(reason="400", status=400, scope=Scope.MESSAGE)
OPEN = Standing(open_since=NOON - HOUR, paused_until=NOON, probes=2, failures=6)
SUSPENDED = Standing(suspended_since=NOON - DAY, paused_until=NOON, probes=2)


def _settle(
    one: Due,
    outcome: Outcome,
    *,
    standing: Standing = Standing(),  # noqa: B008 - frozen
    now: datetime = NOON,
    drop: bool = False,
) -> Verdict:
    return settle(
        one,
        outcome,
        attempt=one.attempts,
        in_digest=False,
        now=now,
        jitter=0.0,
        standing=standing,
        drop_ambiguous=drop,
    )


# --- probes -------------------------------------------------------------------


@pytest.mark.parametrize("standing", [OPEN, SUSPENDED], ids=["open", "suspended"])
@pytest.mark.parametrize("outcome", [DOWN, BUSY, SILENT], ids=["503", "429", "silent"])
def test_a_probe_in_vain_costs_no_try_and_is_ready_for_the_next(
    standing: Standing, outcome: Failed | Ambiguous
) -> None:
    # The last of its tries, were it one.
    verdict = _settle(due(attempts=13), outcome, standing=standing)

    assert verdict == Rescheduled(
        due_at=NOON,
        form=Form.RICH,
        reason=outcome.reason,
        frozen=outcome is SILENT,
        refunded=True,
    )


def test_a_probe_that_arrives_is_delivered() -> None:
    assert _settle(due(attempts=1), Sent(), standing=OPEN) == Delivered()


def test_a_probe_that_is_refused_goes_plainer_like_any_other() -> None:
    verdict = _settle(due(attempts=1), BAD, standing=OPEN)

    assert isinstance(verdict, Rescheduled)
    assert (verdict.form, verdict.refunded) == (Form.PLAIN, False)


def test_what_probes_grows_too_old_nevertheless() -> None:
    old = due(attempts=1, born_at=NOON - MAX_AGE - SECOND)

    assert _settle(old, DOWN, standing=OPEN) == Dead(reason="503")
    # The time of a suspension counts for no age.
    assert isinstance(_settle(old, DOWN, standing=SUSPENDED), Rescheduled)


def test_a_start_that_probes_expires_nevertheless() -> None:
    late = NOON + 31 * MINUTE

    for standing in (OPEN, SUSPENDED):
        verdict = _settle(started(), DOWN, standing=standing, now=late)
        assert verdict == Expired(reason="503")


# --- at most once -------------------------------------------------------------


def test_what_may_have_arrived_is_dropped_where_nothing_may_be_repeated() -> None:
    assert _settle(due(attempts=1), SILENT, drop=True) == Dropped(
        reason="it may have arrived: no answer"
    )


@pytest.mark.parametrize("outcome", [DOWN, BUSY], ids=["503", "429"])
def test_what_surely_did_not_arrive_is_tried_again_even_there(
    outcome: Outcome,
) -> None:
    verdict = _settle(due(attempts=1), outcome, drop=True)

    assert isinstance(verdict, Rescheduled)


def test_those_who_surely_lack_it_get_it_even_there() -> None:
    partly = replace(SILENT, served=frozenset({"ann"}), unsure=False)

    verdict = _settle(due(attempts=1), partly, drop=True)

    assert isinstance(verdict, Rescheduled)
    assert verdict.frozen


def test_nobody_gets_it_twice_there_for_the_sake_of_those_who_lack_it() -> None:
    unsure = replace(SILENT, served=frozenset({"ann"}))

    assert isinstance(_settle(due(attempts=1), unsure, drop=True), Dropped)


def test_a_digest_that_may_have_arrived_is_dropped_whole() -> None:
    verdicts = [_settle(due(seq, attempts=1), SILENT, drop=True) for seq in (1, 2)]

    assert {type(verdict) for verdict in together(verdicts)} == {Dropped}


def test_a_crash_in_the_middle_of_an_attempt_drops_it_there() -> None:
    verdict = abandoned(due(attempts=1), crashes=0, now=NOON, drop_ambiguous=True)

    assert verdict == Dropped(
        reason="it may have arrived: the attempt was cut off by a crash or never came back"
    )


# --- several recipients -------------------------------------------------------


def test_what_some_have_and_others_refuse_is_dead_and_not_put_otherwise() -> None:
    partly = replace(BAD, served=frozenset({"ann"}))

    assert _settle(due(attempts=1), partly) == Dead(reason="400")


def test_what_some_have_waits_unchanged_for_a_destination_that_refuses_us() -> None:
    refusal = Refused(reason="401", scope=Scope.DESTINATION, served=frozenset({"ann"}))

    verdict = _settle(due(attempts=1), refusal)

    assert isinstance(verdict, Rescheduled)
    assert (verdict.frozen, verdict.refunded) == (True, True)
