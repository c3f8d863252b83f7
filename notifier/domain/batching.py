"""
Which messages the due deliveries of one destination become.

Expired, moot and silenced ones are ended first, then what need not be told any more;
what quiet hours or a digest keep back waits. What may have arrived goes again with
exactly its members and its id. `started` and `upcoming` go before everything else
and share a digest only with each other. The rest goes one by one, oldest first and
one per milestone, first tries and retries in turn, unless there is too much of it:
then as one digest. No delivery overtakes an earlier one of its milestone, unless it
is urgent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from itertools import zip_longest

from notifier.domain.coalescing import netted
from notifier.domain.deferral import Manner, hold, joined
from notifier.domain.models import URGENT, Due, Ended, Form, Held, Kind, Message, State, message_id
from notifier.domain.timers import is_placeholder

#: How often a refused digest was put more plainly decides how it goes next.
_PLAINNESS = {Form.RICH: 0, Form.PLAIN: 1, Form.COUNTS: 2, Form.ALONE: 3}


class Probe(Enum):
    """Which one delivery tries a destination that fails."""

    #: It refuses us: what has waited longest.
    OLDEST = auto()
    #: It is down: what was tried least, for the fault may be one message's own.
    LIKELIEST = auto()


#: So many probes in vain may be the destination's fault; more may be the message's.
_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a destination can take."""

    #: Messages that may leave now.
    now: int
    #: Messages that may leave within ten seconds; more than that is a digest.
    soon: int
    #: By route: how its events go there.
    manners: Mapping[str, Manner]
    #: The destination's own, for what a route that is no more had sent.
    manner_else: Manner
    #: Only one delivery may go, to see whether the destination works again.
    probe: Probe | None = None
    #: Whose turn it is when first tries and retries compete.
    retries_first: bool = True

    def manner(self, delivery: Due) -> Manner:
        """How this one goes."""
        return self.manners.get(delivery.route, self.manner_else)

    def limit(self, delivery: Due) -> int | None:
        """More than so many like this one, due together, are a digest."""
        if delivery.storm or delivery.gathered:
            return 1
        return self.manner(delivery).over


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What else decides about a delivery."""

    #: A start that moves by no more is not announced again: it still holds.
    started_again_after: timedelta = timedelta(minutes=15)
    #: By delivery: the silence that it falls under, in words.
    silenced: Mapping[str, str] = field(default_factory=dict)
    #: By route: when the digest that gathers already will go.
    gathering: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What to do with what was due; deliveries in no part stay as they are."""

    messages: tuple[Message, ...]
    ended: tuple[Ended, ...]
    held: tuple[Held, ...] = ()


def compose(
    due: Sequence[Due],
    *,
    destination: str,
    room: Room,
    now: datetime,
    rules: Rules | None = None,
) -> Composed:
    """Decide what is sent now; `due` holds what may go."""
    rules = rules or Rules()
    ended = list(_ended(due, now, rules))
    alive = _without(due, ended)

    waiting = [one for one in alive if one.kind not in URGENT and not one.frozen_in]
    ended += netted(waiting)
    alive = _without(alive, ended)

    kept = list(hold(alive, room.manner, gathering=rules.gathering, now=now))
    alive = joined(_without(alive, kept), room.manner, now)
    if room.probe is not None:
        alive = _probing(alive, room.probe)
    return Composed(
        messages=tuple(_messages(alive, destination, room)),
        ended=(*ended, *(one for one in kept if isinstance(one, Ended))),
        held=tuple(one for one in kept if isinstance(one, Held)),
    )


def _without(due: Sequence[Due], told: Iterable[Ended | Held]) -> list[Due]:
    gone = {one.delivery_id for one in told}
    return [delivery for delivery in due if delivery.delivery_id not in gone]


def _messages(alive: Sequence[Due], destination: str, room: Room) -> list[Message]:
    messages: list[Message] = []
    busy: set[str] = set()
    for group in _groups(alive, room):
        if len(messages) >= room.now:
            break
        members = [member for member in group if member.milestone_id not in busy]
        if members and (len(members) == len(group) or _may_shrink(group)):
            messages.append(_message(destination, members))
        # What has to wait is not overtaken either.
        busy |= {member.milestone_id for member in group}
    return messages


def _probing(due: Sequence[Due], probe: Probe) -> list[Due]:
    """What a probe carries: one delivery, with those that it must go with."""
    if not due:
        return []
    patience = _PATIENCE if probe is Probe.OLDEST else 0
    # Nothing overtakes an earlier one of its milestone: the first stands for all.
    heads: dict[str, Due] = {}
    for one in sorted(due, key=lambda one: one.seq):
        heads.setdefault(one.milestone_id, one)
    first = min(heads.values(), key=lambda one: (max(0, one.tries - patience), one.seq))
    if first.frozen_in is None:
        return [first]
    return [delivery for delivery in due if delivery.frozen_in == first.frozen_in]


def _may_shrink(group: Sequence[Due]) -> bool:
    return group[0].frozen_in is None


def _message(destination: str, members: Sequence[Due]) -> Message:
    fresh_id = message_id(destination, [member.event_id for member in members])
    return Message(
        id=members[0].frozen_in or fresh_id,
        destination=destination,
        members=tuple(members),
        form=form_of(members),
    )


