"""Due deliveries: which of them may be sent to a destination, and what decides about them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from notifier.domain.models import URGENT, Kind
from notifier.domain.outgoing import PendingDelivery, RenderLevel
from notifier.domain.timers import is_placeholder
from notifier.storage import message_events
from notifier.storage.queries import events_of
from notifier.storage.sql import sql

#: Deliveries that one claim looks at: the most that one digest can hold.
CLAIM_LIMIT = 500
_URGENT = "('upcoming', 'started')"

# Conditions on a state are literals: with a parameter SQLite cannot use partial indexes.
_SIBLINGS = """
    SELECT 1 FROM deliveries AS ahead
    WHERE ahead.destination = d.destination AND ahead.milestone_id = d.milestone_id
        AND ahead.state IN ('pending', 'leased')
"""
#: Another delivery of the milestone is under way, or has to go first. What is deferred
#: does not hold up what is not.
_IS_BLOCKED = f"""EXISTS ({_SIBLINGS} AND (
    ahead.state = 'leased'
    OR d.kind NOT IN {_URGENT} AND ahead.kind NOT IN {_URGENT} AND ahead.seq < d.seq
        AND ahead.due_at > {{due}} AND ahead.held IS NULL
))"""
_COLUMNS = """
    d.seq, d.id, d.event_id, d.kind, d.milestone_id, d.destination, d.route, d.born_at,
    d.expires_at, d.attempts, d.tries, d.crashes, d.form, d.message_id, d.frozen, d.token,
    d.storm, d.gathered, coalesce(e.at, d.born_at) AS at, e.lead_s, m.start_at, m.end_at,
    m.gone_at
"""
_TABLES = """
    deliveries AS d LEFT JOIN events AS e ON e.id = d.event_id
    LEFT JOIN milestones AS m ON m.id = d.milestone_id
