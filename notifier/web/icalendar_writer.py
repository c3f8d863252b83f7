"""
Calendar entries as iCalendar text (RFC 5545, RFC 7986).

The head is written by the library icalendar. The entries, of which there are thousands,
are written here: the library needs ten times as long for them.

Beyond the standard, Outlook reads `X-PUBLISHED-TTL` and `X-MICROSOFT-CDO-BUSYSTATUS`,
Apple and Google read `X-WR-CALNAME`. Instants are in UTC, which needs no time zone
definitions. Source: MS-OXCICAL, read 2026-11.
"""

from datetime import UTC, datetime, timedelta

from icalendar import Calendar, vDuration, vText

from notifier.domain.calendar import CalendarEntry

#: How often a calendar program should ask again; some take hours anyway.
REFRESH = timedelta(minutes=15)
#: The end of a calendar.
END = b"END:VCALENDAR\r\n"
#: Bytes of a line; a longer one continues on the next.
_MAX_LINE = 75


def calendar_head(name: str, description: str) -> bytes:
    """What stands before the entries."""
    calendar = Calendar()
    calendar.add("prodid", "-//milestone notifier//EN")
    calendar.add("version", "2.0")
    calendar.add("calscale", "GREGORIAN")
    calendar.add("method", "PUBLISH")
    for key in ("name", "x-wr-calname"):
        calendar.add(key, name)
    for key in ("description", "x-wr-caldesc"):
        calendar.add(key, description)
    calendar.add("refresh-interval", vDuration(REFRESH), parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", vDuration(REFRESH))
    return bytes(calendar.to_ical(sorted=False)).removesuffix(END)


def event_block(entry: CalendarEntry) -> bytes:
    """One VEVENT; no text in it can begin a line of its own."""
    changed_at = _date_time(entry.changed_at)
    lines = [
        "BEGIN:VEVENT",
        f"UID:{_text(entry.uid)}",
        # A publisher's DTSTAMP is the time of the last revision.
        f"DTSTAMP:{changed_at}",
        f"LAST-MODIFIED:{changed_at}",
        f"SEQUENCE:{entry.sequence}",
        f"DTSTART:{_date_time(entry.start)}",
        f"DTEND:{_date_time(entry.end)}",
        f"SUMMARY:{_text(entry.summary)}",
    ]
    if entry.description:
        lines.append(f"DESCRIPTION:{_text(entry.description)}")
    if entry.url is not None:
        lines.append(f"URL:{entry.url}")
    if entry.categories:
        lines.append("CATEGORIES:" + ",".join(map(_text, entry.categories)))
    lines += [
        f"STATUS:{entry.status.value}",
        "TRANSP:TRANSPARENT",
        "X-MICROSOFT-CDO-BUSYSTATUS:FREE",
    ]
    for lead in entry.alarms:
        lines += [
            "BEGIN:VALARM",
            "ACTION:DISPLAY",
            f"TRIGGER:-{_duration(lead)}",
            f"DESCRIPTION:{_text(entry.summary)}",
            "END:VALARM",
        ]
    lines.append("END:VEVENT")
    return b"".join(_folded(line) for line in lines)


def _date_time(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _duration(lead: timedelta) -> str:
    """In the largest unit that divides it: `P1D`, `PT15M`; at least one second."""
    seconds = max(1, round(lead.total_seconds()))
    if seconds % 86400 == 0:
        return f"P{seconds // 86400}D"
    for unit, size in (("H", 3600), ("M", 60)):
        if seconds % size == 0:
            return f"PT{seconds // size}{unit}"
    return f"PT{seconds}S"


def _text(value: str) -> str:
    return str(vText(value).to_ical(), "utf-8")


def _folded(line: str) -> bytes:
    """The line in pieces of at most 75 bytes, none of which splits a character."""
    raw = line.encode()
    pieces = []
    room = _MAX_LINE
    while len(raw) > room:
        cut = room
        while raw[cut] & 0xC0 == 0x80:  # noqa: PLR2004 - a continuation byte of UTF-8
            cut -= 1
        pieces.append(raw[:cut])
        raw, room = raw[cut:], _MAX_LINE - 1
    pieces.append(raw)
    return b"\r\n ".join(pieces) + b"\r\n"
