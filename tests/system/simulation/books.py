"""What the checks of deliveries look up: events, what was owed, what was tried."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from simulation.far_end import Attempt
from simulation.ledger import StoredDelivery, StoredEvent
from simulation.reference import Expected, Reference

CONTENT = ("created", "updated", "removed")
URGENT = ("started", "upcoming")

#: An event and a destination.
Owed = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Books:
    """The end of the story, by key."""

    events: Mapping[str, StoredEvent]
    #: What should have happened, for each content event that did.
    expected: Mapping[str, Expected]
    owed: Mapping[Owed, StoredDelivery]
    tried: Mapping[Owed, Sequence[Attempt]]
    #: When the process died or was stopped.
    ends: Sequence[datetime]

    def kind(self, event_id: str) -> str:
        """What happened, in a word."""
        return self.events[event_id].kind if event_id in self.events else "?"

    def name(self, one: StoredDelivery) -> str:
        """A delivery, for complaints."""
        return f"{self.kind(one.event_id)} {one.event_id[:12]} to {one.destination}"

    def tries(self, one: StoredDelivery) -> Sequence[Attempt]:
        """Every attempt to tell it."""
        return self.tried.get((one.event_id, one.destination), ())

    def order(self, one: StoredDelivery) -> int:
        """The place of its event among all."""
        return self.events[one.event_id].seq


def books(
    reference: Reference,
    events: Sequence[StoredEvent],
    owed: Sequence[StoredDelivery],
    attempts: Sequence[Attempt],
    ends: Sequence[datetime],
) -> Books:
    """Everything, ready to be looked up."""
    tried: dict[Owed, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        for event_id in attempt.events:
            tried[event_id, attempt.destination].append(attempt)
    return Books(
        events={event.id: event for event in events},
        expected=_expected(reference, events),
        owed={(one.event_id, one.destination): one for one in owed},
        tried=tried,
        ends=ends,
    )


def _expected(reference: Reference, events: Sequence[StoredEvent]) -> dict[str, Expected]:
    found: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in events:
        if event.kind in CONTENT:
            found[event.milestone_id].append(event)
    return {
        event.id: one
        for key, wanted in reference.by_milestone().items()
        for one, event in zip(
            [one for one in wanted if one.kind in CONTENT],
            found.get(key, []),
            strict=False,
        )
    }
