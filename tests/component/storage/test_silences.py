"""Silences as the store keeps them: until their time, or until a person ends them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from storing import HOUR, MINUTE, NOW, SECOND, Shelf, ask, opened, stocked

from notifier.domain.rules import Silence
from notifier.domain.silences import create_silence
from notifier.errors import StoreError
from notifier.storage import admin, queries, stats
from notifier.storage.database import Priority, reading

pytestmark = pytest.mark.anyio
SPORTS = {"category": ["Sports"], "destination": ["hook"]}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


async def _add(
    shelf: Shelf,
    keys: Mapping[str, Sequence[str]] = SPORTS,
    *,
    why: str = "noisy",
    now: datetime = NOW,
    until: datetime = NOW + HOUR,
) -> Silence:
    silence = create_silence(keys, why=why, created_at=now, until=until)
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(admin.add_silence, silence)
    return silence


async def _expire(shelf: Shelf, beginning: str, *, now: datetime = NOW) -> Silence:
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        return await turn.write(admin.expire_silence, beginning, now=now)


def _active(database: Path, now: datetime = NOW) -> list[Silence]:
    with reading(database) as conn:
        return admin.active_silences(conn, now)


async def test_a_silence_comes_back_as_it_was_meant(shelf: Shelf, database: Path) -> None:
    keys = {"events": ["started"], "title": ["~^(A|B)"], "details.league": ["NFL"]}
    first = await _add(shelf)
    second = await _add(shelf, keys, now=NOW + SECOND)

    assert _active(database) == [first, second]


async def test_a_silence_ends_by_itself(shelf: Shelf, database: Path) -> None:
    silence = await _add(shelf, until=NOW + HOUR)

    assert _active(database, NOW + HOUR - SECOND) == [silence]
    assert _active(database, NOW + HOUR) == []


async def test_the_same_silence_twice_is_one(shelf: Shelf, database: Path) -> None:
    first = await _add(shelf)
    again = await _add(shelf)

    assert again == first
    assert _active(database) == [first]


async def test_a_person_ends_a_silence_before_its_time(shelf: Shelf, database: Path) -> None:
    silence = await _add(shelf)
    other = await _add(shelf, {"type": ["x"]}, now=NOW + SECOND)

    ended = await _expire(shelf, silence.id[:12], now=NOW + MINUTE)

    assert ended == silence
    assert _active(database, NOW + MINUTE) == [other]
    [(kept,)] = ask(database, "SELECT count(*) FROM silences WHERE expired_at IS NOT NULL")
    assert kept == 1


async def test_what_is_not_in_force_cannot_be_ended(shelf: Shelf) -> None:
    with pytest.raises(StoreError, match="no silence is in force"):
        await _expire(shelf, "sil_")

    silence = await _add(shelf, why="first")
    other = await _add(shelf, why="second", now=NOW + SECOND)
    for beginning in ("sil_1", "", "%"):
        with pytest.raises(StoreError, match=rf"there is {silence.id} \(first\), "):
            await _expire(shelf, beginning)
    with pytest.raises(StoreError, match=rf"is the beginning of .*{other.id}"):
        await _expire(shelf, "sil_")

    await _expire(shelf, silence.id)
    with pytest.raises(StoreError, match=rf"called '{silence.id}'; .*\(second\)"):
        await _expire(shelf, silence.id)


async def test_rows_show_how_each_silence_stands(shelf: Shelf, database: Path) -> None:
    over = await _add(shelf, why="over", until=NOW + SECOND)
    ended = await _add(shelf, why="ended", now=NOW + SECOND)
    await _expire(shelf, ended.id, now=NOW + 2 * SECOND)
    lasting = await _add(shelf, why="lasting", now=NOW + 3 * SECOND)

    with reading(database) as conn:
        rows = msgspec.to_builtins(queries.silences(conn, NOW + MINUTE, everything=True))
        in_force = msgspec.to_builtins(queries.silences(conn, NOW + MINUTE))

    assert rows[1] == {
        "id": ended.id,
        "active": False,
        "created_at": "2026-11-22T18:00:01Z",
        "until": "2026-11-22T19:00:00Z",
        "expired_at": "2026-11-22T18:00:02Z",
        "match": {"category": ["Sports"], "destination": ["hook"]},
        "why": "ended",
    }
    assert [(row["id"], row["active"], row["expired_at"]) for row in rows[::2]] == [
        (over.id, False, None),
        (lasting.id, True, None),
    ]
    assert in_force == rows[2:]


async def test_the_status_shows_the_silences_in_force(shelf: Shelf, database: Path) -> None:
    silence = await _add(shelf)
    await _add(shelf, why="over", until=NOW + SECOND)

    with reading(database) as conn:
        status = stats.status(conn, NOW + MINUTE, milestones=0)

    assert msgspec.to_builtins(status.silences) == [
        {
            "id": silence.id,
            "until": "2026-11-22T19:00:00Z",
            "match": {"category": ["Sports"], "destination": ["hook"]},
            "why": "noisy",
        }
    ]
