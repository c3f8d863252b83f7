"""The story held against the reference: every promise is one check."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.domain.rules import Rate
from simulation import manners, rows, told
from simulation.books import CONTENT, URGENT, Books, books
from simulation.far_end import Attempt
from simulation.ledger import Ledger, StoredDelivery, StoredEvent
from simulation.reference import INSTANT, Expected, Reference

FINAL = ("delivered", "expired", "superseded", "dropped", "dead")
#: The most that a start may be late in the database while the process is up.
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known when the story is over."""

    reference: Reference
    ledger: Ledger
    attempts: Sequence[Attempt]
    #: When the process died or was stopped.
    ends: Sequence[datetime]
    rates: Mapping[str, Rate | None]
    #: What the list really shows at the end.
    world: Mapping[str, rows.Doc]
    #: Lines of the log that must never come.
    alarms: Sequence[str]


def complaints(evidence: Evidence) -> Iterator[str]:
    """Everything that is wrong; nothing, if all promises were kept."""
    events, owed = evidence.ledger.events(), evidence.ledger.deliveries()
    if (said := evidence.ledger.soundness()) != "ok":
        yield f"the database is not sound: {said}"
    yield from evidence.alarms
    yield from _of_events(evidence.reference, events)
    yield from _of_the_end(evidence)
    kept = books(evidence.reference, events, owed, evidence.attempts, evidence.ends)
    yield from _of_owed(kept, owed)
    yield from _of_states(kept)
    yield from _of_arrivals(kept)
    yield from _of_order(evidence.attempts, events)
    yield from told.complaints(kept, evidence.world)
    yield from manners.complaints(kept, evidence.attempts)
    yield from _of_rates(evidence)


# --- events -------------------------------------------------------------------


def _of_events(reference: Reference, events: Sequence[StoredEvent]) -> Iterator[str]:
    """Each expected event is stored once; nothing else is."""
    expected = reference.by_milestone()
    stored: dict[str, list[StoredEvent]] = defaultdict(list)
    for event in events:
        stored[event.milestone_id].append(event)
    for event_id, times in Counter(event.id for event in events).items():
        if times > 1:
            yield f"{event_id} is stored {times} times"
    for key in sorted(expected.keys() | stored.keys()):
        wanted, found = expected.get(key, []), stored.get(key, [])
        yield from _of_content(key, wanted, found)
        yield from _of_moments(key, wanted, found)


def _of_content(
    key: str, wanted: Sequence[Expected], found: Sequence[StoredEvent]
) -> Iterator[str]:
    want = [one for one in wanted if one.kind in CONTENT]
    have = [one for one in found if one.kind in CONTENT]
    for one, event in zip(want, have, strict=False):
        same = (one.kind, one.fields, one.doc) == (event.kind, event.fields, event.doc)
        if not same or abs(one.seen_at - event.seen_at) > INSTANT:
            yield f"{key}: expected {_brief(one)}, found {_brief(event)}"
            return
    for one in want[len(have) :]:
        yield f"{key}: lost {_brief(one)}"
    for event in have[len(want) :]:
        yield f"{key}: spurious {_brief(event)}"


def _of_moments(
    key: str, wanted: Sequence[Expected], found: Sequence[StoredEvent]
) -> Iterator[str]:
    want = {_moment(one): one for one in wanted if one.kind not in CONTENT}
    have = {_moment(one): one for one in found if one.kind not in CONTENT}
    for moment in want.keys() - have.keys():
        yield f"{key}: lost {_brief(want[moment])}"
    for moment in have.keys() - want.keys():
        yield f"{key}: spurious {_brief(have[moment])}"
    for moment in want.keys() & have.keys():
        late = have[moment].seen_at - want[moment].seen_at
        if abs(late) > INSTANT:
            yield f"{key}: {_brief(have[moment])} came {late} late"
        if have[moment].missed is not want[moment].missed:
            yield f"{key}: {_brief(have[moment])}: missed is wrong"


def _moment(one: Expected | StoredEvent) -> tuple[str, datetime | None, timedelta]:
    return one.kind, one.at, one.lead or timedelta(0)


def _brief(one: Expected | StoredEvent) -> str:
    fields = f" {sorted(one.fields)}" if one.fields else ""
    at = f" at {one.at}" if one.kind not in CONTENT else ""
    return f"{one.kind}{at}{fields} seen {one.seen_at}"


def _of_the_end(evidence: Evidence) -> Iterator[str]:
    """After a calm time the database shows what the list shows."""
    stored = evidence.ledger.milestones()
    for key, doc in evidence.world.items():
        if rows.is_simulation(doc):
            continue
        known = stored.get(key)
        if known is None or known.is_gone or known.doc != doc:
            yield f"{key}: not as the list shows it at the end"
    for key, known in stored.items():
        if key not in evidence.world and not known.is_gone:
            yield f"{key}: still known, though the list shows it no more"


# --- deliveries ---------------------------------------------------------------


