"""
Which messages the due deliveries of one destination become.

Expired and moot ones are ended first. What may have arrived goes again with exactly
its members and its id. `started` and `upcoming` go before everything else and share
a digest only with each other. The rest goes one by one, oldest first and one per
milestone, unless there is too much of it: then as one digest. No delivery overtakes
an earlier one of its milestone, unless it is urgent.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.core.model import URGENT, Due, Form, Kind, Message, State, message_id
from notifier.core.timing import is_placeholder

#: How often a refused digest was put more plainly decides how it goes next.
_PLAINNESS = {Form.RICH: 0, Form.PLAIN: 1, Form.COUNTS: 2, Form.ALONE: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A delivery that ends without being sent, and why."""

    delivery_id: str
    state: State
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a destination can take."""

    #: Messages that may leave now.
    now: int
    #: Messages that may leave within ten seconds; more than that is a digest.
    soon: int
    #: By route: more than so many due together are a digest; None: never.
    over: Mapping[str, int | None]
    #: The destination's own, for what a route that is no more had sent.
    over_else: int | None = None

    def limit(self, delivery: Due) -> int | None:
        """More than so many like this one, due together, are a digest."""
        if delivery.storm:
            return 1
        return self.over.get(delivery.route, self.over_else)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What to do with what was due; deliveries in neither part stay pending."""

    messages: tuple[Message, ...]
    ended: tuple[Ended, ...]


def compose(
    due: Sequence[Due],
    *,
    destination: str,
    room: Room,
    now: datetime,
    started_again_after: timedelta = timedelta(minutes=15),
) -> Composed:
    """
    Decide what is sent now; `due` holds what may go.

    A start that moves by no more than `started_again_after` is not announced again,
    so its announcement still holds.
    """
    ended = tuple(_ended(due, now, started_again_after))
    gone = {end.delivery_id for end in ended}
    alive = [delivery for delivery in due if delivery.delivery_id not in gone]
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
    return Composed(messages=tuple(messages), ended=ended)


def oldest(due: Sequence[Due]) -> list[Due]:
    """What a probe carries: the oldest delivery, with those that it must go with."""
    if not due:
        return []
    first = min(due, key=lambda delivery: delivery.seq)
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
        form=_form(members),
    )


def _form(members: Sequence[Due]) -> Form:
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
    return first + _lane(normal, room, ahead=len(first))


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


def _ended(
    due: Sequence[Due], now: datetime, again_after: timedelta
) -> Iterable[Ended]:
    waiting = {
        delivery.frozen_in
        for delivery in due
        if delivery.frozen_in is not None and not _is_expired(delivery, now)
    }
    for delivery in due:
        if delivery.frozen_in in waiting:
            continue
        if _is_expired(delivery, now):
            yield Ended(
                delivery_id=delivery.delivery_id,
                state=State.EXPIRED,
                reason="too late to be of use",
            )
        elif why := _moot(delivery, now, again_after):
            yield Ended(
                delivery_id=delivery.delivery_id, state=State.SUPERSEDED, reason=why
            )


def _is_expired(delivery: Due, now: datetime) -> bool:
    return delivery.expires_at is not None and now > delivery.expires_at


def _moot(delivery: Due, now: datetime, again_after: timedelta) -> str | None:
    """Why a start or reminder that has not left yet is not true any more."""
    if delivery.kind not in URGENT:
        return None
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
