"""
Milestones, the watches that see them, and what one page of a read writes.

Everything a page brings is written in the caller's transaction: milestones, timers,
events, deliveries, unreadable rows, and with the last page the end of the read.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, Connection, Row

from notifier.domain.changes import RowChange, StoredMilestone, UnconfirmedRevision
from notifier.domain.models import Delivery, Event, State, Timer
from notifier.domain.poll_schedule import ReadEnd, ReadKind, WatchRow
from notifier.domain.search import indexed
from notifier.domain.timers import LastAnnounced
from notifier.errors import StoreError
from notifier.kalshi import decoding
from notifier.kalshi.decoding import BadRow
from notifier.storage.schema import Packed
from notifier.storage.sql import execute_many, sql

#: Complete reads that must not show a milestone before it is asked for by its id.
_MISSED_READS = 3
#: More created milestones than this, and than this share of those known, are a burst.
_MIN_BURST = 50
_BURST_SHARE = 0.2
#: Deliveries that one transaction makes due.
_RELEASED_AT_ONCE = 300
#: As many as a signed 64-bit number has bits for, with one to spare.
_MAX_WATCHES = 62
_MAX_TITLE = 500

_WATCHES = sql(
    "SELECT * FROM watches ORDER BY id",
    instants=("baselined_at", "watermark", "polled_at", "swept_at", "full_at", "suspected_at"),
    sweep_only=Boolean,
)
_INSERT_WATCH = sql("INSERT INTO watches (id, name) VALUES (:id, :name)")
_DELETE_WATCH = sql("DELETE FROM watches WHERE id = :id")
_LEAVE_MILESTONES = sql("UPDATE milestones SET watches = watches - :bit WHERE watches & :bit != 0")
_DROP_DORMANT_TIMERS = sql(
    "DELETE FROM timers WHERE milestone_id IN (SELECT id FROM milestones WHERE watches = 0)"
)
_SET_SWEEP_ONLY = sql("UPDATE watches SET sweep_only = TRUE WHERE id = :id")
_SET_SUSPECTED = sql("UPDATE watches SET suspected_at = :suspected_at WHERE id = :id")
#: What only one kind of read moves stays as it is (NULL); the watermark never goes back.
_ADVANCE = sql(
    """
    UPDATE watches SET
        baselined_at = coalesce(:baselined_at, baselined_at),
        full_at = coalesce(:full_at, full_at),
        polled_at = coalesce(:polled_at, polled_at),
        swept_at = coalesce(:swept_at, swept_at),
        watermark = CASE WHEN watermark > :watermark_at THEN watermark
                         ELSE coalesce(:watermark_at, watermark) END
    WHERE id = :id
    """
)

_STORED = sql(
    "SELECT * FROM milestones WHERE id IN :ids",
    instants=("first_seen_at", "gone_at", "fired_start", "fired_end"),
    doc=Packed,
)
_BASELINED = sql("SELECT id FROM watches WHERE baselined_at IS NOT NULL")
_ANNOUNCED = sql(
    "SELECT DISTINCT milestone_id FROM events WHERE milestone_id IN :ids AND kind = 'created'"
)
_IN_WINDOW = "watches & :bit != 0 AND gone_at IS NULL AND start_at >= :since"
_COUNT_IN_WINDOW = sql(f"SELECT count(*) FROM milestones WHERE {_IN_WINDOW}")
_MISSED_READS_IN_WINDOW = sql(f"SELECT id, absences FROM milestones WHERE {_IN_WINDOW}")
_ANY_MISSED_READS = sql("SELECT 1 FROM milestones WHERE absences > 0 LIMIT 1")
_SET_MISSED_READS = sql("UPDATE milestones SET absences = :missed WHERE id = :id")
_COUNT_LIVING = sql("SELECT count(*) FROM milestones WHERE gone_at IS NULL")

_SAVE = """
    INSERT INTO milestones (id, fingerprint, watches, version, generation, category, type,
        title, start_at, end_at, doc, first_seen_at, changed_at, search)
    VALUES (:id, :fingerprint, :bit, :version, :generation, :category, :type,
        :title, :start_at, :end_at, :doc, :now, :now, :search)
    ON CONFLICT (id) DO UPDATE SET
        fingerprint = excluded.fingerprint, watches = milestones.watches | excluded.watches,
        version = excluded.version, generation = excluded.generation,
        category = excluded.category, type = excluded.type, title = excluded.title,
        start_at = excluded.start_at, end_at = excluded.end_at, doc = excluded.doc,
        changed_at = excluded.changed_at, search = excluded.search,
        gone_at = NULL, doubt = NULL, doubt_read = NULL, absences = 0"""
_SAVE_CHANGED = sql(_SAVE)
#: A new life of a removed milestone: nothing of it has been announced yet.
_SAVE_NEW = sql(f"{_SAVE}, fired_start = NULL, fired_end = NULL")
_NOTE_SEEN = sql(
    "UPDATE milestones SET watches = watches | :bit, doubt = :doubt, doubt_read = :doubt_read,"
    " absences = 0 WHERE id = :id"
)
_REMOVE = sql("UPDATE milestones SET gone_at = :now, absences = 0 WHERE id IN :ids")
_DROP_TIMERS = sql("DELETE FROM timers WHERE milestone_id IN :ids")
_DROP_START_TIMERS = sql(
    "DELETE FROM timers WHERE milestone_id = :id AND kind IN ('start', 'remind')"
)
_DROP_END_TIMERS = sql("DELETE FROM timers WHERE milestone_id = :id AND kind = 'end'")
_ADD_TIMER = sql(
    "INSERT INTO timers (milestone_id, kind, lead_s, fire_at)"
    " VALUES (:milestone_id, :kind, :lead_s, :fire_at)"
    " ON CONFLICT (milestone_id, kind, lead_s) DO UPDATE SET fire_at = excluded.fire_at"
)
_ADD_EVENT = sql(
    "INSERT INTO events (id, kind, milestone_id, at, seen_at, missed, changes, lead_s,"
    " again_from, doc) VALUES (:id, :kind, :milestone_id, :at, :seen_at, :missed, :changes,"
    " :lead_s, :again_since, :doc) ON CONFLICT DO NOTHING"
)
_ADD_DELIVERY = sql(
    "INSERT INTO deliveries (id, event_id, kind, milestone_id, destination, route, state,"
    " born_at, due_at, expires_at, read_id) VALUES (:id, :event_id, :kind, :milestone_id,"
    f" :destination, :route, '{State.PENDING.value}', :born_at, :due_at, :expires_at, :read_id)"
    " ON CONFLICT DO NOTHING"
)

_KNOWN_BAD = sql("SELECT fingerprint FROM quarantine WHERE fingerprint IN :fingerprints")
_QUARANTINE = sql(
    "INSERT INTO quarantine (fingerprint, milestone_id, raw, error, first_seen_at, last_seen_at)"
    " VALUES (:fingerprint, :milestone_id, :raw, :error, :now, :now)"
    " ON CONFLICT (fingerprint) DO UPDATE SET last_seen_at = excluded.last_seen_at"
)

_ADD_READ = sql(
    "INSERT INTO reads (id, watch, kind, ended_at, pages, rows, events, touched, bad, error)"
    " VALUES (:id, :watch, :kind, :ended_at, :pages, :rows, :events, :touched, :bad, :error)"
    " ON CONFLICT DO NOTHING"
)
_COUNT_CREATED = sql(
    "SELECT count(DISTINCT event_id) FROM deliveries"
    " WHERE state = 'pending' AND read_id = :read_id AND kind = 'created'"
)
#: What quiet hours or a digest defer is not released by the end of a read.
_RELEASE = sql(
    """
    UPDATE deliveries SET
        due_at = CASE WHEN due_at < :now THEN due_at ELSE :now END,
        storm = :is_burst AND kind = 'created'
    WHERE seq IN (
        SELECT seq FROM deliveries
        WHERE state = 'pending' AND read_id = :read_id AND attempts = 0 AND held IS NULL
            AND (due_at > :now OR (:is_burst AND kind = 'created' AND NOT storm))
        ORDER BY seq LIMIT :limit
    )
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCommit:
    """A page or a part of it: its changes, what they cause, perhaps the read's end."""

    read_id: int
    watch: WatchRow
    now: datetime
    changes: tuple[RowChange, ...]
    deliveries: tuple[Delivery, ...] = ()
    bad: Sequence[BadRow] = ()
    end: ReadEnd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Deliveries that wait for the end of a read and become due now."""

    read_id: int
    now: datetime
    #: So many milestones are new that they go as a digest, whatever the routes say.
    is_burst: bool


# --- watches ------------------------------------------------------------------


def watches(conn: Connection) -> list[WatchRow]:
    """Every watch that is configured."""
    return [WatchRow(**row._asdict()) for row in conn.execute(_WATCHES)]


def set_watches(conn: Connection, names: Sequence[str]) -> list[WatchRow]:
    """
    Make exactly these the configured watches, in this order.

    A new one takes a free bit and has no baseline yet. A milestone that only a dropped
    one has seen becomes dormant: it keeps its row and loses its timers.
    """
    if len(names) > _MAX_WATCHES:
        raise StoreError(f"no more than {_MAX_WATCHES} watches can be in force")
    known = {watch.name: watch for watch in watches(conn)}
    for name in known.keys() - set(names):
        dropped = known.pop(name)
        conn.execute(_LEAVE_MILESTONES, {"bit": dropped.bit})
        conn.execute(_DROP_DORMANT_TIMERS)
        conn.execute(_DELETE_WATCH, {"id": dropped.id})
    taken = {watch.id for watch in known.values()}
    free = (bit for bit in range(_MAX_WATCHES) if bit not in taken)
    for name in names:
        if name not in known:
            known[name] = WatchRow(id=next(free), name=name)
            conn.execute(_INSERT_WATCH, {"id": known[name].id, "name": name})
    return [known[name] for name in names]


def set_sweep_only(conn: Connection, watch: WatchRow) -> None:
    """Note that the API refuses to poll this watch."""
    conn.execute(_SET_SWEEP_ONLY, {"id": watch.id})


def set_suspected(conn: Connection, watch: WatchRow, since: datetime | None) -> None:
    """Note since when a watch's long reads show too little; None: they show enough."""
    conn.execute(_SET_SUSPECTED, {"id": watch.id, "suspected_at": since})


