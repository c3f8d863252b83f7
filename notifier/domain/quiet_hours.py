"""
What the clock on the wall says: when quiet hours end, and the next 08:00.

A wall clock jumps twice a year. Where it leaps over a time, that time is the first
instant after the gap. Where it shows a time twice, things begin at the first and
end at the last: a daily digest goes once, and who sleeps until 02:30 sleeps until
it is 02:30 for good.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

from notifier.domain.rules import QuietPolicy, Window

#: Quiet hours that never end are asked about again after it.
FARTHEST = timedelta(days=8)

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)


def quiet_until(policy: QuietPolicy, zone: ZoneInfo, now: datetime) -> datetime | None:
    """
    When the quiet time that holds now ends, in UTC; None: it is not quiet.

    Windows that touch or overlap are one quiet time. `zone` serves a policy
    without one of its own. At most `FARTHEST` from now.
    """
    zone = policy.zone or zone
    farthest = now + FARTHEST
    end = now
    while end < farthest and (later := max(_ends(policy, zone, end), default=None)):
        end = later
    return min(end, farthest) if end > now else None


def next_time(at: time, zone: ZoneInfo, after: datetime) -> datetime:
    """The first instant after `after`, in UTC, at which it is `at`: once a date."""
    today = after.astimezone(zone).date()
    # Clocks that are set back over midnight have begun tomorrow already.
    instants = (_first(today + i * _DAY, at, zone) for i in range(3))
    return next(instant for instant in instants if instant > after)


def _ends(policy: QuietPolicy, zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """The ends of the windows in which `now` lies."""
    today = now.astimezone(zone).date()
    # A window may have begun yesterday. One day more on either side, for clocks
    # that are set back over midnight.
    days = [today + i * _DAY for i in range(-2, 2)]
    for window, day in product(policy.windows, days):
        if day.weekday() in window.days:
            begin, end = _span(window, day, zone)
            if begin <= now < end:
                yield end


@lru_cache(maxsize=256)  # asked about each delivery that comes due
def _span(window: Window, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants at which the window of this day begins and ends."""
    overnight = window.end <= window.start
    last_day = day + _DAY if overnight else day
    return _first(day, window.start, zone), _last(last_day, window.end, zone)


# --- from the wall to UTC -----------------------------------------------------


def _first(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant at which clocks first show this, or leap over it."""
    early, late = _readings(day, at, zone)
    return early if early <= late else _leap(late, early, zone)


def _last(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant at which clocks last show this, or leap over it."""
    early, late = _readings(day, at, zone)
    return late if early <= late else _leap(late, early, zone)


def _readings(day: date, at: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """
    The wall time, read with the offset before a jump nearby, then with the one after.

    They are equal as a rule. In a gap, the first is the later of the two, and the
    leap lies between them.
    """
    wall = datetime.combine(day, at, zone)
    early, late = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return early, late


def _leap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The second, later than `before`, from which on clocks go as they do `after`."""

    def offset(seconds: int) -> timedelta:
        wall = (before + seconds * _SECOND).astimezone(zone)
        return wall.utcoffset() or timedelta(0)

    seconds = range((after - before) // _SECOND + 1)
    return before + bisect_left(seconds, offset(seconds[-1]), key=offset) * _SECOND
