"""Reads of the web: two seconds long, and cached figures."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from plenty import Plenty, fill
from sqlalchemy import event
from storing import HOOK, NOW, SECOND, UTC_ZONE, Shelf, inline, opened, row, stocked

from notifier.domain.pagination import EventFilter, MilestoneFilter
from notifier.domain.rules import Destination, Route
from notifier.errors import StoreSlow
from notifier.storage import queries
from notifier.storage.database import Database, open_database
from notifier.storage.explain import RenderContext
from notifier.web.reader import StoreReader, TtlCache

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with opened(tmp_path / "notifier.db") as store:
        yield await stocked(store)


@dataclass
class Clocks:
    now: datetime = NOW
    seconds: float = 0
    #: Seconds that pass with each look at the monotonic clock.
    step: float = 0

    def monotonic(self) -> float:
        self.seconds += self.step
        return self.seconds


def reader_of(db: Any, clocks: Clocks) -> StoreReader:
    return StoreReader(
        db=db,
        now=lambda: clocks.now,
        monotonic=clocks.monotonic,
        context=RenderContext(routes=(Route(name="all", to=(HOOK,)),)),
        destinations=[Destination(name=HOOK, url="webhooks://x?secret=s", zone=UTC_ZONE)],
    )


async def test_figures_are_read_once_for_all_readers(shelf: Shelf) -> None:
    clocks, statements = Clocks(), list[str]()
    reader = reader_of(shelf.store, clocks)
    event.listen(
        shelf.store._readers, "before_cursor_execute", lambda *args: statements.append(args[2])
    )

    async def count(seconds: float) -> int:
        clocks.now = NOW + seconds * SECOND
        statements.clear()
        await reader.overview()
        assert not any("COUNT(*) FROM milestones" in text for text in statements)
        return len(statements)

    first, again, soon, later = [await count(seconds) for seconds in (0, 2, 3, 40)]

    assert again == 0 < soon < later == first


async def test_an_action_invalidates_the_figures(shelf: Shelf) -> None:
    reader = reader_of(shelf.store, Clocks())
    before = await reader.status()
    await shelf.show(row("m1"))

    assert await reader.status() is before
    reader.invalidate()
    assert (await reader.status()).events_24h == {"created": 1}


async def test_a_result_that_was_invalidated_while_it_was_read_is_not_cached() -> None:
    cache, truth = TtlCache(), ["before"]

    async def change() -> str:
        seen, truth[0] = truth[0], "after"
        cache.clear()
        return seen

    async def read() -> str:
        return truth[0]

    assert await cache.get("key", 2 * SECOND, NOW, change) == "before"
    assert await cache.get("key", 2 * SECOND, NOW, read) == "after"


async def test_no_request_waits_for_the_count_of_the_milestones(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2", category="Elections"), row("m3"))
    clocks = Clocks()
    reader = reader_of(shelf.store, clocks)

    before = ((await reader.status()).milestones, reader.milestone_counts)
    await reader.count_milestones()
    clocks.now += 3 * SECOND

    assert before == (None, ())
    assert (await reader.status()).milestones == 3
    assert [one.milestones for one in reader.milestone_counts] == [1, 2]


@dataclass
class _Failing:
    """A store that cannot be read at first."""

    db: Database
    slept: list[float]

    async def read(self, query: Any, *args: Any) -> Any:
        if not self.slept:
            raise StoreSlow("too long")
        return await self.db.read(query, *args)


async def test_milestones_are_counted_every_half_a_minute_in_spite_of_failures(
    shelf: Shelf,
) -> None:
    slept: list[float] = []
    reader = reader_of(_Failing(shelf.store, slept), Clocks())
    await shelf.show(row("m1"))

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise EOFError

    with pytest.raises(EOFError):
        await reader.keep_counting(sleep)

    assert slept == [30.0, 30.0]
    assert [one.milestones for one in reader.milestone_counts] == [1]


async def test_a_read_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    fill(tmp_path / "notifier.db", Plenty(milestones=3000, events=200))
    db = open_database(tmp_path / "notifier.db", run_in_thread=inline)
    clocks = Clocks()
    reader = reader_of(db, clocks)
    search = MilestoneFilter(search="nowhere to be found", gone="any")
    try:
        assert (await reader.read(queries.milestones, search)).rows == []
        clocks.step = 1.1
        with pytest.raises(StoreSlow):
            await reader.read(queries.milestones, search)
        clocks.step = 0
        assert len((await reader.read(queries.events, EventFilter())).rows) == 50
    finally:
        db.close()

    assert 2.0 < clocks.seconds < 4.5


async def test_an_event_that_cannot_be_found_has_no_explanation(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2"))
    reader = reader_of(shelf.store, Clocks())
    first = (await reader.read(queries.events, EventFilter())).rows[0]

    found = await reader.explain(first.event_id)

    assert found is not None
    assert found.event == first
    assert await reader.explain("evt_") is None
