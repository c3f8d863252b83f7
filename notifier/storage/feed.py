"""What calendars and feeds are made of, a piece at a time: nobody waits behind them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import anyio
from sqlalchemy import Connection, Row, and_, bindparam, func, or_, select

from notifier.domain.calendar import Listed
from notifier.domain.models import Event, Kind
from notifier.kalshi import decoding
from notifier.storage import queries
from notifier.storage import schema as t
from notifier.storage.database import Database

T = TypeVar("T")

_m, _e, _w = t.milestones.c, t.events.c, t.watches.c
_COLUMNS = (_m.id, _m.start_at, _m.version, _m.changed_at, _m.gone_at, _m.doc)
_NEWEST = select(func.max(_e.seq))
_BASELINES = select(_w.name, _w.baselined_at).order_by(_w.id)
_SORTS = (
    select(_m.category, _m.type)
    .where(
        _m.start_at >= bindparam("since", type_=t.Instant),
        _m.start_at < bindparam("until", type_=t.Instant),
        _m.watches != 0,
    )
    .distinct()
)
_THESE = select(*_COLUMNS).where(_m.id.in_(bindparam("ids", expanding=True)), _m.watches != 0)
#: In the order of the events, which are few: an index of all there are costs more.
_CHANGED = (
    select(_e.milestone_id + "")
    .where(_e.seq > bindparam("seq"))
    .distinct()
    .limit(bindparam("most"))
)
_EVENTS = (
    select(_e.seq, _e.id)
    .where(
        _e.seq > bindparam("above"),
        _e.seq < bindparam("below"),
        (_e.kind + "").in_(bindparam("kinds", expanding=True)),
    )
    .order_by(_e.seq.desc())
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far the store has come: equal marks, nothing new to show."""

    #: The number of the newest event; 0 without any.
    seq: int
    #: A baseline tells nothing: what it brings shows by its end alone.
    baselines: tuple[tuple[str, datetime | None], ...]


class Feeds:
    """
    What the store tells calendars and feeds.

    `make` runs where the store reads, off the event loop.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        # A question at a time: the loops ask as well.
        self._room = anyio.Semaphore(1)

    async def mark(self) -> Mark:
        """How far the store has come."""
        return await self._ask(_mark)

    async def sorts(self, since: datetime, until: datetime) -> list[tuple[str, str]]:
        """The categories and types of what starts between two instants."""

        def asked(conn: Connection) -> list[tuple[str, str]]:
            rows = conn.execute(_SORTS, {"since": since, "until": until})
            return [(row.category, row.type) for row in rows]

        return await self._ask(asked)

    async def after(
        self,
        place: tuple[datetime, str],
        until: datetime,
        make: Callable[[Listed], T],
        *,
        sorts: Collection[tuple[str, str]] | None,
        limit: int,
    ) -> list[tuple[tuple[datetime, str], T]]:
        """
        What starts after a place and before an instant, soonest first.

        `sorts`: only of these categories and types; None: of all.
        """
        asked = _after(place, until, sorts).limit(limit)
        return await self._ask(partial(self._made, asked=asked, make=make))

    async def before(
        self,
        place: tuple[datetime, str],
        since: datetime,
        make: Callable[[Listed], T],
        *,
        sorts: Collection[tuple[str, str]] | None,
        limit: int,
    ) -> list[tuple[tuple[datetime, str], T]]:
        """What starts before a place, but not before an instant, latest first."""
        asked = _before(place, since, sorts).limit(limit)
        return await self._ask(partial(self._made, asked=asked, make=make))

    async def these(
        self, ids: Sequence[str], make: Callable[[Listed], T]
    ) -> list[tuple[tuple[datetime, str], T]]:
        """Those with these ids that somebody watches, in no order."""
        asked = _THESE.params(ids=list(ids))
        return await self._ask(partial(self._made, asked=asked, make=make))

    async def changed(self, seq: int, *, most: int) -> list[str]:
        """The milestones to which something happened since an event."""

        def asked(conn: Connection) -> list[str]:
            return list(conn.scalars(_CHANGED, {"seq": seq, "most": most}))

        return await self._ask(asked)

    async def events(
        self,
        make: Callable[[Event], T],
        *,
        above: int,
        below: int,
        kinds: Iterable[Kind],
        limit: int,
    ) -> list[tuple[int, T]]:
        """Events of these kinds between two numbers, with theirs, newest first."""
        asked = {
            "above": above,
            "below": below,
            "kinds": sorted(kinds),
            "most": limit,
        }

        def made(conn: Connection) -> list[tuple[int, T]]:
            rows = conn.execute(_EVENTS, asked).all()
            found = queries.events_of(conn, [row.id for row in rows])
            return [(row.seq, make(found[row.id])) for row in rows]

        return await self._ask(made)

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        async with self._room:
            return await self._db.read(question)

    def _made(
        self, conn: Connection, *, asked: Any, make: Callable[[Listed], T]
    ) -> list[tuple[tuple[datetime, str], T]]:
        rows = conn.execute(asked)
        return [((row.start_at, row.id), make(self._listed(row))) for row in rows]

    def _listed(self, row: Row[Any]) -> Listed:
        return Listed(
            milestone=decoding.milestone(row.doc),
            version=row.version,
            changed_at=row.changed_at,
            gone_at=row.gone_at,
        )


def _mark(conn: Connection) -> Mark:
    baselines = tuple((name, when) for name, when in conn.execute(_BASELINES))
    return Mark(seq=conn.scalar(_NEWEST) or 0, baselines=baselines)


def _after(
    place: tuple[datetime, str],
    until: datetime,
    sorts: Collection[tuple[str, str]] | None,
) -> Any:
    start, key = place
    asked = select(*_COLUMNS).where(
        _m.start_at >= start,
        or_(_m.start_at > start, and_(_m.start_at == start, _m.id > key)),
        _m.start_at < until,
    )
    return _of(asked, sorts).order_by(_m.start_at, _m.id)


def _before(
    place: tuple[datetime, str],
    since: datetime,
    sorts: Collection[tuple[str, str]] | None,
) -> Any:
    start, key = place
    asked = select(*_COLUMNS).where(
        _m.start_at <= start,
        or_(_m.start_at < start, and_(_m.start_at == start, _m.id < key)),
        _m.start_at >= since,
    )
    return _of(asked, sorts).order_by(_m.start_at.desc(), _m.id.desc())


def _of(asked: Any, sorts: Collection[tuple[str, str]] | None) -> Any:
    """Those that somebody watches; `sorts`: only of these categories and types."""
    asked = asked.where(_m.watches != 0)
    if sorts is None:
        return asked
    return asked.where(
        _m.category.in_(sorted({category for category, _ in sorts})),
        _m.type.in_(sorted({kind for _, kind in sorts})),
    )
