"""The outbox: net changes, deferral, the state of destinations."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path

import pytest
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
    ask,
    opened,
    row,
    stamp,
    stocked,
)

from notifier.domain.batching import BatchingPolicy
from notifier.domain.circuit_breaker import DestinationState, RecentAttempts
from notifier.domain.models import Ambiguous, Change, Failed, Outcome, Refused, Scope, Sent
from notifier.domain.rules import QuietPolicy, Route, Window
from notifier.storage import destination_state, due, outbox
from notifier.storage.database import Priority, reading

pytestmark = pytest.mark.anyio

PLAIN = BatchingPolicy(over=None, zone=UTC_ZONE)
NIGHT = Window(days=frozenset(range(7)), start=time(17), end=time(7))
QUIET = replace(PLAIN, quiet=QuietPolicy(windows=(NIGHT,)))
GATHERING = replace(PLAIN, over=10, window=MINUTE)
MORNING = NOW + 13 * HOUR
UNTIL_SEVEN = "quiet hours until Mon 23 Nov, 07:00 UTC"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


def _deliveries(database: Path, columns: str) -> list[tuple[object, ...]]:
    return ask(database, f"SELECT {columns} FROM deliveries ORDER BY seq")


def _events(database: Path) -> list[str]:
    return [key for (key,) in ask(database, "SELECT id FROM events ORDER BY seq")]


def _standing(database: Path) -> DestinationState:
    with reading(database) as conn:
        return destination_state.load(conn, HOOK)


async def _titled(shelf: Shelf, *titles: str, now: datetime = NOW) -> None:
    for title in titles:
        await shelf.show(row("m1", title=title, last_updated_ts=stamp(now)), now=now)


async def _told(shelf: Shelf, *titles: str) -> None:
    """The milestone is known there by the last of these titles."""
    await _titled(shelf, *titles)
    for lease in await shelf.claim():
        await shelf.settle(lease, Sent())


async def _fail(shelf: Shelf, *, now: datetime) -> Claimed:
    [lease] = await shelf.claim(now=now)
    await shelf.settle(lease, Failed(reason="503"), now=now)
    return lease


# --- net changes --------------------------------------------------------------


async def test_a_superseded_net_change_is_contained_in_the_latest_one(
    shelf: Shelf, database: Path
) -> None:
    await _told(shelf, "A")
    now = NOW
    for before, after in (("B", "C"), ("D", "E")):
        await _titled(shelf, before, after, now=now)
        await _fail(shelf, now=now)
        now += MINUTE

    [lease] = await shelf.claim(now=now)

    *_, newest = events = _events(database)
    assert _deliveries(database, "state, superseded_by")[1:] == [
        *[("superseded", newest)] * 3,
        ("leased", None),
    ]
    [told] = lease.events
    assert told.supersedes == tuple(events[1:-1])
    assert told.changes == (Change(field="title", before="A", after="E"),)


async def test_a_net_change_is_the_same_however_often_it_is_claimed(
    shelf: Shelf,
) -> None:
    await _told(shelf, "A")
    await _titled(shelf, "B", "C")

    first = await _fail(shelf, now=NOW)
    second = await _fail(shelf, now=NOW + 5 * SECOND)
    await shelf.claim(now=NOW + MINUTE)
    await shelf.release_leases(now=NOW + HOUR)
    [third] = await shelf.claim(now=NOW + HOUR)

    assert first.events == second.events == third.events
    assert first.message.id == second.message.id == third.message.id


async def test_each_destination_has_its_own_net_changes(database: Path) -> None:
    routes = (Route(name="all", to=(HOOK, "desk")),)
    async with opened(database) as store:
        shelf = await stocked(store, routes=routes)
        await _told(shelf, "A")
        for lease in await shelf.claim(to="desk"):
            await shelf.settle(lease, Sent())
        await _titled(shelf, "B")
        [early] = await shelf.claim(to="desk")
        await shelf.settle(early, Sent())
        await _titled(shelf, "C")
        [hook] = await shelf.claim()
        [desk] = await shelf.claim(to="desk")

    assert [len(one.events[0].supersedes) for one in (hook, desk)] == [1, 0]
    assert [one.events[0].changes[0].before for one in (hook, desk)] == ["A", "B"]


# --- deferral -----------------------------------------------------------------


async def test_a_deferred_delivery_is_due_at_the_end_of_quiet_hours(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))

    assert await shelf.claim(batching=QUIET) == []
    assert await shelf.store.read(due.next_due, [HOOK]) == {HOOK: MORNING}
    assert await shelf.claim(now=MORNING - SECOND) == []
    [lease] = await shelf.claim(now=MORNING, batching=QUIET)

    assert lease.milestones == ["m1"]
    assert _deliveries(database, "held, gathered, attempts") == [(None, 0, 1)]


async def test_requeued_deliveries_are_decided_by_the_new_rules(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"), row("m2"))
    await shelf.claim(batching=GATHERING, room=1)
    later = NOW + SECOND
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(outbox.requeue_deferred, later)
    judged = _deliveries(database, "held, gathered")
    await shelf.claim(now=later, batching=QUIET)

    assert judged == [(None, 0)] * 2
    assert _deliveries(database, "held, gathered") == [(UNTIL_SEVEN, 0)] * 2


async def test_requeueing_changes_neither_retries_nor_digests_that_are_due(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("bad"))
    await _fail(shelf, now=NOW)
    await shelf.show(row("m1"), row("m2"))
    await shelf.claim(batching=GATHERING)
    ripe = NOW + MINUTE
    before = _deliveries(database, "due_at, gathered")
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(outbox.requeue_deferred, ripe)

    assert _deliveries(database, "due_at, gathered") == before
    [lease] = await shelf.claim(now=ripe, batching=GATHERING)
    assert lease.milestones == ["bad", "m1", "m2"]


# --- the state of a destination -----------------------------------------------


async def _suspend(shelf: Shelf, *, now: datetime = NOW) -> None:
    [lease, *_] = await shelf.claim(now=now, room=1)
    refusal = Refused(reason="401", scope=Scope.DESTINATION)
    await shelf.settle(lease, refusal, now=now)


def _ages(database: Path, now: datetime) -> list[float]:
    micro = int(now.timestamp()) * 1_000_000
    rows = _deliveries(database, f"({micro} - born_at) / 1e6")
    return [float(str(age)) for (age,) in rows]


async def test_the_time_of_a_suspension_does_not_count_as_age(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"), row("m2"))
    begin = NOW + HOUR
    await _suspend(shelf, now=begin)
    await shelf.show(row("m3"), now=begin + DAY)
    end = begin + 2 * DAY
    [probe, *_] = await shelf.claim(now=end, room=1)
    await shelf.settle(probe, Sent(), now=end)

    _, old, young = _ages(database, end)
    assert (old, young) == (3600, 0)


async def test_retries_are_due_at_once_when_the_destination_works_again(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("quiet"))
    await shelf.claim(batching=QUIET)
    await shelf.show(*(row(f"m{n}") for n in range(5)))
    for lease in await shelf.claim():
        await shelf.settle(lease, Failed(reason="503"))
    opened_at = _standing(database).open_since
    soon = NOW + 30 * SECOND
    [probe, *_] = await shelf.claim(now=soon, room=1)
    await shelf.settle(probe, Sent(), now=soon)

    assert opened_at == NOW
    assert _standing(database) == DestinationState()
    leases = await shelf.claim(now=soon, batching=replace(PLAIN, over=2))
    assert [sorted(one.milestones) for one in leases] == [
        sorted({f"m{n}" for n in range(5)} - set(probe.milestones))
    ]
    # What quiet hours hold is held all the same.
    assert _deliveries(database, "held")[0] == (UNTIL_SEVEN,)


async def test_a_deferred_retry_stays_deferred_when_the_destination_works_again(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("quiet"))
    await _fail(shelf, now=NOW)
    await shelf.claim(now=NOW + 5 * SECOND, batching=QUIET)
    before = _deliveries(database, "due_at, held")
    await shelf.show(*(row(f"m{n}") for n in range(4)))
    for lease in await shelf.claim(now=NOW + 6 * SECOND):
        await shelf.settle(lease, Failed(reason="503"), now=NOW + 6 * SECOND)
    is_open = _standing(database).open_since is not None
    [probe] = await shelf.claim(now=NOW + MINUTE, room=1)
    await shelf.settle(probe, Sent(), now=NOW + MINUTE)

    assert is_open
    assert _standing(database).open_since is None
    assert _deliveries(database, "due_at, held")[:1] == before


async def test_refused_messages_and_429_are_no_failures_of_the_destination(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(*(row(f"m{n}") for n in range(3)))
    outcomes: tuple[Outcome, ...] = (
        Refused(reason="400", status=400, scope=Scope.MESSAGE),
        Failed(reason="429", status=429, retry_after=SECOND),
        Failed(reason="no route"),
    )
    for lease, outcome in zip(await shelf.claim(), outcomes, strict=True):
        await shelf.settle(lease, outcome)

    with reading(database) as conn:
        assert destination_state.recent_attempts(conn, HOOK, NOW) == RecentAttempts(
            failed=1, total=3
        )


async def test_recent_attempts_are_those_of_five_minutes(shelf: Shelf, database: Path) -> None:
    await shelf.show(*(row(f"m{n}") for n in range(4)))
    outcomes: tuple[Outcome, ...] = (
        Sent(),
        Failed(reason="503"),
        Ambiguous(reason="?"),
    )
    leases = await shelf.claim()
    for lease, outcome in zip(leases, outcomes, strict=False):
        await shelf.settle(lease, outcome)

    with reading(database) as conn:
        soon = destination_state.recent_attempts(conn, HOOK, NOW + 299 * SECOND)
        late = destination_state.recent_attempts(conn, HOOK, NOW + 301 * SECOND)

    assert (soon, late) == (RecentAttempts(failed=2, total=3), RecentAttempts(failed=0, total=0))
