"""The dispatcher in simulated time, with a stub sender and a real database."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from delivering import (
    BOTH,
    DESK,
    UNAVAILABLE,
    always,
    busiest,
    in_turn,
    staged,
    unless,
    worker,
)
from simulated import backend
from storing import HOOK, HOUR, MINUTE, NOW, SECOND, ask, row
from structlog.testing import capture_logs

from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Rendered, Scope, Sent
from notifier.domain.rules import Rate

pytestmark = pytest.mark.anyio

START = NOW + 2 * HOUR


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


# --- sending ------------------------------------------------------------------


async def test_a_due_delivery_is_sent_at_once(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        await anyio.sleep(12.5)
        await scene.show("m1")
        await anyio.sleep(1)

        assert scene.offsets() == [12.5]
        assert scene.states() == ["delivered"]


async def test_a_delivery_is_sent_when_it_becomes_due(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        await scene.shelf.show(row("m1"), more=True, due_at=NOW + 20 * SECOND)
        scene.wakeup.set()
        await anyio.sleep(60)

        assert scene.offsets() == [20]


async def test_events_of_one_milestone_are_sent_in_order_one_at_a_time(
    database: Path,
) -> None:
    async with staged(database, worker(concurrency=5)) as scene, scene.running():
        scene.sender.takes[HOOK] = 10
        await scene.show("m1", title="one")
        await anyio.sleep(1)
        await scene.show("m1", title="two")
        await anyio.sleep(10)
        await scene.show("m1", title="three")
        await anyio.sleep(100)

        assert scene.offsets() == [0, 10, 20]
        titles = [one.message.events[0].title for one in scene.sender.requests]
        assert titles == ["one", "two", "three"]
        assert scene.sender.most_under_way == 1


async def test_deliveries_for_a_removed_destination_wait(
    database: Path,
) -> None:
    async with staged(database, worker(HOOK), routes=BOTH) as scene, scene.running():
        await scene.show("m1")
        await anyio.sleep(600)

        assert scene.states() == ["delivered", "pending"]
        assert scene.pulses < 60


# --- retries ------------------------------------------------------------------


async def test_a_failing_message_blocks_only_its_own_milestone(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = unless("bad", UNAVAILABLE)
        await scene.show("bad")
        await anyio.sleep(1)
        await scene.show("bad", title="and more")
        await scene.show("good")
        await anyio.sleep(3600)

        told = {tuple(one.milestones) for one in scene.sender.requests}
        assert told == {("bad",), ("good",)}
        assert scene.states() == ["pending", "pending", "delivered"]


async def test_waiting_behind_a_retry_causes_no_busy_loop(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show("m1")
        await anyio.sleep(1)
        await scene.show("m1", title="behind it")
        await anyio.sleep(3600)

        assert scene.pulses < 200


async def test_retry_after_pauses_the_destination_and_costs_no_attempt(
    database: Path,
) -> None:
    workers = (worker(HOOK), worker(DESK))
    async with staged(database, *workers, routes=BOTH) as scene, scene.running():
        patience = Failed(reason="429", retry_after=10 * MINUTE)
        scene.sender.answers[HOOK] = in_turn(patience, Sent())
        await scene.show("m1")
        await anyio.sleep(60)
        await scene.show("m2")
        await anyio.sleep(3600)

        assert scene.offsets(HOOK) == [0, 600, 600]
        assert scene.offsets(DESK) == [0, 60]
        assert set(scene.states("attempts")) == {1}


# --- ambiguous outcomes -------------------------------------------------------


async def test_an_ambiguous_message_is_sent_again_with_the_same_id_and_members(
    database: Path,
) -> None:
    async with staged(database, worker(over=2)) as scene, scene.running():
        scene.sender.answers[HOOK] = in_turn(Ambiguous(reason="no answer"), Sent())
        await scene.show("m1", "m2", "m3")
        await anyio.sleep(1)
        await scene.show("m4")
        await anyio.sleep(60)

        first, fourth, again = scene.sender.requests
        assert first.milestones == again.milestones == ["m1", "m2", "m3"]
        assert first.message.message_id == again.message.message_id
        assert fourth.milestones == ["m4"]
        assert scene.states() == ["delivered"] * 4


async def test_a_message_cut_off_by_a_crash_is_sent_again_with_the_same_id(
    database: Path,
) -> None:
    async with staged(database) as scene:
        scene.sender.takes[HOOK] = 10
        async with scene.running():
            await scene.show("m1")
            await anyio.sleep(5)
        assert scene.states() == ["leased"]

        await scene.shelf.release_leases(now=scene.clock.now())
        async with scene.running():
            await anyio.sleep(60)

        first, again = scene.sender.requests
        assert first.message.message_id == again.message.message_id
        assert scene.offsets() == [0, 5]
        assert scene.states("attempts") == [2]


async def test_a_lost_lease_is_logged_and_its_settlement_changes_nothing(
    database: Path,
) -> None:
    async with staged(database) as scene:
        scene.sender.takes[HOOK] = 120
        scene.sender.answers[HOOK] = in_turn(Refused(reason="401", scope=Scope.DESTINATION), Sent())
        with capture_logs() as logs:
            async with scene.running(), anyio.create_task_group() as tasks:
                tasks.start_soon(scene.maintain().run)
                await scene.show("m1")
                await anyio.sleep(130)
                during = scene.states("reason")
                await anyio.sleep(600)
                tasks.cancel_scope.cancel()

        assert [line["log_level"] for line in logs if line["event"] == "lease.lost"]
        assert [line["messages"] for line in logs if line["event"] == "lease.reaped"]
        assert "401" not in during
        assert ask(database, "SELECT suspended_since FROM destinations") == [
            (None,),
            (None,),
        ]
        first, again = scene.sender.requests[:2]
        assert first.message.message_id == again.message.message_id


# --- independent destinations -------------------------------------------------


async def test_a_slow_destination_delays_no_other(database: Path) -> None:
    workers = (worker(HOOK), worker(DESK))
    async with staged(database, *workers, routes=BOTH) as scene, scene.running():
        scene.sender.takes[HOOK] = 29
        for second in range(5):
            await scene.show(f"m{second}")
            await anyio.sleep(1)
        await anyio.sleep(300)

        assert scene.offsets(DESK) == [0, 1, 2, 3, 4]
        assert scene.offsets(HOOK) == [0, 29, 58, 87, 116]


async def test_a_message_that_raises_in_the_sender_stops_no_other(database: Path) -> None:
    def break_down(message: Rendered) -> Outcome:
        if message.events[0].subject == "bad":
            raise LookupError("a bug of ours")
        return Sent()

    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = break_down
        with capture_logs() as logs:
            await scene.show("bad", "good")
            await anyio.sleep(1)

        assert scene.states() == ["pending", "delivered"]
        [reason, _] = scene.states("reason")
        assert "LookupError" in reason
        assert [line["event"] for line in logs if line["log_level"] == "error"] == [
            "message.broken"
        ]


# --- suspended destinations ---------------------------------------------------


async def test_a_suspended_destination_is_probed_with_doubling_waits(
    database: Path,
) -> None:
    refusal = Refused(reason="401", scope=Scope.DESTINATION)
    async with staged(database, worker(concurrency=3)) as scene, scene.running():
        scene.sender.answers[HOOK] = in_turn(refusal, refusal, refusal, Sent())
        await scene.show("m1")
        await anyio.sleep(60)
        await scene.show("m2", "m3")
        await anyio.sleep(4 * 3600)

        quarter = 15 * 60
        healed = quarter + 2 * quarter + 4 * quarter
        assert scene.offsets()[:4] == [0, quarter, 3 * quarter, healed]
        assert scene.offsets()[4:] == [healed, healed]
        assert scene.states() == ["delivered"] * 3


async def test_a_gone_destination_is_not_probed(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = always(Refused(reason="410", scope=Scope.GONE))
        await scene.show("m1")
        await anyio.sleep(60)
        await scene.show("m2")
        await anyio.sleep(7200)

        assert scene.offsets() == [0]
        assert scene.states() == ["pending", "pending"]
        assert scene.pulses < 800


# --- rates and digests --------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "window"), [(3, 10), (1, 1), (5, 60)], ids=["3/10s", "1/s", "5/m"]
)
async def test_no_sliding_window_sees_more_than_the_rate(
    database: Path, count: int, window: float
) -> None:
    rate = Rate(count=count, per=timedelta(seconds=window))
    async with staged(database, worker(rate=rate)) as scene, scene.running():
        for second in range(10):
            await scene.show(f"m{second}a", f"m{second}b")
            await anyio.sleep(1.3)
        await anyio.sleep(3600)

        offsets = scene.offsets()
        assert len(offsets) == 20
        assert busiest(offsets, window) == count
        assert offsets[-1] <= 20 / count * (window + 0.1) + 13


async def test_a_rate_holds_across_a_restart(database: Path) -> None:
    rate = Rate(count=3, per=MINUTE)
    async with staged(database, worker(rate=rate)) as scene:
        await scene.show(*(f"m{n}" for n in range(8)))
        for _ in range(20):
            async with scene.running():
                await anyio.sleep(11)

        assert len(scene.offsets()) == 8
        assert busiest(scene.offsets(), 60) == 3


async def test_a_thousand_starts_at_one_instant_are_one_message(
    database: Path,
) -> None:
    async with staged(database, worker(over=10)) as scene, scene.running():
        for page in range(2):
            await scene.show(*(f"m{page}-{n}" for n in range(500)))
        await anyio.sleep(7200)
        sent = len(scene.sender.requests)
        await scene.start()
        await anyio.sleep(1)

        [starts] = scene.sender.requests[sent:]
        assert len(starts.milestones) == 1000
        assert starts.message.urgent


# --- close --------------------------------------------------------------------


async def test_close_finishes_attempts_under_way_and_claims_nothing_more(
    database: Path,
) -> None:
    async with staged(database) as scene:
        scene.sender.takes[HOOK] = 10
        deliver = scene.boot()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver.run)
            await scene.show("m1", "m2")
            await anyio.sleep(1)
            deliver.close()
        ended = scene.clock.now()

        assert ended == NOW + 10 * SECOND
        assert scene.states() == ["delivered", "pending"]


# --- once ---------------------------------------------------------------------


async def test_once_attempts_each_due_delivery_once_and_returns_whether_all_were_sent(
    database: Path,
) -> None:
    async with staged(database) as scene:
        scene.sender.answers[HOOK] = unless("bad", UNAVAILABLE)
        await scene.show("bad", "good")

        first = await scene.boot().once()
        second = await scene.boot().once()
        await anyio.sleep(10)
        scene.sender.answers.clear()
        third = await scene.boot().once()

        assert (first, second, third) == (False, True, True)
        assert [one.milestones for one in scene.sender.requests] == [
            ["bad"],
            ["good"],
            ["bad"],
        ]


async def test_once_waits_for_the_rate_but_not_for_a_suspended_destination(
    database: Path,
) -> None:
    rate = Rate(count=1, per=10 * SECOND)
    workers = (worker(HOOK, rate=rate), worker(DESK))
    async with staged(database, *workers, routes=BOTH) as scene:
        scene.sender.answers[DESK] = always(Refused(reason="401", scope=Scope.DESTINATION))
        await scene.show("m1", "m2", "m3")

        went_well = await scene.boot().once()

        assert not went_well
        assert [round(offset) for offset in scene.offsets(HOOK)] == [0, 10, 20]
        assert len(scene.offsets(DESK)) == 1


# --- the sum ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("external_url", "link"),
    [
        ("https://n.example.com", "https://n.example.com/milestones/m1"),
        (None, "https://kalshi.com/markets/kxnflgame/KXNFLGAME-A"),
    ],
)
async def test_links_lead_to_the_external_url_or_to_kalshi(
    database: Path, external_url: str | None, link: str
) -> None:
    async with staged(database) as scene, scene.running() as deliver:
        deliver.external_url = external_url
        await scene.show("m1")
        await anyio.sleep(1)

        [sent] = scene.sender.requests
        assert link in sent.message.body