def form_of(members: Sequence[Due]) -> Form:
    """The plainest that any of them has come to; one by itself is never counted."""
    plainest = max((member.form for member in members), key=_PLAINNESS.__getitem__)
    if plainest is Form.COUNTS and len(members) == 1:
        return Form.ALONE
    return plainest


def _groups(alive: Sequence[Due], room: Room) -> list[list[Due]]:
    """Candidates in the order in which they deserve to go."""
    urgent = [delivery for delivery in alive if delivery.kind in URGENT]
    normal = [delivery for delivery in alive if delivery.kind not in URGENT]
    urgent.sort(key=lambda delivery: (delivery.at, delivery.seq))
    normal.sort(key=lambda delivery: delivery.seq)
    first = _lane(urgent, room, ahead=0)
    return first + _in_turn(_lane(normal, room, ahead=len(first)), room)


def _in_turn(groups: Sequence[list[Due]], room: Room) -> list[list[Due]]:
    """First tries and retries one by one in turn, so that neither starves."""
    first_tries: list[list[Due]] = []
    retries: list[list[Due]] = []
    retried: set[str] = set()
    for group in groups:
        milestones = {member.milestone_id for member in group}
        # What comes after a retry of its milestone must not overtake it.
        if any(_is_retry(member) for member in group) or milestones & retried:
            retries.append(group)
            retried |= milestones
        else:
            first_tries.append(group)
    turns = (retries, first_tries) if room.retries_first else (first_tries, retries)
    return [group for pair in zip_longest(*turns) for group in pair if group is not None]


def _is_retry(one: Due) -> bool:
    """Whether it was tried before; what may have arrived was, though it cost none."""
    return one.attempts > 0 or one.frozen_in is not None


def _lane(lane: Sequence[Due], room: Room, *, ahead: int) -> list[list[Due]]:
    """What may have arrived, then digests, then the rest one by one."""
    frozen: dict[str, list[Due]] = defaultdict(list)
    free: list[Due] = []
    for delivery in lane:
        if delivery.frozen_in is None:
            free.append(delivery)
        else:
            frozen[delivery.frozen_in].append(delivery)
    again = list(frozen.values())
    digests = _digests(free, room, ahead=ahead + len(again))
    told = {delivery.delivery_id for digest in digests for delivery in digest}
    singles = [[delivery] for delivery in free if delivery.delivery_id not in told]
    return again + digests + singles


def _digests(free: Sequence[Due], room: Room, *, ahead: int) -> list[list[Due]]:
    is_held = len(free) > max(room.soon - ahead, 1)
    return [
        pool
        for limit, pool in _pools(free, room).items()
        if limit is not None and len(pool) > (1 if is_held else limit)
    ]


def _pools(free: Sequence[Due], room: Room) -> dict[int | None, list[Due]]:
    """
    What may share a digest, by the limit that it has in common; None: nothing may.

    What comes after a delivery of its milestone in another pool waits for it.
    """
    pools: dict[int | None, list[Due]] = defaultdict(list)
    first: dict[str, int | None] = {}
    waiting: set[str] = set()
    for delivery in free:
        is_alone = delivery.form is Form.ALONE
        limit = None if is_alone else room.limit(delivery)
        if first.setdefault(delivery.milestone_id, limit) != limit:
            waiting.add(delivery.milestone_id)
        if delivery.milestone_id not in waiting:
            pools[limit].append(delivery)
    return pools


def _ended(due: Sequence[Due], now: datetime, rules: Rules) -> Iterable[Ended]:
    waiting = {
        delivery.frozen_in
        for delivery in due
        if delivery.frozen_in is not None and not _is_expired(delivery, now)
    }
    for delivery in due:
        if delivery.frozen_in in waiting:
            continue
        if _is_expired(delivery, now):
            yield _end(delivery, State.EXPIRED, "too late to be of use")
        elif why := _moot(delivery, now, rules.started_again_after):
            yield _end(delivery, State.SUPERSEDED, why)
        elif words := rules.silenced.get(delivery.delivery_id):
            yield _end(delivery, State.DROPPED, words)


def _end(delivery: Due, state: State, why: str) -> Ended:
    return Ended(delivery_id=delivery.delivery_id, state=state, reason=why)


def _is_expired(delivery: Due, now: datetime) -> bool:
    return delivery.expires_at is not None and now > delivery.expires_at


def _moot(delivery: Due, now: datetime, again_after: timedelta) -> str | None:
    """Why what has not left yet is not true any more."""
    if delivery.kind not in URGENT:
        words = "it was removed, and that has been told"
        return words if delivery.gone_told else None
    if delivery.over:
        return "the milestone is over or gone"
    if delivery.lead is None:
        is_moved = _is_withdrawn(delivery, again_after)
    else:
        is_moved = delivery.at + delivery.lead != delivery.start
    if is_moved:
        return "the start has moved"
    if delivery.kind is Kind.UPCOMING and delivery.start <= now:
        return "it has started"
    return None


def _is_withdrawn(started: Due, again_after: timedelta) -> bool:
    """Whether the start has moved so far that it will be announced anew, if at all."""
    start = started.start
    return is_placeholder(start) or start - started.at > again_after
