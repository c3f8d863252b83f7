"""Which read comes when: both lanes in simulated time, stand-in in memory."""

from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from reading import LOOK_BACK, OVERLAP, POLITICS, SPORTS, Kalshi, instant, process
from reading import named as ids
from servers.api_faults import NoDate, Status
from servers.loopback import Request, Response
from simulated import MachineClock, backend
from storing import DAY, HOUR, MINUTE, NOW, SECOND, stamp
from structlog.testing import capture_logs

from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Rate
from notifier.storage import milestones
from notifier.storage.database import Priority

pytestmark = pytest.mark.anyio

BASELINE = ReadKind.BASELINE


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def kalshi() -> Kalshi:
    return Kalshi()


def _gaps(times: list[datetime]) -> list[float]:
    """The seconds between them."""
    return [(after - before).total_seconds() for before, after in pairwise(times)]


# --- the start ----------------------------------------------------------------


async def test_a_start_polls_each_watch_from_its_old_watermark_and_then_sweeps_it(
    database: Path, kalshi: Kalshi
) -> None:
    watch = (SPORTS, POLITICS)
    async with process(database, kalshi, watch=watch) as scene:
        for one in watch:
            await scene.read(BASELINE, watch=one)
        marks = scene.ask("SELECT watermark FROM watches ORDER BY id")

    await anyio.sleep(5 * HOUR / SECOND)
    booted_at, before = kalshi.clock.now(), len(kalshi.asked)
    async with process(database, kalshi, watch=watch) as scene, scene.running():
        await anyio.sleep(10)

    asked = kalshi.asked[before:]
    assert max(one.at for one in asked) - booted_at < 5 * SECOND
    assert sorted(one.query["category"] for one in asked) == [
        *["Politics"] * 2,
        *["Sports"] * 2,
    ]
    assert [one.updated_since for one in kalshi.polls] == [
        instant(mark) - OVERLAP for [mark] in marks
    ]
    assert {booted_at - one.starts_since for one in kalshi.sweeps} == {LOOK_BACK}
    for one in watch:
        mine = [a for a in asked if a.query["category"] == one.category]
        assert [a.is_poll for a in mine] == [True, False]


