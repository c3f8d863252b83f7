"""Who is let in, as whom, and for how long."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from doorway import Doorway, Hours, doorway, seal, sign_in
from storing import NOW
from storing import ask as look

from notifier.domain.auth import Note, TokenKind
from notifier.storage import admin
from notifier.storage.admin import MOST_REFUSED, REFUSED
from notifier.storage.database import Priority
from notifier.web.middleware import sealed
from notifier.web.tokens import Tries

pytestmark = pytest.mark.anyio

LOOPBACK = {"name": "loopback", "may_write": True}
SESSION = {"name": "session", "may_write": True}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def door(database: Path) -> AsyncIterator[Doorway]:
    async with doorway(database, password="hunter2") as found:
        yield found


@pytest.fixture
async def visitor(door: Doorway) -> AsyncIterator[httpx.AsyncClient]:
    async with door.visitor() as found:
        yield found


async def who(visitor: httpx.AsyncClient, **headers: str) -> Any:
    """As whom somebody is let in; None: they are not."""
    answer = await visitor.get("/api/v1/who", headers=headers)
    return answer.json() if answer.status_code == 200 else None


def audit(database: Path) -> list[tuple[str, str, str]]:
    return [
        (row[0], row[1], row[2])
        for row in look(database, "SELECT who, action, subject FROM audit ORDER BY seq")
    ]


# --- without a password -------------------------------------------------------


async def test_without_a_password_whoever_reaches_it_may_do_everything(
    database: Path,
) -> None:
    async with doorway(database) as door, door.visitor() as visitor:
        assert await who(visitor) == LOOPBACK
        for path in ("/", "/metrics", "/feeds/games.ics", "/-/ready"):
            assert (await visitor.get(path)).status_code == 200
        assert (await visitor.get("/login?next=/events")).headers["location"] == ("/events")


async def test_a_token_that_may_only_look_may_only_look_there_too(
    database: Path,
) -> None:
    async with doorway(database) as door, door.visitor() as visitor:
        await door.let_in("ntk_1")
        shown = {"authorization": "Bearer ntk_1"}
        answer = await visitor.post("/api/v1/do", json={}, headers=shown)

        assert await who(visitor, **shown) == {"name": "token bot", "may_write": False}
        assert answer.status_code == 403
        assert door.done == []


# --- with one -----------------------------------------------------------------


async def test_people_are_led_to_the_login_and_programs_are_told(
    visitor: httpx.AsyncClient,
) -> None:
    page = await visitor.get("/events?kind=started&x=%26")
    call = await visitor.get("/api/v1/who")
    form = await visitor.post("/do", data={})

    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=/events%3Fkind%3Dstarted%26x%3D%2526"
    assert call.status_code == 401
    assert call.headers["www-authenticate"] == "Bearer"
    assert call.headers["content-type"] == "application/problem+json"
    assert call.json()["status"] == 401
    assert form.status_code == 401
    for path in ("/metrics", "/feeds/games.ics", "/feeds/games.ics?token=ntk_x"):
        assert (await visitor.get(path)).status_code == 401
    shown = await visitor.get("/feeds/games.ics?token=ntk_x")
    assert "This token opens nothing here" in shown.text


async def test_health_is_open_to_everybody(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.get("/-/healthy")).status_code == 200
    assert (await visitor.get("/-/ready")).status_code == 200


async def test_who_knows_the_password_is_let_in_and_led_on(
    database: Path, visitor: httpx.AsyncClient
) -> None:
    answer = await sign_in(visitor, next="/events?x=1")

    assert answer.status_code == 303
    assert answer.headers["location"] == "/events?x=1"
    assert await who(visitor) == SESSION
    assert (await visitor.get("/login")).headers["location"] == "/"
    assert audit(database) == [("session", "login", "192.0.2.7")]


async def test_a_sessions_cookie_is_for_our_own_pages_and_no_script(
    database: Path, visitor: httpx.AsyncClient
) -> None:
    cookie = (await sign_in(visitor)).headers["set-cookie"]

    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == "notifier_session_8080"
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    rows = look(database, "SELECT * FROM tokens")
    assert len(rows) == 1
    assert value not in str(rows)


async def test_by_https_the_cookie_never_goes_another_way(database: Path) -> None:
    external = "https://n.example.com"
    async with (
        doorway(database, password="hunter2", external_url=external) as door,
        door.visitor(external) as visitor,
    ):
        cookie = (await sign_in(visitor)).headers["set-cookie"]

        assert cookie.startswith("__Host-notifier_session_8080=")
        assert "Secure" in cookie.split("; ")
        assert await who(visitor) == SESSION


async def test_the_password_may_be_given_as_its_hash(database: Path) -> None:
    hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
    async with (
        doorway(database, password=hashed.hash("hunter2")) as door,
        door.visitor() as visitor,
    ):
        assert (await sign_in(visitor, "wrong")).status_code == 403
        assert (await sign_in(visitor)).status_code == 303


@pytest.mark.parametrize("said", ["wrong", "", "hunter2 ", "HUNTER2", "h" * 2000])
async def test_another_password_opens_nothing_and_is_noted(
    database: Path, visitor: httpx.AsyncClient, said: str
) -> None:
    answer = await sign_in(visitor, said)

    assert answer.status_code == 403
    assert "That is not the password." in answer.text
    assert "set-cookie" not in answer.headers
    assert await who(visitor) is None
    assert audit(database) == [("nobody", "login failed", "192.0.2.7")]


async def test_a_login_form_of_somebody_elses_is_not_taken(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.post("/login", data={"password": "hunter2"})

    assert answer.status_code == 403
    assert await who(visitor) is None


async def test_who_signs_out_is_out_and_the_cookie_is_worth_nothing(
    database: Path, door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await sign_in(visitor)
    cookies = dict(visitor.cookies)
    csrf = seal(await visitor.get("/"))
    answer = await visitor.post("/logout", data={"csrf": csrf})

    assert answer.headers["location"] == "/login"
    assert await who(visitor) is None
    async with door.visitor() as thief:
        thief.cookies.update(cookies)
        assert await who(thief) is None
    assert audit(database)[-1] == ("session", "logout", "192.0.2.7")


async def test_by_a_link_from_elsewhere_the_page_asks_again_with_the_cookie(
    visitor: httpx.AsyncClient,
) -> None:
    await sign_in(visitor)
    cookies = dict(visitor.cookies)
    visitor.cookies.clear()  # as the browser does: the cookie is strict

    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    first = await visitor.get("/", headers=headers)
    visitor.cookies.update(cookies)
    second = await visitor.get("/", headers={"sec-fetch-site": "same-origin"})

    assert first.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in first.text
    assert "csrf" not in first.text
    assert 'name="csrf"' in second.text


async def test_a_cookie_that_is_no_session_seals_nothing(
    visitor: httpx.AsyncClient,
) -> None:
    visitor.cookies.set("notifier_session_8080", "planted")
    known = sealed("planted", b"session")
    form = {"csrf": known, "password": "hunter2"}

    assert seal(await visitor.get("/login")) != known
    assert (await visitor.post("/login", data=form)).status_code == 403
    assert (await sign_in(visitor)).status_code == 303


# --- answers that go on -------------------------------------------------------


async def test_who_has_signed_out_is_out_of_what_goes_on_too(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await sign_in(visitor)
    shown = visitor.cookies["notifier_session_8080"]

    async def sign_out() -> None:
        await door.tokens.end(shown, "192.0.2.7")

    assert (await visitor.get("/api/v1/lasting")).json() is True
    door.rooms.meanwhile = sign_out
    assert (await visitor.get("/api/v1/lasting")).json() is False


async def test_a_revoked_token_is_out_of_what_goes_on_too(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_1")

    async def revoke() -> None:
        async with door.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(admin.revoke_token, "bot", now=door.now())

    door.rooms.meanwhile = revoke
    headers = {"authorization": "Bearer ntk_1"}
    assert (await visitor.get("/api/v1/lasting", headers=headers)).json() is False


async def test_to_listen_is_no_use_of_a_session(door: Doorway, visitor: httpx.AsyncClient) -> None:
    await sign_in(visitor)

    async def eleven_hours() -> None:
        door.now.pass_by(hours=11)

    door.rooms.meanwhile = eleven_hours
    assert (await visitor.get("/api/v1/lasting")).json() is True
    door.now.pass_by(hours=1)
    assert await who(visitor) is None


# --- how long -----------------------------------------------------------------


async def test_a_session_ends_unused_after_12_hours(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await sign_in(visitor)
    for _ in range(3):
        door.now.pass_by(hours=11)
        assert await who(visitor) == SESSION

    door.now.pass_by(hours=12)
    assert await who(visitor) is None


async def test_a_session_ends_after_7_days_however_much_it_is_used(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await sign_in(visitor)
    for _ in range(7 * 4 - 1):
        door.now.pass_by(hours=6)
        assert await who(visitor) == SESSION

    door.now.pass_by(hours=6)
    assert await who(visitor) is None


async def test_sessions_and_their_forms_survive_a_restart(database: Path) -> None:
    now = Hours()
    async with (
        doorway(database, password="hunter2", now=now) as door,
        door.visitor() as visitor,
    ):
        await sign_in(visitor)
        csrf, cookies = seal(await visitor.get("/")), dict(visitor.cookies)
        now.pass_by(hours=11)
        await who(visitor)
        await door.tokens.write_down()

    now.pass_by(hours=11)
    async with (
        doorway(database, password="hunter2", now=now, life="second") as door,
        door.visitor() as visitor,
    ):
        visitor.cookies.update(cookies)
        answer = await visitor.post("/do", data={"csrf": csrf})
        assert answer.status_code == 200


async def test_with_another_password_every_session_is_over(database: Path) -> None:
    async with (
        doorway(database, password="hunter2") as door,
        door.visitor() as visitor,
    ):
        await sign_in(visitor)
        cookies = dict(visitor.cookies)

    async with (
        doorway(database, password="hunter3", life="second") as door,
        door.visitor() as visitor,
    ):
        visitor.cookies.update(cookies)
        assert await who(visitor) is None


async def test_what_is_over_is_forgotten(database: Path, door: Doorway) -> None:
    async with door.visitor() as visitor:
        await sign_in(visitor)
        visitor.cookies.clear()
        await sign_in(visitor, "wrong")
        await door.let_in("ntk_1")
        door.now.pass_by(days=31)
        await door.tokens.write_down()

    assert look(database, "SELECT name FROM tokens") == [("bot",)]
    assert audit(database) == [
        ("session", "login", "192.0.2.7"),
        ("command", "token add", "bot"),
    ]


# --- tries --------------------------------------------------------------------


async def test_five_tries_a_minute_from_an_address_and_then_it_waits(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    for _ in range(5):
        assert (await sign_in(visitor, "wrong")).status_code == 403
    answer = await sign_in(visitor)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "60"
    assert "wait 60 s" in answer.text
    async with door.visitor(address="192.0.2.8") as other:
        assert (await sign_in(other)).status_code == 303
    door.now.pass_by(seconds=60)
    assert (await sign_in(visitor)).status_code == 303


async def test_many_wrong_tries_of_others_slow_the_owner_down_and_no_more(
    door: Doorway,
) -> None:
    for number in range(30):
        async with door.visitor(address=f"192.0.2.{number}") as visitor:
            assert (await sign_in(visitor, "x" * 2000)).status_code == 403
    assert door.waits == []

    async with door.visitor(address="192.0.2.99") as owner:
        assert (await sign_in(owner)).status_code == 303
    assert door.waits == [1.0]


def test_three_hundred_tries_a_minute_in_all() -> None:
    tries = Tries()

    assert all(tries.wait(f"10.0.{n // 5}.1", NOW) == 0 for n in range(300))
    assert tries.wait("192.0.2.99", NOW) == 60


async def test_one_network_of_ipv6_is_counted_as_one(door: Doorway) -> None:
    for number in range(5):
        async with door.visitor(address=f"2001:db8::{number}") as visitor:
            assert (await sign_in(visitor, "wrong")).status_code == 403

    async with door.visitor(address="2001:db8::ffff:1") as same:
        assert (await sign_in(same)).status_code == 429
    async with door.visitor(address="2001:db8:0:1::1") as other:
        assert (await sign_in(other)).status_code == 303


async def test_what_a_caller_writes_before_the_proxy_counts_for_nothing(
    database: Path,
) -> None:
    external = "https://n.example.com"
    async with (
        doorway(database, password="hunter2", external_url=external) as door,
        door.visitor(external, address="127.0.0.1") as visitor,
    ):
        csrf = seal(await visitor.get("/login"))
        codes = []
        for number in range(6):
            headers = [
                ("x-forwarded-for", f"198.51.100.{number}"),
                ("x-forwarded-for", f"203.0.113.9:{4000 + number}"),
            ]
            form = {"csrf": csrf, "password": "wrong"}
            answer = await visitor.post("/login", data=form, headers=headers)
            codes.append(answer.status_code)

    assert codes == [403] * 5 + [429]


async def test_who_got_it_right_has_all_tries_again(
    visitor: httpx.AsyncClient,
) -> None:
    for said in ("x", "x", "x", "x", "hunter2"):
        visitor.cookies.clear()
        await sign_in(visitor, said)
    visitor.cookies.clear()

    assert (await sign_in(visitor, "wrong")).status_code == 403


@pytest.mark.parametrize(
    ("peer", "external_url", "counted"),
    [
        ("127.0.0.1", "https://n.example.com", "203.0.113.9"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("192.0.2.7", "https://n.example.com", "192.0.2.7"),
    ],
)
async def test_a_proxy_here_is_believed_and_nobody_else(
    database: Path, peer: str, external_url: str | None, counted: str
) -> None:
    async with (
        doorway(database, password="hunter2", external_url=external_url) as door,
        door.visitor(external_url or "http://localhost", address=peer) as visitor,
    ):
        visitor.headers["x-forwarded-for"] = "198.51.100.1, 203.0.113.9"
        await sign_in(visitor, "wrong")

    assert audit(database) == [("nobody", "login failed", counted)]


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("10.1.2.3", "203.0.113.9"),
        ("::ffff:10.1.2.3", "203.0.113.9"),
        ("192.0.2.7", "192.0.2.7"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
async def test_a_proxy_that_is_named_is_believed_and_nobody_else(
    database: Path, peer: str, counted: str
) -> None:
    async with (
        doorway(database, password="hunter2", proxies=["10.0.0.0/8"]) as door,
        door.visitor(address=peer) as visitor,
    ):
        visitor.headers["x-forwarded-for"] = "198.51.100.1, 203.0.113.9"
        await sign_in(visitor, "wrong")

    assert audit(database) == [("nobody", "login failed", counted)]


# --- tokens -------------------------------------------------------------------


async def test_a_program_with_a_token_may_what_the_token_may(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_r", name="reader")
    await door.let_in("ntk_w", name="writer", scope="write")
    answers = [
        await visitor.post("/api/v1/do", headers={"authorization": f"Bearer {shown}"})
        for shown in ("ntk_r", "ntk_w")
    ]

    assert [answer.status_code for answer in answers] == [403, 200]
    assert len(door.done) == 1
    metrics = await visitor.get("/metrics", headers={"authorization": "bearer ntk_r"})
    assert metrics.json() == {"name": "token reader", "may_write": False}


@pytest.mark.parametrize("shown", ["ntk_x", "", "ntk_", "x", "ntk_" + "x" * 500])
async def test_a_token_that_is_none_opens_nothing(visitor: httpx.AsyncClient, shown: str) -> None:
    for path in ("/", "/api/v1/who", "/metrics"):
        answer = await visitor.get(path, headers={"authorization": f"Bearer {shown}"})
        assert answer.status_code == 401


async def test_a_token_ends_when_it_was_to_end_or_is_revoked(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_1", name="short", expires_at=NOW.replace(hour=20))
    await door.let_in("ntk_2", name="long")
    assert await who(visitor, authorization="Bearer ntk_1")

    door.now.pass_by(hours=2)
    assert await who(visitor, authorization="Bearer ntk_1") is None
    assert await who(visitor, authorization="Bearer ntk_2")
    async with door.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(admin.revoke_token, "long", now=door.now())
    assert await who(visitor, authorization="Bearer ntk_2") is None


async def test_a_feeds_token_opens_that_feed_and_nothing_else(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_f", kind=TokenKind.FEED, name="phone", scope="games")

    for path in ("/feeds/games.ics", "/feeds/games.atom", "/feeds/games.json"):
        answer = await visitor.get(path, params={"token": "ntk_f"})
        assert answer.json() == {"name": "feed phone", "may_write": False}
    for path in ("/feeds/other.ics", "/feeds/gamesx.ics", "/feeds/.ics", "/metrics"):
        assert (await visitor.get(path, params={"token": "ntk_f"})).status_code == 401
    call = await visitor.get("/api/v1/who", params={"token": "ntk_f"})
    assert call.status_code == 401
    assert await who(visitor, authorization="Bearer ntk_f") is None


async def test_one_token_may_open_every_feed_and_a_programs_opens_none_by_address(
    door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_a", kind=TokenKind.FEED, name="all", scope="*")
    await door.let_in("ntk_p", name="program", scope="write")

    good = await visitor.get("/feeds/any.ics", params={"token": "ntk_a"})
    bad = await visitor.get("/feeds/any.ics", params={"token": "ntk_p"})

    assert (good.status_code, bad.status_code) == (200, 401)


async def test_it_is_remembered_when_a_token_was_used(
    database: Path, door: Doorway, visitor: httpx.AsyncClient
) -> None:
    await door.let_in("ntk_1")
    await door.let_in("ntk_2", name="idle")
    door.now.pass_by(hours=1)
    await who(visitor, authorization="Bearer ntk_1")
    await door.tokens.write_down()

    used = {one.name: one.used_at for one in await door.store.read(admin.list_tokens)}
    assert used == {"bot": door.now(), "idle": None}
    assert "ntk_" not in str(look(database, "SELECT * FROM tokens"))


async def test_strangers_cannot_fill_the_audit(database: Path, door: Doorway) -> None:
    def entry(action: str, subject: str) -> Note:
        return Note(at=door.now(), who="nobody", action=action, subject=subject, detail={})

    await door.store.write(Priority.MAINTENANCE, admin.add_audit_entry, entry("resume", "desk"))
    for number in range(MOST_REFUSED + 3):
        await door.store.write(
            Priority.MAINTENANCE, admin.add_audit_entry, entry(REFUSED, str(number))
        )
    await door.tokens.write_down()

    kept = look(database, "SELECT subject FROM audit ORDER BY seq")
    assert [one for (one,) in kept] == ["desk", *map(str, range(3, MOST_REFUSED + 3))]
