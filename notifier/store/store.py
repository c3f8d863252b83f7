"""
The store behind turns: one writer, served by urgency, and readers that never wait.

Statements run where `offload` puts them: in worker threads for the service, inline
in a simulation.
"""

import sqlite3
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from datetime import datetime
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from notifier.core.commit import (
    AlarmCommit,
    BadRow,
    DueTimer,
    PageCommit,
    ReadEnd,
    Settlement,
    WatchRow,
)
from notifier.core.compose import Ended
from notifier.core.diff import Known
from notifier.core.model import Delivery, Due, Event, Message
from notifier.core.settle import Standing
from notifier.core.timing import TimePolicy
from notifier.errors import StoreBroken, StoreError
from notifier.store import files, outbox, pages, redress, timers, upkeep
from notifier.store.pages import Decode
from notifier.turns import Gate

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work off the event loop, and comes back with its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run it."""


class Urgency(IntEnum):
    """Who is served first when several wait for the writer."""

    ALARM = 0
    CLAIM = 1
    PAGE = 2
    UPKEEP = 3


class Turn:
    """
    The writer's turn: until it ends nobody else writes.

    What is not committed by the end of the turn never happened.
    """

    def __init__(self, conn: Connection, offload: Offload, decode: Decode) -> None:
        self._conn = conn
        self._offload = offload
        self._decode = decode

    async def _do(self, work: Callable[[Connection], T]) -> T:
        return await self._offload(partial(_guarded, self._conn, work))

    async def _commit(self, work: Callable[[Connection], T]) -> T:
        def both(conn: Connection) -> T:
            result = work(conn)
            conn.commit()
            return result

        return await self._do(both)


class PageTurn(Turn):
    """The reading loop's turn."""

    async def known(self, ids: Sequence[str], watch: WatchRow) -> dict[str, Known]:
        """The milestones with these ids as they were last committed."""
        return await self._do(
            partial(pages.known, ids=ids, watch=watch, decode=self._decode)
        )

    async def new_bad(self, bad: Sequence[BadRow]) -> list[BadRow]:
        """Those of these rows that were not known as bad before."""
        return await self._do(partial(pages.new_bad, bad=bad)) if bad else []

    async def commit(self, page: PageCommit) -> None:
        """Write one page."""
        await self._commit(partial(pages.commit_page, page=page))

    async def end_read(self, end: ReadEnd) -> None:
        """Record the end of a read."""
        await self._commit(partial(pages.end_read, end=end))

    async def absent(
        self, watch: WatchRow, since: datetime | None, shown: frozenset[str]
    ) -> list[str]:
        """Count absences; the ids that somebody should ask for by now."""
        return await self._commit(
            partial(pages.absent, watch=watch, since=since, shown=shown)
        )

    async def remove(
        self, gone: Sequence[Event], deliveries: Sequence[Delivery], now: datetime
    ) -> None:
        """Mark milestones as gone."""
        await self._commit(
            partial(pages.remove, gone=gone, deliveries=deliveries, now=now)
        )

    async def set_sweep_only(self, watch: WatchRow) -> None:
        """Remember that a watch cannot be polled."""
        await self._commit(partial(pages.set_sweep_only, watch=watch))


class AlarmTurn(Turn):
    """The alarm's turn."""

    async def due(self, now: datetime, *, limit: int) -> list[DueTimer]:
        """Timers that have come due, oldest first."""
        return await self._do(
            partial(timers.due, now=now, limit=limit, decode=self._decode)
        )

    async def commit(self, alarm: AlarmCommit) -> None:
        """Take the handled timers away and store what they said."""
        await self._commit(partial(timers.commit_alarm, alarm=alarm))


class ClaimTurn(Turn):
    """The dispatcher's turn, to claim and to settle."""

    async def standing(self, destination: str) -> Standing:
        """How a destination stands."""
        return await self._do(partial(outbox.standing, destination=destination))

    async def due(self, destination: str, now: datetime, *, limit: int) -> list[Due]:
        """What may go to a destination now."""
        return await self._do(
            partial(outbox.due, destination=destination, now=now, limit=limit)
        )

    async def attempts_since(self, destination: str, since: datetime) -> list[datetime]:
        """When requests may have reached a destination after an instant."""
        return await self._do(
            partial(outbox.attempts_since, destination=destination, since=since)
        )

    async def lease(
        self,
        messages: Sequence[tuple[Message, str]],
        ended: Sequence[Ended],
        *,
        now: datetime,
        until: datetime,
    ) -> list[list[Event]]:
        """Lease each message under its token; the events of each."""

        def claim(conn: Connection) -> list[list[Event]]:
            outbox.lease(conn, messages, ended, now=now, until=until)
            return [
                outbox.members(conn, message, decode=self._decode)
                for message, _ in messages
            ]

        return await self._commit(claim)

    async def settle(self, settlement: Settlement) -> int:
        """Write what became of a message; how many members it still held."""
        return await self._commit(partial(outbox.settle, settlement=settlement))


