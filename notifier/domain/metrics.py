"""
What has happened since this process began, counted from what the store committed.

Each fact is counted once, in whatever order facts are settled: a number that rises
marks how far was counted where rows are only added; where they change later, those
that are still open, or those of the last minutes, are remembered.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from notifier.domain.models import Kind, State

#: Bounds, in seconds; what quiet hours or a digest keep back takes hours.
LATENCY_S = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
LATENESS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
READ_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)

#: The classes of what goes wrong with a request.
REASONS = (
    *("no_answer", "cut_off", "refused"),
    *("rate_limited", "unavailable", "unreachable"),
)
#: So many deliveries that ended unsent are remembered, if not more ended lately.
_KNOWN = 5000


@dataclass(slots=True)
class Histogram:
    """How many values were at most as large as each bound."""

    bounds: Sequence[float]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count a value; what is below nothing is nothing: clocks are corrected."""
        value = max(0.0, value)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """By bound, as Prometheus spells it: how many were no larger."""
        found, so_far = [], 0
        names = [*(repr(bound) for bound in self.bounds), "+Inf"]
        for name, count in zip(names, self.counts, strict=True):
            so_far += count
            found.append((name, float(so_far)))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDone:
    """A read that has ended."""

    id: int
    kind: str
    is_complete: bool
    took: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TryDone:
    """A request that has ended, or was cut off: then without an outcome."""

    seq: int
    destination: str
    outcome: str | None
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A delivery that has arrived."""

    destination: str
    kind: Kind
    at: datetime
    seen_at: datetime
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """A delivery that has ended without being sent."""

    seq: int
    settled_at: datetime
    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """How far the store had come when counting began."""

    event: int
    attempt: int
    #: Requests that were under way.
    under_way: frozenset[int]
    reads: frozenset[int]
    untold: frozenset[tuple[int, datetime]]
    now: datetime


@dataclass(slots=True, kw_only=True)
class Tally:
    """The counters of this process; a reload of the configuration leaves them."""

    #: None: counting has not begun.
    began_at: datetime | None = None
    events: Counter[str] = field(default_factory=Counter)
    #: By kind and result.
    reads: Counter[tuple[str, str]] = field(default_factory=Counter)
    read_s: dict[str, Histogram] = field(default_factory=dict)
    #: By destination and outcome.
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: By destination and class of reason.
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    #: By destination.
    repeats: Counter[str] = field(default_factory=Counter)
    latency_s: dict[str, Histogram] = field(default_factory=dict)
    lateness_s: Histogram = field(default_factory=lambda: Histogram(LATENESS_S))
    #: Whether the last reload of the configuration was a good one, and when the
    #: configuration in force was read; None: at the start of the process.
    reload_failed: bool = False
    reloaded_at: datetime | None = None
    # How far was counted.
    event_seq: int = 0
    attempt_seq: int = 0
    under_way: set[int] = field(default_factory=set)
    reads_seen: set[int] = field(default_factory=set)
    untold_seen: dict[tuple[int, datetime], None] = field(default_factory=dict)
    asked_at: datetime | None = None
    asked_s: float = 0.0

    def begin(self, marks: Marks, *, monotonic: float) -> None:
        """Count from here on."""
        self.began_at = self.asked_at = marks.now
        self.asked_s = monotonic
        self.event_seq, self.attempt_seq = marks.event, marks.attempt
        self.under_way = set(marks.under_way)
        self.reads_seen = set(marks.reads)
        self.untold_seen = dict.fromkeys(marks.untold)

    def reloaded(self, now: datetime) -> None:
        """A good configuration has taken over."""
        self.reload_failed, self.reloaded_at = False, now

    def rejected(self) -> None:
        """A configuration was bad; the one before stays in force."""
        self.reload_failed = True

    def add_events(self, upto: int, kinds: Iterable[tuple[str, int]]) -> None:
        """Count events, up to a number."""
        for kind, many in kinds:
            self.events[kind] += many
        self.event_seq = max(self.event_seq, upto)

    def add_reads(self, done: Iterable[ReadDone]) -> None:
        """Count those that were not counted yet."""
        found = {one.id: one for one in done}
        for one in found.values():
            if one.id in self.reads_seen:
                continue
            result = "complete" if one.is_complete else "failed"
            self.reads[one.kind, result] += 1
            if one.is_complete:
                took = self.read_s.setdefault(one.kind, Histogram(READ_S))
                took.add(one.took.total_seconds())
        self.reads_seen = set(found)

    def add_try(self, one: TryDone) -> None:
        """Count a request that has ended."""
        self.under_way.discard(one.seq)
        outcome = one.outcome or "cut_off"
        self.tries[one.destination, outcome] += 1
        if outcome != "sent":
            self.failures[one.destination, reason_of(one)] += 1
        if outcome in {"ambiguous", "cut_off"}:
            self.repeats[one.destination] += 1

    def add_told(self, one: Told) -> None:
        """Count how long it took."""
        took = self.latency_s.setdefault(one.destination, Histogram(LATENCY_S))
        took.add((one.sent_at - one.seen_at).total_seconds())
        if one.kind is Kind.STARTED:
            self.lateness_s.add((one.sent_at - one.at).total_seconds())

    def add_untold(self, ended: Sequence[Untold]) -> None:
        """Count those that were not counted yet; `ended`: all of the last minutes."""
        seen = self.untold_seen
        for one in ended:
            key = (one.seq, one.settled_at)
            if key not in seen:
                self.untold[suppression(one.state, one.reason)] += 1
            # Those that were met last stay longest.
            seen.pop(key, None)
            seen[key] = None
        # More than these minutes': after a clock went back they are met again.
        for key in list(islice(seen, max(0, len(seen) - max(len(ended), _KNOWN)))):
            del seen[key]


def reason_of(one: TryDone) -> str:
    """The class of what went wrong with a request: there are few."""
    match one.outcome:
        case None:
            return "cut_off"
        case "ambiguous":
            return "no_answer"
        case "refused":
            return "refused"
        case _ if one.status == 429:  # noqa: PLR2004 - HTTP's own
            return "rate_limited"
        case _ if one.status is not None:
            return "unavailable"
        case _:
            return "unreachable"


def suppression(state: State, reason: str) -> str:
    """Why a delivery was not sent: a few classes."""
    if reason.startswith("silenced"):
        return "silence"
    # What is worth nothing after them expires at their beginning.
    return "quiet" if reason.startswith("quiet hours") else state.value
