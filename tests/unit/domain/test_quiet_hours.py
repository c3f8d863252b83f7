from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.quiet_hours import MAX_QUIET, next_time, quiet_until
from notifier.domain.rules import QuietPolicy, Window

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

PARIS = ZoneInfo("Europe/Paris")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
SANTIAGO = ZoneInfo("America/Santiago")
KOLKATA = ZoneInfo("Asia/Kolkata")
HAVANA = ZoneInfo("America/Havana")
ST_JOHNS = ZoneInfo("America/St_Johns")
APIA = ZoneInfo("Pacific/Apia")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


#: Zones, and the instants at which their clocks jump.
NIGHTS = [
    (PARIS, utc("2026-03-29T01:00")),
    (PARIS, utc("2026-10-25T01:00")),
    (NEW_YORK, utc("2026-03-08T07:00")),
    (NEW_YORK, utc("2026-11-01T06:00")),
    (LORD_HOWE, utc("2026-04-04T15:00")),
    (LORD_HOWE, utc("2026-10-03T15:30")),
    (SANTIAGO, utc("2026-04-05T03:00")),
    (SANTIAGO, utc("2026-09-06T04:00")),
    (KOLKATA, utc("2026-06-01T00:00")),  # never
    (HAVANA, utc("2026-03-08T05:00")),  # from 00:00 to 01:00
    (HAVANA, utc("2026-11-01T05:00")),  # from 01:00 to 00:00
    (ST_JOHNS, utc("2010-11-07T02:31")),  # from 00:01 to 23:01 of the day before
    (APIA, utc("2011-12-30T10:00")),  # over a whole day
]


def quiet(*windows: str, zone: ZoneInfo | None = None) -> QuietPolicy:
    return QuietPolicy(windows=tuple(map(Window.parse, windows)), zone=zone)


def end_on_the_wall(policy: QuietPolicy, zone: ZoneInfo, now: str) -> str | None:
    """The end of the quiet hours that hold at a wall time, in wall time."""
    until = quiet_until(policy, zone, wall(now, zone))
    return None if until is None else until.astimezone(zone).strftime("%a %H:%M %z")


def wall(text: str, zone: ZoneInfo) -> datetime:
    """The instant of `2026-10-25T02:30`, or with `#2` that of the second one."""
    text, _, second = text.partition("#")
    local = datetime.fromisoformat(text).replace(tzinfo=zone, fold=int(bool(second)))
    return local.astimezone(UTC)


# --- quiet hours --------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "now", "end"),
    [
        # Over midnight.
        (["22:00-07:00"], "2026-06-10T21:59", None),
        (["22:00-07:00"], "2026-06-10T22:00", "Thu 07:00 +0200"),
        (["22:00-07:00"], "2026-06-11T06:59:59.999999", "Thu 07:00 +0200"),
        (["22:00-07:00"], "2026-06-11T07:00", None),
        # A window belongs to the day on which it begins.
        (["Mon-Fri 22:00-07:00"], "2026-06-08T06:00", None),
        (["Mon-Fri 22:00-07:00"], "2026-06-08T23:00", "Tue 07:00 +0200"),
        (["Mon-Fri 22:00-07:00"], "2026-06-13T06:00", "Sat 07:00 +0200"),
        (["Mon-Fri 22:00-07:00"], "2026-06-13T23:00", None),
        # Windows that touch or overlap are one.
        (
            ["Fri 22:00-24:00", "Sat,Sun 00:00-24:00", "Mon 00:00-07:00"],
            "2026-06-12T22:00",
            "Mon 07:00 +0200",
        ),
        (["22:00-07:00", "06:30-08:00", "07:45-09:15"], "2026-06-12T22:00", "Sat 09:15 +0200"),
        (["22:00-23:00", "22:00-07:00"], "2026-06-12T22:00", "Sat 07:00 +0200"),
        (["22:00-23:00", "23:01-23:30"], "2026-06-12T22:00", "Fri 23:00 +0200"),
        # A window inside of the leap.
        (["02:10-02:50"], "2026-03-29T01:59", None),
        (["02:10-02:50"], "2026-03-29T03:00", None),
    ],
)
def test_quiet_hours_end_where_no_window_goes_on(
    windows: list[str], now: str, end: str | None
) -> None:
    assert end_on_the_wall(quiet(*windows), PARIS, now) == end


