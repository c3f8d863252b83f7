"""What a read makes of answers that are no good, and of several things at once."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from reading import SPORTS, Kalshi, named, process
from servers.api_faults import (
    AnyFault,
    Body,
    Cursor,
    Gigantic,
    Gzipped,
    Hang,
    NoCursor,
    Reset,
    SpoilRow,
    Status,
    Truncated,
)
from servers.loopback import Request, Response
from simulated import backend
from storing import DAY, HOUR, NOW, SECOND, stamp
from structlog.testing import capture_logs

from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Rate, Watch

pytestmark = pytest.mark.anyio

BASELINE, FULL = ReadKind.BASELINE, ReadKind.FULL
POLL, SWEEP = ReadKind.POLL, ReadKind.SWEEP
GAMES = Watch(type="football_game")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def kalshi() -> Kalshi:
    return Kalshi()


# --- broken answers -----------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(Body(), "web page", id="HTML with 200"),
        pytest.param(Body(body=b"null", content_type="text/plain"), "", id="null"),
        pytest.param(Truncated(), "whole page", id="cut short"),
        pytest.param(Gzipped(share=0.5), "gzip", id="gzip cut short"),
        pytest.param(Gigantic(size=30 * 1024 * 1024), "larger", id="gigantic"),
        pytest.param(Gigantic(size=30 * 1024 * 1024, gzip=True), "larger", id="bomb"),
        pytest.param(Reset(), "broke", id="reset within the body"),
        pytest.param(Hang(), "within 20 s", id="no answer at all"),
        pytest.param(Status(status=500, shape="html"), "500", id="500"),
    ],
)
async def test_an_answer_that_is_no_page_ends_the_read_and_costs_nothing(
    database: Path, kalshi: Kalshi, fault: AnyFault, says: str
) -> None:
    kalshi.lists("m0")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        kalshi.lists(*named(501))
        kalshi.withdraw("m0")
        kalshi.api.plan(fault, after=1)
        await scene.fails_to_read(FULL)

        [[rows, error]] = scene.ask("SELECT rows, error FROM reads WHERE kind = 'full'")
        assert rows == len(scene.events) == 500
        assert says in error
        assert (scene.watermark, scene.absences) == (before, {})

        await scene.read(POLL)
        assert len(scene.events) == 501


async def test_what_is_no_json_among_the_rows_costs_only_itself(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.lists(*named(30))
        kalshi.api.plan(SpoilRow(row=3, raw=b'{"id": "m0003", "n": NaN}'))
        await scene.read(POLL)

        assert len(scene.events) == 29
        assert len(scene.ask("SELECT 1 FROM quarantine")) == 1


# --- the watermark ------------------------------------------------------------


async def test_a_long_read_does_not_set_back_what_polls_beside_it_have_reached(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists(*named(1001))
    await anyio.sleep(DAY / SECOND)
    rate = Rate(count=1, per=30 * SECOND)
    async with process(database, kalshi, rate=rate) as scene:
        await scene.read(BASELINE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.read, FULL)
            await anyio.sleep(40)
            await scene.read(POLL)
            reached = scene.watermark
        ended = scene.ask("SELECT kind FROM reads ORDER BY ended_at")

        assert [kind for (kind,) in ended] == ["baseline", "poll", "full"]
        assert scene.watermark == reached


async def test_an_answer_during_which_our_clock_was_set_back_proves_nothing(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        kalshi.seconds = 10
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.read, POLL)
            await anyio.sleep(5)
            scene.clock.correct(-HOUR)

        assert scene.watermark == before


# --- absence ------------------------------------------------------------------


async def test_rows_that_come_twice_do_not_make_a_read_look_whole(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists(*named(1500), start_date=stamp(NOW + DAY))
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.plan(Cursor())
        kalshi.api.plan(NoCursor())
        await scene.read(FULL)

        [[rows]] = scene.ask("SELECT rows FROM reads WHERE kind = 'full'")
        assert rows == 1000
        assert scene.absences == {}


class _Picky(Kalshi):
    """Cannot put one of its milestones into words."""

    async def answer(self, request: Request) -> Response:
        answer = await super().answer(request)
        is_m1 = request.path.endswith("/m1")
        return Response(body=b'{"milestone": 7}') if is_m1 else answer


async def test_one_that_cannot_be_read_by_its_id_does_not_keep_others_from_leaving(
    database: Path,
) -> None:
    kalshi = _Picky()
    kalshi.lists("m1", "m2", "m3", start_date=stamp(NOW + DAY))
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw("m1", "m2")
        with capture_logs() as logs:
            await scene.read(*[SWEEP] * 4)

        assert scene.events == [("removed", "m2")]
        assert scene.absences == {"m1": 4}
        told = [line["id"] for line in logs if line["event"] == "milestone.unreadable"]
        assert told == ["m1", "m1"]


async def test_what_another_watch_shows_is_not_missing_there(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("game")
    kalshi.lists("chess", type="chess_match")
    async with process(database, kalshi, watch=(SPORTS, GAMES)) as scene:
        for watch in (SPORTS, GAMES):
            await scene.read(BASELINE, watch=watch)
        await scene.read(*[SWEEP] * 4, watch=GAMES)

        assert (scene.absences, kalshi.singles) == ({}, [])


# --- several at once ----------------------------------------------------------


async def test_many_starts_of_one_page_may_move(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists(*named(5))
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        later = stamp(NOW + DAY)
        for one in named(5):
            kalshi.api.update(one, start_date=later, end_date=later)
        await scene.read(POLL)

        assert scene.events == [("updated", one) for one in named(5)]
        assert scene.ask("SELECT DISTINCT fire_at FROM timers") == scene.ask(
            "SELECT DISTINCT start_at FROM milestones"
        )


async def test_two_reads_that_begin_at_one_moment_are_two_reads(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.seconds = 1
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(scene.read, POLL)
            tasks.start_soon(scene.read, SWEEP)

        kinds = scene.ask("SELECT kind FROM reads ORDER BY kind")
        assert [kind for (kind,) in kinds] == ["baseline", "poll", "sweep"]
