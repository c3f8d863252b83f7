"""Lists of events, deliveries and milestones: their rows, filters, pages and cost."""

import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plenty import Plenty, counted, fill, name_of
from sqlalchemy import Connection
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    UTC_ZONE,
    Shelf,
    doc,
    opened,
    row,
    sql,
    stocked,
)

from notifier.domain.batching import BatchingPolicy
from notifier.domain.models import Failed, Kind, Refused, Scope, Sent, State
from notifier.domain.pagination import (
    BadCursor,
    DeliveryFilter,
    EventFilter,
    MilestoneFilter,
    PageRequest,
)
from notifier.domain.rules import QuietPolicy, Rate, Window
from notifier.domain.search import indexed, search_terms
from notifier.storage import destination_state, queries, sqlite, stats
from notifier.storage.database import Priority, reading
from notifier.storage.rows import Page

pytestmark = pytest.mark.anyio

#: Enough rows to tell a walk through a table from one along an index.
SOME = Plenty(milestones=3000, events=2000, pending=20, dead=20)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database: Path = tmp_path_factory.mktemp("plenty") / "notifier.db"
    fill(database, SOME)
    return database


def as_json(value: object) -> Any:
    """A row as programs receive it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _events(database: Path, **which: Any) -> list[dict[str, Any]]:
    with reading(database) as conn:
        return [as_json(event) for event in queries.iter_events(conn, **which)]


def _deliveries(database: Path, **which: Any) -> list[dict[str, Any]]:
    with reading(database) as conn:
        return [as_json(one) for one in queries.iter_deliveries(conn, NOW, **which)]


# --- rows ---------------------------------------------------------------------


async def test_an_event_row_has_its_changes_and_its_milestone(shelf: Shelf, database: Path) -> None:
    tickers: dict[str, Any] = {"primary_event_tickers": ["KXNFLGAME-B"]}
    await shelf.show(row("m1"))
    await shelf.show(row("m1", title="New", **tickers), now=NOW + 1.5 * SECOND)

    _, updated = _events(database)

    assert updated.pop("event_id").startswith("evt_")
    assert updated == {
        "kind": "updated",
        "milestone_id": "m1",
        "at": "2026-11-22T18:00:01.500000Z",
        "seen_at": "2026-11-22T18:00:01.500000Z",
        "missed": False,
        "changes": [
            {
                "field": "primary_event_tickers",
                "before": ["KXNFLGAME-A"],
                "after": ["KXNFLGAME-B"],
                "added": ["KXNFLGAME-B"],
                "removed": ["KXNFLGAME-A"],
            },
            {"field": "title", "before": "Game m1", "after": "New"},
        ],
        "milestone": doc("m1", title="New", **tickers),
    }


async def test_events_are_listed_oldest_first_and_a_limit_keeps_the_newest(
    shelf: Shelf, database: Path
) -> None:
    for n in range(4):
        await shelf.show(row(f"m{n}"), now=NOW + n * MINUTE)

    def ids(**which: Any) -> list[str]:
        return [event["milestone_id"] for event in _events(database, **which)]

    assert ids() == ["m0", "m1", "m2", "m3"]
    assert ids(limit=2) == ["m2", "m3"]
    assert ids(since=NOW + MINUTE) == ["m1", "m2", "m3"]
    assert ids(since=NOW + MINUTE, limit=1) == ["m3"]


async def test_a_delivery_shows_when_it_is_due_until_it_is_final(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))
    [waiting] = _deliveries(database)
    [lease] = await shelf.claim(now=NOW + 5 * SECOND)
    await shelf.settle(lease, Sent(), now=NOW + 6 * SECOND)
    [final] = _deliveries(database)

    fields = ("state", "attempts", "reason", "due_at", "sent_at")
    due, sent = "2026-11-22T18:00:05Z", "2026-11-22T18:00:06Z"
    assert [waiting[field] for field in fields] == ["pending", 1, "503", due, None]
    assert [final[field] for field in fields] == ["delivered", 2, None, None, sent]
    assert final["message_id"] == lease.message.id
    assert (final["destination"], final["route"]) == (HOOK, "all")


async def test_dead_deliveries_can_be_listed_alone(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    for _ in range(2):
        [lease] = await shelf.claim()
        await shelf.settle(lease, Refused(reason="400", scope=Scope.MESSAGE))
    await shelf.show(row("m2"))

    [dead] = _deliveries(database, dead=True)

    assert (dead["milestone_id"], dead["state"], dead["reason"]) == ("m1", "dead", "400")


# --- the reason of a delivery -------------------------------------------------

_WINDOW = QuietPolicy(windows=(Window(days=frozenset(range(7)), start=time(17), end=time(7)),))
QUIET = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=_WINDOW)


async def test_a_deferred_delivery_shows_why_and_until_when(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    await shelf.claim(batching=QUIET)
    [held] = _deliveries(database)
    [lease] = await shelf.claim(now=NOW + 13 * HOUR)
    await shelf.settle(lease, Failed(reason="503"), now=NOW + 13 * HOUR)

    words = "quiet hours until Mon 23 Nov, 07:00 UTC"
    assert (held["state"], held["due_at"], held["reason"]) == (
        *("pending", "2026-11-23T07:00:00Z", words),
    )
    assert [one["reason"] for one in _deliveries(database)] == ["503"]


async def test_a_superseded_delivery_names_the_event_that_contains_it(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1", title="A"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Sent())
    await shelf.show(row("m1", title="B"))
    await shelf.claim(batching=QUIET)
    await shelf.show(row("m1", title="C"))
    await shelf.claim(batching=QUIET)
    morning = NOW + 13 * HOUR
    [lease] = await shelf.claim(now=morning)
    await shelf.settle(lease, Sent(), now=morning)

    _, _, newest = (event["event_id"] for event in _events(database))
    told = f"sent with a later update of the milestone: {newest}"
    assert [(one["state"], one["reason"]) for one in _deliveries(database)] == [
        ("delivered", None),
        ("superseded", told),
        ("delivered", None),
    ]


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ("suspended_since = 1, reason = 'HTTP 401'", "hook is suspended: HTTP 401"),
        ("suspended_since = 1, gone = 1, reason = 'HTTP 410'", "hook is gone: HTTP 410"),
        ("open_since = 1, paused_until = 1", "hook is failing"),
        (f"paused_until = {10**17}", "hook is paused"),
        ("paused_until = 1", None),
    ],
)
async def test_a_delivery_that_waits_for_its_destination_shows_its_state(
    shelf: Shelf, database: Path, update: str, words: str | None
) -> None:
    await shelf.show(row("m1"))
    with sql(database) as run:
        run(f"UPDATE destinations SET {update}")

    assert [one["reason"] for one in _deliveries(database)] == [words]


async def test_a_delivery_to_a_destination_that_is_not_configured_says_so(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    await shelf.store.write(
        Priority.MAINTENANCE, destination_state.set_destinations, {"other": "fingerprint"}, NOW
    )

    [waiting] = _deliveries(database)

    assert waiting["reason"] == "hook is not configured any more"


# --- pages --------------------------------------------------------------------


def _milestones(**wanted: Any) -> Callable[..., Page[Any]]:
    return lambda conn, **part: queries.milestones(conn, MilestoneFilter(**wanted, **part))


def _listed_events(**wanted: Any) -> Callable[..., Page[Any]]:
    return lambda conn, **part: queries.events(conn, EventFilter(**wanted, **part))


def _listed(**wanted: Any) -> Callable[..., Page[Any]]:
    return lambda conn, **part: queries.deliveries(conn, DeliveryFilter(**wanted, **part), NOW)


_LISTS: dict[str, Callable[..., Page[Any]]] = {
    "milestones": _milestones(gone="any"),
    "milestones of a type": _milestones(type="esports_match"),
    "milestones by words": _milestones(search="ashford"),
    "events": _listed_events(),
    "events of kinds": _listed_events(kind=(Kind.REMOVED, Kind.STARTED)),
    "events since": _listed_events(since=NOW - 2 * DAY),
    "deliveries": _listed(),
    "deliveries in states": _listed(state=(State.DEAD, State.PENDING)),
    "deliveries of one": _listed(destination="desk", state=(State.DELIVERED,)),
}


@pytest.mark.parametrize("name", _LISTS)
def test_the_pages_of_a_list_are_the_whole_list(plenty: Path, name: str) -> None:
    ask = _LISTS[name]
    with reading(plenty) as conn:
        whole = ask(conn, limit=10_000)
        pages = list(_pages(conn, ask, limit=97))

    assert whole.next is None
    assert whole.rows
    assert [row for page in pages for row in page.rows] == list(whole.rows)
    assert all(len(page.rows) == 97 for page in pages[:-1])


def _pages(conn: Connection, ask: Callable[..., Page[Any]], *, limit: int) -> Iterator[Page[Any]]:
    page = ask(conn, limit=limit)
    yield page
    while page.next is not None:
        page = ask(conn, limit=limit, cursor=page.next)
        yield page


async def test_a_row_that_is_added_shifts_no_page(shelf: Shelf, database: Path) -> None:
    for number in range(4):
        await shelf.show(row(f"m{number}"), now=NOW + number * SECOND)

    with reading(database) as conn:
        first = queries.events(conn, EventFilter(limit=2))
        await shelf.show(row("later"), now=NOW + MINUTE)
        second = queries.events(conn, EventFilter(limit=2, cursor=first.next))

    ids = [one.milestone_id for one in (*first.rows, *second.rows)]
    assert (ids, second.next) == (["m3", "m2", "m1", "m0"], None)


def test_a_list_that_ends_with_its_page_has_no_next(plenty: Path) -> None:
    with reading(plenty) as conn:
        page = queries.events(conn, EventFilter(limit=SOME.events))

    assert (len(page.rows), page.next) == (SOME.events, None)


@given(st.text(max_size=40))
def test_a_text_that_no_list_has_given_out_is_no_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        queries._parse_cursor("events", text, tuple[int])


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20))
def test_a_cursor_is_safe_in_a_url_and_belongs_to_one_list(number: int, words: str) -> None:
    cursor = queries._cursor("milestones", number, words)

    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert queries._parse_cursor("milestones", cursor, tuple[int, str]) == (number, words)
    with pytest.raises(BadCursor):
        queries._parse_cursor("events", cursor, tuple[int])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
def test_a_number_that_no_database_has_is_no_cursor(plenty: Path, value: int) -> None:
    wanted = PageRequest(cursor=queries._cursor("audit", value))
    with reading(plenty) as conn, pytest.raises(BadCursor):
        queries.audit(conn, wanted)


# --- filters ------------------------------------------------------------------


async def test_a_search_finds_titles_ids_and_tickers_in_any_case(
    shelf: Shelf, database: Path
) -> None:
    fields: dict[str, Any] = {"primary_event_tickers": ["KXCITY-26NOV22"]}
    await shelf.show(row("Munchen-1", title="FC ÜBERLINGEN vs Ulm", **fields))
    await shelf.show(row("m2", title="100% _sure_"))

    for text in ("überlingen", "ULM fc", "kxcity-26nov22", "ÜBER 26nov"):
        assert _found(database, search=text) == ["Munchen-1"], text
    assert _found(database, search="100%") == _found(database, search="_SURE_") == ["m2"]
    assert _found(database, search="M2") == ["m2"]
    assert _found(database, search="1%0") == []
    assert _found(database, search="") == ["Munchen-1", "m2"]


def _found(database: Path, **wanted: Any) -> list[str]:
    with reading(database) as conn:
        page = queries.milestones(conn, MilestoneFilter(**wanted))
    return [one.milestone_id for one in page.rows]


async def test_a_milestone_is_found_by_its_new_words_after_a_change(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1", title="Old"))
    await shelf.show(row("m1", title="New"), now=NOW + MINUTE)

    assert _found(database, search="new") == ["m1"]
    assert _found(database, search="old") == []


@given(st.text(max_size=30))
def test_a_text_is_found_by_itself(text: str) -> None:
    words = indexed([text])
    assert all(part in words for part in search_terms(text))


async def test_milestones_of_an_older_database_are_found_as_well(
    tmp_path: Path, database: Path
) -> None:
    older = shutil.copytree(
        sqlite.SCRIPTS, tmp_path / "older", ignore=shutil.ignore_patterns("000[3-9]*")
    )
    engine = sqlite.writer(database)
    sqlite.migrate(engine, database, head="0002", scripts=older)
    engine.dispose()
    fields = doc("m1", title="Élan at Ulm", primary_event_tickers=None)
    packed = zlib.compress(msgspec.json.encode(fields))
    with sql(database) as run:
        run(_AS_BEFORE, "m1", b"1", "Sports", "game", "Élan at Ulm", 0, packed, 0, 0)

    async with opened(database):
        for text in ("élan", "KXNFLGAME-A", "m1"):
            assert _found(database, search=text, gone="any") == ["m1"], text


_AS_BEFORE = """
INSERT INTO milestones (
    id, fingerprint, category, type, title, start_at, doc, first_seen_at, changed_at,
    watches, version, generation
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 0)
"""


async def test_removed_milestones_are_listed_when_asked_for(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("here"), row("gone"))
    with sql(database) as run:
        run("UPDATE milestones SET gone_at = 1 WHERE id = 'gone'")

    assert _found(database, gone="no") == ["here"]
    assert _found(database, gone="yes") == ["gone"]
    assert sorted(_found(database, gone="any")) == ["gone", "here"]


def test_filters_find_exactly_what_fits(plenty: Path) -> None:
    since, many = NOW - 3 * DAY, 9999
    with reading(plenty) as conn:
        events = queries.events(conn, EventFilter(limit=many)).rows
        recent = _listed_events(kind=(Kind.ENDED,), since=since, limit=many)(conn).rows
        owed = queries.deliveries(conn, DeliveryFilter(limit=many), NOW).rows
        both = _listed(state=(State.DEAD, State.DELIVERED), destination="ops", limit=many)(conn)
        few = _listed(state=(State.DEAD, State.PENDING), route="all", since=since, limit=many)(conn)

    assert recent == [one for one in events if one.kind is Kind.ENDED and one.seen_at >= since]
    assert both.rows == [
        one
        for one in owed
        if one.state in {State.DEAD, State.DELIVERED} and one.destination == "ops"
    ]
    assert few.rows == [
        one for one in owed if one.state is not State.DELIVERED and one.born_at >= since
    ]


# --- cost ---------------------------------------------------------------------

_CHEAP: dict[str, Callable[[Connection], object]] = {
    "events": _listed_events(),
    "a rare kind": _listed_events(kind=(Kind.REMOVED,)),
    "no events since": _listed_events(kind=(Kind.REMOVED,), since=NOW),
    "events of one": _listed_events(milestone_id=name_of(3)),
    "newest": queries.newest_event,
    "after": lambda conn: queries.events_after(conn, 1990, 100),
    "deliveries": _listed(),
    "of nobody": _listed(destination="nobody"),
    "of no route": _listed(route="none"),
    "of a milestone": _listed(milestone_id=name_of(3)),
    # Nearly all are delivered: those are found on a walk along the list.
    **{
        f"{state.value} ones": _listed(state=(state,), destination="desk")
        for state in State
        if state is not State.DELIVERED
    },
    "a page of milestones": _milestones(since=NOW),
    "a milestone": lambda conn: queries.milestone(conn, name_of(3), NOW),
    "status": lambda conn: stats.status(conn, NOW, milestones=0),
    "starts": lambda conn: stats.starts(conn, NOW, NOW + DAY),
    "hours": lambda conn: stats.hours(conn, NOW),
    "destinations": lambda conn: stats.destinations(
        conn, NOW, {}, {"ops": Rate(count=1, per=SECOND)}
    ),
    "an id": lambda conn: queries.event_ids(conn, "evt_AB", limit=5),
}
#: Steps of SQLite in thousands; a walk through one of the tables takes far more.
_STEPS = 25


@pytest.mark.parametrize("name", _CHEAP)
def test_a_frequent_read_is_cheap(plenty: Path, name: str) -> None:
    with reading(plenty) as conn, counted(conn) as steps:
        _CHEAP[name](conn)

    assert len(steps) <= _STEPS
