"""
The lists that people and programs read: events, deliveries, milestones, silences, audit.

A page begins after the last row of the page before, so rows that are added meanwhile shift
nothing. Each statement walks an index in the order of the list, or collects the few rows
that match and sorts them.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Dialect,
    Executable,
    Row,
    TypeDecorator,
    bindparam,
    select,
)

from notifier.domain.live_status import LiveData
from notifier.domain.models import Change, Event, Kind, State
from notifier.domain.pagination import (
    BadCursor,
    DeliveryFilter,
    EventFilter,
    MilestoneFilter,
    PageRequest,
)
from notifier.domain.search import search_terms
from notifier.domain.silences import keys_of
from notifier.kalshi import decoding
from notifier.storage import admin
from notifier.storage import schema as t
from notifier.storage.live_status import data
from notifier.storage.rows import (
    AttemptRow,
    AuditRow,
    DeliveryRow,
    EventRow,
    ListedDelivery,
    LiveRow,
    MilestoneDetails,
    MilestoneRow,
    Page,
    SilenceRow,
    TimerRow,
)
from notifier.storage.sql import sql

T = TypeVar("T")

_Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Params: TypeAlias = Mapping[str, Any]

#: Rows of the page of a milestone.
EVENTS_SHOWN, DELIVERIES_SHOWN = 100, 200
#: Few deliveries are in one of these states; they have partial indexes in another order.
_FEW = frozenset({State.PENDING, State.LEASED, State.DEAD})
#: These states have a partial index in the order of the list.
_UNSENT = frozenset({State.EXPIRED, State.SUPERSEDED, State.DROPPED})


class _Document(TypeDecorator[Any]):
    """A compressed JSON object."""

    impl = t.Packed
    cache_ok = True

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """From JSON to an object."""
        del dialect
        return None if value is None else msgspec.json.decode(value)


class _DetailsStatus(_Document):
    """The `details.status` of a compressed milestone."""

    cache_ok = True

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """From JSON to the status; None if it has none."""
        details = super().process_result_value(value, dialect).get("details")
        status = details.get("status") if isinstance(details, dict) else None
        return status if isinstance(status, str) else None


_INSTANTS = (
    *("at", "seen_at", "due_at", "sent_at", "born_at", "start", "end", "first_seen_at"),
    *("changed_at", "gone_at", "fire_at", "since", "checked_at", "until", "created_at"),
    *("expired_at", "ended_at", "baselined_at", "watermark", "polled_at", "swept_at"),
    *("full_at", "last_sent_at", "paused_until", "suspended_since", "open_since"),
    *("next_try_at",),
)
#: The type of each column of a row, by its name in the contract.
_TYPES: Mapping[str, Any] = {
    **dict.fromkeys(_INSTANTS, t.Instant),
    **dict.fromkeys(("missed", "sweep_only", "gone", "configured"), Boolean),
    **dict.fromkeys(("changes", "detail"), JSON),
    **dict.fromkeys(("milestone", "document"), _Document),
}


def row_query(statement: str, **types: Any) -> Executable:
    """A statement whose columns are named and typed like the fields of a row."""
    return sql(statement, **{**_TYPES, **types})


def fetch(conn: Connection, statement: Executable, kind: type[T], **params: Any) -> list[T]:
    """All rows of a statement, as rows of the contract."""
    return msgspec.convert(conn.execute(statement, params).all(), list[kind], from_attributes=True)  # type: ignore[valid-type]  # a list of the class that is passed


# --- events as values ---------------------------------------------------------

#: Compiled once: it runs for each message.
_EVENT_VALUES = (
    select(t.events, t.live.c.status, t.live.c.word, t.live.c.since, t.live.c.checked_at)
    .outerjoin(t.live, t.live.c.milestone_id == t.events.c.milestone_id)
    .where(t.events.c.id.in_(bindparam("ids", expanding=True)))
)
_CHANGES = select(t.events.c.id, t.events.c.changes).where(
    t.events.c.id.in_(bindparam("ids", expanding=True))
)


def events_of(conn: Connection, ids: Sequence[str]) -> dict[str, Event]:
    """The events with these ids, each with the live data of its milestone."""
    rows = conn.execute(_EVENT_VALUES, {"ids": list(ids)})
    return {row.id: event(row, live=data(row)) for row in rows}


def changes_of(conn: Connection, ids: Sequence[str]) -> dict[str, tuple[Change, ...]]:
    """The changes of the updates with these ids."""
    rows = conn.execute(_CHANGES, {"ids": list(ids)})
    return {row.id: tuple(map(_change, row.changes)) for row in rows}


def events_since(conn: Connection, since: datetime) -> Iterator[Event]:
    """The events seen since an instant, oldest first."""
    wanted = select(t.events).where(t.events.c.seen_at >= since).order_by(t.events.c.seq)
    for row in conn.execution_options(yield_per=500).execute(wanted):
        yield event(row)


def event(row: Row[Any], *, live: LiveData | None = None) -> Event:
    """A stored event as a value."""
    return Event(
        id=row.id,
        kind=Kind(row.kind),
        milestone=decoding.milestone(row.doc),
        at=row.at,
        seen_at=row.seen_at,
        changes=tuple(map(_change, row.changes)),
        missed=row.missed,
        lead=None if row.lead_s is None else timedelta(seconds=row.lead_s),
        again_from=row.again_from,
        live=live,
    )


def _change(row: Mapping[str, Any]) -> Change:
    return Change(
        field=row["field"],
        before=row["before"],
        after=row["after"],
        added=tuple(row["added"]) if "added" in row else None,
        removed=tuple(row["removed"]) if "removed" in row else None,
    )


# --- events -------------------------------------------------------------------

_EVENT = """
SELECT seq, id AS event_id, kind, milestone_id, at, seen_at, missed, changes, doc AS milestone
FROM events
"""
_NEWEST_EVENT = sql("SELECT COALESCE(MAX(seq), 0) FROM events")
_EVENTS_AFTER = row_query(f"{_EVENT} WHERE seq > :seq ORDER BY seq LIMIT :limit")
_EVENT_BY_ID = row_query(f"{_EVENT} WHERE id = :id")
#: A range, because LIKE does not use the index.
_EVENT_IDS = sql("SELECT id FROM events WHERE id >= :start AND id < :end ORDER BY id LIMIT :limit")


def events(conn: Connection, wanted: EventFilter) -> Page[EventRow]:
    """A page of events, newest first."""
    params: dict[str, Any] = {}
    conditions = _newest_first("events", wanted, params)
    if wanted.milestone_id is not None:
        conditions.append("milestone_id = :milestone_id")
        params["milestone_id"] = wanted.milestone_id
    if wanted.since is not None:
        conditions.append("seen_at >= :since")
        params["since"] = wanted.since
    kinds = dict.fromkeys(wanted.kind)
    found = _each_in_order("events", conditions, [f"kind = '{one.value}'" for one in kinds])
    statement = f"{_EVENT} WHERE seq IN ({found}) ORDER BY seq DESC LIMIT :limit"
    return _page(conn, "events", row_query(statement), EventRow, wanted=wanted, params=params)


def iter_events(
    conn: Connection, *, since: datetime | None = None, limit: int | None = None
) -> Iterator[EventRow]:
    """Events, oldest first; with `limit` the newest of them."""
    where = "TRUE" if since is None else "seen_at >= :since"
    return _oldest_first(conn, f"{_EVENT} WHERE {where}", EventRow, since=since, limit=limit)


def newest_event(conn: Connection) -> int:
    """The number of the newest event; 0 without any."""
    return int(conn.scalar(_NEWEST_EVENT) or 0)


def events_after(conn: Connection, number: int, limit: int) -> list[tuple[int, EventRow]]:
    """The events above a number with their numbers, oldest first."""
    rows = conn.execute(_EVENTS_AFTER, {"seq": number, "limit": limit}).all()
    return [(row.seq, _converted(row, EventRow)) for row in rows]


def event_row(conn: Connection, event_id: str) -> EventRow | None:
    """The event with this id; None: there is none."""
    return next(iter(fetch(conn, _EVENT_BY_ID, EventRow, id=event_id)), None)


def event_ids(conn: Connection, prefix: str, *, limit: int) -> list[str]:
    """The ids of events that begin with a prefix."""
    params = {"start": prefix, "end": prefix + "\U0010ffff", "limit": limit}
    return list(conn.scalars(_EVENT_IDS, params))


# --- deliveries ---------------------------------------------------------------

#: `reason` of a delivery that waits falls back to the state of its destination.
_DELIVERY = """
SELECT d.seq, d.id AS delivery_id, d.event_id, d.kind, d.milestone_id, d.message_id,
  d.destination, d.route, d.state, d.attempts,
  CASE WHEN d.state IN ('pending', 'leased') THEN d.due_at END AS due_at, d.sent_at,
  COALESCE(
    CASE WHEN d.state = 'pending' THEN d.held END,
    CASE WHEN d.superseded_by <> d.event_id THEN d.reason || ': ' || d.superseded_by
      ELSE d.reason END,
    CASE WHEN d.state <> 'pending' THEN NULL
      WHEN s.name IS NULL THEN d.destination || ' is not configured any more'
      ELSE d.destination || CASE
          WHEN s.gone THEN ' is gone'
          WHEN s.suspended_since IS NOT NULL THEN ' is suspended'
          WHEN s.open_since IS NOT NULL THEN ' is failing'
          WHEN s.paused_until > :now THEN ' is paused'
        END || COALESCE(': ' || s.reason, '')
    END
  ) AS reason
  {columns}
