"""
The values that everything else passes around. All are frozen.

Instants are aware datetimes in UTC, spans are timedeltas; text from Kalshi is
untrusted until `render` has escaped it.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from notifier.domain.live_status import LiveData

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"


class Kind(StrEnum):
    """What happened to a milestone."""

    CREATED = "created"
    UPDATED = "updated"
    UPCOMING = "upcoming"
    STARTED = "started"
    ENDED = "ended"
    REMOVED = "removed"


#: Kinds that are worth nothing when late: they overtake and expire early.
URGENT = frozenset({Kind.UPCOMING, Kind.STARTED})


class State(StrEnum):
    """Where a delivery stands. The last five are final."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    DROPPED = "dropped"
    DEAD = "dead"


class Format(StrEnum):
    """The markup that a destination wants its text in."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestone:
    """
    One record of Kalshi's list. Its identity is `id`.

    Source: Kalshi OpenAPI 3.34.0, GET /milestones.
    """

    id: str
    category: str
    type: str
    title: str
    message: str
    start: datetime
    end: datetime | None
    #: `last_updated_ts`; None where Kalshi says it never was (year 1).
    updated: datetime | None
    primary_tickers: tuple[str, ...]
    related_tickers: tuple[str, ...]
    details: Mapping[str, Json]
    #: The whole row as Kalshi sent it, unknown keys included.
    doc: Mapping[str, Json]
    #: The same as the very bytes that came over the wire.
    raw: bytes

    @property
    def tickers(self) -> tuple[str, ...]:
        """Primary, then related tickers, each once."""
        return tuple(dict.fromkeys(self.primary_tickers + self.related_tickers))

    @property
    def status(self) -> str:
        """`details.status` in lower case, or empty: an open, often stale word."""
        status = self.details.get("status")
        return status.lower() if isinstance(status, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One field of a milestone, before and after.

    `field` is a dotted path (`details.status`; `~` and `.` inside a key are
    `~0` and `~1`). Absent is None. Ticker fields carry sorted lists and what was
    added and removed.
    """

    field: str
    before: Json
    after: Json
    added: tuple[str, ...] | None = None
    removed: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Json]:
        """The change as the contract shows it."""
        row: dict[str, Json] = {
            "field": self.field,
            "before": self.before,
            "after": self.after,
        }
        if self.added is not None and self.removed is not None:
            row |= {"added": list(self.added), "removed": list(self.removed)}
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An immutable fact about a milestone. Equal facts have equal ids."""

    id: str
    kind: Kind
    milestone: Milestone
    #: The instant at which it became true: the start for `started`, the end for
    #: `ended`, start minus lead for `upcoming`, else when it was seen.
    at: datetime
    seen_at: datetime
    changes: tuple[Change, ...] = ()
    #: It became true too long ago to tell anyone: stored, not sent.
    missed: bool = False
    #: `upcoming` only: how long before the start.
    lead: timedelta | None = None
    #: `started` only: the earlier start that had been announced already.
    again_from: datetime | None = None
    #: What live data said last of the milestone, if it was asked.
    live: LiveData | None = None
    #: `created` only: what has become of the milestone since, if anything.
    present: Milestone | None = None
    #: Earlier updates, oldest first, whose changes are told in this one's place.
    supersedes: tuple[str, ...] = ()


def identify(prefix: str, *parts: str) -> str:
    """A deterministic id: `prefix` and 26 base32 letters over the parts."""
    digest = hashlib.sha256("|".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:26]


def event_id(milestone_id: str, kind: Kind, disc: str) -> str:
    """The id of the fact that tells one `kind` of a milestone from another."""
    return identify("evt_", "v1", "kalshi", milestone_id, kind.value, disc)


def delivery_id(event: str, destination: str) -> str:
    """The id of one event owed to one destination."""
    return identify("dlv_", event, destination)


def message_id(destination: str, events: Sequence[str]) -> str:
    """The id of one request: the same members give the same id."""
    return identify("msg_", destination, *sorted(events))


class TimerKind(StrEnum):
    """What a stored moment will make true."""

    START = "start"
    REMIND = "remind"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A stored moment of one milestone. One per kind and lead."""

    milestone_id: str
    kind: TimerKind
    fire_at: datetime
    #: Zero but for `REMIND`.
    lead: timedelta = timedelta(0)


# --- routing ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTrace:
    """Why a route did or did not take an event."""

    route: str
    matched: bool
    why: str
    #: The destinations that this route is the first to name for the event.
    to: tuple[str, ...] = ()


# --- delivering ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event owed to one destination, as it is created."""

    id: str
    event_id: str
    kind: Kind
    milestone_id: str
    destination: str
    route: str
    due_at: datetime
    created_at: datetime
    #: Not sent after this; None: the retry schedule alone decides.
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one destination's service can take. Lengths count characters."""

    format: Format
    title: int
    body: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """One event as a webhook's receiver gets it; the sender spells it as JSON."""

    id: str
    type: str
    subject: str
    time: datetime
    title: str
    message: str
    changes: tuple[Change, ...]
    #: The milestone's bytes as Kalshi sent them.
    milestone: bytes
    supersedes: tuple[str, ...] = ()
    live: LiveData | None = None
    test: bool = False
    #: A word to the operator: since when its condition, the subject, lasts. It is
    #: about no milestone.
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message ready to be sent: text for people, CloudEvents for machines."""

    message_id: str
    title: str
    body: str
    format: Format
    #: `started` and `upcoming` stand out where a service knows how.
    urgent: bool
    events: tuple[CloudEvent, ...]
    #: More than one event, or one put as a digest: a webhook sends a batch.
    digest: bool = False
    #: A user's template failed and the built-in one served; what was wrong.
    template_error: str | None = None


# --- outcomes: what was seen, never what should follow ------------------------


class Scope(StrEnum):
    """How much a refusal refuses."""

    MESSAGE = "message"
    DESTINATION = "destination"
    #: 410: for good, until a person says otherwise.
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The service took it."""

    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It surely did not arrive, and may next time."""

    reason: str
    status: int | None = None
    retry_after: timedelta | None = None
    #: Marks of those of several recipients who have it.
    delivered_to: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ambiguous:
    """It may have arrived: the request was written, no answer came."""

    reason: str
    delivered_to: frozenset[str] = frozenset()
    #: False: those who are not `delivered_to` surely lack it.
    unsure: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It did not arrive, and the same again will not either."""

    reason: str
    scope: Scope
    status: int | None = None
    delivered_to: frozenset[str] = frozenset()


Outcome: TypeAlias = Sent | Failed | Ambiguous | Refused


def rfc3339(when: datetime) -> str:
    """The instant in UTC with `Z`."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
