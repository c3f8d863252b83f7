"""How far this machine's clock is off, as the `Date` headers of the API's answers prove it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

#: So many answers in a row must agree before a confirmed clock is corrected.
ANSWERS = 5
#: A clock that is off by no more is right: `Date` has whole seconds.
TOLERANCE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetBounds:
    """One answer's proof: true time minus ours lies between `low` and `high`."""

    low: timedelta
    high: timedelta

    @property
    def middle(self) -> timedelta:
        """The best guess within the bounds."""
        return (self.low + self.high) / 2

    def distance(self, offset: timedelta) -> timedelta:
        """How far an assumed offset lies outside of the bounds."""
        return max(self.low - offset, offset - self.high, timedelta(0))


def offset_bounds(*, sent_at: datetime, received_at: datetime, date: datetime) -> OffsetBounds:
    """What an answer whose `Date` has whole seconds proves about our clock."""
    return OffsetBounds(low=date - received_at, high=date + timedelta(seconds=1) - sent_at)


def agreed_offset(seen: Sequence[OffsetBounds]) -> timedelta | None:
    """
    How far our clock is off, if the last five answers all prove it: the median.

    None while any of them allows for a clock that is right: one slow or wrong answer must not
    move starts.
    """
    last = seen[-ANSWERS:]
    is_slow = all(bounds.low > TOLERANCE for bounds in last)
    is_fast = all(bounds.high < -TOLERANCE for bounds in last)
    if len(last) < ANSWERS or not (is_slow or is_fast):
        return None
    return sorted(bounds.middle for bounds in last)[ANSWERS // 2]


def offset_after_jump(jump: timedelta, bounds: OffsetBounds) -> timedelta:
    """
    How far our clock is off, by one answer, after a jump that our clock did not follow.

    Nothing or the whole jump, whichever the answer confirms; else what the answer shows.
    """
    best = min(timedelta(0), jump, key=bounds.distance)
    return best if bounds.distance(best) <= TOLERANCE else bounds.middle
