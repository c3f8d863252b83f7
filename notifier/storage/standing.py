"""Statements about destinations: how each stands, and what follows from a change."""

from dataclasses import asdict, fields
from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, case, func, select, update

from notifier.domain.retry_policy import (
    BREAK_SPAN,
    Standing,
    Tries,
)
from notifier.storage import schema as t
from notifier.storage.due import LEASED, PENDING

_PATIENCE = 429
_d, _a, _to = t.deliveries.c, t.attempts.c, t.destinations.c
#: Who refuses a message, or asks for patience, works.
_IS_FAILURE = and_(
    _a.outcome.in_(("failed", "ambiguous")), func.coalesce(_a.status, 0) != _PATIENCE
)
_LATELY = select(func.count(), func.coalesce(func.sum(case((_IS_FAILURE, 1), else_=0)), 0)).where(
    _a.destination == bindparam("destination"),
    _a.started_at > bindparam("since", type_=t.Instant),
    _a.outcome.is_not(None),
)
_STANDING = select(t.destinations).where(_to.name == bindparam("key"))
_STAND = (
    update(t.destinations)
    .where(_to.name == bindparam("key"))
    .values({name: bindparam(name) for name in (field.name for field in fields(Standing))})
)
#: What failed before goes at once: its destination works again.
_DUE_AGAIN = (
    update(t.deliveries)
    .where(
        _d.destination == bindparam("key"),
        _d.state == PENDING,
        _d.attempts > 0,
        _d.held.is_(None),
        _d.due_at > bindparam("now", type_=t.Instant),
    )
    .values(due_at=bindparam("now", type_=t.Instant))
)
#: The time of a suspension makes nothing older.
_NO_OLDER = (
    update(t.deliveries)
    .where(_d.destination == bindparam("key"), _d.state.in_((PENDING, LEASED)))
    .values(
        born_at=_d.born_at
        + bindparam("now", type_=t.Instant)
        - case(
            (
                _d.born_at > bindparam("since", type_=t.Instant),
                _d.born_at,
            ),
            else_=bindparam("since", type_=t.Instant),
        )
    )
)


def set_destinations(conn: Connection, fingerprints: dict[str, str], now: datetime) -> None:
    """
    Remember the destinations in force, and no others.

    One whose URL changed starts afresh, and so does one that comes back.
    """
    c = t.destinations.c
    old = {row.name: row.fingerprint for row in conn.execute(select(t.destinations))}
    fresh = Standing()
    for name, fingerprint in fingerprints.items():
        if name not in old:
            row = {"name": name, "fingerprint": fingerprint}
            conn.execute(t.destinations.insert(), row)
        elif old[name] != fingerprint:
            restand(conn, name, standing(conn, name), fresh, now)
            conn.execute(
                update(t.destinations).where(c.name == name).values(fingerprint=fingerprint)
            )
    for name in old.keys() - fingerprints.keys():
        # What it is owed has waited for nothing while it was suspended.
        restand(conn, name, standing(conn, name), fresh, now)
        conn.execute(t.destinations.delete().where(c.name == name))


def standing(conn: Connection, destination: str) -> Standing:
    """How a destination stands."""
    row = conn.execute(_STANDING, {"key": destination}).first()
    if row is None:
        return Standing()
    return Standing(
        paused_until=row.paused_until,
        suspended_since=row.suspended_since,
        probes=row.probes,
        gone=row.gone,
        reason=row.reason,
        failures=row.failures,
        open_since=row.open_since,
    )


def _stand(conn: Connection, destination: str, stands: Standing) -> None:
    conn.execute(_STAND, asdict(stands) | {"key": destination})


def lately(conn: Connection, destination: str, now: datetime) -> Tries:
    """How a destination fared in the last five minutes."""
    asked = {"destination": destination, "since": now - BREAK_SPAN}
    total, failed = conn.execute(_LATELY, asked).one()
    return Tries(failed=failed, total=total)


def restand(
    conn: Connection, destination: str, before: Standing, after: Standing, now: datetime
) -> None:
    """Write how a destination stands; once it works again nothing waits any more."""
    _stand(conn, destination, after)
    if before.suspended_since is not None and after.suspended_since is None:
        since = {"key": destination, "now": now, "since": before.suspended_since}
        conn.execute(_NO_OLDER, since)
    if before.is_probed and not after.is_probed:
        conn.execute(_DUE_AGAIN, {"key": destination, "now": now})
