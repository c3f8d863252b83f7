"""How many requests a rate allows."""

from datetime import timedelta

from strategies import HOUR, MINUTE, NOON, SECOND

from notifier.domain.rate_limit import UNLIMITED, Slots, slots, window_start
from notifier.domain.rules import Rate

SLOW = Rate(count=3, per=MINUTE)
MARGIN = 20 * SECOND / 1000


def _slots(rate: Rate | None, *ago: timedelta) -> tuple[int, int]:
    found = slots(rate, [NOON - one for one in ago], NOON)
    assert found.wait == timedelta(0)
    return found.now, found.soon


def test_without_a_rate_there_is_room_for_everything() -> None:
    assert window_start(None, NOON) is None
    assert _slots(None) == (UNLIMITED, UNLIMITED)


def test_what_left_within_the_window_takes_its_room() -> None:
    assert window_start(SLOW, NOON) == NOON - MINUTE - MARGIN
    assert _slots(SLOW) == (3, 3)
    assert _slots(SLOW, 10 * SECOND, 20 * SECOND) == (1, 1)
    assert _slots(SLOW, 10 * SECOND, 55 * SECOND) == (1, 2)
    assert _slots(Rate(count=2, per=SECOND)) == (2, 20)


def test_a_full_window_is_waited_for_until_its_oldest_leaves_it() -> None:
    sent = [NOON - ago for ago in (10 * SECOND, 20 * SECOND, 50 * SECOND)]

    assert slots(SLOW, sent, NOON) == Slots(now=0, soon=1, wait=10 * SECOND + MARGIN)


def test_what_lies_in_the_future_is_of_a_clock_that_was_wrong() -> None:
    ahead = -2 * HOUR

    assert _slots(SLOW, ahead, ahead, ahead) == (3, 3)
