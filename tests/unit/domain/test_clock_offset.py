"""How far the clock is off, as the answers of a server prove it."""

from datetime import timedelta

import pytest
from strategies import HOUR, NOON, SECOND

from notifier.domain.clock_offset import (
    OffsetBounds,
    agreed_offset,
    offset_after_jump,
    offset_bounds,
)


def _proof(off: timedelta, *, took: timedelta = SECOND / 10) -> OffsetBounds:
    """The proof of an answer whose server's clock is ahead of ours by `off`."""
    sent = NOON + SECOND / 4
    there = sent + took / 2 + off
    return offset_bounds(sent_at=sent, received_at=sent + took, date=there.replace(microsecond=0))


@pytest.mark.parametrize("off_s", [-300.7, -1.9, 0.0, 0.6, 4.25, 86400.0])
def test_the_bounds_of_an_answer_contain_the_true_offset(off_s: float) -> None:
    off = timedelta(seconds=off_s)

    proof = _proof(off)

    assert proof.low <= off <= proof.high
    assert proof.high - proof.low == SECOND + SECOND / 10


@pytest.mark.parametrize("off_s", [-300.7, -3.5, 3.5, 86400.0])
def test_five_answers_that_agree_correct_the_clock(off_s: float) -> None:
    off = timedelta(seconds=off_s)

    found = agreed_offset([_proof(timedelta(0)), *[_proof(off)] * 5])

    assert found is not None
    assert abs(found - off) <= SECOND


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([_proof(HOUR)] * 4, id="four are not enough"),
        pytest.param([_proof(HOUR)] * 4 + [_proof(timedelta(0))], id="one finds it right"),
        pytest.param([_proof(-HOUR)] * 2 + [_proof(HOUR)] * 3, id="they contradict each other"),
        pytest.param([_proof(3 * SECOND, took=10 * SECOND)] * 5, id="slow answers prove little"),
        pytest.param([OffsetBounds(low=SECOND, high=3 * SECOND)] * 5, id="within a second"),
    ],
)
def test_a_clock_that_may_be_right_is_not_corrected(seen: list[OffsetBounds]) -> None:
    assert agreed_offset(seen) is None


def test_the_median_of_five_is_taken() -> None:
    seen = [_proof(30 * SECOND)] * 4 + [_proof(HOUR)]

    found = agreed_offset(seen)

    assert found is not None
    assert abs(found - 30 * SECOND) <= SECOND


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 5 * SECOND])
def test_one_answer_says_whether_a_jump_was_right(jump: timedelta) -> None:
    assert offset_after_jump(jump, _proof(jump)) == jump
    assert offset_after_jump(jump, _proof(jump - 0.9 * SECOND)) == jump
    assert offset_after_jump(jump, _proof(timedelta(0))) == timedelta(0)


def test_an_answer_that_confirms_neither_clock_corrects_by_what_it_shows() -> None:
    assert abs(offset_after_jump(HOUR, _proof(-HOUR)) + HOUR) <= SECOND
    assert abs(offset_after_jump(timedelta(0), _proof(HOUR)) - HOUR) <= SECOND
