"""Who is asked about, when, and what becomes of the answers, in simulated time."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from simulated import SimulatedClock, backend
from storing import (
    EVERYTHING,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Shelf,
    ask,
    opened,
    row,
    stamp,
    stocked,
)
from structlog.testing import capture_logs

from notifier.domain.live_status import LiveAnswer, Status
from notifier.domain.models import Sent
from notifier.domain.rules import Rate
from notifier.errors import SourceRefused, SourceUnavailable, StoreBroken
from notifier.storage import retention
from notifier.storage.database import Priority
from notifier.workers.live_status import LiveStatusPoller
from notifier.workers.rate_limiter import RateLimiter

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


class _Kalshi:
    """Live data as a test sets it; remembers what it was asked, and when."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock = clock
        self.says: dict[str, str] = {}
        self.asked: list[tuple[datetime, list[str]]] = []
        #: What it raises instead, one after the other.
        self.trouble: Iterator[Exception] = iter(())

    async def live(self, milestone_ids: Sequence[str]) -> Mapping[str, LiveAnswer]:
        self.asked.append((self._clock.now(), list(milestone_ids)))
        for exc in self.trouble:
            raise exc
        return {
            key: LiveAnswer(status=Status(self.says[key]), word=self.says[key])
            for key in milestone_ids
            if key in self.says
        }

    def times(self, milestone_id: str) -> list[datetime]:
        return [at for at, ids in self.asked if milestone_id in ids]


class _Scene:
    def __init__(self, shelf: Shelf, database: Path, watches: Sequence[str]) -> None:
        self.shelf = shelf
        self.database = database
        self.clock = SimulatedClock()
        self.kalshi = _Kalshi(self.clock)
        self.beats: list[float] = []
        rate = Rate(count=2, per=SECOND)
        self.loop = LiveStatusPoller(
            source=self.kalshi,
            db=shelf.store,
            clock=self.clock,
            rate_limiter=RateLimiter(rate, self.clock, heartbeat=self._heartbeat),
            watches=watches,
            heartbeat=self._heartbeat,
        )

    def _heartbeat(self, _loop: str) -> None:
        self.beats.append(self.clock.monotonic())

    async def show(self, milestone_id: str, start: datetime) -> None:
        fresh = row(
            milestone_id,
            start_date=stamp(start),
            last_updated_ts=stamp(self.clock.now()),
        )
        await self.shelf.show(fresh, now=self.clock.now())

    def known(self, milestone_id: str) -> tuple[str, str, datetime, datetime] | None:
        """Status, word, since, and when it was checked."""
        rows = ask(
            self.database,
            "SELECT status, word, since, checked_at FROM live WHERE milestone_id = ?",
            milestone_id,
        )
        if not rows:
            return None
        [(status, word, since, checked_at)] = rows
        return status, word, _instant(since), _instant(checked_at)


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=micros)


@asynccontextmanager
async def _scene(
    database: Path, *, watches: Sequence[str] = (EVERYTHING,)
) -> AsyncIterator[_Scene]:
    async with opened(database) as store:
        scene = _Scene(await stocked(store), database, watches)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.loop.run)
            yield scene
            tasks.cancel_scope.cancel()


# --- whom it asks about -------------------------------------------------------


