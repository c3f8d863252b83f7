"""Who is authenticated, as which principal, and for how long."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from storing import NOW
from storing import ask as sql
from webapp import TestClock, WebApp, sign_in, webapp

from notifier.domain.auth import AuditEntry, TokenKind
from notifier.storage import admin
from notifier.storage.admin import MOST_REFUSED, REFUSED
from notifier.storage.database import Priority
from notifier.web.auth import LoginThrottle

pytestmark = pytest.mark.anyio

LOOPBACK = {"name": "loopback", "may_write": True}
SESSION = {"name": "session", "may_write": True}
EXTERNAL = "https://n.example.com"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def web(database: Path) -> AsyncIterator[WebApp]:
    async with webapp(database, password="hunter2") as found:
        yield found


@pytest.fixture
async def client(web: WebApp) -> AsyncIterator[httpx.AsyncClient]:
    async with web.client() as found:
        yield found


async def who(client: httpx.AsyncClient, **headers: str) -> Any:
    """The principal of a client; None if it is refused."""
    response = await client.get("/api/v1/who", headers=headers)
    return response.json() if response.status_code == 200 else None


def audit(database: Path) -> list[tuple[str, str, str]]:
    rows = sql(database, "SELECT who, action, subject FROM audit ORDER BY seq")
    return [(row[0], row[1], row[2]) for row in rows]


# --- without a password -------------------------------------------------------


async def test_without_a_password_everybody_may_do_everything(database: Path) -> None:
    async with webapp(database) as web, web.client() as client:
        assert await who(client) == LOOPBACK
        for path in ("/", "/metrics", "/feeds/games.ics", "/-/ready"):
            assert (await client.get(path)).status_code == 200
        assert (await client.get("/login?next=/events")).headers["location"] == "/events"
        assert (await client.post("/write")).status_code == 200

        await web.add_token("ntk_1")
        token = {"authorization": "Bearer ntk_1"}
        assert await who(client, **token) == {"name": "token bot", "may_write": False}
        assert (await client.post("/api/v1/write", json={}, headers=token)).status_code == 403


# --- sessions -----------------------------------------------------------------


async def test_people_are_redirected_to_the_login_and_programs_refused(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/events?kind=started&x=%26")
    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=/events%3Fkind%3Dstarted%26x%3D%2526"

    call = await client.get("/api/v1/who")
    assert (call.status_code, call.json()["status"]) == (401, 401)
    assert call.headers["www-authenticate"] == "Bearer"
    assert call.headers["content-type"] == "application/problem+json"

    assert (await client.post("/write", data={})).status_code == 401
    for path in ("/metrics", "/feeds/games.ics", "/feeds/games.ics?token=ntk_x"):
        assert (await client.get(path)).status_code == 401
    shown = await client.get("/feeds/games.ics?token=ntk_x")
    assert "The token does not permit this" in shown.text
    for path in ("/-/healthy", "/-/ready", "/login", "/static/notifier.css"):
        assert (await client.get(path)).status_code == 200


async def test_the_right_password_starts_a_session(
    database: Path, client: httpx.AsyncClient
) -> None:
    response = await sign_in(client, next="/events?x=1")

    assert (response.status_code, response.headers["location"]) == (303, "/events?x=1")
    cookie = response.headers["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == "notifier_session_8080"
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert await who(client) == SESSION
    assert (await client.get("/login")).headers["location"] == "/"
    assert audit(database) == [("session", "login", "192.0.2.7")]
    [row] = sql(database, "SELECT * FROM tokens")
    assert value not in str(row)


async def test_with_https_the_cookie_is_sent_over_https_only(database: Path) -> None:
    async with (
        webapp(database, password="hunter2", external_url=EXTERNAL) as web,
        web.client(EXTERNAL) as client,
    ):
        cookie = (await sign_in(client)).headers["set-cookie"]

        assert cookie.startswith("__Host-notifier_session_8080=")
        assert "Secure" in cookie.split("; ")
        assert await who(client) == SESSION


async def test_the_password_can_be_configured_as_its_hash(database: Path) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    async with webapp(database, password=hasher.hash("hunter2")) as web, web.client() as client:
        assert (await sign_in(client, "wrong")).status_code == 403
        assert (await sign_in(client)).status_code == 303


@pytest.mark.parametrize("password", ["wrong", "", "hunter2 ", "HUNTER2", "h" * 2000])
async def test_a_wrong_password_is_refused_and_audited(
    database: Path, client: httpx.AsyncClient, password: str
) -> None:
    response = await sign_in(client, password)

    assert response.status_code == 403
    assert "The password is wrong." in response.text
    assert "set-cookie" not in response.headers
    assert await who(client) is None
    assert audit(database) == [("nobody", "login failed", "192.0.2.7")]


async def test_a_logout_ends_the_session_also_for_a_copy_of_the_cookie(
    database: Path, web: WebApp, client: httpx.AsyncClient
) -> None:
    await sign_in(client)
    cookies = dict(client.cookies)
    response = await client.post("/logout")

    assert response.headers["location"] == "/login"
    assert await who(client) is None
    async with web.client() as thief:
        thief.cookies.update(cookies)
        assert await who(thief) is None
    assert audit(database)[-1] == ("session", "logout", "192.0.2.7")


async def test_after_a_link_from_another_site_the_page_is_requested_again(
    client: httpx.AsyncClient,
) -> None:
    # The browser withholds the strict cookie from the first request.
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    first = await client.get("/", headers=headers)
    assert first.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in first.text

    await sign_in(client)
    second = await client.get("/", headers={"sec-fetch-site": "same-origin"})
    assert second.json() == SESSION


async def test_a_session_expires_after_12_idle_hours(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    await sign_in(client)
    for _ in range(3):
        web.clock.advance(hours=11)
        assert await who(client) == SESSION

    web.clock.advance(hours=12)
    assert await who(client) is None


async def test_a_session_expires_after_7_days_of_use(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    await sign_in(client)
    for _ in range(7 * 4 - 1):
        web.clock.advance(hours=6)
        assert await who(client) == SESSION

    web.clock.advance(hours=6)
    assert await who(client) is None


@pytest.mark.parametrize(("password", "survives"), [("hunter2", True), ("hunter3", False)])
async def test_sessions_survive_a_restart_and_end_with_a_new_password(
    database: Path, password: str, survives: bool
) -> None:
    clock = TestClock()
    async with webapp(database, password="hunter2", clock=clock) as web, web.client() as client:
        await sign_in(client)
        clock.advance(hours=11)
        await who(client)
        await web.tokens.flush()
        cookies = dict(client.cookies)

    clock.advance(hours=11)
    restarted = webapp(database, password=password, clock=clock, process="second")
    async with restarted as web, web.client() as client:
        client.cookies.update(cookies)
        assert ((await client.post("/write")).status_code == 200) is survives


# --- long-running responses ---------------------------------------------------


@pytest.mark.parametrize("token", [None, "ntk_1"])
async def test_a_long_running_response_notices_that_its_session_or_token_ended(
    web: WebApp, client: httpx.AsyncClient, token: str | None
) -> None:
    await sign_in(client)
    await web.add_token("ntk_1")

    async def revoke() -> None:
        if token is None:
            await web.tokens.end_session(client.cookies["notifier_session_8080"], "192.0.2.7")
        else:
            await web.revoke("bot")

    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    assert (await client.get("/api/v1/long", headers=headers)).json() is True
    web.meanwhile = revoke
    assert (await client.get("/api/v1/long", headers=headers)).json() is False


async def test_a_long_running_response_does_not_keep_a_session_alive(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    await sign_in(client)

    async def eleven_hours() -> None:
        web.clock.advance(hours=11)

    web.meanwhile = eleven_hours
    assert (await client.get("/api/v1/long")).json() is True
    web.clock.advance(hours=1)
    assert await who(client) is None


# --- throttling ---------------------------------------------------------------


async def test_an_address_has_five_attempts_a_minute(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    for _ in range(5):
        assert (await sign_in(client, "wrong")).status_code == 403
    response = await sign_in(client)

    assert (response.status_code, response.headers["retry-after"]) == (429, "60")
    assert "Try again in 60 s" in response.text
    async with web.client(address="192.0.2.8") as other:
        assert (await sign_in(other)).status_code == 303
    web.clock.advance(seconds=60)
    for password in ("x", "x", "x", "x", "hunter2", "x"):  # a success resets the count
        client.cookies.clear()
        response = await sign_in(client, password)
    assert response.status_code == 403


async def test_many_attempts_from_everywhere_delay_the_owner_without_locking_out(
    web: WebApp,
) -> None:
    for number in range(30):
        async with web.client(address=f"192.0.2.{number}") as client:
            assert (await sign_in(client, "x" * 2000)).status_code == 403
    assert web.delays == []

    async with web.client(address="192.0.2.99") as owner:
        assert (await sign_in(owner)).status_code == 303
    assert web.delays == [1.0]


def test_there_are_300_attempts_a_minute_in_all() -> None:
    throttle = LoginThrottle()

    assert all(throttle.retry_after(f"10.0.{n // 5}.1", NOW) == 0 for n in range(300))
    assert throttle.retry_after("192.0.2.99", NOW) == 60


async def test_an_ipv6_network_is_throttled_as_one(web: WebApp) -> None:
    codes = []
    for number in (*range(5), 0xFFFF):
        async with web.client(address=f"2001:db8::{number:x}") as client:
            codes.append((await sign_in(client, "wrong")).status_code)

    assert codes == [403] * 5 + [429]
    async with web.client(address="2001:db8:0:1::1") as other:
        assert (await sign_in(other)).status_code == 303


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("10.1.2.3", "203.0.113.9"),
        ("::ffff:10.1.2.3", "203.0.113.9"),
        ("192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_reports_the_address_of_its_client(
    database: Path, peer: str, counted: str
) -> None:
    async with (
        webapp(database, password="hunter2", proxies=["10.0.0.0/8"]) as web,
        web.client(address=peer) as client,
    ):
        for number in range(5):
            headers = [
                ("x-forwarded-for", f"198.51.100.{number}"),
                ("x-forwarded-for", f"203.0.113.9:{4000 + number}"),
            ]
            await client.post("/login", data={"password": "wrong"}, headers=headers)
        response = await sign_in(client, "wrong")

    assert audit(database) == [("nobody", "login failed", counted)] * 5 + (
        [] if counted == peer else [("nobody", "login failed", "10.1.2.3")]
    )
    assert response.status_code == (429 if counted == peer else 403)


# --- tokens -------------------------------------------------------------------


async def test_the_scope_of_an_api_token_decides_whether_it_may_write(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    await web.add_token("ntk_r", name="reader")
    await web.add_token("ntk_w", name="writer", scope="write")
    codes = [
        (
            await client.post("/api/v1/write", headers={"authorization": f"Bearer {token}"})
        ).status_code
        for token in ("ntk_r", "ntk_w")
    ]

    assert codes == [403, 200]
    metrics = await client.get("/metrics", headers={"authorization": "bearer ntk_r"})
    assert metrics.json() == {"name": "token reader", "may_write": False}


async def test_unknown_expired_and_revoked_tokens_are_refused(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    for token in ("ntk_x", "", "ntk_", "x", "ntk_" + "x" * 500):
        for path in ("/", "/api/v1/who", "/metrics"):
            headers = {"authorization": f"Bearer {token}"}
            assert (await client.get(path, headers=headers)).status_code == 401

    await web.add_token("ntk_1", name="short", expires_at=NOW.replace(hour=20))
    await web.add_token("ntk_2", name="long")
    assert await who(client, authorization="Bearer ntk_1")
    web.clock.advance(hours=2)
    assert await who(client, authorization="Bearer ntk_1") is None
    assert await who(client, authorization="Bearer ntk_2")
    await web.revoke("long")
    assert await who(client, authorization="Bearer ntk_2") is None


async def test_a_feed_token_opens_its_feeds_and_nothing_else(
    web: WebApp, client: httpx.AsyncClient
) -> None:
    await web.add_token("ntk_f", kind=TokenKind.FEED, name="phone", scope="games")
    await web.add_token("ntk_a", kind=TokenKind.FEED, name="all", scope="*")
    await web.add_token("ntk_p", name="program", scope="write")

    async def status(path: str, token: str) -> int:
        return (await client.get(path, params={"token": token})).status_code

    for path in ("/feeds/games.ics", "/feeds/games.atom", "/feeds/games.json"):
        response = await client.get(path, params={"token": "ntk_f"})
        assert response.json() == {"name": "feed phone", "may_write": False}
    for path in ("/feeds/other.ics", "/feeds/gamesx.ics", "/feeds/.ics", "/metrics"):
        assert await status(path, "ntk_f") == 401
    assert await status("/api/v1/who", "ntk_f") == 401
    assert await who(client, authorization="Bearer ntk_f") is None
    assert await status("/feeds/any.ics", "ntk_a") == 200
    # An API token would end up in logs of proxies if it worked in an address.
    assert await status("/feeds/any.ics", "ntk_p") == 401


# --- what the database keeps --------------------------------------------------


async def test_the_last_use_of_a_token_is_stored(
    database: Path, web: WebApp, client: httpx.AsyncClient
) -> None:
    await web.add_token("ntk_1")
    await web.add_token("ntk_2", name="idle")
    web.clock.advance(hours=1)
    await who(client, authorization="Bearer ntk_1")
    await web.tokens.flush()

    used = {one.name: one.used_at for one in await web.db.read(admin.list_tokens)}
    assert used == {"bot": web.clock(), "idle": None}
    assert "ntk_" not in str(sql(database, "SELECT * FROM tokens"))


async def test_expired_sessions_and_old_failed_logins_are_deleted(
    database: Path, web: WebApp, client: httpx.AsyncClient
) -> None:
    await sign_in(client)
    client.cookies.clear()
    await sign_in(client, "wrong")
    await web.add_token("ntk_1")
    web.clock.advance(days=31)
    await web.tokens.flush()

    assert sql(database, "SELECT name FROM tokens") == [("bot",)]
    assert audit(database) == [
        ("session", "login", "192.0.2.7"),
        ("command", "token add", "bot"),
    ]


async def test_failed_logins_cannot_fill_the_audit_log(database: Path, web: WebApp) -> None:
    def entry(action: str, subject: str) -> AuditEntry:
        return AuditEntry(at=web.clock(), who="nobody", action=action, subject=subject)

    await web.db.write(Priority.MAINTENANCE, admin.add_audit_entry, entry("resume", "desk"))
    for number in range(MOST_REFUSED + 3):
        refused = entry(REFUSED, str(number))
        await web.db.write(Priority.MAINTENANCE, admin.add_audit_entry, refused)
    await web.tokens.flush()

    kept = sql(database, "SELECT subject FROM audit ORDER BY seq")
    assert [one for (one,) in kept] == ["desk", *map(str, range(3, MOST_REFUSED + 3))]
