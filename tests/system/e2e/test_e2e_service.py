"""The service as a process: an API that is down, an orderly end, a second instance."""

import resource
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from servers.loopback import Request, Response, serving
from servers.webhook_sink import WebhookSink

from e2e.village import Api, Life, Service, Sink, api, sink, soon, until
from notifier.clock import SystemClock
from notifier.demo.fake_api import milestone
from notifier.demo.receiver import destination_url

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # whole processes


@pytest.fixture
async def kalshi(tmp_path: Path) -> AsyncIterator[Api]:
    async with api(tmp_path, milestones=20) as running:
        yield running


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Sink]:
    async with sink(tmp_path) as running:
        yield running


def _game(milestone_id: str, start: str) -> dict[str, object]:
    doc = milestone(
        milestone_id=milestone_id,
        title="Merrow at Quarry",
        start=datetime.fromisoformat(start),
        tickers=("KXNFLGAME-MERQUA",),
    )
    return dict(doc)


async def test_a_start_is_told_on_time_while_the_api_is_down(
    tmp_path: Path, kalshi: Api, hook: Sink
) -> None:
    service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
    async with service.life() as life:
        await until(service.store.is_baselined)
        start = soon(datetime.now(UTC), 5)
        await kalshi.tell("add", **_game("game", start))
        await until(lambda: len(hook.arrivals()) == 1)
        await kalshi.tell(
            "fault",
            faults=[{"kind": "status", "status": 503}],
            times=None,
            path="/milestones*",
        )
        await until(lambda: "read.failed" in life.said)

        await until(lambda: len(hook.arrivals()) == 2)

        created, started = hook.arrivals()
        assert (created.kinds, started.kinds) == (["created"], ["started"])
        assert created.at < datetime.fromisoformat(start) <= started.at
        assert started.at - datetime.fromisoformat(start) < timedelta(seconds=5)
        assert started.events[0]["time"] == start
        assert started.genuine
        assert await life.stop() == 0
        assert "Traceback" not in life.said


async def test_a_start_that_passed_while_the_service_was_down_is_told_when_it_is_back(
    tmp_path: Path, kalshi: Api, hook: Sink
) -> None:
    service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
    async with service.life() as life:
        await until(service.store.is_baselined)
        start = soon(datetime.now(UTC), 4)
        await kalshi.tell("add", **_game("game", start))
        await until(lambda: len(hook.arrivals()) == 1)
        await life.kill()
    await kalshi.tell(
        "fault",
        faults=[{"kind": "status", "status": 503}],
        times=None,
        path="/milestones*",
    )
    await until(lambda: datetime.now(UTC) > datetime.fromisoformat(start))

    async with service.life() as life:
        await until(lambda: len(hook.arrivals()) == 2)
        assert await life.stop() == 0

    assert hook.arrivals()[1].kinds == ["started"]
    assert hook.arrivals()[1].events[0]["time"] == start


async def test_sigterm_finishes_what_is_under_way_and_ends_well(
    tmp_path: Path, kalshi: Api
) -> None:
    let_go, asked = anyio.Event(), anyio.Event()
    patient = WebhookSink(clock=SystemClock())

    async def answer(request: Request) -> Response:
        asked.set()
        await let_go.wait()
        return await patient.answer(request)

    async with serving(answer) as port:
        service = Service(tmp_path, base_url=kalshi.base_url, hook=destination_url(port))
        async with service.life() as life:
            await until(service.store.is_baselined)
            for key in ("first", "second"):
                start = soon(datetime.now(UTC), 3600)
                await kalshi.tell("add", **_game(key, start))
            with anyio.fail_after(60):
                await asked.wait()
            await until(lambda: service.store.states() == {"leased": 1, "pending": 1})

            life.process.terminate()
            await until(lambda: "app.stopping" in life.said)
            let_go.set()

            assert await life.end() == 0
            assert "app.stopped" in life.said
            assert "Traceback" not in life.said
    assert service.store.states() == {"delivered": 1, "pending": 1}
    assert len(patient.arrivals) == 1
    assert not await anyio.Path(tmp_path / "notifier.db.sock").exists()


async def test_sigterm_ends_the_wait_for_another_program_that_writes(
    tmp_path: Path, kalshi: Api, hook: Sink
) -> None:
    program = ("e2e.stubborn", "run")
    service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url, program=program)
    async with service.life() as works:
        await until(service.store.is_baselined)
        with closing(sqlite3.connect(service.store.database)) as alien:
            alien.execute("BEGIN IMMEDIATE")
            await kalshi.tell("add", **_game("new", soon(datetime.now(UTC), 3600)))
            await _stops_though_locked(works)
            async with service.life() as starts:
                await _stops_though_locked(starts)
    async with service.life() as free:
        await until(lambda: len(hook.arrivals()) == 1)
        assert await free.stop() == 0
    assert service.store.states() == {"delivered": 1}


async def _stops_though_locked(life: Life) -> None:
    await until(lambda: "store.locked" in life.said)
    assert await life.stop() == 0
    assert "app.stopped" in life.said
    assert "Traceback" not in life.said


async def test_a_second_instance_ends_with_75_and_names_the_first(
    tmp_path: Path, kalshi: Api, hook: Sink
) -> None:
    service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
    async with service.life() as first:
        await first.started()
        async with service.life() as second:
            assert await second.end() == 75
            assert f"process {first.process.pid}" in second.said
            assert "Traceback" not in second.said

        assert await first.stop() == 0
    async with service.life() as third:
        await third.started()


async def test_a_disk_that_fails_ends_the_process_and_loses_nothing(
    tmp_path: Path, kalshi: Api, hook: Sink
) -> None:
    service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
    async with service.life() as life:
        await until(service.store.is_baselined)
        await until(lambda: "app.started" in life.said)
        # From here on no file of its can grow beyond that; its log is far from it.
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (16384, 16384))
        start = soon(datetime.now(UTC), 3600)
        await kalshi.tell("add", **_game("game", start))

        assert await life.end() == 1
        assert "notifier: the database failed: " in life.said
        assert "Traceback" not in life.said
    assert hook.arrivals() == []

    async with service.life() as life:
        await until(lambda: service.store.states() == {"delivered": 1})
        assert await life.stop() == 0
    assert [one.kinds for one in hook.arrivals()] == [["created"]]
    assert service.store.ask("PRAGMA integrity_check") == [("ok",)]
