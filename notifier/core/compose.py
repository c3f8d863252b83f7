"""
Which messages the due deliveries of one destination become.

Expired and moot ones are ended first. What may have arrived goes again with exactly
its members and its id. `started` and `upcoming` go before everything else and share
a digest only with each other. The rest goes one by one, oldest first and one per
milestone, unless there is too much of it: then as one digest.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.core.model import URGENT, Due, Form, Kind, Message, State, message_id

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """What to do with what was due; deliveries in neither part stay pending."""

    messages: tuple[Message, ...]
    ended: tuple[Ended, ...]


def compose(
    due: Sequence[Due], *, destination: str, room: Room, now: datetime
) -> Composed:
    """Decide what is sent now; `due` holds what may go, oldest first."""
    ended = tuple(_ended(due, now))
    gone = {end.delivery_id for end in ended}
    alive = [delivery for delivery in due if delivery.delivery_id not in gone]
    messages: list[Message] = []
    busy: set[str] = set()
    for members, form in _groups(alive, room):
        if len(messages) == room.now:
            break
        milestones = {member.milestone_id for member in members}
        if milestones & busy:
            continue
        busy |= milestones
        messages.append(_message(destination, members, form))
    return Composed(messages=tuple(messages), ended=ended)


def _message(destination: str, members: Sequence[Due], form: Form) -> Message:
    return Message(
        id=message_id(destination, [member.event_id for member in members]),
        destination=destination,
        members=tuple(members),
        form=form,
    )


def _groups(alive: Sequence[Due], room: Room) -> Iterable[tuple[Sequence[Due], Form]]:
    """Candidates in the order in which they deserve to go."""
    frozen: dict[str, list[Due]] = defaultdict(list)
    urgent: list[Due] = []
    normal: list[Due] = []
    for delivery in alive:
        if delivery.frozen_in is not None:
            frozen[delivery.frozen_in].append(delivery)
        elif delivery.kind in URGENT:
            urgent.append(delivery)
        else:
            normal.append(delivery)
    again = list(frozen.values())
    yield from ((group, _form(group)) for group in again if group[0].kind in URGENT)
    yield from _lane(sorted(urgent, key=lambda d: (d.at, d.seq)), room)
    yield from ((group, _form(group)) for group in again if group[0].kind not in URGENT)
    yield from _lane(normal, room)


def _form(group: Sequence[Due]) -> Form:
    return max((member.form for member in group), key=_PLAINNESS.__getitem__)


def _lane(lane: Sequence[Due], room: Room) -> Iterable[tuple[Sequence[Due], Form]]:
    by_limit: dict[int | None, list[Due]] = defaultdict(list)
    for delivery in lane:
        alone = delivery.form is Form.ALONE
        by_limit[None if alone else room.over.get(delivery.route)].append(delivery)
    singles: list[Due] = []
    for limit, group in by_limit.items():
        if limit is not None and len(group) > min(limit, max(room.soon, 1)):
            yield group, _form(group)
        else:
            singles += group
    yield from (([one], one.form) for one in sorted(singles, key=lambda d: d.seq))


def _ended(due: Sequence[Due], now: datetime) -> Iterable[Ended]:
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
        elif delivery.frozen_in is None and (why := _moot(delivery, now)):
            yield Ended(
                delivery_id=delivery.delivery_id, state=State.SUPERSEDED, reason=why
            )


def _is_expired(delivery: Due, now: datetime) -> bool:
    return delivery.expires_at is not None and now > delivery.expires_at


def _moot(delivery: Due, now: datetime) -> str | None:
    """Why a start or reminder that has not left yet is not true any more."""
    if delivery.kind not in URGENT:
        return None
    if delivery.over:
        return "the milestone is over or gone"
    if delivery.at + (delivery.lead or now - now) != delivery.start:
        return "the start has moved"
    if delivery.kind is Kind.UPCOMING and delivery.start <= now:
        return "it has started"
    return None
