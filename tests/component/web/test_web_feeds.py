"""Calendars and feeds of a real store, as other programs read them."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from zlib import compress

import feedparser  # type: ignore[import-untyped]  # it has no types
import httpx
import icalendar
import pytest
from starlette.applications import Starlette
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    UTC_ZONE,
    Shelf,
    opened,
    row,
    stamp,
    stocked,
)

from notifier.domain.calendar import MAX_ENTRIES, MAX_FEED_ITEMS
from notifier.domain.changes import DecodedRow, removed
from notifier.domain.models import Json, Kind
from notifier.domain.rules import Match, Route, Templates
from notifier.storage import milestones
from notifier.storage.database import Priority
from notifier.web.feeds import Feeds

pytestmark = pytest.mark.anyio
HOSTILE = 'a,b;c\\n\r\nEND:VEVENT\r\nX-EVIL:1 \u2028 <b>&amp;"x"</b> \x00\u202e ünïcode 🏈'
ROUTES = (
    Route(
        name="nfl",
        to=(HOOK,),
        match=Match(
            events=frozenset({Kind.STARTED, Kind.CREATED}),
            fields=(("details.league", ("NFL",)),),
        ),
        reminders=(15 * MINUTE, DAY),
    ),
    Route(name="sports", to=(HOOK,), match=Match(fields=(("category", ("sports",)),))),
    Route(name="chess", to=(HOOK,), match=Match(fields=(("type", ("chess*",)),))),
)


@dataclass
class Reader:
    """Who subscribes, and the time."""

    shelf: Shelf
    client: httpx.AsyncClient
    now: datetime = NOW
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(f"/feeds/{path}", headers=headers)

    async def calendar(self, name: str = "nfl") -> dict[str, Any]:
        """Its entries by UID."""
        answer = await self.get(f"{name}.ics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/calendar")
        found = icalendar.Calendar.from_ical(answer.content)
        assert not found.errors
        entries = list(found.walk("VEVENT"))
        by_uid = {str(one["UID"]): one for one in entries}
        assert len(by_uid) == len(entries)
        return by_uid

    async def remove(self, milestone_id: str, *, now: datetime) -> None:
        async with self.shelf.store.turn(Priority.PAGE) as turn:
            known = await turn.write(milestones.stored, [milestone_id], self.shelf.watch)
            gone = [removed(one, now=now) for one in known.values()]
            await turn.write(milestones.remove, gone, (), now)


@asynccontextmanager
async def reading(
    database: Path,
    *,
    routes: tuple[Route, ...] = ROUTES,
    url: str | None = None,
    most: int = 4000,
) -> AsyncIterator[Reader]:
    async with opened(database) as store:
        shelf = await stocked(store, routes=routes)
        reader: Reader
        found = Feeds(
            db=store,
            rules=routes,
            now=lambda: reader.now,
            zone=UTC_ZONE,
            external_url=url,
            max_entries=most,
        )
        transport = httpx.ASGITransport(Starlette(routes=found.routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://n") as c:
            reader = Reader(shelf=shelf, client=c)
            yield reader


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Reader]:
    async with reading(tmp_path / "n.db") as found:
        yield found


def game(milestone_id: str = "m1", *, at: datetime = NOW + 2 * HOUR, **more: Json) -> DecodedRow:
    return row(milestone_id, start_date=stamp(at), **more)


def uid(milestone_id: str) -> str:
    return f"{milestone_id}@kalshi.milestones"


# --- calendars ----------------------------------------------------------------


async def test_a_calendar_holds_what_the_route_fits(reader: Reader) -> None:
    await reader.shelf.show(
        game("m1"), game("m2", details={"league": "NBA"}), game("m3", type="chess_game")
    )

    assert (await reader.calendar("nfl")).keys() == {uid("m1"), uid("m3")}
    assert (await reader.calendar("sports")).keys() == {uid("m1"), uid("m2"), uid("m3")}
    assert (await reader.calendar("chess")).keys() == {uid("m3")}


async def test_an_entry_reads_as_other_programs_expect(reader: Reader) -> None:
    await reader.shelf.show(game(end_date=stamp(NOW + 5 * HOUR)))
    [one] = (await reader.calendar()).values()

    assert one.decoded("DTSTART") == NOW + 2 * HOUR
    assert one.decoded("DTEND") == NOW + 5 * HOUR
    assert one["SUMMARY"] == "Game m1"
    assert one["DESCRIPTION"].startswith("The game is about to begin.\n")
    assert one["URL"] == "https://kalshi.com/markets/kxnflgame/KXNFLGAME-A"
    assert one["STATUS"] == "CONFIRMED"
    assert one["TRANSP"] == "TRANSPARENT"
    assert one.decoded("LAST-MODIFIED") == one.decoded("DTSTAMP") == NOW
    assert [alarm.decoded("TRIGGER") for alarm in one.walk("VALARM")] == [
        -15 * MINUTE,
        -DAY,
    ]


async def test_a_calendar_says_what_it_is_and_how_often_to_ask(reader: Reader) -> None:
    answer = await reader.get("nfl.ics")
    head = icalendar.Calendar.from_ical(answer.content)

    assert head["X-WR-CALNAME"] == head["NAME"] == "nfl"
    assert head["VERSION"] == "2.0"
    assert head.decoded("REFRESH-INTERVAL") == 15 * MINUTE
    assert answer.headers["cache-control"] == "private"


async def test_a_reschedule_moves_the_entry_and_raises_its_sequence(
    reader: Reader,
) -> None:
    await reader.shelf.show(game())
    before = (await reader.calendar())[uid("m1")]

    await reader.shelf.show(game(at=NOW + 4 * HOUR), now=NOW + MINUTE)
    after = (await reader.calendar())[uid("m1")]

    assert after.decoded("DTSTART") == NOW + 4 * HOUR
    assert after["SEQUENCE"] > before["SEQUENCE"]
    assert after.decoded("LAST-MODIFIED") == NOW + MINUTE


async def test_a_removal_cancels_the_entry_and_a_return_takes_that_back(
    reader: Reader,
) -> None:
    await reader.shelf.show(game())
    first = (await reader.calendar())[uid("m1")]
    await reader.remove("m1", now=NOW + MINUTE)
    gone = (await reader.calendar())[uid("m1")]
    await reader.shelf.show(game(), now=NOW + 2 * MINUTE)
    back = (await reader.calendar())[uid("m1")]

    assert (gone["STATUS"], back["STATUS"]) == ("CANCELLED", "CONFIRMED")
    assert not gone.walk("VALARM")
    assert first["SEQUENCE"] < gone["SEQUENCE"] < back["SEQUENCE"]


async def test_a_milestone_that_fits_no_more_leaves(reader: Reader) -> None:
    await reader.shelf.show(game())
    assert await reader.calendar()

    await reader.shelf.show(game(details={"league": "NBA"}), now=NOW + MINUTE)

    assert not await reader.calendar()


async def test_hostile_text_stays_text(reader: Reader) -> None:
    await reader.shelf.show(
        game(title=HOSTILE, notification_message=HOSTILE * 20, category=HOSTILE)
    )
    body = (await reader.get("nfl.ics")).content
    [one] = (await reader.calendar()).values()

    assert all(len(line) <= 75 for line in body.split(b"\r\n"))
    # Those who unfold a calendar after they have decoded it can do so.
    assert all(line.decode() for line in body.splitlines())
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert "X-EVIL" not in one
    assert one["SUMMARY"].startswith("a,b;c\\n END:VEVENT X-EVIL:1")
    assert one["SUMMARY"].endswith("ünïcode 🏈")


async def test_a_calendar_holds_a_week_behind_and_a_year_ahead(reader: Reader) -> None:
    shown = {"last": NOW - 6 * DAY, "next": NOW + 360 * DAY}
    left = {"old": NOW - 9 * DAY, "far": NOW + 400 * DAY, "unset": NOW.replace(2000)}
    await reader.shelf.show(*(game(key, at=at) for key, at in (shown | left).items()))

    assert (await reader.calendar()).keys() == {uid("last"), uid("next")}
    reader.now = NOW + 41 * DAY
    assert (await reader.calendar()).keys() == {uid("next"), uid("far")}


async def test_days_that_pass_let_entries_go_and_bring_others(reader: Reader) -> None:
    await reader.shelf.show(game("old", at=NOW), game("far", at=NOW + 367 * DAY))
    assert (await reader.calendar()).keys() == {uid("old")}

    # Hour by hour, as a program asks that keeps its calendar for months.
    for hours in range(0, 24 * 9, 5):
        reader.now = NOW + timedelta(hours=hours)
        await reader.calendar()

    assert (await reader.calendar()).keys() == {uid("far")}


async def test_a_full_calendar_shows_the_soonest_and_says_so(
    tmp_path: Path,
) -> None:
    async with reading(tmp_path / "n.db", most=60) as reader:
        await _fill_and_change(reader)


async def _fill_and_change(reader: Reader) -> None:
    rows = [game(f"m{i:03}", at=NOW + i * HOUR) for i in range(100)]
    await reader.shelf.show(*rows)
    shown = await reader.calendar()
    answer = await reader.get("nfl.ics")
    head = icalendar.Calendar.from_ical(answer.content)

    assert shown.keys() == {uid(f"m{i:03}") for i in range(60)}
    assert "Only 60 are shown: what is under way, and the next up to" in str(head["X-WR-CALDESC"])

    # One more at the front, two fewer: what follows moves up.
    await reader.shelf.show(game("now", at=NOW + MINUTE))
    for gone in ("m000", "m001"):
        await reader.shelf.show(game(gone, details={}), now=NOW + MINUTE)
    expected = {uid("now")} | {uid(f"m{i:03}") for i in range(2, 61)}
    assert (await reader.calendar()).keys() == expected


@pytest.mark.parametrize("made_anew", [True, False])
async def test_a_full_calendar_shows_what_is_ahead_before_what_is_past(
    tmp_path: Path, made_anew: bool
) -> None:
    past = [game(f"p{i:03}", at=NOW - 7 * HOUR - i * MINUTE) for i in range(100)]
    ahead = [game(f"a{i}", at=NOW + i * HOUR) for i in range(20)]
    running = [game("r1", at=NOW - 6 * HOUR), game("r2", at=NOW - MINUTE)]
    async with reading(tmp_path / "n.db", most=50) as reader:
        for rows in (past, [*ahead, *running]):
            await reader.shelf.show(*rows)
            if not made_anew:
                await reader.calendar()

        shown = await reader.calendar()
        head = icalendar.Calendar.from_ical((await reader.get("nfl.ics")).content)

    expected = {f"p{i:03}" for i in range(28)} | {"r1", "r2"}
    assert shown.keys() == {uid(one) for one in expected | {f"a{i}" for i in range(20)}}
    assert "Only 50 are shown: earlier ones are left out" in str(head["X-WR-CALDESC"])


async def test_hours_that_pass_make_room_for_what_is_ahead(tmp_path: Path) -> None:
    rows = [game(f"m{i:03}", at=NOW + (i - 40) * HOUR) for i in range(130)]
    async with reading(tmp_path / "n.db", most=50) as reader:
        await reader.shelf.show(*rows)
        for hours in (0, 1, 5, 30, 29, 35, 60, 90):
            reader.now = NOW + hours * HOUR
            # From six hours before, and at the end with what is past.
            first = min(34 + hours, 80)
            shown = await reader.calendar()
            assert shown.keys() == {uid(f"m{i:03}") for i in range(first, first + 50)}


@pytest.mark.parametrize(("ahead", "left"), [(1000, 3000), (4500, 0)])
async def test_a_default_calendar_of_a_busy_week_is_not_all_past(
    tmp_path: Path, ahead: int, left: int
) -> None:
    database = tmp_path / "n.db"
    async with opened(database):
        pass
    _stock(database, past=5000, ahead=ahead)
    async with reading(database) as reader:
        body = (await reader.get("sports.ics")).text

    starts = re.findall(r"UID:([pa])(\d+)@", body)
    assert len(starts) == MAX_ENTRIES
    assert [int(n) for kind, n in starts if kind == "a"] == [*range(MAX_ENTRIES - left)]
    assert [int(n) for kind, n in starts if kind == "p"] == [*range(left)][::-1]


def _stock(database: Path, *, past: int, ahead: int) -> None:
    """What began before 7 h ago and what is ahead, a minute between any two."""
    places = [(f"p{i}", NOW - 7 * HOUR - i * MINUTE) for i in range(past)]
    places += [(f"a{i}", NOW + i * MINUTE) for i in range(ahead)]
    rows = [
        (
            key,
            key.encode(),
            (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            compress(game(key, at=at).milestone.raw),
        )
        for key, at in places
    ]
    with closing(sqlite3.connect(database)) as conn, conn:
        conn.executemany(
            "INSERT INTO milestones (id, fingerprint, watches, version, generation,"
            " category, type, title, start_at, doc, first_seen_at, changed_at)"
            " VALUES (?, ?, 1, 1, 0, 'Sports', 'game', 'x', ?, ?, 0, 0)",
            rows,
        )


# --- feeds --------------------------------------------------------------------


async def test_atom_tells_the_newest_events_of_the_route(tmp_path: Path) -> None:
    async with reading(tmp_path / "n.db", url="https://n.example/") as reader:
        await reader.shelf.show(game("m1"), game("m2", details={}))
        await reader.shelf.show(game("m3", title=HOSTILE), now=NOW + MINUTE)
        answer = await reader.get("nfl.atom")
    found = feedparser.parse(answer.content)

    assert not found.bozo
    assert found.version == "atom10"
    assert found.feed.title == "Milestones: nfl"
    own = [link.href for link in found.feed.links if link.rel == "self"]
    assert own == ["https://n.example/feeds/nfl.atom"]
    assert [one.link.rpartition("/")[2] for one in found.entries] == ["m3", "m1"]
    assert found.entries[1].updated == stamp(NOW)
    assert all(one.id.startswith("urn:notifier:event:evt_") for one in found.entries)
    assert answer.headers["content-type"].startswith("application/atom+xml")


async def test_json_feed_tells_the_same(reader: Reader) -> None:
    await reader.shelf.show(game("m1"))
    await reader.shelf.show(game("m2", title=HOSTILE), now=NOW + MINUTE)
    found = (await reader.get("nfl.json")).json()
    atom = feedparser.parse((await reader.get("nfl.atom")).content)

    assert found["version"] == "https://jsonfeed.org/version/1.1"
    assert [f"urn:notifier:event:{one['id']}" for one in found["items"]] == [
        one.id for one in atom.entries
    ]
    [second, first] = found["items"]
    assert first["date_published"] == stamp(NOW)
    assert "Game m1" in first["title"]
    assert "The game is about to begin." in first["content_text"]
    assert first["tags"] == ["created", "Sports", "football_game"]
    assert "END:VEVENT X-EVIL:1" in second["title"]
    assert HOSTILE not in second["content_html"]
    assert "feed_url" not in found


async def test_a_feed_tells_what_others_were_told_for_an_earlier_route(
    reader: Reader,
) -> None:
    await reader.shelf.show(game("m1"))

    [one] = (await reader.get("sports.json")).json()["items"]
    assert one["tags"][0] == "created"


async def test_a_feed_keeps_the_newest_hundred(reader: Reader) -> None:
    for turn in range(3):
        rows = [game(f"m{turn}-{i:02}") for i in range(70)]
        await reader.shelf.show(*rows, now=NOW + turn * MINUTE)
        await reader.get("nfl.json")
    found = (await reader.get("nfl.json")).json()["items"]

    ids = [one["title"] for one in found]
    assert len(ids) == MAX_FEED_ITEMS
    assert sum("m2-" in title for title in ids) == 70
    assert sum("m1-" in title for title in ids) == 30


async def test_an_empty_feed_is_a_feed(reader: Reader) -> None:
    assert feedparser.parse((await reader.get("nfl.atom")).content).entries == []
    assert (await reader.get("nfl.json")).json()["items"] == []


async def test_what_xml_cannot_hold_breaks_no_feed(tmp_path: Path) -> None:
    rule = replace(ROUTES[0], template=Templates(title="{{ title }}", body="\x0b\ufffe x"))
    async with reading(tmp_path / "n.db", routes=(rule,)) as reader:
        await reader.shelf.show(game("m1"))
        ET.fromstring((await reader.get("nfl.atom")).content)
        json.loads((await reader.get("nfl.json")).content)


# --- answers ------------------------------------------------------------------

FORMS = ("nfl.ics", "nfl.atom", "nfl.json")


@pytest.mark.parametrize("path", FORMS)
async def test_who_has_it_already_gets_no_second_copy(reader: Reader, path: str) -> None:
    await reader.shelf.show(game())
    first = await reader.get(path)
    tag, since = first.headers["etag"], first.headers["last-modified"]

    for known in ({"If-None-Match": tag}, {"If-None-Match": f'W/{tag}, "x"'}):
        again = await reader.get(path, **known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    assert (await reader.get(path, **{"If-Modified-Since": since})).status_code == 304

    await reader.shelf.show(game("m9"), now=NOW + MINUTE)
    for known in ({"If-None-Match": tag}, {"If-Modified-Since": since}):
        fresh = await reader.get(path, **known)
        assert fresh.status_code == 200
        assert fresh.headers["etag"] != tag


@pytest.mark.parametrize("path", FORMS)
async def test_what_does_not_concern_the_route_changes_nothing(reader: Reader, path: str) -> None:
    await reader.shelf.show(game())
    first = await reader.get(path)
    await reader.shelf.show(game("m9", details={}), now=NOW + MINUTE)

    again = await reader.get(path, **{"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304


@pytest.mark.parametrize("path", FORMS)
async def test_head_says_the_same_without_a_body(reader: Reader, path: str) -> None:
    await reader.shelf.show(game())
    whole = await reader.get(path)
    head = await reader.client.head(f"/feeds/{path}")

    assert head.content == b""
    for name in ("etag", "last-modified", "content-length", "content-type"):
        assert head.headers[name] == whole.headers[name]
    assert int(whole.headers["content-length"]) == len(whole.content)


@pytest.mark.parametrize("path", ["none.ics", "none.atom", "none.json", "nfl.rss"])
async def test_an_unknown_route_or_form_is_not_found(reader: Reader, path: str) -> None:
    assert (await reader.get(path)).status_code == 404


async def test_a_large_calendar_arrives_whole(reader: Reader) -> None:
    rows = [game(f"m{i:03}", notification_message="x" * 1500) for i in range(150)]
    await reader.shelf.show(*rows)

    assert len(await reader.calendar()) == 150