async def test_a_first_start_reads_everything_and_then_polls_and_sweeps_in_time(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene, scene.running():
        await anyio.sleep(31 * MINUTE / SECOND)

    first, *_ = kalshi.asked
    assert set(first.query) == {"limit"}
    assert _gaps([one.at for one in kalshi.polls]) == pytest.approx([60] * 30, abs=1)
    assert _gaps([one.at for one in kalshi.sweeps]) == pytest.approx([900], abs=1)


async def test_the_whole_list_is_read_again_when_that_is_due(
    database: Path, kalshi: Kalshi
) -> None:
    async with (
        process(database, kalshi, full_read_every=10 * MINUTE) as scene,
        scene.running(),
    ):
        await anyio.sleep(21 * MINUTE / SECOND)

    whole = [one.at for one in kalshi.asked if set(one.query) == {"limit"}]
    assert _gaps(whole) == pytest.approx([600, 600], abs=1)


# --- in time ------------------------------------------------------------------


async def test_a_poll_is_made_shortly_before_each_start(database: Path, kalshi: Kalshi) -> None:
    start = NOW + 100 * SECOND
    kalshi.lists("m1", start_date=stamp(start))
    async with (
        process(database, kalshi, poll_every=5 * MINUTE) as scene,
        scene.running(),
    ):
        await anyio.sleep(150)

    ahead = [(start - one.at) / SECOND for one in kalshi.polls]
    assert len([seconds for seconds in ahead if 5 <= seconds <= 10]) == 1
    assert len(ahead) == 2


async def test_a_start_that_comes_closer_meanwhile_has_its_poll_all_the_same(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", start_date=stamp(NOW + DAY))
    async with (
        process(database, kalshi, poll_every=10 * MINUTE, sweep_every=MINUTE) as scene,
        scene.running(),
    ):
        await anyio.sleep(30)
        start = NOW + 100 * SECOND
        kalshi.api.move_start("m1", start)
        await anyio.sleep(90)

    assert any(5 <= (start - one.at) / SECOND <= 10 for one in kalshi.polls)


async def test_a_server_that_never_tells_the_time_is_polled_all_the_same(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.api.plan(NoDate(), times=None)
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        begun = scene.clock.now()
        async with scene.running():
            await anyio.sleep(30)
            kalshi.lists("m1")
            await anyio.sleep(90)

        assert scene.events == [("created", "m1")]
        assert scene.watermark is None
    assert {begun - one.updated_since for one in kalshi.polls} == {OVERLAP}


async def test_a_long_read_does_not_keep_the_polls_waiting(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists(*ids(2001))
    await anyio.sleep(5 * MINUTE / SECOND)
    rate = Rate(count=1, per=20 * SECOND)
    async with process(database, kalshi, rate=rate) as scene:
        await scene.read(BASELINE)
        before = len(kalshi.asked)
        async with scene.running():
            await anyio.sleep(190)

    lanes = [one.is_poll for one in kalshi.asked[before:]]
    assert lanes.count(False) == 5
    assert _gaps([one.at for one in kalshi.polls]) == pytest.approx([60] * 3, abs=21)


# --- failures -----------------------------------------------------------------


async def test_failures_are_tried_again_soon_at_first_and_then_ever_more_rarely(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        await anyio.sleep(60)
        kalshi.api.plan(Status(status=503), times=None)
        async with scene.running():
            await anyio.sleep(30 * MINUTE / SECOND)
            gaps = _gaps([one.at for one in kalshi.polls])
            assert gaps[0] <= 5
            assert gaps[:8] == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300], abs=1)

            kalshi.api.heal()
            await anyio.sleep(301)
            healed = len(kalshi.polls)
            kalshi.api.plan(Status(status=503), times=None)
            await anyio.sleep(70)
        [again, *_] = _gaps([one.at for one in kalshi.polls[healed:]])
        assert again <= 5


async def test_nothing_is_asked_before_the_time_that_kalshi_names(
    database: Path, kalshi: Kalshi
) -> None:
    busy = Status(status=429, headers={"retry-after": "120"})
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.plan(busy)
        async with scene.running():
            await anyio.sleep(130)

    _, refused, *later = kalshi.asked
    assert (later[0].at - refused.at) / SECOND == pytest.approx(120, abs=1)
    assert len(kalshi.sweeps) == 1


async def test_the_time_that_kalshi_names_holds_for_whoever_waits_already(
    database: Path, kalshi: Kalshi
) -> None:
    busy = Status(status=429, headers={"retry-after": "120"})
    async with process(database, kalshi, sweep_every=59 * SECOND) as scene:
        await scene.read(BASELINE)
        async with scene.running():
            await anyio.sleep(55)
            before = len(kalshi.asked)
            kalshi.api.plan(busy)
            await anyio.sleep(130)

    refused, first, *_ = kalshi.asked[before:]
    assert not refused.is_poll
    assert (first.at - refused.at) / SECOND == pytest.approx(120, abs=1)


class _Lame(Kalshi):
    """Breaks down over whatever is not a poll."""

    is_lame = False

    async def answer(self, request: Request) -> Response:
        answer = await super().answer(request)
        is_poll = request.one("min_updated_ts") is not None
        return answer if is_poll or not self.is_lame else Response(status=500)


async def test_a_sweep_that_fails_ever_again_is_tried_rarely_and_delays_no_poll(
    database: Path,
) -> None:
    kalshi = _Lame()
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.is_lame = True
        async with scene.running():
            await anyio.sleep(30 * MINUTE / SECOND)

    tries = _gaps([one.at for one in kalshi.sweeps])
    assert tries[:7] == pytest.approx([5, 10, 20, 40, 80, 160, 300], abs=1)
    assert set(tries[7:]) == {300.0}
    assert _gaps([one.at for one in kalshi.polls]) == pytest.approx([60] * 29, abs=1)


async def test_a_poll_that_fails_at_the_start_does_not_keep_the_sweeps_waiting(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
    kalshi.lists("m1")
    kalshi.api.plan(Status(status=500))
    async with process(database, kalshi) as scene, scene.running():
        await anyio.sleep(1)
        assert scene.events == [("created", "m1")]

    assert [one.is_poll for one in kalshi.asked] == [False, True, False]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_told_and_nothing_is_asked_for_five_minutes(
    database: Path, kalshi: Kalshi, status: int
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.plan(Status(status=status))
        with capture_logs() as logs:
            async with scene.running():
                await anyio.sleep(310)

    _, refused, *later = kalshi.asked
    assert (later[0].at - refused.at) / SECOND == pytest.approx(300, abs=1)
    [error] = [line for line in logs if line["log_level"] == "error"]
    assert error["event"] == "read.failed"
    assert str(status) in error["reason"]


async def test_a_filter_that_kalshi_cannot_poll_is_swept_only(
    database: Path, kalshi: Kalshi
) -> None:
    watch = (SPORTS,)
    async with process(database, kalshi, watch=watch) as scene:
        await scene.read(BASELINE, watch=SPORTS)
        kalshi.api.plan(Status(status=400))
        with capture_logs() as logs:
            async with scene.running():
                await anyio.sleep(31 * MINUTE / SECOND)

    assert len(kalshi.polls) == 1
    assert len(kalshi.sweeps) == 3
    assert [line["watch"] for line in logs if line["log_level"] == "error"] == [SPORTS.name]

    async with process(database, kalshi, watch=watch) as scene, scene.running():
        kalshi.lists("m1")
        await anyio.sleep(10)
        assert scene.events == [("created", "m1")]
    assert len(kalshi.polls) == 1


async def test_a_poll_of_everything_is_never_given_up(database: Path, kalshi: Kalshi) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        await anyio.sleep(60)
        kalshi.api.plan(Status(status=400))
        async with scene.running():
            await anyio.sleep(10)

    assert len(kalshi.polls) == 2


async def test_a_watch_that_fails_does_not_block_the_others(database: Path, kalshi: Kalshi) -> None:
    async with process(database, kalshi, watch=(SPORTS, POLITICS)) as scene:
        await scene.read(BASELINE, watch=SPORTS)
        kalshi.api.plan(Status(status=503))
        async with scene.running():
            await anyio.sleep(10)

        [[baselined]] = scene.ask(
            "SELECT baselined_at > 0 FROM watches WHERE name = ?", POLITICS.name
        )
        assert baselined
    assert {one.query["category"] for one in kalshi.polls} == {"Sports", "Politics"}


# --- a jump of the machine's clock --------------------------------------------


async def test_a_jump_of_the_machines_clock_asks_for_one_poll_at_once(
    database: Path, kalshi: Kalshi
) -> None:
    machine = MachineClock()
    poll_every = 10 * MINUTE
    async with process(database, kalshi, clock=machine, poll_every=poll_every) as scene:
        await scene.read(BASELINE)
        async with scene.running():
            await anyio.sleep(30)
            before = len(kalshi.polls)
            machine.set_by = 3600.0
            await anyio.sleep(5)
            assert len(kalshi.polls) == before + 1
            assert machine.doubt() is None
            assert kalshi.clock.now() - machine.now() < SECOND / 1000

            # An answer without a `Date` settles nothing, and is not asked for again and again.
            kalshi.api.plan(NoDate(), times=None)
            machine.set_by = -3600.0
            await anyio.sleep(50)
            assert len(kalshi.polls) == before + 2


async def test_a_jump_of_the_machines_clock_asks_for_a_sweep_where_no_poll_is_made(
    database: Path, kalshi: Kalshi
) -> None:
    machine = MachineClock()
    async with process(database, kalshi, clock=machine) as scene:
        await scene.read(BASELINE)
        [watch] = await scene.loops.poller.db.read(milestones.watches)
        async with scene.loops.poller.db.turn(Priority.PAGE) as turn:
            await turn.write(milestones.set_sweep_only, watch)
        async with scene.running():
            await anyio.sleep(30)
            before = len(kalshi.sweeps)
            machine.set_by = 3600.0
            await anyio.sleep(30)
            assert len(kalshi.sweeps) == before + 1
            assert not kalshi.polls
            assert machine.doubt() is None
            assert kalshi.clock.now() - machine.now() < SECOND / 1000


async def test_a_jump_of_the_machines_clock_does_not_hurry_a_source_that_fails(
    database: Path, kalshi: Kalshi
) -> None:
    machine = MachineClock()
    async with process(database, kalshi, clock=machine) as scene:
        await scene.read(BASELINE)
        async with scene.running():
            await anyio.sleep(30)
            before = len(kalshi.polls)
            kalshi.api.plan(Status(status=503), times=None)
            machine.set_by = 3600.0
            await anyio.sleep(58)

        assert len(kalshi.polls) - before <= 6
        assert machine.doubt() is not None
