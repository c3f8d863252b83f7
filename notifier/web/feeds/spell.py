"""
Entries as iCalendar (RFC 5545, RFC 7986) spells them.

The calendar's frame is icalendar's. Of its entries, thousands of them, only the
values are: put together by it they would cost ten times as much.

What calendars ask for beside the standard: Outlook reads `X-PUBLISHED-TTL` and
`X-MICROSOFT-CDO-BUSYSTATUS`, Apple and Google `X-WR-CALNAME`. Instants are in UTC,
which needs no time zones to be described. Source: MS-OXCICAL, read 2026-11.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from icalendar import Calendar, vDuration, vText

from notifier.domain.calendar import Entry

#: How often calendars may ask again; some take hours whatever is said.
REFRESH = timedelta(minutes=15)
#: Bytes of a line; what is longer goes on in the next.
_LINE = 75
_END = b"END:VCALENDAR\r\n"


def head(name: str, description: str) -> bytes:
    """What stands before the entries."""
    frame = Calendar()
    frame.add("prodid", "-//milestone notifier//EN")
    frame.add("version", "2.0")
    frame.add("calscale", "GREGORIAN")
    frame.add("method", "PUBLISH")
    for key in ("name", "x-wr-calname"):
        frame.add(key, name)
    for key in ("description", "x-wr-caldesc"):
        frame.add(key, description)
    frame.add("refresh-interval", vDuration(REFRESH), parameters={"VALUE": "DURATION"})
    frame.add("x-published-ttl", vDuration(REFRESH))
    return bytes(frame.to_ical(sorted=False)).removesuffix(_END)


def tail() -> bytes:
    """What stands after them."""
    return _END


def block(entry: Entry) -> bytes:
    """One entry: no text in it can begin a line of its own."""
    return b"".join(_folded(line) for line in _lines(entry))


def _lines(entry: Entry) -> Iterator[str]:
    stamp = _stamp(entry.changed_at)
    yield "BEGIN:VEVENT"
    yield f"UID:{_text(entry.uid)}"
    # Without a sender's own clock it says when this was last revised.
    yield f"DTSTAMP:{stamp}"
    yield f"LAST-MODIFIED:{stamp}"
    yield f"SEQUENCE:{entry.sequence}"
    yield f"DTSTART:{_stamp(entry.start)}"
    yield f"DTEND:{_stamp(entry.end)}"
    yield f"SUMMARY:{_text(entry.summary)}"
    if entry.description:
        yield f"DESCRIPTION:{_text(entry.description)}"
    if entry.url is not None:
        yield f"URL:{entry.url}"
    if entry.categories:
        yield "CATEGORIES:" + ",".join(map(_text, entry.categories))
    yield f"STATUS:{entry.status.value}"
    yield "TRANSP:TRANSPARENT"
    yield "X-MICROSOFT-CDO-BUSYSTATUS:FREE"
    for lead in entry.alarms:
        yield "BEGIN:VALARM"
        yield "ACTION:DISPLAY"
        yield f"TRIGGER:-{_span(lead)}"
        yield f"DESCRIPTION:{_text(entry.summary)}"
        yield "END:VALARM"
    yield "END:VEVENT"


def _stamp(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _span(lead: timedelta) -> str:
    """In the largest unit that says it: `P1D`, `PT15M`."""
    # No calendar reminds at less than a second.
    seconds = max(1, round(lead.total_seconds()))
    if seconds % 86400 == 0:
        return f"P{seconds // 86400}D"
    unit, size = next(
        (unit, size) for unit, size in (("H", 3600), ("M", 60), ("S", 1)) if seconds % size == 0
    )
    return f"PT{seconds // size}{unit}"


def _text(words: str) -> str:
    return str(vText(words).to_ical(), "utf-8")


def _folded(line: str) -> bytes:
    """The line in pieces that are short enough, none of which cuts a letter."""
    raw = line.encode()
    if len(raw) <= _LINE:
        return raw + b"\r\n"
    pieces, room = [], _LINE
    while len(raw) > room:
        cut = room
        while raw[cut] & 0xC0 == 0x80:  # noqa: PLR2004 - goes on with a letter
            cut -= 1
        pieces.append(raw[:cut])
        raw, room = raw[cut:], _LINE - 1
    pieces.append(raw)
    return b"\r\n ".join(pieces) + b"\r\n"
