"""Statements of the reading loop: what is known, and one transaction a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    update,
)

from notifier.domain.changes import RowChange, StoredMilestone, UnconfirmedRevision
from notifier.domain.commit import (
    BadRow,
    PageCommit,
    ReadEnd,
    ReadKind,
    Release,
    WatchRow,
)
from notifier.domain.models import Delivery, Event, State, Timer, TimerKind
from notifier.domain.search import kept
from notifier.domain.timers import LastAnnounced
from notifier.errors import StoreError
from notifier.kalshi import decoding
from notifier.storage import schema as t
from notifier.storage import statements

#: Complete reads that must not show a milestone before anyone asks for it by id.
_ABSENCES = 3
#: So many created milestones in one read are no storm, nor is this share of the known.
_CALM = 50
_STORM_SHARE = 0.2
#: Deliveries that one transaction lets come due: nobody waits long behind it.
_RELEASED = 300
#: As many as a signed 64-bit number has bits for, with one to spare.
_WATCHES = 62


def many(conn: Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Execute for every row, nothing where there is none; how many rows it hit."""
    return conn.execute(statement, rows).rowcount if rows else 0


# --- watches ------------------------------------------------------------------


def watches(conn: Connection) -> list[WatchRow]:
    """Every watch that is in force."""
    return [WatchRow(**row._asdict()) for row in conn.execute(statements.WATCHES)]


def set_watches(conn: Connection, names: Sequence[str]) -> list[WatchRow]:
    """
    Make exactly these the watches in force, in this order.

    A new one takes a free bit and has no baseline yet. What only a dropped one has
    seen goes dormant: it keeps its row and loses its timers.
    """
    if len(names) > _WATCHES:
        raise StoreError(f"no more than {_WATCHES} watches can be in force")
    known = {watch.name: watch for watch in watches(conn)}
    for name in known.keys() - set(names):
        _drop(conn, known.pop(name))
    free = (bit for bit in range(_WATCHES) if bit not in {w.id for w in known.values()})
    for name in names:
        if name not in known:
            known[name] = WatchRow(id=next(free), name=name)
            conn.execute(t.watches.insert(), {"id": known[name].id, "name": name})
    return [known[name] for name in names]


def _drop(conn: Connection, watch: WatchRow) -> None:
    bit = 1 << watch.id
    m = t.milestones.c
    conn.execute(
        update(t.milestones).where(m.watches.op("&")(bit) != 0).values(watches=m.watches - bit)
    )
    conn.execute(
        delete(t.timers).where(t.timers.c.milestone_id.in_(select(m.id).where(m.watches == 0)))
    )
    conn.execute(delete(t.watches).where(t.watches.c.id == watch.id))


def set_sweep_only(conn: Connection, watch: WatchRow) -> None:
    """Remember that the API refuses to poll this watch."""
    conn.execute(update(t.watches).where(t.watches.c.id == watch.id).values(sweep_only=True))


def set_suspected(conn: Connection, watch: WatchRow, since: datetime | None) -> None:
    """Remember since when a watch's long reads show too little; None: they show enough."""
    conn.execute(update(t.watches).where(t.watches.c.id == watch.id).values(suspected_at=since))


# --- what is known ------------------------------------------------------------


def unchanged(conn: Connection, prints: Mapping[str, bytes], watch: WatchRow) -> frozenset[str]:
    """
    Which of these ids are known with these fingerprints, and need no second look.

    Asked for every row of every page: answered from an index alone, and on SQLite
    in its own words, because the general ones cost four times as much.
    """
    bit = 1 << watch.id
    return frozenset(
        key
        for key, fingerprint, watches, gone_at, doubt in _known_rows(conn, list(prints))
        if fingerprint == prints[key] and watches & bit and gone_at is None and doubt is None
    )


