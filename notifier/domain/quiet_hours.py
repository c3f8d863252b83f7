"""
Wall-clock times: when quiet hours end, and the next 08:00.

A wall clock jumps twice a year. A time inside the gap is taken as the first instant after it. A
time that occurs twice begins things at its first and ends them at its last occurrence: a daily
digest goes once, and quiet hours until 02:30 end at the second 02:30.
"""

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import product
from zoneinfo import ZoneInfo

from notifier.domain.rules import QuietPolicy, Window

#: The end of quiet hours that never end; they are computed again then.
MAX_QUIET = timedelta(days=8)

_DAY = timedelta(days=1)


def quiet_until(policy: QuietPolicy, zone: ZoneInfo, now: datetime) -> datetime | None:
    """
    When the quiet hours that hold now end, in UTC, at most `MAX_QUIET` from now; None: none hold.

    Windows that touch or overlap are one. `zone` is for a policy without one of its own.
    """
    zone = policy.zone or zone
    end, latest = now, now + MAX_QUIET
    while end < latest:
        # A window may have begun yesterday. One day more on either side, for clocks that are
        # set back over midnight.
        today = end.astimezone(zone).date()
        days = [today + i * _DAY for i in range(-2, 2)]
        spans = [
            _span(window, day, zone)
            for window, day in product(policy.windows, days)
            if day.weekday() in window.days
        ]
        ends = [last for first, last in spans if first <= end < last]
        if not ends:
            break
        end = max(ends)
    return min(end, latest) if end > now else None


def next_time(at: time, zone: ZoneInfo, after: datetime) -> datetime:
    """The first instant after `after`, in UTC, at which it is `at`: once a date."""
    today = after.astimezone(zone).date()
    # Clocks that are set back over midnight have begun tomorrow already.
    instants = (_instant(today + i * _DAY, at, zone, last=False) for i in range(3))
    return next(instant for instant in instants if instant > after)


@lru_cache(maxsize=256)  # asked about each delivery that comes due
def _span(window: Window, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants at which the window of this day begins and ends."""
    last_day = day + _DAY if window.end <= window.start else day
    first = _instant(day, window.start, zone, last=False)
    return first, _instant(last_day, window.end, zone, last=True)


def _instant(day: date, at: time, zone: ZoneInfo, *, last: bool) -> datetime:
    """
    The instant at which clocks first or last show this time, or leap over it.

    The wall time is read with the offset before a change nearby, then with the one after it. The
    two are equal as a rule. In a gap the first is the later one, and the leap lies between them.
    """
    wall = datetime.combine(day, at, zone)
    early, late = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if early <= late:
        return late if last else early

    def offset(seconds: int) -> timedelta | None:
        return (late + timedelta(seconds=seconds)).astimezone(zone).utcoffset()

    # The second from which on clocks go as they do after the leap.
    seconds = range((early - late) // timedelta(seconds=1) + 1)
    leap = bisect_left(seconds, True, key=lambda n: offset(n) == offset(seconds[-1]))  # noqa: FBT003
    return late + timedelta(seconds=leap)
