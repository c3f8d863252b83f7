import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from clocks import SetClock
from hypothesis import given
from hypothesis import strategies as st
from servers.population import population

from notifier.demo.fake_api import (
    NEVER,
    Document,
    FakeApi,
    ListPage,
    ListQuery,
    milestone,
    timestamp,
)
from notifier.kalshi.decoding import milestone as read

NOW = datetime(2026, 11, 22, 18, 0, 0, 250_000, tzinfo=UTC)
HOUR = timedelta(hours=1)


def doc(name: str, *, hours: float = 1, updated: str = NEVER, **more: str) -> Document:
    start = NOW + hours * HOUR
    made = milestone(milestone_id=name, title=name, start=start, tickers=[f"KX-{name}"])
    return made | {"last_updated_ts": updated} | more


def ids(listing: ListPage) -> list[str]:
    return [json.loads(row)["id"] for row in listing.rows]


def drained(world: FakeApi, limit: int) -> list[str]:
    found: list[str] = []
    cursor = ""
    while True:
        page = world.page(ListQuery(limit=limit, cursor=cursor))
        found += ids(page)
        assert isinstance(page.cursor, str)
        cursor = page.cursor
        if not cursor:
            return found


def test_rows_ascend_by_start_and_then_by_id() -> None:
    world = FakeApi(SetClock(NOW), [doc("b"), doc("c", hours=-1), doc("a")])

    assert ids(world.page(ListQuery(limit=10))) == list(world) == ["c", "a", "b"]


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(1, 5))
def test_pages_of_any_size_hold_every_row_once(hours: list[int], limit: int) -> None:
    docs = [doc(str(n), hours=hour) for n, hour in enumerate(hours)]
    world = FakeApi(SetClock(NOW), docs)

    assert drained(world, limit) == list(world)
    assert sorted(world) == sorted(str(n) for n in range(len(hours)))


def test_a_row_that_moves_behind_the_cursor_is_missed_and_one_ahead_comes_twice() -> None:
    world = FakeApi(SetClock(NOW), [doc(name, hours=n) for n, name in enumerate("abcd")])
    first = world.page(ListQuery(limit=2))
    world.move_start("a", NOW + 9 * HOUR)
    world.move_start("d", NOW - 9 * HOUR)

    second = world.page(ListQuery(limit=2, cursor=str(first.cursor)))

    assert (ids(first), ids(second)) == (["a", "b"], ["c", "a"])


def test_updates_are_asked_for_beyond_a_whole_second() -> None:
    world = FakeApi(
        SetClock(NOW),
        [
            doc("late", hours=2, updated="2026-11-22T18:00:01.5Z"),
            doc("later", hours=1, updated="2026-11-22T18:00:02Z"),
            doc("early", updated="2026-11-22T18:00:00.999Z"),
            doc("never"),
        ],
    )
    second = int(NOW.timestamp())

    def since(ts: int) -> list[str]:
        return ids(world.page(ListQuery(limit=10, min_updated_ts=ts)))

    assert since(second) == ["later", "late"]
    assert since(second + 1) == ["later"]
    assert since(0) == ["early", "later", "late"]


def test_starts_are_asked_for_from_an_instant_on() -> None:
    world = FakeApi(SetClock(NOW), [doc(name, hours=n) for n, name in enumerate("abc")])

    page = world.page(ListQuery(limit=10, minimum_start_date=NOW + HOUR))

    assert ids(page) == ["b", "c"]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"category": "Sports"}, ["a"]),
        ({"category": "SPORTS"}, []),
        ({"type": "golf_tournament"}, ["b"]),
        ({"category": "sports", "type": "golf_tournament"}, ["b"]),
        ({"source_id": "s"}, ["b"]),
        ({"related_event_ticker": "KX-a"}, ["a"]),
        ({"competition": "College Football"}, []),
    ],
)
def test_filters_compare_as_they_are(filters: dict[str, str], found: list[str]) -> None:
    golf = doc("b", category="sports", type="golf_tournament", source_id="s")
    world = FakeApi(SetClock(NOW), [doc("a"), golf])

    assert ids(world.page(ListQuery(limit=10, filters=filters))) == found


def test_an_update_changes_fields_and_says_when() -> None:
    world = FakeApi(SetClock(NOW), [doc("a")])

    world.update("a", title="new", details={"status": "live"})

    now = read(world.raw("a") or b"")
    assert (now.title, now.updated) == ("new", NOW)
    assert now.details == {"league": "NFL", "status": "live"}


def test_a_touch_changes_the_time_alone_and_a_silent_change_all_but_that() -> None:
    world = FakeApi(SetClock(NOW), [doc("a"), doc("b")])
    before = world.document("a")

    world.update("a")
    world.change_without_bump("b", title="new")

    assert world.document("a") == before | {"last_updated_ts": timestamp(NOW)}
    assert world.document("b")["last_updated_ts"] == NEVER
    assert world.document("b")["title"] == "new"


def test_what_is_updated_is_found_by_its_new_time_only() -> None:
    clock = SetClock(NOW)
    world = FakeApi(clock, [doc("a", updated=timestamp(NOW))])
    clock.at = NOW + HOUR

    world.update("a")
    world.update("a")

    second = int(NOW.timestamp())
    assert ids(world.page(ListQuery(limit=10, min_updated_ts=second - 1))) == ["a"]
    assert ids(world.page(ListQuery(limit=10, min_updated_ts=second + 3600))) == []


def test_what_is_removed_is_gone_everywhere_and_may_come_back() -> None:
    world = FakeApi(SetClock(NOW), [doc("a"), doc("b")])

    world.remove("a")

    assert (list(world), len(world), world.raw("a")) == (["b"], 1, None)
    assert world.add(doc("a")) == "a"
    world.add(doc("a", hours=5))
    assert list(world) == ["b", "a"]


def test_a_snapshot_knows_nothing_of_what_comes_later() -> None:
    world = FakeApi(SetClock(NOW), [doc("a"), doc("b")])

    then = world.snapshot()
    world.update("a", title="new")
    world.remove("b")

    assert list(then) == ["a", "b"]
    assert then.document("a")["title"] == "a"


def test_the_same_seed_gives_the_same_population() -> None:
    one, same, other = (list(population(50, seed=s, now=NOW)) for s in (1, 1, 2))

    assert one == same
    assert one != other


def test_a_population_is_spread_as_the_real_one() -> None:
    docs = list(population(4000, seed=3, now=NOW))

    rows = [json.dumps(d, separators=(",", ":")).encode() for d in docs]
    read_all = [read(row) for row in rows]
    kinds = Counter(m.type for m in read_all)
    size = sum(map(len, rows)) / len(rows)
    assert 850 < size < 1200
    assert len({m.id for m in read_all}) == len(docs)
    assert kinds.most_common(1)[0][0] == "tennis_tournament_singles"
    assert 60 < sum(m.start > NOW for m in read_all) < 180
    assert 500 < sum(NOW - timedelta(days=30) < m.start < NOW for m in read_all) < 900
    assert any(m.updated is None for m in read_all)
    assert sum(m.tickers == ("SIMNBAGAME",) for m in read_all) == 8
    world = FakeApi(SetClock(NOW), docs)
    assert "SIM" in str(world.page(ListQuery(limit=500)).rows)


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (NOW, "2026-11-22T18:00:00.25Z"),
        (NOW.replace(microsecond=0), "2026-11-22T18:00:00Z"),
        (NOW.replace(microsecond=100), "2026-11-22T18:00:00.0001Z"),
    ],
)
def test_instants_are_written_without_closing_zeros(when: datetime, text: str) -> None:
    assert timestamp(when) == text
