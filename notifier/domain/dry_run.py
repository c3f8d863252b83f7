"""What a dry run sends: one milestone, as each kind of event, through the real rules."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from notifier.domain.batching import Capacity, ClaimContext, DestinationPolicy, plan, silenced
from notifier.domain.models import Change, Delivery, Event, Json, Kind, Milestone, rfc3339
from notifier.domain.outgoing import Deferred, PendingDelivery, Suppressed
from notifier.domain.rate_limit import UNLIMITED
from notifier.domain.rules import Route, Silence
from notifier.domain.sample import sample_event

#: What makes a pattern more than a name.
_PATTERN = re.compile(r"^~|[*?\[]")


def dry_run_events(
    milestone: Milestone, routes: Sequence[Route], kinds: Collection[Kind], *, now: datetime
) -> list[Event]:
    """
    One event of each of these kinds, or of each that a route takes, in the order of a life.

    Several reminders where routes that have some have none in common.
    """
    wanted = kinds or {
        kind
        for kind in Kind
        for rule in routes
        if (rule.reminders if kind is Kind.UPCOMING else kind in (rule.match.events or Kind))
    }
    leads: list[timedelta | None] = []
    for rule in routes:
        if rule.reminders and not set(rule.reminders) & set(leads):
            leads.append(min(rule.reminders))
    changes = _changes(milestone, routes)
    return [
        sample_event(milestone, kind, now=now, lead=lead, changes=changes)
        for kind in Kind
        if kind in wanted
        for lead in ((leads or [None]) if kind is Kind.UPCOMING else [None])
    ]


def held_back(
    event: Event,
    delivery: Delivery,
    policy: DestinationPolicy,
    *,
    silences: Sequence[Silence],
    digests_due: Mapping[str, datetime],
    now: datetime,
) -> Suppressed | Deferred | None:
    """Why the event would not leave for this destination now; None: it would."""
    due = [
        PendingDelivery.of_event(
            event,
            route=delivery.route,
            delivery_id=delivery.id,
            created_at=delivery.due_at,
            expires_at=delivery.expires_at,
        )
    ]
    context = ClaimContext(
        now=now,
        started_again_after=timedelta(0),
        silenced=silenced(policy.name, due, silences, {event.id: [event]}),
        digests_due=digests_due,
    )
    planned = plan(due, policy, Capacity(now=1, soon=UNLIMITED), context)
    decided: list[Suppressed | Deferred] = [*planned.suppressed, *planned.deferred]
    return decided[0] if decided else None


def _changes(milestone: Milestone, routes: Sequence[Route]) -> list[Change]:
    """A moved start, and a change of each other field that a route's `changed` names."""
    start = milestone.start
    moved = Change(
        field="start_date", before=rfc3339(start - timedelta(hours=1)), after=rfc3339(start)
    )
    named = {
        pattern: None
        for rule in routes
        for pattern in rule.match.changed
        if not _PATTERN.search(pattern) and pattern != moved.field
    }
    return [moved, *(_change(milestone, path) for path in named)]


def _change(milestone: Milestone, path: str) -> Change:
    value: Json = milestone.doc
    for part in path.split("."):
        key = part.replace("~1", ".").replace("~0", "~")
        value = value.get(key) if isinstance(value, Mapping) else None
    return Change(field=path, before="something else" if value is None else None, after=value)
