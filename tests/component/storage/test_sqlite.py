"""The database file: opened, locked, migrated, backed up, refused."""

import itertools
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError
from storing import HOOK, NOW, Shelf, ask, inline, opened, row, sql, stocked
from structlog.testing import capture_logs

from notifier.errors import (
    SchemaMismatch,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreLocked,
)
from notifier.storage import due, milestones, sqlite
from notifier.storage.database import Connection, Database, Priority, open_database, reading
from notifier.storage.schema import metadata

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


def _mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def _names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def _pragmas(engine: Engine, *names: str) -> dict[str, str]:
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        return {name: str(raw.execute(f"PRAGMA {name}").fetchone()[0]) for name in names}


def test_the_writer_survives_a_power_cut_because_its_pragmas_hold(
    database: Path,
) -> None:
    engine = sqlite.writer(database)

    found = _pragmas(engine, "journal_mode", "synchronous", "mmap_size", "trusted_schema")

    assert found == {
        "journal_mode": "wal",
        "synchronous": "2",
        "mmap_size": "0",
        "trusted_schema": "0",
    }
    engine.dispose()


async def test_only_the_owner_can_read_the_store_and_its_log(database: Path) -> None:
    lock = sqlite.InstanceLock(database)
    lock.take()
    async with opened(database) as store:
        await stocked(store)

        modes = {name: _mode(database.parent / name) for name in _names(database.parent)}
    lock.release()

    assert modes == dict.fromkeys(
        (
            "notifier.db",
            "notifier.db-wal",
            "notifier.db-shm",
            "notifier.db.lock",
        ),
        0o600,
    )


# --- the lock -----------------------------------------------------------------


def test_a_second_instance_is_told_which_process_holds_the_store(
    database: Path,
) -> None:
    first = sqlite.InstanceLock(database)
    first.take()

    with pytest.raises(StoreBusy, match=rf"notifier\.db .*process {os.getpid()};"):
        sqlite.InstanceLock(database).take()

    first.release()
    second = sqlite.InstanceLock(database)
    second.take()
    second.release()


_HOLDER = """
import sys, pathlib
from notifier.storage.sqlite import InstanceLock
lock = InstanceLock(pathlib.Path(sys.argv[1]))
lock.take()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_process_that_was_killed_holds_the_store_no_longer(database: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreBusy, match=f"process {holder.pid}"):
            sqlite.InstanceLock(database).take()

        holder.send_signal(signal.SIGKILL)
        holder.wait()

    lock = sqlite.InstanceLock(database)
    lock.take()
    lock.release()


def test_a_lock_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"file.*notifier\.db\.lock: "):
        sqlite.InstanceLock(tmp_path / "file" / "notifier.db").take()


# --- schema -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["at once", "by every migration"])
def test_the_migrations_lead_to_exactly_the_tables_of_the_schema(
    database: Path, tmp_path: Path, way: str
) -> None:
    engine = sqlite.writer(database)
    scripts = sqlite.SCRIPTS
    if way != "at once":  # other scripts than the program's own are always run
        scripts = shutil.copytree(scripts, tmp_path / "scripts")
    sqlite.migrate(engine, database, scripts=scripts)

    with engine.connect() as conn:
        differences = compare_metadata(MigrationContext.configure(conn), metadata)
        revision = sqlite.revision(conn)
    engine.dispose()

    assert differences == []
    assert revision == sqlite.HEAD


def test_the_programs_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(sqlite.SCRIPTS))

    assert ScriptDirectory.from_config(config).get_heads() == [sqlite.HEAD]


def test_a_start_whose_schema_is_right_does_not_pay_for_alembic(database: Path) -> None:
    sqlite.migrate(engine := sqlite.writer(database), database)
    engine.dispose()
    check = (
        "import sys, pathlib; from notifier.storage import sqlite;"
        "p = pathlib.Path(sys.argv[1]); e = sqlite.writer(p); sqlite.migrate(e, p);"
        "sys.exit('alembic' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", check, str(database)], check=False)

    assert done.returncode == 0


_NEXT = """
import sqlalchemy as sa
from alembic import op
revision = "next"
down_revision = "{head}"

def upgrade() -> None:
    op.create_table("more", sa.Column("id", sa.Integer()))
    {then}
