import inspect
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio
import anyio.abc
import httpx
import msgspec
import pytest
from clocks import SetClock
from servers import api_faults as faults
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response, serving
from servers.population import population

from notifier.demo.fake_api import base_url, milestone
from notifier.domain.rules import Watch
from notifier.errors import (
    ConfigError,
    SourceError,
    SourceGarbled,
    SourceRefused,
    SourceUnavailable,
)
from notifier.kalshi import client as client_module
from notifier.kalshi.client import Exchange, KalshiClient
from notifier.kalshi.decoding import Page
from notifier.kalshi.errors import FOREIGN, source_error

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 0, 0, 250_000, tzinfo=UTC)
MEBIBYTE = 1024 * 1024


class Streamed(httpx.MockTransport):
    """Answers whose bodies are still to be read, as those of a network are."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        whole = await super().handle_async_request(request)

        async def body() -> AsyncIterator[bytes]:
            yield whole.content

        return httpx.Response(whole.status_code, headers=whole.headers, content=body())


@dataclass
class Stage:
    api: FaultyApi
    client: KalshiClient
    port: int


def build(url: str, *, timeout_s: float = 10, most: int = MEBIBYTE) -> KalshiClient:
    return KalshiClient(
        base_url=url,
        timeout=timedelta(seconds=timeout_s),
        clock=SetClock(NOW),
        user_agent="notifier/test",
        max_body_bytes=most,
    )


@asynccontextmanager
async def stage(*, timeout_s: float = 10, count: int = 25) -> AsyncIterator[Stage]:
    clock = SetClock(NOW)
    api = FaultyApi(clock, population(count, seed=1, now=NOW), record=True)
    async with serving(api.answer) as port:
        client = build(base_url(port), timeout_s=timeout_s)
        async with aclosing(client):
            yield Stage(api, client, port)


@asynccontextmanager
async def answering(
    respond: Callable[[httpx.Request], httpx.Response],
) -> AsyncIterator[KalshiClient]:
    client = KalshiClient(
        base_url="https://example.test/v2/",
        timeout=timedelta(seconds=5),
        clock=SetClock(NOW),
        user_agent="notifier/test",
        transport=Streamed(respond),
    )
    async with aclosing(client):
        yield client


async def at_once() -> None:
    pass


async def drain(client: KalshiClient, *, limit: int = 500) -> list[Page]:
    pages = client.pages(watch=Watch(), pace=at_once, limit=limit)
    return [page async for page in pages]


async def refusal(stage: Stage) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await stage.client.page(watch=Watch(), limit=10)
    return caught.value


# --- asking -------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_page_comes_with_its_rows_its_cursor_and_its_times() -> None:
    async with stage() as on:
        page = await on.client.page(watch=Watch(), limit=10)

        assert [row.id for row in page.rows] == list(on.api)[:10]
        assert all(row.raw == on.api.raw(row.id) for row in page.rows)
        assert page.cursor
        assert (page.sent_at, page.received_at) == (NOW, NOW)
        assert page.date == NOW.replace(microsecond=0)


async def test_every_parameter_is_asked_for_in_a_way_that_the_api_understands() -> None:
    asked: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"milestones": [], "cursor": ""})

    east = NOW.astimezone().replace(microsecond=999_999)
    async with answering(respond) as client:
        await client.page(
            watch=Watch(category="Science & Technology", type="x", source_id="sr:1"),
            cursor="a+/=",
            min_updated=NOW,
            starts_after=east,
            limit=7,
        )

    [request] = asked
    assert str(request.url).startswith("https://example.test/v2/milestones?")
    assert dict(request.url.params) == {
        "category": "Science & Technology",
        "type": "x",
        "source_id": "sr:1",
        "cursor": "a+/=",
        "min_updated_ts": str(int(NOW.timestamp())),
        "minimum_start_date": "2026-11-22T18:00:00Z",
        "limit": "7",
    }
    assert request.headers["user-agent"] == "notifier/test"
    assert request.headers["accept-encoding"] == "gzip"


async def test_the_earliest_instants_can_be_asked_for() -> None:
    async with stage() as on:
        first = datetime.min.replace(tzinfo=UTC)

        since = await on.client.page(watch=Watch(), starts_after=first)
        updated = await on.client.page(watch=Watch(), min_updated=first)

        assert len(since.rows) == 25
        assert updated.rows


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_draining_gives_every_row_once_and_asks_for_leave_each_time() -> None:
    leaves = 0

    async def pace() -> None:
        nonlocal leaves
        leaves += 1

    async with stage() as on:
        pages = on.client.pages(watch=Watch(), pace=pace, limit=10)
        ids = [row.id async for page in pages for row in page.rows]

        assert ids == list(on.api)
        assert leaves == on.api.requests == 3


async def test_a_cursor_that_loops_ends_the_read_with_an_error() -> None:
    async with stage() as on:
        on.api.plan(faults.Cursor(), times=None)

        with pytest.raises(SourceGarbled, match="came twice"):
            await drain(on.client)

        assert on.api.requests == 2


async def test_a_list_without_end_ends_the_read_with_an_error() -> None:
    asked = 0

    def respond(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return httpx.Response(200, json={"milestones": [], "cursor": str(asked)})

    async with answering(respond) as client:
        with pytest.raises(SourceGarbled, match="no end of the list after 1000 pages"):
            await drain(client)

    assert asked == 1000


@pytest.mark.parametrize("end", [faults.Cursor(value=None), faults.NoCursor()])
async def test_a_cursor_that_is_null_or_absent_is_the_end(
    end: faults.AnyFault,
) -> None:
    async with stage() as on:
        on.api.plan(end)

        [page] = await drain(on.client, limit=10)

        assert len(page.rows) == 10


async def test_one_connection_serves_a_whole_read() -> None:
    connections = 0

    async def answer(request: Request) -> Response:
        return await api.answer(request)

    clock = SetClock(NOW)
    api = FaultyApi(clock, population(25, seed=1, now=NOW))
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as front:
        port = front.extra(anyio.abc.SocketAttribute.local_port)
        async with serving(answer) as behind, anyio.create_task_group() as tasks:

            async def forward(client: anyio.abc.SocketStream) -> None:
                nonlocal connections
                connections += 1
                async with client, await anyio.connect_tcp("127.0.0.1", behind) as api:

                    async def pump(
                        source: anyio.abc.SocketStream, target: anyio.abc.SocketStream
                    ) -> None:
                        async for data in source:
                            await target.send(data)

                    async with anyio.create_task_group() as both:
                        both.start_soon(pump, client, api)
                        both.start_soon(pump, api, client)

            tasks.start_soon(front.serve, forward)
            client = build(base_url(port))
            await drain(client, limit=10)
            await client.aclose()
            tasks.cancel_scope.cancel()

    assert connections == 1


# --- one milestone, the exchange ----------------------------------------------


async def test_one_milestone_is_asked_for_by_id() -> None:
    async with stage() as on:
        some_id = list(on.api)[3]

        assert await on.client.milestone(some_id) == on.api.raw(some_id)


async def test_a_milestone_that_the_api_does_not_know_is_none() -> None:
    async with stage() as on:
        assert await on.client.milestone("nobody") is None


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404, html="<h1>404 Not Found</h1>"),
        httpx.Response(404, text="404 page not found"),
        httpx.Response(404, json={"message": "no Route matched with those values"}),
        httpx.Response(404, json=["not found"]),
        httpx.Response(404),
    ],
)
async def test_a_404_that_is_not_the_api_s_own_word_removes_nothing(
    answer: httpx.Response,
) -> None:
    async with answering(lambda _: answer) as client:
        with pytest.raises(SourceRefused) as caught:
            await client.milestone("m1")

    assert caught.value.status == 404


@pytest.mark.parametrize(
    "milestone", [{"id": "other"}, {"id": 5}, None], ids=["another", "bad", "null"]
)
async def test_an_answer_that_holds_another_milestone_is_garbled(
    milestone: object,
) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"milestone": milestone})

    async with answering(respond) as client:
        with pytest.raises(SourceGarbled):
            await client.milestone("m1")


async def test_an_odd_id_cannot_lead_to_another_address() -> None:
    asked: list[bytes] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path)
        return httpx.Response(404, json={"msg": "milestone not found"})

    async with answering(respond) as client:
        assert await client.milestone("../exchange/status?a=b#c") is None

    assert asked == [b"/v2/milestones/..%2Fexchange%2Fstatus%3Fa%3Db%23c"]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(200, json={"exchange_active": True}), Exchange.ACTIVE),
        (httpx.Response(200, json={"exchange_active": False}), Exchange.MAINTENANCE),
        (httpx.Response(200, json={}), Exchange.UNKNOWN),
        (httpx.Response(503), Exchange.UNKNOWN),
    ],
)
async def test_the_exchange_says_whether_it_is_at_work(
    answer: httpx.Response, says: Exchange
) -> None:
    async with answering(lambda _: answer) as client:
        assert await client.exchange_status() is says


# --- what goes wrong ----------------------------------------------------------


@pytest.mark.parametrize("shape", ["msg", "error", "nested", "code"])
async def test_what_the_api_says_about_an_error_is_repeated(shape: str) -> None:
    async with stage() as on:
        fault = faults.Status(status=500, message="no\nsuch \x1b[1m thing")
        on.api.plan(msgspec.structs.replace(fault, shape=shape))

        error = await refusal(on)

    said = "no such \N{REPLACEMENT CHARACTER}[1m thing"
    assert str(error) == f"500 Internal Server Error: {said}"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("shape", ["error", "html", "empty"])
async def test_what_passes_by_itself_is_unavailable(status: int, shape: str) -> None:
    async with stage() as on:
        fault = faults.Status(status=status)
        on.api.plan(msgspec.structs.replace(fault, shape=shape))

        error = await refusal(on)

    assert isinstance(error, SourceUnavailable)
    assert error.retry_after is None
    assert str(error).startswith(str(status))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410, 422])
async def test_what_will_not_heal_by_itself_is_refused(status: int) -> None:
    async with stage() as on:
        on.api.plan(faults.Status(status=status))

        error = await refusal(on)

    assert isinstance(error, SourceRefused)
    assert error.status == status


async def test_the_api_s_own_refusal_of_a_filter_is_repeated() -> None:
    async with stage() as on:
        with pytest.raises(SourceRefused, match="limit must be between 1 and 500"):
            await on.client.page(watch=Watch(), limit=501)


@pytest.mark.parametrize(
    ("hint", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("0", timedelta(0)),
        ("Sun, 22 Nov 2026 18:00:30 GMT", timedelta(seconds=30)),
        ("Sun, 22 Nov 2026 17:00:00 GMT", timedelta(0)),
        ("99999999999999999999", timedelta(days=1)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=1)),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
    ],
)
async def test_a_hint_to_wait_is_understood(hint: str, wait: timedelta | None) -> None:
    async with stage() as on:
        headers = {"retry-after": hint}
        on.api.plan(faults.Status(status=429, headers=headers))

        error = await refusal(on)

    assert isinstance(error, SourceUnavailable)
    assert error.retry_after == wait


async def test_a_date_to_wait_for_is_measured_by_the_server_s_own_clock() -> None:
    headers = {
        "date": "Sun, 22 Nov 2026 12:00:00 GMT",
        "retry-after": "Sun, 22 Nov 2026 12:00:10 GMT",
    }
    async with stage() as on:
        on.api.plan(faults.Status(status=503, headers=headers))

        error = await refusal(on)

    assert isinstance(error, SourceUnavailable)
    assert error.retry_after == timedelta(seconds=10)


async def test_redirects_are_not_followed() -> None:
    async with stage() as on:
        headers = {"location": "http://127.0.0.1:1/elsewhere"}
        on.api.plan(faults.Status(status=302, headers=headers))

        error = await refusal(on)

        assert on.api.requests == 1
    assert isinstance(error, SourceRefused)
    assert str(error) == "302 Found to http://127.0.0.1:1/elsewhere, not followed"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.Body(), "web page"),
        (faults.Body(content_type=""), "no whole page"),
        (faults.Body(body=b"", content_type="application/json"), "truncated"),
        (faults.Body(body=b'{"error":"x"}', content_type="text/plain"), "milestones"),
        (faults.Status(status=204, shape="empty"), "204"),
        (faults.Truncated(), "no whole page"),
        (faults.Cursor(value=5), "cursor"),
        (faults.Gigantic(), "larger than 1048576 bytes"),
        (faults.Gigantic(gzip=True), "larger than 1048576 bytes"),
        (faults.Gzipped(share=0.5), "no end"),
        (faults.Body(headers={"content-encoding": "gzip"}), "web page|broken gzip"),
        (faults.Body(headers={"content-encoding": "br"}), "not asked for: br"),
    ],
)
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_what_cannot_be_read_is_garbled(fault: faults.AnyFault, says: str) -> None:
    async with stage() as on:
        on.api.plan(fault)

        error = await refusal(on)

        assert isinstance(error, SourceGarbled)
        assert str(error).isprintable()
        page = await on.client.page(watch=Watch())
        assert len(page.rows) == 25, "the next read is well again"
    with pytest.raises(SourceGarbled, match=says):
        raise error


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (faults.Hang(), "no whole answer within 0.3 s"),
        (faults.Drip(seconds=0.02), "no whole answer within 0.3 s"),
        (faults.Reset(), "broke"),
        (faults.Reset(share=0), "broke|no HTTP"),
    ],
    ids=["hang", "drip", "reset", "reset early"],
)
async def test_a_server_that_does_not_finish_is_unavailable(
    fault: faults.AnyFault, says: str
) -> None:
    async with stage(timeout_s=0.3) as on:
        on.api.plan(fault)

        with pytest.raises(SourceUnavailable, match=says):
            await on.client.page(watch=Watch(), limit=10)

        assert len((await on.client.page(watch=Watch())).rows) == 25


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with stage() as on:
        port = on.port
    client = build(base_url(port))

    with pytest.raises(SourceUnavailable, match="cannot connect"):
        await client.page(watch=Watch())
    assert await client.exchange_status() is Exchange.UNKNOWN
    await client.aclose()


async def test_a_peer_that_speaks_no_http_is_unavailable() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)

        async def mumble(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(b"220 mail.example.com ESMTP\r\n")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, mumble)
            client = build(base_url(port))
            with pytest.raises(SourceUnavailable, match="no HTTP"):
                await client.page(watch=Watch())
            await client.aclose()
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "url",
    ["", "example.test/v2", "ftp://example.test", "http://", "http://a:b/"],
)
async def test_an_address_that_is_none_is_an_error_of_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^source.base_url: "):
        build(url)


def bomb(mebibytes: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    pieces = [squeeze.compress(b" " * MEBIBYTE) for _ in range(mebibytes)]
    return b"".join(pieces) + squeeze.flush()


async def test_a_bomb_costs_little_memory() -> None:
    async with stage() as on:
        headers = {"content-encoding": "gzip"}
        on.api.plan(faults.Body(body=bomb(64), content_type="", headers=headers))
        tracemalloc.start()

        error = await refusal(on)

        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert isinstance(error, SourceGarbled)
    assert peak < 8 * MEBIBYTE


async def test_an_error_s_endless_body_does_not_hide_its_status() -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        return httpx.Response(401, content=b" " * MEBIBYTE)

    async with answering(respond) as client:
        with pytest.raises(SourceRefused, match=r"^401 Unauthorized$"):
            await client.page(watch=Watch())


async def test_a_compressed_answer_is_read() -> None:
    async with stage() as on:
        on.api.plan(faults.Gzipped())

        page = await on.client.page(watch=Watch())

        assert [row.raw for row in page.rows] == [on.api.raw(i) for i in on.api]


@pytest.mark.parametrize(
    ("fault", "date"),
    [
        (faults.NoDate(), None),
        (faults.Skew(seconds=-3600), NOW.replace(hour=17, microsecond=0)),
        (faults.Status(status=200, shape="empty"), None),
    ],
    ids=["none", "wrong", "unreadable"],
)
async def test_the_server_s_clock_is_taken_as_it_is_told(
    fault: faults.AnyFault, date: datetime | None
) -> None:
    async with stage() as on:
        if isinstance(fault, faults.Status):
            body, headers = b'{"milestones":[]}', {"date": "yesterday"}
            fault = faults.Body(body=body, content_type="", headers=headers)
        on.api.plan(fault)

        assert (await on.client.page(watch=Watch())).date == date


async def test_a_bad_row_of_the_server_s_costs_only_itself() -> None:
    async with stage() as on:
        on.api.plan(faults.Spoil(row=1, field="id"), faults.SpoilRow(row=2, raw=b'{"x":NaN}'))

        page = await on.client.page(watch=Watch())

        assert len(page.rows) == 23
        assert len(page.bad) == 2


# --- the seam -----------------------------------------------------------------

HTTPX_ERRORS = [
    error for _, error in inspect.getmembers(httpx, inspect.isclass) if issubclass(error, Exception)
]


@pytest.mark.parametrize("error", HTTPX_ERRORS, ids=lambda error: error.__name__)
async def test_every_error_of_httpx_has_a_source_error(error: type[Exception]) -> None:
    assert issubclass(error, FOREIGN)


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (httpx.ReadTimeout("t"), SourceUnavailable),
        (httpx.PoolTimeout("t"), SourceUnavailable),
        (httpx.ProxyError("t"), SourceUnavailable),
        (httpx.RemoteProtocolError("t"), SourceUnavailable),
        (OSError(24, "too many open files"), SourceUnavailable),
        (httpx.UnsupportedProtocol("t"), SourceRefused),
        (httpx.LocalProtocolError("t"), SourceRefused),
        (httpx.InvalidURL("t"), SourceRefused),
        (httpx.DecodingError("t"), SourceGarbled),
        (httpx.StreamConsumed(), SourceGarbled),
    ],
)
async def test_errors_are_translated_by_what_they_mean(
    foreign: Exception, ours: type[SourceError]
) -> None:
    assert type(source_error(foreign)) is ours


async def test_an_error_inside_of_httpx_never_leaves_the_client() -> None:
    for error in (httpx.ReadError("x"), httpx.StreamClosed(), OSError("x")):

        def respond(_: httpx.Request, error: Exception = error) -> httpx.Response:
            raise error

        async with answering(respond) as client:
            with pytest.raises(SourceError):
                await client.page(watch=Watch())


async def test_cancelling_a_request_is_no_error_of_the_source() -> None:
    async with stage() as on:
        on.api.plan(faults.Hang())

        with anyio.move_on_after(0.1) as scope:
            await on.client.page(watch=Watch())

        assert scope.cancelled_caught


@pytest.mark.parametrize("proxy", ["gopher://secret@proxy", "socks5://secret@proxy"])
async def test_a_proxy_that_is_none_is_an_error_of_configuration(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    with pytest.raises(ConfigError) as caught:
        build("https://example.test")

    assert "HTTPS_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with stage() as on:
        assert (await on.client.page(watch=Watch())).rows


async def test_a_proxy_of_the_environment_is_asked_for_the_world(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SetClock(NOW)
    rows = [milestone(milestone_id="m", title="t", start=NOW, tickers=())]
    api = FaultyApi(clock, rows)
    seen: list[str] = []

    async def proxy(request: Request) -> Response:
        seen.append(request.target)
        return await api.answer(request)

    async with serving(proxy) as port:
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        client = build("http://example.test/trade-api/v2")
        page = await client.page(watch=Watch())
        await client.aclose()

    assert seen == ["http://example.test/trade-api/v2/milestones?limit=500"]
    assert [row.id for row in page.rows] == ["m"]


def test_this_module_is_the_only_one_with_an_http_client() -> None:
    assert "httpx.AsyncClient(" in inspect.getsource(client_module)
