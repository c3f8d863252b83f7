"""How far our clock is off, as the answers of a server prove it."""

from datetime import timedelta

import pytest
from strategies import HOUR, NOON, SECOND

from notifier.domain.timers import Bounds, bounds, is_repair, is_right, offset


def _proof(off: timedelta, *, took: timedelta = SECOND / 10) -> Bounds:
    """What an answer proves whose server's clock is ahead of ours by `off`."""
    sent = NOON + SECOND / 4
    there = sent + took / 2 + off
    return bounds(sent_at=sent, received_at=sent + took, date=there.replace(microsecond=0))


@pytest.mark.parametrize("off_s", [-300.7, -1.9, 0.0, 0.6, 4.25, 86400.0])
def test_an_answer_bounds_the_truth(off_s: float) -> None:
    off = timedelta(seconds=off_s)

    proof = _proof(off)

    assert proof.low <= off <= proof.high
    assert proof.high - proof.low == SECOND + SECOND / 10


@pytest.mark.parametrize("off_s", [-300.7, -3.5, 3.5, 86400.0])
def test_five_answers_that_agree_correct_the_clock(off_s: float) -> None:
    off = timedelta(seconds=off_s)

    found = offset([_proof(off)] * 5)

    assert found is not None
    assert abs(found - off) <= SECOND


def test_four_answers_are_not_enough() -> None:
    assert offset([_proof(HOUR)] * 4) is None


@pytest.mark.parametrize("doubtful", range(5))
def test_one_answer_that_leaves_room_for_a_right_clock_is_believed(
    doubtful: int,
) -> None:
    seen = [_proof(HOUR)] * 5
    seen[doubtful] = _proof(timedelta(0))

    assert offset(seen) is None


def test_a_clock_within_a_second_of_an_answer_is_left_alone() -> None:
    assert offset([Bounds(low=SECOND, high=3 * SECOND)] * 5) is None
    assert offset([Bounds(low=-3 * SECOND, high=-SECOND)] * 5) is None
    just = Bounds(low=SECOND + timedelta(microseconds=1), high=2 * SECOND)
    assert offset([just] * 5) is not None


def test_only_the_last_five_count() -> None:
    assert offset([_proof(timedelta(0)), *[_proof(HOUR)] * 5]) is not None


def test_answers_that_contradict_each_other_correct_nothing() -> None:
    seen = [_proof(5 * SECOND)] * 4 + [_proof(HOUR)]

    assert offset(seen) is None
    assert offset([_proof(-HOUR)] * 2 + [_proof(HOUR)] * 3) is None


def test_a_slow_answer_proves_little() -> None:
    assert offset([_proof(3 * SECOND, took=10 * SECOND)] * 5) is None


def test_narrow_answers_narrow_the_correction() -> None:
    wide = Bounds(low=2 * SECOND, high=30 * SECOND)
    narrow = Bounds(low=10 * SECOND, high=11 * SECOND)

    assert offset([wide, wide, narrow, wide, wide]) == 10.5 * SECOND


def test_one_answer_is_enough_where_nothing_is_known() -> None:
    found = offset([_proof(HOUR)], answers=1)

    assert found is not None
    assert abs(found - HOUR) <= SECOND
    assert offset([_proof(0.9 * SECOND)], answers=1) is None
    assert offset([], answers=1) is None


# --- a jump of the machine's clock --------------------------------------------


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 86400 * SECOND, 5 * SECOND])
def test_one_answer_says_whether_a_jump_was_right(jump: timedelta) -> None:
    assert is_right(jump, _proof(jump)) is True
    assert is_right(jump, _proof(timedelta(0))) is False


def test_a_clock_that_was_a_little_off_is_told_from_one_that_jumped() -> None:
    assert is_right(HOUR, _proof(0.9 * SECOND)) is False
    assert is_right(HOUR, _proof(HOUR - 0.9 * SECOND)) is True


def test_an_answer_that_fits_neither_clock_says_nothing_of_the_jump() -> None:
    assert is_right(HOUR, _proof(-HOUR)) is None
    assert is_right(HOUR, _proof(HOUR / 2)) is None


def test_an_answer_that_was_slower_than_the_jump_is_far_says_nothing() -> None:
    slow = Bounds(low=-10 * SECOND, high=10 * SECOND)

    assert is_right(5 * SECOND, slow) is None
    assert is_right(HOUR, slow) is False


@pytest.mark.parametrize("off_s", [600.0, -600.0, 1.8e9])
def test_a_jump_of_as_much_as_a_correction_is_a_repair(off_s: float) -> None:
    off = timedelta(seconds=off_s)

    assert is_repair(off, off)
    assert is_repair(off + 2 * SECOND, off)
    assert not is_repair(off + 2.1 * SECOND, off)
    assert not is_repair(-off, off)


def test_a_jump_that_leaves_a_small_error_as_large_as_it_was_is_no_repair() -> None:
    assert is_repair(1.2 * SECOND, 1.5 * SECOND)
    assert not is_repair(3 * SECOND, 1.5 * SECOND)
    assert not is_repair(1.1 * SECOND, 0 * SECOND)
