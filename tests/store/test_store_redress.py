"""What a person sets right: suspended destinations, dead deliveries."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from storing import HOOK, HOUR, NOW, Shelf, ask, opened, row, stocked

from notifier.core.model import Refused, Scope
from notifier.errors import StoreError

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


async def _kill(shelf: Shelf, milestone_id: str) -> None:
    await shelf.show(row(milestone_id))
    for _ in range(2):
        [lease] = await shelf.claim()
        await shelf.settle(lease, Refused(reason="HTTP 400", scope=Scope.MESSAGE))


async def _redrive(
    shelf: Shelf, *ids: str, to: str | None = None, dry_run: bool = False
) -> list[str]:
    async with shelf.store.upkeep_turn() as turn:
        rows = await turn.redrive(
            ids=ids, destination=to, now=NOW + HOUR, dry_run=dry_run
        )
    return [row["reason"] for row in rows]


async def test_a_dead_delivery_that_is_put_back_has_all_its_tries_again(
    shelf: Shelf, database: Path
) -> None:
    await _kill(shelf, "m1")

    assert await _redrive(shelf) == ["HTTP 400"]
    [lease] = await shelf.claim(now=NOW + HOUR)

    assert lease.message.attempt == 1
    assert ask(database, "SELECT state FROM deliveries") == [("leased",)]
    assert await _redrive(shelf) == []


async def test_a_rehearsal_puts_nothing_back(shelf: Shelf, database: Path) -> None:
    await _kill(shelf, "m1")

    assert await _redrive(shelf, dry_run=True) == ["HTTP 400"]
    assert ask(database, "SELECT state FROM deliveries") == [("dead",)]


async def test_only_what_is_named_is_put_back(shelf: Shelf, database: Path) -> None:
    await _kill(shelf, "m1")
    await _kill(shelf, "m2")
    [(wanted,)] = ask(database, "SELECT id FROM deliveries WHERE milestone_id = 'm2'")

    assert await _redrive(shelf, to="nobody") == []
    assert await _redrive(shelf, wanted) == ["HTTP 400"]

    states = ask(database, "SELECT milestone_id, state FROM deliveries ORDER BY seq")
    assert states == [("m1", "dead"), ("m2", "pending")]


@pytest.mark.parametrize("scope", [Scope.DESTINATION, Scope.GONE])
async def test_a_destination_goes_on_when_a_person_says_so(
    shelf: Shelf, database: Path, scope: Scope
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="HTTP 404", scope=scope))

    async with shelf.store.upkeep_turn() as turn:
        waiting = await turn.resume(HOOK, now=NOW)

    assert waiting == 1
    assert ask(
        database, "SELECT paused_until, suspended_since, gone FROM destinations"
    ) == [(None, None, 0)]


async def test_nobody_can_resume_what_there_never_was(shelf: Shelf) -> None:
    async with shelf.store.upkeep_turn() as turn:
        with pytest.raises(StoreError, match=f"'hok' is no destination.*{HOOK}"):
            await turn.resume("hok", now=NOW)
