"""
Statements of the operator's channel: what is wrong, and the notices that say so.

A condition and its notices are stored in one transaction: a crash neither loses nor
repeats them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    select,
    type_coerce,
    update,
)

from notifier.domain.incidents import (
    AWAY,
    DEAD_FOR,
    FAILED_READS,
    BadView,
    DestinationView,
    Notice,
    NoticeKind,
    Open,
    Trouble,
    View,
    WatchView,
)
from notifier.domain.models import Kind, State
from notifier.domain.poll_schedule import WatchRow
from notifier.messages.incident_text import Found
from notifier.storage import schema as t
from notifier.storage import statements
from notifier.storage.milestones import watches
from notifier.storage.notices import PENDING, is_owed
from notifier.storage.retention import fact, set_fact
from notifier.storage.sql import execute_many, sql

ALIVE_AT = "alive_at"
BACKUP_FAILED = "backup_failed"

_SUPERSEDED = "superseded"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
#: Notices that are finished are forgotten after this.
_KEPT = timedelta(days=30)
#: A read ends so long after its first request at the latest.
_LONGEST_READ = timedelta(hours=1)
#: Titles of missed starts that are named.
_NAMED = 5
#: A start that is told so long after it is told on time.
_ON_TIME_US = 60 * 10**6

_n, _c, _r, _q = t.notices.c, t.conditions.c, t.reads.c, t.quarantine.c
_d, _to, _e, _a = t.deliveries.c, t.destinations.c, t.events.c, t.attempts.c
# Spelled out, not bound: SQLite uses a partial index only for what it can read.
_is_dead = _d.state == literal_column(f"'{State.DEAD.value}'")

# --- made once: it costs more to make a statement than to run it --------------

_LAST_GOOD = select(func.max(_r.ended_at)).where(
    _r.watch == bindparam("watch"), _r.id >= bindparam("first"), _r.error.is_(None)
)
_failed_reads = (
    _r.watch == bindparam("watch"),
    _r.id >= bindparam("first"),
    _r.ended_at > bindparam("good", type_=t.Instant),
    _r.error.is_not(None),
)
_FAILED = (
    select(_r.ended_at, _r.error).where(*_failed_reads).order_by(_r.id.desc()).limit(FAILED_READS)
)
_FIRST_FAILED = select(func.min(_r.ended_at)).where(*_failed_reads)
_LAST_BAD = (
    select(_r.id)
    .where(
        _r.watch == bindparam("watch"),
        _r.id >= bindparam("first"),
        _r.error.is_not(None),
    )
    .order_by(_r.id.desc())
    .limit(1)
)
_FIRST_GOOD = (
    select(_r.ended_at)
    .where(_r.watch == bindparam("watch"), _r.id > bindparam("bad"), _r.error.is_(None))
    .order_by(_r.id)
    .limit(1)
)
_DESTINATIONS = select(t.destinations)
_WAITING = (
    select(_d.destination, func.count())
    .where(statements.is_pending(_d.state))
    .group_by(_d.destination)
)
_is_recent = _d.settled_at > bindparam("recent", type_=t.Instant)
_DIED = (
    select(
        _d.destination,
        func.count().label("dead"),
        func.sum(case((_is_recent, 1), else_=0)).label("died"),
        func.min(case((_is_recent, _d.settled_at))).label("since"),
    )
    .where(_is_dead)
    .group_by(_d.destination)
)
_DIED_OF = (
    select(_d.reason)
    .where(_is_dead, _d.destination == bindparam("name"), _is_recent)
    .order_by(_d.settled_at.desc())
    .limit(1)
)
#: Tries since it was called failing: the last that failed, and what was answered.
_tries_since = (
    _a.destination == bindparam("name"),
    _a.started_at >= bindparam("since", type_=t.Instant),
)
_LOST = (
    select(_a.seq, _a.ended_at)
    .where(*_tries_since, _a.outcome.in_(("failed", "ambiguous")))
    .order_by(_a.started_at.desc(), _a.seq.desc())
    .limit(1)
)
_ANSWERED = select(
    func.count().label("number"),
    func.min(case((_a.seq > bindparam("lost"), _a.ended_at))).label("first"),
).where(*_tries_since, _a.outcome.in_(("sent", "refused")))
_OWED = select(_n.destination, _n.due_at, _n.attempts, _n.born_at, _n.reason).where(is_owed)
_was_seen = _q.last_seen_at > bindparam("seen", type_=t.Instant)
_BAD = select(func.count(_q.milestone_id.distinct())).where(_was_seen)
_BAD_LAST = (
    select(_q.first_seen_at, _q.milestone_id, _q.error)
    .where(_was_seen)
    .order_by(_q.last_seen_at.desc())
    .limit(1)
)
_OPEN = select(t.conditions)

_seen_since = _e.seen_at >= bindparam("since", type_=t.Instant)
_EVENTS = select(_e.kind, func.count()).where(_seen_since, ~_e.missed).group_by(_e.kind)
_delay = type_coerce(_e.seen_at, BigInteger) - type_coerce(_e.at, BigInteger)
_STARTS = select(
    func.sum(case((_delay <= _ON_TIME_US, 1), else_=0)).label("on_time"),
    func.sum(case((_delay > _ON_TIME_US, 1), else_=0)).label("late"),
).where(_seen_since, ~_e.missed, _e.kind == Kind.STARTED.value)
_MISSED = (
    select(t.milestones.c.title)
    .select_from(t.events)
    .outerjoin(t.milestones, t.milestones.c.id == _e.milestone_id)
    .where(_seen_since, _e.missed, _e.kind == Kind.STARTED.value)
    .order_by(_e.at, _e.seq)
)
_ENDED = (
    select(_d.state, func.count())
    .where(_d.settled_at >= bindparam("since", type_=t.Instant))
    .group_by(_d.state)
)
_GOING = select(func.count()).where(
    statements.is_pending(_d.state),
    _d.due_at <= bindparam("now", type_=t.Instant),
    _d.destination.not_in(select(_to.name).where(_to.suspended_since.is_not(None) | _to.gone)),
)

_SUPERSEDE = update(t.notices).where(is_owed).values(state=_SUPERSEDED, reason=bindparam("why"))
_OVER = _SUPERSEDE.where(_n.key == bindparam("about"), _n.kind == NoticeKind.RAISED.value)
_NOBODY = _SUPERSEDE.where(_n.destination.not_in(bindparam("to", expanding=True)))
_RAISE = sql(
    "INSERT INTO conditions (key, since, words) VALUES (:key, :since, :words)"
    " ON CONFLICT DO NOTHING"
)
_CLOSE = delete(t.conditions).where(_c.key == bindparam("about"))
_PRUNE = delete(t.notices).where(~is_owed, _n.born_at < bindparam("before", type_=t.Instant))


# --- what the store shows -----------------------------------------------------


def view(conn: Connection, *, names: Collection[str], now: datetime, bad_for: timedelta) -> View:
    """How the service fares: its watches, these destinations, its rows, its backup."""
    owed = conn.execute(_OWED).all()
    told = tuple(Open(**row._asdict()) for row in conn.execute(_OPEN))
    failing = {one.name: one.since for one in told if one.trouble is Trouble.FAILING}
    down = next((one.since for one in told if one.trouble is Trouble.SOURCE), None)
    return View(
        watches=tuple(_watch(conn, row, down) for row in watches(conn)),
        destinations=tuple(
            _steadied(conn, one, failing[one.name]) if one.name in failing else one
            for one in _destinations(conn, names, owed, now)
        ),
        bad=_bad(conn, now - bad_for),
        backup=_backup(conn),
        open=told,
        owed=frozenset(row.destination for row in owed if row.due_at <= now),
    )


def _watch(conn: Connection, row: WatchRow, down: datetime | None) -> WatchView:
    read = [at for at in (row.polled_at, row.swept_at, row.full_at) if at is not None]
    read_at = max(read, default=None)
    first = 0 if read_at is None else (read_at - _EPOCH) // _TICK
    asked: dict[str, Any] = {"watch": row.name, "first": first}
    asked["good"] = conn.scalar(_LAST_GOOD, asked) or _EPOCH
    failed = conn.execute(_FAILED, asked).all()
    return WatchView(
        name=row.name,
        read_at=read_at,
        failed=len(failed),
        failed_since=conn.scalar(_FIRST_FAILED, asked) if failed else None,
        error=failed[0].error if failed else "",
        good_since=None if failed or down is None else _good(conn, row.name, down),
        suspected_at=row.suspected_at,
    )


def _good(conn: Connection, watch: str, down: datetime) -> datetime | None:
    """The first complete read after the last that failed, of an outage."""
    asked = {"watch": watch, "first": (down - _LONGEST_READ - _EPOCH) // _TICK}
    bad = conn.scalar(_LAST_BAD, asked)
    if bad is None:
        return None
    return conn.scalar(_FIRST_GOOD, {"watch": watch, "bad": bad})


def _destinations(
    conn: Connection, names: Collection[str], owed: Sequence[Any], now: datetime
) -> Sequence[DestinationView]:
    recent = {"recent": now - DEAD_FOR}
    waiting = {row[0]: row[1] for row in conn.execute(_WAITING)}
    died = {row.destination: row for row in conn.execute(_DIED, recent)}
    unsaid: dict[str, Any] = {}
    for row in owed:
        tried = unsaid.get(row.destination)
        if tried is None or row.attempts > tried.attempts:
            unsaid[row.destination] = row
    found = []
    for row in conn.execute(_DESTINATIONS):
        if row.name not in names:
            continue
        dead, said = died.get(row.name), unsaid.get(row.name)
        lately = dead.died if dead is not None else 0
        why = conn.scalar(_DIED_OF, recent | {"name": row.name}) if lately else ""
        found.append(
            DestinationView(
                name=row.name,
                paused_until=row.paused_until,
                suspended_since=row.suspended_since,
                gone=row.gone,
                open_since=row.open_since,
                reason=row.reason or "",
                waiting=waiting.get(row.name, 0),
                died=lately,
                died_since=dead.since if dead is not None else None,
                died_of=why or "",
                dead=dead.dead if dead is not None else 0,
                unsaid=said.attempts if said is not None else 0,
                unsaid_since=said.born_at if said is not None else None,
                unsaid_reason=(said.reason or "") if said is not None else "",
            )
        )
    return found


def _steadied(conn: Connection, one: DestinationView, since: datetime) -> DestinationView:
    """Whether it has answered since, and since when nothing failed any more."""
    asked: dict[str, Any] = {"name": one.name, "since": since}
    lost = conn.execute(_LOST, asked).first()
    asked["lost"] = 0 if lost is None else lost.seq
    answered = conn.execute(_ANSWERED, asked).one()
    steady = answered.first or (None if lost is None else lost.ended_at)
    return replace(one, has_answered=answered.number > 0, steady_since=steady)


def _bad(conn: Connection, since: datetime) -> BadView | None:
    asked = {"seen": since}
    count = conn.scalar(_BAD, asked)
    last = conn.execute(_BAD_LAST, asked).first() if count else None
    if not count or last is None:
        return None
    return BadView(
        count=count,
        since=last.first_seen_at,
        milestone_id=last.milestone_id,
        error=last.error,
    )


def _backup(conn: Connection) -> tuple[datetime, str] | None:
    match fact(conn, BACKUP_FAILED):
        case {"since": str(since), "reason": str(reason)}:
            return datetime.fromisoformat(since), reason
        case _:
            return None


def found(conn: Connection, *, since: datetime, now: datetime) -> Found:
    """What has happened since an instant."""
    asked = {"since": since}
    events = {Kind(row[0]): row[1] for row in conn.execute(_EVENTS, asked)}
    starts = conn.execute(_STARTS, asked).one()
    missed = list(conn.scalars(_MISSED, asked))
    ended = {row[0]: row[1] for row in conn.execute(_ENDED, asked)}
    going = conn.scalar(_GOING, {"now": now}) or 0
    return Found(
        events=events,
        on_time=starts.on_time or 0,
        late=starts.late or 0,
        missed=len(missed),
        titles=tuple(title or "" for title in missed[:_NAMED]),
        expired=ended.get(State.EXPIRED.value, 0),
        going=going + ended.get(State.DELIVERED.value, 0),
    )


# --- what is remembered -------------------------------------------------------


def wake(conn: Connection, *, to: Sequence[str], now: datetime) -> Open | None:
    """
    Begin a life: note that the service is alive, and for how long it was not.

    The downtime that is still to be told, if there is one. Notices for whoever is no
    operator any more are given up.
    """
    last = fact(conn, ALIVE_AT)
    alive_at = datetime.fromisoformat(last) if isinstance(last, str) else now
    pending = [
        Open(**row._asdict())
        for row in conn.execute(_OPEN)
        if row.key.startswith(Trouble.CATCH_UP.value)
    ]
    if not pending and now - alive_at > AWAY:
        key = f"{Trouble.CATCH_UP.value}:{now.isoformat()}"
        pending.append(Open(key=key, since=alive_at, words="Away"))
        row = {"key": key, "since": alive_at, "words": "Away"}
        conn.execute(t.conditions.insert(), row)
    alive(conn, now)
    conn.execute(_NOBODY, {"to": list(to), "why": "the operator is somebody else now"})
    return pending[0] if pending else None


def alive(conn: Connection, now: datetime) -> None:
    """Note that the service is alive."""
    set_fact(conn, ALIVE_AT, now.isoformat())


def note_backup(conn: Connection, *, failed: str | None, now: datetime) -> None:
    """Note why there is no backup, and since when; None: there is one."""
    known = _backup(conn)
    if failed is None and known is None:
        return
    value = None
    if failed is not None:
        since = known[0] if known is not None else now
        value = {"since": since.isoformat(), "reason": failed}
    set_fact(conn, BACKUP_FAILED, value)


def record(
    conn: Connection,
    *,
    raised: Mapping[str, tuple[datetime, str]],
    cleared: Collection[str],
    notices: Sequence[Notice],
    now: datetime,
) -> None:
    """
    Remember what became wrong (since when, in words) and what is over.

    What was still to be told of that is replaced by the new notices.
    """
    execute_many(
        conn,
        _RAISE,
        [{"key": k, "since": s, "words": words} for k, (s, words) in raised.items()],
    )
    why = "over before it was told"
    for key in cleared:
        conn.execute(_CLOSE, {"about": key})
        conn.execute(_OVER, {"about": key, "why": why})
    execute_many(
        conn,
        t.notices.insert(),
        [
            {
                "key": one.key,
                "kind": one.kind.value,
                "destination": one.destination,
                "since": one.since,
                "title": one.title,
                "body": one.body,
                "state": PENDING,
                "born_at": one.born_at,
                "due_at": one.born_at,
            }
            for one in notices
        ],
    )
    conn.execute(_PRUNE, {"before": now - _KEPT})
