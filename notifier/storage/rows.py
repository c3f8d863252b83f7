"""
The rows of the contract: what `--json`, the API, the stream and the pages show.

Each row has one class. A query produces it, `msgspec` encodes it (instants as RFC 3339 in
UTC with `Z`), and the OpenAPI document is generated from it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from notifier.domain.live_status import Status
from notifier.domain.models import Change, Kind, State, TimerKind

T = TypeVar("T")

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
#: A JSON object as it came.
JsonObject: TypeAlias = dict[str, Any]
#: Key -> patterns, as a route's or a silence's `match` has them.
Patterns: TypeAlias = Mapping[str, Sequence[str]]


class ContractRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the rows: immutable, and complete in the OpenAPI document."""


class Page(ContractRow, Generic[T], frozen=True):
    """A page of a list; `next` is the cursor of the following page."""

    rows: Sequence[T]
    next: str | None


# --- events -------------------------------------------------------------------


class ChangeRow(ContractRow, frozen=True, omit_defaults=True):
    """One field of a milestone, before and after; of tickers also what was added and removed."""

    field: str
    before: Any
    after: Any
    added: Sequence[str] | None = None
    removed: Sequence[str] | None = None

    def value(self) -> Change:
        """The change as a value of the domain."""
        return Change(
            field=self.field,
            before=self.before,
            after=self.after,
            added=None if self.added is None else tuple(self.added),
            removed=None if self.removed is None else tuple(self.removed),
        )


class EventRow(ContractRow, frozen=True):
    """An event: what happened to a milestone."""

    event_id: str
    kind: Kind
    milestone_id: str
    at: datetime
    seen_at: datetime
    missed: bool
    changes: Sequence[ChangeRow]
    milestone: JsonObject


# --- deliveries ---------------------------------------------------------------


class DeliveryRow(ContractRow, frozen=True):
    """A delivery: an event owed to a destination."""

    delivery_id: str
    event_id: str
    kind: Kind
    milestone_id: str
    message_id: str | None
    destination: str
    route: str
    state: State
    attempts: Count
    due_at: datetime | None
    sent_at: datetime | None
    reason: str | None


class ListedDelivery(DeliveryRow, frozen=True):
    """A delivery with the title of its milestone."""

    title: str | None
    born_at: datetime


class AttemptRow(ContractRow, frozen=True):
    """One attempt to send a message."""

    at: datetime
    outcome: str
    status: int | None
    reason: str | None
    members: Count


class SentMessage(ContractRow, frozen=True):
    """The text of a message, rendered again from the stored events."""

    title: str
    body: str
    format: Literal["text", "markdown", "html", "json"]
    note: str | None


class ExplainedDelivery(DeliveryRow, frozen=True):
    """A delivery with its attempts and the text that was sent."""

    tries: Sequence[AttemptRow]
    sent: SentMessage | None


class DeadLetterRow(ContractRow, frozen=True):
    """A delivery named for a redrive, in its state before it."""

    delivery_id: str
    destination: str
    kind: Kind
    state: State
    reason: str | None


class RedriveResult(ContractRow, frozen=True):
    """How many dead letters are put back, and the first 500 rows."""

    rows: Sequence[DeadLetterRow]
    count: Count


class RouteTraceRow(ContractRow, frozen=True):
    """Why a route matched an event or not."""

    route: str
    matched: bool
    why: str
    to: Sequence[str]


class Explanation(ContractRow, frozen=True):
    """An event and the reasons why it went where it went."""

    event: EventRow
    routes: Sequence[RouteTraceRow]
    deliveries: Sequence[ExplainedDelivery]


# --- milestones ---------------------------------------------------------------


class MilestoneRow(ContractRow, frozen=True):
    """A milestone; `status` is its `details.status`."""

    milestone_id: str
    title: str
    category: str
    type: str
    start: datetime
    end: datetime | None
    status: str | None
    first_seen_at: datetime
    changed_at: datetime
    gone_at: datetime | None


class StartRow(ContractRow, frozen=True):
    """A start that lies ahead."""

    milestone_id: str
    title: str
    category: str
    type: str
    start: datetime


class TimerRow(ContractRow, frozen=True):
    """An armed timer of a milestone."""

    kind: TimerKind
    lead_s: float
    fire_at: datetime


class LiveRow(ContractRow, frozen=True):
    """The latest status from Kalshi's live data."""

    status: Status
    word: str
    since: datetime
    checked_at: datetime