# --- stored milestones --------------------------------------------------------


def unchanged(
    conn: Connection, fingerprints: Mapping[str, bytes], watch: WatchRow
) -> frozenset[str]:
    """
    Which of these ids are stored with these fingerprints, and need no decoding.

    Asked for every page of every read: answered from an index alone, and on SQLite by
    its own driver, because SQLAlchemy's path costs four times as much.
    """
    ids = list(fingerprints)
    statement = (
        "SELECT id, fingerprint, watches, gone_at, doubt FROM milestones"
        f" INDEXED BY milestones_known WHERE id IN ({','.join('?' * len(ids))})"
    )
    cursor = conn.connection.cursor()
    cursor.execute(statement, ids)
    return frozenset(
        key
        for key, fingerprint, watches, gone_at, doubt in cursor.fetchall()
        if fingerprint == fingerprints[key]
        and watches & watch.bit
        and gone_at is None
        and doubt is None
    )


def stored(conn: Connection, ids: Sequence[str], watch: WatchRow) -> dict[str, StoredMilestone]:
    """The milestones with these ids as they were committed last, as seen by a watch."""
    if not ids:
        return {}
    baselined = sum(1 << bit for bit in conn.scalars(_BASELINED))
    rows = conn.execute(_STORED, {"ids": list(ids)}).all()
    quiet = [row.id for row in rows if not row.watches & baselined]
    announced = set(conn.scalars(_ANNOUNCED, {"ids": quiet})) if quiet else set()
    return {
        row.id: _stored(
            row,
            watch,
            never_announced=row.watches == 0
            or (not row.watches & baselined and row.id not in announced),
        )
        for row in rows
    }


