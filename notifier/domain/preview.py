"""
What routes would have made of events that are known: who was owed what, and in how
many messages.

The messages are those of `batching.plan`, for destinations that take everything at once:
digests, quiet hours, silences, net changes and rates count; failures, retries and
what became of a milestone while its news was held back do not.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import chain, islice

from notifier.domain.batching import ClaimContext, DeliveryPlan, DestinationPolicy, capacity, plan
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.deliveries import Message, PendingDelivery, Suppressed
from notifier.domain.models import (
    URGENT,
    Delivery,
    Event,
    Json,
    Kind,
    Milestone,
    State,
)
from notifier.domain.rate_limit import window_start
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Route, Silence
from notifier.domain.silences import find_silence, silenced_reason
from notifier.domain.timers import LastAnnounced, TimePolicy, fire, reminders

#: Deliveries that one claim looks at.
_AT_ONCE = 500
#: So many created milestones in one read are no storm, nor is this share of the known.
_CALM = 50
_STORM_SHARE = 0.2
_TICK = timedelta(milliseconds=1)


def owed(
    event: Event, routes: Sequence[Route], *, policy: TimePolicy, due_at: datetime
) -> tuple[Delivery, ...]:
    """Everyone to whom the event would have been owed. Nobody is told a missed one."""
    return deliveries(
        event,
        route(event, routes),
        due_at=due_at,
        now=event.seen_at,
        started_grace=policy.started_grace,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A milestone as it is by now, and since when its start has been known."""

    milestone: Milestone
    since: datetime
    #: The start that was announced last.
    fired: datetime | None = None


def reminded(known: Known, lead: timedelta, *, policy: TimePolicy) -> Event | None:
    """
    The reminder that somebody who wanted it would have had of the present start.

    Its id is the one that it would have had. None: there would have been none.
    """
    milestone = known.milestone
    is_own = known.fired is None or known.fired >= milestone.start
    fired = LastAnnounced(start=None if is_own else known.fired)
    policy = replace(policy, leads=(lead,))
    armed = reminders(milestone, fired=fired, policy=policy, now=known.since)
    for timer in armed:
        now = max(timer.fire_at, known.since)
        return fire(timer, milestone, fired=fired, policy=policy, now=now)
    return None


# --- one destination ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """A message that would have left."""

    at: datetime
    destination: str
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsent:
    """A delivery that would have ended without being sent."""

    at: datetime
    destination: str
    state: State


Fate = Left | Unsent


@dataclass(frozen=True, slots=True, kw_only=True)
class Hush:
    """A silence, and when it was over: a person may have ended it early."""

    silence: Silence
    over: datetime

    def holds(self, at: datetime) -> bool:
        """Whether it was in force then."""
        return self.silence.created_at <= at < self.over


