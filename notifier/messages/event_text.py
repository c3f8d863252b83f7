"""
What an event has to say, in plain words: its headline, and what changed.

Nothing is escaped here, but foreign text is already cleaned and cut, so that a
megabyte costs no more than a line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.live_status import LiveData
from notifier.domain.models import Change, Event, Json, Kind, Milestone
from notifier.domain.routing import GRAVE
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

#: A `started` later than this says so.
LATE = timedelta(seconds=60)

#: Characters of a title, of a value in a change, of JSON in a change.
LONGEST_TITLE = 300
_LONGEST_VALUE = 120
_LONGEST_JSON = 80
_LONGEST_LABEL = 60
_LONGEST_TICKER = 60
_TICKERS_SHOWN = 3
#: Members of an object or a list.
_ITEMS = 8
_LONGEST_NUMBER_BITS = 128

_START, _END, _STATUS = "start_date", "end_date", "details.status"
_PRIMARY, _RELATED = "primary_event_tickers", "related_event_tickers"
#: What people want to know first; the rest follows as it comes.
_ORDER = (_START, _STATUS, _END, "title", _PRIMARY, _RELATED, "notification_message")
_LABELS = {
    _START: "Start",
    _END: "End",
    _STATUS: "Status",
    "notification_message": "Message",
    "last_updated_ts": "Last update",
    "details": "Details",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One line: what happened, to what. Only the title gives way when cut."""

    before: str
    title: str
    after: str = ""

    def fit(self, limit: int) -> str:
        """The line in at most `limit` characters, calling nobody."""
        before, title, after = plain(self.before), plain(self.title), plain(self.after)
        room = limit - len(before) - len(after)
        if len(title) > room >= min(len(title), 16):
            title = shorten(title, room)
        return shorten(before + title + after, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Puts events into words for one reader: in a zone, at an instant."""

    zone: ZoneInfo
    now: datetime

    def instant(self, when: datetime) -> str:
        """`Sat 26 Sep, 15:30 EDT`, or that the start is not set."""
        if not is_set(when):
            return NOT_SET
        return instant(when, zone=self.zone, now=self.now)

    def relative(self, when: datetime) -> str:
        """`in 3 h 20 min`, `12 min ago`."""
        return relative(when, now=self.now)

    def is_late(self, event: Event) -> bool:
        """Whether the event's instant is so long past that it must be said."""
        return self.now - event.at > LATE

    # --- live data ---

    def live(self, event: Event) -> LiveData | None:
        """What live data says of the milestone, if that can be told as true."""
        live = event.live
        if live is None or not live.words:
            return None
        return live if live.holds(start=event.milestone.start, now=self.now) else None

    def is_held_up(self, event: Event) -> bool:
        """Whether live data says that what was to start has not."""
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
                return Headline(before=self._ahead(event), title=title)
            case Kind.STARTED:
                return self._started(event, title)
            case Kind.ENDED:
                return Headline(before="Ended: ", title=title)
            case Kind.REMOVED:
                return Headline(before="Removed: ", title=title)

    def _ahead(self, event: Event) -> str:
        start = event.milestone.start
        if start <= self.now:
            return "Starting now: "
        words = self.relative(start)
        return "Starting now: " if words == "now" else f"{words.capitalize()}: "

    def _started(self, event: Event, title: str) -> Headline:
        late = self.is_late(event)
        live = self.live(event)
        if live is not None and live.is_held_up:
            ago = self.relative(event.at)
            before = f"Was to start {ago}: " if late else "Scheduled to start now: "
            words = live.words.removeprefix("is ").removeprefix("has ")
            after = f" ({words}){self._doubt(event)}"
            return Headline(before=before, title=title, after=after)
        before = f"Started {self.relative(event.at)}" if late else "Started"
        if event.again_from is not None:
            before = before.replace("Started", "Started again", 1)
        return Headline(before=f"{before}: ", title=title, after=self._doubt(event))

    def _doubt(self, event: Event) -> str:
        if event.milestone.status in GRAVE:
            return f" (Kalshi lists it as {event.milestone.status})"
        if event.again_from is not None:
            return f" (announced before at {self.moment(event.again_from)})"
        return ""

    def moment(self, when: datetime) -> str:
        """The instant, without its day if that is today."""
        return moment(when, zone=self.zone, now=self.now)

    def _updated(self, event: Event, title: str) -> Headline:
        by_field = {change.field: change for change in event.changes}
        status, start = by_field.get(_STATUS), by_field.get(_START)
        after = self._new_start(event.milestone, start)
        if status is not None and _word(status.after) in GRAVE:
            return Headline(
                before=f"{_word(status.after).capitalize()}: ", title=title, after=after
            )
        if start is not None:
            return Headline(before=f"{_start_verb(start)}: ", title=title, after=after)
        if status is not None and _word(status.before) in GRAVE:
            return Headline(before=f"No longer {_word(status.before)}: ", title=title)
        return Headline(before=f"{_verb(by_field)}: ", title=title)

    def _new_start(self, milestone: Milestone, change: Change | None) -> str:
        if change is None or not is_set(milestone.start):
            return ""
        now = "now " if _parsed(change.before) is not None else ""
        return f" – {now}{self.instant(milestone.start)}"

    # --- the changes ---

    def changes(self, changes: Sequence[Change]) -> tuple[str, ...]:
        """One sentence each, what matters most first."""
        ordered = sorted(changes, key=_rank)
        return tuple(self.change(each) for each in without_echo(ordered))

    def change(self, change: Change) -> str:
        """`Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)`."""
        if change.added is not None and change.removed is not None:
            return _tickers(change)
        if change.field in {_START, _END, "last_updated_ts"}:
            return f"{label(change.field)}: {self._moved(change)}"
        return f"{label(change.field)}: {_replaced(change)}"

    def _moved(self, change: Change) -> str:
        before, after = _parsed(change.before), _parsed(change.after)
        if before is not None and after is not None:
            return f"moved from {moved(before, after, zone=self.zone, now=self.now)}"
        if after is not None:
            return f"set to {self.instant(after)} ({self.relative(after)})"
        if before is not None:
            return f"no longer set (was {self.instant(before)})"
        return _replaced(change)


def title_of(milestone: Milestone) -> str:
    """The milestone's title on one line; never empty."""
    return clean(milestone.title, LONGEST_TITLE) or "Untitled milestone"


def about(milestone: Milestone) -> str:
    """`Sports · football game · NCAAFB`: what kind of thing it is."""
    league = milestone.details.get("league")
    words = (
        clean(milestone.category, _LONGEST_LABEL),
        readable(clean(milestone.type, _LONGEST_LABEL)),
        clean(league, _LONGEST_LABEL) if isinstance(league, str) else "",
    )
    return " · ".join(dict.fromkeys(word for word in words if word))


def label(field: str) -> str:
    """The path of a field in words: `details.home_team_id` -> `Home team id`."""
    if field in _LABELS:
        return _LABELS[field]
    path = clean(field.removeprefix("details."), _LONGEST_LABEL).replace(".", " ")
    words = readable(path.replace("~1", ".").replace("~0", "~"))
    return words[:1].upper() + words[1:]


def value(foreign: Json) -> str:
    """A value in words: `yes`, `3`, `postponed`, `“two words”`, short JSON."""
    match foreign:
        case None:
            return "none"
        case bool():
            return "yes" if foreign else "no"
        case str():
            text = clean(foreign, _LONGEST_VALUE)
            return text if text and " " not in text else f"“{text}”"
        case int() | float():
            return _number(foreign)
        case _:
            return shorten(_json(foreign, depth=2), _LONGEST_JSON)


def without_echo(changes: Sequence[Change]) -> Sequence[Change]:
    """The changes without the related tickers where the primary ones say the same."""
    primary = next((each for each in changes if each.field == _PRIMARY), None)
    if primary is None:
        return changes
    return [
        each
        for each in changes
        if each.field != _RELATED or (each.added, each.removed) != (primary.added, primary.removed)
    ]


def _rank(change: Change) -> int:
    return _ORDER.index(change.field) if change.field in _ORDER else len(_ORDER)


def _word(foreign: Json) -> str:
    return foreign.strip().lower() if isinstance(foreign, str) else ""


def tells_start(changes: Sequence[Change]) -> bool:
    """Whether a change says all about the start: it was set, or withdrawn."""
    return any(
        each.field == _START and _start_verb(each) in {"Start set", "Start withdrawn"}
        for each in changes
    )


def _start_verb(change: Change) -> str:
    if _parsed(change.after) is None:
        return "Start withdrawn"
    return "Start set" if _parsed(change.before) is None else "Moved"


def _verb(by_field: Mapping[str, Change]) -> str:
    if "title" in by_field:
        return "Renamed"
    if not by_field or by_field.keys() - {_PRIMARY, _RELATED}:
        return "Updated"
    lost = any(change.removed for change in by_field.values())
    return "Markets changed" if lost else "New markets"


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
    if change.before is None:
        return f"set to {_value_of(change.field, change.after)}"
    before = _value_of(change.field, change.before)
    if change.after is None:
        return f"cleared (was {before})"
    return f"{before} → {_value_of(change.field, change.after)}"


def _value_of(field: str, foreign: Json) -> str:
    if field in {"type", _STATUS} and isinstance(foreign, str):
        return readable(clean(foreign, _LONGEST_VALUE)) or "“”"
    return value(foreign)


def _tickers(change: Change) -> str:
    noun = {_PRIMARY: "market", _RELATED: "related market"}.get(change.field, "ticker")
    signs = (("+", change.added or ()), ("−", change.removed or ()))
    return "; ".join(
        f"{sign}{count(len(tickers), noun)}: {_names(tickers)}"
        for sign, tickers in signs
        if tickers
    )


def _names(tickers: Sequence[str]) -> str:
    shown = [clean(ticker, _LONGEST_TICKER) for ticker in tickers[:_TICKERS_SHOWN]]
    rest = [""] * (len(tickers) - len(shown))
    return listed([*shown, *rest], at_most=_TICKERS_SHOWN)


def _number(foreign: float) -> str:
    if isinstance(foreign, int) and foreign.bit_length() > _LONGEST_NUMBER_BITS:
        return "(a very long number)"
    return f"{foreign}"


def _json(foreign: Json, *, depth: int) -> str:
    """JSON as far as anybody would read it; deep and long ones end in an ellipsis."""
    if isinstance(foreign, str):
        return f'"{clean(foreign, _LONGEST_JSON)}"'
    if isinstance(foreign, Mapping):
        rows = [
            f"{clean(key, _LONGEST_LABEL)}: {_inner(foreign[key], depth)}"
            for key in list(foreign)[:_ITEMS]
        ]
        return "{" + ", ".join([*rows, *_more(len(foreign))]) + "}"
    if isinstance(foreign, Sequence):
        items = [_inner(each, depth) for each in foreign[:_ITEMS]]
        return "[" + ", ".join([*items, *_more(len(foreign))]) + "]"
    return value(foreign)


def _inner(foreign: Json, depth: int) -> str:
    if isinstance(foreign, str) or not isinstance(foreign, Mapping | Sequence):
        return _json(foreign, depth=depth)
    return _json(foreign, depth=depth - 1) if depth else "…"


def _more(length: int) -> tuple[str, ...]:
    return ("…",) if length > _ITEMS else ()
