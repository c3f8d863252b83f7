"""
A fire drill: what happens to one milestone, told as a test through the true routes.

Its start and its end are moved to where each kind wants them, so that a message says
what it would say on the day.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from notifier.domain.batching import (
    Capacity,
    ClaimContext,
    DestinationPolicy,
    plan,
    silenced,
)
from notifier.domain.deliveries import Deferred, PendingDelivery, Suppressed
from notifier.domain.models import (
    Change,
    Delivery,
    Event,
    Json,
    Kind,
    Milestone,
    event_id,
)
from notifier.domain.rate_limit import UNLIMITED
from notifier.domain.rules import Route, Silence

Decode = Callable[[bytes], Milestone]
#: Where no route has reminders, and somebody asks for one all the same.
_LEAD = timedelta(minutes=15)
_HOUR = timedelta(hours=1)
#: What makes a pattern more than a name.
_PATTERN = re.compile(r"^~|[*?\[]")


def made_up(now: datetime, decode: Decode) -> Milestone:
    """A milestone of our own, where there is no other."""
    doc: dict[str, Json] = {
        "id": "00000000-0000-4000-8000-000000000000",
        "category": "Test",
        "type": "test",
        "title": "This is what a milestone looks like",
        "notification_message": "It works: messages arrive here.",
        "start_date": _stamp(now + _HOUR),
        "end_date": None,
        "last_updated_ts": _stamp(now),
        "primary_event_tickers": [],
        "related_event_tickers": [],
        "details": {},
    }
    return decode(msgspec.json.encode(doc))


def acts(
    milestone: Milestone,
    routes: Sequence[Route],
    kinds: Collection[Kind],
    *,
    now: datetime,
    decode: Decode,
) -> list[Event]:
    """
    What happens to the milestone, in the order of its life.

    Each kind that a route takes, or each of `kinds` if there are any; reminders as
    often as it takes to reach every route that has some. Ids are always other ones.
    """
    wanted = kinds or {kind for kind in Kind if any(_takes(r, kind) for r in routes)}
    return [
        _act(milestone, kind, lead, now, changed=routes, decode=decode)
        for kind in Kind
        if kind in wanted
        for lead in (_leads(routes) if kind is Kind.UPCOMING else (None,))
    ]


def kept_back(
    event: Event,
    delivery: Delivery,
    policy: DestinationPolicy,
    *,
    silences: Sequence[Silence],
    digests_due: Mapping[str, datetime],
    now: datetime,
) -> Suppressed | Deferred | None:
    """What keeps the event from going there now; None: nothing does."""
    due = [pending(event, delivery)]
    context = ClaimContext(
        now=now,
        started_again_after=timedelta(0),
        silenced=silenced(policy.name, due, silences, {event.id: [event]}),
        digests_due=digests_due,
    )
    found = plan(due, policy, Capacity(now=1, soon=UNLIMITED), context)
    decided: tuple[Suppressed | Deferred, ...] = (*found.suppressed, *found.deferred)
    return decided[0] if decided else None


def pending(event: Event, delivery: Delivery) -> PendingDelivery:
    """The delivery as if it were due."""
    return PendingDelivery.of_event(
        event,
        route=delivery.route,
        delivery_id=delivery.id,
        created_at=delivery.due_at,
        expires_at=delivery.expires_at,
    )


# --- acts ---------------------------------------------------------------------


def _takes(rule: Route, kind: Kind) -> bool:
    """Whether the route may take such an event."""
    if kind is Kind.UPCOMING:
        return bool(rule.reminders)
    return not rule.match.events or kind in rule.match.events


def _leads(routes: Sequence[Route]) -> list[timedelta]:
    """Few leads, of which every route that has reminders has one."""
    found: list[timedelta] = []
    for rule in routes:
        if rule.reminders and not set(rule.reminders) & set(found):
            found.append(min(rule.reminders))
    return found or [_LEAD]


def _act(
    milestone: Milestone,
    kind: Kind,
    lead: timedelta | None,
    now: datetime,
    *,
    changed: Sequence[Route],
    decode: Decode,
) -> Event:
    doc = {**milestone.doc, **_moved(milestone, kind, lead, now)}
    acted = decode(msgspec.json.encode(doc))
    return Event(
        id=event_id(milestone.id, kind, f"drill {now.isoformat()} {lead}"),
        kind=kind,
        milestone=acted,
        at=now,
        seen_at=now,
        changes=_changes(acted, changed) if kind is Kind.UPDATED else (),
        lead=lead,
    )


def _moved(
    milestone: Milestone, kind: Kind, lead: timedelta | None, now: datetime
) -> dict[str, Json]:
    """The instants that the kind wants otherwise."""
    match kind:
        case Kind.UPCOMING:
            return {"start_date": _stamp(now + (lead or _LEAD)), "end_date": None}
        case Kind.STARTED:
            return {"start_date": _stamp(now), "end_date": None}
        case Kind.ENDED:
            start = min(milestone.start, now - _HOUR)
            return {"start_date": _stamp(start), "end_date": _stamp(now)}
        case _:
            return {}


def _changes(milestone: Milestone, routes: Sequence[Route]) -> tuple[Change, ...]:
    """The start has moved, and whatever else a route names as worth an update."""
    after = milestone.start
    moved = Change(field="start_date", before=_stamp(after - _HOUR), after=_stamp(after))
    named = {
        pattern: None
        for rule in routes
        for pattern in rule.match.changed
        if not _PATTERN.search(pattern) and pattern != moved.field
    }
    return (moved, *(_named(milestone, path) for path in named))


def _named(milestone: Milestone, path: str) -> Change:
    value: Json = milestone.doc
    for part in path.split("."):
        key = part.replace("~1", ".").replace("~0", "~")
        value = value.get(key) if isinstance(value, Mapping) else None
    return Change(field=path, before="something else" if value is None else None, after=value)


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
