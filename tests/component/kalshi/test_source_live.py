"""Live data over a real connection: what is asked, and what bad answers cost."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response, serving
from servers.population import population

from notifier.clock import SystemClock
from notifier.demo.fake_api import base_url
from notifier.domain.live_status import LiveAnswer, Status
from notifier.domain.models import Json
from notifier.errors import SourceError, SourceGarbled, SourceUnavailable
from notifier.kalshi.client import MOST_LIVE, KalshiClient
from notifier.kalshi.decoding import read_live

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
LIVE = LiveAnswer(status=Status.LIVE, word="live")


def rows(*found: Json) -> bytes:
    return json.dumps({"live_datas": found}).encode()


def live_row(milestone_id: str, **details: Json) -> dict[str, Json]:
    return {"milestone_id": milestone_id, "type": "game", "details": details}


def client_of(url: str) -> KalshiClient:
    return KalshiClient(
        base_url=url,
        timeout=timedelta(seconds=10),
        clock=SystemClock(),
        user_agent="notifier/test",
    )


@asynccontextmanager
async def answering(
    respond: Callable[[Request], Response],
) -> AsyncIterator[KalshiClient]:
    async def answer(request: Request) -> Response:
        return respond(request)

    async with serving(answer) as port:
        client = client_of(base_url(port))
        async with aclosing(client):
            yield client


# --- asking -------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_hundred_are_asked_about_with_one_request() -> None:
    clock = SystemClock()
    api = FaultyApi(clock, population(120, seed=1, now=NOW))
    ids = list(api)[:MOST_LIVE]
    api.live |= {key: {"widget_status": "live"} for key in ids}
    async with serving(api.answer) as port:
        client = client_of(base_url(port))
        async with aclosing(client):
            found = await client.live(ids)

    assert found == dict.fromkeys(ids, LIVE)
    assert api.requests == 1


@pytest.mark.anyio
async def test_the_ids_are_repeated_and_what_was_not_asked_for_is_left_out() -> None:
    asked: list[Request] = []

    def respond(request: Request) -> Response:
        asked.append(request)
        found = [live_row(key, widget_status="live") for key in ("a", "b", "c")]
        return Response(body=rows(*found))

    async with answering(respond) as client:
        found = await client.live(["a", "b"])

    assert list(found) == ["a", "b"]
    [request] = asked
    assert request.path.endswith("/live_data/batch")
    assert list(request.query["milestone_ids"]) == ["a", "b"]


@pytest.mark.anyio
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_refusal_is_an_error_of_the_source(status: int) -> None:
    async with answering(lambda _: Response(status=status)) as client:
        with pytest.raises(SourceUnavailable):
            await client.live(["a"])


# --- reading ------------------------------------------------------------------


def test_what_people_see_on_the_page_counts_before_the_feed_behind_it() -> None:
    body = rows(
        live_row("a", widget_status="finished", status="inprogress"),
        live_row("b", status="inprogress"),
        live_row("c", widget_status="", status="postponed"),
    )

    assert {key: one.status for key, one in read_live(body).items()} == {
        "a": Status.FINISHED,
        "b": Status.LIVE,
        "c": Status.DELAYED,
    }


def test_a_word_that_is_not_known_is_kept_as_it_is() -> None:
    found = read_live(rows(live_row("a", widget_status="Rain Break")))

    assert found == {"a": LiveAnswer(status=Status.UNKNOWN, word="Rain Break")}


@pytest.mark.parametrize("body", [b'{"live_datas":null}', b'{"live_datas":[]}'])
def test_null_and_nothing_are_no_answers(body: bytes) -> None:
    assert read_live(body) == {}


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        "text",
        {},
        {"milestone_id": None},
        {"milestone_id": 7, "details": {"widget_status": "live"}},
        {"milestone_id": "x"},
        {"milestone_id": "x", "details": None},
        {"milestone_id": "x", "details": []},
        {"milestone_id": "x", "details": {"widget_status": None, "status": 3}},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_read_costs_no_other(bad: Json) -> None:
    good = live_row("good", widget_status="live")

    assert read_live(rows(bad, good, bad)) == {"good": LIVE}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"live_datas":7}', b'{"live_datas":[{]}', b"\xff"]
)
def test_what_is_no_such_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(SourceGarbled):
        read_live(body)


@given(st.binary())
def test_no_bytes_do_more_than_be_garbled(body: bytes) -> None:
    for answer in (body, b'{"live_datas":[' + body + b"]}"):
        with suppress(SourceError):
            read_live(answer)
