"""Which path leads where: health, and what is not there."""

import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from doorway import Doorway, doorway
from storing import NOW, opened, row, stocked

from notifier.clock import Skew
from notifier.errors import StoreBroken
from notifier.storage import milestones
from notifier.storage.database import Priority
from notifier.workers.readiness import HealthReport, Readiness

pytestmark = pytest.mark.anyio


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Doorway]:
    async with doorway(tmp_path / "notifier.db") as found:
        yield found


@pytest.fixture
async def visitor(door: Doorway) -> AsyncIterator[httpx.AsyncClient]:
    async with door.visitor() as found:
        yield found


async def test_it_is_healthy_while_its_loops_advance(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    door.vital.append(HealthReport(unready=["it is stopping"]))
    well = await visitor.get("/-/healthy")
    door.vital.append(HealthReport(stalled=["deliver"], unready=["the deliver loop is stuck"]))
    ill = await visitor.get("/-/healthy")

    assert (well.status_code, well.json()) == (200, {"ok": True, "stuck": []})
    assert (ill.status_code, ill.json()) == (503, {"ok": False, "stuck": ["deliver"]})


async def test_it_says_why_it_is_not_ready(door: Doorway, visitor: httpx.AsyncClient) -> None:
    door.vital.append(HealthReport(skew_s=0.5))
    ready = await visitor.get("/-/ready")
    door.vital.append(HealthReport(unready=["it is stopping"]))
    stopping = await visitor.get("/-/ready")

    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "because": [], "clock_off_s": 0.5}
    assert stopping.status_code == 503
    assert stopping.json()["because"] == ["it is stopping"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/nowhere", "text/html; charset=utf-8"),
        ("/api/v1/nowhere", "application/problem+json"),
        ("/-/nowhere", "text/plain; charset=utf-8"),
    ],
)
async def test_what_is_not_there_is_said_in_the_form_of_its_readers(
    visitor: httpx.AsyncClient, path: str, kind: str
) -> None:
    answer = await visitor.get(path)

    assert (answer.status_code, answer.headers["content-type"]) == (404, kind)


async def test_another_method_is_refused_and_the_right_one_named(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.delete("/api/v1/who", headers={"content-type": "application/json"})

    assert answer.status_code == 405
    assert "GET" in answer.headers["allow"]


# --- vitals -------------------------------------------------------------------


async def test_it_is_ready_once_everything_was_read_and_the_clock_is_right(
    tmp_path: Path,
) -> None:
    stuck: list[str] = []
    async with opened(tmp_path / "notifier.db") as store:
        async with store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(milestones.set_watches, ["everything"])
        vitals = Readiness(db=store, skew=Skew(), stalled=lambda: stuck)
        before = await vitals()
        await (await stocked(store)).show(row("m1"), now=NOW)
        after = await vitals()
        vitals.skew.note(timedelta(seconds=-61))
        stuck.append("poll")
        vitals.is_stopping = True
        worse = await vitals()

    assert before.unready == ["the first read of everything is not complete"]
    assert after == HealthReport(stalled=[], unready=[], skew_s=None)
    assert worse.stalled == ["poll"]
    assert worse.skew_s == -61
    assert worse.unready == [
        "the poll loop is stuck",
        "it is stopping",
        "this machine's clock is 61 s off",
    ]


async def test_a_minute_of_skew_is_no_reason() -> None:
    class Empty:
        async def read(self, _query: object) -> list[object]:
            return []

    vitals = Readiness(
        db=Empty(),  # type: ignore[arg-type] # nothing is watched
        skew=Skew(known=timedelta(seconds=60)),
        stalled=list,
    )

    assert (await vitals()).unready == []


async def test_a_store_that_cannot_be_read_is_no_reason_to_be_killed() -> None:
    class Broken:
        async def read(self, _query: object) -> list[object]:
            raise StoreBroken("the disk is gone")

    vitals = Readiness(
        db=Broken(),  # type: ignore[arg-type] # it never answers
        skew=Skew(),
        stalled=list,
    )

    assert await vitals() == HealthReport(stalled=[], unready=["the store cannot be read"])


# --- what it costs ------------------------------------------------------------


def test_who_wants_no_web_does_not_load_it() -> None:
    check = (
        "import sys, notifier.app;"
        "sys.exit(str({'starlette', 'uvicorn', 'argon2', 'icalendar', "
        "'prometheus_client'} & set(sys.modules) or ''))"
    )

    done = subprocess.run([sys.executable, "-c", check], check=False, stderr=subprocess.PIPE)

    assert done.stderr == b"\n"
