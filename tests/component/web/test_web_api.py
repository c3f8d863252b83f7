"""The API: rows of the contract, actions, refusals, and the OpenAPI document."""

import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema_rs
import msgspec
import pytest
from sample_site import Site, site
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route, Router
from storing import DAY, HOUR, MINUTE, NOW, row, stamp

from notifier.domain.auth import Principal
from notifier.domain.models import Failed
from notifier.storage import queries
from notifier.web.api import api, endpoints
from notifier.web.context import WebContext
from notifier.web.schemas import openapi

pytestmark = pytest.mark.anyio

API = "/api/v1"
#: A page of somebody else's cannot say this without being asked.
JSON = {"content-type": "application/json"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "notifier.db", more=api) as found:
        yield found


@pytest.fixture
async def client(place: Site) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(place.app)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1{API}") as found:
        yield found


async def _json(client: httpx.AsyncClient, path: str, **asked: Any) -> Any:
    answer = await client.get(path, params=asked or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def _refused(client: httpx.AsyncClient, status: int, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == status
    return _words(answer)


def _words(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == answer.status_code
    return str(problem["detail"])


# --- reads ------------------------------------------------------------


async def test_events_are_the_rows_of_the_command_newest_first_in_pages(
    place: Site, client: httpx.AsyncClient
) -> None:
    rows = await place.shelf.store.read(lambda conn: list(queries.iter_events(conn)))
    first = await _json(client, "/events", limit=4)
    second = await _json(client, "/events", limit=4, cursor=first["next"])

    assert first["rows"] + second["rows"] == msgspec.json.decode(msgspec.json.encode(rows[::-1]))
    assert (len(first["rows"]), second["next"]) == (4, None)


@pytest.mark.parametrize(
    ("path", "field", "values"),
    [
        ("/events?kind=updated&kind=created", "kind", {"updated", "created"}),
        ("/events?kind=updated", "kind", {"updated"}),
        ("/deliveries?state=dead&destination=hook", "reason", {"HTTP 400"}),
        ("/deliveries?state=delivered&route=games", "destination", {"ops", "desk"}),
        ("/milestones?search=SYRACUSE+pitts", "milestone_id", {"syr"}),
        ("/milestones?search=kxnflgame-26nov22kcden", "milestone_id", {"kc"}),
        ("/milestones?type=political_race&category=Elections", "milestone_id", {"ga"}),
        (f"/milestones?since={stamp(NOW + 10 * HOUR)}", "milestone_id", {"ga"}),
        ("/milestones?gone=yes", "milestone_id", set()),
    ],
)
async def test_a_list_is_filtered_by_its_query(
    client: httpx.AsyncClient, path: str, field: str, values: set[str]
) -> None:
    assert {row[field] for row in (await _json(client, path))["rows"]} == values


async def test_a_milestone_has_its_document_events_timers_and_deliveries(
    client: httpx.AsyncClient,
) -> None:
    found = await _json(client, "/milestones/syr")

    assert found["milestone"]["title"] == "Syracuse at Pittsburgh"
    assert found["document"]["id"] == "syr"
    assert [event["kind"] for event in found["events"]] == ["updated", "created"]
    assert [timer["kind"] for timer in found["timers"]] == ["remind", "start"]
    assert {row["destination"] for row in found["deliveries"]} == {*("ops", "desk", "hook")}
    assert "no such" in await _refused(client, 404, "/milestones/none")


async def test_an_explanation_says_why_and_what_was_sent(
    place: Site, client: httpx.AsyncClient
) -> None:
    event_id = await place.event("created")

    found = await _json(client, f"/events/{event_id[:20]}")

    assert found["event"]["event_id"] == event_id
    traces = {trace["route"]: trace for trace in found["routes"]}
    assert traces["everything"] == {
        "route": "everything",
        "matched": True,
        "why": "matched",
        "to": ["hook"],
    }
    dead = next(row for row in found["deliveries"] if row["destination"] == "hook")
    assert [attempt["status"] for attempt in dead["tries"]] == [400, 400]
    assert dead["sent"] is None
    assert "begins so" in await _refused(client, 404, "/events/evt_")


async def test_the_overview_holds_status_starts_hours_and_latency(
    client: httpx.AsyncClient,
) -> None:
    found = await _json(client, "/overview")

    assert [row["milestone_id"] for row in found["starts"]] == [
        *("evil", "nvda", "kc", "syr", "ga")
    ]
    assert len(found["hours"]) == 48
    assert found["hours"][-1]["hour"] == stamp(NOW)
    assert found["hours"][-2]["created"] == 5
    assert found["latency"]["sent"] == 6
    assert found["status"] == await _json(client, "/status")


async def test_head_returns_the_headers_of_get(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.head("/events")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


# --- refusals -----------------------------------------------------


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/events?colour=red", r"colour: unknown parameter; there are: limit, cursor, kind, "),
        ("/status?limit=5", r"limit: unknown parameter; there are: none"),
        ("/events?limit=0", r"limit: must be a number from 1 to 500"),
        ("/events?limit=501", r"limit: must be a number from 1 to 500"),
        ("/events?limit=1_0", r"limit: must be a number"),
        ("/events?limit=5&limit=6", r"limit: given 2 times"),
        ("/events?kind=moved", r"kind: must be one of created, ended, "),
        ("/events?since=yesterday", r"since: must be an instant such as"),
        ("/events?since=2026-11-22T18:00:00", r"since: must be an instant such as"),
        ("/events?cursor=bm9uc2Vuc2U", r"cursor: this is no cursor"),
        ("/deliveries?state=lost", r"state: must be one of dead, "),
        ("/milestones?gone=maybe", r"gone: must be one of any, no, yes"),
        ("/milestones?search=" + "x" * 201, r"search: must be a text of at most 200 characters"),
        ("/silences?everything=1", r"everything: must be one of false, true"),
        ("/stream?after=-1", r"after: must be a number"),
    ],
)
async def test_a_bad_query_is_refused_with_the_name_of_the_parameter(
    client: httpx.AsyncClient, path: str, words: str
) -> None:
    assert re.search(words, await _refused(client, 400, path))


async def test_a_cursor_of_another_list_is_refused(
    client: httpx.AsyncClient,
) -> None:
    cursor = (await _json(client, "/events", limit=1))["next"]

    answer = await client.get("/deliveries", params={"cursor": cursor})

    assert answer.status_code == 400
    assert "cursor of deliveries" in _words(answer)


async def test_a_query_that_takes_too_long_is_given_up(
    place: Site, client: httpx.AsyncClient
) -> None:
    count = itertools.count(step=9)
    place.reader.monotonic = lambda: float(next(count))
    # Enough for SQLite to look at the clock.
    await place.shelf.show(*(row(f"m{number}") for number in range(2000)))

    words = await _refused(client, 503, "/milestones?search=nowhere")
    page = await client.get("http://127.0.0.1/milestones?q=nowhere")

    assert "query takes too long" in words
    assert page.status_code == 503
    assert "query takes too long" in page.text


async def test_an_unknown_path_and_a_wrong_method_are_refused(
    client: httpx.AsyncClient,
) -> None:
    wrong = await client.put("/silences", json={})

    assert "Not Found" in await _refused(client, 404, "/nothing")
    assert wrong.status_code == 405
    assert sorted(wrong.headers["allow"].split(", ")) == ["GET", "HEAD", "POST"]
    assert _words(wrong) == "Method Not Allowed"


# --- actions ---------------------------------------------------------


async def test_a_silence_is_added_listed_and_ended(
    client: httpx.AsyncClient,
) -> None:
    wish = {
        "match": {"category": ["Sports"]},
        "until": stamp(NOW + DAY),
        "why": "holiday",
    }

    made = await client.post("/silences", json=wish)
    listed = await _json(client, "/silences")
    ended = await client.delete(f"/silences/{made.json()['id'][:12]}", headers=JSON)
    again = await client.delete(f"/silences/{made.json()['id']}", headers=JSON)

    assert made.status_code == 201
    assert listed["rows"] == [made.json()]
    assert {key: made.json()[key] for key in wish} == wish
    assert (ended.status_code, ended.json()["active"]) == (200, False)
    assert (await _json(client, "/silences"))["rows"] == []
    assert (await _json(client, "/silences", everything="true"))["rows"] == [ended.json()]
    assert again.status_code == 404
    assert "no silence is in force" in _words(again)


async def test_dead_letters_are_listed_and_put_back(client: httpx.AsyncClient) -> None:
    would = await client.post("/deliveries/redrive", json={"dry_run": True})
    still = await _json(client, "/deliveries", state="dead")
    one = still["rows"][0]["delivery_id"]
    done = await client.post("/deliveries/redrive", json={"ids": [one]})
    left = await _json(client, "/deliveries", state="dead")

    assert len(would.json()["rows"]) == would.json()["count"] == len(still["rows"])
    assert [row["delivery_id"] for row in done.json()["rows"]] == [one]
    assert done.json()["count"] == 1
    assert len(left["rows"]) == len(still["rows"]) - 1


async def test_a_destination_is_tested_and_resumed(place: Site, client: httpx.AsyncClient) -> None:
    place.answer = Failed(reason="HTTP 503", status=503)

    tested = await client.post("/destinations/ops/test", json={})
    resumed = await client.post("/destinations/ops/resume", json={})
    nobody = await client.post("/destinations/nobody/test", json={})
    audit = await _json(client, "/audit")

    assert (tested.json()["ok"], tested.json()["destination"]) == (False, "ops")
    assert resumed.json() == {"waiting": 1}
    assert nobody.status_code == 404
    assert [row["action"] for row in audit["rows"]] == ["resume", "test"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", r"the body: "),
        (b"[]", r"the body: Expected `object`, got `array`"),
        (b'{"colour": "red"}', r"unknown field `colour`"),
        (b'{"ids": "dlv_1"}', r"Expected `array`, got `str` - at `\$.ids`"),
        (b'{"ids": [""]}', r"length >= 1 - at `\$.ids\[0\]`"),
        (b"\xff", r"the body: "),
        (b"[" * 30000, r"the body: "),
    ],
)
async def test_a_bad_body_is_refused_with_the_reason(
    client: httpx.AsyncClient, body: bytes, words: str
) -> None:
    answer = await client.post(
        "/deliveries/redrive",
        content=body,
        headers=JSON,
    )

    assert answer.status_code == 400
    assert re.search(words, _words(answer))


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"until": stamp(NOW - DAY)}, "must end in the future"),
        ({"match": {"titel": ["x"]}}, "titel: unknown key; did you mean title?"),
        ({"match": {"league": ["x"]}}, "did you mean details.league?"),
        ({"match": {"title": ["*", "~("]}}, "is not a regular expression"),
        ({"match": {"events": ["strated"]}}, "did you mean started?"),
        ({"match": {"destination": ["dsk"]}}, "did you mean desk?"),
    ],
)
async def test_a_silence_that_cannot_match_is_refused_with_a_suggestion(
    client: httpx.AsyncClient, wish: dict[str, Any], words: str
) -> None:
    whole = {"match": {"title": ["x"]}, "until": stamp(NOW + DAY), "why": "x"} | wish

    answer = await client.post("/silences", json=whole)

    assert answer.status_code == 400
    assert words in _words(answer)
    assert (await _json(client, "/silences"))["rows"] == []