async def test_around_a_start_it_is_asked_often_and_then_until_the_end(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        start = NOW + HOUR
        scene.kalshi.says["m1"] = "not_started"
        await scene.show("m1", start)
        await anyio.sleep(3600 + 4 * 60)
        scene.kalshi.says["m1"] = "live"
        await anyio.sleep(2 * 3600)
        scene.kalshi.says["m1"] = "finished"
        await anyio.sleep(6 * 3600)

    times = scene.kalshi.times("m1")
    assert start - 15 * MINUTE <= times[0] <= start - 14 * MINUTE
    near = [at for at in times if start <= at <= start + 4 * MINUTE]
    assert len(near) in range(7, 10)
    assert any(start + SECOND <= at <= start + 2 * SECOND for at in near)
    later = [at for at in times if at > start + 10 * MINUTE]
    assert len(later) in range(45, 60)
    over = start + 2 * HOUR + 4 * MINUTE
    assert over <= times[-1] <= over + 3 * MINUTE


async def test_what_was_said_last_is_known_and_since_when(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + 5 * MINUTE)
        scene.kalshi.says["m1"] = "not_started"
        await anyio.sleep(10 * 60)
        scene.kalshi.says["m1"] = "live"
        await anyio.sleep(20 * 60)

        known = scene.known("m1")

    assert known is not None
    status, word, since, checked_at = known
    assert (status, word) == ("live", "live")
    assert NOW + 10 * MINUTE <= since <= NOW + 11 * MINUTE
    assert checked_at > NOW + 27 * MINUTE


async def test_only_milestones_of_watches_that_want_it_are_asked_about(
    database: Path,
) -> None:
    async with _scene(database, watches=["category=Elections"]) as scene:
        await scene.show("m1", NOW + MINUTE)
        await anyio.sleep(3600)

        assert scene.kalshi.asked == []


async def test_who_has_no_live_data_is_asked_about_no_more_often(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + 20 * MINUTE)
        await anyio.sleep(3600 * 10)

        assert scene.known("m1") is None
    gaps = [
        b - a for a, b in zip(scene.kalshi.times("m1"), scene.kalshi.times("m1")[1:], strict=False)
    ]
    # But for the one right after its start.
    assert sorted(gaps)[1] >= 30 * SECOND


async def test_many_are_asked_about_a_hundred_at_a_time(database: Path) -> None:
    async with _scene(database) as scene:
        games = [row(f"m{n}", start_date=stamp(NOW + 10 * MINUTE)) for n in range(250)]
        await scene.shelf.show(*games, now=NOW)
        await anyio.sleep(30)

        assert [len(ids) for _, ids in scene.kalshi.asked] == [100, 100, 50]


# --- trouble ------------------------------------------------------------------


async def test_a_failure_is_tried_again_ever_more_rarely(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + MINUTE)
        scene.kalshi.says["m1"] = "live"
        scene.kalshi.trouble = iter([SourceUnavailable("down") for _ in range(8)])
        with capture_logs() as logs:
            await anyio.sleep(3600)

        assert scene.known("m1") is not None
    waits = [line["next_try_s"] for line in logs if line["event"] == "live.failed"]
    assert waits == [15, 30, 60, 120, 240, 300, 300, 300]
    quiet = [b - a for a, b in zip(scene.beats, scene.beats[1:], strict=False)]
    assert max(quiet) <= 30


async def test_it_waits_as_long_as_it_is_asked_to(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + MINUTE)
        wait = timedelta(minutes=9)
        scene.kalshi.trouble = iter([SourceUnavailable("busy", retry_after=wait)])
        await anyio.sleep(3600)

        first, second = scene.kalshi.times("m1")[:2]
        assert second - first >= wait


@pytest.mark.parametrize("exc", [SourceRefused("no", status=403), ValueError("a bug")], ids=repr)
async def test_whatever_goes_wrong_the_loop_goes_on(database: Path, exc: Exception) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + MINUTE)
        scene.kalshi.says["m1"] = "live"
        scene.kalshi.trouble = iter([exc])
        with capture_logs():
            await anyio.sleep(600)

        assert scene.known("m1") is not None


async def test_a_store_that_fails_ends_the_service(database: Path) -> None:
    async with opened(database) as store:
        scene = _Scene(await stocked(store), database, [EVERYTHING])
        await scene.show("m1", NOW + MINUTE)
        scene.kalshi.trouble = iter([StoreBroken("the disk")])

        with pytest.raises(StoreBroken):
            await scene.loop.once()


# --- what comes of it ---------------------------------------------------------


async def test_a_message_knows_what_live_data_says(database: Path) -> None:
    async with _scene(database) as scene:
        start = NOW + 5 * MINUTE
        await scene.show("m1", start)
        [created] = await scene.shelf.claim(now=NOW)
        assert created.events[0].live is None
        await scene.shelf.settle(created, Sent(), now=NOW)
        scene.kalshi.says["m1"] = "not_started"
        await anyio.sleep(5 * 60 + 2)
        await scene.shelf.ring(now=start + 2 * SECOND)

        [started] = await scene.shelf.claim(now=start + 2 * SECOND)

    [event] = started.events
    assert event.live is not None
    assert event.live.is_held_up
    assert event.live.holds(start=start, now=start + 2 * SECOND)


async def test_what_was_said_long_ago_is_forgotten(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + MINUTE)
        scene.kalshi.says["m1"] = "live"
        await anyio.sleep(600)
        async with scene.shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(retention.prune, events_before=NOW, deliveries_before=NOW + HOUR)

        assert scene.known("m1") is None
