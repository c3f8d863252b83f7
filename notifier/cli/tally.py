"""What a demo comes to: counted in the store and, independently, at the sink."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from notifier.demo.sink import Arrival
from notifier.domain.models import Kind, State
from notifier.storage import queries
from notifier.storage.database import reading

TERMINAL, SINK = "terminal", "sink"
_WAITING = frozenset({State.PENDING, State.LEASED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One event owed to one destination, as the store knows it."""

    event_id: str
    kind: Kind
    destination: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Events and messages by kind."""

    events: Counter[Kind]
    terminal: Counter[Kind]
    #: What arrived, not what we think we sent.
    webhook: Counter[Kind]
    #: Times that an event arrived once more.
    repeated: int
    #: Owed events that neither arrived nor wait to be sent.
    lost: int
    waiting: int


def tally(database: Path, arrivals: Sequence[Arrival]) -> Tally:
    """Count what happened, and hold what was owed against what arrived."""
    with reading(database) as conn:
        kinds = {str(row["event_id"]): Kind(str(row["kind"])) for row in queries.event_rows(conn)}
        owed = [
            Owed(
                event_id=str(row["event_id"]),
                kind=Kind(str(row["kind"])),
                destination=str(row["destination"]),
                state=State(str(row["state"])),
            )
            for row in queries.delivery_rows(conn)
        ]
    return compare(kinds, owed, [one for a in arrivals for one in a.event_ids])


def compare(kinds: Mapping[str, Kind], owed: Sequence[Owed], arrived: Iterable[str]) -> Tally:
    """The events by id, what was owed of them, and the ids that arrived by webhook."""
    times = Counter(arrived)
    shown = {
        one.event_id for one in owed if one.destination == TERMINAL and one.state is State.DELIVERED
    }
    there = {TERMINAL: shown, SINK: times.keys()}
    absent = [one for one in owed if one.event_id not in there[one.destination]]
    return Tally(
        events=Counter(kinds.values()),
        terminal=Counter(kinds[event] for event in shown),
        webhook=Counter(kinds[event] for event in times if event in kinds),
        repeated=times.total() - len(times),
        lost=sum(one.state not in _WAITING for one in absent),
        waiting=sum(one.state in _WAITING for one in absent),
    )
