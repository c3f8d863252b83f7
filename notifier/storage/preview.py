"""Queries of a replay: past events, reminders that no route had, past deliveries."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, or_, select

from notifier.domain.models import Event, Kind, Milestone
from notifier.domain.preview import KnownMilestone, missing_reminder
from notifier.domain.timers import TimePolicy
from notifier.kalshi import decoding
from notifier.storage import queries
from notifier.storage import schema as t

#: Rows that one question is about.
_AT_ONCE = 500
_START = "start_date"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_m, _e, _d, _r = t.milestones.c, t.events.c, t.deliveries.c, t.reads.c
_STARTING: Select[Any] = (
    select(
        *(_m.id, _m.doc, _m.start_at, _m.first_seen_at, _m.changed_at),
        *(_m.fired_start, _m.gone_at),
    )
    .where(
        _m.start_at >= bindparam("after", type_=t.Instant),
        _m.start_at <= bindparam("until", type_=t.Instant),
        _m.watches != 0,
        or_(
            _m.start_at > bindparam("after", type_=t.Instant),
            _m.id > bindparam("after_id"),
        ),
    )
    .order_by(_m.start_at, _m.id)
    .limit(_AT_ONCE)
)
#: No id comes after it.
_END = "\U0010ffff"
#: When milestones were listed anew, and how they changed.
_NEWS = (
    select(_e.milestone_id, _e.kind, _e.seen_at, _e.changes)
    .where(
        _e.milestone_id.in_(bindparam("ids", expanding=True)),
        _e.kind.in_((Kind.CREATED.value, Kind.UPDATED.value)),
    )
    .order_by(_e.seq)
)
#: By the index of what was seen when.
_SPAN = select(func.min(_e.seq), func.max(_e.seq)).where(
    _e.seen_at >= bindparam("since", type_=t.Instant)
)
_EVENTS = (
    select(t.events)
    .where(_e.seq > bindparam("after"), _e.seq <= bindparam("last"))
    .where(_e.seen_at >= bindparam("since", type_=t.Instant))
    .order_by(_e.seq)
    .limit(_AT_ONCE)
)
_STORED = select(_e.id).where(_e.id.in_(bindparam("ids", expanding=True)))
_OWED = select(_d.event_id, _d.destination).where(_d.event_id.in_(bindparam("ids", expanding=True)))
#: Reads of several pages: what they found is due when they end.
_LONG_READS = (
    select(_r.id, _r.ended_at)
    .where(_r.ended_at >= bindparam("since", type_=t.Instant), _r.pages > 1)
    .where(_r.events > 0)
    .order_by(_r.id)
)
_NEWEST = (
    select(_m.doc)
    .where(_m.gone_at.is_(None), _m.watches != 0)
    .order_by(_m.first_seen_at.desc(), _m.id)
    .limit(1)
)
_OLDEST = select(_e.seen_at).order_by(_e.seq).limit(1)


def missing_reminders(
    conn: Connection,
    lead: timedelta,
    *,
    since: datetime,
    until: datetime,
    policy: TimePolicy,
) -> Iterator[Event]:
    """
    Reminders that would have been due in that time but are not stored, oldest first.

    They are worked out from the starts as they are now, in pieces, like `events`.
    """
    after, after_id = since + lead, _END
    while part := conn.execute(
        _STARTING, {"after": after, "after_id": after_id, "until": until + lead}
    ).all():
        after, after_id = part[-1].start_at, part[-1].id
        changed = [row.id for row in part if row.changed_at > row.first_seen_at]
        since_when = _known_since(conn, changed)
        found = [
            event
            for row in part
            if row.gone_at is None or row.gone_at > row.start_at - lead
            if (event := _reminded(row, since_when, lead, policy)) is not None
        ]
        known = stored(conn, [event.id for event in found])
        yield from (event for event in found if event.id not in known and event.seen_at <= until)


def _reminded(
    row: Row[Any],
    since_when: Mapping[str, datetime],
    lead: timedelta,
    policy: TimePolicy,
) -> Event | None:
    known = KnownMilestone(
        milestone=decoding.milestone(row.doc),
        since=max(row.first_seen_at, since_when.get(row.id, row.first_seen_at)),
        announced_start=row.fired_start,
    )
    return missing_reminder(known, lead, policy=policy)


def _known_since(conn: Connection, ids: Sequence[str]) -> dict[str, datetime]:
    """By milestone: when its start changed last, or it was listed anew."""
    found: dict[str, datetime] = {}
    for row in conn.execute(_NEWS, {"ids": ids}) if ids else ():
        moved = any(change["field"] == _START for change in row.changes)
        if moved or row.kind == Kind.CREATED.value:
            found[row.milestone_id] = row.seen_at
    return found


def stored(conn: Connection, ids: Sequence[str]) -> frozenset[str]:
    """Those of these events that are stored."""
    return frozenset(conn.scalars(_STORED, {"ids": list(ids)}))


def past_deliveries(conn: Connection, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """By event: the destinations that it was really owed to."""
    found: dict[str, set[str]] = defaultdict(set)
    for event_id, destination in conn.execute(_OWED, {"ids": list(ids)}):
        found[event_id].add(destination)
    return {key: frozenset(names) for key, names in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The reads of several pages, by when they began."""

    begun: Sequence[datetime]
    ended: Sequence[datetime]

    def due_at(self, seen_at: datetime, *, longest: timedelta) -> datetime:
        """When an event of that moment came due: with the end of its read, if that is near."""
        position = bisect_right(self.begun, seen_at) - 1
        if position < 0 or self.ended[position] < seen_at:
            return seen_at
        return min(self.ended[position], seen_at + longest)


def reads(conn: Connection, since: datetime) -> Reads:
    """The reads of several pages that found something since then."""
    rows = conn.execute(_LONG_READS, {"since": since}).all()
    begun = [_EPOCH + timedelta(microseconds=row.id) for row in rows]
    return Reads(begun=begun, ended=[row.ended_at for row in rows])


def oldest(conn: Connection) -> datetime | None:
    """When the oldest event that is stored was seen."""
    found: datetime | None = conn.scalar(_OLDEST)
    return found


def newest(conn: Connection) -> Milestone | None:
    """The milestone that was seen last for the first time; None: there is none."""
    found = conn.scalar(_NEWEST)
    return None if found is None else decoding.milestone(found)


def milestones_named(conn: Connection, beginning: str) -> list[Milestone]:
    """Those whose ids begin so, two at most; one if that is its whole id."""
    if not beginning:
        return []
    wanted = select(_m.id, _m.doc).where(_m.id.startswith(beginning, autoescape=True))
    rows = conn.execute(wanted.order_by(_m.id).limit(2)).all()
    whole = [row for row in rows if row.id == beginning]
    return [decoding.milestone(row.doc) for row in whole or rows]


def events(conn: Connection, since: datetime) -> Iterator[Event]:
    """
    The events seen since then that are stored by now, oldest first, in pieces.

    Between two of them nothing is being read: a service may clear its log meanwhile.
    """
    first, last = conn.execute(_SPAN, {"since": since}).one()
    after = -1 if first is None else first - 1
    while first is not None and after < last:
        asked = {"since": since, "after": after, "last": last}
        rows = conn.execute(_EVENTS, asked).all()
        for row in rows:
            yield queries.event(row)
        after = rows[-1].seq if rows else last
