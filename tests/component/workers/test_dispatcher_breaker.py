"""The dispatcher with failing destinations: circuit breaker, retries, concurrency."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from delivering import (
    BOTH,
    DESK,
    UNAVAILABLE,
    Scene,
    always,
    in_turn,
    staged,
    unless,
    worker,
)
from simulated import backend
from storing import DAY, HOOK, HOUR, NOW, SECOND, ask, stamp
from structlog.testing import capture_logs

from notifier.domain.models import Ambiguous, Failed, Refused, Scope, Sent
from notifier.domain.rules import Rate
from notifier.storage.database import Priority

pytestmark = pytest.mark.anyio

T = TypeVar("T")
SILENT = Ambiguous(reason="no answer")
#: From the fifth failure on: how long it is left alone each time.
ALONE = [30, 60, 120, 240, 480, 900, 900, 900]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


def _five() -> list[str]:
    return [f"m{n}" for n in range(5)]


def _open(scene: Scene, destination: str = HOOK) -> bool:
    text = "SELECT open_since FROM destinations WHERE name = ?"
    return ask(scene.database, text, destination) != [(None,)]


# --- the breaker --------------------------------------------------------------


async def test_an_open_breaker_probes_with_doubling_waits_at_no_cost(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        with capture_logs() as logs:
            await scene.show("m1")
            await anyio.sleep(5000)

        waits = [0, 5, 30, 120, 600, *ALONE]
        tries = itertools.accumulate(waits)
        assert scene.offsets() == [at for at in tries if at < 5000]
        assert scene.rows("state, attempts") == [("pending", 5)]
        assert [
            (line["event"], line["destination"], line.get("reason"))
            for line in logs
            if line["event"].startswith("breaker")
        ] == [("breaker.opened", HOOK, "503")]


async def test_the_backlog_is_sent_as_a_digest_after_a_successful_probe(
    database: Path,
) -> None:
    async with staged(database, worker(over=10)) as scene, scene.running():
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show(*_five())
        await anyio.sleep(1)
        await scene.show(*(f"n{n}" for n in range(20)))
        await anyio.sleep(40)
        scene.sender.answers.clear()
        with capture_logs() as logs:
            await anyio.sleep(60)

        probe, digest = scene.sender.requests[6:]
        assert (probe.at, digest.at) == (NOW + 90 * SECOND,) * 2
        assert (len(probe.milestones), len(digest.milestones)) == (1, 24)
        assert set(scene.states()) == {"delivered"}
        assert "breaker.closed" in [line["event"] for line in logs]


async def test_a_message_that_always_fails_does_not_keep_the_breaker_open(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = unless("bad", UNAVAILABLE)
        await scene.show("bad")
        await anyio.sleep(760)
        opened = _open(scene)
        await scene.show("good")
        await anyio.sleep(40)
        await scene.show("better")
        await anyio.sleep(1)

        assert opened
        assert scene.offsets(of="good") == [785]
        assert scene.offsets(of="better") == [800]
        assert not _open(scene)


async def test_a_restart_does_not_close_a_breaker(database: Path) -> None:
    async with staged(database) as scene:
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        async with scene.running():
            await scene.show(*_five())
            await anyio.sleep(31)
        tried = len(scene.sender.requests)
        for _ in range(5):
            async with scene.running():
                await anyio.sleep(10)
        early = len(scene.sender.requests)
        async with scene.running():
            await anyio.sleep(20)

        assert (tried, early) == (6, 6)
        assert scene.offsets()[5:] == [30, 90]


async def test_a_start_waits_for_the_probe_and_goes_first(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        await scene.show("m9")
        await anyio.sleep(7190)
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show(*_five())
        await anyio.sleep(10)
        await scene.start()
        await anyio.sleep(10)
        scene.sender.answers.clear()
        await anyio.sleep(60)

        [probe, *_] = scene.sender.requests[6:]
        assert probe.message.events[0].type == "kalshi.milestone.started"
        assert probe.at == NOW + 7220 * SECOND
        assert set(scene.states()) == {"delivered"}


async def test_once_does_not_wait_for_a_destination_that_is_down(
    database: Path,
) -> None:
    rate = Rate(count=4, per=SECOND)
    async with staged(database, worker(rate=rate)) as scene:
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show(*(f"m{n}" for n in range(8)))

        first = await scene.boot().once()
        tried = len(scene.sender.requests)
        took = scene.clock.now() - NOW
        await anyio.sleep(60)
        scene.sender.answers.clear()
        second = await scene.boot().once()

        assert (first, second) == (False, True)
        assert (tried, took.total_seconds()) == (5, 1.02)
        assert scene.states() == ["delivered"] * 8


# --- ambiguous outcomes -------------------------------------------------------


async def test_on_ambiguous_drop_holds_after_a_crash(
    database: Path,
) -> None:
    workers = (worker(HOOK, drop_ambiguous=True), worker(DESK))
    async with staged(database, *workers, routes=BOTH) as scene:
        scene.sender.takes |= {HOOK: 10, DESK: 10}
        async with scene.running():
            await scene.show("m1")
            await anyio.sleep(5)
        await scene.release_leases(drop_ambiguous={HOOK})
        async with scene.running():
            await anyio.sleep(600)

        cut_off = "the attempt was cut off by a crash or never came back"
        assert scene.rows("destination, state, reason") == [
            (HOOK, "dropped", f"it may have arrived: {cut_off}"),
            (DESK, "delivered", None),
        ]
        assert (len(scene.offsets(HOOK)), len(scene.offsets(DESK))) == (1, 2)


async def test_only_recipients_that_lack_a_message_get_it_again(
    database: Path,
) -> None:
    async with staged(database, worker(drop_ambiguous=True)) as scene, scene.running():
        scene.sender.answers[HOOK] = in_turn(
            Ambiguous(reason="bob", delivered_to=frozenset({"ann"}), unsure=False),
            Ambiguous(reason="bob", delivered_to=frozenset({"ann", "cid"}), unsure=False),
            Sent(),
        )
        await scene.show("m1")
        await anyio.sleep(600)

        told = [sorted(one.delivered_to) for one in scene.sender.requests]
        assert told == [[], ["ann"], ["ann", "cid"]]
        assert len({one.message.message_id for one in scene.sender.requests}) == 1
        assert scene.states() == ["delivered"]
        assert ask(database, "SELECT * FROM served") == []


# --- retries and first attempts -----------------------------------------------


async def _with_retries(scene: Scene, count: int) -> None:
    """So many that have failed once, as a digest, and are due again."""
    rated, scene.workers = scene.workers, (worker(over=1),)
    scene.sender.answers[HOOK] = always(UNAVAILABLE)
    async with scene.running():
        await scene.show(*(f"old{n}" for n in range(count)))
        await anyio.sleep(1)
    scene.sender.answers.clear()
    scene.sender.requests.clear()
    await anyio.sleep(60)
    scene.workers = rated


@pytest.mark.parametrize("took", [0.0, 0.3], ids=["at once", "slowly"])
async def test_retries_and_first_attempts_take_turns_at_a_low_rate(
    database: Path, took: float
) -> None:
    slow = worker(rate=Rate(count=1, per=SECOND))
    async with staged(database, slow) as scene:
        await _with_retries(scene, 40)
        await scene.show(*(f"new{n}" for n in range(40)))
        scene.sender.takes[HOOK] = took
        async with scene.running():
            await anyio.sleep(200)

        told = [one[0][:3] for one in scene.told()]
        assert len(told) == 80
        for begin in range(0, 80, 10):
            assert told[begin : begin + 10].count("old") == 5


# --- age ----------------------------------------------------------------------


# --- concurrency --------------------------------------------------------------


async def test_a_slow_message_does_not_block_the_other_slots(
    database: Path,
) -> None:
    async with staged(database, worker(concurrency=3)) as scene, scene.running():
        scene.sender.takes |= {"slow": 25, HOOK: 1}
        await scene.show("slow")
        await scene.show(*(f"m{n}" for n in range(4)))
        await anyio.sleep(1.5)
        await scene.show(*(f"n{n}" for n in range(4)))
        await anyio.sleep(60)

        assert scene.offsets() == [0, 0, 0, 1, 1, 2, 2, 3, 3]
        assert scene.sender.most_under_way == 3
        ids = [one.message.message_id for one in scene.sender.requests]
        assert len(set(ids)) == len(ids)


async def test_a_slow_message_does_not_delay_a_retry(database: Path) -> None:
    async with staged(database, worker(concurrency=2)) as scene, scene.running():
        scene.sender.takes |= {"slow": 25, HOOK: 1}
        scene.sender.answers[HOOK] = in_turn(UNAVAILABLE, Sent())
        await scene.show("slow")
        await scene.show("m1")
        await anyio.sleep(60)

        assert scene.offsets(of="m1") == [0, 6]


async def test_a_rate_holds_with_concurrency(database: Path) -> None:
    way = worker(concurrency=4, rate=Rate(count=2, per=10 * SECOND))
    async with staged(database, way) as scene, scene.running():
        scene.sender.takes[HOOK] = 3
        await scene.show(*(f"m{n}" for n in range(6)))
        await anyio.sleep(100)

        offsets = scene.offsets()
        assert len(offsets) == 6
        # A request may reach the far end as late as its answer.
        assert offsets[:2] == [0, 0]
        assert all(b - a >= 10 for a, b in zip(offsets, offsets[2:], strict=False))


async def test_a_start_does_not_wait_for_messages_planned_before_it(
    database: Path,
) -> None:
    async with staged(database, worker(concurrency=2)) as scene, scene.running():
        await scene.show("m1")
        await anyio.sleep(7199)
        scene.sender.takes[HOOK] = 1.5
        later = stamp(NOW + DAY)
        await scene.show(*(f"n{n}" for n in range(20)), start_date=later)
        await anyio.sleep(1)
        await scene.start()
        await anyio.sleep(60)

        [start] = [
            one.at
            for one in scene.sender.requests
            if one.message.events[0].type == "kalshi.milestone.started"
        ]
        assert start == NOW + 7200.5 * SECOND


async def test_finished_attempts_are_settled_when_the_worker_is_cancelled(database: Path) -> None:
    async with staged(database, worker(concurrency=2)) as scene:
        scene.sender.takes |= {"slow": 25, HOOK: 1}
        async with scene.running():
            await scene.show("slow")
            await scene.show("quick")
            await anyio.sleep(0.5)
            async with scene.shelf.store.turn(Priority.MAINTENANCE):
                await anyio.sleep(5)
                scene.kill()

        assert scene.states() == ["leased", "delivered"]


async def test_a_cancelled_settlement_is_written_at_the_end(
    database: Path,
) -> None:
    slow = 0.0

    async def hand_over(work: Callable[[], T]) -> T:
        await anyio.sleep(slow)
        return work()

    async with staged(database, run_in_thread=hand_over) as scene:
        scene.sender.takes[HOOK] = 1
        async with scene.running():
            await scene.show("m1")
            await anyio.sleep(0.5)
            slow = 2.0
            await anyio.sleep(1)

        assert scene.states() == ["delivered"]


# --- one bad message ----------------------------------------------------------


async def test_a_crash_during_a_suspension_leaves_deliveries_pending(
    database: Path,
) -> None:
    async with staged(database) as scene:
        scene.sender.answers[HOOK] = always(
            Refused(reason="401", scope=Scope.DESTINATION, status=401)
        )
        async with scene.running():
            await scene.show("m1")
            await anyio.sleep(4 * DAY.total_seconds())
            scene.sender.takes[HOOK] = 6 * HOUR.total_seconds()
            await anyio.sleep(6 * HOUR.total_seconds() + 1)
            assert scene.states() == ["leased"]
        await scene.release_leases()

        assert scene.states() == ["pending"]


async def test_503_with_retry_after_opens_the_breaker(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        hint = Failed(reason="503", status=503, retry_after=SECOND)
        scene.sender.answers[HOOK] = always(hint)
        await scene.show("m1")
        await anyio.sleep(HOUR.total_seconds())

        assert len(scene.sender.requests) < 20


async def test_only_one_probe_is_under_way_with_concurrency(
    database: Path,
) -> None:
    async with staged(database, worker(concurrency=8)) as scene, scene.running():
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show(*(f"m{n}" for n in range(20)))
        await anyio.sleep(29)
        scene.sender.takes[HOOK], scene.sender.most_under_way = 25, 0
        for n in range(20):
            await scene.show(f"x{n}")
            await anyio.sleep(1)

        assert scene.sender.most_under_way == 1
