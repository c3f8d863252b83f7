"""The title and body of a digest: many events in one message, as many as fit."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from notifier.domain.live_status import Status
from notifier.domain.models import Event, Format, Kind
from notifier.domain.routing import CRITICAL_STATUSES
from notifier.messages.cloudevents import link, overview
from notifier.messages.escaping import (
    Anchor,
    Bold,
    Line,
    TextRow,
    clean,
    escape_within,
    format_line,
    lay_out,
)
from notifier.messages.event_text import EventFormatter, Headline, about, title_of
from notifier.messages.humanize import count

#: Lines of a digest; more are counted.
LINES_SHOWN = 50
_TITLES_SHOWN = 3
_MAX_TITLE = 100
_MAX_MESSAGE = 160

#: The headings, the most urgent first; `Kind` is in the order of a milestone's life.
_HEADINGS = {
    Kind.STARTED: "Started",
    Kind.UPCOMING: "Starting soon",
    Kind.UPDATED: "Updated",
    Kind.CREATED: "New",
    Kind.ENDED: "Ended",
    Kind.REMOVED: "Removed",
}
#: Of starts that have not come to pass, according to live data.
_SCHEDULED = "Scheduled to start"


def digest_headline(
    events: Sequence[Event], formatter: EventFormatter, *, counts: bool
) -> Headline:
    """
    `12 milestones: 7 created, 4 updated, 1 ended`; one kind names its first milestones.

    With `counts`, no foreign text at all.
    """
    is_held_up = _any_held_up(events, formatter)
    if counts or len({event.kind for event in events}) > 1:
        is_distinct = len({event.milestone.id for event in events}) == len(events)
        total = count(len(events), "milestone" if is_distinct else "event")
        numbers = _numbers(Counter(event.kind for event in events), held_up=is_held_up)
        return Headline(before=f"{total}: ", title=", ".join(numbers))
    verb = _verb(events[0].kind, held_up=is_held_up)
    if events[0].kind is Kind.UPCOMING:
        ahead = {formatter.relative(event.milestone.start) for event in events}
        verb = f"starting {ahead.pop() if len(ahead) == 1 else 'soon'}"
    titles = [title_of(event.milestone) for event in events[:_TITLES_SHOWN]]
    rest = len(events) - len(titles)
    return Headline(
        before=f"{len(events):,} {verb}: ",
        title=", ".join(titles),
        after=f" and {rest:,} more" if rest else "",
    )


def _numbers(counts: Mapping[Kind, int], *, held_up: bool) -> list[str]:
    """`7 created`, `4 updated`; `held_up`: one of those started may not have."""
    return [f"{counts[kind]:,} {_verb(kind, held_up=held_up)}" for kind in Kind if counts.get(kind)]


def _verb(kind: Kind, *, held_up: bool) -> str:
    return _SCHEDULED.lower() if kind is Kind.STARTED and held_up else kind.value


def _any_held_up(events: Sequence[Event], formatter: EventFormatter) -> bool:
    return any(event.kind is Kind.STARTED and formatter.is_held_up(event) for event in events)


# --- the body -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Everything that a digest can show; `body` shows as much as fits and counts the rest."""

    events: Sequence[Event]
    formatter: EventFormatter
    markup: Format
    #: Opens the body of a service without titles.
    title: str
    external_url: str | None

    def body(self, limit: int) -> str:
        """One line an event, grouped by kind and sort; lines that do not fit are counted."""
        groups = self._groups()
        if self.markup is not Format.TEXT:
            text = self._lay_out(self._entries(groups, linked=True))
            if len(text) <= limit:
                return text
        entries = self._entries(groups, linked=False)
        for shown in range(len(entries), -1, -1):
            text = self._lay_out(entries[:shown])
            if len(text) <= limit:
                return text
        return self._one_line(limit)

    def counts(self, limit: int) -> str:
        """Numbers and nothing else: no foreign text at all."""
        numbers = _numbers(self._totals, held_up=self._held_up)
        rows = [TextRow(line, bullet=len(numbers) > 1) for line in numbers]
        everything = self._row(Anchor("See them all", overview(self.external_url)))
        for optional in ([everything], []):
            text = lay_out([*self._head(), *rows, *optional], self.markup)
            if len(text) <= limit:
                return text
        return self._one_line(limit)

    def _one_line(self, limit: int) -> str:
        words = self.title or ", ".join(_numbers(self._totals, held_up=self._held_up))
        wrapped = len(lay_out([TextRow("")], self.markup))
        line = escape_within(words, self.markup, limit - wrapped)
        return lay_out([TextRow(line)], self.markup) if line else ""

    def _lay_out(self, entries: Sequence["_DigestLine"]) -> str:
        """The entries under their headings, and the rest counted."""
        rows = self._head()
        heading: str | None = None
        left_out = self._totals.copy()
        for entry in entries:
            if entry.heading != heading:
                heading = entry.heading
                rows.append(TextRow(heading, heading=True))
            rows.append(TextRow(entry.line, bullet=True))
            left_out[entry.kind] -= 1
        if rest := left_out.total():
            numbers = _numbers(left_out, held_up=self._held_up)
            text = ", ".join(numbers)
            if entries and len(numbers) == 1:
                text = f"and {rest:,} more {numbers[0].partition(' ')[2]}"
            elif entries:
                text = f"and {rest:,} more: {text}"
            rows.append(TextRow(text))
            if self.external_url is not None:
                rows.append(self._row(Anchor("See them all", overview(self.external_url))))
        return lay_out(rows, self.markup)

    def _head(self) -> list[TextRow]:
        return [self._row(Bold(self.title))] if self.title else []

    def _row(self, *line: str | Bold | Anchor) -> TextRow:
        return TextRow(format_line(line, self.markup))

    @cached_property
    def _totals(self) -> Counter[Kind]:
        return Counter(event.kind for event in self.events)

    @cached_property
    def _held_up(self) -> bool:
        return _any_held_up(self.events, self.formatter)

    def _groups(self) -> list[tuple[str, Sequence[Event]]]:
        """Headings and their events: by kind, the most urgent first, then by sort."""
        groups: dict[tuple[Kind, str, bool], list[Event]] = {}
        sorts: dict[tuple[str, str, str], str] = {}
        for event in self.events:
            milestone = event.milestone
            key = milestone.category, milestone.type, str(milestone.details.get("league"))
            if key not in sorts:
                sorts[key] = about(milestone)
            held_up = event.kind is Kind.STARTED and self.formatter.is_held_up(event)
            groups.setdefault((event.kind, sorts[key], held_up), []).append(event)
        return [
            (": ".join(filter(None, (_SCHEDULED if held_up else words, sort))), group)
            for wanted, words in _HEADINGS.items()
            for (kind, sort, held_up), group in groups.items()
            if kind is wanted
        ]

    def _entries(
        self, groups: Sequence[tuple[str, Sequence[Event]]], *, linked: bool
    ) -> list["_DigestLine"]:
        entries: list[_DigestLine] = []
        for words, events in groups:
            total = f" ({len(events):,})" if len(events) > 1 else ""
            messages = {event.milestone.message for event in events}
            is_shared = len(messages) == 1
            quote = _quoted(messages.pop()) if is_shared else ""
            heading = format_line((Bold(words + total), quote), self.markup)
            for event in events[: LINES_SHOWN - len(entries)]:
                line = self._line(event, linked=linked, quoted=not is_shared)
                text = format_line(line, self.markup)
                entries.append(_DigestLine(kind=event.kind, heading=heading, line=text))
        return entries

    def _line(self, event: Event, *, linked: bool, quoted: bool) -> Line:
        title = title_of(event.milestone, _MAX_TITLE)
        href = link(event.milestone, self.external_url) if linked else None
        fact = _fact(event, self.formatter)
        return (
            title if href is None else Anchor(title, href),
            f" – {fact}" if fact else "",
            _quoted(event.milestone.message) if quoted else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _DigestLine:
    """One event's line, and the heading under which it stands."""

    kind: Kind
    heading: str
    line: str


def _quoted(message: str) -> str:
    text = clean(message, _MAX_MESSAGE)
    return f" “{text}”" if text else ""


def _fact(event: Event, formatter: EventFormatter) -> str:
    """What the line says beside the title: the time, or the most important change."""
    start = event.milestone.start
    match event.kind:
        case Kind.UPDATED:
            changes = formatter.changes(event.changes)
            rest = f" and {count(len(changes) - 1, 'more change')}"
            return changes[0] + (rest if changes[1:] else "") if changes else ""
        case Kind.STARTED:
            fact = formatter.instant(event.at)
            if formatter.is_late(event):
                fact += f" ({formatter.relative(event.at)})"
            if event.again_from is not None:
                fact += f", announced before at {formatter.moment(event.again_from)}"
            return fact + _doubt(event, formatter)
        case Kind.UPCOMING:
            when = f"{formatter.relative(start)}, {formatter.instant(start)}"
            return when + _doubt(event, formatter)
        case Kind.ENDED:
            return formatter.instant(event.at)
        case Kind.CREATED | Kind.REMOVED:
            return formatter.instant(start)


def _doubt(event: Event, formatter: EventFormatter) -> str:
    status, live = event.milestone.status, formatter.live(event)
    doubt = f" – Kalshi lists it as {status}" if status in CRITICAL_STATUSES else ""
    is_ahead = event.milestone.start > formatter.now
    if live is None or not live.is_held_up or (is_ahead and live.status is Status.NOT_STARTED):
        return doubt
    return f"{doubt} – live data says that it {live.words}"
