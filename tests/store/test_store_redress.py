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

    assert await _redrive(shelf, wanted) == ["HTTP 400"]

    states = ask(database, "SELECT milestone_id, state FROM deliveries ORDER BY seq")
    assert states == [("m1", "dead"), ("m2", "pending")]


async def test_the_beginning_of_an_id_is_enough_to_put_it_back(
    shelf: Shelf, database: Path
) -> None:
    await _kill(shelf, "m1")
    [(whole,)] = ask(database, "SELECT id FROM deliveries")

    assert await _redrive(shelf, whole[:12], whole, to=HOOK) == ["HTTP 400"]
    assert ask(database, "SELECT state FROM deliveries") == [("pending",)]


async def test_what_is_called_otherwise_is_not_put_back(
    shelf: Shelf, database: Path
) -> None:
    await _kill(shelf, "m1")
    await _kill(shelf, "m2")
    first, second = (row[0] for row in ask(database, "SELECT id FROM deliveries"))

    for wrong, says in (
        ("dlv_nobody", f"no delivery 'dlv_nobody'; the dead ones are {first}"),
        ("", "there is no delivery ''"),
        ("dlv_", rf"dlv_ is the beginning of {first} \({HOOK}\), {second}"),
    ):
        with pytest.raises(StoreError, match=says):
            await _redrive(shelf, first, wrong)
    with pytest.raises(StoreError, match=f"'hok' is no destination; there are {HOOK}"):
        await _redrive(shelf, to="hok")

    states = ask(database, "SELECT state FROM deliveries")
    assert states == [("dead",), ("dead",)]


async def test_what_is_not_dead_is_left_as_it_is_and_said(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [(waiting,)] = ask(database, "SELECT id FROM deliveries")

    async with shelf.store.upkeep_turn() as turn:
        [named] = await turn.redrive(
            ids=[waiting], destination=None, now=NOW, dry_run=False
        )

    assert (named["delivery_id"], named["state"]) == (waiting, "pending")
    assert await _redrive(shelf, to=HOOK) == []


async def test_the_dead_letters_of_a_destination_that_is_no_more_are_put_back(
    shelf: Shelf,
) -> None:
    await _kill(shelf, "m1")
    async with shelf.store.upkeep_turn() as turn:
        await turn.set_destinations({"other": "fingerprint"}, NOW)

    assert await _redrive(shelf, to=HOOK) == ["HTTP 400"]


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
