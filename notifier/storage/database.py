"""
The store behind turns: one writer, served by urgency, and readers that never wait.

Statements run where `offload` puts them: in worker threads for the service, inline
in a simulation.
"""

import sqlite3
from collections.abc import (
    AsyncIterator,
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
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from notifier.concurrency import Gate
from notifier.domain.commit import WatchRow
from notifier.domain.incidents import View
from notifier.domain.live_status import Candidate
from notifier.domain.models import Event, Message
from notifier.domain.pagination import DeadFilter, DeadLetters
from notifier.domain.timers import Trust
from notifier.errors import StoreBroken, StoreError
from notifier.messages.incident_text import Found
from notifier.storage import (
    dead_letters,
    due,
    incidents,
    live_status,
    milestones,
    retention,
    sqlite,
    timers,
)
from notifier.storage.milestones import Decode
from notifier.storage.turn import (
    AlarmTurn,
    ClaimTurn,
    Offload,
    OperatorTurn,
    PageTurn,
    Turn,
    UpkeepTurn,
    Urgency,
    translated,
)

__all__ = ["Offload", "Store", "open_store", "reading"]

T = TypeVar("T")
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

    def claim_turn(self, *, patient: bool = False) -> AbstractAsyncContextManager[ClaimTurn]:
        """To claim or settle: before pages; `patient`: after those who need not be."""
        return self._turn(Urgency.RETRY if patient else Urgency.CLAIM, ClaimTurn)

    def operator_turn(self) -> AbstractAsyncContextManager[OperatorTurn]:
        """To tell the operator: before pages."""
        return self._turn(Urgency.CLAIM, OperatorTurn)

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

    async def unchanged(self, prints: Mapping[str, bytes], watch: WatchRow) -> frozenset[str]:
        """Which of these ids are known with these fingerprints."""
        return await self.ask(partial(milestones.unchanged, prints=prints, watch=watch))

    async def watches(self) -> list[WatchRow]:
        """The watches in force."""
        return await self.ask(milestones.watches)

    async def count_known(self, watch: WatchRow, since: datetime | None) -> int:
        """How many living milestones of a watch start at `since` or later."""
        return await self.ask(partial(milestones.count_known, watch=watch, since=since))

    async def is_anyone_absent(self) -> bool:
        """Whether an absence is counted for any milestone."""
        return await self.ask(milestones.is_anyone_absent)

    async def clock(self) -> Trust | None:
        """What the machine's clock was taken for at last."""
        return await self.ask(retention.clock)

    async def next_fire(self) -> datetime | None:
        """When the next timer comes due."""
        return await self.ask(timers.next_fire)

    async def next_start(self, after: datetime) -> datetime | None:
        """The next start after an instant."""
        return await self.ask(partial(timers.next_start, after=after))

    async def starting(
        self, watches: Sequence[str], *, after: datetime, before: datetime, limit: int
    ) -> list[Candidate]:
        """The milestones of these watches that start between two instants."""
        return await self.ask(
            partial(live_status.starting, watches=watches, after=after, before=before, limit=limit)
        )

    async def told(self, messages: Sequence[Message]) -> list[list[Event]]:
        """What each of these messages tells, in its order."""
        return await self.ask(partial(due.members, messages=messages, decode=self._decode))

    async def next_due(self, destinations: Sequence[str]) -> dict[str, datetime]:
        """By destination: when its next pending delivery is due."""
        return await self.ask(partial(due.next_due, destinations=destinations))

    async def view(self, *, names: Collection[str], now: datetime, bad_for: timedelta) -> View:
        """How the service fares."""
        return await self.ask(partial(incidents.view, names=names, now=now, bad_for=bad_for))

    async def found(self, *, since: datetime, now: datetime) -> Found:
        """What has happened since an instant."""
        return await self.ask(partial(incidents.found, since=since, now=now))

    async def dead_letters(self, wanted: DeadFilter, *, is_over: Callable[[], bool]) -> DeadLetters:
        """The dead deliveries that are meant; StoreSlow as `ask` says."""
        ask = partial(dead_letters.dead_letters, wanted=wanted)
        return await self.ask(ask, is_over=is_over)

    async def ask(
        self,
        question: Callable[[Connection], T],
        *,
        is_over: Callable[[], bool] | None = None,
    ) -> T:
        """
        Ask something else, by a connection that cannot write.

        Raises: StoreSlow once `is_over` says that the answer is not waited for.
        """

        def asked() -> T:
            with (
                translated(),
                self._readers.connect() as conn,
                sqlite.bounded(conn, is_over),
            ):
                return question(conn)

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


def open_store(
    database: Path,
    *,
    offload: Offload,
    decode: Decode,
    stopping: Callable[[], bool] = lambda: False,
) -> Store:
    """
    Open and, where needed, migrate the store. The caller holds its lock.

    Once it is `stopping`, whoever is to write raises StoreLocked rather than wait
    for another program to the end of its patience.

    Raises:
        StoreError: it cannot be used; the text says why.
    """
    writer = sqlite.writer(database, stopping)
    try:
        sqlite.migrate(writer, database)
    except StoreError:
        writer.dispose()
        raise
    return Store(writer, sqlite.readers(database), offload=offload, decode=decode)


@contextmanager
def reading(database: Path) -> Iterator[Connection]:
    """A connection that reads a store, whether or not a service runs on it."""
    engine = sqlite.readers(database)
    try:
        with engine.connect() as conn:
            yield conn
    except DBAPIError as exc:
        raise StoreBroken(f"{database}: {exc.orig}") from exc
    finally:
        engine.dispose()