"""


def _with_next(folder: Path, *, then: str = "pass") -> Path:
    scripts = folder / "migrations"
    shutil.copytree(sqlite.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "next.py").write_text(_NEXT.format(then=then, head=sqlite.HEAD))
    return scripts


async def test_an_older_store_is_backed_up_and_then_migrated_with_all_it_holds(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as store:
        await (await stocked(store)).show(row("m1"))
    engine = sqlite.writer(database)

    kept = sqlite.migrate(engine, database, head="next", scripts=_with_next(tmp_path))
    engine.dispose()

    assert kept == f"{database}.before-next"
    for file, revision in ((Path(kept), sqlite.HEAD), (database, "next")):
        assert ask(file, "SELECT version_num FROM alembic_version") == [(revision,)]
        assert ask(file, "SELECT id FROM milestones") == [("m1",)]
    assert _mode(kept) == 0o600


async def test_a_migration_that_fails_leaves_the_old_schema_and_the_backup(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as store:
        await (await stocked(store)).show(row("m1"))
    broken = _with_next(tmp_path, then='op.execute("SELECT * FROM nowhere")')
    engine = sqlite.writer(database)

    with pytest.raises(StoreError, match="nowhere"):
        sqlite.migrate(engine, database, head="next", scripts=broken)
    engine.dispose()

    assert ask(database, "SELECT version_num FROM alembic_version") == [(sqlite.HEAD,)]
    assert ask(database, "SELECT name FROM sqlite_master WHERE name = 'more'") == []
    assert _names(database.parent, "*.before-next") == ["notifier.db.before-next"]
    async with opened(database) as store:
        assert await store.read(milestones.watches) != []


def _forge_revision(database: Path, revision: str) -> None:
    engine = sqlite.writer(database)
    sqlite.migrate(engine, database)
    engine.dispose()
    with sql(database) as do:
        do("UPDATE alembic_version SET version_num = ?", revision)


def test_the_store_of_a_newer_version_is_refused(database: Path) -> None:
    _forge_revision(database, "0999")

    with pytest.raises(SchemaMismatch, match=r"newer version .*schema 0999.*install"):
        open_database(database, run_in_thread=inline)


def test_the_store_of_an_unknown_older_version_is_refused(database: Path) -> None:
    _forge_revision(database, "0000")

    with pytest.raises(StoreError, match="0000"):
        open_database(database, run_in_thread=inline)


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "alembic's too"])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(
    database: Path, versioned: bool
) -> None:
    with sql(database) as do:
        do("CREATE TABLE recipes (id INTEGER)")
        if versioned:
            do("CREATE TABLE alembic_version (version_num TEXT)")
            do("INSERT INTO alembic_version VALUES ('00ab34')")
    before = database.read_bytes()

    with pytest.raises(StoreError, match="not one of this program"):
        open_database(database, run_in_thread=inline)

    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_a_clear_error(database: Path) -> None:
    database.write_bytes(b"To whom it may concern. " * 500)

    with pytest.raises(StoreError, match=rf"{database}: file is not a database"):
        open_database(database, run_in_thread=inline)


async def test_a_damaged_database_is_a_clear_error_when_it_is_opened(
    database: Path,
) -> None:
    async with opened(database) as store:
        await stocked(store)
    with database.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 4000)

    with pytest.raises(StoreError, match=rf"{database}: .*(malformed|database)"):
        open_database(database, run_in_thread=inline)


async def test_damage_that_is_met_later_says_so_to_reader_and_writer(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        await shelf.show(*(row(f"m{n}") for n in range(200)))
    page = ask(database, "SELECT rootpage FROM sqlite_master WHERE name = 'events'")
    with database.open("r+b") as file:
        file.seek((page[0][0] - 1) * 4096)
        file.write(b"\xff" * 4096)

    async with opened(database) as store:
        with pytest.raises(StoreBroken, match="malformed"):
            await shelf.claim()
    with (
        pytest.raises(StoreBroken, match=rf"{database}: .*malformed"),
        reading(database) as conn,
    ):
        conn.execute(text("SELECT count(*) FROM events WHERE changes <> ''"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a read-only folder")
def test_a_folder_that_cannot_be_written_is_a_clear_error() -> None:
    database = Path("/proc/self/notifier.db")

    with pytest.raises(StoreError, match="unable to open database file"):
        open_database(database, run_in_thread=inline)


def test_a_reader_of_a_store_that_is_not_there_says_so(database: Path) -> None:
    with pytest.raises(StoreError, match=rf"{database}"), reading(database) as conn:
        conn.execute(text("SELECT 1"))

    assert not database.exists()


# --- readers ------------------------------------------------------------------


async def test_a_reader_cannot_write(database: Path) -> None:
    async with opened(database):
        with (
            closing(sqlite.readers(database).connect()) as conn,
            pytest.raises(OperationalError, match="readonly"),
        ):
            conn.execute(text("DELETE FROM events"))


async def test_readers_see_the_last_commit_while_the_writer_is_at_work(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        await shelf.show(row("m1"))

        def delete(conn: Connection) -> int:
            conn.execute(text("DELETE FROM events"))
            with reading(database) as reader:
                return int(reader.scalar(text("SELECT count(*) FROM events")) or 0)

        assert await store.write(Priority.MAINTENANCE, delete) == 1


# --- backup -------------------------------------------------------------------


async def test_a_backup_beside_the_service_is_sound_and_only_for_the_owner(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        await shelf.show(row("m1"))

        def back_up(conn: Connection) -> None:
            conn.execute(text("DELETE FROM events"))
            sqlite.backup(database, tmp_path / "copy.db")
            conn.rollback()

        await store.write(Priority.MAINTENANCE, back_up)

    copy = tmp_path / "copy.db"
    assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
    assert ask(copy, "SELECT milestone_id FROM events") == [("m1",)]
    assert _mode(copy) == 0o600
    assert _names(tmp_path, "copy*") == ["copy.db"]
    async with opened(copy) as store:
        assert await store.read(due.next_due, [HOOK]) == {HOOK: NOW}


async def test_a_backup_onto_the_store_itself_is_refused(database: Path) -> None:
    async with opened(database) as store:
        await (await stocked(store)).show(row("m1"))
        (database.parent / "alias.db").symlink_to(database)

        for target in (database, database.parent / "alias.db"):
            with pytest.raises(StoreError, match="itself"):
                sqlite.backup(database, target)


async def test_a_backup_that_fails_leaves_the_older_one_alone(
    database: Path, tmp_path: Path
) -> None:
    async with opened(database) as store:
        await stocked(store)
    with sqlite3.connect(database) as conn:
        pages = conn.execute("PRAGMA page_count").fetchone()[0]
    conn.close()
    with database.open("r+b") as file:
        file.seek((pages - 1) * 4096)
        file.write(b"\xff" * 4096)
    (tmp_path / "copy.db").write_bytes(b"older")

    with pytest.raises(StoreError):
        sqlite.backup(database, tmp_path / "copy.db")

    assert (tmp_path / "copy.db").read_bytes() == b"older"
    assert _names(tmp_path, "*.partial") == []


@pytest.mark.parametrize("place", ["nowhere/copy.db", "."], ids=["no folder", "folder"])
async def test_a_backup_that_cannot_be_written_is_a_clear_error(
    database: Path, tmp_path: Path, place: str
) -> None:
    async with opened(database) as store:
        await stocked(store)

    with pytest.raises(StoreError, match=str(tmp_path)):
        sqlite.backup(database, tmp_path / place)


# --- a disk that fails --------------------------------------------------------


def _on(engine: Engine, database: Path) -> Database:
    return Database(engine, sqlite.readers(database), run_in_thread=inline)


@pytest.mark.parametrize(
    "pragma",
    ["max_page_count = 1", "query_only = 1"],
    ids=["a full disk", "a disk that has become read-only"],
)
async def test_a_failing_disk_breaks_the_store_and_leaves_nothing_half_done(
    database: Path, pragma: str
) -> None:
    async with opened(database) as store:
        await (await stocked(store)).show(row("m1"))
    engine = sqlite.writer(database)
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        raw.execute(f"PRAGMA {pragma}")
    store = _on(engine, database)
    shelf = await stocked_again(store)

    with pytest.raises(StoreBroken, match=r"full|readonly"):
        await shelf.show(*(row(f"m{n}", title="x" * 500) for n in range(2, 400)))
    store.close()

    async with opened(database) as store:
        shelf = await stocked_again(store)
        assert ask(database, "SELECT id FROM milestones") == [("m1",)]
        await shelf.show(row("m2"))
    assert ask(database, "SELECT count(*) FROM events") == [(2,)]


async def test_a_database_that_cannot_be_opened_any_more_breaks_the_store(
    database: Path,
) -> None:
    async with opened(database) as store:
        _take_away(database)

        with pytest.raises(StoreBroken, match="the database failed: unable to open"):
            await store.read(milestones.watches)


def _take_away(database: Path) -> None:
    database.rename(database.with_name("elsewhere.db"))


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
async def test_what_cannot_be_written_is_named_and_nothing_is_made_beside_it(
    database: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    async with opened(database):
        pass
    file = database.with_name(database.name + ending)
    file.touch()
    before = sorted(database.parent.iterdir())
    monkeypatch.setattr(os, "access", lambda path, _mode: path != file)

    with pytest.raises(StoreError, match=rf"{file.name}: Permission denied"):
        sqlite.writer(database)

    assert sorted(database.parent.iterdir()) == before


async def stocked_again(store: Database) -> Shelf:
    [watch] = await store.read(milestones.watches)
    return Shelf(store=store, watch=watch)


def _impatient(engine: Engine) -> None:
    """Let the busy timeout be over at once."""
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA busy_timeout = 1")


async def test_a_writer_waits_until_another_program_lets_go_and_says_so(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        _impatient(store._writer)
        with sql(database) as alien, capture_logs() as logs:
            alien("BEGIN IMMEDIATE")
            tries = itertools.count(1)

            @event.listens_for(store._writer, "handle_error")
            def met(_context: object) -> None:
                if next(tries) == sqlite.PATIENCE - 1:
                    alien("ROLLBACK")

            await shelf.show(row("m1"))

    assert ask(database, "SELECT id FROM milestones") == [("m1",)]
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("store.locked", "warning"),
        ("store.unlocked", "info"),
    ]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="Linux alone tells")
async def test_a_writer_that_waits_names_the_process_that_holds_the_store(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        _impatient(store._writer)
        with (
            _held_by_another(database) as pid,
            capture_logs() as logs,
            pytest.raises(StoreBroken),
        ):
            await shelf.show(row("m1"))

    assert [line["held_by"] for line in logs] == [f"process {pid}"]


@pytest.mark.parametrize(
    ("device", "inode", "held_by"),
    [(0, 0, "process 4711"), (1, 0, "another program"), (0, 1, "another program")],
    ids=["it", "on another disk", "another file"],
)
def test_whoever_locks_another_file_is_not_named(
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: int,
    inode: int,
    held_by: str,
) -> None:
    shared = database.with_name(f"{database.name}-shm")
    shared.touch()
    at = shared.stat()
    disk = f"{os.major(at.st_dev) + device:02x}:{os.minor(at.st_dev):02x}"
    locks = (
        f"1: FLOCK  ADVISORY  WRITE 4710 {disk}:7 0 EOF\n"
        f"1: -> FLOCK  ADVISORY  WRITE 4709 {disk}:7 0 EOF\n"
        f"2: POSIX  ADVISORY  WRITE 4711 {disk}:{at.st_ino + inode} 120 120\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda *_: locks)

    assert sqlite._lock_holder(database) == held_by


@contextmanager
def _held_by_another(database: Path) -> Iterator[int]:
    """Inside, another process has the right to write: this one."""
    holds = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as alien:
        assert alien.stdin is not None
        assert alien.stdout is not None
        alien.stdout.readline()
        yield alien.pid
        alien.stdin.close()


async def test_a_store_that_an_alien_process_holds_ends_the_wait_with_an_error(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        _impatient(store._writer)
        with sql(database) as alien:
            alien("BEGIN IMMEDIATE")

            with pytest.raises(StoreBroken, match="locked"):
                await shelf.show(row("m1"))

            alien("ROLLBACK")
        await shelf.show(row("m1"))
    assert ask(database, "SELECT id FROM milestones") == [("m1",)]


async def test_who_is_to_stop_waits_for_no_other_program_and_breaks_nothing(
    database: Path,
) -> None:
    stopping = False
    async with opened(database, stopping=lambda: stopping) as store:
        shelf = await stocked(store)
        _impatient(store._writer)
        with sql(database) as alien, capture_logs() as logs:
            alien("BEGIN IMMEDIATE")
            stopping = True

            with pytest.raises(StoreLocked):
                await shelf.show(row("m1"))

            alien("ROLLBACK")
        await shelf.show(row("m1"))
    assert [line["event"] for line in logs] == ["store.locked"]
    assert ask(database, "SELECT id FROM milestones") == [("m1",)]


async def test_who_is_to_stop_while_it_starts_is_not_told_that_the_store_is_broken(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(database):
        pass
    monkeypatch.setitem(sqlite._PRAGMAS, "busy_timeout", "1")
    with sql(database) as alien:
        alien("BEGIN IMMEDIATE")

        with pytest.raises(StoreLocked):
            open_database(database, run_in_thread=inline, stopping=lambda: True)
