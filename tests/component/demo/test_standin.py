import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from notifier.clock import SystemClock
from notifier.demo import faults
from notifier.demo.control import Control
from notifier.demo.loopback import HOST, Response, serving
from notifier.demo.memory import MemoryTransport
from notifier.demo.population import population
from notifier.demo.standin import PREFIX, StandIn, base_url
from notifier.demo.world import World
from notifier.domain.models import Watch
from notifier.errors import SourceError, SourceUnavailable
from notifier.kalshi.client import KalshiClient

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, 0, 250_000, tzinfo=UTC)


class FixedClock(SystemClock):
    """A wall clock that stands still."""

    def now(self) -> datetime:
        return NOW


def standin(count: int = 6) -> StandIn:
    clock = FixedClock()
    world = World(clock, population(count, seed=1, now=NOW))
    return StandIn(world, clock=clock, record=True)


@asynccontextmanager
async def asking(api: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    control = Control(api, clock=FixedClock())
    async with serving(control.answer) as port:
        url = f"http://{HOST}:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            yield http


async def get(api: StandIn, path: str) -> httpx.Response:
    async with asking(api) as http:
        return await http.get(PREFIX + path)


# --- as the real one answers --------------------------------------------------


async def test_a_page_has_the_shape_of_a_real_one() -> None:
    api = standin()

    answer = await get(api, "/milestones?limit=4")

    page = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"] == "Sun, 22 Nov 2026 18:00:00 GMT"
    assert [row["id"] for row in page["milestones"]] == list(api.world)[:4]
    assert (await get(api, "/milestones?limit=500")).json()["cursor"] == ""
    rest = (await get(api, f"/milestones?limit=4&cursor={page['cursor']}")).json()
    assert [row["id"] for row in rest["milestones"]] == list(api.world)[4:]


async def test_a_limit_is_required() -> None:
    answer = await get(standin(), "/milestones")

    assert answer.status_code == 400
    assert answer.json() == {"msg": "Query argument limit is required, but not found"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=many",
        "limit=5&cursor=nonsense",
        "limit=5&min_updated_ts=1.5",
        "limit=5&minimum_start_date=soon",
        "limit=5&minimum_start_date=2026-11-22T18:00:00",
        "limit=5&minimum_start_date=2026-11-22T18:00:00+00:00",
    ],
)
async def test_what_cannot_be_asked_is_a_400(query: str) -> None:
    answer = await get(standin(), f"/milestones?{query}")

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


async def test_one_milestone_and_none() -> None:
    api = standin()
    some_id = next(iter(api.world))

    found = await get(api, f"/milestones/{some_id}")
    missing = await get(api, "/milestones/nobody")

    assert found.json() == {"milestone": api.world.doc(some_id)}
    assert missing.status_code == 404
    assert missing.json() == {"error": {"code": "not_found", "message": "not found"}}
    assert (await get(api, "/nowhere")).status_code == 404


async def test_live_data_wants_its_parameter_repeated() -> None:
    api = standin()
    first, second, _ = list(api.world)[:3]
    api.world.live[first] = {"widget_status": "live"}
    api.world.live[second] = {"widget_status": "finished"}

    both = f"milestone_ids={first}&milestone_ids={second}"
    rows = (await get(api, f"/live_data/batch?{both}")).json()["live_datas"]
    joined = await get(api, f"/live_data/batch?milestone_ids={first},{second}")

    assert [row["details"]["widget_status"] for row in rows] == ["live", "finished"]
    assert [row["milestone_id"] for row in rows] == [first, second]
    assert joined.json() == {"live_datas": None}


async def test_the_exchange_is_active_and_only_reading_is_allowed() -> None:
    api = standin()
    async with asking(api) as http:
        status = await http.get(f"{PREFIX}/exchange/status")
        post = await http.post(f"{PREFIX}/milestones?limit=5")

    assert status.json()["exchange_active"] is True
    assert post.status_code == 405


# --- scripted -----------------------------------------------------------------


async def test_plans_take_one_request_after_the_other() -> None:
    api = standin()
    api.plan(faults.Status(status=500), times=2)
    api.plan(faults.Status(status=429), after=1)

    codes = [(await get(api, "/milestones?limit=1")).status_code for _ in range(5)]

    assert codes == [500, 500, 200, 429, 200]


async def test_a_plan_hits_the_path_that_it_names_until_it_is_healed() -> None:
    api = standin()
    some_id = next(iter(api.world))
    api.plan(faults.Status(status=503), times=None, path="/milestones/*")

    one = await get(api, f"/milestones/{some_id}")
    page = await get(api, "/milestones?limit=1")
    api.heal()
    healed = await get(api, f"/milestones/{some_id}")

    codes = (one.status_code, page.status_code, healed.status_code)
    assert codes == (503, 200, 200)


