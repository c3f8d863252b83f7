"""What a replay comes to, by day and destination, for people."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from notifier.cli import output
from notifier.domain.models import Event, State
from notifier.domain.preview import Fate, Left
from notifier.messages.humanize import MONTHS, count, day, instant, on_the_wall, zone_name

#: Of each destination, and of each sign.
_EXAMPLES = 3
_NEW, _GONE, _SAME = "new", "no longer", ""
_UNSENT = {
    State.DROPPED: "Dropped",
    State.EXPIRED: "Expired",
    State.SUPERSEDED: "Superseded",
}
_NOT_REHEARSED = (
    "Messages are counted for destinations that take everything at once: digests, "
    "quiet hours, silences, net changes and `rate` count; failures, retries, a "
    "service's own rate, and what became of a milestone while its news was held back "
    "do not."
)
_REMINDERS = (
    "Reminders that nobody had are not stored: they are worked out from the starts as "
    "they are now. One for a start that has moved since is left out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    at: datetime
    kind: str
    title: str


@dataclass(slots=True, kw_only=True)
class _Told:
    """What one destination would have got."""

    deliveries: int = 0
    messages: int = 0
    unsent: Counter[State] = field(default_factory=Counter)
    #: Messages by the hour.
    hours: Counter[datetime] = field(default_factory=Counter)
    examples: dict[str, deque[_Example]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_EXAMPLES))
    )


@dataclass(slots=True, kw_only=True)
class Recount:
    """Counts, kept small however much is replayed."""

    now: datetime
    since: datetime
    #: When the oldest stored event was seen.
    oldest: datetime | None
    destinations: Sequence[str]
    #: From when on it is known what was owed in fact; None: nobody asks.
    compared_since: datetime | None
    zone: ZoneInfo = field(default_factory=output.local_zone)
    events: int = 0
    unheard: int = 0
    #: Events that would have reached nobody, by kind.
    unreached: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    told: dict[str, _Told] = field(default_factory=lambda: defaultdict(_Told))
    #: By day and destination.
    deliveries: Counter[tuple[date, str]] = field(default_factory=Counter)
    messages: Counter[tuple[date, str]] = field(default_factory=Counter)
    new: Counter[tuple[date, str]] = field(default_factory=Counter)
    gone: Counter[tuple[date, str]] = field(default_factory=Counter)

    def add(
        self,
        event: Event,
        names: Sequence[str],
        *,
        in_fact: Collection[str],
        unheard: bool,
    ) -> None:
        """One event, who would have been owed it, and who was."""
        self.events += not unheard
        self.unheard += unheard and bool(names)
        if not names and not unheard:
            self.unreached[event.kind.value] += 1
        today = self._wall(event.seen_at).date()
        is_compared = self.compared_since is not None and (event.seen_at >= self.compared_since)
        for name in names:
            self.told[name].deliveries += 1
            self.deliveries[today, name] += 1
            is_new = is_compared and name not in in_fact
            self.new[today, name] += is_new
            self._keep(name, _NEW if is_new else _SAME, event)
        for name in sorted(set(in_fact) - set(names)) if is_compared else ():
            self.gone[today, name] += 1
            self._keep(name, _GONE, event)

    def note(self, fate: Fate) -> None:
        """What became of something that was owed."""
        told = self.told[fate.destination]
        if not isinstance(fate, Left):
            told.unsent[fate.state] += 1
            return
        wall = self._wall(fate.at)
        told.messages += 1
        told.hours[wall.replace(minute=0, second=0, microsecond=0)] += 1
        self.messages[wall.date(), fate.destination] += 1

    def _wall(self, when: datetime) -> datetime:
        return on_the_wall(when, self.zone)

    def _keep(self, name: str, sign: str, event: Event) -> None:
        title, kind = event.milestone.title, event.kind.value
        example = _Example(at=event.seen_at, kind=kind, title=title)
        self.told[name].examples[sign].append(example)

    @property
    def order(self) -> list[str]:
        """Destinations as configured, then those that there are no more."""
        known = [name for name in self.destinations if name in self.told]
        return [*known, *sorted(self.told.keys() - set(known))]


def show(recount: Recount) -> None:
    """Print it."""
    console = output.out()
    for part in _parts(recount):
        console.print(part)


def _parts(recount: Recount) -> Iterator[RenderableType]:
    yield Text(_headline(recount))
    if recount.told:
        for table in (_days(recount), _destinations(recount), _examples(recount)):
            yield Text("")
            yield table
    yield Text("")
    yield Text(_reach(recount))
    for line in _remarks(recount):
        yield output.folding(line, "dim")


def _headline(recount: Recount) -> str:
    since = instant(recount.since, zone=recount.zone, now=recount.now)
    parts = [f"Since {since}: {count(recount.events, 'event')}"]
    if recount.unheard:
        reminders = count(recount.unheard, "reminder")
        parts.append(f"and {reminders} that nobody had")
    return " ".join(parts) + ". Nothing is sent."


def _reach(recount: Recount) -> str:
    """How many reached nobody."""
    lost = recount.unreached
    if not lost:
        return "Every event would have reached somebody." if recount.events else ""
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in lost.most_common())
    events = count(recount.events, "event")
    return f"{lost.total():,} of {events} would have reached nobody: {kinds}."


def _remarks(recount: Recount) -> Iterator[str]:
    """What the numbers do not say."""
    oldest, compared = recount.oldest, recount.compared_since
    if oldest is None:
        yield "No event is stored."
    elif oldest > recount.since:
        when = instant(oldest, zone=recount.zone, now=recount.now)
        yield f"The oldest event that is stored is of {when}."
    if recount.told:
        yield _NOT_REHEARSED
    if recount.unheard:
        yield _REMINDERS
    if compared is not None:
        words = "New and no longer: against what was owed in fact"
        if compared > recount.since:
            when = instant(compared, zone=recount.zone, now=recount.now)
            words += f", which is known since {when} (retention.deliveries)"
        yield f"{words}."


# --- tables -------------------------------------------------------------------


def _days(recount: Recount) -> Table:
    compares = recount.compared_since is not None
    zone = zone_name(on_the_wall(recount.now, recount.zone))
    table = output.table(
        *(f"Day ({zone})", "Destination", "Deliveries", "Messages"),
        *(("New", "No longer") if compares else ()),
        loose=("Destination",),
    )
    _right(table, 2)
    counted = (recount.deliveries, recount.messages, recount.gone)
    keys = {key for counts in counted for key in counts}
    before: date | None = None
    this_year = on_the_wall(recount.now, recount.zone).year
    for today in sorted({key[0] for key in keys}):
        for name in recount.order:
            key = today, name
            if key not in keys:
                continue
            table.add_row(
                "" if today == before else _day(today, this_year),
                output.foreign(name),
                f"{recount.deliveries[key]:,}",
                f"{recount.messages[key]:,}",
                *(_differences(recount, key) if compares else ()),
            )
            before = today
    return table


def _day(when: date, this_year: int) -> str:
    return day(datetime(when.year, when.month, when.day), this_year=this_year)  # noqa: DTZ001 - a date on the wall


def _differences(recount: Recount, key: tuple[date, str]) -> tuple[Text, Text]:
    new, gone = recount.new[key], recount.gone[key]
    return (
        Text(f"+{new:,}" if new else "", style="green"),
        Text(f"-{gone:,}" if gone else "", style="red"),
    )


def _destinations(recount: Recount) -> Table:
    """Sums, and what would not have been sent; empty columns are left out."""
    everyone = recount.order
    unsent = [
        state for state in _UNSENT if any(recount.told[name].unsent[state] for name in everyone)
    ]
    waits = any(recount.waiting[name] for name in everyone)
    table = output.table(
        *("Destination", "Deliveries", "Messages"),
        *(_UNSENT[state] for state in unsent),
        *(("Held still",) if waits else ()),
        "Loudest hour",
        loose=("Destination", "Loudest hour"),
    )
    _right(table, 1, but_the_last=True)
    for name in everyone:
        told = recount.told[name]
        table.add_row(
            output.foreign(name),
            f"{told.deliveries:,}",
            f"{told.messages:,}",
            *(f"{told.unsent[state]:,}" for state in unsent),
            *((f"{recount.waiting[name]:,}",) if waits else ()),
            output.folding(_loudest(told)),
        )
    return table


def _loudest(told: _Told) -> str:
    """`21 Nov, 18 h: 45`: so many messages; the earliest of several."""
    if not told.hours:
        return ""
    hour, messages = min(told.hours.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{hour.day} {MONTHS[hour.month - 1]}, {hour:%H} h: {messages:,}"


def _examples(recount: Recount) -> Table:
    """The newest of each; where something differs, of that."""
    wall = zone_name(on_the_wall(recount.now, recount.zone))
    compares = recount.compared_since is not None
    table = output.table(
        *("Examples", "Kind", f"Seen ({wall})"),
        *(("",) if compares else ()),
        "Milestone",
        loose=("Examples", "Milestone"),
    )
    for name in recount.order:
        examples = recount.told[name].examples
        signs = [sign for sign in (_NEW, _GONE) if examples.get(sign)] or [_SAME]
        shown = name
        for sign in signs:
            for one in examples.get(sign, ()):
                seen = output.clock(one.at, zone=recount.zone, now=recount.now)
                table.add_row(
                    output.foreign(shown),
                    output.kind(one.kind),
                    seen,
                    *((Text(sign, _sign_style(sign)),) if compares else ()),
                    output.foreign(one.title),
                )
                shown = ""
    return table


def _sign_style(sign: str) -> str:
    return {_NEW: "green", _GONE: "red"}.get(sign, "")


def _right(table: Table, first: int, *, but_the_last: bool = False) -> None:
    """Numbers stand under each other."""
    columns = table.columns[first:-1] if but_the_last else table.columns[first:]
    for column in columns:
        column.justify = "right"