def _known_rows(conn: Connection, ids: list[str]) -> Iterable[Sequence[Any]]:
    names = ("id", "fingerprint", "watches", "gone_at", "doubt")
    if conn.dialect.name != "sqlite":
        columns = [t.milestones.c[name] for name in names]
        return conn.execute(select(*columns).where(columns[0].in_(ids)))
    cursor = conn.connection.cursor()
    cursor.execute(
        f"SELECT {', '.join(names)} FROM milestones INDEXED BY milestones_known "
        f"WHERE id IN ({','.join('?' * len(ids))})",
        ids,
    )
    return cursor.fetchall()


def known(conn: Connection, ids: Sequence[str], watch: WatchRow) -> dict[str, StoredMilestone]:
    """The milestones with these ids as they were last committed, seen by a watch."""
    if not ids:
        return {}
    baselined = sum(1 << bit for bit in conn.scalars(statements.BASELINED))
    rows = conn.execute(statements.MILESTONES, {"ids": list(ids)}).all()
    quiet = [row.id for row in rows if not row.watches & baselined]
    told = conn.scalars(statements.ANNOUNCED, {"ids": quiet}) if quiet else ()
    announced = frozenset(told)
    return {row.id: _known(row, watch, baselined, announced) for row in rows}


def _known(
    row: Row[Any],
    watch: WatchRow,
    baselined: int,
    announced: frozenset[str],
) -> StoredMilestone:
    is_dormant = row.watches == 0
    since = watch.baselined_at
    doubt = (
        UnconfirmedRevision(fingerprint=row.doubt, read=row.doubt_read)
        if row.doubt is not None
        else None
    )
    return StoredMilestone(
        milestone=decoding.milestone(row.doc),
        fingerprint=row.fingerprint,
        version=row.version,
        generation=row.generation,
        fired=LastAnnounced(start=row.fired_start, end=row.fired_end),
        doubt=doubt,
        silent=is_dormant or (not row.watches & baselined and row.id not in announced),
        is_new_here=since is not None
        and not row.watches & (1 << watch.id)
        and row.first_seen_at >= since,
        gone=row.gone_at is not None,
    )


def count_known(conn: Connection, watch: WatchRow, since: datetime | None) -> int:
    """How many living milestones of a watch start at `since` or later."""
    return conn.scalar(_window(select(func.count()), watch, since)) or 0


def is_anyone_absent(conn: Connection) -> bool:
    """Whether an absence is counted for any milestone."""
    m = t.milestones.c
    found = conn.execute(select(m.id).where(m.absences > literal_column("0")).limit(1))
    return found.first() is not None


def _window(statement: Any, watch: WatchRow, since: datetime | None) -> Any:
    m = t.milestones.c
    statement = statement.where(m.watches.op("&")(1 << watch.id) != 0, m.gone_at.is_(None))
    return statement if since is None else statement.where(m.start_at >= since)


# --- one page -----------------------------------------------------------------


def new_bad(conn: Connection, bad: Sequence[BadRow]) -> list[BadRow]:
    """Those of these rows that were not known as bad before, each once."""
    by_print = {row.fingerprint: row for row in bad}
    if not by_print:
        return []
    known = set(conn.scalars(statements.KNOWN_BAD, {"prints": list(by_print)}))
    return [row for fingerprint, row in by_print.items() if fingerprint not in known]


def commit_page(conn: Connection, page: PageCommit) -> Release | None:
    """Write one page; with the read's end comes what it releases."""
    changed = [step for step in page.steps if _has_content(step)]
    _save_milestones(conn, page, changed)
    _note_seen(conn, page, [step for step in page.steps if not _has_content(step)])
    replace_timers(conn, changed)
    add_events(conn, [step.event for step in changed if step.event is not None])
    add_deliveries(conn, page.deliveries, read_id=page.read_id)
    _quarantine(conn, page.bad, page.now)
    return None if page.end is None else end_read(conn, page.end)


def _has_content(step: RowChange) -> bool:
    return step.doubt is None and (step.fresh or not step.same)


def _save_milestones(conn: Connection, page: PageCommit, changed: Sequence[RowChange]) -> None:
    for fresh in (True, False):
        many(
            conn,
            statements.save_milestone(conn.dialect.name, fresh=fresh),
            [_row(step, page) for step in changed if step.fresh is fresh],
        )


