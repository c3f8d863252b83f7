"""What messages say: the events of their members, and the earlier updates these contain."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from notifier.domain.changes import net
from notifier.domain.models import Change, Event, Kind
from notifier.domain.outgoing import Message, PendingDelivery
from notifier.kalshi import decoding
from notifier.storage.queries import changes_of, events_of
from notifier.storage.schema import Packed
from notifier.storage.sql import sql

#: The updates that later ones have superseded at a destination, oldest first.
_CONTAINED = sql(
    "SELECT superseded_by, event_id FROM deliveries WHERE superseded_by IN :events "
    "AND destination = :destination AND kind = 'updated' ORDER BY seq"
)
#: What has become of milestones since these events were seen.
_PRESENT = sql(
    "SELECT e.id, m.doc FROM events AS e JOIN milestones AS m ON m.id = e.milestone_id "
    "WHERE e.id IN :ids AND m.changed_at > e.seen_at",
    doc=Packed,
)
_DELIVERED_TO = sql("SELECT message_id, mark FROM served WHERE message_id IN :messages")


def events_of_messages(conn: Connection, messages: Sequence[Message]) -> list[tuple[Event, ...]]:
    """The events of each message, in its order; a net change holds all it contains."""
    ids = [event_id for message in messages for event_id in message.event_ids]
    found = events_of(conn, ids)
    updates = {key: one for key, one in found.items() if one.kind is Kind.UPDATED}
    for key, (earlier, changes) in net_changes(conn, messages[0].destination, updates).items():
        found[key] = replace(found[key], changes=changes, supersedes=earlier)
    new = [key for key, one in found.items() if one.kind is Kind.CREATED]
    for row in conn.execute(_PRESENT, {"ids": new}) if new else ():
        found[row.id] = replace(found[row.id], present=decoding.milestone(row.doc))
    return [tuple(found[key] for key in message.event_ids) for message in messages]


def contained_events(
    conn: Connection, destination: str, due: Sequence[PendingDelivery]
) -> dict[str, list[Event]]:
    """By due event: all events that its message would contain, itself last."""
    own = [one.event_id for one in due]
    updates = [one.event_id for one in due if one.kind is Kind.UPDATED]
    earlier = _contained(conn, destination, updates)
    ids = [*own, *(key for keys in earlier.values() for key in keys)]
    events = events_of(conn, ids)
    return {
        key: [events[each] for each in (*earlier.get(key, ()), key) if each in events]
        for key in own
        if key in events
    }


def net_changes(
    conn: Connection, destination: str, updates: Mapping[str, Event]
) -> dict[str, tuple[tuple[str, ...], tuple[Change, ...]]]:
    """
    Those of these updates that have superseded earlier ones at a destination.

    Each with these, and with what all of them come to together.
    """
    earlier = _contained(conn, destination, list(updates))
    if not earlier:
        return {}
    changes = changes_of(conn, [key for keys in earlier.values() for key in keys])
    return {
        newest: (
            tuple(keys),
            net(
                [*(changes[key] for key in keys), updates[newest].changes],
                updates[newest].milestone.doc,
            ),
        )
        for newest, keys in earlier.items()
        if all(key in changes for key in keys)
    }


def delivered_to(conn: Connection, messages: Sequence[Message]) -> dict[str, frozenset[str]]:
    """By message: the marks of those recipients that have it already."""
    ids = [one.id for one in messages if one.members[0].frozen_in is not None]
    found: dict[str, set[str]] = defaultdict(set)
    for row in conn.execute(_DELIVERED_TO, {"messages": ids}) if ids else ():
        found[row.message_id].add(row.mark)
    return {key: frozenset(marks) for key, marks in found.items()}


def _contained(conn: Connection, destination: str, updates: Sequence[str]) -> dict[str, list[str]]:
    """By update: the earlier ones that it has superseded at a destination."""
    earlier: dict[str, list[str]] = defaultdict(list)
    asked = {"events": list(updates), "destination": destination}
    for newest, event_id in conn.execute(_CONTAINED, asked) if updates else ():
        earlier[newest].append(event_id)
    return earlier
