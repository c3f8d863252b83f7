"""What pages of other sites, broken clients and bugs of our own cannot do."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import structlog
from starlette.types import ASGIApp
from webapp import ORIGIN, WebApp, webapp

from notifier.web.middleware import BodyLimit

pytestmark = pytest.mark.anyio


EXTERNAL = "https://n.example.com"


@pytest.fixture(scope="module")
async def apps(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, WebApp]]:
    """One application per address that a service can listen on."""
    folder = tmp_path_factory.mktemp("web")
    async with (
        webapp(folder / "1.db", external_url=EXTERNAL, hosts=["notifier"]) as loopback,
        webapp(folder / "2.db", listen_host="0.0.0.0", hosts=["notifier"]) as everywhere,
    ):
        yield {"127.0.0.1": loopback, "0.0.0.0": everywhere}


@pytest.fixture
def web(apps: dict[str, WebApp]) -> WebApp:
    apps["127.0.0.1"].written.clear()
    return apps["127.0.0.1"]


@pytest.fixture
async def client(web: WebApp) -> AsyncIterator[httpx.AsyncClient]:
    async with web.client() as found:
        yield found


# --- host names ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen_host", "host", "status"),
    [
        *(("127.0.0.1", own, 200) for own in ("127.0.0.1:8080", "localhost", "LOCALHOST:1")),
        *(("127.0.0.1", own, 200) for own in ("[::1]:8080", "N.example.com", "notifier:8080")),
        *(("127.0.0.1", other, 421) for other in ("evil.example", "localhost.evil.example")),
        *(("127.0.0.1", other, 421) for other in ("192.0.2.1", "", "[", "localhost:")),
        *(("127.0.0.1", other, 421) for other in ("a@localhost", "localhost@evil.example")),
        *(("127.0.0.1", other, 421) for other in ("localhost/api", "localhost?")),
        *(("0.0.0.0", own, 200) for own in ("192.0.2.1:8080", "[2001:db8::1]", "notifier")),
        ("0.0.0.0", "evil.example", 421),
    ],
)
async def test_only_names_of_this_service_are_answered(
    apps: dict[str, WebApp], listen_host: str, host: str, status: int
) -> None:
    async with apps[listen_host].client() as client:
        response = await client.get("/api/v1/who", headers={"host": host})

    assert response.status_code == status
    assert (status == 421) == ("web.external_url" in response.text)


async def test_a_request_with_two_host_names_is_refused(client: httpx.AsyncClient) -> None:
    headers = [("host", "localhost"), ("host", "evil.example")]

    assert (await client.get("/", headers=headers)).status_code == 421


async def test_probes_are_answered_under_any_name_and_nothing_else_is(
    client: httpx.AsyncClient,
) -> None:
    paths = ("/-/healthy", "/-/ready", "/-/other", "/metrics", "/-/healthy/..")
    headers = {"host": "evil.example"}
    codes = [(await client.get(path, headers=headers)).status_code for path in paths]

    assert codes == [200, 200, 421, 421, 421]


# --- origins ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "is_own"),
    [
        ({}, True),  # a program
        ({"origin": ORIGIN, "sec-fetch-site": "same-origin"}, True),
        ({"origin": EXTERNAL}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://127.0.0.1:9090"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": ORIGIN + ".evil.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "origin": ORIGIN}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/write", "/api/v1/write", "/login", "/logout"])
async def test_a_page_of_another_origin_cannot_change_anything(
    web: WebApp, client: httpx.AsyncClient, headers: dict[str, str], is_own: bool, path: str
) -> None:
    response = await client.post(path, data={"a": "b"}, headers=headers)

    assert (response.status_code != 403) == is_own
    assert bool(web.written) == (is_own and "write" in path)


async def test_every_unsafe_method_is_checked_and_reading_is_not(
    client: httpx.AsyncClient,
) -> None:
    headers = {"origin": "http://evil.example"}
    for method in ("PUT", "PATCH", "DELETE", "POST", "INVENTED"):
        assert (await client.request(method, "/write", headers=headers)).status_code == 403
    assert (await client.get("/", headers=headers)).status_code == 200


# --- bodies -------------------------------------------------------------------


async def test_a_body_above_64_kib_is_refused(web: WebApp, client: httpx.AsyncClient) -> None:
    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 1024

    declared = await client.post("/api/v1/write", json="x" * 70_000)
    streamed = await client.post("/api/v1/write", content=pieces(65))
    assert (declared.status_code, streamed.status_code, web.written) == (413, 413, [])

    assert (await client.post("/api/v1/write", content=pieces(64))).status_code == 200
    assert len(web.written[0]) == 64 * 1024


async def post_raw(app: ASGIApp, *messages: dict[str, Any], then: Any = None) -> list[Any]:
    """Send a body in these messages; return what the application sends."""
    sent: list[Any] = []
    left = list(messages)

    async def receive() -> Any:
        await anyio.lowlevel.checkpoint()
        return left.pop(0) if left else await then()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/write",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    return sent


HALF = {"type": "http.request", "body": b'{"a":', "more_body": True}


async def test_an_incomplete_body_changes_nothing(web: WebApp) -> None:
    assert await post_raw(web.app, HALF, {"type": "http.disconnect"}) == []
    assert web.written == []


async def test_a_body_that_does_not_arrive_in_time_is_refused(
    web: WebApp,
) -> None:
    limited = BodyLimit(web.app, timeout_s=0.01)

    sent = await post_raw(limited, HALF, then=anyio.sleep_forever)

    assert (sent[0]["status"], web.written) == (408, [])
    assert (b"connection", b"close") in sent[0]["headers"]


# --- headers and errors -------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/", "localhost", 200),
        ("/-/healthy", "localhost", 200),
        ("/nowhere", "localhost", 404),
        ("/static/nowhere.css", "localhost", 404),
        ("/api/v1/break", "localhost", 500),
        ("/", "evil.example", 421),
    ],
)
async def test_every_response_has_the_security_headers(
    client: httpx.AsyncClient, path: str, host: str, status: int
) -> None:
    response = await client.get(path, headers={"host": host, "origin": "http://x"})

    headers = response.headers
    assert response.status_code == status
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/break", "/api/v1/break"])
async def test_an_internal_error_is_logged_under_a_reference_and_shows_nothing(
    client: httpx.AsyncClient, path: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        response = await client.get(path)

    [line] = [line for line in logs if line["event"] == "web.failed"]
    assert response.status_code == 500
    assert line["reference"] in response.text
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert (line["method"], line["path"]) == ("GET", path)
    assert isinstance(line["exc_info"], ZeroDivisionError)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/nowhere", "text/html; charset=utf-8"),
        ("/api/v1/nowhere", "application/problem+json"),
        ("/-/nowhere", "text/plain; charset=utf-8"),
        ("/metrics/<b>", "text/plain; charset=utf-8"),
    ],
)
async def test_errors_have_the_format_that_the_reader_of_the_path_expects(
    client: httpx.AsyncClient, path: str, content_type: str
) -> None:
    response = await client.get(path)

    assert (response.status_code, response.headers["content-type"]) == (404, content_type)


async def test_a_wrong_method_is_refused_with_the_right_ones(client: httpx.AsyncClient) -> None:
    response = await client.delete("/api/v1/who")

    assert response.status_code == 405
    assert "GET" in response.headers["allow"]
