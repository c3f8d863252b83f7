"""Lists, stories and figures for people: right, in pieces, and without long walks."""

import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plenty import Plenty, counted, fill, name_of
from sqlalchemy import Connection, event
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    UTC_ZONE,
    Claimed,
    Shelf,
    doc,
    inline,
    opened,
    row,
    sql,
    stocked,
)

from notifier.domain.models import Failed, Format, Kind, Limits, Rendered, Sent, State
from notifier.domain.pagination import (
    BadCursor,
    DeliveryFilter,
    EventFilter,
    Leaf,
    MilestoneFilter,
    Slice,
)
from notifier.domain.rules import Destination, Match, Rate, Route, Templates
from notifier.domain.search import kept, sought
from notifier.errors import StoreSlow
from notifier.storage import browse, cursors, queries, sqlite, stats
from notifier.storage.books import Books, _Kept
from notifier.storage.database import Database, open_database, reading

pytestmark = pytest.mark.anyio

#: Enough for a walk through everything to be told from one along an index.
SOME = Plenty(milestones=3000, events=2000, pending=20, dead=20)
TEXT = Limits(format=Format.TEXT, title=250, body=4000)


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database: Path = tmp_path_factory.mktemp("plenty") / "notifier.db"
    fill(database, SOME)
    return database


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with opened(tmp_path / "notifier.db") as store:
        yield await stocked(store)


def _books(store: Any, **other: Any) -> Books:
    parts: dict[str, Any] = {
        "routes": (Route(name="all", to=(HOOK,)),),
        "destinations": [Destination(name=HOOK, url="webhooks://x?secret=s", zone=UTC_ZONE)],
        "rates": {HOOK: Rate(count=10, per=MINUTE)},
        "limits": {HOOK: TEXT},
    }
    return Books(store, now=lambda: NOW, **(parts | other))


# --- pages of lists -----------------------------------------------------------

_LISTS: dict[str, Callable[[Connection, Slice], Leaf]] = {
    "milestones": lambda conn, part: browse.milestones(conn, MilestoneFilter(gone=None), part),
    "milestones of a type": lambda conn, part: browse.milestones(
        conn, MilestoneFilter(type="esports_match"), part
    ),
    "milestones by words": lambda conn, part: browse.milestones(
        conn, MilestoneFilter(search="ashford"), part
    ),
    "events": lambda conn, part: browse.events(conn, EventFilter(), part),
    "events of kinds": lambda conn, part: browse.events(
        conn, EventFilter(kinds=(Kind.REMOVED, Kind.STARTED)), part
    ),
    "events since": lambda conn, part: browse.events(conn, EventFilter(since=NOW - 2 * DAY), part),
    "deliveries": lambda conn, part: browse.deliveries(conn, DeliveryFilter(), part, NOW),
    "deliveries in states": lambda conn, part: browse.deliveries(
        conn, DeliveryFilter(states=(State.DEAD, State.PENDING)), part, NOW
    ),
    "deliveries of one": lambda conn, part: browse.deliveries(
        conn, DeliveryFilter(destination="desk", states=(State.DELIVERED,)), part, NOW
    ),
}


@pytest.mark.parametrize("name", _LISTS)
def test_pages_put_together_are_the_whole_list(plenty: Path, name: str) -> None:
    with reading(plenty) as conn:
        whole = _LISTS[name](conn, Slice(limit=10_000))
        pages = list(_pages(lambda part: _LISTS[name](conn, part), limit=97))

    assert whole.next is None
    assert whole.rows
    assert [row for page in pages for row in page.rows] == list(whole.rows)
    assert all(len(page.rows) == 97 for page in pages[:-1])


def _pages(ask: Callable[[Slice], Leaf], *, limit: int) -> Iterator[Leaf]:
    page = ask(Slice(limit=limit))
    yield page
    while page.next is not None:
        page = ask(Slice(limit=limit, cursor=page.next))
        yield page


