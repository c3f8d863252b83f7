"""Queries of calendars and feeds."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from notifier.domain.calendar import ListedMilestone, may_show
from notifier.domain.models import Event, Kind
from notifier.domain.rules import Route
from notifier.kalshi import decoding
from notifier.storage import queries
from notifier.storage import schema as t

#: Rows that are read at a time, and how many events back feeds look.
_BATCH = 50
_MAX_EVENTS = 10_000

_NEWEST_EVENT = text("SELECT max(seq) FROM events")
_BASELINES = text("SELECT name, baselined_at FROM watches ORDER BY id")
_STARTING = """
    SELECT category, type, version, changed_at, gone_at, doc FROM milestones
    WHERE start_at >= :since AND start_at < :until AND watches != 0
    ORDER BY start_at {order}, id {order}
"""
_m = t.milestones.c
_COLUMNS = (_m.category, _m.type, _m.version, _m.changed_at, _m.gone_at, _m.doc)
_SOONEST_FIRST = text(_STARTING.format(order="ASC")).columns(*_COLUMNS)
_LATEST_FIRST = text(_STARTING.format(order="DESC")).columns(*_COLUMNS)
_EVENTS = text("""
    SELECT seq, id, kind FROM events
    WHERE seq < :before AND seq > :after
    ORDER BY seq DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Equal versions: there is nothing new to show."""

    newest_event: int
    #: A baseline has no events: only its end shows that there are new milestones.
    baselines: tuple[tuple[str, int | None], ...]


def version(conn: Connection) -> Version:
    """The version of what calendars and feeds show."""
    baselines = tuple((name, when) for name, when in conn.execute(_BASELINES))
    return Version(newest_event=conn.scalar(_NEWEST_EVENT) or 0, baselines=baselines)


def starting(
    conn: Connection, rule: Route, *, since: datetime, until: datetime, latest_first: bool = False
) -> Iterator[ListedMilestone]:
    """Milestones that start between two instants and may match the route, one by one."""
    statement = _LATEST_FIRST if latest_first else _SOONEST_FIRST
    window = {"since": t.ticks(since), "until": t.ticks(until)}
    for row in conn.execute(statement, window, execution_options={"yield_per": _BATCH}):
        if may_show(row.category, row.type, rule):
            yield ListedMilestone(
                milestone=decoding.milestone(row.doc),
                version=row.version,
                changed_at=row.changed_at,
                gone_at=row.gone_at,
            )


def newest_events(conn: Connection, kinds: Collection[Kind]) -> Iterator[Event]:
    """Those of the newest 10,000 events that are of these kinds, newest first, one by one."""
    newest = conn.scalar(_NEWEST_EVENT) or 0
    window = {"after": newest - _MAX_EVENTS, "before": newest + 1, "limit": _BATCH}
    while rows := conn.execute(_EVENTS, window).all():
        ids = [row.id for row in rows if row.kind in kinds]
        events = queries.events_of(conn, ids) if ids else {}
        yield from (events[event_id] for event_id in ids)
        window["before"] = rows[-1].seq