async def test_an_impossible_action_is_refused_with_the_reason(
    client: httpx.AsyncClient,
) -> None:
    large = b'{"ids": ["' + b"x" * 70_000 + b'"]}'

    nobody = await client.post("/deliveries/redrive", json={"destination": "nobody"})
    form = await client.post("/silences", data={"why": "x"})
    much = await client.post("/deliveries/redrive", content=large, headers=JSON)

    assert nobody.status_code == 409
    assert "'nobody' is no destination" in _words(nobody)
    assert form.status_code in {403, 415}
    assert much.status_code == 413


async def test_a_token_that_may_only_read_cannot_act(place: Site) -> None:
    async def as_reader(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["principal"] = Principal(name="desk", may_write=False)
        scope["app"] = as_reader
        await Router(api(_context(place)))(scope, receive, send)

    transport = httpx.ASGITransport(as_reader)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://x{API}") as client:
        assert (await client.get("/events")).status_code == 200
        with pytest.raises(HTTPException, match="403"):
            await client.post("/destinations/ops/resume")


def _context(place: Site) -> WebContext:
    async def readiness() -> Any:
        return place.health

    return WebContext(
        reader=place.reader,
        admin=place.deeds,
        readiness=readiness,
        now=lambda: NOW,
        destinations=["ops"],
    )


# --- the document --------------------------------------------------------


#: Enough of a service to describe its API.
_NOTHING: Any = SimpleNamespace(reader=None, admin=None, version="1")


def _described() -> dict[tuple[str, str], Any]:
    document = openapi(endpoints(_NOTHING), "1")
    paths: Any = document["paths"]
    return {
        (path, method.upper()): operation
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method != "parameters"
    }


async def test_every_path_and_method_is_described(place: Site) -> None:
    [mount] = api(_context(place))
    assert isinstance(mount, Mount)
    there = {
        (route.path.replace(":path", ""), method)
        for route in mount.routes
        if isinstance(route, Route)
        for method in (route.methods or ())
        if method != "HEAD"
    }

    assert set(_described()) == there


LOOKS = (
    *("/status", "/overview", "/milestones", "/milestone-kinds", "/events"),
    *("/deliveries", "/destinations", "/routes", "/silences", "/audit"),
)


async def test_every_answer_has_the_shape_that_is_described(
    place: Site, client: httpx.AsyncClient
) -> None:
    document = await _json(client, "/openapi.json")
    await client.post("/destinations/ops/test", json={})
    wish = {"match": {"title": ["x"]}, "until": stamp(NOW + MINUTE), "why": "x"}
    await client.post("/silences", json=wish)
    created, updated = await place.event("created"), await place.event("updated")
    asked = {path: path for path in LOOKS}
    asked |= {
        "/milestones/syr": "/milestones/{milestone_id}",
        f"/events/{created}": "/events/{event_id}",
        f"/events/{updated}": "/events/{event_id}",
    }

    for path, described in asked.items():
        _check(document, described, await _json(client, path))
    refused = (await client.get("/events?limit=x")).json()
    assert not list(_faults(document, {"$ref": "#/components/schemas/Problem"}, refused))


def _check(document: Any, path: str, found: Any) -> None:
    answer = document["paths"][path]["get"]["responses"]["200"]
    schema = answer["content"]["application/json"]["schema"]
    assert not list(_faults(document, schema, found)), path
    if "rows" in found:
        assert found["rows"], f"{path} shows nothing to check"


def _faults(document: Any, schema: Any, found: Any) -> Iterator[str]:
    whole = {"components": document["components"]} | schema
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    for fault in validator.iter_errors(found):
        yield str(fault)
