"""The values that a configuration is made of: text -> durations, rates, windows ..."""

import re
from collections.abc import Callable
from datetime import time, timedelta
from enum import StrEnum
from fractions import Fraction
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, available_timezones

import idna

from notifier.domain.auth import Network
from notifier.domain.models import Rate, Window
from notifier.domain.patterns import PatternError, compile_pattern
from notifier.domain.suggestions import meant, nearest

_Choice = TypeVar("_Choice", bound=StrEnum)

#: Milliseconds in the units that a duration may end in.
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: What browsers leave out.
_PORTS = {"http": 80, "https": 443}
#: Beyond it, a duration is a slip of the hand.
LONGEST = timedelta(days=3650)
#: No longer text is taken for a misspelt duration.
SLIP = 40
DAYS = (
    *("monday", "tuesday", "wednesday", "thursday", "friday"),
    *("saturday", "sunday"),
)
#: Letters of a day's name that tell it from the others, as people write it: `Tue`.
LETTERS = 3


_SPELLINGS = {
    "ms": {"ms", "msec", "millis", "millisecond", "milliseconds"},
    "s": {"", "s", "sec", "secs", "second", "seconds"},
    "m": {"m", "min", "mins", "minute", "minutes"},
    "h": {"h", "hr", "hrs", "hour", "hours"},
    "d": {"d", "day", "days"},
    "w": {"w", "wk", "week", "weeks"},
}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)")


class Unreadable(ValueError):
    """
    A text is not what its key wants.

    `what` never quotes the text; `advice`, which is shown only if the text is no
    secret, may.
    """

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


# --- plain values -------------------------------------------------------------


def text(value: str) -> str:
    """Any text but an empty one."""
    if not value.strip():
        raise Unreadable("is empty")
    return value


def key_id(value: str) -> str:
    """What a header can carry as one word."""
    if not re.fullmatch(r"[!-~]+", value):
        raise Unreadable("is no id of a key: it holds a blank or a special character")
    return value


def flag(value: str) -> bool:
    """`true` or `false`, and no other word for them."""
    if value in {"true", "false"}:
        return value == "true"
    better = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    folded = value.casefold()
    guess = better.get(folded, folded if folded in {"true", "false"} else "")
    raise Unreadable("is neither true nor false", advice=meant(guess))