def _stored(row: Row[Any], watch: WatchRow, *, never_announced: bool) -> StoredMilestone:
    since = watch.baselined_at
    unconfirmed = None
    if row.doubt is not None:
        unconfirmed = UnconfirmedRevision(fingerprint=row.doubt, read_id=row.doubt_read)
    return StoredMilestone(
        milestone=decoding.milestone(row.doc),
        fingerprint=row.fingerprint,
        version=row.version,
        generation=row.generation,
        announced=LastAnnounced(start=row.fired_start, end=row.fired_end),
        unconfirmed=unconfirmed,
        never_announced=never_announced,
        is_new_to_watch=since is not None
        and not row.watches & watch.bit
        and row.first_seen_at >= since,
        is_removed=row.gone_at is not None,
    )


def count_in_window(conn: Connection, watch: WatchRow, since: datetime | None) -> int:
    """How many milestones of a watch that are not removed start at `since` or later."""
    return conn.scalar(_COUNT_IN_WINDOW, _window(watch, since)) or 0


def _window(watch: WatchRow, since: datetime | None) -> dict[str, Any]:
    return {"bit": watch.bit, "since": since or datetime.min.replace(tzinfo=UTC)}


def any_missed_reads(conn: Connection) -> bool:
    """Whether any milestone was missing from the last complete read that should show it."""
    return conn.scalar(_ANY_MISSED_READS) is not None


