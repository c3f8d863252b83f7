"""What one transaction of a read, or of the scheduler, writes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from notifier.domain.changes import RowChange
from notifier.domain.models import (
    Delivery,
    Event,
    Milestone,
    Timer,
)
from notifier.domain.timers import LastAnnounced


class ReadKind(StrEnum):
    """How much of the list one read asks for."""

    #: The first full read of a watch: announced by nothing.
    BASELINE = "baseline"
    FULL = "full"
    POLL = "poll"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """A watch as the store remembers it."""

    #: Its bit in a milestone's set of watches.
    id: int
    name: str
    baselined_at: datetime | None = None
    watermark: datetime | None = None
    polled_at: datetime | None = None
    swept_at: datetime | None = None
    full_at: datetime | None = None
    sweep_only: bool = False
    #: Since when its long reads have shown far too little to be believed.
    suspected_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row that is no milestone: kept aside, so that the page lives."""

    milestone_id: str
    fingerprint: bytes
    raw: bytes
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a read has come to so far."""

    pages: int = 0
    rows: int = 0
    events: int = 0
    touched: int = 0
    #: Bad rows whose bytes were not known as bad before.
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEnd:
    """How a read ended."""

    id: int
    watch: WatchRow
    kind: ReadKind
    started_at: datetime
    ended_at: datetime
    progress: Progress
    #: The new watermark; None leaves it where it is.
    watermark: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What the end of a read lets come due."""

    read_id: int
    now: datetime
    #: So much is new that it goes as a digest, whatever the routes say.
    is_storm: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCommit:
    """A page, or a part of it: its steps, what they cause, perhaps the read's end."""

    read_id: int
    watch: WatchRow
    now: datetime
    steps: tuple[RowChange, ...]
    deliveries: tuple[Delivery, ...] = ()
    bad: tuple[BadRow, ...] = ()
    end: ReadEnd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTimer:
    """A timer that has come due, with its milestone as it stands."""

    timer: Timer
    milestone: Milestone
    fired: LastAnnounced


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmCommit:
    """Timers that were handled, and what they said."""

    timers: tuple[Timer, ...]
    events: tuple[Event, ...]
    deliveries: tuple[Delivery, ...]
