"""What no page of anybody else's, no broken client and no mistake of ours can do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from doorway import ORIGIN, Doorway, doorway, seal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Doorway]:
    async with doorway(tmp_path / "notifier.db") as found:
        yield found


@pytest.fixture
async def visitor(door: Doorway) -> AsyncIterator[httpx.AsyncClient]:
    async with door.visitor() as found:
        yield found


# --- names --------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "127.0.0.1"]
)
async def test_it_answers_to_its_own_names(visitor: httpx.AsyncClient, host: str) -> None:
    assert (await visitor.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "[", "localhost:"),
        *("a@localhost", "localhost@evil.example", "localhost/api", "localhost?"),
    ],
)
async def test_it_answers_to_no_other_name(visitor: httpx.AsyncClient, host: str) -> None:
    answer = await visitor.get("/api/v1/who", headers={"host": host})

    assert answer.status_code == 421
    assert "external_url" in answer.json()["detail"]


async def test_two_names_are_none(visitor: httpx.AsyncClient) -> None:
    headers = [("host", "localhost"), ("host", "evil.example")]

    assert (await visitor.get("/", headers=headers)).status_code == 421


async def test_it_answers_to_the_name_by_which_people_reach_it(tmp_path: Path) -> None:
    external = "https://n.example.com"
    async with (
        doorway(tmp_path / "notifier.db", external_url=external) as door,
        door.visitor() as visitor,
    ):
        answer = await visitor.get("/", headers={"host": "N.example.com"})

    assert answer.status_code == 200


async def test_on_every_address_any_figures_will_do_but_no_strange_name(
    tmp_path: Path,
) -> None:
    async with (
        doorway(tmp_path / "notifier.db", host="0.0.0.0") as door,
        door.visitor() as visitor,
    ):
        figures = await visitor.get("/", headers={"host": "192.0.2.1:8080"})
        name = await visitor.get("/", headers={"host": "evil.example"})

    assert (figures.status_code, name.status_code) == (200, 421)


async def test_it_answers_to_the_names_that_it_is_given(tmp_path: Path) -> None:
    async with (
        doorway(tmp_path / "notifier.db", host="0.0.0.0", hosts=["notifier"]) as door,
        door.visitor("http://notifier:8080") as visitor,
    ):
        assert (await visitor.get("/metrics")).status_code == 200
        csrf = seal(await visitor.get("/"))
        headers = {"origin": "http://notifier:8080", "sec-fetch-site": "same-origin"}
        answer = await visitor.post("/do", data={"csrf": csrf}, headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["notifier:8080", "10.1.2.3:8080", "evil.example"])
async def test_probes_reach_its_health_by_any_name_and_nothing_else(
    visitor: httpx.AsyncClient, host: str
) -> None:
    paths = ("/-/healthy", "/-/ready", "/-/other", "/metrics", "/-/healthy/..")
    codes = [(await visitor.get(path, headers={"host": host})).status_code for path in paths]

    assert codes == [200, 200, 421, 421, 421]


# --- origins and forms --------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9090"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": ORIGIN},
    ],
    ids=str,
)
async def test_nothing_is_done_from_anybody_elses_page(
    door: Doorway, visitor: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    csrf = seal(await visitor.get("/"))
    form = await visitor.post("/do", data={"csrf": csrf}, headers=headers)
    call = await visitor.post("/api/v1/do", json={}, headers=headers)

    assert (form.status_code, call.status_code) == (403, 403)
    assert door.done == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": ORIGIN, "sec-fetch-site": "same-origin"}],
    ids=["old", "browser"],
)
async def test_a_form_of_ours_is_taken(
    door: Doorway, visitor: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    csrf = seal(await visitor.get("/"))

    answer = await visitor.post("/do", data={"csrf": csrf, "a": "b"}, headers=headers)

    assert answer.status_code == 200
    assert door.done == [f"csrf={csrf}&a=b"]


async def test_a_form_without_our_seal_or_with_another_browsers_is_not(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    async with door.visitor() as other:
        theirs = seal(await other.get("/"))
    await visitor.get("/")

    for data in ({}, {"csrf": ""}, {"csrf": "é"}, {"csrf": theirs}):
        assert (await visitor.post("/do", data=data)).status_code == 403
    async with door.visitor() as nobody:
        answer = await nobody.post("/do", data={"csrf": theirs})
    assert answer.status_code == 403
    assert "load its page again" in answer.text
    assert door.done == []


async def test_a_script_of_ours_shows_the_seal_in_a_header(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    csrf = seal(await visitor.get("/"))

    good = await visitor.post("/api/v1/do", headers={"x-csrf-token": csrf})
    bad = await visitor.post("/api/v1/do", headers={"x-csrf-token": csrf[::-1]})

    assert (good.status_code, bad.status_code) == (200, 403)
    assert len(door.done) == 1


async def test_where_nobody_signs_in_a_program_sends_json_and_nothing_else(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    good = await visitor.post("/api/v1/do", json={"a": 1})
    bad = await visitor.post(
        "/api/v1/do", content=b'{"a":2}', headers={"content-type": "text/plain"}
    )

    assert (good.status_code, bad.status_code) == (200, 403)
    assert "application/json" in bad.json()["detail"]
    assert door.done == ['{"a":1}']


async def test_the_seals_cookie_is_for_our_own_pages_and_no_script(
    visitor: httpx.AsyncClient,
) -> None:
    first, second = await visitor.get("/"), await visitor.get("/")

    assert first.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert "set-cookie" not in second.headers
    assert "set-cookie" not in (await visitor.get("/api/v1/who")).headers


# --- bodies -------------------------------------------------------------------


async def test_more_than_64_kib_is_not_taken(door: Doorway, visitor: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"x" * 1024

    declared = await visitor.post("/api/v1/do", json="x" * 70_000)
    trickled = await visitor.post("/api/v1/do", content=pieces())

    assert (declared.status_code, trickled.status_code) == (413, 413)
    assert door.done == []


async def test_half_a_wish_is_none(door: Doorway) -> None:
    told: list[Any] = []
    left = [
        {"type": "http.request", "body": b'{"a":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return left.pop(0)

    async def send(message: Any) -> None:
        told.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/do",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await door.app(scope, receive, send)

    assert (door.done, told) == ([], [])


# --- headers and mistakes -----------------------------------------------------


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
async def test_every_answer_keeps_browsers_strict(
    visitor: httpx.AsyncClient, path: str, host: str, status: int
) -> None:
    answer = await visitor.get(path, headers={"host": host, "origin": "http://x"})

    headers = answer.headers
    assert answer.status_code == status
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/break", "/api/v1/break"])
async def test_a_mistake_of_ours_is_logged_and_shows_nothing_of_itself(
    visitor: httpx.AsyncClient, path: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = await visitor.get(path)

    [line] = [line for line in logs if line["event"] == "web.failed"]
    assert answer.status_code == 500
    assert line["reference"] in answer.text
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert (line["method"], line["path"]) == ("GET", path)