class UpkeepTurn(Turn):
    """The turn of whoever keeps the house."""

    async def set_watches(self, names: Sequence[str]) -> list[WatchRow]:
        """Make exactly these the watches in force."""
        return await self._commit(partial(pages.set_watches, names=names))

    async def set_destinations(self, fingerprints: dict[str, str]) -> None:
        """Make these the destinations in force."""
        await self._commit(partial(outbox.set_destinations, fingerprints=fingerprints))

    async def set_reminders(self, policy: TimePolicy, now: datetime) -> int | None:
        """Derive all reminders again if the leads differ; how many, or None."""
        return await self._commit(
            partial(upkeep.set_reminders, policy=policy, now=now, decode=self._decode)
        )

    async def reap(self, now: datetime, *, everything: bool) -> int:
        """Free leases that nobody will settle; how many."""
        return await self._commit(partial(outbox.reap, now=now, everything=everything))

    async def resume(self, destination: str, *, now: datetime) -> int:
        """End a destination's suspension; how many deliveries waited for it."""
        return await self._commit(
            partial(redress.resume, destination=destination, now=now)
        )

    async def redrive(
        self,
        *,
        ids: Sequence[str],
        destination: str | None,
        now: datetime,
        dry_run: bool,
    ) -> list[dict[str, Any]]:
        """Put dead deliveries back; the rows that were, or would be."""
        return await self._commit(
            partial(
                redress.redrive,
                ids=ids,
                destination=destination,
                now=now,
                dry_run=dry_run,
            )
        )

    async def bury(
        self, homes: Collection[str], *, before: datetime, now: datetime
    ) -> int:
        """Give up what is owed to destinations that are no more; how many."""
        return await self._commit(
            partial(upkeep.bury, homes=homes, before=before, now=now)
        )

    async def prune(
        self, *, events_before: datetime, deliveries_before: datetime
    ) -> int:
        """Forget a small batch of what is finished and old; how many rows."""
        return await self._commit(
            partial(
                upkeep.prune,
                events_before=events_before,
                deliveries_before=deliveries_before,
            )
        )


Turned = TypeVar("Turned", bound=Turn)


class Store:
    """One database: turns for whoever writes, and questions that never wait."""

    def __init__(
        self, writer: Engine, readers: Engine, *, offload: Offload, decode: Decode
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._offload = offload
        self._decode = decode
        self._gate = Gate()

    # --- turns ---

    def page_turn(self) -> AbstractAsyncContextManager[PageTurn]:
        """To commit a page: after everybody who is in a hurry."""
        return self._turn(Urgency.PAGE, PageTurn)

    def alarm_turn(self) -> AbstractAsyncContextManager[AlarmTurn]:
        """To fire timers: before everybody else."""
        return self._turn(Urgency.ALARM, AlarmTurn)

    def claim_turn(self) -> AbstractAsyncContextManager[ClaimTurn]:
        """To claim or settle: before pages."""
        return self._turn(Urgency.CLAIM, ClaimTurn)

    def upkeep_turn(self) -> AbstractAsyncContextManager[UpkeepTurn]:
        """To keep the house: when nobody else wants to."""
        return self._turn(Urgency.UPKEEP, UpkeepTurn)

    @asynccontextmanager
    async def _turn(
        self,
        urgency: Urgency,
        make: Callable[[Connection, Offload, Decode], Turned],
    ) -> AsyncIterator[Turned]:
        async with self._gate.turn(urgency):
            with self._writer.connect() as conn:
                yield make(conn, self._offload, self._decode)

    # --- questions ---

    async def unchanged(
        self, prints: Mapping[str, bytes], watch: WatchRow
    ) -> frozenset[str]:
        """Which of these ids are known with these fingerprints."""
        return await self._ask(partial(pages.unchanged, prints=prints, watch=watch))

    async def watches(self) -> list[WatchRow]:
        """The watches in force."""
        return await self._ask(pages.watches)

    async def count_known(self, watch: WatchRow, since: datetime | None) -> int:
        """How many living milestones of a watch start at `since` or later."""
        return await self._ask(partial(pages.count_known, watch=watch, since=since))

    async def is_anyone_absent(self) -> bool:
        """Whether an absence is counted for any milestone."""
        return await self._ask(pages.is_anyone_absent)

    async def next_fire(self) -> datetime | None:
        """When the next timer comes due."""
        return await self._ask(timers.next_fire)

    async def next_start(self, after: datetime) -> datetime | None:
        """The next start after an instant."""
        return await self._ask(partial(timers.next_start, after=after))

    async def next_due(self) -> dict[str, datetime]:
        """By destination: when its next pending delivery is due."""
        return await self._ask(outbox.next_due)

    async def _ask(self, question: Callable[[Connection], T]) -> T:
        def asked() -> T:
            with self._readers.connect() as conn:
                return _guarded(conn, question)

        return await self._offload(asked)

    def close(self) -> None:
        """Put the log back into the database file and let go of it."""
        self._readers.dispose()
        # On a disk that fails the log stays beside the file: nothing is lost by it.
        with suppress(sqlite3.Error), self._writer.connect() as conn:
            raw = conn.connection.driver_connection
            if raw is not None:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.dispose()


def open_store(database: Path, *, offload: Offload, decode: Decode) -> Store:
    """
    Open and, where needed, migrate the store. The caller holds its lock.

    Raises:
        StoreError: it cannot be used; the text says why.
    """
    writer = files.writer(database)
    try:
        files.migrate(writer, database)
    except StoreError:
        writer.dispose()
        raise
    return Store(writer, files.readers(database), offload=offload, decode=decode)


@contextmanager
def reading(database: Path) -> Iterator[Connection]:
    """A connection that reads a store, whether or not a service runs on it."""
    engine = files.readers(database)
    try:
        with engine.connect() as conn:
            yield conn
    except DBAPIError as exc:
        raise StoreBroken(f"{database}: {exc.orig}") from exc
    finally:
        engine.dispose()


def _guarded(conn: Connection, work: Callable[[Connection], T]) -> T:
    try:
        return work(conn)
    except (OperationalError, sqlite3.Error) as exc:
        raise StoreBroken(f"the database failed: {getattr(exc, 'orig', exc)}") from exc
    except DBAPIError as exc:
        raise StoreBroken(f"the database refused: {exc.orig}") from exc