@dataclass(slots=True, kw_only=True)
class _Lane:
    """A destination that takes everything at once, but no faster than its rate."""

    way: DestinationPolicy
    policy: TimePolicy
    hushes: Sequence[Hush]
    #: Not due yet: (when, order of birth, the delivery).
    _later: list[tuple[datetime, int, PendingDelivery]] = field(default_factory=list)
    #: Due, in order of birth; what is urgent apart.
    _urgent: dict[str, PendingDelivery] = field(default_factory=dict)
    _normal: dict[str, PendingDelivery] = field(default_factory=dict)
    #: When requests left that its rate still counts.
    _sent: list[datetime] = field(default_factory=list)
    #: Nothing can leave before.
    _wake: datetime | None = None
    #: By route: when digests that gather will go.
    _gathering: dict[str, set[datetime]] = field(default_factory=lambda: defaultdict(set))
    #: By delivery: the silences that it falls under while they are in force.
    _hushed: dict[str, tuple[Hush, ...]] = field(default_factory=dict)
    #: By milestone: its updates that wait, and which parts of it they changed.
    _updates: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _waiting: Counter[str] = field(default_factory=Counter)

    @property
    def waits(self) -> int:
        """Deliveries of which nothing has become yet."""
        return len(self._later) + len(self._urgent) + len(self._normal)

    def add(self, event: Event, delivery: Delivery, seq: int) -> None:
        """Something more is owed, and will be due."""
        due = PendingDelivery.of_event(
            event,
            route=delivery.route,
            delivery_id=delivery.id,
            created_at=delivery.due_at,
            expires_at=delivery.expires_at,
            seq=seq,
        )
        if event.kind is Kind.UPDATED:
            due = self._with_changes(due, event)
        found = tuple(
            hush for hush in self.hushes if find_silence(event, self.way.name, [hush.silence])
        )
        if found:
            self._hushed[due.delivery_id] = found
        heappush(self._later, (delivery.due_at, seq, due))

    def _with_changes(self, due: PendingDelivery, event: Event) -> PendingDelivery:
        """What an update would tell; of its milestone no more than that may need."""
        key = event.milestone.id
        parts = self._updates[key]
        parts |= {_part(change.field) for change in event.changes}
        self._waiting[key] += 1
        doc = event.milestone.doc
        row: dict[str, Json] = {}
        if self._waiting[key] > 1:
            row = {part: doc[part] for part in parts if part in doc}
        return replace(due, changes=event.changes, row=row)

    def advance(self, until: datetime, storms: Mapping[datetime, bool]) -> Iterator[Fate]:
        """What becomes of what is due by then."""
        while (at := self._next()) is not None and at <= until:
            while self._later and self._later[0][0] <= at:
                due_at, _, due = heappop(self._later)
                if due.kind is Kind.CREATED and storms.get(due_at, False):
                    due = replace(due, burst=True)
                lane = self._urgent if due.kind in URGENT else self._normal
                lane[due.delivery_id] = due
            if self._wake is None or self._wake <= at:
                yield from self._turn(at)

    def _next(self) -> datetime | None:
        """When something happens next."""
        instants = [self._later[0][0]] if self._later else []
        if self._wake is not None:
            instants.append(self._wake)
        return min(instants, default=None)

    def _turn(self, at: datetime) -> Iterator[Fate]:
        """Claim until nothing more can leave."""
        self._wake = None
        while self._urgent or self._normal:
            window = window_start(self.way.rate, at)
            self._sent = [] if window is None else [s for s in self._sent if s > window]
            room = capacity(self.way, DestinationState(), self._sent, at)
            if not room.now:
                self._wake = at + max(room.wait, _TICK)
                return
            due = list(islice(chain(self._urgent.values(), self._normal.values()), _AT_ONCE))
            planned = plan(due, self.way, room, self._context(due, at))
            if not (planned.messages or planned.suppressed or planned.deferred):
                return
            yield from self._settled(planned, at)

    def _context(self, due: Sequence[PendingDelivery], at: datetime) -> ClaimContext:
        """What else decides about them."""
        for name in list(self._gathering):
            ahead = {instant for instant in self._gathering[name] if instant > at}
            if ahead:
                self._gathering[name] = ahead
            else:
                del self._gathering[name]
        silenced = {
            one.delivery_id: silenced_reason(hush.silence)
            for one in due
            for hush in self._hushed.get(one.delivery_id, ())
            if hush.holds(at)
        }
        return ClaimContext(
            now=at,
            started_again_after=self.policy.started_again_after,
            silenced=silenced,
            digests_due={name: min(ahead) for name, ahead in self._gathering.items()},
            retries_first=False,
        )

    def _settled(self, planned: DeliveryPlan, at: datetime) -> Iterator[Fate]:
        for suppressed in planned.suppressed:
            yield self._ended(suppressed, at)
        for deferred in planned.deferred:
            one = self._taken(deferred.delivery_id)
            if deferred.force_digest:
                self._gathering[one.route].add(deferred.until)
            later = replace(one, force_digest=deferred.force_digest)
            heappush(self._later, (deferred.until, one.seq, later))
        for message in planned.messages:
            yield self._left(message, at)

    def _ended(self, ended: Suppressed, at: datetime) -> Unsent:
        self._forget(self._taken(ended.delivery_id))
        return Unsent(at=at, destination=self.way.name, state=ended.state)

    def _left(self, message: Message, at: datetime) -> Left:
        for member in message.members:
            self._forget(self._taken(member.delivery_id))
        if self.way.rate is not None:
            self._sent.append(at)
        return Left(at=at, destination=self.way.name, members=len(message.members))

    def _taken(self, delivery_id: str) -> PendingDelivery:
        lane = self._urgent if delivery_id in self._urgent else self._normal
        return lane.pop(delivery_id)

    def _forget(self, due: PendingDelivery) -> None:
        self._hushed.pop(due.delivery_id, None)
        if due.kind is not Kind.UPDATED:
            return
        self._waiting[due.milestone_id] -= 1
        if not self._waiting[due.milestone_id]:
            del self._waiting[due.milestone_id], self._updates[due.milestone_id]


def _part(field_of_change: str) -> str:
    """The key at the top of a milestone that a change lies under."""
    return field_of_change.partition(".")[0].replace("~1", ".").replace("~0", "~")


# --- all of them --------------------------------------------------------------


class Rehearsal:
    """What would have left for whom, found out as events come in, oldest first."""

    def __init__(
        self,
        ways: Iterable[DestinationPolicy],
        *,
        policy: TimePolicy,
        hushes: Sequence[Hush] = (),
        living: int = 0,
    ) -> None:
        self._lanes = {way.name: _Lane(way=way, policy=policy, hushes=hushes) for way in ways}
        #: How many milestones there are: what a storm is measured by.
        self._living = living
        #: Created milestones by when they are due: those of one read are due together.
        self._created: Counter[datetime] = Counter()
        self._seq = 0

    def take(
        self, event: Event, owed_to: Sequence[Delivery], *, due_at: datetime
    ) -> Iterator[Fate]:
        """One event more, and what has become of earlier ones by then."""
        yield from self._advance(event.seen_at - _TICK)
        if event.kind is Kind.CREATED:
            self._created[due_at] += 1
        for delivery in owed_to:
            self._seq += 1
            self._lanes[delivery.destination].add(event, delivery, self._seq)

    def finish(self, now: datetime) -> Iterator[Fate]:
        """What becomes of everything until now."""
        yield from self._advance(now)

    @property
    def waiting(self) -> dict[str, int]:
        """By destination: what is held back still."""
        return {name: lane.waits for name, lane in self._lanes.items()}

    def _advance(self, until: datetime) -> Iterator[Fate]:
        over = {at: self._is_storm(n) for at, n in self._created.items() if at <= until}
        for lane in self._lanes.values():
            yield from lane.advance(until, over)
        for at in over:
            del self._created[at]

    def _is_storm(self, created: int) -> bool:
        return created > max(_CALM, _STORM_SHARE * (self._living - created))
