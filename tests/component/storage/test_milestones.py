"""What the reading loop writes: a page is one transaction, watches come and go."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import Connection, text
from storing import (
    DAY,
    EVERYTHING,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Shelf,
    ask,
    opened,
    row,
    sql,
    stamp,
    stocked,
)

from notifier.domain.changes import DecodedRow, removed
from notifier.domain.models import Failed, Sent
from notifier.domain.poll_schedule import ReadKind, WatchRow
from notifier.domain.rules import Route
from notifier.errors import StoreError
from notifier.kalshi.decoding import BadRow
from notifier.storage import due, milestones, timers
from notifier.storage.database import Database, Priority
from notifier.storage.milestones import PageCommit

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


def _counts(database: Path) -> dict[str, int]:
    tables = ("milestones", "events", "deliveries", "timers", "quarantine")
    return {t: ask(database, f"SELECT count(*) FROM {t}")[0][0] for t in tables}


def _timers(database: Path) -> set[tuple[str, str]]:
    return set(ask(database, "SELECT milestone_id, kind FROM timers"))


def _forget_watches(conn: Connection) -> None:
    conn.execute(text("DELETE FROM watches"))


async def _page(shelf: Shelf, *rows: DecodedRow) -> PageCommit:
    async with shelf.store.turn(Priority.PAGE) as turn:
        known = await turn.write(milestones.stored, [one.milestone.id for one in rows], shelf.watch)
    return shelf.page(known, rows, now=NOW, kind=ReadKind.POLL, read_id=99, due_at=NOW)


# --- one transaction a page ---------------------------------------------------


async def test_a_write_that_fails_leaves_no_trace(
    shelf: Shelf,
) -> None:
    def fail(conn: Connection) -> None:
        _forget_watches(conn)
        raise LookupError

    with pytest.raises(LookupError):
        await shelf.store.write(Priority.PAGE, fail)

    assert [watch.name for watch in await shelf.store.read(milestones.watches)] == [EVERYTHING]
    await shelf.show(row("m1"))
    assert await shelf.store.read(due.next_due, [HOOK]) == {HOOK: NOW}


async def test_a_writer_that_is_cancelled_while_it_waits_writes_nothing(
    database: Path,
) -> None:
    async with opened(database, run_in_thread=anyio.to_thread.run_sync) as store:
        await stocked(store)
        async with store.turn(Priority.PAGE), anyio.create_task_group() as tasks:
            tasks.start_soon(store.write, Priority.PAGE, _forget_watches)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        with anyio.fail_after(10):
            async with store.turn(Priority.PAGE):
                [watch] = await store.read(milestones.watches)
        assert watch.name == EVERYTHING


async def test_a_page_that_the_database_refuses_is_refused_whole(
    shelf: Shelf, database: Path
) -> None:
    page = await _page(shelf, row("m1"), row("m2"))
    owed = page.deliveries[0]
    broken = replace(page, deliveries=(*page.deliveries, replace(owed, route=None)))  # type: ignore[arg-type]  # what the database must refuse
    before = _counts(database)

    with pytest.raises(StoreError, match="NOT NULL"):
        async with shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(
                milestones.commit_page, replace(broken, deliveries=broken.deliveries[2:])
            )

    assert _counts(database) == before


async def test_the_same_page_again_after_a_crash_adds_nothing(shelf: Shelf, database: Path) -> None:
    page = await _page(shelf, row("m1"), row("m2"))
    async with shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(milestones.commit_page, page)
    [lease, _] = await shelf.claim()
    await shelf.settle(lease, Sent())
    before = ask(database, "SELECT * FROM deliveries")

    async with shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(milestones.commit_page, page)

    assert ask(database, "SELECT * FROM deliveries") == before
    assert _counts(database)["events"] == 2


async def test_an_event_is_owed_to_a_destination_once_whatever_routes_name_it(
    database: Path,
) -> None:
    routes = (Route(name="first", to=(HOOK,)), Route(name="second", to=(HOOK, "desk")))
    async with opened(database) as store:
        await (await stocked(store, routes=routes)).show(row("m1"))

    assert ask(database, "SELECT destination, route FROM deliveries ORDER BY seq") == [
        (HOOK, "first"),
        ("desk", "second"),
    ]
    with sql(database) as do, pytest.raises(Exception, match="UNIQUE"):
        do("UPDATE deliveries SET destination = ?", HOOK)


async def test_a_row_of_awkward_text_is_kept_byte_for_byte(shelf: Shelf) -> None:
    nasty = row("m'1", title="\u0000" + "\U0001f3c8" * 300_000 + "'; DROP--")

    await shelf.show(nasty)

    [lease] = await shelf.claim()
    assert lease.events[0].milestone == nasty.milestone


# --- what is known ------------------------------------------------------------


async def test_known_bytes_are_unchanged_and_anything_else_is_not(
    shelf: Shelf,
) -> None:
    same, other = row("m1"), row("m2")
    await shelf.show(same, other)
    other_watch = WatchRow(id=5, name="other")
    prints = {
        "m1": same.fingerprint,
        "m2": row("m2", title="New").fingerprint,
        "m3": same.fingerprint,
    }

    found = await shelf.store.read(milestones.unchanged, prints, shelf.watch)
    elsewhere = await shelf.store.read(milestones.unchanged, prints, other_watch)

    assert found == {"m1"}
    assert elsewhere == frozenset()


async def test_a_page_is_compared_from_the_index_alone(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    asked: list[str] = []
    with shelf.store._readers.connect() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        raw.set_trace_callback(asked.append)

    await shelf.store.read(milestones.unchanged, {"m1": b"", "m2": b""}, shelf.watch)

    [statement] = [one for one in asked if "SELECT" in one]
    plan = ask(database, "EXPLAIN QUERY PLAN " + statement)
    assert [step[3] for step in plan] == [
        "SEARCH milestones USING COVERING INDEX milestones_known (id=?)"
    ]


async def test_a_doubted_row_and_a_gone_one_need_a_second_look(shelf: Shelf) -> None:
    newer = row("m1", last_updated_ts=stamp(NOW))
    await shelf.show(newer, row("m2"))
    await shelf.show(row("m1", title="Old", last_updated_ts=stamp(NOW - HOUR)))
    await _remove(shelf, "m2")

    found = await shelf.store.read(
        milestones.unchanged, {"m1": newer.fingerprint, "m2": row("m2").fingerprint}, shelf.watch
    )

    assert found == frozenset()


async def test_a_doubt_is_dropped_when_the_known_bytes_come_back(
    shelf: Shelf, database: Path
) -> None:
    old = row("m1", title="Old", last_updated_ts=stamp(NOW - HOUR))
    await shelf.show(row("m1"))

    for seen in (old, row("m1"), old, row("m1")):
        await shelf.show(seen)

    assert _counts(database)["events"] == 1


# --- watches ------------------------------------------------------------------


async def _watches(store: Database, *names: str) -> list[WatchRow]:
    async with store.turn(Priority.MAINTENANCE) as turn:
        return await turn.write(milestones.set_watches, names)


async def _baselined(
    store: Database, watch: WatchRow, *rows: DecodedRow, now: datetime = NOW
) -> Shelf:
    shelf = Shelf(store=store, watch=watch)
    await shelf.show(*rows, kind=ReadKind.BASELINE, now=now)
    return shelf


async def test_every_watch_has_a_bit_of_its_own_and_keeps_it(database: Path) -> None:
    async with opened(database) as store:
        first = await _watches(store, "a", "b", "c")
        second = await _watches(store, "c", "d")

    assert [(w.name, w.id) for w in first] == [("a", 0), ("b", 1), ("c", 2)]
    assert [(w.name, w.id) for w in second] == [("c", 2), ("d", 0)]


async def test_more_watches_than_there_are_bits_is_a_clear_error(
    database: Path,
) -> None:
    async with opened(database) as store:
        with pytest.raises(StoreError, match="62 watches"):
            await _watches(store, *(f"type=t{n}" for n in range(63)))

        assert await store.read(milestones.watches) == []


async def test_a_milestone_of_two_watches_is_one_until_the_last_of_them_is_dropped(
    database: Path,
) -> None:
    async with opened(database) as store:
        a, b = await _watches(store, "a", "b")
        await _baselined(store, a, row("m1"))
        await _baselined(store, b, row("m1"), row("m2"))

        await _watches(store, "a")

        assert _counts(database)["milestones"] == 2
        assert _timers(database) == {("m1", "start")}
        await _watches(store, "c")
        assert _timers(database) == set()


async def test_a_watch_that_returns_is_silent_and_arms_its_timers_again(
    database: Path,
) -> None:
    async with opened(database) as store:
        [a] = await _watches(store, "a")
        shelf = await _baselined(store, a)
        await shelf.show(row("m1"))
        await _watches(store, "b")

        [a] = await _watches(store, "a")
        shelf = await _baselined(store, a, row("m1", title="Changed meanwhile"))

        assert a.baselined_at is None
        assert ask(database, "SELECT kind FROM events") == [("created",)]
        assert _timers(database) == {("m1", "start")}
        await shelf.show(row("m1", title="Changed since"))
        assert ask(database, "SELECT kind FROM events ORDER BY seq") == [
            ("created",),
            ("updated",),
        ]


async def test_a_watch_that_cannot_be_polled_is_remembered(shelf: Shelf, database: Path) -> None:
    async with shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(milestones.set_sweep_only, shelf.watch)

    shelf.store.close()
    async with opened(database) as store:
        assert [watch.sweep_only for watch in await store.read(milestones.watches)] == [True]


# --- reads --------------------------------------------------------------------


async def test_what_a_read_brought_before_it_broke_off_is_due_at_once(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"), read_id=5, more=True, due_at=NOW + 20 * SECOND)

    async with shelf.store.turn(Priority.PAGE) as turn:
        held = await turn.write(
            milestones.end_read, shelf.end(5, kind=ReadKind.POLL, now=NOW + SECOND, error="timeout")
        )
    await shelf.release(held)

    assert await shelf.store.read(due.next_due, [HOOK]) == {HOOK: NOW + SECOND}
    assert [w.watermark for w in await shelf.store.read(milestones.watches)] == [NOW - DAY]


async def test_the_end_of_a_read_brings_no_retry_forward(shelf: Shelf) -> None:
    await shelf.show(row("m1"), read_id=5, more=True)
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))

    await shelf.show(read_id=5, now=NOW + SECOND)

    assert await shelf.store.read(due.next_due, [HOOK]) == {HOOK: NOW + 5 * SECOND}


async def test_a_baseline_moves_every_clock_of_the_watch_and_a_poll_only_its_own(
    shelf: Shelf,
) -> None:
    await shelf.show(now=NOW)

    [watch] = await shelf.store.read(milestones.watches)

    yesterday = NOW - DAY
    assert (watch.baselined_at, watch.full_at, watch.swept_at) == (yesterday,) * 3
    assert (watch.polled_at, watch.watermark) == (NOW, NOW)


async def test_the_end_of_a_read_looks_only_at_what_is_pending(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    asked: list[str] = []
    with shelf.store._writer.connect() as conn:
        raw = conn.connection.driver_connection
        assert raw is not None
        raw.set_trace_callback(asked.append)

    await shelf.show(now=NOW + MINUTE)

    [statement] = [one for one in asked if one.strip().startswith("UPDATE deliveries")]
    steps = [step[3] for step in ask(database, "EXPLAIN QUERY PLAN " + statement)]
    assert any("USING INDEX deliveries_read" in step for step in steps)
    assert not any(step.startswith("SCAN deliveries") for step in steps)


# --- bad rows -----------------------------------------------------------------


async def test_the_same_bad_bytes_count_once(shelf: Shelf, database: Path) -> None:
    bad = BadRow(key="m1", fingerprint=b"1", raw=b"{", error="no title")
    page = replace(await _page(shelf), bad=(bad, bad))

    async with shelf.store.turn(Priority.PAGE) as turn:
        first = await turn.write(milestones.not_quarantined, page.bad)
        await turn.write(milestones.commit_page, page)
    async with shelf.store.turn(Priority.PAGE) as turn:
        second = await turn.write(milestones.not_quarantined, page.bad)
        await turn.write(milestones.commit_page, replace(page, now=NOW + HOUR))

    assert (first, second) == ([bad], [])
    assert ask(database, "SELECT (last_seen_at - first_seen_at) / 1000000 FROM quarantine") == [
        (3600,)
    ]


# --- absence ------------------------------------------------------------------


async def _absent(shelf: Shelf, *shown: str, since: datetime | None = None) -> list[str]:
    async with shelf.store.turn(Priority.PAGE) as turn:
        return await turn.write(milestones.count_missed_reads, shelf.watch, since, frozenset(shown))


async def _remove(shelf: Shelf, milestone_id: str) -> None:
    async with shelf.store.turn(Priority.PAGE) as turn:
        known = await turn.write(milestones.stored, [milestone_id], shelf.watch)
        gone = [removed(one, now=NOW) for one in known.values()]
        await turn.write(milestones.remove, gone, (), NOW)


async def test_a_milestone_that_a_poll_shows_is_counted_from_the_start(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    for _ in range(2):
        await _absent(shelf)

    await shelf.show(row("m1", title="Alive"))

    assert [await _absent(shelf) for _ in range(3)] == [[], [], ["m1"]]


async def test_absence_counts_only_for_the_watch_that_covered_it(
    database: Path,
) -> None:
    async with opened(database) as store:
        a, b = await _watches(store, "a", "b")
        await _baselined(store, a, row("m1"))
        other = await _baselined(store, b)

        for _ in range(5):
            assert await _absent(other) == []
        assert await store.read(milestones.count_in_window, b, None) == 0
        assert await store.read(milestones.count_in_window, a, NOW + 2 * HOUR) == 1
        assert await store.read(milestones.count_in_window, a, NOW + 3 * HOUR) == 0


async def test_a_removed_milestone_has_no_timers_and_is_no_longer_expected(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))

    await _remove(shelf, "m1")

    assert _timers(database) == set()
    assert await shelf.store.read(milestones.count_in_window, shelf.watch, None) == 0
    assert ask(database, "SELECT kind FROM events ORDER BY seq") == [
        ("created",),
        ("removed",),
    ]


# --- timers of a page ---------------------------------------------------------


async def test_a_moved_start_takes_its_timers_along_and_leaves_the_end(
    database: Path,
) -> None:
    routes = (Route(name="all", to=(HOOK,), reminders=(HOUR,)),)
    end = stamp(NOW + DAY)
    async with opened(database) as store:
        shelf = await stocked(store, routes=routes)
        await shelf.show(row("m1", end_date=end))
        moved = row("m1", start_date=stamp(NOW + 5 * HOUR), end_date=end)

        await shelf.show(moved)

        seconds = int(NOW.timestamp())
        assert ask(
            database,
            "SELECT kind, fire_at / 1000000 - ? FROM timers ORDER BY fire_at",
            seconds,
        ) == [("remind", 4 * 3600), ("start", 5 * 3600), ("end", 86400)]
        assert await store.read(timers.next_start, NOW) == NOW + 5 * HOUR
        assert await store.read(timers.next_fire) == NOW + 4 * HOUR