FROM deliveries d LEFT JOIN destinations s ON s.name = d.destination
"""
_LISTED_DELIVERY = _DELIVERY.format(
    columns=", (SELECT title FROM milestones m WHERE m.id = d.milestone_id) AS title, d.born_at"
)
_PLAIN_DELIVERY = _DELIVERY.format(columns="")
_DELIVERIES_OF_EVENT = row_query(f"{_PLAIN_DELIVERY} WHERE d.event_id = :event_id ORDER BY d.seq")
_ATTEMPTS_OF_MESSAGE = row_query("""
SELECT started_at AS at, COALESCE(outcome, 'no answer yet') AS outcome, status, reason, members
FROM attempts WHERE message_id = :message_id ORDER BY seq
""")


def deliveries(conn: Connection, wanted: DeliveryFilter, now: datetime) -> Page[ListedDelivery]:
    """A page of deliveries, newest first."""
    params: dict[str, Any] = {"now": now}
    states = list(dict.fromkeys(wanted.state))
    by_state = bool(states) and wanted.milestone_id is None and set(states) <= _FEW | _UNSENT
    conditions = _newest_first("deliveries", wanted, params)
    for column, value in (("destination", wanted.destination), ("route", wanted.route)):
        if value is not None:
            # An expression: SQLite shall use the index of the state, not that of the column.
            conditions.append(
                f"{column} || '' = :{column}" if by_state else f"{column} = :{column}"
            )
            params[column] = value
    if wanted.milestone_id is not None:
        conditions.append("event_id IN (SELECT id FROM events WHERE milestone_id = :milestone_id)")
        params["milestone_id"] = wanted.milestone_id
    if wanted.since is not None:
        conditions.append("born_at >= :since")
        params["since"] = wanted.since
    in_states = [f"state = '{state.value}'" for state in states]
    if by_state:
        few = [one for one, state in zip(in_states, states, strict=True) if state in _FEW]
        unsent = [one for one, state in zip(in_states, states, strict=True) if state in _UNSENT]
        found = " UNION ALL ".join(
            [f"SELECT seq FROM deliveries WHERE {_all(conditions, one)}" for one in few]
            + [_each_in_order("deliveries", conditions, [one]) for one in unsent]
        )
    else:
        found = _each_in_order("deliveries", [*conditions, *_any(in_states)], [])
    statement = f"""
    WITH found AS {"MATERIALIZED" if by_state else ""} ({found}),
      shown AS (SELECT seq FROM found ORDER BY seq DESC LIMIT :limit)
    {_LISTED_DELIVERY} WHERE d.seq IN (SELECT seq FROM shown) ORDER BY d.seq DESC
    """
    return _page(
        conn, "deliveries", row_query(statement), ListedDelivery, wanted=wanted, params=params
    )


def iter_deliveries(
    conn: Connection,
    now: datetime,
    *,
    dead: bool = False,
    since: datetime | None = None,
    limit: int | None = None,
) -> Iterator[DeliveryRow]:
    """Deliveries, oldest first; with `limit` the newest of them."""
    conditions = ["d.state = 'dead'"] if dead else []
    if since is not None:
        conditions.append("d.born_at >= :since")
    statement = f"{_PLAIN_DELIVERY} WHERE {_all(conditions)}"
    return _oldest_first(conn, statement, DeliveryRow, since=since, limit=limit, now=now)


def deliveries_of_event(conn: Connection, event_id: str, now: datetime) -> list[DeliveryRow]:
    """The deliveries of an event, oldest first."""
    return fetch(conn, _DELIVERIES_OF_EVENT, DeliveryRow, event_id=event_id, now=now)


def attempts_of_message(conn: Connection, message_id: str | None) -> list[AttemptRow]:
    """The attempts of a message, oldest first."""
    return fetch(conn, _ATTEMPTS_OF_MESSAGE, AttemptRow, message_id=message_id)


# --- milestones ---------------------------------------------------------------

_MILESTONE_COLUMNS = """
id AS milestone_id, title, category, type, start_at AS start, end_at AS "end", doc AS status,
first_seen_at, changed_at, gone_at
"""
_ONE_MILESTONE = row_query(
    f"SELECT {_MILESTONE_COLUMNS}, doc AS document FROM milestones WHERE id = :id",
    status=_DetailsStatus,
)
_TIMERS = row_query("""
SELECT kind, lead_s, fire_at FROM timers WHERE milestone_id = :id ORDER BY fire_at, kind
""")
_LIVE = row_query("SELECT status, word, since, checked_at FROM live WHERE milestone_id = :id")


def milestones(conn: Connection, wanted: MilestoneFilter) -> Page[MilestoneRow]:
    """A page of milestones by start, soonest first."""
    params: dict[str, Any] = {}
    conditions = {
        "no": ["gone_at IS NULL", "watches <> 0"],
        "yes": ["gone_at IS NOT NULL"],
        "any": [],
    }[wanted.gone]
    for condition, name, value in (
        ("category = :category", "category", wanted.category),
        ("type = :type", "type", wanted.type),
        ("start_at >= :since", "since", wanted.since),
        ("start_at < :until", "until", wanted.until),
    ):
        if value is not None:
            conditions.append(condition)
            params[name] = value
    parts = search_terms(wanted.search)
    for number, part in enumerate(parts):
        like = f"LIKE :part{number} ESCAPE '\\'"
        conditions.append(f"(search {like} OR LOWER(id) {like})")
        params[f"part{number}"] = f"%{_escaped(part)}%"
    if wanted.cursor is not None:
        params["start"], params["id"] = _parse_cursor(
            "milestones", wanted.cursor, tuple[_Int64, str]
        )
        conditions.append("start_at >= :start AND (start_at > :start OR id > :id)")
    # A search reads many rows: in the order in which they lie on the disk.
    statement = f"""
    WITH found AS {"MATERIALIZED" if parts else ""}
      (SELECT id, start_at FROM milestones WHERE {_all(conditions)}),
      shown AS (SELECT id FROM found ORDER BY start_at, id LIMIT :limit)
    SELECT {_MILESTONE_COLUMNS} FROM milestones WHERE id IN (SELECT id FROM shown)
    ORDER BY start_at, id
    """
    typed = row_query(statement, status=_DetailsStatus)
    return _page(conn, "milestones", typed, MilestoneRow, wanted=wanted, params=params)


def milestone(conn: Connection, milestone_id: str, now: datetime) -> MilestoneDetails | None:
    """One milestone and all that is stored of it; None: there is none."""
    found = conn.execute(_ONE_MILESTONE, {"id": milestone_id}).first()
    if found is None:
        return None
    of_events = EventFilter(milestone_id=milestone_id, limit=EVENTS_SHOWN)
    of_deliveries = DeliveryFilter(milestone_id=milestone_id, limit=DELIVERIES_SHOWN)
    return MilestoneDetails(
        milestone=_converted(found, MilestoneRow),
        document=found.document,
        events=events(conn, of_events).rows,
        timers=fetch(conn, _TIMERS, TimerRow, id=milestone_id),
        deliveries=deliveries(conn, of_deliveries, now).rows,
        live=next(iter(fetch(conn, _LIVE, LiveRow, id=milestone_id)), None),
    )


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


# --- silences, audit ----------------------------------------------------------

_AUDIT = "SELECT seq, at, who, action, subject, detail FROM audit"


def silences(conn: Connection, now: datetime, *, everything: bool = False) -> list[SilenceRow]:
    """The silences in force, oldest first; with `everything` also those that are over."""
    return [
        SilenceRow(
            id=silence.id,
            active=expired_at is None and silence.until > now,
            created_at=silence.created_at,
            until=silence.until,
            expired_at=expired_at,
            match=keys_of(silence),
            why=silence.why,
        )
        for silence, expired_at in admin.list_silences(conn, now, everything=everything)
    ]


def audit(conn: Connection, wanted: PageRequest) -> Page[AuditRow]:
    """A page of the audit, newest first."""
    params: dict[str, Any] = {}
    conditions = _newest_first("audit", wanted, params)
    statement = f"{_AUDIT} WHERE {_all(conditions)} ORDER BY seq DESC LIMIT :limit"
    return _page(conn, "audit", row_query(statement), AuditRow, wanted=wanted, params=params)


# --- pages and cursors --------------------------------------------------------


def _page(
    conn: Connection,
    name: str,
    statement: Executable,
    kind: type[T],
    *,
    wanted: PageRequest,
    params: _Params,
) -> Page[T]:
    """A page of rows; the statement reads one row more, to know whether another page follows."""
    rows = conn.execute(statement, {**params, "limit": wanted.limit + 1}).all()
    shown, following = rows[: wanted.limit], None
    if len(rows) > len(shown):
        last = shown[-1]
        by_start = name == "milestones"
        key = (t.ticks(last.start), last.milestone_id) if by_start else (last.seq,)
        following = _cursor(name, *key)
    return Page(rows=[_converted(row, kind) for row in shown], next=following)


def _converted(row: Row[Any], kind: type[T]) -> T:
    return msgspec.convert(row, kind, from_attributes=True)


def _oldest_first(
    conn: Connection,
    statement: str,
    kind: type[T],
    *,
    since: datetime | None,
    limit: int | None,
    **params: Any,
) -> Iterator[T]:
    if since is not None:
        params["since"] = since
    if limit is None:
        rows = conn.execution_options(yield_per=500).execute(
            row_query(f"{statement} ORDER BY seq"), params
        )
        return (_converted(row, kind) for row in rows)
    newest = fetch(
        conn, row_query(f"{statement} ORDER BY seq DESC LIMIT :limit"), kind, **params, limit=limit
    )
    return reversed(newest)


def _newest_first(name: str, wanted: PageRequest, params: dict[str, Any]) -> list[str]:
    """The condition of a cursor of a list that is ordered by falling numbers."""
    if wanted.cursor is None:
        return []
    [params["below"]] = _parse_cursor(name, wanted.cursor, tuple[_Int64])
    return ["seq < :below"]


def _each_in_order(table: str, conditions: Sequence[str], alternatives: Sequence[str]) -> str:
    """
    The numbers of the newest rows that meet all conditions and one of the alternatives.

    Each alternative has its own walk along an index: for all of them at once SQLite would
    walk the whole table.
    """
    return " UNION ALL ".join(
        "SELECT seq FROM (SELECT seq FROM "
        f"{table} WHERE {_all(conditions, one)} ORDER BY seq DESC LIMIT :limit)"
        for one in alternatives or ["TRUE"]
    )


def _all(conditions: Sequence[str], *more: str) -> str:
    return " AND ".join([*conditions, *more]) or "TRUE"


def _any(conditions: Sequence[str]) -> list[str]:
    return [f"({' OR '.join(conditions)})"] if conditions else []


def _cursor(name: str, *key: int | str) -> str:
    """The cursor of a place in the list of that name; safe in a URL."""
    return urlsafe_b64encode(msgspec.json.encode((name, *key))).decode().rstrip("=")


def _parse_cursor(name: str, cursor: str, kind: type[T]) -> T:
    """
    Return the key in a cursor, as the type of a tuple.

    Raises:
        BadCursor: the list of that name has not given it out.
    """
    try:
        place, *key = msgspec.json.decode(urlsafe_b64decode(cursor + "=="), type=list[int | str])
        if place == name:
            return msgspec.convert(key, kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise BadCursor("this is no cursor that a list has given out") from None
    raise BadCursor(f"this is no cursor of {name}")