def count_missed_reads(
    conn: Connection, watch: WatchRow, since: datetime | None, shown: frozenset[str]
) -> list[str]:
    """
    Count a missed read for each milestone of the window that a complete read did not show.

    The ids that three complete reads or more have missed, most of all first.
    """
    rows = conn.execute(_MISSED_READS_IN_WINDOW, _window(watch, since)).all()
    missed = {row.id: row.absences + 1 for row in rows if row.id not in shown}
    back = {row.id: 0 for row in rows if row.absences and row.id in shown}
    changed = [{"id": key, "missed": count} for key, count in (missed | back).items()]
    execute_many(conn, _SET_MISSED_READS, changed)
    return [
        key for key in sorted(missed, key=lambda key: -missed[key]) if missed[key] >= _MISSED_READS
    ]


# --- one page -----------------------------------------------------------------


def not_quarantined(conn: Connection, bad: Sequence[BadRow]) -> list[BadRow]:
    """Those of these unreadable rows that are not in quarantine yet, each once."""
    by_fingerprint = {row.fingerprint: row for row in bad}
    known = set(conn.scalars(_KNOWN_BAD, {"fingerprints": list(by_fingerprint)}))
    return [row for fingerprint, row in by_fingerprint.items() if fingerprint not in known]


def commit_page(conn: Connection, page: PageCommit) -> Release | None:
    """Write a page or a part of it; with the read's end, what is still to be released."""
    changed = [one for one in page.changes if one.has_content]
    for is_new, statement in ((True, _SAVE_NEW), (False, _SAVE_CHANGED)):
        rows = [_row(one, page) for one in changed if one.is_new is is_new]
        execute_many(conn, statement, rows)
    seen = [
        {
            "id": one.row.milestone.id,
            "bit": page.watch.bit,
            "doubt": one.unconfirmed.fingerprint if one.unconfirmed else None,
            "doubt_read": one.unconfirmed.read_id if one.unconfirmed else None,
        }
        for one in page.changes
        if not one.has_content
    ]
    execute_many(conn, _NOTE_SEEN, seen)
    replace_timers(conn, changed)
    add_events(conn, [one.event for one in changed if one.event is not None])
    add_deliveries(conn, page.deliveries, read_id=page.read_id)
    if page.bad:
        _quarantine(conn, page.bad, page.now)
    return None if page.end is None else end_read(conn, page.end)


def _row(change: RowChange, page: PageCommit) -> dict[str, Any]:
    milestone = change.row.milestone
    title = milestone.title[:_MAX_TITLE]
    return {
        "id": milestone.id,
        "fingerprint": change.row.fingerprint,
        "bit": page.watch.bit,
        "version": change.version,
        "generation": change.generation,
        "category": milestone.category,
        "type": milestone.type,
        "title": title,
        "start_at": milestone.start,
        "end_at": milestone.end,
        "doc": zlib.compress(milestone.raw, 6),
        "now": page.now,
        "search": indexed((title, *milestone.tickers)),
    }


def replace_timers(conn: Connection, changes: Sequence[RowChange]) -> None:
    """Replace the timers of those kinds that have moved."""
    # The first version of a milestone has no timers to replace.
    old = [one for one in changes if one.version > 1]
    started = [{"id": one.row.milestone.id} for one in old if one.timers.replaces_start]
    execute_many(conn, _DROP_START_TIMERS, started)
    ended = [{"id": one.row.milestone.id} for one in old if one.timers.replaces_end]
    execute_many(conn, _DROP_END_TIMERS, ended)
    add_timers(conn, [timer for one in changes for timer in one.timers.added])


def add_timers(conn: Connection, timers: Iterable[Timer]) -> None:
    """Arm timers; they replace those of the same milestone, kind and lead."""
    rows = [
        {
            "milestone_id": timer.milestone_id,
            "kind": timer.kind.value,
            "lead_s": timer.lead.total_seconds(),
            "fire_at": timer.fire_at,
        }
        for timer in timers
    ]
    execute_many(conn, _ADD_TIMER, rows)


