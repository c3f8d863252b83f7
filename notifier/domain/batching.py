"""
Which messages the due deliveries of one destination become.

Expired, obsolete and silenced deliveries are suppressed first, then those that need not
be announced any more (net changes); quiet hours and gathering digests defer others. The
rest becomes messages: `started` and `upcoming` go before everything else and share a
digest only with each other; other deliveries go one by one, oldest first and one per
milestone, first attempts and retries in turn, unless there are too many: then as one
digest. No delivery overtakes an earlier one of its milestone, unless it is urgent.

A message that may have arrived (frozen) is one unit in every step: all of its members
are sent again, with its id, or none of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from enum import Enum, auto
from itertools import groupby, zip_longest
from zoneinfo import ZoneInfo

from notifier.domain.changes import net
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.models import URGENT, Event, Kind, State, message_id
from notifier.domain.outgoing import Deferred, Message, PendingDelivery, RenderLevel, Suppressed
from notifier.domain.quiet_hours import next_time, quiet_until
from notifier.domain.rate_limit import slots
from notifier.domain.rules import Destination, QuietPolicy, Rate, Route, Silence, Then
from notifier.domain.silences import find_silence, silenced_reason
from notifier.domain.timers import is_placeholder
from notifier.messages.humanize import moment

#: The order in which a refused message becomes plainer.
_PLAINNESS = list(RenderLevel)
#: So many failed probes may be the destination's fault; more may be the message's.
_PATIENCE = 3
_FAR = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingPolicy:
    """How the events of one route become messages to one destination."""

    #: More than so many due together are a digest; None: never.
    over: int | None
    #: For times of the day, and for the reasons.
    zone: ZoneInfo
    #: A digest gathers for so long, or until this time of the day.
    window: timedelta | None = None
    at: time | None = None
    quiet: QuietPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationPolicy:
    """One destination as the configuration wants it served."""

    name: str
    #: By route; the default serves deliveries of a route that no longer exists.
    batching: Mapping[str, BatchingPolicy]
    default: BatchingPolicy
    rate: Rate | None = None
    concurrency: int = 1
    #: What may have arrived is not sent again.
    drop_ambiguous: bool = False

    @property
    def gathers(self) -> bool:
        """Whether a digest may be gathering for it."""
        every = (*self.batching.values(), self.default)
        return any(one.window is not None or one.at is not None for one in every)

    def of(self, delivery: PendingDelivery) -> BatchingPolicy:
        """How this delivery becomes a message."""
        return self.batching.get(delivery.route, self.default)


def destination_policy(
    destination: Destination, routes: Iterable[Route], rate: Rate | None
) -> DestinationPolicy:
    """How a destination is served; a route's own `digest` and `quiet` go before its own."""

    def batching(route: Route | None) -> BatchingPolicy:
        digest = (route and route.digest) or destination.digest
        return BatchingPolicy(
            over=digest.over,
            zone=destination.zone,
            window=digest.window,
            at=digest.at,
            quiet=(route and route.quiet) or destination.quiet,
        )

    return DestinationPolicy(
        name=destination.name,
        batching={route.name: batching(route) for route in routes},
        default=batching(None),
        rate=rate,
        concurrency=destination.concurrency,
        drop_ambiguous=destination.drop_ambiguous,
    )


