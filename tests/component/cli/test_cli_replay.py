"""`notifier replay`: what routes would have sent, and nothing is sent."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from commanding import Ended, typed
from storing import DAY, HOUR, MINUTE, NOW, Shelf, ask, opened, row, sql, stamp, stocked

from notifier.domain.models import Kind, event_id
from notifier.domain.rules import Match, Route
from notifier.domain.timers import TimePolicy
from notifier.storage import preview as store
from notifier.storage.database import reading

CONFIG = """\
destinations:
  hook: {url: "${NOBODY_KNOWS}"}
  desk: {url_file: /nowhere/at/all, digest: {at: "08:00"}}
routes:
  - {name: all, to: [hook]}
"""


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path, now: datetime) -> Path:
    """
    Two games that were listed five hours ago, and what a route for hook made of them.

    The first was renamed and started three hours ago; the second is still ahead.
    """
    (tmp_path / "notifier.yaml").write_text(CONFIG)
    seen = now - 5 * HOUR
    first, second = stamp(now - 3 * HOUR), stamp(now + 5 * DAY)

    async def fill() -> None:
        routes = (Route(name="all", to=("hook",), match=Match()),)
        async with opened(tmp_path / "notifier.db") as store:
            shelf: Shelf = await stocked(store, routes=routes)
            await shelf.show(row("m1", start_date=first), now=seen)
            await shelf.show(row("m2", start_date=second, type="tennis"), now=seen)
            renamed = row("m1", start_date=first, title="Renamed")
            await shelf.show(renamed, now=seen + MINUTE)
            await shelf.ring(now=now - 3 * HOUR)

    anyio.run(fill)
    return tmp_path


def replay(folder: Path, *args: object) -> Ended:
    return typed("replay", *args, cwd=folder, TZ="UTC", COLUMNS="100")


def routes(folder: Path, text: str) -> Path:
    file = folder / "new.yaml"
    file.write_text(text)
    return file


def told(ended: Ended) -> list[tuple[str, str, str]]:
    return [(one["kind"], one["milestone_id"], one["destination"]) for one in ended.rows]


def test_the_present_routes_would_have_sent_what_was_owed(folder: Path) -> None:
    ended = replay(folder, "--json")

    owed = typed("deliveries", "--json", cwd=folder).rows
    ids = ("event_id", "destination", "route", "kind", "milestone_id")
    assert ended.status == 0
    assert [[one[key] for key in ids] for one in ended.rows] == [
        [one[key] for key in ids] for one in owed
    ]
    assert [set(one) for one in ended.rows] == [{*ids, "at"}] * 4
    assert [one["at"] for one in ended.rows] == sorted(one["at"] for one in ended.rows)


def test_another_file_says_what_its_routes_would_have_sent(folder: Path) -> None:
    file = routes(
        folder,
        "routes:\n  - {name: games, match: {type: football_game, events: started}, to: desk}\n",
    )

    ended = replay(folder, "--json", "--routes", file.name)

    assert told(ended) == [("started", "m1", "desk")]
    assert ended.rows[0]["route"] == "games"


def test_reminders_that_nobody_had_are_told_with_their_ids(folder: Path, now: datetime) -> None:
    """Of the start that was known an hour before; not of one known too late."""
    file = routes(
        folder,
        "routes:\n  - {name: r, match: {events: [removed]}, to: hook, reminders: [1h, 6h]}\n",
    )

    ended = replay(folder, "--json", "--routes", file)

    start = int((now - 3 * HOUR).timestamp())
    [reminder] = ended.rows
    assert reminder["event_id"] == event_id("m1", Kind.UPCOMING, f"{start}|3600.0")
    assert reminder["at"] == stamp(now - 4 * HOUR)


def test_a_reminder_that_was_told_is_not_told_twice(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text(
        "destinations: {hook: {url: 'terminal://'}}\n"
        "routes: [{name: all, to: hook, reminders: [1h]}]\n"
    )
    start = datetime.now(UTC) - HOUR

    async def fill() -> None:
        rules = (Route(name="all", to=("hook",), reminders=(HOUR,)),)
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store, routes=rules)
            await shelf.show(row(start_date=stamp(start)), now=start - 2 * HOUR)
            await shelf.ring(now=start - HOUR)

    anyio.run(fill)

    assert told(replay(tmp_path, "--json")) == [
        ("created", "m1", "hook"),
        ("upcoming", "m1", "hook"),
    ]


def test_what_was_missed_would_have_reached_nobody(tmp_path: Path) -> None:
    (tmp_path / "notifier.yaml").write_text(CONFIG)
    start = datetime.now(UTC) - 2 * HOUR

    async def fill() -> None:
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            await shelf.show(row(start_date=stamp(start)), now=start - HOUR)
            [missed] = await shelf.ring(now=start + HOUR)
            assert missed.missed

    anyio.run(fill)

    assert told(replay(tmp_path, "--json")) == [("created", "m1", "hook")]
    assert ": 1 event." in replay(tmp_path).out


@pytest.mark.parametrize(("ago", "reminders"), [(2 * HOUR, 1), (HOUR / 2, 0)])
def test_a_start_that_was_moved_reminds_from_then_on(
    tmp_path: Path, now: datetime, ago: timedelta, reminders: int
) -> None:
    """It had been known for days, but as another one."""
    (tmp_path / "notifier.yaml").write_text(CONFIG)
    start = now - HOUR / 4

    async def fill() -> None:
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            early = row(start_date=stamp(start + DAY))
            await shelf.show(early, now=start - 2 * DAY)
            await shelf.show(row(start_date=stamp(start)), now=start - ago)

    anyio.run(fill)
    file = routes(
        tmp_path,
        "routes: [{name: r, to: hook, match: {events: removed}, reminders: [1h]}]\n",
    )

    assert len(replay(tmp_path, "--json", "--routes", file).rows) == reminders


def test_people_see_each_day_what_would_be_new_and_what_no_longer(folder: Path) -> None:
    file = routes(
        folder,
        "routes:\n"
        "  - {name: games, match: {type: football_game, events: started}, to: desk}\n"
        "  - {name: new, match: {events: [created]}, to: hook}\n",
    )

    ended = replay(folder, "--routes", file)

    words = " ".join(ended.out.split())
    assert ended.status == 0
    assert "4 events. Nothing is sent." in words
    assert "1 of 4 events would have been sent nowhere: 1 updated." in words
    assert "hook 2 2 -2" in words
    assert "desk 1 1 +1" in words
    assert "desk started" in words
    assert "new Renamed" in words
    assert "compared with the deliveries of that time" in words


def test_a_days_digest_is_one_message_of_many_deliveries(folder: Path) -> None:
    file = routes(folder, "routes: [{name: all, to: desk, match: {events: [created]}}]")
    with closing(sqlite3.connect(folder / "notifier.db", isolation_level=None)) as conn:
        conn.execute("UPDATE events SET seen_at = seen_at - ?", [2 * DAY // _TICK])

    ended = replay(folder, "--routes", file)

    [sums] = [line for line in ended.out.splitlines() if "08 h: 1" in line]
    assert sums.split()[:3] == ["desk", "2", "1"]


_TICK = timedelta(microseconds=1)


def test_since_says_from_when_on(folder: Path) -> None:
    assert told(replay(folder, "--json", "--since", "4h")) == [("started", "m1", "hook")]
    assert told(replay(folder, "--json", "--since", "1h")) == []

    ended = replay(folder, "--since", "1h")
    assert (ended.status, "0 events" in ended.out) == (0, True)


def test_all_that_is_wrong_with_the_file_is_said_at_once(folder: Path) -> None:
    file = routes(
        folder,
        "routes:\n"
        "  - {name: a, to: [hock], match: {categry: Sports}}\n"
        "  - {name: b, reminders: [5]}\n"
        "rutes: []\n",
    )

    ended = replay(folder, "--routes", file.name)

    lines = ended.err.splitlines()
    assert (ended.status, ended.out) == (78, "")
    assert [line.split(": ")[0] for line in lines] == [
        *["new.yaml:2"] * 2,
        "new.yaml:3",
        "new.yaml:4",
    ]
    assert 'routes[0].to[0]: "hock" is no destination; did you mean hook?' in ended.err
    assert "rutes: unknown key; did you mean routes?" in ended.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "routes: is missing"),
        ("timezone: UTC\n", "routes: is missing"),
        ("- a\n", "must be a mapping"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_routes_is_a_mistake(folder: Path, text: str | None, words: str) -> None:
    if text is not None:
        routes(folder, text)

    ended = replay(folder, "--routes", "new.yaml")

    assert (ended.status, words in ended.err) == (78, True)


def test_a_file_may_name_destinations_of_its_own(folder: Path) -> None:
    file = routes(
        folder,
        "destinations: {pager: , ops: {url: '${UNKNOWN}', zone: Europe/Paris}}\n"
        "routes: [{name: a, to: [pager], match: {events: [started]}}]\n",
    )

    assert told(replay(folder, "--json", "--routes", file)) == [("started", "m1", "pager")]


def test_it_changes_nothing(folder: Path) -> None:
    before = _content(folder)

    replay(folder)

    assert _content(folder) == before


def _content(folder: Path) -> list[Any]:
    tables = ("events", "deliveries", "timers", "milestones", "attempts")
    return [ask(folder / "notifier.db", f"SELECT * FROM {name}") for name in tables]


@pytest.mark.parametrize("what", ["events", "missing_reminders"])
def test_a_service_can_clear_its_log_while_a_replay_goes_on(tmp_path: Path, what: str) -> None:
    database = tmp_path / "notifier.db"

    async def fill() -> None:
        async with opened(database) as shop:
            shelf = await stocked(shop)
            await shelf.show(*(row(f"m{number:04}") for number in range(1200)))

    anyio.run(fill)
    with reading(database) as conn:
        walk = (
            store.events(conn, NOW - DAY)
            if what == "events"
            else store.missing_reminders(
                conn,
                HOUR,
                since=NOW - DAY,
                until=NOW + DAY,
                policy=TimePolicy(leads=(HOUR,)),
            )
        )
        found = [next(walk).milestone.id]
        with sql(database) as run:
            run("INSERT INTO facts VALUES ('x', '1')")
            [(is_busy, *_)] = run("PRAGMA wal_checkpoint(TRUNCATE)")
        found += [one.milestone.id for one in walk]

    assert is_busy == 0
    assert found == [f"m{number:04}" for number in range(1200)]