def whole(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers within bounds."""

    def read(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", value):
            raise Unreadable("is not a whole number")
        if not least <= int(value) <= most:
            raise Unreadable(f"is not between {least} and {most}")
        return int(value)

    return read


def choice(kind: type[_Choice]) -> Callable[[str], _Choice]:
    """A reader of one word out of several."""

    def read(value: str) -> _Choice:
        try:
            return kind(value)
        except ValueError:
            raise Unreadable(f"is none of {', '.join(kind)}", advice=nearest(value, kind)) from None

    return read


def label(value: str) -> str:
    """A route's name: it stands in addresses of feeds and in metrics."""
    if re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        return value
    better = re.sub(r"[^a-z0-9_-]+", "-", value.casefold()).strip("-")[:64]
    raise Unreadable("is not a name of 1 to 64 of a-z 0-9 _ -", advice=meant(better))


def handle(value: str) -> str:
    """A destination's name: as it is typed after `notifier test`."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        return value
    better = re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-.")[:64]
    raise Unreadable("is not a name of 1 to 64 of A-Z a-z 0-9 _ . -", advice=meant(better))


# --- time ---------------------------------------------------------------------


def duration(value: str) -> timedelta:
    """A span such as `500ms`, `2s`, `30m`, `1h` or `30d`; zero is one too."""
    if not (parts := re.fullmatch(r"([0-9]{1,15})(ms|s|m|h|d)", value)):
        what = "has no unit" if re.fullmatch(r"[0-9.]+", value) else "is not a duration"
        raise Unreadable(f"{what} (500ms, 2s, 30m, 1h, 30d)", advice=_retimed(value))
    milliseconds = int(parts[1]) * UNITS[parts[2]]
    if milliseconds > LONGEST / timedelta(milliseconds=1):
        raise Unreadable("is longer than 3650d")
    return timedelta(milliseconds=milliseconds)


def lapse(value: str) -> timedelta:
    """A duration longer than nothing."""
    span = duration(value)
    if not span:
        raise Unreadable("must be longer than 0")
    return span


def _retimed(value: str) -> str:
    """What was probably meant by `30`, `1.5h`, `1h30m`, `30 sec` or `2 weeks`."""
    spelled = _AMOUNT.findall(value[:SLIP])
    sizes = [_unit(unit) for _, unit in spelled]
    if not spelled or None in sizes or _AMOUNT.sub("", value).strip():
        return ""
    total = sum(Fraction(n) * size for (n, _), size in zip(spelled, sizes, strict=True) if size)
    return meant(spell(total)) if total.denominator == 1 else ""


def _unit(word: str) -> int | None:
    """The milliseconds of a unit in any of its usual spellings; none means seconds."""
    folded = word.casefold()
    names = (unit for unit, spellings in _SPELLINGS.items() if folded in spellings)
    unit = next(names, None)
    return 7 * UNITS["d"] if unit == "w" else UNITS.get(unit or "")


def spell(milliseconds: int | Fraction) -> str:
    """A duration in its largest whole unit."""
    for unit, size in reversed(UNITS.items()):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0s"


def rate(value: str) -> Rate:
    """`2/s`, `10/m`: so many in any sliding window of a second, minute, hour, day."""
    if not (parts := re.fullmatch(r"([0-9]{1,9})/(s|m|h|d)", value)):
        raise Unreadable("is not a rate (2/s, 10/m)", advice=_rerated(value))
    if not int(parts[1]):
        raise Unreadable("must allow at least 1")
    return Rate(count=int(parts[1]), per=timedelta(milliseconds=UNITS[parts[2]]))


def _rerated(value: str) -> str:
    """What was probably meant by `2`, `2 / sec` or `10 per minute`."""
    parts = re.fullmatch(r"([0-9]{1,9})\s*(?:/|per|\s|$)\s*([a-zA-Z]*)", value)
    if not parts:
        return ""
    sizes = {size: unit for unit, size in UNITS.items() if unit != "ms"}
    unit = sizes.get(_unit(parts[2]) or 0)
    return meant(f"{parts[1]}/{unit}") if unit else ""


def zone(value: str) -> ZoneInfo:
    """A time zone by its IANA name."""
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        advice = nearest(value, available_timezones())
        raise Unreadable("is no IANA time zone such as Europe/Paris", advice=advice) from None


def clock_time(value: str) -> time:
    """A time of day such as `08:00`."""
    parts = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value)
    if not parts or int(parts[1]) > 23 or int(parts[2]) > 59:  # noqa: PLR2004 - a clock's face
        raise Unreadable("is not a time of day such as 08:00")
    return time(int(parts[1]), int(parts[2]))


def window(value: str) -> Window:
    """`Mon-Fri 22:00-07:00`, `Sat,Sun 00:00-24:00`, `22:00-07:00` (every day)."""
    *days, hours = value.split() or [""]
    start, dash, end = hours.partition("-")
    if not dash or len(days) > 1:
        raise Unreadable("is not a window such as Mon-Fri 22:00-07:00", advice=_closed_up(value))
    begins = clock_time(start)
    ends = time(0) if end == "24:00" else clock_time(end)
    if begins == ends and (begins, end) != (time(0), "24:00"):
        raise Unreadable("is empty; the whole day is 00:00-24:00")
    return Window(days=_days(days[0]) if days else frozenset(range(7)), start=begins, end=ends)


def _closed_up(value: str) -> str:
    """What was probably meant by `22:00 - 07:00` or `Sat, Sun 00:00-24:00`."""
    closed = re.sub(r"\s*([,-])\s*", r"\1", value)
    if closed == value:
        return ""
    try:
        window(closed)
    except Unreadable:
        return ""
    return meant(closed)


def _days(value: str) -> frozenset[int]:
    """`Mon-Fri`, `Sat,Sun`, `Fri-Mon`: Monday is 0."""
    found: set[int] = set()
    for part in value.split(","):
        first, dash, last = part.partition("-")
        begin, end = _day(first), _day(last if dash else first)
        found.update((begin + i) % 7 for i in range((end - begin) % 7 + 1))
    return frozenset(found)


def _day(value: str) -> int:
    for number, name in enumerate(DAYS):
        if name.startswith(value.casefold()) and len(value) >= LETTERS:
            return number
    raise Unreadable("names a day that is none of Mon Tue Wed Thu Fri Sat Sun")


# --- places to reach ----------------------------------------------------------


def address(value: str) -> str:
    """An http or https address, as it was written."""
    parts = _split(value)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Unreadable("is not an address that begins with https:// or http://")
    return value


def http_url(value: str) -> str:
    """An http or https address without a slash at its end."""
    return address(value).rstrip("/")


def site(value: str) -> str:
    """
    How people reach a site of their own: no path, its pages stand at the root.

    As browsers say it: in small letters, IDNA, without the scheme's own port.
    """
    parts = urlsplit(base_url(value))
    if parts.path:
        raise Unreadable("must end after the host and port: the pages need the root")
    name = host(parts.hostname or "")
    shown = f"[{name}]" if ":" in name else name
    has_own = parts.port in {None, _PORTS[parts.scheme]}
    return f"{parts.scheme}://{shown}" + ("" if has_own else f":{parts.port}")


def host(value: str) -> str:
    """A name or an address as browsers say it, without a port."""
    try:
        return str(IPv6Address(value.strip("[]")))
    except ValueError:
        pass
    try:
        name = value.lower() if value.isascii() else _ascii(value)
    except UnicodeError:
        name = ""
    if not re.fullmatch(r"[a-z0-9._-]+", name):
        raise Unreadable("is no name of a host; a port is no part of it")
    return name


def _ascii(name: str) -> str:
    return str(idna.encode(name, uts46=True), "ascii")


def network(value: str) -> Network:
    """An address, or a network such as `10.0.0.0/8`."""
    try:
        wide = ip_network(value, strict=False)
    except ValueError:
        raise Unreadable("is no address or network such as 10.0.0.0/8") from None
    if str(wide.network_address) != str(ip_address(value.partition("/")[0])):
        raise Unreadable("is an address within a network", advice=meant(str(wide)))
    return wide


def password(value: str) -> str:
    """A password, or the Argon2 hash of one."""
    form = r"\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
    if value.startswith("$argon2") and not re.fullmatch(form, value):
        raise Unreadable("begins like an Argon2 hash, but is no whole argon2id hash")
    return text(value)


def base_url(value: str) -> str:
    """An http or https address to put paths behind."""
    url = http_url(value)
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise Unreadable("must end before any ? or #, and hold no user name")
    return url


def _split(value: str) -> SplitResult | None:
    """The parts of an address; None: it is none."""
    if re.search(r"[\s\x00-\x1f\\]", value):
        return None
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError:
        return None
    return parts


def apprise_url(value: str) -> str:
    """An address with a scheme; whether Apprise understands it, the sender says."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise Unreadable("holds a line break or another control character")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise Unreadable("is not an Apprise URL such as slack://... or mailtos://...")
    return value


def listen(value: str) -> tuple[str, int]:
    """`127.0.0.1:8080`, `[::1]:8080`: where to listen."""
    parts = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", value)
    if not parts or not 0 < int(parts[2]) < 65536:  # noqa: PLR2004 - TCP's ports
        raise Unreadable("is not an address and port such as 127.0.0.1:8080")
    return parts[1].strip("[]"), int(parts[2])


# --- patterns -----------------------------------------------------------------


def pattern(value: str) -> str:
    """A glob, or a regular expression behind a `~`."""
    try:
        compile_pattern(value)
    except PatternError as exc:
        raise Unreadable(exc.reason, advice=exc.advice) from None
    return value