"""
_INSTANTS = ("born_at", "expires_at", "at", "start_at", "end_at", "gone_at")
_DUE = sql(
    f"SELECT {_COLUMNS} FROM {_TABLES} WHERE d.state = 'pending'"
    " AND d.destination = :destination AND d.due_at <= :until"
    f" AND NOT {_IS_BLOCKED.format(due=':until')}"
    f" ORDER BY d.kind IN {_URGENT} DESC, d.seq LIMIT :most",
    instants=_INSTANTS,
)
_FROZEN = sql(
    f"SELECT {_COLUMNS}, EXISTS ({_SIBLINGS} AND ahead.state = 'leased') AS waits"
    f" FROM {_TABLES} WHERE d.state = 'pending' AND d.frozen AND d.message_id IN :messages",
    instants=_INSTANTS,
)
_LEASED = sql(
    f"SELECT {_COLUMNS} FROM {_TABLES} WHERE d.state = 'leased' AND d.lease_until < :before",
    instants=_INSTANTS,
)
_NEXT_DUE = sql(
    "SELECT d.due_at FROM deliveries AS d WHERE d.state = 'pending'"
    f" AND d.destination = :destination AND NOT {_IS_BLOCKED.format(due='d.due_at')}"
    " ORDER BY d.due_at LIMIT 1",
    instants=("due_at",),
)
_DIGESTS_DUE = sql(
    "SELECT route, min(due_at) AS due_at FROM deliveries WHERE destination = :destination"
    " AND state = 'pending' AND gathered AND held IS NOT NULL AND due_at > :now GROUP BY route",
    instants=("due_at",),
)
_DEFERRED = sql(
    "SELECT milestone_id, route, seq, due_at FROM deliveries WHERE destination = :destination"
    " AND milestone_id IN :milestones AND state IN ('pending', 'leased')"
    f" AND held IS NOT NULL AND kind NOT IN {_URGENT} AND due_at > :until",
    instants=("due_at",),
)
#: By milestone and kind: the last delivery that a destination has, or may have, got.
_ANNOUNCED = sql(
    "SELECT d.milestone_id, d.kind, max(d.seq) AS last FROM deliveries AS d"
    " JOIN events AS e ON e.id = d.event_id"
    " WHERE e.milestone_id IN :milestones AND d.destination = :destination"
    " AND (d.sent_at IS NOT NULL OR d.frozen) GROUP BY d.milestone_id, d.kind"
)


def next_due(conn: Connection, destinations: Sequence[str]) -> dict[str, datetime]:
    """By destination: when there will be something to claim next."""
    found = {name: conn.scalar(_NEXT_DUE, {"destination": name}) for name in destinations}
    return {name: due_at for name, due_at in found.items() if due_at is not None}


def digests_due(conn: Connection, destination: str, now: datetime) -> dict[str, datetime]:
    """By route: when the digest that is gathering for a destination will be due."""
    rows = conn.execute(_DIGESTS_DUE, {"destination": destination, "now": now})
    return {row.route: row.due_at for row in rows}


def select_due(
    conn: Connection, destination: str, until: datetime, *, limit: int = CLAIM_LIMIT
) -> list[PendingDelivery]:
    """
    What may be sent to a destination: urgent deliveries first, then by age.

    Left out is what waits behind an earlier delivery of the same milestone, unless it
    is urgent, and what shares its milestone with a leased delivery. A message that may
    have arrived comes with all of its members. `limit` is doubled for urgent ones: many
    starts of one instant are one message.
    """
    asked = {"destination": destination, "until": until, "most": limit}
    rows = conn.execute(_DUE, asked).all()
    if len(rows) == limit and Kind(rows[-1].kind) in URGENT:
        rows = conn.execute(_DUE, asked | {"most": 2 * limit}).all()
    frozen: Sequence[Row[Any]] = []
    if messages := {row.message_id for row in rows if row.frozen}:
        frozen = conn.execute(_FROZEN, {"messages": list(messages)}).all()
    # A message waits as a whole for one of its milestones that has something under way.
    waiting = {row.message_id for row in frozen if row.waits}
    first: dict[str, int] = {}
    for row in frozen:
        if row.message_id in waiting and Kind(row.kind) not in URGENT:
            first[row.milestone_id] = min(row.seq, first.get(row.milestone_id, row.seq))
    found = [
        delivery(row, until)
        for row in (*frozen, *(row for row in rows if not row.frozen))
        if row.message_id not in waiting or not row.frozen
    ]
    found = [
        one
        for one in found
        if one.frozen_in or one.kind in URGENT or one.seq <= first.get(one.milestone_id, one.seq)
    ]
    return _with_announced(conn, destination, _with_changes(conn, destination, found))


def delivery(row: Row[Any], now: datetime) -> PendingDelivery:
    """A delivery from its row."""
    start = row.start_at or row.at
    # An end that does not lie after the start is of no use: starts move, ends stay.
    ended = row.end_at is not None and start < row.end_at <= now
    return PendingDelivery(
        delivery_id=row.id,
        event_id=row.event_id,
        kind=Kind(row.kind),
        milestone_id=row.milestone_id,
        route=row.route,
        seq=row.seq,
        created_at=row.born_at,
        expires_at=row.expires_at,
        attempts_counted=row.attempts,
        attempts_total=row.tries,
        level=RenderLevel(row.form),
        frozen_in=row.message_id if row.frozen else None,
        at=row.at,
        lead=None if row.lead_s is None else timedelta(seconds=row.lead_s),
        start=start,
        burst=bool(row.storm),
        force_digest=bool(row.gathered),
        over=row.gone_at is not None or (ended and not is_placeholder(row.end_at)),
    )


def _with_changes(
    conn: Connection, destination: str, due: list[PendingDelivery]
) -> list[PendingDelivery]:
    """Add net changes where several updates of a milestone are due."""
    updates = Counter(
        one.milestone_id for one in due if one.kind is Kind.UPDATED and one.frozen_in is None
    )
    several = [
        one.event_id for one in due if one.kind is Kind.UPDATED and updates[one.milestone_id] > 1
    ]
    if not several:
        return due
    events = events_of(conn, several)
    changes = {key: event.changes for key, event in events.items()}
    nets = message_events.net_changes(conn, destination, events)
    changes |= {key: changed for key, (_, changed) in nets.items()}
    return [
        replace(one, changes=changes[one.event_id], row=events[one.event_id].milestone.doc)
        if one.event_id in events
        else one
        for one in due
    ]


def _with_announced(
    conn: Connection, destination: str, due: list[PendingDelivery]
) -> list[PendingDelivery]:
    """Add what was announced since, where a delivery may be obsolete because of it."""
    removed = {one.milestone_id for one in due if one.kind is Kind.REMOVED}
    removed &= {one.milestone_id for one in due if one.kind is Kind.CREATED}
    over = {one.milestone_id for one in due if one.over and one.kind not in URGENT}
    if not removed and not over:
        return due
    last: dict[str, int] = defaultdict(int)
    removal: dict[str, int] = defaultdict(int)
    asked = {"milestones": list(removed | over), "destination": destination}
    for row in conn.execute(_ANNOUNCED, asked):
        last[row.milestone_id] = max(last[row.milestone_id], row.last)
        if row.kind == Kind.REMOVED.value:
            removal[row.milestone_id] = row.last
    return [
        replace(
            one,
            announced_since=last[one.milestone_id] > one.seq,
            removal_announced=removal[one.milestone_id] > one.seq,
        )
        for one in due
    ]


def with_deferred_ahead(
    conn: Connection, destination: str, due: list[PendingDelivery], until: datetime
) -> list[PendingDelivery]:
    """Add until when earlier deliveries of the same milestone and route are deferred."""
    milestones = list({one.milestone_id for one in due})
    asked = {"destination": destination, "milestones": milestones, "until": until}
    ahead: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    for row in conn.execute(_DEFERRED, asked):
        ahead[row.milestone_id, row.route].append(row)
    if not ahead:
        return due
    return [
        replace(
            one,
            deferred_ahead=tuple(
                row.due_at for row in ahead[one.milestone_id, one.route] if row.seq < one.seq
            ),
        )
        for one in due
    ]


def select_leased(conn: Connection, before: datetime) -> Sequence[Row[Any]]:
    """Deliveries whose lease expired before an instant."""
    return conn.execute(_LEASED, {"before": before}).all()