async def test_a_late_replica_shows_what_was() -> None:
    api = standin()
    some_id = next(iter(api.world))
    api.take_snapshot("before")
    api.world.update(some_id, title="new")
    api.plan(faults.Stale(snapshot="before"))

    stale = await get(api, "/milestones?limit=1")
    fresh = await get(api, "/milestones?limit=1")

    assert stale.json()["milestones"][0]["title"] != "new"
    assert fresh.json()["milestones"][0]["title"] == "new"


async def test_every_answer_is_recorded_as_it_was_served() -> None:
    api = standin()
    api.plan(faults.Spoil(row=0, field="title", value=None))

    answer = await get(api, "/milestones?limit=2")
    await get(api, "/milestones/nobody")

    first, second = api.served
    assert first.body == answer.content
    assert json.loads(first.body)["milestones"][0]["title"] is None
    assert (first.number, first.status, first.at) == (1, 200, NOW)
    assert first.target == f"{PREFIX}/milestones?limit=2"
    assert (second.number, second.status) == (2, 404)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_same_answers_come_without_a_socket() -> None:
    api = standin()
    client = KalshiClient(
        base_url=base_url(80),
        timeout=timedelta(seconds=5),
        clock=FixedClock(),
        user_agent="notifier/test",
        transport=MemoryTransport(api.answer),
    )
    page = await client.page(watch=Watch(), limit=4)
    assert [row.id for row in page.rows] == list(api.world)[:4]

    api.plan(faults.Reset())
    with pytest.raises(SourceUnavailable, match="broke"):
        await client.page(watch=Watch())

    api.plan(faults.Gigantic())
    with pytest.raises(SourceError, match="larger"):
        await client.page(watch=Watch())
    await client.aclose()


# --- the server ---------------------------------------------------------------


async def test_the_server_keeps_a_connection_and_takes_a_body() -> None:
    bodies: list[bytes] = []

    async def answer(request: Any) -> Response:
        bodies.append(request.body)
        return Response(status=201, body=b"ok")

    async with serving(answer) as port, httpx.AsyncClient(trust_env=False) as http:
        url = f"http://{HOST}:{port}/a%20b?x=1&x=2"
        for body in (b"", b"one", b"x" * 300_000):
            got = await http.post(url, content=body, headers={"expect": "100-continue"})
            assert (got.status_code, got.content) == (201, b"ok")

    assert bodies == [b"", b"one", b"x" * 300_000]


async def test_an_error_beside_a_server_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serving(standin().answer):
            raise KeyError("mine")


# --- told from outside --------------------------------------------------------


async def tell(http: httpx.AsyncClient, what: str, value: object) -> httpx.Response:
    return await http.post(f"/_control/{what}", json=value)


async def test_everything_can_be_done_to_a_world_from_outside() -> None:
    api = standin()
    some_id, other_id = list(api.world)[:2]
    async with asking(api) as http:
        doc = api.world.doc(some_id) | {"id": "new"}
        orders = [
            ("add", doc),
            ("update", {"id": "new", "fields": {"title": "changed"}}),
            ("move_start", {"id": "new", "start": "2027-01-01T00:00:00Z"}),
            ("change_without_bump", {"id": some_id, "fields": {"title": "quiet"}}),
            ("touch", {"id": some_id}),
            ("remove", {"id": other_id}),
            ("live", {"id": some_id, "details": {"widget_status": "live"}}),
            ("populate", {"n": 3, "seed": 9}),
            ("snapshot", {"name": "now"}),
            ("fault", {"faults": [{"kind": "status", "status": 503}], "times": 1}),
        ]
        for what, value in orders:
            answer = await tell(http, what, value)
            assert answer.status_code == 200, answer.text
        faulty = await http.get(f"{PREFIX}/milestones?limit=1")
        state = (await http.get("/_control/state")).json()
        served = (await http.get("/_control/served?after=0")).json()["served"]

    assert api.world.doc("new")["title"] == "changed"
    assert api.world.doc("new")["start_date"] == "2027-01-01T00:00:00Z"
    assert api.world.doc(some_id)["title"] == "quiet"
    assert other_id not in api.world
    assert len(api.world) == 6 + 1 - 1 + 3
    assert state == {"milestones": 9, "requests": 1}
    assert faulty.status_code == 503
    assert b64decode(served[0]["body"]) == faulty.content


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("nothing", {"id": "a"}),
        ("touch", {"id": "nobody"}),
        ("touch", {"name": "a"}),
        ("fault", {"faults": [{"kind": "unheard of"}]}),
        ("fault", []),
        ("add", {"title": "no id"}),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(what: str, value: object) -> None:
    async with asking(standin()) as http:
        answer = await tell(http, what, value)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(what)


@pytest.mark.slow
def test_the_stand_in_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "notifier.demo.api"]
    options = ["--port", "0", "--milestones", "7", "--control"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        page = httpx.get(f"{line['base_url']}/milestones?limit=9", trust_env=False)
        process.terminate()

    assert len(page.json()["milestones"]) == 7