def _row(step: RowChange, page: PageCommit) -> dict[str, Any]:
    milestone = step.row.milestone
    return {
        "id": milestone.id,
        "fingerprint": step.row.fingerprint,
        "watches": 1 << page.watch.id,
        "version": step.version,
        "generation": step.generation,
        "category": milestone.category,
        "type": milestone.type,
        "title": milestone.title[:500],
        "start_at": milestone.start,
        "end_at": milestone.end,
        "doc": milestone.raw,
        "first_seen_at": page.now,
        "changed_at": page.now,
        "search": kept((milestone.title[:500], *milestone.tickers)),
    }


def _note_seen(conn: Connection, page: PageCommit, steps: Sequence[RowChange]) -> None:
    rows = [
        {
            "key": step.row.milestone.id,
            "bit": 1 << page.watch.id,
            "doubted": step.doubt.fingerprint if step.doubt else None,
            "doubted_in": step.doubt.read if step.doubt else None,
        }
        for step in steps
    ]
    many(conn, statements.NOTE_SEEN, rows)


def replace_timers(conn: Connection, steps: Sequence[RowChange]) -> None:
    """Put each step's timers in the place of those of the kinds that moved."""
    # A row's first version has no timers to replace.
    restarted = [s for s in steps if s.armed.restart and s.version > 1]
    reended = [s for s in steps if s.armed.reend and s.version > 1]
    for steps_of, kinds in (
        (restarted, (TimerKind.START, TimerKind.REMIND)),
        (reended, (TimerKind.END,)),
    ):
        keys = [{"key": step.row.milestone.id} for step in steps_of]
        many(conn, statements.drop_timers(*kinds), keys)
    add_timers(conn, [timer for step in steps for timer in step.armed.timers])


def add_timers(conn: Connection, timers: Iterable[Timer]) -> None:
    """Arm these; one of the same milestone, kind and lead gives way."""
    rows = [
        {
            "milestone_id": timer.milestone_id,
            "kind": timer.kind.value,
            "lead_s": timer.lead.total_seconds(),
            "fire_at": timer.fire_at,
        }
        for timer in timers
    ]
    keys = ("milestone_id", "kind", "lead_s")
    many(conn, statements.put(conn.dialect.name, t.timers, keys, "fire_at"), rows)


def add_events(conn: Connection, events: Iterable[Event]) -> None:
    """Store each event once: one that is there already stays as it is."""
    rows = [
        {
            "id": event.id,
            "kind": event.kind.value,
            "milestone_id": event.milestone.id,
            "at": event.at,
            "seen_at": event.seen_at,
            "missed": event.missed,
            "changes": [change.as_json() for change in event.changes],
            "lead_s": None if event.lead is None else event.lead.total_seconds(),
            "again_from": event.again_from,
            "doc": event.milestone.raw,
        }
        for event in events
    ]
    many(conn, statements.add_new(conn.dialect.name, t.events), rows)


def add_deliveries(
    conn: Connection, deliveries: Iterable[Delivery], *, read_id: int | None
) -> None:
    """Owe each delivery once: one that is there already stays as it is."""
    rows = [
        {
            "id": delivery.id,
            "event_id": delivery.event_id,
            "kind": delivery.kind.value,
            "milestone_id": delivery.milestone_id,
            "destination": delivery.destination,
            "route": delivery.route,
            "state": State.PENDING.value,
            "born_at": delivery.created_at,
            "due_at": delivery.due_at,
            "expires_at": delivery.expires_at,
            "read_id": read_id,
        }
        for delivery in deliveries
    ]
    many(conn, statements.add_new(conn.dialect.name, t.deliveries), rows)


def _quarantine(conn: Connection, bad: Sequence[BadRow], now: datetime) -> None:
    rows = [
        asdict(row) | {"first_seen_at": now, "last_seen_at": now}
        for row in {row.fingerprint: row for row in bad}.values()
    ]
    seen_again = statements.put(conn.dialect.name, t.quarantine, ("fingerprint",), "last_seen_at")
    many(conn, seen_again, rows)
    # It cannot be read, but it is there.
    many(conn, statements.NOT_ABSENT, [{"key": row.milestone_id} for row in bad])


