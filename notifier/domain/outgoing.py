"""Deliveries on their way out: pending, suppressed, deferred, or members of a message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.domain.models import Change, Event, Json, Kind, State, message_id


class RenderLevel(StrEnum):
    """How richly a message is rendered; a refusal leads to the next, plainer level."""

    RICH = "rich"
    PLAIN = "plain"
    #: A digest that only counts its events.
    COUNTS = "counts"
    #: A former member of a refused digest: plain, and never in a digest again.
    ALONE = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDelivery:
    """A delivery that is due, with what has become of its milestone since."""

    delivery_id: str
    event_id: str
    kind: Kind
    #: Deliveries with the same one keep their order.
    milestone_id: str
    route: str
    #: Order of creation.
    seq: int
    #: When it became due first; age limits count from here.
    created_at: datetime
    expires_at: datetime | None
    #: Attempts that count against the retry schedule, and all attempts.
    attempts_counted: int
    attempts_total: int
    level: RenderLevel
    #: The id of the message that may have arrived with it: exactly the members of that
    #: message are sent again. None: it surely has not arrived.
    frozen_in: str | None
    #: The event's instant and, for `upcoming`, its lead.
    at: datetime
    lead: timedelta | None
    #: The milestone's start as it stands now.
    start: datetime
    #: Kalshi no longer lists the milestone, or it has ended.
    over: bool
    #: Created with so many others that they become a digest, regardless of the route.
    burst: bool = False
    #: Becomes a digest with the others that were deferred, however few they are.
    force_digest: bool = False
    #: Until when earlier deliveries of its milestone and route are deferred.
    deferred_ahead: tuple[datetime, ...] = ()
    #: `updated` only, and only where other updates of its milestone are due too: its
    #: net changes, and the milestone's row as it was then.
    changes: tuple[Change, ...] = ()
    row: Mapping[str, Json] = field(default_factory=dict, compare=False)
    #: Something about the milestone may have arrived there since this delivery was created.
    announced_since: bool = False
    #: The milestone's removal may have.
    removal_announced: bool = False

    @classmethod
    def of_event(
        cls,
        event: Event,
        *,
        route: str,
        delivery_id: str = "",
        created_at: datetime | None = None,
        expires_at: datetime | None = None,
        seq: int = 0,
    ) -> "PendingDelivery":
        """A delivery of this event that has not been attempted yet."""
        return cls(
            delivery_id=delivery_id,
            event_id=event.id,
            kind=event.kind,
            milestone_id=event.milestone.id,
            route=route,
            seq=seq,
            created_at=created_at or event.seen_at,
            expires_at=expires_at,
            attempts_counted=0,
            attempts_total=0,
            level=RenderLevel.RICH,
            frozen_in=None,
            at=event.at,
            lead=event.lead,
            start=event.milestone.start,
            over=False,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressed:
    """A delivery that reaches a final state without being sent, and why."""

    delivery_id: str
    state: State
    reason: str
    #: The event whose message contains what this one would have said; None: only the
    #: milestone's newest event does.
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """A delivery that is held back for a time, and why."""

    delivery_id: str
    until: datetime
    reason: str
    #: It then becomes a digest with the others that were deferred.
    force_digest: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one request carries: one delivery, or a digest of many."""

    id: str
    destination: str
    #: In the order in which the message lists them.
    members: tuple[PendingDelivery, ...]
    level: RenderLevel

    @classmethod
    def of_event(cls, event: Event, *, destination: str, route: str) -> "Message":
        """The message of one event that has not been attempted yet."""
        return cls(
            id=message_id(destination, [event.id]),
            destination=destination,
            members=(PendingDelivery.of_event(event, route=route),),
            level=RenderLevel.RICH,
        )

    @property
    def route(self) -> str:
        """The first member's route: its template is used."""
        return self.members[0].route

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The events of its members, in order."""
        return tuple(member.event_id for member in self.members)

    @property
    def attempt(self) -> int:
        """The number of the attempt that is being made, from 1."""
        return 1 + max(member.attempts_counted for member in self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A message that this process may send until its lease expires."""

    message: Message
    token: str
    #: Marks of the recipients that have it already.
    delivered_to: frozenset[str] = frozenset()
    #: The events of the members, in order; empty where they have not been read yet.
    events: tuple[Event, ...] = ()
