"""The title and body that tell many events in one message, and what they leave out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from notifier.domain.live_status import Status
from notifier.domain.models import Event, Format, Kind
from notifier.domain.routing import GRAVE
from notifier.messages.cloudevents import link, overview
from notifier.messages.escaping import (
    Anchor,
    Bold,
    Piece,
    Row,
    clean,
    lay_out,
    shorten_line,
    spell,
)
from notifier.messages.event_text import Headline, Teller, about, title_of
from notifier.messages.humanize import count

#: Lines of a digest; more are counted.
LINES_SHOWN = 50
_TITLES_SHOWN = 3
_LONGEST_TITLE = 100
_LONGEST_MESSAGE = 160

#: What presses comes first.
_ORDER = (
    Kind.STARTED,
    Kind.UPCOMING,
    Kind.UPDATED,
    Kind.CREATED,
    Kind.ENDED,
    Kind.REMOVED,
)
#: `Kind` itself is in the order of a milestone's life.
_TOLD = tuple(Kind)
_HEADINGS = {
    Kind.STARTED: "Started",
    Kind.UPCOMING: "Starting soon",
    Kind.UPDATED: "Updated",
    Kind.CREATED: "New",
    Kind.ENDED: "Ended",
    Kind.REMOVED: "Removed",
}


#: The heading of starts that have not come to pass, says live data.
_SCHEDULED = "Scheduled to start"


def headline(events: Sequence[Event], teller: Teller, *, counts: bool = False) -> Headline:
    """
    `12 milestones: 7 created, 4 updated, 1 ended`; one kind names its first.

    With `counts`, no foreign text at all.
    """
    kinds = {event.kind for event in events}
    if counts or len(kinds) > 1:
        before = count(len(events), _noun(events))
        held_up = _any_held_up(events, teller)
        return Headline(before=f"{before}: ", title=tally(_counted(events), held_up=held_up))
    titles = [title_of(event.milestone) for event in events[:_TITLES_SHOWN]]
    rest = len(events) - len(titles)
    return Headline(
        before=f"{len(events):,} {_verb(events, teller)}: ",
        title=", ".join(titles),
        after=f" and {rest:,} more" if rest else "",
    )


def tally(counts: Mapping[Kind, int], *, held_up: bool = False) -> str:
    """`7 created, 4 updated`; `held_up`: one of those started may not have."""
    return ", ".join(_tallied(counts, held_up=held_up))


def _tallied(counts: Mapping[Kind, int], *, held_up: bool) -> list[str]:
    return [
        f"{counts[kind]:,} {_counted_as(kind, held_up=held_up)}"
        for kind in _TOLD
        if counts.get(kind)
    ]


def _counted_as(kind: Kind, *, held_up: bool) -> str:
    return _SCHEDULED.lower() if kind is Kind.STARTED and held_up else kind.value


def _any_held_up(events: Sequence[Event], teller: Teller) -> bool:
    return any(_is_held_up(event, teller) for event in events)


def _is_held_up(event: Event, teller: Teller) -> bool:
    """Whether it is about a start that has not come to pass, says live data."""
    return event.kind is Kind.STARTED and teller.is_held_up(event)


def _counted(events: Sequence[Event]) -> Counter[Kind]:
    return Counter(event.kind for event in events)


def _noun(events: Sequence[Event]) -> str:
    distinct = len({event.milestone.id for event in events})
    return "milestone" if distinct == len(events) else "event"


def _verb(events: Sequence[Event], teller: Teller) -> str:
    kind = events[0].kind
    if kind is not Kind.UPCOMING:
        return _counted_as(kind, held_up=_any_held_up(events, teller))
    ahead = {teller.relative(event.milestone.start) for event in events}
    return f"starting {ahead.pop()}" if len(ahead) == 1 else "starting soon"


# --- the body -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One event's line, and the heading under which it stands."""

    kind: Kind
    heading: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """All that is to be told; `body` tells as much as fits and counts the rest."""

    events: Sequence[Event]
    teller: Teller
    markup: Format
    #: Stands above the body where a service has no titles.
    title: str
    external_url: str | None

    def body(self, limit: int) -> str:
        """One line an event, grouped by kind and sort; never cut within a line."""
        groups = _grouped(self.events, self.teller)
        if self.markup is not Format.TEXT:
            entries = self._entries(groups, linked=True)
            text = self._laid_out(entries)
            if len(text) <= limit:
                return text
        return self._fitted(self._entries(groups, linked=False), limit)

    def counts(self, limit: int) -> str:
        """Nothing but numbers: no foreign text at all."""
        lines = _tallied(_counted(self.events), held_up=self._held_up)
        rows = [Row(line, bullet=len(lines) > 1) for line in lines]
        anchor = Row(self._spell(Anchor("See them all", overview(self.external_url))))
        text = lay_out([*self._head(), *rows, anchor], self.markup)
        return text if len(text) <= limit else self._fitted([], limit)

    def _fitted(self, entries: Sequence[_Entry], limit: int) -> str:
        """With as many entries as fit; without any, still the counts."""
        low, high, best = 0, len(entries), ""
        while low <= high:
            middle = (low + high + 1) // 2
            text = self._laid_out(entries[:middle])
            if len(text) <= limit:
                best, low = text, middle + 1
            else:
                high = middle - 1
        return best or self._one_line(limit)

    def _one_line(self, limit: int) -> str:
        words = self.title or tally(_counted(self.events), held_up=self._held_up)
        wrapped = len(lay_out([Row("")], self.markup))
        line = shorten_line((words,), self.markup, limit - wrapped)
        return lay_out([Row(line)], self.markup) if line else ""

    @property
    def _held_up(self) -> bool:
        return _any_held_up(self.events, self.teller)

    def _laid_out(self, entries: Sequence[_Entry]) -> str:
        return lay_out([*self._head(), *_listed(entries), *self._rest(entries)], self.markup)

    def _head(self) -> list[Row]:
        return [Row(self._spell(Bold(self.title)))] if self.title else []

    def _rest(self, shown: Sequence[_Entry]) -> list[Row]:
        """What is left out, counted, and where it can be seen."""
        rest = _counted(self.events)
        rest.subtract(entry.kind for entry in shown)
        if not rest.total():
            return []
        held_up = self._held_up
        words = _remainder(+rest, held_up=held_up)
        rows = [Row(words if shown else tally(rest, held_up=held_up))]
        if self.external_url is not None:
            anchor = Anchor("See them all", overview(self.external_url))
            rows.append(Row(self._spell(anchor)))
        return rows

    def _entries(
        self, groups: Sequence[tuple[Kind, str, Sequence[Event]]], *, linked: bool
    ) -> list[_Entry]:
        entries: list[_Entry] = []
        for kind, sort, events in groups:
            room = LINES_SHOWN - len(entries)
            if room <= 0:
                break
            shared = _shared_message(events)
            heading = self._heading(kind, sort, events, shared)
            entries += (
                _Entry(
                    kind=kind,
                    heading=heading,
                    line=self._line(event, linked=linked, quoted=shared is None),
                )
                for event in events[:room]
            )
        return entries

    def _heading(self, kind: Kind, sort: str, events: Sequence[Event], message: str | None) -> str:
        is_held_up = _is_held_up(events[0], self.teller)
        heading = _SCHEDULED if is_held_up else _HEADINGS[kind]
        words = f"{heading}: {sort}" if sort else heading
        counted = f"{words} ({len(events):,})" if len(events) > 1 else words
        return self._spell(Bold(counted), _quoted(message) if message else "")

    def _line(self, event: Event, *, linked: bool, quoted: bool) -> str:
        title = clean(event.milestone.title, _LONGEST_TITLE) or "Untitled milestone"
        href = link(event.milestone, self.external_url) if linked else None
        message = _quoted(event.milestone.message) if quoted else ""
        return self._spell(
            title if href is None else Anchor(title, href),
            f" – {fact}" if (fact := _fact(event, self.teller)) else "",
            message,
        )

    def _spell(self, *line: Piece) -> str:
        return spell(line, self.markup)


