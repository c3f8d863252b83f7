"""
Instants, spans and counts in words that people use. Nothing is escaped here.

Spans are measured between instants in UTC, so a change to or from summer time
never falsifies them; zones only choose what the clock on the wall shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

#: Kalshi's placeholders: a start up to this year says "not known yet".
UNSET_YEAR = 2000

NOT_SET = "start not set"

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def is_set(when: datetime) -> bool:
    """Tell a real instant from a placeholder."""
    return when.year > UNSET_YEAR


def on_the_wall(when: datetime, zone: ZoneInfo) -> datetime:
    """The instant as that zone's clocks show it; in UTC where years run out."""
    try:
        return when.astimezone(zone)
    except (OverflowError, ValueError):
        return when.astimezone(UTC)


def zone_name(wall: datetime) -> str:
    """`EDT`, `CEST`; `UTC+10:30` for zones whose abbreviation is but a number."""
    name = wall.tzname() or "UTC"
    if name[0] not in "+-":
        return name
    hours, minutes = name[1:3].lstrip("0") or "0", name[3:]
    return f"UTC{name[0]}{hours}" + (f":{minutes}" if minutes else "")


def day(wall: datetime, *, this_year: int) -> str:
    """`Sat 26 Sep`, and the year when it is not this one."""
    words = f"{WEEKDAYS[wall.weekday()]} {wall.day} {MONTHS[wall.month - 1]}"
    return words if wall.year == this_year else f"{words} {wall.year}"


def hours(wall: datetime, timespec: str = "minutes") -> str:
    """`15:30`, or finer: `seconds`, `microseconds`."""
    return wall.time().isoformat(timespec)


def instant(when: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """`Sat 26 Sep, 15:30 EDT`."""
    wall = on_the_wall(when, zone)
    this_year = on_the_wall(now, zone).year
    return f"{day(wall, this_year=this_year)}, {hours(wall)} {zone_name(wall)}"


def moment(when: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """The instant as `instant` says it, but `15:30 EDT` if that is today."""
    wall = on_the_wall(when, zone)
    if wall.date() == on_the_wall(now, zone).date():
        return f"{hours(wall)} {zone_name(wall)}"
    return instant(when, zone=zone, now=now)


def span(length: timedelta) -> str:
    """
    `40 s`, `15 min`, `3 h 20 min`, `2 days 4 h`, `12 days`, `3 years`.

    Rounded to the smallest unit that is shown, so 14 min 59.7 s is `15 min`.
    """
    seconds = _whole(abs(length.total_seconds()), 1)
    if seconds < _MINUTE:
        return f"{seconds} s"
    minutes = _whole(seconds, _MINUTE)
    if minutes < _HOUR // _MINUTE:
        return f"{minutes} min"
    if minutes < _DAY // _MINUTE:
        return _two(*divmod(minutes, 60), "h", "min")
    return _days(seconds)


def _days(seconds: int) -> str:
    whole_hours = _whole(seconds, _HOUR)
    days = _whole(seconds, _DAY)
    if whole_hours < 7 * 24:
        days, rest = divmod(whole_hours, 24)
        return _two(days, rest, "day" if days == 1 else "days", "h")
    if days < 2 * 365:
        return f"{days} days"
    return f"{round(days / 365.2425)} years"


def _whole(seconds: float, unit: int) -> int:
    return int((seconds + unit / 2) // unit)


def _two(big: int, small: int, big_unit: str, small_unit: str) -> str:
    return f"{big} {big_unit}" + (f" {small} {small_unit}" if small else "")


def relative(when: datetime, *, now: datetime) -> str:
    """`in 3 h 20 min`, `12 min ago`, `now`."""
    words = span(when - now)
    if words == "0 s":
        return "now"
    return f"in {words}" if when > now else f"{words} ago"


def moved(before: datetime, after: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """
    `Sat 12:00 to 15:30 EDT (3 h 30 min later)`.

    The day is said twice only where it differs, the zone's name only where its
    offset differs, and seconds only where the minutes do not.
    """
    old, new = on_the_wall(before, zone), on_the_wall(after, zone)
    timespec = _timespec(old, new)
    this_year = on_the_wall(now, zone).year
    if old.date() == new.date():
        left, right = f"{WEEKDAYS[old.weekday()]} ", ""
    else:
        left, right = (f"{day(wall, this_year=this_year)}, " for wall in (old, new))
    old_zone, new_zone = zone_name(old), zone_name(new)
    left += hours(old, timespec) + ("" if old_zone == new_zone else f" {old_zone}")
    right += f"{hours(new, timespec)} {new_zone}"
    return f"{left} to {right}{_shift(after - before)}"


def _timespec(old: datetime, new: datetime) -> str:
    """The coarsest wording in which the two differ."""
    return next(
        (
            timespec
            for timespec in ("minutes", "seconds")
            if old.isoformat(timespec=timespec) != new.isoformat(timespec=timespec)
        ),
        "microseconds",
    )


def _shift(by: timedelta) -> str:
    words = span(by)
    if words == "0 s":
        return ""
    return f" ({words} {'later' if by > timedelta(0) else 'earlier'})"


def count(number: int, noun: str) -> str:
    """`1 market`, `1,200 markets`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str], *, at_most: int) -> str:
    """`A, B, C and 24 more`."""
    shown = ", ".join(words[:at_most])
    rest = len(words) - at_most
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def readable(identifier: str) -> str:
    """`football_game` as people write it: `football game`."""
    return " ".join(identifier.replace("_", " ").split())
