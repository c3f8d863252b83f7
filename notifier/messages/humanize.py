"""
Instants, durations and counts in plain English. Nothing is escaped here.

Durations are measured in UTC, so a change to or from summer time never falsifies them; a zone
only chooses what the clock on the wall shows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)

#: Kalshi's placeholders: a start up to this year means "not known yet".
UNSET_YEAR = 2000
NOT_SET = "start not set"

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def is_set(when: datetime) -> bool:
    """Tell a real instant from a placeholder."""
    return when.year > UNSET_YEAR


def on_the_wall(when: datetime, zone: ZoneInfo) -> datetime:
    """The instant in that zone; in UTC where the calendar ends."""
    try:
        return when.astimezone(zone)
    except (OverflowError, ValueError):
        return when.astimezone(UTC)


def zone_name(wall: datetime) -> str:
    """`EDT`, `CEST`; `UTC+10:30` for zones whose abbreviation is a number."""
    name = wall.tzname() or "UTC"
    if name[0] not in "+-":
        return name
    hour, minute = name[1:3].lstrip("0") or "0", name[3:]
    return f"UTC{name[0]}{hour}" + (f":{minute}" if minute else "")


def day(wall: datetime, *, this_year: int) -> str:
    """`Sat 26 Sep`, and the year if it is another one."""
    text = f"{WEEKDAYS[wall.weekday()]} {wall.day} {MONTHS[wall.month - 1]}"
    return text if wall.year == this_year else f"{text} {wall.year}"


def hours(wall: datetime, timespec: str = "minutes") -> str:
    """`15:30`, or finer: `seconds`, `microseconds`."""
    return wall.time().isoformat(timespec)


def instant(when: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """`Sat 26 Sep, 15:30 EDT`."""
    wall = on_the_wall(when, zone)
    this_year = on_the_wall(now, zone).year
    return f"{day(wall, this_year=this_year)}, {hours(wall)} {zone_name(wall)}"


def moment(when: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """The same as `instant`, but `15:30 EDT` if that is today."""
    wall = on_the_wall(when, zone)
    if wall.date() == on_the_wall(now, zone).date():
        return f"{hours(wall)} {zone_name(wall)}"
    return instant(when, zone=zone, now=now)


def span(length: timedelta) -> str:
    """
    `40 s`, `15 min`, `3 h 20 min`, `2 days 4 h`, `12 days`, `3 years`.

    Rounded to the smallest unit that is shown, so 14 min 59.7 s is `15 min`.
    """

    def rounded(value: float, unit: int) -> int:
        return int((value + unit / 2) // unit)

    seconds = rounded(abs(length.total_seconds()), 1)
    minutes, whole_hours, days = (rounded(seconds, unit) for unit in (_MINUTE, _HOUR, _DAY))
    if seconds < _MINUTE:
        return f"{seconds} s"
    if minutes < _HOUR // _MINUTE:
        return f"{minutes} min"
    if minutes < _DAY // _MINUTE:
        hour, minute = divmod(minutes, 60)
        return f"{hour} h" + (f" {minute} min" if minute else "")
    if whole_hours < 7 * 24:
        days, hour = divmod(whole_hours, 24)
        return count(days, "day") + (f" {hour} h" if hour else "")
    return f"{days} days" if days < 2 * 365 else f"{round(days / 365.2425)} years"


def relative(when: datetime, *, now: datetime) -> str:
    """`in 3 h 20 min`, `12 min ago`, `now`."""
    length = span(when - now)
    if length == "0 s":
        return "now"
    return f"in {length}" if when > now else f"{length} ago"


def moved(before: datetime, after: datetime, *, zone: ZoneInfo, now: datetime) -> str:
    """
    `Sat 12:00 to 15:30 EDT (3 h 30 min later)`.

    The day is repeated only if it differs, the zone's name only if its offset differs; seconds
    are shown only if the minutes are equal.
    """
    old, new = on_the_wall(before, zone), on_the_wall(after, zone)
    timespec = "microseconds"
    for unit in ("seconds", "minutes"):
        if old.isoformat(timespec=unit) != new.isoformat(timespec=unit):
            timespec = unit
    this_year = on_the_wall(now, zone).year
    if old.date() == new.date():
        left, right = f"{WEEKDAYS[old.weekday()]} ", ""
    else:
        left, right = (f"{day(wall, this_year=this_year)}, " for wall in (old, new))
    old_zone, new_zone = zone_name(old), zone_name(new)
    left += hours(old, timespec) + ("" if old_zone == new_zone else f" {old_zone}")
    right += f"{hours(new, timespec)} {new_zone}"
    shift = span(after - before)
    direction = "later" if after > before else "earlier"
    return f"{left} to {right}" + ("" if shift == "0 s" else f" ({shift} {direction})")


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
