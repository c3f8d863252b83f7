"""
What the web is handed: the books, the deeds and the doors.

Rows are those of the contract (`notifier events --json` and its kin), so that a
command, the API and a page say the same. Instants are RFC 3339 in UTC with `Z`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from notifier.domain.models import Json, Silence
from notifier.domain.pagination import (
    BadCursor,
    DeliveryFilter,
    EventFilter,
    Leaf,
    MilestoneFilter,
    Redriven,
    RowJson,
    Slice,
)

__all__ = [
    "MOST_ROWS",
    "BadCursor",
    "Books",
    "Deeds",
    "DeliveryFilter",
    "EventFilter",
    "Leaf",
    "MilestoneFilter",
    "Now",
    "Ports",
    "Redriven",
    "RowJson",
    "Slice",
    "Vital",
    "Vitals",
    "Who",
]

#: Of what is put back, so many rows are told.
MOST_ROWS = 500


class Books(Protocol):
    """
    What the store tells. Lists are newest first unless said otherwise.

    Raises: BadCursor for a cursor that it has not given out; StoreSlow for what takes
    too long; StoreError.
    """

    async def status(self, now: datetime) -> RowJson:
        """
        What `notifier status --json` says, but for the running service.

        `milestones` is null until they are counted.
        """
        ...

    async def overview(self, now: datetime) -> RowJson:
        """
        For the first page, cheap: at most a few seconds old.

        `{"status": as above, "starts": [{milestone_id, title, category, type,
        start}] of the next 24 h (200 at most, soonest first), "hours": [{"hour",
        "created", "updated", "upcoming", "started", "ended", "removed"}] of the last
        48 h, oldest first, none missing, "latency": {"sent", "p50_s", "p99_s"} from
        seen to sent, of what was sent in the last 24 h}`.
        """
        ...

    async def kinds_of_milestones(self) -> Sequence[RowJson]:
        """`{"category", "type", "milestones"}` of those that are there, by name."""
        ...

    async def milestones(self, wanted: MilestoneFilter, part: Slice) -> Leaf:
        """
        By start, soonest first.

        `{milestone_id, title, category, type, start, end, status, first_seen_at,
        changed_at, gone_at}`; `status` is `details.status`.
        """
        ...

    async def milestone(self, milestone_id: str) -> RowJson | None:
        """
        One milestone and all that is known of it.

        `{"milestone": the row above, "document": as Kalshi sent it, "events": its
        newest 100 rows, "timers": [{kind, lead_s, fire_at}], "deliveries": its newest
        200 rows, "live": {status, word, since, checked_at} or null}`.
        """
        ...

    async def events(self, wanted: EventFilter, part: Slice) -> Leaf:
        """The events' rows."""
        ...

    async def newest(self) -> int:
        """The number of the newest event; 0 without any."""
        ...

    async def events_after(self, number: int, *, limit: int) -> Sequence[tuple[int, RowJson]]:
        """Events with their numbers, oldest first: those above a number."""
        ...

    async def explain(self, beginning: str, now: datetime) -> RowJson | None:
        """
        One event and why it went where it went, by the beginning of its id.

        `{event, routes: [{route, matched, why, to}], deliveries: [row | {tries:
        [{at, outcome, status, reason, members}], sent: {title, body} or null}]}`;
        None: no such event, or several.
        """
        ...

    async def deliveries(self, wanted: DeliveryFilter, part: Slice) -> Leaf:
        """The deliveries' rows, with `title` (the milestone's) and `born_at`."""
        ...

    async def destinations(self, now: datetime) -> Sequence[RowJson]:
        """
        Those of `status`, in its order, with what else there is to know.

        `| {"service": "slack", "rate": "1/s" or null, "used": requests of the rate's
        last unit, "sent_24h", "failed_24h", "tries": its newest 20 {at, outcome,
        status, reason, members}}`.
        """
        ...

    async def routes(self, now: datetime) -> Sequence[RowJson]:
        """
        The routes in their order.

        `{"name", "match": {key: [patterns]}, "to", "stop", "reminders": ["15m"],
        "events_24h": {kind: n}, "latest": [its newest 5 {event_id, kind, at, title,
        milestone_id}]}`.
        """
        ...

    async def silences(self, now: datetime, *, everything: bool = False) -> Sequence[RowJson]:
        """The rows of `notifier silence list --json`."""
        ...

    async def audit(self, part: Slice) -> Leaf:
        """`{at, who, action, subject, detail}`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asks for something to be done, for the audit."""

    #: `session`, `token desk-bot`, `command`, or `loopback` where nobody signs in.
    name: str
    #: Whether deeds are open to them, or looking alone.
    may_write: bool = True


class Deeds(Protocol):
    """
    What a person can have done; each leaves a row in the audit.

    Raises: NotifierError with words for the person.
    """

    async def resume(self, who: Who, destination: str) -> int:
        """End a suspension; how many deliveries waited."""
        ...

    async def redrive(
        self,
        who: Who,
        *,
        ids: Sequence[str] = (),
        destination: str | None = None,
        dry_run: bool = False,
        most: int | None = MOST_ROWS,
    ) -> Redriven:
        """
        Put dead letters back; `most` of their rows. Without ids: all, or one's.

        Raises: StoreSlow when finding them takes too long.
        """
        ...

    async def silence(
        self, who: Who, match: Mapping[str, Json], *, until: datetime, why: str
    ) -> Silence:
        """Suppress what matches, until then."""
        ...

    async def expire(self, who: Who, beginning: str) -> Silence:
        """End a silence before its time, by the beginning of its id."""
        ...

    async def test(self, who: Who, destination: str) -> RowJson:
        """Send a message marked as a test: `{destination, ok, said, seconds}`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Vital:
    """Whether the service is well, as `/-/healthy` and `/-/ready` say it."""

    #: Loops that have not advanced for too long.
    stuck: Sequence[str] = ()
    #: Why it is not ready; none: it is.
    unready: Sequence[str] = ()
    #: Seconds that the machine's clock is off; None: not known.
    skew_s: float | None = None


class Vitals(Protocol):
    """How the service itself fares, now."""

    async def __call__(self) -> Vital: ...


class Now(Protocol):
    """The corrected clock."""

    def __call__(self) -> datetime: ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """All that the web is handed."""

    books: Books
    deeds: Deeds
    vitals: Vitals
    now: Now
    #: For times where the reader's own zone is not known.
    zone: str = "UTC"
    #: How people reach it, if that is known.
    external_url: str | None = None
    version: str = ""
    #: Names, in the order of the configuration.
    destinations: Sequence[str] = ()
    routes: Sequence[str] = field(default_factory=tuple)