class Probe(Enum):
    """Which one delivery tests a destination that fails."""

    #: Suspended: the one that has waited longest.
    OLDEST = auto()
    #: Down: the one attempted least, for the fault may be one message's own.
    LIKELIEST = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What a destination can take."""

    #: Messages that may leave now, and within ten seconds.
    now: int
    soon: int
    #: For how long nothing may leave; zero where something may leave now.
    wait: timedelta = timedelta(0)
    #: Only one message may leave, to test whether the destination works again.
    probe: Probe | None = None


def capacity(
    policy: DestinationPolicy, state: DestinationState, sent: Sequence[datetime], now: datetime
) -> Capacity:
    """What its state and its rate allow; `sent` holds when requests left that count."""
    pause = state.pause(now)
    if pause:
        return Capacity(now=0, soon=0, wait=pause)
    allowed = slots(policy.rate, sent, now)
    probe = None
    if state.half_open:
        probe = Probe.LIKELIEST if state.suspended_since is None else Probe.OLDEST
    return Capacity(
        now=min(allowed.now, 1) if probe else allowed.now,
        soon=allowed.soon,
        wait=allowed.wait,
        probe=probe,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimContext:
    """What else decides about the deliveries."""

    now: datetime
    #: A start that moves by no more is not announced again: it still holds.
    started_again_after: timedelta = timedelta(minutes=15)
    #: By delivery: the reason of the silence that matches it.
    silenced: Mapping[str, str] = field(default_factory=dict)
    #: By route: when the digest that is gathering will be due.
    digests_due: Mapping[str, datetime] = field(default_factory=dict)
    #: Whose turn it is when first attempts and retries compete.
    retries_first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """What to do with the due deliveries; those in no part stay as they are."""

    messages: tuple[Message, ...]
    suppressed: tuple[Suppressed, ...]
    deferred: tuple[Deferred, ...] = ()


def plan(
    due: Sequence[PendingDelivery],
    policy: DestinationPolicy,
    room: Capacity,
    context: ClaimContext,
) -> DeliveryPlan:
    """Decide what is sent now; `due` holds the deliveries that may be sent."""
    suppressed = list(_suppress(due, context))
    waiting = _without(due, suppressed)
    suppressed += coalesce(
        one for one in waiting if one.kind not in URGENT and one.frozen_in is None
    )
    waiting = _without(waiting, suppressed)
    held = list(defer(waiting, policy, context))
    ready = join_digests(_without(waiting, held), policy, context.now)
    if room.probe is not None:
        ready = _probe(ready, room.probe)
    return DeliveryPlan(
        messages=tuple(_messages(ready, policy, room, context)),
        suppressed=(*suppressed, *(one for one in held if isinstance(one, Suppressed))),
        deferred=tuple(one for one in held if isinstance(one, Deferred)),
    )


def _without(
    due: Sequence[PendingDelivery], decided: Iterable[Suppressed | Deferred]
) -> list[PendingDelivery]:
    gone = {one.delivery_id for one in decided}
    return [one for one in due if one.delivery_id not in gone] if gone else list(due)


def _units(due: Iterable[PendingDelivery]) -> Iterable[list[PendingDelivery]]:
    """The deliveries in inseparable groups: a message that may have arrived, or one."""
    units: dict[str, list[PendingDelivery]] = {}
    for one in due:
        units.setdefault(one.frozen_in or one.delivery_id, []).append(one)
    return units.values()


# --- suppression --------------------------------------------------------------


def _suppress(due: Sequence[PendingDelivery], context: ClaimContext) -> Iterator[Suppressed]:
    """Expired, obsolete and silenced deliveries; frozen ones only expire, all together."""
    for unit in _units(due):
        if all(one.expires_at is not None and context.now > one.expires_at for one in unit):
            for one in unit:
                yield _suppressed(one, State.EXPIRED, "too late to be of use")
        elif (one := unit[0]).frozen_in is not None:
            continue
        elif why := _obsolete(one, context):
            yield _suppressed(one, State.SUPERSEDED, why)
        elif why := context.silenced.get(one.delivery_id):
            yield _suppressed(one, State.DROPPED, why)


def _suppressed(one: PendingDelivery, state: State, why: str, by: str | None = None) -> Suppressed:
    return Suppressed(delivery_id=one.delivery_id, state=state, reason=why, by=by)


def _obsolete(delivery: PendingDelivery, context: ClaimContext) -> str | None:
    """Why what has not been sent yet is not true any more; None: it is."""
    if delivery.kind not in URGENT:
        why = "its removal has been sent already"
        return why if delivery.removal_announced else None
    if delivery.over:
        return "the milestone is over or gone"
    start = delivery.start
    if delivery.lead is None:
        # Moved so far that it is announced anew, if at all.
        has_moved = is_placeholder(start) or start - delivery.at > context.started_again_after
    else:
        has_moved = delivery.at + delivery.lead != start
    if has_moved:
        return "the start has moved"
    if delivery.kind is Kind.UPCOMING and start <= context.now:
        return "it has started"
    return None


def silenced(
    destination: str,
    due: Sequence[PendingDelivery],
    silences: Sequence[Silence],
    events: Mapping[str, Sequence[Event]],
) -> dict[str, str]:
    """
    By delivery: the reason of the silence in force that matches it.

    `events` holds by due event all that its message would say: a net change is worth
    sending while any of its updates is.
    """
    found: dict[str, str] = {}
    for one in due:
        matching = [
            find_silence(event, destination, silences) for event in events.get(one.event_id, ())
        ]
        if matching and matching[-1] is not None and all(matching):
            found[one.delivery_id] = silenced_reason(matching[-1])
    return found


# --- net changes --------------------------------------------------------------


def coalesce(waiting: Iterable[PendingDelivery]) -> Iterator[Suppressed]:
    """
    Deliveries whose news is contained in another one's, or is none any more.

    Updates that follow each other and came by the same route become the newest of
    them; nothing is sent if they undo each other, nor about a milestone that came and
    went. `waiting` holds nothing urgent and nothing that may have arrived.
    """
    of: dict[str, list[PendingDelivery]] = defaultdict(list)
    for delivery in waiting:
        of[delivery.milestone_id].append(delivery)
    for together in of.values():
        if len(together) > 1:
            together.sort(key=lambda one: one.seq)
            yield from _coalesce_milestone(together)


def _coalesce_milestone(together: Sequence[PendingDelivery]) -> Iterator[Suppressed]:
    rest = list(together)
    for removed in [one for one in together if one.kind is Kind.REMOVED]:
        run = rest[: rest.index(removed) + 1]
        created = [n for n, one in enumerate(run) if one.kind is Kind.CREATED]
        if created and not run[created[-1]].announced_since:
            passing = run[created[-1] :]
            why = "it was listed and removed again before it was sent"
            for one in passing:
                yield _suppressed(one, State.SUPERSEDED, why, removed.event_id)
            rest = [one for one in rest if one not in passing]
    for (kind, _), run_of in groupby(rest, key=lambda one: (one.kind, one.route)):
        run = list(run_of)
        if kind is not Kind.UPDATED or len(run) == 1 or not all(one.changes for one in run):
            continue
        newest = run[-1]
        if net([one.changes for one in run], newest.row):
            run, why = run[:-1], "sent with a later update of the milestone"
        else:
            why = "changed back before it was sent"
        for one in run:
            yield _suppressed(one, State.SUPERSEDED, why, newest.event_id)


# --- deferral -----------------------------------------------------------------


def defer(
    waiting: Sequence[PendingDelivery], policy: DestinationPolicy, context: ClaimContext
) -> Iterator[Deferred | Suppressed]:
    """
    Deliveries that are not sent now: in quiet hours, or to gather a digest.

    Decided anew each time that a delivery comes due, so a changed configuration counts
    at once. No delivery joins a digest while an earlier one of its milestone gathers
    for a later digest. Urgent ones are deferred by quiet hours alone, and expire at
    once if those last longer than they are of use.
    """
    now = context.now
    decided: list[Deferred | Suppressed] = []
    for unit in _units(waiting):
        decided += _in_quiet_hours(unit, policy.of(unit[0]), now)
    rest = _without(waiting, decided)
    behind = [
        _gathering(one, until, policy.of(one), now)
        for one in rest
        if (until := _deferred_ahead(one, policy.of(one), now))
    ]
    yield from (*decided, *behind)
    for one in join_digests(_without(rest, behind), policy, now):
        how = policy.of(one)
        if not _may_gather(one) or one.force_digest:
            continue
        if how.at is not None:
            until = next_time(how.at, how.zone, now)
        elif how.window is not None:
            until = min(context.digests_due.get(one.route, _FAR), one.created_at + how.window)
        else:
            continue
        if until > now:
            yield _gathering(one, until, how, now)


def join_digests(
    waiting: Sequence[PendingDelivery], policy: DestinationPolicy, now: datetime
) -> list[PendingDelivery]:
    """Let what comes while a digest of its route leaves take its place in it."""

    def has_waited(one: PendingDelivery) -> bool:
        how = policy.of(one)
        if how.window is None or how.at is not None:
            return False
        return _may_gather(one) and one.created_at + how.window <= now

    leaving = {one.route for one in waiting if one.force_digest or has_waited(one)}
    return [
        replace(one, force_digest=True)
        if one.route in leaving and one.kind not in URGENT and one.frozen_in is None
        else one
        for one in waiting
    ]


def _may_gather(one: PendingDelivery) -> bool:
    """Whether it may wait for others: it is not urgent, and was never attempted."""
    return one.kind not in URGENT and one.attempts_counted == 0 and one.frozen_in is None


def _in_quiet_hours(
    unit: Sequence[PendingDelivery], how: BatchingPolicy, now: datetime
) -> Iterator[Deferred | Suppressed]:
    quiet = how.quiet
    if quiet is None or any(one.kind in quiet.let_pass for one in unit):
        return
    until = quiet_until(quiet, how.zone, now)
    if until is None:
        return
    why = f"quiet hours until {moment(until, zone=quiet.zone or how.zone, now=now)}"
    for one in unit:
        may_end = one.frozen_in is None
        if may_end and one.expires_at is not None and one.expires_at <= until:
            yield _suppressed(one, State.EXPIRED, f"{why}: too late to be of use by then")
        elif may_end and quiet.then is Then.DROP:
            yield _suppressed(one, State.DROPPED, why)
        else:
            yield _deferred(one, until, why, force_digest=quiet.then is Then.DIGEST)


def _deferred_ahead(one: PendingDelivery, how: BatchingPolicy, now: datetime) -> datetime | None:
    """Until when it waits for earlier deliveries of its milestone, which gather."""
    if not _may_gather(one) or not one.deferred_ahead:
        return None
    asleep = None if how.quiet is None else quiet_until(how.quiet, how.zone, now)
    # What quiet hours defer does not hold up what they let pass.
    return max((until for until in one.deferred_ahead if until != asleep), default=None)


def _gathering(
    one: PendingDelivery, until: datetime, how: BatchingPolicy, now: datetime
) -> Deferred:
    why = f"gathered for a digest at {moment(until, zone=how.zone, now=now)}"
    return _deferred(one, until, why, force_digest=True)


def _deferred(one: PendingDelivery, until: datetime, why: str, *, force_digest: bool) -> Deferred:
    return Deferred(
        delivery_id=one.delivery_id,
        until=until,
        reason=why,
        force_digest=force_digest or one.force_digest,
    )


# --- messages -----------------------------------------------------------------


def _probe(due: Sequence[PendingDelivery], probe: Probe) -> list[PendingDelivery]:
    """What a probe carries: one delivery, with those that it must be sent with."""
    if not due:
        return []
    patience = _PATIENCE if probe is Probe.OLDEST else 0
    # Nothing overtakes an earlier delivery of its milestone: the first stands for all.
    heads: dict[str, PendingDelivery] = {}
    for one in sorted(due, key=lambda one: one.seq):
        heads.setdefault(one.milestone_id, one)
    first = min(heads.values(), key=lambda one: (max(0, one.attempts_total - patience), one.seq))
    return next(unit for unit in _units(due) if first in unit)


def _messages(
    ready: Sequence[PendingDelivery],
    policy: DestinationPolicy,
    room: Capacity,
    context: ClaimContext,
) -> Iterator[Message]:
    urgent = [one for one in ready if one.kind in URGENT]
    normal = [one for one in ready if one.kind not in URGENT]
    urgent.sort(key=lambda one: (one.at, one.seq))
    normal.sort(key=lambda one: one.seq)
    first = _batches(urgent, policy, room.soon)
    then = _take_turns(
        _batches(normal, policy, room.soon - len(first)), retries_first=context.retries_first
    )
    left = room.now
    busy: set[str] = set()
    for batch in (*first, *then):
        if not left:
            return
        members = [one for one in batch if one.milestone_id not in busy]
        is_frozen = batch[0].frozen_in is not None
        if members and not (is_frozen and len(members) < len(batch)):
            left -= 1
            new_id = message_id(policy.name, [one.event_id for one in members])
            yield Message(
                id=members[0].frozen_in or new_id,
                destination=policy.name,
                members=tuple(members),
                level=level_of(members),
            )
        # What has to wait is not overtaken either.
        busy |= {one.milestone_id for one in batch}


def level_of(members: Sequence[PendingDelivery]) -> RenderLevel:
    """The plainest level of any member; a message of one event is never only counted."""
    plainest = max((one.level for one in members), key=_PLAINNESS.index)
    if plainest is RenderLevel.COUNTS and len(members) == 1:
        return RenderLevel.ALONE
    return plainest


def _take_turns(
    batches: Sequence[list[PendingDelivery]], *, retries_first: bool
) -> list[list[PendingDelivery]]:
    """First attempts and retries in turn, so that neither starves."""
    first_attempts: list[list[PendingDelivery]] = []
    retries: list[list[PendingDelivery]] = []
    retried: set[str] = set()
    for batch in batches:
        milestones = {one.milestone_id for one in batch}
        # What may have arrived was attempted, though that may not have counted. What
        # follows a retry of its milestone must not overtake it.
        is_retry = any(one.attempts_counted or one.frozen_in is not None for one in batch)
        if is_retry or milestones & retried:
            retries.append(batch)
            retried |= milestones
        else:
            first_attempts.append(batch)
    turns = (retries, first_attempts) if retries_first else (first_attempts, retries)
    return [batch for pair in zip_longest(*turns) for batch in pair if batch is not None]


def _batches(
    due: Sequence[PendingDelivery], policy: DestinationPolicy, soon: int
) -> list[list[PendingDelivery]]:
    """What may have arrived, then digests, then the rest one by one."""
    frozen = [unit for unit in _units(due) if unit[0].frozen_in is not None]
    free = [one for one in due if one.frozen_in is None]
    would_wait = len(free) > max(soon - len(frozen), 1)
    digests = [
        pool
        for limit, pool in _pools(free, policy).items()
        if limit is not None and len(pool) > (1 if would_wait else limit)
    ]
    pooled = {one.delivery_id for digest in digests for one in digest}
    singles = [[one] for one in free if one.delivery_id not in pooled]
    return frozen + digests + singles


def _pools(
    free: Sequence[PendingDelivery], policy: DestinationPolicy
) -> dict[int | None, list[PendingDelivery]]:
    """
    What may share a digest, by the limit over which it is one; None: no digest.

    What follows a delivery of its milestone in another pool waits for it.
    """
    pools: dict[int | None, list[PendingDelivery]] = defaultdict(list)
    first: dict[str, int | None] = {}
    waiting: set[str] = set()
    for one in free:
        limit = policy.of(one).over
        if one.level is RenderLevel.ALONE:
            limit = None
        elif one.burst or one.force_digest:
            limit = 1
        if first.setdefault(one.milestone_id, limit) != limit:
            waiting.add(one.milestone_id)
        if one.milestone_id not in waiting:
            pools[limit].append(one)
    return pools