async def test_what_is_added_meanwhile_shifts_no_page(shelf: Shelf) -> None:
    for number in range(4):
        await shelf.show(row(f"m{number}"), now=NOW + number * SECOND)

    def ids(leaf: Leaf) -> list[Any]:
        return [one["milestone_id"] for one in leaf.rows]

    books = _books(shelf.store)
    first = await books.events(EventFilter(), Slice(limit=2))
    await shelf.show(row("later"), now=NOW + MINUTE)
    second = await books.events(EventFilter(), Slice(limit=2, cursor=first.next))

    assert ids(first) + ids(second) == ["m3", "m2", "m1", "m0"]
    assert second.next is None


def test_a_list_that_ends_with_its_page_has_no_next(plenty: Path) -> None:
    with reading(plenty) as conn:
        leaf = browse.events(conn, EventFilter(), Slice(limit=SOME.events))

    assert len(leaf.rows) == SOME.events
    assert leaf.next is None


# --- cursors ------------------------------------------------------------------


@given(st.text(max_size=40))
def test_a_text_that_no_list_has_given_out_is_no_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        cursors.read("events", text, tuple[int])


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=20))
def test_a_cursor_is_safe_in_a_url_and_read_as_it_was_given(number: int, words: str) -> None:
    cursor = cursors.spell("milestones", number, words)

    assert set(cursor) <= set(_URL_SAFE)
    found = cursors.read("milestones", cursor, tuple[int, str])
    assert tuple(found) == (number, words)
    with pytest.raises(BadCursor):
        cursors.read("events", cursor, tuple[int])


_URL_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
def test_a_number_that_no_database_has_is_no_cursor(value: int) -> None:
    with pytest.raises(BadCursor):
        cursors.read("events", cursors.spell("events", value), tuple[int])


# --- filters ------------------------------------------------------------------


async def test_a_search_finds_titles_ids_and_tickers_in_any_case(shelf: Shelf) -> None:
    fields: dict[str, Any] = {"primary_event_tickers": ["KXCITY-26NOV22"]}
    await shelf.show(row("Munchen-1", title="FC ÜBERLINGEN vs Ulm", **fields))
    await shelf.show(row("m2", title="100% _sure_"))
    books = _books(shelf.store)

    async def found(text: str) -> list[Any]:
        leaf = await books.milestones(MilestoneFilter(search=text), Slice())
        return [one["milestone_id"] for one in leaf.rows]

    for text in ("überlingen", "ULM fc", "kxcity-26nov22", "ÜBER 26nov"):
        assert await found(text) == ["Munchen-1"], text
    assert await found("100%") == await found("_SURE_") == ["m2"]
    assert await found("M2") == ["m2"]
    assert await found("1%0") == []
    assert await found("") == ["Munchen-1", "m2"]


