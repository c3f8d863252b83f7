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
#: What was tried expires when its next try would come too late; none is further off.
_NEXT_TRY = timedelta(minutes=6)


@dataclass(frozen=True)
class Owed:
    """One delivery, as the store has it."""

    event_id: str
    state: str
    superseded_by: str | None
    reason: str | None
    attempts: int
    #: Microseconds, as the next one.
    expires_at: int | None
    settled_at: int | None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known when a row is over."""

    pages: Sequence[Page]
    #: The numbers of the requests at which the process died.
    deaths: Sequence[int]
    #: Requests while the wire failed: nobody knows which answers came.
    lost_on_the_way: Sequence[Span]
    #: The numbers of the requests that were under way when a fault struck.
    in_doubt: frozenset[int]
    faults: int
    #: As the command shows them, in the order of the store.
    events: Sequence[Mapping[str, Any]]
    deliveries: Sequence[Owed]
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
    doubt = _in_doubt(evidence)
    return Counts(
        faults=evidence.faults,
        events=len(evidence.events),
        messages=len(came),
        lost=lost + more_lost + _untold(evidence, came),
        spurious=spurious + more_spurious + _made_up(evidence, came),
        order=_overtaken(evidence, came),
        repeats=len(came) - len({one.message_id for one in came}),
        allowed=len(doubt),
        broken=(*evidence.broken, *_mixed_up(came), *_sent_again(evidence, doubt)),
    )


def of_changes(evidence: Evidence) -> tuple[int, int]:
    """Changes that were shown and are no event; events that no change explains."""
    told: dict[str, list[str]] = defaultdict(list)
    for event in evidence.events:
        if event["kind"] in CONTENT:
            told[event["milestone_id"]].append(content(event["milestone"]))
    shown = sights(evidence.pages, evidence.deaths, evidence.lost_on_the_way)
    gaps = [gap(seen, told[key], is_known=is_known_before(key)) for key, seen in shown.items()]
    unseen = sum(len(chain) for key, chain in told.items() if key not in shown)
    others = sum(event["kind"] not in (*CONTENT, "started") for event in evidence.events)
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
    owed = {one.event_id for one in evidence.deliveries}
    told = {key for one in came for key in one.event_ids}
    unowed = sum(event["event_id"] not in owed for event in evidence.events)
    return unowed + sum(not _is_accounted_for(one, told) for one in evidence.deliveries)


def _is_accounted_for(one: Owed, told: set[str]) -> bool:
    match one.state:
        case "delivered":
            return one.event_id in told
        case "superseded":
            is_told = one.superseded_by is None or one.event_id in told
            return bool(one.reason) and is_told
        case "expired":
            return bool(one.reason) and _is_past(one)
        case _:
            return False


def _is_past(one: Owed) -> bool:
    """Whether it was too late when it was given up, or would have been."""
    if one.expires_at is None or one.settled_at is None:
        return False
    wait = _NEXT_TRY if one.attempts else timedelta(0)
    return one.settled_at + wait // timedelta(microseconds=1) > one.expires_at


def _in_doubt(evidence: Evidence) -> frozenset[int]:
    """Which arrivals may be followed by a repeat."""
    return frozenset(
        n
        for n, one in enumerate(evidence.requests)
        if is_unanswered(one) or (n in evidence.in_doubt and is_taken(one))
    )


def _sent_again(evidence: Evidence, doubt: frozenset[int]) -> Iterator[str]:
    """What was sent again though there was no doubt that it had arrived."""
    last: dict[str, int] = {}
    found = Counter[str]()
    for n, one in enumerate(evidence.requests):
        if is_taken(one):
            key = one.headers["webhook-id"]
            found[key] += key in last and last[key] not in doubt
            last[key] = n
    for key, count in found.items():
        if count:
            yield f"{key}: {count} repeats of what was not under way"


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
