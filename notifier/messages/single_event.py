"""The body that tells one event to a person, as long as fits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from notifier.domain.live_status import LiveData, Status
from notifier.domain.models import Event, Format, Kind
from notifier.domain.routing import GRAVE
from notifier.messages.escaping import (
    Anchor,
    Bold,
    Line,
    Row,
    clean,
    lay_out,
    shorten_line,
    spell,
)
from notifier.messages.event_text import Teller, about, tells_start
from notifier.messages.humanize import count, is_set

#: More are counted.
CHANGES_SHOWN = 8
#: A message is cut to this, or half of the body if that is less, before anything
#: else is left out for its sake.
_LEAST_MESSAGE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """How much of everything is said."""

    changes: int
    about: bool = True
    when: bool = True
    link: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All there is to say about one event; `body` says as much as fits."""

    markup: Format
    #: Stands above the body where a service has no titles.
    title: str
    changes: tuple[str, ...]
    notes: tuple[Line, ...]
    message: str
    about: str
    link: Anchor | None

    def body(self, limit: int) -> str:
        """The text; what is left out is counted, or said to be cut."""
        for plan in self._plans():
            text = lay_out(self._rows(plan, self._quote()), self.markup)
            if len(text) <= limit:
                return text
            room = limit - len(lay_out(self._rows(plan, "\0"), self.markup)) + 1
            if room >= min(_LEAST_MESSAGE, limit // 2) or plan == _BARE:
                quote = self._cut_quote(room, linked=plan.link)
                text = lay_out(self._rows(plan, quote), self.markup)
                if quote and len(text) <= limit:
                    return text
        return self._one_line(limit)

    def _plans(self) -> Iterator[_Plan]:
        """From everything to the message alone."""
        plan = _Plan(changes=min(len(self.changes), CHANGES_SHOWN))
        yield plan
        for shown in range(plan.changes, -1, -1):
            yield (plan := replace(plan, changes=shown, about=False))
        yield replace(plan, when=False)
        yield _BARE

    def _rows(self, plan: _Plan, quote: str) -> list[Row]:
        rows = [Row(spell((Bold(self.title),), self.markup))] if self.title else []
        rows += self._change_rows(plan.changes)
        if plan.when:
            rows += [Row(spell(line, self.markup)) for line in self.notes]
        if quote:
            rows.append(Row(quote))
        if plan.about and self.about:
            rows.append(Row(spell((self.about,), self.markup)))
        if plan.link and self.link:
            rows.append(Row(spell((self.link,), self.markup)))
        return rows

    def _change_rows(self, shown: int) -> list[Row]:
        rest = len(self.changes) - shown
        lines = list(self.changes[:shown])
        if rest:
            lines.append(f"and {count(rest, 'more change')}" if shown else "")
        if rest and not shown:
            lines = [count(rest, "change")]
        return [Row(spell((text,), self.markup), bullet=len(lines) > 1) for text in lines]

    def _quote(self) -> str:
        return spell((f"“{self.message}”",), self.markup) if self.message else ""

    def _cut_quote(self, room: int, *, linked: bool) -> str:
        note = " (cut; see link)" if self.link and linked else " (cut)"
        if not self.message or room <= len(note):
            return ""
        return shorten_line((f"“{self.message}",), self.markup, room - len(note)) + note

    def _one_line(self, limit: int) -> str:
        """What to say where hardly anything fits: never nothing."""
        words = self.title or self.message or self.about or "…"
        wrapped = len(lay_out([Row("")], self.markup))
        text = lay_out([Row(shorten_line((words,), self.markup, limit - wrapped))], self.markup)
        return text if len(text) <= limit else ""


_BARE = _Plan(changes=0, about=False, when=False, link=False)


def page(
    event: Event,
    *,
    teller: Teller,
    markup: Format,
    title: str,
    link: Anchor | None,
    room: int,
) -> Page:
    """Everything that is said about the event; `room` bounds its longest text."""
    return Page(
        markup=markup,
        title=title,
        changes=teller.changes(event.changes) if event.kind is Kind.UPDATED else (),
        notes=tuple(notes(event, teller)),
        message=clean(event.milestone.message, max(room, _LEAST_MESSAGE)),
        about=about(event.milestone),
        link=link,
    )


def notes(event: Event, teller: Teller) -> Iterator[Line]:
    """When it is or was, and what must be known beside."""
    start = event.milestone.start
    match event.kind:
        case Kind.STARTED:
            yield _started(event, teller)
        case Kind.ENDED:
            yield _at("Ended", event, teller)
        case Kind.REMOVED:
            yield ("Kalshi no longer lists it.",)
            if is_set(start):
                has_started = start <= teller.now and not teller.is_held_up(event)
                verb = "Started" if has_started else "Was to start"
                yield (f"{verb} {teller.instant(start)}",)
        case Kind.CREATED | Kind.UPDATED | Kind.UPCOMING:
            if not tells_start(event.changes):
                yield _start(event, teller)
            if event.supersedes:
                yield (f"The net of {count(1 + len(event.supersedes), 'update')}.",)
    if event.kind in {Kind.STARTED, Kind.UPCOMING} and event.milestone.status in GRAVE:
        yield (f"Kalshi lists it as {event.milestone.status}.",)
    live = teller.live(event)
    if live is not None and _is_news(live, event, teller):
        yield (f"Kalshi's live data says that it {live.words}.",)


def _is_news(live: LiveData, event: Event, teller: Teller) -> bool:
    """Whether anybody would have thought otherwise."""
    is_ahead = event.milestone.start > teller.now
    return not (is_ahead and live.status is Status.NOT_STARTED)


def _start(event: Event, teller: Teller) -> Line:
    start = event.milestone.start
    if not is_set(start):
        return ("Start not set",)
    verb = "Starts " if start > teller.now else "Started "
    if verb == "Started " and teller.is_held_up(event):
        verb = "Was to start "
    return (verb, Bold(teller.instant(start)), f" ({teller.relative(start)})")


def _at(verb: str, event: Event, teller: Teller) -> Line:
    ago = f" ({teller.relative(event.at)})" if teller.is_late(event) else ""
    return (f"{verb} ", Bold(teller.instant(event.at)), ago)


def _started(event: Event, teller: Teller) -> Line:
    verb = "Scheduled to start" if teller.is_held_up(event) else "Started"
    line = _at(verb, event, teller)
    if event.again_from is None:
        return line
    return (*line, f"; announced before at {teller.moment(event.again_from)}")
