"""
Statements that are built once: to put one together costs more than to run it.

Those that know ON CONFLICT are built for each dialect. Conditions on a state are
literal, because a bound value keeps SQLite from its partial indexes.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Delete,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from notifier.domain.models import Kind, State, TimerKind
from notifier.storage import schema as t

_m, _d, _q = t.milestones.c, t.deliveries.c, t.quarantine.c


def is_state(column: ColumnElement[Any], *states: State) -> ColumnElement[bool]:
    """A condition that a partial index can answer."""
    return column.in_([literal_column(f"'{state.value}'") for state in states])


def is_pending(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a delivery waits, in the words of the index of those that do."""
    return column == literal_column(f"'{State.PENDING.value}'")


def upsert(dialect: str, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def add_new(dialect: str, table: Table) -> Any:
    """Insert; a row that is there already stays as it is."""
    return upsert(dialect, table).on_conflict_do_nothing()


@cache
def put(dialect: str, table: Table, keys: tuple[str, ...], change: str) -> Any:
    """Insert; of a row that is there already one column is replaced."""
    statement = upsert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=keys, set_={change: statement.excluded[change]}
    )


_CONTENT = (
    *("fingerprint", "version", "generation", "category", "type"),
    *("title", "start_at", "end_at", "doc", "changed_at", "search"),
)


@cache
def save_milestone(dialect: str, *, fresh: bool) -> Any:
    """Put a milestone's new content; with `fresh` nothing of it has fired yet."""
    statement = upsert(dialect, t.milestones)
    new = statement.excluded
    fired: dict[str, Any] = {"fired_start": _m.fired_start, "fired_end": _m.fired_end}
    if fresh:
        fired = dict.fromkeys(fired)
    settled: dict[str, Any] = {"gone_at": None, "doubt": None, "doubt_read": None}
    return statement.on_conflict_do_update(
        index_elements=["id"],
        set_={name: new[name] for name in _CONTENT}
        | {"watches": _m.watches.op("|")(new.watches), "absences": 0}
        | fired
        | settled,
    )


@cache
def drop_timers(*kinds: TimerKind) -> Delete:
    """Delete the timers of these kinds of one milestone, `key`."""
    c = t.timers.c
    # Literal: an IN of bound values cannot be executed for many rows at once.
    wanted: list[ColumnElement[str]] = [literal_column(f"'{kind.value}'") for kind in kinds]
    return delete(t.timers).where(c.milestone_id == bindparam("key"), c.kind.in_(wanted))


#: A milestone, `key`, was seen by the watch of `bit`; it may be in doubt.
NOTE_SEEN = (
    update(t.milestones)
    .where(_m.id == bindparam("key"))
    .values(
        watches=_m.watches.op("|")(bindparam("bit")),
        doubt=bindparam("doubted"),
        doubt_read=bindparam("doubted_in"),
        absences=0,
    )
)

NOT_ABSENT = update(t.milestones).where(_m.id == bindparam("key")).values(absences=0)

_now = bindparam("now", type_=t.Instant)
_is_new = _d.kind == Kind.CREATED.value
_waits_for = select(_d.seq).where(
    is_pending(_d.state),
    _d.read_id == bindparam("read"),
    _d.attempts == 0,
    # What quiet hours or a digest keep back is not theirs to let go.
    _d.held.is_(None),
    or_(
        _d.due_at > bindparam("now", type_=t.Instant),
        and_(bindparam("is_storm", type_=Boolean), _is_new, _d.storm.is_(False)),
    ),
)
#: Of what waited for the end of the read `read`, so much is due `now`; of a storm
#: what is new goes as a digest.
RELEASE_HELD = (
    update(t.deliveries)
    .where(_d.seq.in_(_waits_for.order_by(_d.seq).limit(bindparam("most"))))
    .values(
        due_at=case((_d.due_at < _now, _d.due_at), else_=_now),
        storm=and_(bindparam("is_storm", type_=Boolean), _is_new),
    )
)

MILESTONES = select(t.milestones).where(_m.id.in_(bindparam("ids", expanding=True)))
BASELINED = select(t.watches.c.id).where(t.watches.c.baselined_at.is_not(None))
KNOWN_BAD = select(_q.fingerprint).where(_q.fingerprint.in_(bindparam("prints", expanding=True)))
WATCHES = select(t.watches)
_e = t.events.c
#: Which of these milestones somebody has been told about.
ANNOUNCED = select(_e.milestone_id).where(
    _e.milestone_id.in_(bindparam("ids", expanding=True)), _e.kind == Kind.CREATED.value
)
_created_in = (_d.read_id == bindparam("read")) & (_d.kind == Kind.CREATED.value)
COUNT_CREATED = select(func.count(_d.event_id.distinct())).where(is_pending(_d.state), _created_in)
COUNT_LIVING = select(func.count()).where(_m.gone_at.is_(None))
