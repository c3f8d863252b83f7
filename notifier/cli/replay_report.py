"""The report of `notifier replay`, by day and destination."""

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from notifier.cli import output
from notifier.domain.models import Event
from notifier.messages.humanize import MONTHS, count, day, instant, on_the_wall, zone_name

#: Of each destination and comparison.
_EXAMPLES = 3
_NEW, _GONE, _SAME = "new", "no longer", ""
_HOW_MESSAGES_COUNT = (
    "Messages are counted by the digest rule alone: rates, quiet hours, silences, net "
    "changes, failures and retries are left out."
)
_REMINDERS = (
    "Reminders that no route had are not stored: they are worked out from the starts as "
    "they are now. One for a start that has moved since is left out."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Example:
    at: datetime
    kind: str
    title: str


@dataclass(slots=True, kw_only=True)
class _Counts:
    """What one destination would have got."""

    deliveries: int = 0
    messages: int = 0
    #: Messages by the hour.
    hours: Counter[datetime] = field(default_factory=Counter)
    examples: dict[str, deque[_Example]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_EXAMPLES))
    )


@dataclass(slots=True, kw_only=True)
class ReplayReport:
    """Counts, of bounded size however much is replayed."""

    now: datetime
    since: datetime
    #: When the oldest stored event was seen.
    oldest: datetime | None
    destinations: Sequence[str]
    #: From when on past deliveries are known; None: there is no comparison.
    compared_since: datetime | None
    zone: ZoneInfo = field(default_factory=output.local_zone)
    events: int = 0
    missing_reminders: int = 0
    #: Events that would have had no delivery, by kind.
    unreached: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    counts: dict[str, _Counts] = field(default_factory=lambda: defaultdict(_Counts))
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
        past: Collection[str],
        is_missing: bool,
    ) -> None:
        """One event, the destinations that would have been owed it, and those that were."""
        self.events += not is_missing
        self.missing_reminders += is_missing and bool(names)
        if not names and not is_missing:
            self.unreached[event.kind.value] += 1
        today = self._wall(event.seen_at).date()
        is_compared = self.compared_since is not None and (event.seen_at >= self.compared_since)
        for name in names:
            self.counts[name].deliveries += 1
            self.deliveries[today, name] += 1
            is_new = is_compared and name not in past
            self.new[today, name] += is_new
            self._keep(name, _NEW if is_new else _SAME, event)
        for name in sorted(set(past) - set(names)) if is_compared else ():
            self.gone[today, name] += 1
            self._keep(name, _GONE, event)

    def add_messages(self, destination: str, at: datetime, messages: int) -> None:
        """Messages that would have left at that moment."""
        counts, wall = self.counts[destination], self._wall(at)
        counts.messages += messages
        counts.hours[wall.replace(minute=0, second=0, microsecond=0)] += messages
        self.messages[wall.date(), destination] += messages

    def _wall(self, when: datetime) -> datetime:
        return on_the_wall(when, self.zone)

    def _keep(self, name: str, sign: str, event: Event) -> None:
        title, kind = event.milestone.title, event.kind.value
        example = _Example(at=event.seen_at, kind=kind, title=title)
        self.counts[name].examples[sign].append(example)

    @property
    def order(self) -> list[str]:
        """Destinations as configured, then those that there are no more."""
        known = [name for name in self.destinations if name in self.counts]
        return [*known, *sorted(self.counts.keys() - set(known))]


def print_report(report: ReplayReport) -> None:
    """Print the report."""
    console = output.out()
    for part in _parts(report):
        console.print(part)


def _parts(report: ReplayReport) -> Iterator[RenderableType]:
    yield Text(_headline(report))
    if report.counts:
        for table in (_days(report), _destinations(report), _examples(report)):
            yield Text("")
            yield table
    yield Text("")
    yield Text(_reach(report))
    for line in _remarks(report):
        yield output.folding(line, "dim")


def _headline(report: ReplayReport) -> str:
    since = instant(report.since, zone=report.zone, now=report.now)
    parts = [f"Since {since}: {count(report.events, 'event')}"]
    if report.missing_reminders:
        reminders = count(report.missing_reminders, "reminder")
        parts.append(f"and {reminders} that no route had")
    return " ".join(parts) + ". Nothing is sent."