async def test_a_milestone_is_found_by_its_new_words_after_a_change(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1", title="Old"))
    await shelf.show(row("m1", title="New"), now=NOW + MINUTE)
    books = _books(shelf.store)

    for text, number in (("new", 1), ("old", 0)):
        leaf = await books.milestones(MilestoneFilter(search=text), Slice())
        assert len(leaf.rows) == number


@given(st.text(max_size=30))
def test_whatever_is_kept_is_found_by_itself(text: str) -> None:
    words = kept([text])
    assert all(part in words for part in sought(text))


async def test_milestones_of_an_older_store_are_found_as_well(
    tmp_path: Path,
) -> None:
    database = tmp_path / "notifier.db"
    older = shutil.copytree(
        sqlite.SCRIPTS, tmp_path / "older", ignore=shutil.ignore_patterns("0003*")
    )
    engine = sqlite.writer(database)
    sqlite.migrate(engine, database, head="0002", scripts=older)
    engine.dispose()
    fields = doc("m1", title="Élan at Ulm", primary_event_tickers=None)
    packed = zlib.compress(msgspec.json.encode(fields))
    with sql(database) as run:
        run(_AS_BEFORE, "m1", b"1", "Sports", "game", "Élan at Ulm", 0, packed, 0, 0)

    async with opened(database) as store:
        for text in ("élan", "KXNFLGAME-A", "m1"):
            leaf = await _books(store).milestones(MilestoneFilter(search=text, gone=None), Slice())
            assert [one["milestone_id"] for one in leaf.rows] == ["m1"], text


_AS_BEFORE = """
INSERT INTO milestones (
    id, fingerprint, category, type, title, start_at, doc, first_seen_at, changed_at,
    watches, version, generation
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1, 0)
"""


async def test_removed_milestones_are_shown_when_asked_for(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.show(row("here"), row("gone"))
    with sql(tmp_path / "notifier.db") as run:
        run("UPDATE milestones SET gone_at = 1 WHERE id = 'gone'")
    books = _books(shelf.store)

    for gone, ids in ((False, ["here"]), (True, ["gone"]), (None, ["gone", "here"])):
        leaf = await books.milestones(MilestoneFilter(gone=gone), Slice())
        assert sorted(str(one["milestone_id"]) for one in leaf.rows) == ids


def test_filters_find_exactly_what_fits(plenty: Path) -> None:
    since = NOW - 3 * DAY
    with reading(plenty) as conn:
        events = browse.events(conn, EventFilter(), Slice(limit=9999)).rows
        recent = browse.events(
            conn, EventFilter(kinds=(Kind.ENDED,), since=since), Slice(limit=9999)
        ).rows
        owed = browse.deliveries(conn, DeliveryFilter(), Slice(limit=9999), NOW).rows
        some = browse.deliveries(
            conn,
            DeliveryFilter(states=(State.DEAD, State.DELIVERED), destination="ops"),
            Slice(limit=9999),
            NOW,
        ).rows

    assert recent == [
        one for one in events if one["kind"] == "ended" and _when(one["seen_at"]) >= since
    ]
    assert some == [
        one for one in owed if one["state"] in {"dead", "delivered"} and one["destination"] == "ops"
    ]


def _when(text: Any) -> datetime:
    return datetime.fromisoformat(text)


# --- cost ---------------------------------------------------------------------

#: Walked through newest first, for nearly all are.
_MOST = State.DELIVERED


def _in(state: State) -> Callable[[Connection], object]:
    wanted = DeliveryFilter(states=(state,), destination="desk")
    return lambda conn: browse.deliveries(conn, wanted, Slice(), NOW)


_CHEAP: dict[str, Callable[[Connection], object]] = {
    "events": lambda conn: browse.events(conn, EventFilter(), Slice()),
    "a rare kind": lambda conn: browse.events(conn, EventFilter(kinds=(Kind.REMOVED,)), Slice()),
    "no events since": lambda conn: browse.events(
        conn, EventFilter(kinds=(Kind.REMOVED,), since=NOW), Slice()
    ),
    "events of one": lambda conn: browse.events(
        conn, EventFilter(milestone_id=name_of(3)), Slice()
    ),
    "newest": browse.newest,
    "after": lambda conn: browse.events_after(conn, 1990, 100),
    "deliveries": lambda conn: browse.deliveries(conn, DeliveryFilter(), Slice(), NOW),
    "of nobody": lambda conn: browse.deliveries(
        conn, DeliveryFilter(destination="nobody"), Slice(), NOW
    ),
    "of no route": lambda conn: browse.deliveries(conn, DeliveryFilter(route="none"), Slice(), NOW),
    "of a milestone": lambda conn: browse.deliveries(
        conn, DeliveryFilter(milestone_id=name_of(3)), Slice(), NOW
    ),
    **{f"{state.value} ones": _in(state) for state in State if state is not _MOST},
    "a page of milestones": lambda conn: browse.milestones(
        conn, MilestoneFilter(since=NOW), Slice()
    ),
    "a milestone": lambda conn: browse.milestone(conn, name_of(3), NOW),
    "status": lambda conn: queries.status(conn, NOW, living=0),
    "starts": lambda conn: stats.starts(conn, NOW),
    "hours": lambda conn: stats.by_hour(conn, stats.hours_of(NOW)[-2:]),
    "destinations": lambda conn: stats.destinations(
        conn, NOW, services={}, rates={"ops": Rate(count=1, per=SECOND)}
    ),
    "an explained event": lambda conn: queries.event_ids(conn, "evt_AB", limit=5),
}
#: SQLite's own steps, in thousands; a walk through these tables takes far more.
_STEPS = 25


@pytest.mark.parametrize("name", _CHEAP)
def test_what_people_ask_often_looks_at_little(plenty: Path, name: str) -> None:
    with reading(plenty) as conn, counted(conn) as steps:
        _CHEAP[name](conn)

    assert len(steps) <= _STEPS


async def test_glances_are_read_once_for_everybody_who_looks(plenty: Path) -> None:
    store = open_database(plenty, run_in_thread=inline)
    asked: list[str] = []
    event.listen(store._readers, "before_cursor_execute", lambda *args: asked.append(args[2]))
    books = _books(store)
    try:
        first = await books.overview(NOW)
        asked.clear()
        assert await books.overview(NOW + 2 * SECOND) is first
        assert asked == []
        await books.overview(NOW + 3 * SECOND)
        again = len(asked)
        assert not any("count(*)" in text and "milestones" in text for text in asked)
        await books.overview(NOW + 40 * SECOND)
    finally:
        store.close()

    assert 0 < again < len(asked)


async def test_nobody_waits_until_the_milestones_are_counted(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2", category="Elections"), row("m3"))
    books = _books(shelf.store)

    before: Any = await books.status(NOW)
    kinds = await books.kinds_of_milestones()
    await books.count()
    after: Any = await books.status(NOW + 3 * SECOND)

    assert (before["milestones"], kinds) == (None, [])
    assert after["milestones"] == 3
    assert [one["milestones"] for one in await books.kinds_of_milestones()] == [1, 2]


@dataclass
class _Failing:
    """A store that cannot be asked before somebody has slept."""

    store: Database
    slept: list[float]

    async def read_until(self, is_over: Any, query: Any) -> Any:
        if not self.slept:
            raise StoreSlow("too long")
        return await self.store.read_until(is_over, query)


async def test_milestones_are_counted_every_half_a_minute_whatever_happens(
    shelf: Shelf,
) -> None:
    slept: list[float] = []
    books = _books(_Failing(shelf.store, slept))
    await shelf.show(row("m1"))

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise EOFError

    with pytest.raises(EOFError):
        await books.keep(sleep)

    assert slept == [30.0, 30.0]
    assert [one["milestones"] for one in await books.kinds_of_milestones()] == [1]


@pytest.mark.parametrize("many", [1, 7, 100_000])
def test_counting_in_pieces_counts_each_once(plenty: Path, many: int) -> None:
    counted: browse.Kinds = {}
    with reading(plenty) as conn:
        piece, after = browse.kinds_after(conn, None, many=many)
        while True:
            for kind, number in piece.items():
                counted[kind] = counted.get(kind, 0) + number
            if after is None:
                break
            piece, after = browse.kinds_after(conn, after, many=many)

        assert sum(counted.values()) == queries.count_living(conn) > 0


async def test_what_is_kept_is_forgotten_when_it_is_known_to_have_changed(
    shelf: Shelf,
) -> None:
    books = _books(shelf.store)
    await shelf.show(row("m1"))
    await books.count()
    held = [await books.status(NOW), await books.overview(NOW)]

    assert [await books.status(NOW), await books.overview(NOW)] == held
    assert await books.status(NOW) is held[0]
    books.forget()

    assert await books.status(NOW) is not held[0]
    assert await books.overview(NOW) is not held[1]


async def test_what_was_being_read_when_something_changed_is_not_kept() -> None:
    kept: _Kept[str] = _Kept(2 * SECOND)
    truth = ["before"]

    async def read() -> str:
        seen = truth[0]
        truth[0] = "after"
        kept.forget()
        return seen

    async def again() -> str:
        return truth[0]

    assert await kept.get(NOW, read) == "before"
    assert await kept.get(NOW, again) == "after"


async def test_what_takes_too_long_is_given_up_and_hurts_nobody(plenty: Path) -> None:
    store = open_database(plenty, run_in_thread=inline)
    seconds = [0.0]
    books = _books(store, monotonic=lambda: seconds[0])
    wanted = MilestoneFilter(search="nowhere to be found", gone=None)
    asked: list[float] = []

    def clock() -> float:
        asked.append(seconds[0])
        seconds[0] += 1.1
        return asked[-1]

    try:
        assert (await books.milestones(wanted, Slice())).rows == []
        slow = _books(store, monotonic=clock)
        with pytest.raises(StoreSlow):
            await slow.milestones(wanted, Slice())
        assert (await books.milestones(wanted, Slice())).rows == []
        assert len((await books.events(EventFilter(), Slice())).rows) == 50
    finally:
        store.close()

    assert 2.0 < asked[-1] < 4.0


# --- figures ------------------------------------------------------------------


async def test_hours_and_starts_and_latency_are_what_happened(shelf: Shelf) -> None:
    soon = (NOW + 3 * HOUR).isoformat()
    await shelf.show(row("m1", start_date=soon), now=NOW - 90 * MINUTE)
    await shelf.show(row("m2", start_date=(NOW + 2 * DAY).isoformat()), now=NOW)
    for lease in await shelf.claim(now=NOW):
        await shelf.settle(lease, Sent(), now=NOW + SECOND)
    books = _books(shelf.store)
    await books.count()

    found: Any = await books.overview(NOW + MINUTE)
    later: Any = await books.overview(NOW + HOUR)

    assert [one["milestone_id"] for one in found["starts"]] == ["m1"]
    assert [hour["created"] for hour in found["hours"]][-3:] == [1, 0, 1]
    assert [hour["created"] for hour in later["hours"]][-4:] == [1, 0, 1, 0]
    assert found["latency"] == {"sent": 2, "p50_s": 5401.0, "p99_s": 5401.0}
    assert found["status"]["milestones"] == 2


async def test_a_destination_shows_its_rate_and_how_it_fared(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503", status=503))
    [lease] = await shelf.claim(now=NOW + 10 * SECOND)
    await shelf.settle(lease, Sent(status=200), now=NOW + 11 * SECOND)

    [found] = await _books(shelf.store).destinations(NOW + 20 * SECOND)

    wanted = ("name", "service", "rate", "used", "sent_24h", "failed_24h")
    assert [found[key] for key in wanted] == [HOOK, "webhooks", "10/m", 2, 1, 1]
    assert [one["outcome"] for one in _rows(found["tries"])] == ["sent", "failed"]


def _rows(value: Any) -> list[dict[str, Any]]:
    return list(value)


async def test_a_route_shows_what_it_took_lately(shelf: Shelf) -> None:
    match = Match(events=frozenset({Kind.CREATED}), fields=(("title", ("~Game",)),))
    rule = Route(name="all", to=(HOOK,), match=match, reminders=(15 * MINUTE,))
    await shelf.show(row("old"), now=NOW - 2 * DAY)
    for number in range(7):
        await shelf.show(row(f"m{number}"), now=NOW + number * SECOND)

    [found, idle] = await _books(shelf.store, routes=(rule, Route(name="idle", to=(HOOK,)))).routes(
        NOW + MINUTE
    )

    assert found["match"] == {"events": ["created"], "title": ["~Game"]}
    assert (found["reminders"], found["events_24h"]) == (["15m"], {"created": 7})
    assert [one["title"] for one in _rows(found["latest"])] == [
        f"Game m{number}" for number in (6, 5, 4, 3, 2)
    ]
    assert (idle["events_24h"], idle["latest"]) == ({}, [])


# --- explain ------------------------------------------------------------------


async def _explained(shelf: Shelf, **other: Any) -> dict[str, Any]:
    books = _books(shelf.store, **other)
    newest = await books.events(EventFilter(), Slice(limit=1))
    found = await books.explain(str(newest.rows[0]["event_id"]), NOW)
    assert found is not None
    return dict(found)


async def _sent(shelf: Shelf, **other: Any) -> Any:
    return (await _explained(shelf, **other))["deliveries"][0]["sent"]


async def _deliver(shelf: Shelf, **how: Any) -> list[Claimed]:
    leases = await shelf.claim(now=NOW, **how)
    for lease in leases:
        await shelf.settle(lease, Sent(status=200), now=NOW + SECOND)
    return leases


async def test_an_explanation_repeats_what_the_message_said_then(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    sent = await _sent(shelf)

    assert sent["title"] == "New: Game m1"
    assert "in 2 h" in sent["body"]
    assert (sent["format"], sent["note"]) == ("text", None)


async def test_what_a_program_was_sent_is_shown_as_it_was_sent(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    def spell(message: Rendered, now: datetime) -> str:
        return f"{[event.id for event in message.events]} at {now:%H:%M}"

    sent = await _sent(shelf, programs={HOOK: spell}, routes=())

    event = (await _explained(shelf))["event"]["event_id"]
    assert sent == {
        "title": "",
        "body": f"{[event]} at {NOW:%H:%M}",
        "format": "json",
        "note": None,
    }


async def test_what_was_not_sent_said_nothing(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503"))

    assert await _sent(shelf) is None


async def test_a_digest_is_repeated_whole(shelf: Shelf) -> None:
    await shelf.show(*(row(f"m{number}") for number in range(5)))
    [lease] = await _deliver(shelf, over=2)

    sent = await _sent(shelf)

    assert len(lease.message.members) == 5
    assert sent["title"].startswith("5 created: Game m0, Game m1, Game m2")
    assert all(f"Game m{number}" in sent["body"] for number in range(5))


async def test_a_digest_of_which_a_part_is_forgotten_is_not_made_up(
    shelf: Shelf, tmp_path: Path
) -> None:
    await shelf.show(*(row(f"m{number}") for number in range(5)))
    await _deliver(shelf, over=2)
    with sql(tmp_path / "notifier.db") as run:
        run("DELETE FROM deliveries WHERE milestone_id = 'm0'")

    assert await _sent(shelf) is None


@pytest.mark.parametrize(
    ("other", "note"),
    [
        (
            {"limits": {"other": Limits(format=Format.HTML, title=9, body=99)}},
            "put as plain text, for what hook takes is not known",
        ),
        ({"routes": ()}, "without the template of all, which is no route any more"),
        (
            {
                "routes": (
                    Route(
                        name="all",
                        to=(HOOK,),
                        template=Templates(title="{{ milestone.no.way }}"),
                    ),
                )
            },
            "without the template, which fails now: route all, created: title: ",
        ),
    ],
)
async def test_what_is_put_otherwise_by_now_says_so(
    shelf: Shelf, other: dict[str, Any], note: str
) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    assert (await _sent(shelf, **other))["note"].startswith(note)


async def test_what_has_become_of_a_milestone_later_was_not_told_then(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1", title="First"))
    await _deliver(shelf)
    await shelf.show(row("m1", title="Second"), now=NOW + HOUR)
    books = _books(shelf.store)
    created = (await books.events(EventFilter(kinds=(Kind.CREATED,)), Slice())).rows[0]

    found: Any = await books.explain(str(created["event_id"]), NOW + DAY)
    sent = found["deliveries"][0]["sent"]

    assert sent["title"] == "New: First"
    assert sent["note"] == "the milestone has changed since it was told"


async def test_what_waits_for_an_earlier_one_says_for_which(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503"))
    await shelf.show(row("m1", title="New"), now=NOW + SECOND)
    books = _books(shelf.store)
    [_, first] = (await books.events(EventFilter(), Slice())).rows

    [waiting] = (await _explained(shelf))["deliveries"]
    earlier: Any = await books.explain(str(first["event_id"]), NOW)

    assert waiting["reason"] == f"{first['event_id']} goes before it"
    assert earlier["deliveries"][0]["reason"] == "HTTP 503"


async def test_an_event_is_found_by_the_beginning_of_its_id_if_it_is_the_only_one(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"), row("m2"))
    books = _books(shelf.store)
    one, two = (await books.events(EventFilter(), Slice())).rows

    found: Any = await books.explain(str(one["event_id"])[:12], NOW)

    assert found["event"] == one
    for beginning in ("evt_", "", "evt_%", str(two["event_id"]) + "x"):
        assert await books.explain(beginning, NOW) is None


async def test_a_route_that_objects_says_against_which_value(shelf: Shelf) -> None:
    wants = Match(fields=(("category", ("Politics",)),))
    await shelf.show(row("m1"))

    found = await _explained(shelf, routes=(Route(name="politics", to=(HOOK,), match=wants),))

    assert found["routes"] == [
        {
            "route": "politics",
            "matched": False,
            "why": "category is Sports, wants Politics",
            "to": [],
        }
    ]
