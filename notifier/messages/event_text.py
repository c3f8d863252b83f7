"""
An event in plain English: its headline, and what changed.

Nothing is escaped here, but foreign text is already cleaned and cut, so a megabyte costs no more
than a line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.live_status import LiveData
from notifier.domain.models import Change, Event, Json, Kind, Milestone
from notifier.domain.routing import CRITICAL_STATUSES
from notifier.messages.escaping import clean, plain, shorten
from notifier.messages.humanize import (
    NOT_SET,
    count,
    instant,
    is_set,
    listed,
    moment,
    moved,
    readable,
    relative,
)

#: A `started` later than this says how late it is.
LATE = timedelta(seconds=60)

#: Characters of a title, of a value in a change, of JSON in a change, of a name.
MAX_TITLE = 300
_MAX_VALUE = 120
_MAX_JSON = 80
_MAX_LABEL = 60
_TICKERS_SHOWN = 3
#: Members of an object or a list that are shown, and levels of nesting.
_MAX_ITEMS = 8
_MAX_DEPTH = 2
_MAX_NUMBER_BITS = 128

_START, _END, _STATUS = "start_date", "end_date", "details.status"
_PRIMARY, _RELATED = "primary_event_tickers", "related_event_tickers"
#: The most important changes first; the rest follows as it comes.
_ORDER = (_START, _STATUS, _END, "title", _PRIMARY, _RELATED, "notification_message")
_LABELS = {
    _START: "Start",
    _END: "End",
    _STATUS: "Status",
    "notification_message": "Message",
    "last_updated_ts": "Last update",
    "details": "Details",
}
_NOUNS = {_PRIMARY: "market", _RELATED: "related market"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One line: what happened, to which milestone. Only the title is cut if it can be."""

    before: str
    title: str
    after: str = ""

    def fit(self, limit: int) -> str:
        """The line in at most `limit` characters, without mentions."""
        before, title, after = plain(self.before), plain(self.title), plain(self.after)
        room = limit - len(before) - len(after)
        if len(title) > room >= min(len(title), 16):
            title = shorten(title, room)
        return shorten(before + title + after, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFormatter:
    """Formats events for one reader: in a zone, at an instant."""

    zone: ZoneInfo
    now: datetime

    def instant(self, when: datetime) -> str:
        """`Sat 26 Sep, 15:30 EDT`, or that the start is not set."""
        return instant(when, zone=self.zone, now=self.now) if is_set(when) else NOT_SET

    def moment(self, when: datetime) -> str:
        """The instant, without its day if that is today."""
        return moment(when, zone=self.zone, now=self.now)

    def relative(self, when: datetime) -> str:
        """`in 3 h 20 min`, `12 min ago`."""
        return relative(when, now=self.now)

    def is_late(self, event: Event) -> bool:
        """Whether the event's instant is so long past that the text must say so."""
        return self.now - event.at > LATE

    def live(self, event: Event) -> LiveData | None:
        """The milestone's live data, if it is current and understood."""
        live = event.live
        if live is None or not live.words:
            return None
        return live if live.holds(start=event.milestone.start, now=self.now) else None

    def is_held_up(self, event: Event) -> bool:
        """Whether live data says that the scheduled start has not come to pass."""
        live = self.live(event)
        return live is not None and live.is_held_up

    # --- the headline ---

    def headline(self, event: Event) -> Headline:
        """What happened, in one line."""
        title = title_of(event.milestone)
        match event.kind:
            case Kind.CREATED:
                return Headline(before="New: ", title=title)
            case Kind.UPDATED:
                return self._updated(event, title)
            case Kind.UPCOMING:
                start = event.milestone.start
                ahead = self.relative(start) if start > self.now else "now"
                before = "Starting now" if ahead == "now" else ahead.capitalize()
                return Headline(before=f"{before}: ", title=title)
            case Kind.STARTED:
                return self._started(event, title)
            case Kind.ENDED:
                return Headline(before="Ended: ", title=title)
            case Kind.REMOVED:
                return Headline(before="Removed: ", title=title)

    def _started(self, event: Event, title: str) -> Headline:
        doubt = ""
        if event.milestone.status in CRITICAL_STATUSES:
            doubt = f" (Kalshi lists it as {event.milestone.status})"
        elif event.again_from is not None:
            doubt = f" (announced before at {self.moment(event.again_from)})"
        ago = f" {self.relative(event.at)}" if self.is_late(event) else ""
        live = self.live(event)
        if live is not None and live.is_held_up:
            before = f"Was to start{ago}: " if ago else "Scheduled to start now: "
            status = live.words.removeprefix("is ").removeprefix("has ")
            return Headline(before=before, title=title, after=f" ({status}){doubt}")
        again = " again" if event.again_from is not None else ""
        return Headline(before=f"Started{again}{ago}: ", title=title, after=doubt)

    def _updated(self, event: Event, title: str) -> Headline:
        by_field = {change.field: change for change in event.changes}
        start, status = by_field.get(_START), by_field.get(_STATUS)
        new, old = (
            each.strip().lower() if isinstance(each, str) else ""
            for each in ((status.after, status.before) if status else ("", ""))
        )
        after = ""
        if start is not None and is_set(event.milestone.start):
            now = "" if _parsed(start.before) is None else "now "
            after = f" – {now}{self.instant(event.milestone.start)}"
        if new in CRITICAL_STATUSES:
            before = new.capitalize()
        elif start is not None:
            before = _start_verb(start)
        elif old in CRITICAL_STATUSES:
            before = f"No longer {old}"
        elif "title" in by_field:
            before = "Renamed"
        elif not by_field or by_field.keys() - _NOUNS.keys():
            before = "Updated"
        else:
            is_lost = any(change.removed for change in by_field.values())
            before = "Markets changed" if is_lost else "New markets"
        return Headline(before=f"{before}: ", title=title, after=after)

    # --- the changes ---

    def changes(self, changes: Sequence[Change]) -> tuple[str, ...]:
        """One sentence each, the most important first."""

        def rank(change: Change) -> int:
            return _ORDER.index(change.field) if change.field in _ORDER else len(_ORDER)

        return tuple(map(self.change, without_echo(sorted(changes, key=rank))))

    def change(self, change: Change) -> str:
        """`Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)`."""
        if change.added is not None and change.removed is not None:
            noun = _NOUNS.get(change.field, "ticker")
            return "; ".join(
                f"{sign}{count(len(tickers), noun)}: {_names(tickers)}"
                for sign, tickers in (("+", change.added), ("−", change.removed))
                if tickers
            )
        text = _replaced(change)
        if change.field in {_START, _END, "last_updated_ts"}:
            before, after = _parsed(change.before), _parsed(change.after)
            if before is not None and after is not None:
                text = f"moved from {moved(before, after, zone=self.zone, now=self.now)}"
            elif after is not None:
                text = f"set to {self.instant(after)} ({self.relative(after)})"
            elif before is not None:
                text = f"no longer set (was {self.instant(before)})"
        return f"{label(change.field)}: {text}"


def title_of(milestone: Milestone, limit: int = MAX_TITLE) -> str:
    """The milestone's title on one line; never empty."""
    return clean(milestone.title, limit) or "Untitled milestone"


def about(milestone: Milestone) -> str:
    """`Sports · football game · NCAAFB`: category, type and league."""
    league = milestone.details.get("league")
    words = (
        clean(milestone.category, _MAX_LABEL),
        readable(clean(milestone.type, _MAX_LABEL)),
        clean(league, _MAX_LABEL) if isinstance(league, str) else "",
    )
    return " · ".join(dict.fromkeys(word for word in words if word))


def label(field: str) -> str:
    """The path of a field as a label: `details.home_team_id` -> `Home team id`."""
    if field in _LABELS:
        return _LABELS[field]
    path = clean(field.removeprefix("details."), _MAX_LABEL).replace(".", " ")
    text = readable(path.replace("~1", ".").replace("~0", "~"))
    return text[:1].upper() + text[1:]


def value(foreign: Json) -> str:
    """A value as text: `yes`, `3`, `postponed`, `“two words”`, short JSON."""
    match foreign:
        case None:
            return "none"
        case bool():
            return "yes" if foreign else "no"
        case str():
            text = clean(foreign, _MAX_VALUE)
            return text if text and " " not in text else f"“{text}”"
        case int() if foreign.bit_length() > _MAX_NUMBER_BITS:
            return "(a very long number)"
        case int() | float():
            return f"{foreign}"
        case _:
            return shorten(_json(foreign, _MAX_DEPTH), _MAX_JSON)


def without_echo(changes: Sequence[Change]) -> Sequence[Change]:
    """The changes without the related tickers if the primary ones changed in the same way."""
    primary = next((each for each in changes if each.field == _PRIMARY), None)
    if primary is None:
        return changes
    return [
        each
        for each in changes
        if each.field != _RELATED or (each.added, each.removed) != (primary.added, primary.removed)
    ]


def says_start(changes: Sequence[Change]) -> bool:
    """Whether a change's sentence says all about the start: it was set, or withdrawn."""
    return any(
        each.field == _START and _start_verb(each) in {"Start set", "Start withdrawn"}
        for each in changes
    )


def _start_verb(change: Change) -> str:
    if _parsed(change.after) is None:
        return "Start withdrawn"
    return "Start set" if _parsed(change.before) is None else "Moved"


def _parsed(foreign: Json) -> datetime | None:
    """The instant that the API's text means; None for placeholders and garbage."""
    if not isinstance(foreign, str):
        return None
    try:
        when = datetime.fromisoformat(foreign)
    except ValueError:
        return None
    return when if when.tzinfo is not None and is_set(when) else None


def _replaced(change: Change) -> str:
    before, after = (
        readable(clean(each, _MAX_VALUE)) or "“”"
        if change.field in {"type", _STATUS} and isinstance(each, str)
        else value(each)
        for each in (change.before, change.after)
    )
    if change.before is None:
        return f"set to {after}"
    return f"cleared (was {before})" if change.after is None else f"{before} → {after}"


def _names(tickers: Sequence[str]) -> str:
    shown = [clean(ticker, _MAX_LABEL) for ticker in tickers[:_TICKERS_SHOWN]]
    return listed([*shown, *tickers[_TICKERS_SHOWN:]], at_most=_TICKERS_SHOWN)


def _json(foreign: Json, depth: int) -> str:
    """JSON as far as it can be read; deep and long ones end in an ellipsis."""
    if isinstance(foreign, str):
        return f'"{clean(foreign, _MAX_JSON)}"'
    if not isinstance(foreign, Mapping | Sequence):
        return value(foreign)
    if depth < 0:
        return "…"
    more = ["…"] if len(foreign) > _MAX_ITEMS else []
    if isinstance(foreign, Mapping):
        rows = [
            f"{clean(key, _MAX_LABEL)}: {_json(foreign[key], depth - 1)}"
            for key in list(foreign)[:_MAX_ITEMS]
        ]
        return "{" + ", ".join([*rows, *more]) + "}"
    items = [_json(each, depth - 1) for each in foreign[:_MAX_ITEMS]]
    return "[" + ", ".join([*items, *more]) + "]"
