from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import pytest
from clocks import SetClock
from servers.faulty_api import FaultyApi
from servers.loopback import HOST, serving
from servers.population import population

from notifier.demo.fake_api import PREFIX

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, 0, 250_000, tzinfo=UTC)


def fake_api(count: int = 6) -> FaultyApi:
    return FaultyApi(SetClock(NOW), population(count, seed=1, now=NOW))


@asynccontextmanager
async def asking(api: FaultyApi) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(api.answer) as port:
        url = f"http://{HOST}:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            yield http


async def get(api: FaultyApi, path: str) -> httpx.Response:
    async with asking(api) as http:
        return await http.get(PREFIX + path)


async def test_a_page_has_the_shape_of_a_real_one() -> None:
    api = fake_api()

    answer = await get(api, "/milestones?limit=4")

    page = answer.json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["date"] == "Sun, 22 Nov 2026 18:00:00 GMT"
    assert [row["id"] for row in page["milestones"]] == list(api)[:4]
    assert (await get(api, "/milestones?limit=500")).json()["cursor"] == ""
    rest = (await get(api, f"/milestones?limit=4&cursor={page['cursor']}")).json()
    assert [row["id"] for row in rest["milestones"]] == list(api)[4:]


async def test_a_limit_is_required() -> None:
    answer = await get(fake_api(), "/milestones")

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
    answer = await get(fake_api(), f"/milestones?{query}")

    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"


async def test_one_milestone_and_none() -> None:
    api = fake_api()
    some_id = next(iter(api))

    found = await get(api, f"/milestones/{some_id}")
    missing = await get(api, "/milestones/nobody")

    assert found.json() == {"milestone": api.document(some_id)}
    assert missing.status_code == 404
    assert missing.json() == {"error": {"code": "not_found", "message": "not found"}}
    assert (await get(api, "/nowhere")).status_code == 404


async def test_live_data_wants_its_parameter_repeated() -> None:
    api = fake_api()
    first, second, _ = list(api)[:3]
    api.live[first] = {"widget_status": "live"}
    api.live[second] = {"widget_status": "finished"}

    both = f"milestone_ids={first}&milestone_ids={second}"
    rows = (await get(api, f"/live_data/batch?{both}")).json()["live_datas"]
    joined = await get(api, f"/live_data/batch?milestone_ids={first},{second}")

    assert [row["details"]["widget_status"] for row in rows] == ["live", "finished"]
    assert [row["milestone_id"] for row in rows] == [first, second]
    assert joined.json() == {"live_datas": None}


async def test_the_exchange_is_active_and_only_reading_is_allowed() -> None:
    api = fake_api()
    async with asking(api) as http:
        status = await http.get(f"{PREFIX}/exchange/status")
        post = await http.post(f"{PREFIX}/milestones?limit=5")

    assert status.json()["exchange_active"] is True
    assert post.status_code == 405
