"""The whole service with live data, over the stand-in, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import reading
from reading import Kalshi, StubSender
from servers.api_faults import Status
from simulated import SimulatedClock, backend
from storing import MINUTE, SECOND, TO_HOOK, ask, inline, stamp

from notifier import app
from notifier.domain.models import Outcome, Rendered, Sent
from notifier.domain.rules import Rate, Watch
from notifier.settings.models import Settings
from notifier.storage import queries
from notifier.storage.explain import RenderContext, explain

pytestmark = pytest.mark.anyio

LIVE = "/trade-api/v2/live_data/batch"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
async def kalshi() -> Kalshi:
    return Kalshi()


@dataclass
class _Sender(StubSender):
    """Far ends that take everything and remember it."""

    taken: list[Rendered] = field(default_factory=list)

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del destination, delivered_to
        self.taken.append(message)
        return Sent(status=204)


@asynccontextmanager
async def _service(
    database: Path, kalshi: Kalshi, sender: _Sender, **source: Any
) -> AsyncIterator[app.Services]:
    async def open_sender(_config: Settings) -> _Sender:
        return sender

    clock = SimulatedClock()
    clock.correct(kalshi.clock.now() - clock.now())
    parts = replace(reading._parts(clock, kalshi), sender=open_sender)
    config = reading._config(database, source)
    stop = anyio.Event()
    async with app.build_services(config, parts) as loops, anyio.create_task_group() as tasks:
        tasks.start_soon(app.serve, loops, stop, database, parts)
        yield loops
        stop.set()


def _questions(kalshi: Kalshi) -> int:
    return sum(one.path == LIVE for one in kalshi.asked)


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_start_that_slips_is_told_as_a_fact_only_without_live_data(
    tmp_path: Path, kalshi: Kalshi, wanted: bool
) -> None:
    sender = _Sender()
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + 20 * MINUTE))
    kalshi.api.live["m1"] = {"widget_status": "delayed"}
    watch = (Watch(live=wanted),)
    async with _service(tmp_path / "notifier.db", kalshi, sender, watch=watch):
        await anyio.sleep(21 * 60)

    [told] = sender.taken
    title = "Scheduled to start now: Game m1 (delayed)"
    assert told.title == (title if wanted else "Started: Game m1")
    [event] = told.events
    assert event.type == "kalshi.milestone.started"
    assert (event.live is not None) is wanted
    assert bool(_questions(kalshi)) is wanted


@pytest.mark.parametrize("on_time_by", [-1.0, 0.0, 0.5, 20.0])
async def test_an_on_time_start_is_told_as_started_and_soon_known_to_be_live(
    tmp_path: Path, kalshi: Kalshi, on_time_by: float
) -> None:
    sender = _Sender()
    start = kalshi.clock.now() + 20 * MINUTE
    kalshi.lists("m1", start_date=stamp(start))
    kalshi.api.live["m1"] = {"widget_status": "scheduled"}
    watch = (Watch(live=True),)
    async with _service(tmp_path / "notifier.db", kalshi, sender, watch=watch) as loops:
        await anyio.sleep(20 * 60 + on_time_by)
        kalshi.api.live["m1"] = {"widget_status": "live"}
        await anyio.sleep(3 if on_time_by < 1 else 40)

        page = await loops.db.read(queries.milestone, "m1", kalshi.clock.now())

    assert [one.title for one in sender.taken] == ["Started: Game m1"]
    assert "not started" not in sender.taken[0].body
    assert page is not None
    assert page.live is not None
    assert page.live.status == "live"


async def test_a_failure_of_live_data_harms_neither_starts_nor_polls(
    tmp_path: Path, kalshi: Kalshi
) -> None:
    sender, database = _Sender(), tmp_path / "notifier.db"
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + 20 * MINUTE))
    kalshi.api.live["m1"] = {"widget_status": "scheduled"}
    kalshi.api.plan(Status(status=503), times=None, path="/live_data*")
    watch = (Watch(live=True),)
    async with _service(database, kalshi, sender, watch=watch) as loops:
        await anyio.sleep(21 * 60)

        assert loops.watchdog.stalled() == []

    assert [one.title for one in sender.taken] == ["Started: Game m1"]
    assert len(kalshi.polls) > 18
    assert 0 < _questions(kalshi) < 20
    [[conditions]] = ask(database, "SELECT count(*) FROM conditions")
    assert conditions == 0


async def test_live_data_takes_no_more_than_what_is_left_of_the_rate(
    tmp_path: Path, kalshi: Kalshi
) -> None:
    kalshi.lists(*reading.named(450), start_date=stamp(kalshi.clock.now() + 10 * MINUTE))
    slow = Rate(count=4, per=MINUTE)
    watch = (Watch(live=True),)
    async with _service(tmp_path / "notifier.db", kalshi, _Sender(), watch=watch, rate=slow):
        await anyio.sleep(1800)

    asked = [one.at for one in kalshi.asked]
    crowded = [b - a for a, b in zip(asked, asked[4:], strict=False)]
    assert min(crowded) >= MINUTE
    gaps = [b.at - a.at for a, b in zip(kalshi.polls, kalshi.polls[1:], strict=False)]
    assert max(gaps) <= 2 * MINUTE
    assert _questions(kalshi) > 30


async def test_whoever_looks_a_message_up_is_told_that_it_may_have_said_more(
    tmp_path: Path, kalshi: Kalshi
) -> None:
    sender = _Sender()
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + 5 * MINUTE))
    kalshi.api.live["m1"] = {"widget_status": "scheduled"}
    watch = (Watch(live=True),)
    async with _service(tmp_path / "notifier.db", kalshi, sender, watch=watch) as loops:
        await anyio.sleep(3600)
        [told] = sender.taken
        now = kalshi.clock.now()

        context = RenderContext(routes=TO_HOOK)
        found = await loops.db.read(explain, told.events[0].id, context, now)

    assert "live data" in str(found)


async def test_a_page_shows_what_is_live(tmp_path: Path, kalshi: Kalshi) -> None:
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + 5 * MINUTE))
    kalshi.api.live["m1"] = {"widget_status": "live", "status": "inprogress"}
    watch = (Watch(live=True),)
    async with _service(tmp_path / "notifier.db", kalshi, _Sender(), watch=watch) as loops:
        await anyio.sleep(60)

        page = await loops.db.read(queries.milestone, "m1", kalshi.clock.now())

    assert page is not None
    assert page.live is not None
    assert (page.live.status, page.live.word) == ("live", "live")


@pytest.mark.parametrize(
    ("word", "told"), [("postponed", "postponed"), ("scheduled", "not started yet")]
)
async def test_one_round_asks_before_it_tells(
    tmp_path: Path, kalshi: Kalshi, word: str, told: str
) -> None:
    sender, database = _Sender(), tmp_path / "notifier.db"

    async def open_sender(_config: Settings) -> _Sender:
        return sender

    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + 10 * SECOND))
    kalshi.api.live["m1"] = {"widget_status": word}
    parts = replace(reading._parts(kalshi.clock, kalshi), sender=open_sender, run_in_thread=inline)
    config = reading._config(database, {"watch": (Watch(live=True),)})
    await app.once(config, parts)
    await anyio.sleep(120)

    await app.once(config, parts)

    assert [one.title for one in sender.taken] == [f"Was to start 2 min ago: Game m1 ({told})"]
