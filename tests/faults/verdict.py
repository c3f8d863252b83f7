"""What was told, held against the pages that were served."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from e2e.differ import Span, content, gap, sights
from e2e.village import Page
from servers.http_sink import Answer, CutShort, Hang, Received, Reset

from faults.ledger import Counts

CONTENT = ("created", "updated")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known when a row is over."""

    pages: Sequence[Page]
    #: The numbers of the requests at which the process died.
    deaths: Sequence[int]
    #: Requests while the wire failed: nobody knows which answers came.
    lost_on_the_way: Sequence[Span]
    #: Messages that were leased when it died.
    in_flight: int
    faults: int
    #: As the command shows them, in the order of the store.
    events: Sequence[Mapping[str, Any]]
    #: event_id, state, superseded_by
    deliveries: Sequence[tuple[str, str, str | None]]
    requests: Sequence[Received]
    #: Starts that must have been told, by milestone.
    starts: Mapping[str, str]
    broken: Sequence[str]
    #: How far the service's clock may be off by what an API's `Date` tells.
    precision: timedelta = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A message that the far end took, whether or not it could say so."""

    message_id: str
    at: datetime
    told: tuple[Mapping[str, Any], ...]

    @property
    def event_ids(self) -> tuple[str, ...]:
        """What it tells, those before a net change included."""
        return tuple(
            key
            for event in self.told
            for key in (*event["data"].get("supersedes", ()), event["id"])
        )


def is_known_before(milestone_id: str) -> bool:
    """Whether it was there before anybody looked."""
    return not milestone_id.startswith("new-")


def is_taken(request: Received) -> bool:
    """Whether the far end has the message now."""
    return not isinstance(request.met, Answer) or request.met.status < 300


def is_unanswered(request: Received) -> bool:
    """Whether nobody told the sender that it was taken."""
    return isinstance(request.met, Hang | Reset | CutShort)


def arrivals(requests: Sequence[Received]) -> list[Arrival]:
    """What was taken, in order."""
    return [_arrival(one) for one in requests if is_taken(one)]


def _arrival(request: Received) -> Arrival:
    said: Any = request.json
    return Arrival(
        message_id=request.headers["webhook-id"],
        at=request.at,
        told=tuple(said if isinstance(said, list) else [said]),
    )


def verdict(evidence: Evidence) -> Counts:
    """Everything that is counted."""
    came = arrivals(evidence.requests)
    lost, spurious = of_changes(evidence)
    more_lost, more_spurious = _of_starts(evidence)
    unanswered = sum(map(is_unanswered, evidence.requests))
    return Counts(
        faults=evidence.faults,
        events=len(evidence.events),
        messages=len(came),
        lost=lost + more_lost + _untold(evidence, came),
        spurious=spurious + more_spurious + _made_up(evidence, came),
        order=_overtaken(evidence, came),
        repeats=len(came) - len({one.message_id for one in came}),
        allowed=evidence.in_flight + unanswered,
        broken=(*evidence.broken, *_mixed_up(came)),
    )


def of_changes(evidence: Evidence) -> tuple[int, int]:
    """Changes that were shown and are no event; events that no change explains."""
    told: dict[str, list[str]] = defaultdict(list)
    for event in evidence.events:
        if event["kind"] in CONTENT:
            told[event["milestone_id"]].append(content(event["milestone"]))
    shown = sights(evidence.pages, evidence.deaths, evidence.lost_on_the_way)
    gaps = [
        gap(seen, told[key], is_known=is_known_before(key))
        for key, seen in shown.items()
    ]
    unseen = sum(len(chain) for key, chain in told.items() if key not in shown)
    others = sum(
        event["kind"] not in (*CONTENT, "started") for event in evidence.events
    )
    return sum(g.lost for g in gaps), sum(g.spurious for g in gaps) + unseen + others


def _of_starts(evidence: Evidence) -> tuple[int, int]:
    expected = Counter(evidence.starts.items())
    stored = Counter(
        (event["milestone_id"], event["at"])
        for event in evidence.events
        if event["kind"] == "started" and not event["missed"]
    )
    return (expected - stored).total(), (stored - expected).total()


def _untold(evidence: Evidence, came: Sequence[Arrival]) -> int:
    """Events that nobody owes, and deliveries that did not come to what they say."""
    owed = {event_id for event_id, _, _ in evidence.deliveries}
    told = {key for one in came for key in one.event_ids}
    unowed = sum(event["event_id"] not in owed for event in evidence.events)
    return unowed + sum(
        not _is_accounted_for(event_id, state, by, told)
        for event_id, state, by in evidence.deliveries
    )


def _is_accounted_for(
    event_id: str, state: str, by: str | None, told: set[str]
) -> bool:
    match state:
        case "delivered":
            return event_id in told
        case "superseded":
            return by is None or event_id in told
        case "expired":
            return True
        case _:
            return False


def _made_up(evidence: Evidence, came: Sequence[Arrival]) -> int:
    """What arrived of no event, or before it was so."""
    real = {event["event_id"] for event in evidence.events}
    return sum(
        event["id"] not in real or _is_early(one, event, evidence.precision)
        for one in came
        for event in one.told
    )


def _is_early(arrival: Arrival, event: Mapping[str, Any], precision: timedelta) -> bool:
    is_start = event["type"].endswith(".started")
    return is_start and arrival.at + precision < datetime.fromisoformat(event["time"])


def _overtaken(evidence: Evidence, came: Sequence[Arrival]) -> int:
    """Messages that came after a later one of the same milestone; starts may pass."""
    place = {event["event_id"]: n for n, event in enumerate(evidence.events)}
    kind = {event["event_id"]: event["kind"] for event in evidence.events}
    latest: dict[str, int] = {}
    seen: set[str] = set()
    found = 0
    for one in came:
        for event in one.told:
            key = event["id"]
            if key in seen or kind.get(key) not in CONTENT:
                continue
            seen.add(key)
            found += place[key] < latest.get(event["subject"], -1)
            latest[event["subject"]] = place[key]
    return found


def _mixed_up(came: Sequence[Arrival]) -> Iterator[str]:
    """A repeat is the same message, and an event belongs to one."""
    members: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    messages: dict[str, set[str]] = defaultdict(set)
    for one in came:
        members[one.message_id].add(one.event_ids)
        for key in one.event_ids:
            messages[key].add(one.message_id)
    if mixed := sum(len(told) > 1 for told in members.values()):
        yield f"{mixed} messages were repeated with other members"
    if split := sum(len(ids) > 1 for ids in messages.values()):
        yield f"{split} events came under two ids"