def test_quiet_hours_without_an_end_are_computed_again_after_eight_days() -> None:
    now = utc("2026-06-10T12:00")

    until = quiet_until(quiet("00:00-24:00"), PARIS, now)

    assert until == now + 8 * DAY == now + MAX_QUIET
    assert until.tzinfo is UTC


def test_a_policys_own_zone_goes_before_the_destinations() -> None:
    policy = quiet("22:00-07:00", zone=NEW_YORK)

    assert quiet_until(policy, PARIS, wall("2026-06-10T23:00", PARIS)) is None
    assert quiet_until(policy, PARIS, wall("2026-06-10T23:00", NEW_YORK)) == wall(
        "2026-06-11T07:00", NEW_YORK
    )


@pytest.mark.parametrize(
    ("zone", "window", "before", "begins", "end"),
    [
        # Twice: the first start, the last end. Leapt over: after the leap.
        (PARIS, "02:15-07:00", "2026-10-25T02:14", "2026-10-25T02:15", "Sun 07:00 +0100"),
        (PARIS, "22:00-02:30", "2026-10-24T21:59", "2026-10-25T02:29#2", "Sun 02:30 +0100"),
        (PARIS, "02:15-07:00", "2026-03-29T01:59", "2026-03-29T03:00", "Sun 07:00 +0200"),
        (PARIS, "22:00-02:30", "2026-03-28T21:59", "2026-03-29T01:59", "Sun 03:00 +0200"),
        # Half an hour.
        (LORD_HOWE, "01:45-06:00", "2026-04-05T01:44", "2026-04-05T01:45", "Sun 06:00 +1030"),
        (LORD_HOWE, "02:15-06:00", "2026-10-04T01:59", "2026-10-04T02:30", "Sun 06:00 +1100"),
        # Around midnight, and over it.
        (SANTIAGO, "22:00-23:30", "2026-04-04T21:59", "2026-04-04T23:29#2", "Sat 23:30 -0400"),
        (SANTIAGO, "00:00-06:00", "2026-09-05T23:59", "2026-09-06T01:00", "Sun 06:00 -0300"),
        (ST_JOHNS, "Sun 00:00-06:00", "2010-11-06T22:59", "2010-11-06T23:15#2", "Sun 06:00 -0330"),
        (ST_JOHNS, "Fri 23:30-23:20", "2010-11-05T23:29", "2010-11-07T00:00", "Sat 23:20 -0330"),
    ],
)
def test_quiet_hours_hold_through_a_change_of_the_clocks(
    zone: ZoneInfo, window: str, before: str, begins: str, end: str
) -> None:
    assert end_on_the_wall(quiet(window), zone, before) is None
    assert end_on_the_wall(quiet(window), zone, begins) == end


# --- a time of the day --------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "at", "after", "found"),
    [
        (PARIS, "08:00", "2026-06-10T07:59", "2026-06-10T08:00"),
        (PARIS, "08:00", "2026-06-10T08:00", "2026-06-11T08:00"),
        (PARIS, "08:00", "2026-12-31T12:00", "2027-01-01T08:00"),
        (PARIS, "02:30", "2026-03-28T12:00", "2026-03-29T03:00"),
        (PARIS, "02:30", "2026-03-29T03:00", "2026-03-30T02:30"),
        (PARIS, "02:30", "2026-10-24T12:00", "2026-10-25T02:30"),
        (PARIS, "02:30", "2026-10-25T02:15#2", "2026-10-26T02:30"),
        (LORD_HOWE, "02:15", "2026-10-03T12:00", "2026-10-04T02:30"),
        (LORD_HOWE, "01:45", "2026-04-05T01:44#2", "2026-04-06T01:45"),
        (SANTIAGO, "00:00", "2026-09-05T23:59", "2026-09-06T01:00"),
        (SANTIAGO, "23:30", "2026-04-04T23:15#2", "2026-04-05T23:30"),
        (KOLKATA, "08:00", "2026-03-29T08:00", "2026-03-30T08:00"),
    ],
)
def test_a_time_of_the_day_comes_once_a_date(
    zone: ZoneInfo, at: str, after: str, found: str
) -> None:
    assert next_time(time.fromisoformat(at), zone, wall(after, zone)) == wall(found, zone)