def add_events(conn: Connection, events: Iterable[Event]) -> None:
    """Store each event once; one that is stored already stays as it is."""
    rows = [
        {
            "id": event.id,
            "kind": event.kind.value,
            "milestone_id": event.milestone.id,
            "at": event.at,
            "seen_at": event.seen_at,
            "missed": event.missed,
            "changes": json.dumps([change.as_json() for change in event.changes]),
            "lead_s": None if event.lead is None else event.lead.total_seconds(),
            "again_since": event.again_from,
            "doc": zlib.compress(event.milestone.raw, 6),
        }
        for event in events
    ]
    execute_many(conn, _ADD_EVENT, rows)


def add_deliveries(
    conn: Connection, deliveries: Iterable[Delivery], *, read_id: int | None
) -> None:
    """Store each delivery once; one that is stored already stays as it is."""
    rows = [
        {
            "id": delivery.id,
            "event_id": delivery.event_id,
            "kind": delivery.kind.value,
            "milestone_id": delivery.milestone_id,
            "destination": delivery.destination,
            "route": delivery.route,
            "born_at": delivery.created_at,
            "due_at": delivery.due_at,
            "expires_at": delivery.expires_at,
            "read_id": read_id,
        }
        for delivery in deliveries
    ]
    execute_many(conn, _ADD_DELIVERY, rows)


def _quarantine(conn: Connection, bad: Sequence[BadRow], now: datetime) -> None:
    rows = [
        {
            "fingerprint": row.fingerprint,
            "milestone_id": row.key,
            "raw": row.raw,
            "error": row.error,
            "now": now,
        }
        for row in {row.fingerprint: row for row in bad}.values()
    ]
    execute_many(conn, _QUARANTINE, rows)
    # A row that cannot be read is not missing.
    execute_many(conn, _SET_MISSED_READS, [{"id": row.key, "missed": 0} for row in bad])


def remove(
    conn: Connection, removed: Sequence[Event], deliveries: Sequence[Delivery], now: datetime
) -> None:
    """Mark the milestones of these events as removed, and drop their timers."""
    ids = [event.milestone.id for event in removed]
    conn.execute(_REMOVE, {"ids": ids, "now": now})
    conn.execute(_DROP_TIMERS, {"ids": ids})
    add_events(conn, removed)
    add_deliveries(conn, deliveries, read_id=None)


# --- the end of a read --------------------------------------------------------


def end_read(conn: Connection, end: ReadEnd) -> Release | None:
    """
    Record how a read ended, and make due what waited for its end.

    Returns what is too much for one transaction and remains for `release`.
    """
    conn.execute(
        _ADD_READ,
        {
            "id": end.id,
            "watch": end.watch.name,
            "kind": end.kind.value,
            "ended_at": end.ended_at,
            "error": end.error,
            **asdict(end.progress),
        },
    )
    if end.error is None:
        conn.execute(_ADVANCE, _advanced(end))
    is_burst = end.progress.events > _MIN_BURST and _is_burst(conn, end)
    waiting = Release(read_id=end.id, now=end.ended_at, is_burst=is_burst)
    return waiting if release(conn, waiting) else None


def _advanced(end: ReadEnd) -> dict[str, Any]:
    is_full = end.kind in (ReadKind.BASELINE, ReadKind.FULL)
    is_poll = end.kind in (ReadKind.BASELINE, ReadKind.POLL)
    return {
        "id": end.watch.id,
        "baselined_at": end.ended_at if end.kind is ReadKind.BASELINE else None,
        "full_at": end.started_at if is_full else None,
        "polled_at": end.started_at if is_poll else None,
        "swept_at": end.started_at if end.kind is not ReadKind.POLL else None,
        "watermark_at": end.watermark,
    }


def _is_burst(conn: Connection, end: ReadEnd) -> bool:
    """Whether a read has created more milestones than anyone reads one by one."""
    created = conn.scalar(_COUNT_CREATED, {"read_id": end.id}) or 0
    living = conn.scalar(_COUNT_LIVING) or 0
    return bool(created > max(_MIN_BURST, _BURST_SHARE * (living - created)))


def release(conn: Connection, waiting: Release) -> bool:
    """Make a batch of what waited for the end of a read due; whether more remains."""
    released = conn.execute(_RELEASE, asdict(waiting) | {"limit": _RELEASED_AT_ONCE})
    return released.rowcount == _RELEASED_AT_ONCE
