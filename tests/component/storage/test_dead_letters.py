"""What a person sets right: suspended destinations, dead deliveries."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from plenty import Plenty, counted, fill
from storing import HOOK, HOUR, NOW, Shelf, ask, opened, row, stocked

from notifier.domain.models import Ambiguous, Refused, Scope
from notifier.domain.pagination import DeadFilter
from notifier.errors import StoreError, StoreSlow
from notifier.storage import dead_letters, destination_state, outbox
from notifier.storage.database import Priority, reading
from notifier.storage.dead_letters import redrive

pytestmark = pytest.mark.anyio

#: Enough for a walk through everything to be told from one along an index.
SOME = Plenty(milestones=300, events=3000, pending=20, dead=20)


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
    wanted = DeadFilter(ids=ids, destination=to, to_put_back=not dry_run)
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        found = await turn.write(partial(redrive, wanted=wanted, now=NOW + HOUR))
    return [str(row["reason"]) for row in found.rows]


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


async def test_a_redrive_begins_a_new_message_that_may_leave_a_member_out(
    shelf: Shelf, database: Path
) -> None:
    """Members that may have arrived died together; a person may part them."""
    await shelf.show(row("good"), row("bad"))
    [digest] = await shelf.claim(over=1)
    await shelf.settle(digest, Ambiguous(reason="no answer"))
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        killed = await turn.write(outbox.kill_orphans, ["desk"], before=NOW + HOUR, now=NOW)
    [(wanted,)] = ask(database, "SELECT id FROM deliveries WHERE milestone_id = 'good'")

    await _redrive(shelf, wanted)
    [lease] = await shelf.claim(now=NOW + HOUR, over=1)

    assert killed == 2
    assert lease.milestones == ["good"]
    assert lease.message.id != digest.message.id


async def test_the_beginning_of_an_id_is_enough_to_put_it_back(
    shelf: Shelf, database: Path
) -> None:
    await _kill(shelf, "m1")
    [(whole,)] = ask(database, "SELECT id FROM deliveries")

    assert await _redrive(shelf, whole[:12], whole, to=HOOK) == ["HTTP 400"]
    assert ask(database, "SELECT state FROM deliveries") == [("pending",)]


async def test_few_are_shown_and_all_are_counted(shelf: Shelf) -> None:
    for name in ("m1", "m2", "m3"):
        await _kill(shelf, name)

    few = DeadFilter(destination=HOOK, most=2)
    found = await shelf.store.read(dead_letters.dead_letters, few)
    named = DeadFilter(ids=[str(found.rows[0]["delivery_id"])[:12]], most=2)
    one = await shelf.store.read(dead_letters.dead_letters, named)

    assert (len(found.rows), found.count, found.keys) == (2, 3, ())
    assert (one.rows, one.count) == (found.rows[:1], 1)


async def test_dead_letters_are_not_looked_for_for_ever(tmp_path: Path) -> None:
    database = tmp_path / "plenty.db"
    fill(database, replace(SOME, dead=900))
    async with opened(database) as store:
        with pytest.raises(StoreSlow):
            await store.read_until(lambda: True, dead_letters.dead_letters, DeadFilter())


def test_many_ids_are_looked_up_without_a_walk_through_all_deliveries(
    tmp_path: Path,
) -> None:
    database = tmp_path / "plenty.db"
    fill(database, SOME)
    ids = [str(one) for (one,) in ask(database, "SELECT id FROM deliveries LIMIT 400")]
    beginnings = [one[:-1] for one in ids[:200]] + ids[200:]
    with reading(database) as conn, counted(conn) as steps:
        found = dead_letters.dead_letters(conn, DeadFilter(ids=beginnings))

    assert [row["delivery_id"] for row in found.rows] == ids
    # In thousands: one walk through these deliveries takes as many.
    assert len(steps) <= 30


@pytest.mark.parametrize("destination", [None, "desk"])
def test_what_is_dead_is_counted_without_a_walk_through_what_is_not(
    tmp_path: Path, destination: str | None
) -> None:
    database = tmp_path / "plenty.db"
    fill(database, SOME)
    with reading(database) as conn, counted(conn) as steps:
        found = dead_letters.dead_letters(conn, DeadFilter(destination=destination, most=20))

    assert found.count >= len(found.rows) == 20
    assert len(steps) <= 5


async def test_what_is_called_otherwise_is_not_put_back(shelf: Shelf, database: Path) -> None:
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


async def test_what_is_not_dead_is_left_as_it_is_and_said(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    [(waiting,)] = ask(database, "SELECT id FROM deliveries")

    wanted = DeadFilter(ids=[waiting], to_put_back=True)
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        found = await turn.write(partial(redrive, wanted=wanted, now=NOW))

    [named] = found.rows
    assert (named["delivery_id"], named["state"]) == (waiting, "pending")
    assert found.count == 0
    assert await _redrive(shelf, to=HOOK) == []


async def test_the_dead_letters_of_a_destination_that_is_no_more_are_put_back(
    shelf: Shelf,
) -> None:
    await _kill(shelf, "m1")
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {"other": "fingerprint"}, NOW)

    assert await _redrive(shelf, to=HOOK) == ["HTTP 400"]


@pytest.mark.parametrize("scope", [Scope.DESTINATION, Scope.GONE])
async def test_a_destination_goes_on_when_a_person_says_so(
    shelf: Shelf, database: Path, scope: Scope
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="HTTP 404", scope=scope))

    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        waiting = await turn.write(dead_letters.resume, HOOK, now=NOW)

    assert waiting == 1
    assert ask(database, "SELECT paused_until, suspended_since, gone FROM destinations") == [
        (None, None, 0)
    ]


async def test_nobody_can_resume_what_there_never_was(shelf: Shelf) -> None:
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        with pytest.raises(StoreError, match=f"'hok' is no destination.*{HOOK}"):
            await turn.write(dead_letters.resume, "hok", now=NOW)
