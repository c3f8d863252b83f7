"""
The SQLite file: locked, opened, migrated, backed up.

Source: SQLite documentation, "Write-Ahead Logging" and "PRAGMA statements".
"""

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool, StaticPool

from notifier.errors import SchemaMismatch, StoreBroken, StoreBusy, StoreError, StoreLocked
from notifier.storage import schema as t

log = structlog.get_logger()

SCRIPTS = Path(__file__).parent / "migrations"
#: The newest revision among them.
HEAD = "0003"
#: From this version on SQLite is free of the bug that can corrupt a WAL at its reset.
SOUND_SQLITE = (3, 51, 3)

_SQLITE = "sqlite:///"
_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "2",
    "foreign_keys": "1",
    "trusted_schema": "0",
    "cell_size_check": "1",
    "mmap_size": "0",
    "busy_timeout": "5000",
    "journal_size_limit": str(64 * 1024 * 1024),
    "cache_size": "-16384",
}
_READER_PRAGMAS = {"query_only": "1", "mmap_size": "0", "cache_size": "-16384"}
#: Another program may hold the write lock for so many `busy_timeout`s: half of the time
#: after which the watchdog takes a worker for stalled.
PATIENCE = 12
#: Steps of SQLite's virtual machine between two calls of `is_over`: under a millisecond.
_STEPS = 10_000
#: The byte of the WAL index whose lock is the right to write, by SQLite's file format.
_WRITE_LOCK = 120


def database_path(url: str) -> Path:
    """The file of a `sqlite:///` URL; any characters may be in its name."""
    if not url.startswith(_SQLITE) or url == _SQLITE:
        raise StoreError("store: only sqlite:///FILE is available yet")
    return Path(url.removeprefix(_SQLITE))


class InstanceLock:
    """
    The lock of the one process that may write to a database: `<database>.lock`.

    Raises:
        StoreBusy: another living process holds it; the text names it.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def take(self) -> None:
        """Take the lock, or raise."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as exc:
            raise StoreError(f"{self._path}: {exc.strerror}") from exc
        file = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = file.read().strip() or "another process"
            file.close()
            raise StoreBusy(
                f"{self._path.with_suffix('')} is in use by {holder}; stop it first, "
                "or give this instance a store of its own"
            ) from exc
        except OSError as exc:
            file.close()
            raise StoreError(f"{self._path}: {exc.strerror}") from exc
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Release the lock, if it is held."""
        if self._file is not None:
            self._file.close()
            self._file = None


# --- engines ------------------------------------------------------------------


def writer(database: Path, stopping: Callable[[], bool] = lambda: False) -> Engine:
    """
    The one connection that writes; it also makes the checkpoints.

    Once `stopping()` is true, it waits for another program no longer than one
    `busy_timeout`; then a write raises StoreLocked.

    Raises:
        StoreError: the file cannot be opened or is no database of this program.
    """
    with suppress(OSError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))
    # Beside a database that it can only read, SQLite makes files that cannot be written
    # either, and these stay when the database itself is put right.
    for ending in ("", "-wal", "-shm"):
        file = database.with_name(database.name + ending)
        # Not opened: closing it would release locks.
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise StoreError(f"{file}: {os.strerror(errno.EACCES)}")
    engine = create_engine(
        "sqlite://", creator=_connect(f"file:{_quoted(database)}"), poolclass=StaticPool
    )

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        _begin(conn, database, stopping)

    try:
        with engine.connect() as conn:
            _set_up(conn.connection.driver_connection)
    except Exception as exc:
        engine.dispose()
        raise StoreError(f"{database}: {_reason(exc)}") from exc
    return engine


def _set_up(raw: Any) -> None:
    """Set the pragmas, unless the file belongs to another program."""
    tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master")}
    if tables and "milestones" not in tables:
        raise StoreError("it is a database, but not one of this program")
    for name, value in _PRAGMAS.items():
        raw.execute(f"PRAGMA {name} = {value}")
        actual = str(raw.execute(f"PRAGMA {name}").fetchone()[0])
        if actual != value:
            raise StoreError(f"PRAGMA {name} is {actual} where {value} is needed")


def _begin(conn: Connection, database: Path, stopping: Callable[[], bool]) -> None:
    """
    Begin a write transaction, waiting for another program that writes.

    Only here can another program be in the way, and here nothing is done yet: to try
    again is safe, and so is to give up.
    """
    for tries in range(1, PATIENCE + 1):
        try:
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as exc:
            code = getattr(exc.orig, "sqlite_errorcode", 0)
            if tries == PATIENCE or code & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if tries == 1:
                log.warning("store.locked", held_by=_lock_holder(database))
            if stopping():
                raise StoreLocked(f"{database}: another program writes to it") from exc
        else:
            if tries > 1:
                log.info("store.unlocked", tries=tries)
            return


def _lock_holder(database: Path) -> str:
    """
    The process that holds the write lock, as far as Linux knows: `process 1234`.

    The database must not be opened for it: closing it would release our own locks.
    """
    with suppress(OSError, ValueError):
        shared = database.with_name(f"{database.name}-shm").stat()
        ours = (os.major(shared.st_dev), os.minor(shared.st_dev), shared.st_ino)
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            # number: POSIX ADVISORY WRITE process major:minor:inode first last
            _, kind, _, access, pid, file, first, last = line.split()[:8]
            if (kind, access) != ("POSIX", "WRITE"):
                continue
            major, minor, inode = file.split(":")
            if (int(major, 16), int(minor, 16), int(inode)) != ours:
                continue
            if int(first) <= _WRITE_LOCK and (last == "EOF" or int(last) >= _WRITE_LOCK):
                return f"process {pid}"
    return "another program"


def readers(database: Path) -> Engine:
    """Connections that can only read."""
    engine = create_engine(
        "sqlite://",
        creator=_connect(f"file:{_quoted(database)}?mode=ro"),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=0,
        pool_use_lifo=True,  # one warm page cache rather than four cold ones
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        for name, value in _READER_PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")

    return engine


@contextmanager
def bounded(conn: Connection, is_over: Callable[[], bool] | None) -> Iterator[None]:
    """Interrupt statements on the connection meanwhile, once `is_over()` is true."""
    raw = conn.connection.driver_connection
    if is_over is None or raw is None:
        yield
        return
    raw.set_progress_handler(is_over, _STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)


def is_interrupted(exc: Exception) -> bool:
    """Whether `bounded` has interrupted the statement."""
    code = getattr(getattr(exc, "orig", exc), "sqlite_errorcode", 0)
    return bool(code == sqlite3.SQLITE_INTERRUPT)


def _connect(uri: str) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, check_same_thread=False, isolation_level=None, timeout=5
        )

    return connect


def _quoted(database: Path) -> str:
    return str(database).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _reason(exc: Exception) -> str:
    return str(getattr(exc, "orig", None) or exc)


# --- schema -------------------------------------------------------------------


def revision(conn: Connection) -> str | None:
    """The schema's revision; None: the database is new."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    return str(conn.scalar(text("SELECT version_num FROM alembic_version")))


