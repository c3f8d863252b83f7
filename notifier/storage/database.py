"""
The database as the workers and the web see it: `await db.write(...)`, `await db.read(...)`.

There is one writer, served by priority, and several readers that never wait for it. A
function that is passed in gets the connection first, then its own arguments. It runs
where `run_in_thread` runs it: in a worker thread, or inline in a simulation.
"""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from notifier.concurrency import PriorityLock
from notifier.errors import StoreBroken, StoreError, StoreSlow
from notifier.storage import sqlite

__all__ = ["Connection", "Database", "Priority", "RunInThread", "open_database", "reading"]

T = TypeVar("T")
P = ParamSpec("P")


class RunInThread(Protocol):
    """Runs blocking work off the event loop and returns its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run the work."""


class Priority(IntEnum):
    """The order in which waiting writes are served."""

    TIMERS = 0
    CLAIM = 1
    #: A claim for a destination whose last attempt failed: after the others.
    RETRY = 2
    PAGE = 3
    MAINTENANCE = 4


class Database:
    """One database: one writer with priorities, and connections that only read."""

    def __init__(self, writer: Engine, readers: Engine, *, run_in_thread: RunInThread) -> None:
        self._writer = writer
        self._readers = readers
        self._run_in_thread = run_in_thread
        self._lock = PriorityLock()

    async def write(
        self,
        priority: Priority,
        work: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """
        Run `work(conn, ...)` in one transaction: all of it is committed, or nothing.

        Raises:
            StoreBroken: the database failed or refused.
            StoreLocked: another program holds the file while this one is stopping.
        """
        async with self._lock.hold(priority):
            return await self.transact(work, *args, **kwargs)

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator["Turn"]:
        """
        Hold the right to write, for a caller who collects its work only then.

        Each `write` of the turn is one transaction; no other writer runs between them.
        """
        async with self._lock.hold(priority):
            yield Turn(self)

    async def transact(
        self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(conn, ...)` in one transaction; the caller holds the right to write."""

        def transaction() -> T:
            with translated(), self._writer.connect() as conn:
                result = work(conn, *args, **kwargs)
                conn.commit()
                return result

        return await self._run_in_thread(transaction)

    async def read(
        self, query: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query(conn, ...)` on a connection that cannot write."""
        return await self.read_until(None, query, *args, **kwargs)

    async def read_until(
        self,
        is_over: Callable[[], bool] | None,
        query: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do the same; raises StoreSlow once `is_over()` says that time is up."""

        def answer() -> T:
            with translated(), self._readers.connect() as conn, sqlite.bounded(conn, is_over):
                return query(conn, *args, **kwargs)

        return await self._run_in_thread(answer)

    def close(self) -> None:
        """Put the write-ahead log back into the database file and close it."""
        self._readers.dispose()
        # On a disk that fails the log stays beside the file: nothing is lost by it.
        with suppress(sqlite3.Error), self._writer.connect() as conn:
            raw = conn.connection.driver_connection
            if raw is not None:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.dispose()


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to write, as long as it is held."""

    _db: Database

    async def write(
        self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work(conn, ...)` in one transaction."""
        return await self._db.transact(work, *args, **kwargs)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database raises into this program's errors."""
    try:
        yield
    except (OperationalError, sqlite3.Error) as exc:
        if sqlite.is_interrupted(exc):
            raise StoreSlow("looking that up takes too long") from exc
        raise StoreBroken(f"the database failed: {getattr(exc, 'orig', exc)}") from exc
    except DBAPIError as exc:
        raise StoreBroken(f"the database refused: {exc.orig}") from exc


def open_database(
    database: Path,
    *,
    run_in_thread: RunInThread,
    stopping: Callable[[], bool] = lambda: False,
) -> Database:
    """
    Open the database and, where needed, migrate it. The caller holds its instance lock.

    Once `stopping()` is true, a write raises StoreLocked instead of waiting for another
    program to the end of its patience.

    Raises:
        StoreError: it cannot be used; the text says why.
    """
    writer = sqlite.writer(database, stopping)
    try:
        sqlite.migrate(writer, database)
    except StoreError:
        writer.dispose()
        raise
    return Database(writer, sqlite.readers(database), run_in_thread=run_in_thread)


@contextmanager
def reading(database: Path) -> Iterator[Connection]:
    """A connection that reads a database, whether or not a service runs on it."""
    engine = sqlite.readers(database)
    try:
        with engine.connect() as conn:
            yield conn
    except DBAPIError as exc:
        raise StoreBroken(f"{database}: {exc.orig}") from exc
    finally:
        engine.dispose()