def _reach(report: ReplayReport) -> str:
    """How many events would have had no delivery."""
    lost = report.unreached
    if not lost:
        return "Every event would have been sent to a destination." if report.events else ""
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in lost.most_common())
    events = count(report.events, "event")
    return f"{lost.total():,} of {events} would have been sent nowhere: {kinds}."


def _remarks(report: ReplayReport) -> Iterator[str]:
    """What the numbers do not say."""
    oldest, compared = report.oldest, report.compared_since
    if oldest is None:
        yield "No event is stored."
    elif oldest > report.since:
        when = instant(oldest, zone=report.zone, now=report.now)
        yield f"The oldest event that is stored is of {when}."
    if report.counts:
        yield _HOW_MESSAGES_COUNT
    if report.missing_reminders:
        yield _REMINDERS
    if compared is not None:
        words = "New and no longer: compared with the deliveries of that time"
        if compared > report.since:
            when = instant(compared, zone=report.zone, now=report.now)
            words += f", which are kept since {when} (retention.deliveries)"
        yield f"{words}."


# --- tables -------------------------------------------------------------------


def _days(report: ReplayReport) -> Table:
    compares = report.compared_since is not None
    zone = zone_name(on_the_wall(report.now, report.zone))
    table = output.table(
        *(f"Day ({zone})", "Destination", "Deliveries", "Messages"),
        *(("New", "No longer") if compares else ()),
        loose=("Destination",),
    )
    _right(table, 2)
    counted = (report.deliveries, report.messages, report.gone)
    keys = {key for counts in counted for key in counts}
    before: date | None = None
    this_year = on_the_wall(report.now, report.zone).year
    for today in sorted({key[0] for key in keys}):
        for name in report.order:
            key = today, name
            if key not in keys:
                continue
            table.add_row(
                "" if today == before else _day(today, this_year),
                output.foreign(name),
                f"{report.deliveries[key]:,}",
                f"{report.messages[key]:,}",
                *(_differences(report, key) if compares else ()),
            )
            before = today
    return table


def _day(when: date, this_year: int) -> str:
    return day(datetime(when.year, when.month, when.day), this_year=this_year)  # noqa: DTZ001 - a date on the wall


def _differences(report: ReplayReport, key: tuple[date, str]) -> tuple[Text, Text]:
    new, gone = report.new[key], report.gone[key]
    return (
        Text(f"+{new:,}" if new else "", style="green"),
        Text(f"-{gone:,}" if gone else "", style="red"),
    )


def _destinations(report: ReplayReport) -> Table:
    """Sums; the column of waiting deliveries only where there are any."""
    waits = any(report.waiting.values())
    table = output.table(
        *("Destination", "Deliveries", "Messages"),
        *(("Held still",) if waits else ()),
        "Busiest hour",
        loose=("Destination", "Busiest hour"),
    )
    _right(table, 1, but_the_last=True)
    for name in report.order:
        counts = report.counts[name]
        table.add_row(
            output.foreign(name),
            f"{counts.deliveries:,}",
            f"{counts.messages:,}",
            *((f"{report.waiting[name]:,}",) if waits else ()),
            output.folding(_busiest(counts)),
        )
    return table


def _busiest(counts: _Counts) -> str:
    """`21 Nov, 18 h: 45`: so many messages; the earliest of several."""
    if not counts.hours:
        return ""
    hour, messages = min(counts.hours.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{hour.day} {MONTHS[hour.month - 1]}, {hour:%H} h: {messages:,}"


def _examples(report: ReplayReport) -> Table:
    """The newest of each; where something differs, of that."""
    wall = zone_name(on_the_wall(report.now, report.zone))
    compares = report.compared_since is not None
    table = output.table(
        *("Examples", "Kind", f"Seen ({wall})"),
        *(("",) if compares else ()),
        "Milestone",
        loose=("Examples", "Milestone"),
    )
    for name in report.order:
        examples = report.counts[name].examples
        signs = [sign for sign in (_NEW, _GONE) if examples.get(sign)] or [_SAME]
        shown = name
        for sign in signs:
            for one in examples.get(sign, ()):
                seen = output.clock(one.at, zone=report.zone, now=report.now)
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