def migrate(
    engine: Engine, database: Path, *, head: str = HEAD, scripts: Path = SCRIPTS
) -> str | None:
    """
    Bring the schema to this program's revision, after a backup.

    All or nothing. The backup's path, or None where nothing was at stake.

    Raises:
        SchemaMismatch: the store was written by a newer version.
        StoreBroken: the file is damaged, or the migration failed.
    """
    try:
        with engine.connect() as conn:
            found = revision(conn)
    except StoreLocked:
        raise
    except Exception as exc:
        raise StoreBroken(f"{database}: {_reason(exc)}") from exc
    if found == head:
        return None
    if found is not None and found > head:
        raise SchemaMismatch(
            f"{database} was written by a newer version (schema {found}, this program "
            f"knows {head}); install that version, or restore an older backup"
        )
    kept = None
    if found is not None:
        kept = str(database.with_name(f"{database.name}.before-{head}"))
        backup(database, Path(kept))
    try:
        if found is None and scripts == SCRIPTS:
            _create(engine, head)
        else:
            _upgrade(engine, scripts)
    except StoreLocked:
        raise
    except Exception as exc:
        raise StoreBroken(f"{database}: cannot be migrated: {_reason(exc)}") from exc
    return kept


def _create(engine: Engine, head: str) -> None:
    """The newest schema at once: it is what all revisions together come to."""
    with engine.begin() as conn:
        t.metadata.create_all(conn)
        t.version.create(conn)
        conn.execute(t.version.insert(), {"version_num": head})


def _upgrade(engine: Engine, scripts: Path) -> None:
    # Only here: a start whose schema is right must not pay for the import.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "head")


def backup(database: Path, target: Path) -> None:
    """
    Write a consistent copy beside the running service, whole or not at all.

    Raises:
        StoreError: the copy could not be written, or is not sound.
    """
    if not database.exists():
        raise StoreError(f"{database}: there is no such database")
    if target.exists() and target.samefile(database):
        raise StoreError(f"{target}: that is the database itself")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            closing(_connect(f"file:{_quoted(database)}?mode=ro")()) as source,
            closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = delete")
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise StoreError(f"{database}: the copy is not sound: {verdict}")
        _flush(partial)
        partial.replace(target)
        _flush(target.parent)
    except (OSError, sqlite3.Error) as exc:
        raise StoreError(f"{target}: {exc}") from exc
    finally:
        with suppress(OSError):  # what went wrong before it is told
            partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
