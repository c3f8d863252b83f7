"""What a demo comes to: counted in the store and, independently, at the sink."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from notifier.core.model import Kind, State
from notifier.demo.sink import Arrival
from notifier.store import look
from notifier.store.store import reading

_TERMINAL, _SINK = "terminal", "sink"
_WAITING = frozenset({State.PENDING.value, State.LEASED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Events and messages by kind."""

    events: Counter[Kind]
    terminal: Counter[Kind]
    #: What arrived, not what we think we sent.
    webhook: Counter[Kind]
    #: Events that arrived more than once.
    repeated: int
    #: Owed events that neither arrived nor wait to be sent.
    lost: int
    waiting: int


def tally(database: Path, arrivals: Sequence[Arrival]) -> Tally:
    """Count what happened, and hold what was owed against what arrived."""
    with reading(database) as conn:
        events = {str(r["event_id"]): str(r["kind"]) for r in look.event_rows(conn)}
        owed = [
            (str(r["destination"]), str(r["event_id"]), str(r["state"]))
            for r in look.delivery_rows(conn)
        ]
    arrived = Counter(event for one in arrivals for event in one.event_ids)
    told = [e for d, e, state in owed if d == _TERMINAL and state == State.DELIVERED]
    here = {_TERMINAL: set(told), _SINK: set(arrived)}
    waiting = [(d, e) for d, e, state in owed if state in _WAITING]
    lost = [
        event
        for destination, event, state in owed
        if event not in here[destination] and state not in _WAITING
    ]
    return Tally(
        events=_by_kind(events, events),
        terminal=_by_kind(told, events),
        webhook=_by_kind(arrived, events),
        repeated=sum(times - 1 for times in arrived.values()),
        lost=len(lost),
        waiting=len(waiting),
    )


def _by_kind(ids: Iterable[str], kinds: Mapping[str, str]) -> Counter[Kind]:
    return Counter(Kind(kinds[event]) for event in ids if event in kinds)