def _listed(entries: Sequence[_Entry]) -> Iterator[Row]:
    heading: str | None = None
    for entry in entries:
        if entry.heading != heading:
            heading = entry.heading
            yield Row(heading, heading=True)
        yield Row(entry.line, bullet=True)


def _remainder(rest: Counter[Kind], *, held_up: bool) -> str:
    """`and 12 more created`, `and 123 more: 100 created, 23 updated`."""
    more = f"and {rest.total():,} more"
    if len(rest) == 1:
        return f"{more} {_counted_as(min(rest), held_up=held_up)}"
    return f"{more}: {tally(rest, held_up=held_up)}"


def _grouped(events: Sequence[Event], teller: Teller) -> list[tuple[Kind, str, Sequence[Event]]]:
    """By kind, what presses first, then by sort as first told."""
    groups: dict[tuple[Kind, str, bool], list[Event]] = {}
    sorts: dict[tuple[str, str, str], str] = {}
    for event in events:
        milestone = event.milestone
        key = milestone.category, milestone.type, str(milestone.details.get("league"))
        if key not in sorts:
            sorts[key] = about(milestone)
        held_up = _is_held_up(event, teller)
        groups.setdefault((event.kind, sorts[key], held_up), []).append(event)
    return [
        (kind, sort, group)
        for wanted in _ORDER
        for (kind, sort, _), group in groups.items()
        if kind is wanted
    ]


def _shared_message(events: Sequence[Event]) -> str | None:
    """What all of them carry as their message; None where they differ."""
    messages = {event.milestone.message for event in events}
    return messages.pop() if len(messages) == 1 else None


def _quoted(message: str) -> str:
    words = clean(message, _LONGEST_MESSAGE)
    return f" “{words}”" if words else ""


def _fact(event: Event, teller: Teller) -> str:
    """What the line says beside the title: the time, or the main change."""
    start = event.milestone.start
    match event.kind:
        case Kind.UPDATED:
            changes = teller.changes(event.changes)
            rest = f" and {count(len(changes) - 1, 'more change')}"
            return changes[0] + (rest if changes[1:] else "") if changes else ""
        case Kind.STARTED:
            return _start_fact(event, teller)
        case Kind.UPCOMING:
            when = f"{teller.relative(start)}, {teller.instant(start)}"
            return when + _doubt(event, teller)
        case Kind.ENDED:
            return teller.instant(event.at)
        case Kind.CREATED | Kind.REMOVED:
            return teller.instant(start)


def _start_fact(event: Event, teller: Teller) -> str:
    fact = teller.instant(event.at)
    if teller.is_late(event):
        fact += f" ({teller.relative(event.at)})"
    if event.again_from is not None:
        fact += f", announced before at {teller.moment(event.again_from)}"
    return fact + _doubt(event, teller)


def _doubt(event: Event, teller: Teller) -> str:
    status, live = event.milestone.status, teller.live(event)
    doubt = f" – Kalshi lists it as {status}" if status in GRAVE else ""
    if live is None or not live.is_held_up:
        return doubt
    if event.milestone.start > teller.now and live.status is Status.NOT_STARTED:
        return doubt
    return f"{doubt} – live data says that it {live.words}"