# --- against clocks that are watched minute by minute -------------------------


class Watched:
    """What a clock shows in each minute of three weeks around a jump."""

    def __init__(self, zone: ZoneInfo, jump: datetime) -> None:
        first, number = jump - 6 * DAY, 20 * DAY // MINUTE
        self.minutes = [first + i * MINUTE for i in range(number)]
        shown = [m.astimezone(zone).replace(tzinfo=None) for m in self.minutes]
        self.dates = sorted({each.date() for each in shown})
        #: The latest that it has shown so far.
        self.reached = list(accumulate(shown, max))
        #: The earliest that it will show yet.
        self.ahead = [*accumulate(reversed(shown), min)][::-1]

    def is_quiet(self, windows: Iterable[Window], position: int) -> bool:
        """Whether it has shown the start of a window, and is yet to pass its end."""
        reached, ahead = self.reached[position], self.ahead[position]
        days = [reached.date() + i * DAY for i in range(-3, 2)]
        return any(
            reached >= datetime.combine(day, window.start)
            and ahead < datetime.combine(day, window.end) + overnight(window)
            for window in windows
            for day in days
            if day.weekday() in window.days
        )

    def first(self, day: date, at: time) -> datetime:
        """The first minute at which it is this late."""
        wanted = datetime.combine(day, at)
        pairs = zip(self.minutes, self.reached, strict=True)
        return next(minute for minute, reached in pairs if reached >= wanted)


def overnight(window: Window) -> timedelta:
    return timedelta(0) if window.start < window.end else DAY


@lru_cache
def watched(zone: ZoneInfo, jump: datetime) -> Watched:
    return Watched(zone, jump)


NEAR = timedelta(days=1.5)
#: Around the times at which clocks jump, too.
TIMES = st.times() | st.builds(
    time, st.sampled_from([22, 23, 0, 1, 2, 3]), st.sampled_from([0, 1, 15, 30, 59])
)
MINUTES = TIMES.map(lambda at: at.replace(second=0, microsecond=0))
WINDOWS = st.builds(
    Window,
    days=st.frozensets(st.integers(0, 6), min_size=1) | st.just(frozenset(range(7))),
    start=MINUTES,
    end=MINUTES,
)
POLICIES = st.builds(QuietPolicy, windows=st.lists(WINDOWS, min_size=1, max_size=3).map(tuple))


@given(
    night=st.sampled_from(NIGHTS),
    policy=POLICIES,
    apart=st.timedeltas(-NEAR, NEAR),
)
def test_quiet_hours_hold_when_a_watched_clock_says_so(
    night: tuple[ZoneInfo, datetime], policy: QuietPolicy, apart: timedelta
) -> None:
    zone, jump = night
    clock = watched(zone, jump)
    now = jump + apart
    position = (now - clock.minutes[0]) // MINUTE

    until = quiet_until(policy, zone, now)

    assert (until is not None) == clock.is_quiet(policy.windows, position)
    while clock.is_quiet(policy.windows, position):
        position += 1
        if clock.minutes[position] >= now + MAX_QUIET:
            break
    assert until in {None, min(clock.minutes[position], now + MAX_QUIET)}


@given(
    night=st.sampled_from(NIGHTS),
    at=MINUTES,
    apart=st.timedeltas(-NEAR, NEAR),
)
def test_the_next_time_is_the_first_at_which_a_watched_clock_shows_it(
    night: tuple[ZoneInfo, datetime], at: time, apart: timedelta
) -> None:
    zone, jump = night
    clock = watched(zone, jump)
    now = jump + apart

    days = (now.astimezone(zone).date() + i * DAY for i in range(-2, 4))
    instants = [clock.first(day, at) for day in days]

    assert next_time(at, zone, now) == min(one for one in instants if one > now)


@given(night=st.sampled_from(NIGHTS[:-1]), at=MINUTES)
def test_the_next_time_comes_once_for_each_date_of_the_calendar(
    night: tuple[ZoneInfo, datetime], at: time
) -> None:
    zone, jump = night
    clock = watched(zone, jump)
    inner = clock.dates[1:-1]
    found = [clock.first(inner[0], at)]

    while len(found) < len(inner):
        found.append(next_time(at, zone, found[-1]))

    assert found == [clock.first(day, at) for day in inner]
