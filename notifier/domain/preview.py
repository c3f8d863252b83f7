"""
What routes would have sent for the events of the past: deliveries exactly, messages by
the digest rule.

Rates, quiet hours, silences, net changes, failures and retries are left out: they
depend on more than the events.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.domain.batching import DestinationPolicy
from notifier.domain.models import URGENT, Delivery, Event, Milestone
from notifier.domain.quiet_hours import next_time
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Route
from notifier.domain.timers import LastAnnounced, TimePolicy, fire, reminders


def owed(
    event: Event, routes: Sequence[Route], *, policy: TimePolicy, due_at: datetime
) -> tuple[Delivery, ...]:
    """The deliveries that these routes would have made of the event; none of a missed one."""
    return deliveries(
        event,
        route(event, routes),
        due_at=due_at,
        now=event.seen_at,
        started_grace=policy.started_grace,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMilestone:
    """A milestone as it is now, and since when its start has been known."""

    milestone: Milestone
    since: datetime
    #: The start that was announced last.
    announced_start: datetime | None = None


def missing_reminder(known: KnownMilestone, lead: timedelta, *, policy: TimePolicy) -> Event | None:
    """
    The reminder that a route with this lead would have had of the present start.

    It has the id that it would have had. None: there would have been none.
    """
    milestone = known.milestone
    is_own = known.announced_start is None or known.announced_start >= milestone.start
    last = LastAnnounced(start=None if is_own else known.announced_start)
    policy = replace(policy, leads=(lead,))
    armed = reminders(milestone, announced=last, policy=policy, now=known.since)
    for timer in armed:
        now = max(timer.fire_at, known.since)
        return fire(timer, milestone, announced=last, policy=policy, now=now)
    return None


class _Batch(NamedTuple):
    """Deliveries that leave for one destination at the same moment."""

    destination: str
    leaves_at: datetime
    is_urgent: bool
    #: More than this many are one digest; None: each is a message of its own.
    over: int | None


class MessageCounter:
    """Counts the messages that deliveries become by the digest rule."""

    def __init__(self, policies: Iterable[DestinationPolicy]) -> None:
        self._policies = {policy.name: policy for policy in policies}
        self._batches: Counter[_Batch] = Counter()
        #: By destination and route: when the window of the gathering digest began.
        self._windows: dict[tuple[str, str], datetime] = {}

    def add(self, delivery: Delivery, due_at: datetime) -> None:
        """One more delivery; they come in the order in which they are due."""
        policy = self._policies[delivery.destination]
        how = policy.batching.get(delivery.route, policy.default)
        is_urgent = delivery.kind in URGENT
        leaves_at, over = due_at, how.over
        if not is_urgent and how.at is not None:
            leaves_at, over = next_time(how.at, how.zone, due_at), 0
        elif not is_urgent and how.window is not None:
            key = delivery.destination, delivery.route
            began = self._windows.get(key)
            if began is None or due_at > began + how.window:
                began = self._windows[key] = due_at
            leaves_at, over = began + how.window, 0
        self._batches[_Batch(delivery.destination, leaves_at, is_urgent, over)] += 1

    def messages(self, now: datetime) -> Iterator[tuple[str, datetime, int]]:
        """Destination, instant and number of messages that would have left by now."""
        for batch, number in self._batches.items():
            if batch.leaves_at <= now:
                is_digest = batch.over is not None and number > batch.over
                yield batch.destination, batch.leaves_at, 1 if is_digest else number

    def waiting(self, now: datetime) -> Counter[str]:
        """By destination: deliveries that would still wait for a digest."""
        found: Counter[str] = Counter()
        for batch, number in self._batches.items():
            if batch.leaves_at > now:
                found[batch.destination] += number
        return found
