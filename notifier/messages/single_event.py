"""The body of a message about one event, as long as fits."""

from collections.abc import Iterator, Sequence

from notifier.domain.live_status import Status
from notifier.domain.models import Event, Format, Kind
from notifier.domain.routing import CRITICAL_STATUSES
from notifier.messages.escaping import (
    Anchor,
    Bold,
    Line,
    TextRow,
    clean,
    escape,
    escape_within,
    format_line,
    lay_out,
)
from notifier.messages.event_text import EventFormatter, about, says_start
from notifier.messages.humanize import count, is_set

#: More changes are counted.
CHANGES_SHOWN = 8
#: The milestone's message is cut to this, or to half of the body, before a change is dropped.
_MIN_MESSAGE = 160


def single_body(
    event: Event,
    *,
    formatter: EventFormatter,
    markup: Format,
    title: str,
    link: Anchor | None,
    limit: int,
) -> str:
    """
    Everything about the event; `title` opens the body of a service without titles.

    If it does not fit, the milestone's message is cut, then changes are dropped one after the
    other. What is dropped is counted.
    """
    message = clean(event.milestone.message, max(limit, _MIN_MESSAGE))
    changes = formatter.changes(event.changes) if event.kind is Kind.UPDATED else ()
    least = min(_MIN_MESSAGE, limit // 2)
    notes = [TextRow(format_line(line, markup)) for line in _notes(event, formatter)]
    kind = [TextRow(escape(text, markup))] if (text := about(event.milestone)) else []
    address = [TextRow(format_line((link,), markup))] if link else []

    def head(shown: int) -> list[TextRow]:
        rows = [TextRow(format_line((Bold(title),), markup))] if title else []
        return rows + _change_rows(changes, shown, markup)

    shown = min(len(changes), CHANGES_SHOWN)
    for before, after, least_message in (
        (head(shown) + notes, kind + address, least),
        *((head(n) + notes, address, least) for n in range(shown, -1, -1)),
        (head(0), address, least),
        (head(0), [], 1),
    ):
        room = limit - len(lay_out([*before, TextRow(""), *after], markup))
        note = " (cut; see link)" if after and link else " (cut)"
        if quote := _quote(message, markup, room, note=note, least=least_message):
            return lay_out([*before, TextRow(quote), *after], markup)
        if not message and 0 < len(text := lay_out([*before, *after], markup)) <= limit:
            return text
    room = limit - len(lay_out([TextRow("")], markup))
    text = escape_within(title or message or about(event.milestone) or "…", markup, room)
    return lay_out([TextRow(text)], markup) if text and room > 0 else ""


def _quote(message: str, markup: Format, room: int, *, note: str, least: int) -> str:
    """The quoted message, cut to the room if there is enough for a part of it; else nothing."""
    if not message:
        return ""
    quote = escape(f"“{message}”", markup)
    if len(quote) <= room:
        return quote
    if room < least or room <= len(note):
        return ""
    return escape_within(f"“{message}", markup, room - len(note)) + note


def _change_rows(changes: Sequence[str], shown: int, markup: Format) -> list[TextRow]:
    rest = len(changes) - shown
    lines = list(changes[:shown])
    if rest:
        lines.append(f"and {count(rest, 'more change')}" if shown else count(rest, "change"))
    return [TextRow(escape(line, markup), bullet=len(lines) > 1) for line in lines]


def _notes(event: Event, formatter: EventFormatter) -> Iterator[Line]:
    """When it is or was, and what else must be known."""
    start = event.milestone.start
    ago = f" ({formatter.relative(event.at)})" if formatter.is_late(event) else ""
    match event.kind:
        case Kind.STARTED:
            verb = "Scheduled to start " if formatter.is_held_up(event) else "Started "
            line: Line = (verb, Bold(formatter.instant(event.at)), ago)
            if event.again_from is not None:
                line += (f"; announced before at {formatter.moment(event.again_from)}",)
            yield line
        case Kind.ENDED:
            yield ("Ended ", Bold(formatter.instant(event.at)), ago)
        case Kind.REMOVED:
            yield ("Kalshi no longer lists it.",)
            if is_set(start):
                has_started = start <= formatter.now and not formatter.is_held_up(event)
                verb = "Started" if has_started else "Was to start"
                yield (f"{verb} {formatter.instant(start)}",)
        case Kind.CREATED | Kind.UPDATED | Kind.UPCOMING:
            if not says_start(event.changes):
                yield _start(event, formatter)
    if event.supersedes:
        yield (f"The net of {count(1 + len(event.supersedes), 'update')}.",)
    yield from _doubts(event, formatter)


def _doubts(event: Event, formatter: EventFormatter) -> Iterator[Line]:
    """What Kalshi's status and live data say beside the schedule."""
    if event.kind in {Kind.STARTED, Kind.UPCOMING} and event.milestone.status in CRITICAL_STATUSES:
        yield (f"Kalshi lists it as {event.milestone.status}.",)
    live, is_ahead = formatter.live(event), event.milestone.start > formatter.now
    if live is not None and not (is_ahead and live.status is Status.NOT_STARTED):
        yield (f"Kalshi's live data says that it {live.words}.",)


def _start(event: Event, formatter: EventFormatter) -> Line:
    start = event.milestone.start
    if not is_set(start):
        return ("Start not set",)
    if start > formatter.now:
        verb = "Starts "
    else:
        verb = "Was to start " if formatter.is_held_up(event) else "Started "
    return (verb, Bold(formatter.instant(start)), f" ({formatter.relative(start)})")