class MilestoneDetails(ContractRow, frozen=True):
    """A milestone with its document, its newest 100 events and newest 200 deliveries."""

    milestone: MilestoneRow
    document: JsonObject
    events: Sequence[EventRow]
    timers: Sequence[TimerRow]
    deliveries: Sequence[ListedDelivery]
    live: LiveRow | None


class MilestoneCount(ContractRow, frozen=True):
    """The number of milestones of one category and type."""

    category: str
    type: str
    milestones: Count


# --- status -------------------------------------------------------------------


class ReadSummary(ContractRow, frozen=True):
    """One read of Kalshi's list."""

    kind: str
    ended_at: datetime
    pages: Count
    rows: Count
    events: Count
    error: str | None


class WatchStatus(ContractRow, frozen=True):
    """A watch and its latest reads."""

    name: str
    baselined_at: datetime | None
    watermark: datetime | None
    polled_at: datetime | None
    swept_at: datetime | None
    full_at: datetime | None
    sweep_only: bool
    last_read: ReadSummary | None


class DestinationStatus(ContractRow, frozen=True):
    """The state of a destination and its queue; `held` and `next_try_at` are of `pending`."""

    name: str
    configured: bool
    pending: Count
    held: Count
    leased: Count
    dead: Count
    dropped_24h: Count
    last_sent_at: datetime | None
    paused_until: datetime | None
    suspended_since: datetime | None
    gone: bool
    open_since: datetime | None
    reason: str | None
    next_try_at: datetime | None


class DestinationRow(DestinationStatus, frozen=True):
    """The state of a destination with its rate and its latest attempts."""

    service: str | None
    rate: str | None
    used: Count | None
    sent_24h: Count
    failed_24h: Count
    tries: Sequence[AttemptRow]


class IncidentRow(ContractRow, frozen=True):
    """An open incident of the service itself."""

    key: str
    since: datetime
    words: str


class ActiveSilenceRow(ContractRow, frozen=True):
    """A silence in force."""

    id: str
    until: datetime
    match: Patterns
    why: str


class SilenceRow(ContractRow, frozen=True):
    """A silence, in force or over."""

    id: str
    active: bool
    created_at: datetime
    until: datetime
    expired_at: datetime | None
    match: Patterns
    why: str


class StatusRow(ContractRow, frozen=True):
    """The state of the service. `milestones` is null until they are counted."""

    milestones: Count | None
    watches: Sequence[WatchStatus]
    events_24h: Mapping[str, Count]
    destinations: Sequence[DestinationStatus]
    quarantined: Count
    next_starts: Sequence[StartRow]
    conditions: Sequence[IncidentRow]
    silences: Sequence[ActiveSilenceRow]


# --- overview -----------------------------------------------------------------


class HourRow(ContractRow, frozen=True):
    """The number of events of each kind in one hour."""

    hour: datetime
    created: Count = 0
    updated: Count = 0
    upcoming: Count = 0
    started: Count = 0
    ended: Count = 0
    removed: Count = 0


class LatencyRow(ContractRow, frozen=True):
    """Messages sent in the last 24 h, and seconds from seen to sent."""

    sent: Count
    p50_s: float | None
    p99_s: float | None


class Overview(ContractRow, frozen=True):
    """The first page: status, starts of 24 h, events by hour of 48 h, latency."""

    status: StatusRow
    starts: Sequence[StartRow]
    hours: Sequence[HourRow]
    latency: LatencyRow


# --- routes and audit ---------------------------------------------------------


class LatestEvent(ContractRow, frozen=True):
    """One of the newest events that a route matched."""

    event_id: str
    kind: Kind
    at: datetime
    title: str | None
    milestone_id: str


class RouteRow(ContractRow, frozen=True):
    """A route with the events that it matched in the last 24 h."""

    name: str
    match: Patterns
    to: Sequence[str]
    stop: bool
    reminders: Sequence[str]
    events_24h: Mapping[str, Count]
    latest: Sequence[LatestEvent]


class AuditRow(ContractRow, frozen=True):
    """Who did what."""

    at: datetime
    who: str
    action: str
    subject: str
    detail: JsonObject


# --- results of actions -------------------------------------------------------


class DestinationTest(ContractRow, frozen=True):
    """The outcome of a test message."""

    destination: str
    ok: bool
    said: str
    seconds: float


class ResumeResult(ContractRow, frozen=True):
    """How many deliveries waited for a destination."""

    waiting: Count
