"""Starts, ends and reminders on the second, without any API, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from simulated import MachineClock, SimulatedClock, backend
from storing import (
    DAY,
    HOOK,
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

from notifier.concurrency import WakeupEvent
from notifier.domain.rules import Route
from notifier.storage import milestones
from notifier.workers.scheduler import Scheduler

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


class _Scene:
    """One store under one alarm."""

    def __init__(
        self, shelf: Shelf, database: Path, *, clock: SimulatedClock | MachineClock | None = None
    ) -> None:
        self.shelf = shelf
        self.database = database
        self.clock = clock or SimulatedClock()
        self.outbox = WakeupEvent()
        self.pulses = 0
        self.alarm = Scheduler(
            db=shelf.store,
            clock=self.clock,
            routes=shelf.routes,
            policy=shelf.time,
            wakeup=WakeupEvent(),
            dispatcher_wakeup=self.outbox,
            heartbeat=self._pulse,
        )

    def _pulse(self, _loop: str) -> None:
        self.pulses += 1

    async def show(self, milestone_id: str, start: datetime, **fields: Any) -> None:
        """Let a read bring the milestone as it is now."""
        fresh = row(
            milestone_id,
            start_date=stamp(start),
            last_updated_ts=stamp(self.clock.now()),
            **fields,
        )
        await self.shelf.show(fresh, now=self.clock.now())
        self.alarm.wakeup.set()

    def told(self, kind: str = "started") -> list[tuple[str, datetime, datetime]]:
        """Milestone, instant, and when it was noticed; nothing that was missed."""
        rows = ask(
            self.database,
            "SELECT milestone_id, at, seen_at FROM events "
            "WHERE kind = ? AND NOT missed ORDER BY seq",
            kind,
        )
        return [(key, _instant(at), _instant(seen)) for key, at, seen in rows]

    def owed(self, kind: str = "started") -> list[str]:
        rows = ask(
            self.database,
            "SELECT milestone_id FROM deliveries WHERE kind = ? ORDER BY seq",
            kind,
        )
        return [key for (key,) in rows]


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(0, NOW.tzinfo) + timedelta(microseconds=micros)


@asynccontextmanager
async def _scene(
    database: Path,
    *,
    routes: tuple[Route, ...] | None = None,
    clock: SimulatedClock | MachineClock | None = None,
) -> AsyncIterator[_Scene]:
    async with opened(database) as store:
        shelf = await (stocked(store, routes=routes) if routes else stocked(store))
        async with anyio.create_task_group() as tasks:
            scene = _Scene(shelf, database, clock=clock)
            tasks.start_soon(scene.alarm.run)
            yield scene
            tasks.cancel_scope.cancel()


# --- on the second ------------------------------------------------------------


async def test_a_start_is_told_at_its_very_instant(database: Path) -> None:
    start = NOW + 2 * HOUR + 0.25 * SECOND
    async with _scene(database) as scene:
        await scene.show("m1", start)
        await anyio.sleep(3 * 3600)

        assert scene.told() == [("m1", start, start)]
        assert scene.owed() == ["m1"]


async def test_whoever_delivers_is_woken_for_it(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + HOUR)
        await scene.outbox.wait(0)

        assert await scene.outbox.wait(3600.5)
        assert scene.clock.now() == NOW + HOUR


async def test_a_start_that_is_armed_while_the_alarm_sleeps_is_told_in_time(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await scene.show("late", NOW + 10 * HOUR)
        await anyio.sleep(3600.3)
        soon = scene.clock.now() + 0.2 * SECOND
        await scene.show("soon", soon)
        await anyio.sleep(3600)

        assert scene.told() == [("soon", soon, soon)]


async def test_a_thousand_starts_at_one_instant_are_one_transaction(
    database: Path,
) -> None:
    start = NOW + HOUR
    async with _scene(database) as scene:
        rows = [row(f"m{n}", start_date=stamp(start)) for n in range(1000)]
        for page in range(0, 1000, 500):
            await scene.shelf.show(*rows[page : page + 500])
        scene.alarm.wakeup.set()
        await anyio.sleep(1800)
        commits: list[str] = []
        with scene.shelf.store._writer.connect() as conn:
            raw = conn.connection.driver_connection
            assert raw is not None
            raw.set_trace_callback(commits.append)
        await anyio.sleep(3600)

        assert [(at, seen) for _, at, seen in scene.told()] == [(start, start)] * 1000
        # The second one has found that no more are due.
        assert commits.count("COMMIT") == 2


async def test_more_starts_than_one_transaction_takes_are_all_told(
    database: Path,
) -> None:
    start = NOW + HOUR
    async with _scene(database) as scene:
        for page in range(3):
            await scene.shelf.show(
                *(row(f"m{page}-{n}", start_date=stamp(start)) for n in range(page, 500))
            )
        scene.alarm.wakeup.set()
        await anyio.sleep(2 * 3600)

        assert len(scene.told()) == 1497


async def test_the_loop_shows_signs_of_life_while_nothing_is_due(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await anyio.sleep(100.5)

        assert scene.pulses >= 100


# --- starts that move ---------------------------------------------------------


async def test_a_moved_start_is_told_at_its_new_instant_only(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("earlier", NOW + 5 * HOUR)
        await scene.show("later", NOW + 2 * HOUR)
        await anyio.sleep(3600)
        await scene.show("earlier", NOW + 2.5 * HOUR)
        await scene.show("later", NOW + 3 * HOUR)
        await anyio.sleep(6 * 3600)

        assert [(key, at, seen - at) for key, at, seen in scene.told()] == [
            ("earlier", NOW + 2.5 * HOUR, 0 * SECOND),
            ("later", NOW + 3 * HOUR, 0 * SECOND),
        ]


async def test_a_start_that_moves_after_it_was_told_is_told_again_if_much_later(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        for key in ("much later", "a little later", "earlier"):
            await scene.show(key.replace(" ", "-"), NOW + HOUR)
        await anyio.sleep(3601)
        await scene.show("much-later", NOW + 3 * HOUR)
        await scene.show("a-little-later", NOW + HOUR + 15 * MINUTE)
        await scene.show("earlier", NOW + HOUR - 10 * MINUTE)
        await anyio.sleep(6 * 3600)

        first, again = scene.told()[:3], scene.told()[3:]
        assert len(first) == 3
        assert [(key, at) for key, at, _ in again] == [("much-later", NOW + 3 * HOUR)]
        assert ask(database, "SELECT count(*) FROM events WHERE again_from IS NOT NULL") == [(1,)]


# --- the service was down -----------------------------------------------------


async def test_starts_that_passed_while_the_service_was_down_are_late_or_missed(
    database: Path,
) -> None:
    async with opened(database) as store:
        shelf = await stocked(store)
        for key, age in (("late", 29), ("missed", 31)):
            start = NOW - age * MINUTE
            await shelf.show(row(key, start_date=stamp(start)), now=NOW - DAY)

    async with opened(database) as store:
        shelf = Shelf(store=store, watch=(await store.read(milestones.watches))[0])
        async with anyio.create_task_group() as tasks:
            scene = _Scene(shelf, database)
            tasks.start_soon(scene.alarm.run)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()

        assert [(key, seen - at) for key, at, seen in scene.told()] == [("late", 29 * MINUTE)]
        assert scene.owed() == ["late"]
        assert ask(database, "SELECT count(*) FROM timers") == [(0,)]


# --- a wall clock that jumps --------------------------------------------------


async def test_a_clock_that_jumps_forward_brings_the_start_forward(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + 2 * HOUR)
        await anyio.sleep(600)
        scene.clock.correct(1.5 * HOUR)
        await anyio.sleep(1199)
        early = scene.told()
        await anyio.sleep(2)

        assert early == []
        assert scene.told() == [("m1", NOW + 2 * HOUR, NOW + 2 * HOUR)]


async def test_a_clock_that_jumps_over_a_start_tells_it_within_a_second(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + 2 * HOUR)
        await anyio.sleep(600.5)
        scene.clock.correct(2 * HOUR)
        jumped = scene.clock.now()
        await anyio.sleep(1)

        [(_, _, seen)] = scene.told()
        assert seen - jumped <= SECOND


async def test_a_clock_that_jumps_back_repeats_no_start(database: Path) -> None:
    async with _scene(database) as scene:
        await scene.show("m1", NOW + HOUR)
        await scene.show("m2", NOW + 2 * HOUR)
        await anyio.sleep(3601)
        scene.clock.correct(-HOUR)
        await anyio.sleep(3 * 3600)

        assert [key for key, _, _ in scene.told()] == ["m1", "m2"]
        assert scene.owed() == ["m1", "m2"]


async def test_a_jump_holds_starts_until_an_answer_finds_it_wrong(database: Path) -> None:
    machine = MachineClock()
    async with _scene(database, clock=machine) as scene:
        await scene.show("near", NOW + HOUR)
        await scene.show("far", NOW + 2 * HOUR)
        await anyio.sleep(3599)
        machine.set_by = 86_400.0
        await anyio.sleep(3)
        assert scene.told() == []

        machine.correct(0 * SECOND)
        await anyio.sleep(2)
        assert [(key, at) for key, at, _ in scene.told()] == [("near", NOW + HOUR)]
        await anyio.sleep(3600)
        assert [key for key, _, _ in scene.told()] == ["near", "far"]


@pytest.mark.parametrize("answer_s", [30, None])
async def test_a_jump_holds_starts_until_an_answer_or_for_a_minute(
    database: Path, answer_s: int | None
) -> None:
    machine = MachineClock()
    async with _scene(database, clock=machine) as scene:
        await scene.show("m1", NOW + 2 * HOUR)
        await anyio.sleep(600.5)
        machine.set_by = 2 * 3600.0
        await anyio.sleep(answer_s or 59)
        early = scene.told()
        if answer_s is not None:
            machine.correct(2 * HOUR)
        await anyio.sleep(2)

        assert early == []
        assert [key for key, _, _ in scene.told()] == ["m1"]


async def test_a_new_process_holds_starts_until_the_first_answer(database: Path) -> None:
    machine = MachineClock()
    async with _scene(database, clock=machine) as scene:
        await scene.show("m1", NOW + 30 * SECOND)
        await anyio.sleep(40)
        early = scene.told()
        machine.correct(0 * SECOND)
        await anyio.sleep(2)

        assert early == []
        assert [key for key, _, _ in scene.told()] == ["m1"]


async def test_a_machine_that_slept_over_a_start_tells_it_within_a_second(
    database: Path,
) -> None:
    machine = MachineClock()
    async with _scene(database, clock=machine) as scene:
        await scene.show("m1", NOW + 2 * HOUR)
        await anyio.sleep(600.5)
        machine.slept = 2 * 3600.0
        await anyio.sleep(1)

        [(_, _, seen)] = scene.told()
        assert seen - (NOW + 2 * HOUR + 600.5 * SECOND) <= SECOND


# --- reminders and ends -------------------------------------------------------


async def test_a_reminder_comes_for_the_routes_that_asked_for_that_lead(
    database: Path,
) -> None:
    routes = (
        Route(name="both", to=("desk",), reminders=(3 * HOUR, HOUR)),
        Route(name="hour", to=(HOOK,), reminders=(HOUR,)),
    )
    async with _scene(database, routes=routes) as scene:
        start = NOW + 4 * HOUR
        await scene.show("m1", start)
        await anyio.sleep(5 * 3600)

        assert [(at, seen) for _, at, seen in scene.told("upcoming")] == [
            (start - 3 * HOUR, start - 3 * HOUR),
            (start - HOUR, start - HOUR),
        ]
        owed = ask(
            database,
            "SELECT destination FROM deliveries WHERE kind = 'upcoming' "
            "ORDER BY due_at, destination",
        )
        assert owed == [("desk",), ("desk",), (HOOK,)]


async def test_a_reminder_that_nobody_asked_for_any_more_says_nothing(
    database: Path,
) -> None:
    routes = (Route(name="all", to=(HOOK,), reminders=(HOUR,)),)
    async with opened(database) as store:
        shelf = await stocked(store, routes=routes)
        await shelf.show(row("m1"))
        shelf.routes = (Route(name="all", to=(HOOK,)),)
        async with anyio.create_task_group() as tasks:
            scene = _Scene(shelf, database)
            tasks.start_soon(scene.alarm.run)
            await anyio.sleep(3 * 3600)
            tasks.cancel_scope.cancel()

        assert scene.told("upcoming") == []
        assert len(scene.told()) == 1


async def test_an_end_is_told_when_it_comes(database: Path) -> None:
    end = NOW + 4 * HOUR
    async with _scene(database) as scene:
        await scene.show("m1", NOW + HOUR, end_date=stamp(end))
        await anyio.sleep(5 * 3600)

        assert scene.told("ended") == [("m1", end, end)]