def _of_owed(kept: Books, owed: Sequence[StoredDelivery]) -> Iterator[str]:
    """What is owed is what the routes say, each once."""
    # The updates that no route may ignore.
    graves = {key for key, one in kept.expected.items() if one.is_grave}
    want = {
        (event.id, destination)
        for event in kept.events.values()
        for destination in _owes(event, is_grave=event.id in graves)
    }
    have = Counter((one.event_id, one.destination) for one in owed)
    kinds = {event.id: _brief(event) for event in kept.events.values()}
    for key in sorted(want | have.keys()):
        if have[key] != (key in want):
            yield f"{key} is owed {have[key]} times: {kinds.get(key[0])}"


def _owes(event: StoredEvent, *, is_grave: bool) -> set[str]:
    """Whom the routes of `story` give an event to."""
    if event.missed:
        return set()
    is_sport = event.doc["category"].casefold() == "sports"
    if event.kind == "upcoming":
        is_long = event.lead == timedelta(minutes=10)
        return {"hook", "mail"} | ({"chat"} if is_sport and is_long else set())
    found = {"hook", "mail"}
    if event.kind in {"created", "updated", "removed", "started"}:
        found.add("once")
    if event.kind == "updated" and not is_grave and event.fields <= told.IGNORED:
        found -= {"hook", "once"}
    if event.kind in {"created", "updated", "started"} and is_sport:
        found.add("chat")
    return found


def _of_states(kept: Books) -> Iterator[str]:
    """At the end everything is final, for a reason."""
    for one in kept.owed.values():
        if one.state not in FINAL:
            yield f"{kept.name(one)} is still {one.state}: {one.reason}"
        if one.state != "delivered" and not one.reason:
            yield f"{kept.name(one)} is {one.state} without a reason"


def uncounted(owed: Sequence[StoredDelivery], attempts: Sequence[Attempt]) -> Iterator[str]:
    """Whenever the process dies, every attempt that it made is counted already."""
    made = Counter(
        (event_id, attempt.destination) for attempt in attempts for event_id in attempt.events
    )
    for one in owed:
        tried = made[one.event_id, one.destination]
        if tried > one.tries:
            name = f"{one.event_id[:12]} to {one.destination}"
            yield f"{name}: {tried} attempts were made, {one.tries} were counted"


# --- the far ends -------------------------------------------------------------


def _of_arrivals(kept: Books) -> Iterator[str]:
    """What is delivered arrived; only what may have arrived comes again, the same."""
    for key, attempts in kept.tried.items():
        if key not in kept.owed or key[0] not in kept.events:
            yield f"{key} was sent and is not owed"
        yield from _of_repeats(key, attempts, kept.ends)
    for key, one in kept.owed.items():
        is_sent = any(_is_sent(attempt) for attempt in kept.tries(one))
        if one.state == "delivered" and not is_sent:
            yield f"{key} counts as delivered and never arrived"


def _is_sent(attempt: Attempt) -> bool:
    return attempt.arrived_at is not None and not attempt.may_be_repeated


def _of_repeats(
    key: tuple[str, str], attempts: Sequence[Attempt], ends: Sequence[datetime]
) -> Iterator[str]:
    for at, attempt in enumerate(attempts):
        if attempt.arrived_at is None:
            continue
        for later in attempts[at + 1 :]:
            name = f"{key}: attempt {later.number} repeats {attempt.number}"
            if not attempt.may_be_repeated and not _is_in_flight(attempt, ends):
                yield f"{name}, which had succeeded"
            same = attempt.message_id == later.message_id
            if not same or set(attempt.events) != set(later.events):
                yield f"{name} with another id or other members"


def _is_in_flight(attempt: Attempt, ends: Sequence[datetime]) -> bool:
    """Whether the process died before it could write down what it had seen."""
    ended_at = attempt.ended_at
    return ended_at is None or any(abs(end - ended_at) < INSTANT for end in ends)


def _of_order(attempts: Sequence[Attempt], events: Sequence[StoredEvent]) -> Iterator[str]:
    """Each destination hears of a milestone in the order in which it happened."""
    known = {event.id: event for event in events}
    heard: dict[tuple[str, str], list[StoredEvent]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for attempt in sorted(attempts, key=Attempt.turn):
        for event_id in attempt.events:
            event = known.get(event_id)
            if event is None or attempt.arrived_at is None or event.kind in URGENT:
                continue
            if (event_id, attempt.destination) not in seen:
                seen.add((event_id, attempt.destination))
                heard[attempt.destination, event.milestone_id].append(event)
    for (destination, key), stories in heard.items():
        if [event.seq for event in stories] != sorted(event.seq for event in stories):
            order = [event.kind for event in stories]
            yield f"{key}: {destination} heard of it out of order: {order}"


def _of_rates(evidence: Evidence) -> Iterator[str]:
    """No sliding window of a destination's rate sees more than it allows."""
    for destination, rate in evidence.rates.items():
        if rate is None:
            continue
        begun = [a.begun_at for a in evidence.attempts if a.destination == destination]
        for first, one_too_many in zip(begun, begun[rate.count :], strict=False):
            if one_too_many - first < rate.per:
                yield f"{destination} got more than its rate from {first} on"
