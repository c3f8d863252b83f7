"""The house is kept, in simulated time."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from simulated import SimulatedClock, backend
from storing import DAY, HOOK, NOW, Shelf, ask, inline, opened, row, stocked
from structlog.testing import capture_logs

from notifier.concurrency import WakeupEvent
from notifier.domain.models import Sent
from notifier.settings.models import RetentionSettings
from notifier.storage import due
from notifier.storage.backups import DailyBackups
from notifier.workers.maintenance import BackUp, Maintenance
from notifier.workers.watchdog import Watchdog

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


class _Scene:
    """A store whose house is kept."""

    def __init__(self, shelf: Shelf, back_up: BackUp | None = None) -> None:
        self.shelf = shelf
        self.back_up = back_up
        self.clock = SimulatedClock()
        self.watchdog = Watchdog(self.clock)
        self.outbox = WakeupEvent()

    def maintain(self) -> Maintenance:
        return Maintenance(
            db=self.shelf.store,
            clock=self.clock,
            retention=RetentionSettings(),
            dispatcher_wakeup=self.outbox,
            heartbeat=self.watchdog.heartbeat,
            back_up=self.back_up,
        )


@asynccontextmanager
async def _kept(database: Path, *, back_up: BackUp | None = None) -> AsyncIterator[_Scene]:
    async with opened(database) as store, anyio.create_task_group() as tasks:
        scene = _Scene(await stocked(store), back_up)
        tasks.start_soon(scene.maintain().run)
        yield scene
        tasks.cancel_scope.cancel()


async def test_a_lease_that_ran_out_is_freed_soon_and_whoever_delivers_is_woken(
    database: Path,
) -> None:
    async with _kept(database) as scene:
        await scene.shelf.show(row("m1"))
        await scene.shelf.claim(now=NOW)

        woken = await scene.outbox.wait(3600)

        assert woken
        assert 90 < scene.clock.monotonic() <= 101
        assert await scene.shelf.store.read(due.next_due, [HOOK]) == {HOOK: scene.clock.now()}


async def test_what_is_old_is_forgotten_batch_by_batch(database: Path) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        long_ago = NOW - 100 * DAY
        for page in range(3):
            rows = [row(f"m{page}-{n}") for n in range(500)]
            await shelf.show(*rows, now=long_ago)
        while leases := await shelf.claim(now=long_ago, over=1, room=2):
            for lease in leases:
                await shelf.settle(lease, Sent(), now=long_ago)
        scene = _Scene(shelf)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.maintain().run)
            await anyio.sleep(120)
            tasks.cancel_scope.cancel()

    # The newest stays, so that no number is given twice.
    assert ask(database, "SELECT count(*), max(seq) FROM deliveries") == [(1, 1500)]
    assert ask(database, "SELECT count(*), max(seq) FROM events") == [(1, 1500)]


async def test_the_loop_shows_signs_of_life(database: Path) -> None:
    async with _kept(database) as scene:
        await anyio.sleep(3605)

        assert scene.watchdog.ages()["maintain"] <= 10


async def test_every_minute_it_is_noted_that_the_service_is_alive(
    database: Path,
) -> None:
    """The start itself is noted by whoever tells how long the service was away."""
    asked = "SELECT value FROM facts WHERE key = 'alive_at'"
    async with _kept(database) as scene:
        await anyio.sleep(59)
        assert ask(database, asked) == []
        for _ in range(3):
            await anyio.sleep(60)
            [[value]] = ask(database, asked)
            alive_at = datetime.fromisoformat(json.loads(value))
            assert scene.clock.now() - alive_at <= timedelta(minutes=1)


async def test_a_loop_that_stands_still_is_seen_by_its_silence() -> None:
    clock = SimulatedClock()
    watchdog = Watchdog(clock)
    watchdog.heartbeat("poll")
    await anyio.sleep(100)
    watchdog.heartbeat("alarm")
    await anyio.sleep(50)

    assert watchdog.ages() == {"poll": 150.0, "alarm": 50.0}


# --- copies of the database ---------------------------------------------------


def _daily(database: Path) -> BackUp:
    return DailyBackups(database, run_in_thread=inline).write


def _copies(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.glob("*.backup-*"))


def _day(days: int) -> str:
    return f"notifier.db.backup-{NOW + days * DAY:%Y%m%d}"


async def test_every_day_has_its_copy_but_a_start_is_left_in_peace(
    database: Path,
) -> None:
    async with _kept(database, back_up=_daily(database)):
        await anyio.sleep(299)
        assert _copies(database) == []
        await anyio.sleep(2)
        assert _copies(database) == [_day(0)]
        await anyio.sleep(7 * 3600)
        assert _copies(database) == [_day(0), _day(1)]


async def test_a_restart_makes_no_second_copy_of_a_day(database: Path) -> None:
    with capture_logs() as lines:
        for _ in range(3):
            async with _kept(database, back_up=_daily(database)):
                await anyio.sleep(400)

    written = [line["file"] for line in lines if line["event"] == "backup.written"]
    assert written == [str(database.with_name(_day(0)))]


async def test_a_copy_that_cannot_be_made_is_told_and_tried_again_in_an_hour(
    database: Path,
) -> None:
    in_the_way = database.with_name(f"{_day(0)}.partial")
    in_the_way.mkdir()
    with capture_logs() as lines:
        async with _kept(database, back_up=_daily(database)) as scene:
            await anyio.sleep(301)
            assert _copies(database) == [in_the_way.name]
            in_the_way.rmdir()
            await anyio.sleep(3600)

            assert _copies(database) == [_day(0)]
            assert scene.watchdog.ages()["maintain"] <= 10

    told = [(line["log_level"], line["event"]) for line in lines]
    assert told == [("error", "backup.failed"), ("info", "backup.written")]


async def test_leases_are_freed_while_a_copy_is_made(database: Path) -> None:
    async def never_done(_today: date) -> Path | None:
        await anyio.sleep_forever()
        return None

    async with _kept(database, back_up=never_done) as scene:
        await anyio.sleep(400)

        assert scene.watchdog.ages()["maintain"] <= 10
