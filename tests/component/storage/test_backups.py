"""Copies of the database: one a day, the newest seven, and nobody else's touched."""

from datetime import timedelta
from pathlib import Path

import pytest
from storing import NOW, ask, inline, opened, row, stocked

from notifier.errors import StoreError
from notifier.storage.backups import DailyBackups

pytestmark = pytest.mark.anyio

TODAY = NOW.date()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


def _name(days: int) -> str:
    return f"notifier.db.backup-{TODAY + timedelta(days=days):%Y%m%d}"


def _copies(database: Path) -> list[str]:
    return sorted(path.name for path in database.parent.glob("*.backup-*"))


async def test_the_newest_seven_stay_and_what_is_not_ours_too(database: Path) -> None:
    foreign = ["notifier.db.backup-2020", "notifier.db.backup-20200101.mine"]
    for name in (*foreign, "notifier.db.backup-20200102.partial"):
        (database.parent / name).touch()
    async with opened(database) as store:
        await (await stocked(store)).show(row("m1"))
        daily = DailyBackups(database, run_in_thread=inline)
        for days in range(9):
            await daily.write(TODAY + timedelta(days=days))

    assert _copies(database) == foreign + [_name(days) for days in range(2, 9)]
    copy = database.with_name(_name(8))
    assert ask(copy, "SELECT id FROM milestones") == [("m1",)]
    assert copy.stat().st_mode & 0o777 == 0o600


async def test_a_day_has_one_copy_whoever_made_it(database: Path) -> None:
    async with opened(database) as store:
        await stocked(store)
        first = await DailyBackups(database, run_in_thread=inline).write(TODAY)
        again = await DailyBackups(database, run_in_thread=inline).write(TODAY)

    assert (first, again) == (database.with_name(_name(0)), None)


async def test_a_copy_that_fails_takes_no_older_one_with_it(database: Path) -> None:
    async with opened(database) as store:
        await stocked(store)
        daily = DailyBackups(database, run_in_thread=inline)
        for days in range(7):
            await daily.write(TODAY + timedelta(days=days))
        in_the_way = database.with_name(f"{_name(7)}.partial")
        in_the_way.mkdir()

        with pytest.raises(StoreError, match="Is a directory"):
            await daily.write(TODAY + timedelta(days=7))

        in_the_way.rmdir()
        assert _copies(database) == [_name(days) for days in range(7)]