# --- the end of a read --------------------------------------------------------


def end_read(conn: Connection, end: ReadEnd) -> Release | None:
    """
    Record how a read ended, and let what was held back for it come due.

    What is too much for one turn is left to be released next.
    """
    conn.execute(
        statements.add_new(conn.dialect.name, t.reads),
        asdict(end.progress)
        | {
            "id": end.id,
            "watch": end.watch.name,
            "kind": end.kind.value,
            "ended_at": end.ended_at,
            "error": end.error,
        },
    )
    if end.error is None:
        _advance(conn, end)
    is_storm = end.progress.events > _CALM and _is_storm(conn, end)
    held = Release(read_id=end.id, now=end.ended_at, is_storm=is_storm)
    return held if release(conn, held) else None


def release(conn: Connection, held: Release) -> bool:
    """Let a batch of what was held back for a read come due; whether more may be."""
    asked = {
        "read": held.read_id,
        "now": held.now,
        "is_storm": held.is_storm,
        "most": _RELEASED,
    }
    return conn.execute(statements.RELEASE_HELD, asked).rowcount == _RELEASED


def _is_storm(conn: Connection, end: ReadEnd) -> bool:
    """More new milestones at once than anyone wants to read one by one."""
    created = conn.scalar(statements.COUNT_CREATED, {"read": end.id}) or 0
    living = conn.scalar(statements.COUNT_LIVING) or 0
    is_storm: bool = created > max(_CALM, _STORM_SHARE * (living - created))
    return is_storm


def _advance(conn: Connection, end: ReadEnd) -> None:
    values: dict[str, Any] = {}
    match end.kind:
        case ReadKind.BASELINE:
            values = {"baselined_at": end.ended_at, "full_at": end.started_at}
            values |= {"polled_at": end.started_at, "swept_at": end.started_at}
        case ReadKind.FULL:
            values = {"full_at": end.started_at, "swept_at": end.started_at}
        case ReadKind.POLL:
            values = {"polled_at": end.started_at}
        case ReadKind.SWEEP:
            values = {"swept_at": end.started_at}
    w = t.watches.c
    if end.watermark is not None:
        # A long read ends with an older one than the polls beside it have reached.
        is_ahead = w.watermark > end.watermark
        values["watermark"] = case((is_ahead, w.watermark), else_=literal(end.watermark, t.Instant))
    conn.execute(update(t.watches).where(w.id == end.watch.id).values(values))


def absent(
    conn: Connection, watch: WatchRow, since: datetime | None, shown: frozenset[str]
) -> list[str]:
    """
    Count an absence for each milestone of the window that a read did not show.

    The ids that have been absent from three complete reads or more, longest first.
    """
    m = t.milestones.c
    rows = conn.execute(_window(select(m.id, m.absences), watch, since)).all()
    count = update(t.milestones).where(m.id == bindparam("key"))
    missing = [(row.id, row.absences + 1) for row in rows if row.id not in shown]
    many(
        conn,
        count.values(absences=bindparam("n")),
        [{"key": key, "n": n} for key, n in missing],
    )
    back = [row.id for row in rows if row.absences and row.id in shown]
    many(conn, count.values(absences=0), [{"key": key} for key in back])
    return [key for key, n in sorted(missing, key=lambda row: -row[1]) if n >= _ABSENCES]


def remove(
    conn: Connection,
    gone: Sequence[Event],
    deliveries: Sequence[Delivery],
    now: datetime,
) -> None:
    """Mark milestones as gone: their timers go with them."""
    ids = [event.milestone.id for event in gone]
    m = t.milestones.c
    conn.execute(update(t.milestones).where(m.id.in_(ids)).values(gone_at=now, absences=0))
    conn.execute(delete(t.timers).where(t.timers.c.milestone_id.in_(ids)))
    add_events(conn, gone)
    add_deliveries(conn, deliveries, read_id=None)
