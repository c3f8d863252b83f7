"""The outbox: claims, settlements, expired leases."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Claimed,
    Shelf,
    ask,
    opened,
    row,
    stamp,
    stocked,
)

from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent, State
from notifier.domain.outgoing import Suppressed
from notifier.domain.retry_policy import NextState
from notifier.storage import destination_state, due
from notifier.storage.database import Priority, reading

pytestmark = pytest.mark.anyio

START = NOW + 2 * HOUR
CUT_OFF = "the attempt was cut off by a crash or never came back"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


def _deliveries(database: Path, columns: str) -> list[tuple[object, ...]]:
    return ask(database, f"SELECT {columns} FROM deliveries ORDER BY seq")


def _waits(database: Path, since: datetime) -> list[float]:
    micro = int(since.timestamp()) * 1_000_000
    rows = ask(database, f"SELECT due_at - {micro} FROM deliveries ORDER BY seq")
    return [wait / 1_000_000 for (wait,) in rows]


# --- claim --------------------------------------------------------------------


async def test_the_attempt_is_counted_when_the_message_is_claimed(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))

    [lease] = await shelf.claim()

    assert lease.message.attempt == 1
    assert _deliveries(database, "state, attempts, token, message_id") == [
        ("leased", 1, lease.token, lease.message.id)
    ]
    assert ask(database, "SELECT message_id, n, members, outcome FROM attempts") == [
        (lease.message.id, 1, 1, None)
    ]


async def test_a_delivery_waits_behind_an_earlier_one_that_is_retried_later(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))
    await shelf.show(row("m1", title="Two"))

    early = await shelf.claim(now=NOW + SECOND)
    [first] = await shelf.claim(now=NOW + 5 * SECOND)

    assert early == []
    assert first.kinds == ["created"]


async def test_next_due_ignores_what_waits_behind_an_earlier_delivery(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.show(row("m1", title="Two"))
    during = await shelf.store.read(due.next_due, [HOOK])

    await shelf.settle(lease, Failed(reason="503"))
    after = await shelf.store.read(due.next_due, [HOOK])

    assert (during, after) == ({}, {HOOK: NOW + 5 * SECOND})


async def test_a_start_overtakes_a_pending_retry(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim(now=START - SECOND)
    await shelf.settle(lease, Failed(reason="503"), now=START - SECOND)
    await shelf.ring(now=START)

    waiting = await shelf.store.read(due.next_due, [HOOK])
    [started] = await shelf.claim(now=START)

    assert waiting == {HOOK: START}
    assert started.kinds == ["started"]


async def test_a_start_waits_for_the_message_of_its_milestone_that_is_under_way(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim(now=START)
    await shelf.ring(now=START)

    assert await shelf.claim(now=START) == []
    await shelf.settle(lease, Sent(), now=START)
    assert [one.kinds for one in await shelf.claim(now=START)] == [["started"]]


async def test_a_start_of_a_milestone_that_has_moved_is_superseded(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [created] = await shelf.claim()
    await shelf.settle(created, Sent())
    await shelf.ring(now=START)
    await shelf.show(row("m1", start_date=stamp(START + DAY)), now=START)

    leases = await shelf.claim(now=START)

    assert [lease.kinds for lease in leases] == [["updated"]]
    assert (State.SUPERSEDED.value, "the start has moved") in _deliveries(database, "state, reason")


@pytest.mark.parametrize(
    ("end", "kinds"),
    [
        pytest.param(START + MINUTE, ["ended"], id="an end after the start ends it"),
        pytest.param(START - HOUR, ["started"], id="an end before it is left over"),
    ],
)
async def test_a_start_is_superseded_once_the_milestone_has_ended(
    shelf: Shelf, end: datetime, kinds: list[str]
) -> None:
    await shelf.show(row("m1", end_date=stamp(end)))
    if end < START:
        await shelf.ring(now=end)
    await _deliver_everything(shelf, now=START - MINUTE)
    await shelf.ring(now=START + MINUTE)

    leases = await shelf.claim(now=START + MINUTE)

    assert [lease.kinds for lease in leases] == [kinds]


async def test_a_suppressed_delivery_has_a_reason(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    [key] = ask(database, "SELECT id FROM deliveries")
    end = Suppressed(delivery_id=key[0], state=State.DROPPED, reason="quiet hours")
    await shelf.show(row("m2"))

    await shelf.suppress(end, now=NOW)

    [dropped, _] = _deliveries(database, "state, reason, settled_at IS NULL")
    assert dropped == ("dropped", "quiet hours", 0)


async def test_next_due_and_claim_use_the_indexes_of_open_deliveries(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    asked: list[tuple[str, tuple[object, ...]]] = []

    def note(_conn: object, _cursor: object, *what: Any) -> None:
        asked.append((what[0], what[1]))

    for engine in (shelf.store._writer, shelf.store._readers):
        event.listen(engine, "before_cursor_execute", note)

    await shelf.store.read(due.next_due, [HOOK])
    await shelf.claim()

    # As it is asked, question marks and all: an index that SQLite cannot see to
    # serve is of no use.
    plans = [
        [step[3] for step in ask(database, "EXPLAIN QUERY PLAN " + text, *values)]
        for text, values in asked
        if "ahead" in text
    ]
    assert len(plans) == 2
    for plan in plans:
        assert "SEARCH ahead USING INDEX deliveries_open" in " ".join(plan)
        assert all("USING INDEX" in step for step in plan if "deliveries" in step)


# --- settle -------------------------------------------------------------------


async def test_a_sent_message_is_delivered(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()

    held = await shelf.settle(lease, Sent(status=204), now=NOW + SECOND)

    assert held == 1
    assert _deliveries(database, "state, attempts, token, lease_until") == [
        ("delivered", 1, None, None)
    ]
    assert ask(database, "SELECT outcome FROM attempts") == [("sent",)]
    assert await shelf.store.read(due.next_due, [HOOK]) == {}


@pytest.mark.parametrize(
    "outcome",
    [Refused(reason="401", scope=Scope.DESTINATION), Sent()],
    ids=["refused", "sent"],
)
async def test_a_settlement_without_the_lease_changes_nothing(
    shelf: Shelf, database: Path, outcome: Outcome
) -> None:
    await shelf.show(row("m1"))
    [late] = await shelf.claim()
    await shelf.release_leases(now=NOW + SECOND)
    [current] = await shelf.claim(now=NOW + SECOND)
    tables = ("deliveries", "attempts", "destinations")
    before = [ask(database, f"SELECT * FROM {table}") for table in tables]

    held = await shelf.settle(late, outcome, now=NOW + MINUTE)

    assert held == 0
    assert [ask(database, f"SELECT * FROM {table}") for table in tables] == before
    assert await shelf.settle(current, Sent(), now=NOW + MINUTE) == 1


async def test_a_settlement_ends_the_attempt_that_it_settles(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    [first] = await shelf.claim()
    await shelf.settle(first, Failed(reason="503"))
    [second] = await shelf.claim(now=NOW + 5 * SECOND)
    await shelf.settle(second, Sent(), now=NOW + 5 * SECOND)

    assert ask(database, "SELECT n, outcome, reason FROM attempts ORDER BY seq") == [
        (1, "failed", "503"),
        (2, "sent", None),
    ]


async def test_a_repeated_digest_keeps_the_order_of_its_members(shelf: Shelf) -> None:
    starts = {"m1": 3, "m2": 1, "m3": 2}
    for key, second in starts.items():
        at = START + second * SECOND
        await shelf.show(row(key, start_date=stamp(at)))
    await _deliver_everything(shelf)
    at = START + 3 * SECOND
    await shelf.ring(now=at)
    [first] = await shelf.claim(now=at, over=1)
    assert first.milestones == ["m2", "m3", "m1"]

    await shelf.settle(first, Ambiguous(reason="no answer"), now=at)

    [again] = await shelf.claim(now=at + 5 * SECOND, over=1)
    assert again.milestones == first.milestones


async def test_nothing_overtakes_an_ambiguous_message_that_waits_for_a_member(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"), row("m2", start_date=stamp(START + HOUR)))
    [digest] = await shelf.claim(over=1, now=START - SECOND)
    await shelf.settle(digest, Ambiguous(reason="no answer"), now=START - SECOND)
    await shelf.ring(now=START)
    [started] = await shelf.claim(now=START)
    later = START + 5 * SECOND
    await shelf.show(row("m2", title="New", start_date=stamp(START + HOUR)), now=later)

    during = await shelf.claim(now=later)
    await shelf.settle(started, Sent(), now=later)
    [again] = await shelf.claim(now=later)

    assert (started.milestones, during) == (["m1"], [])
    assert again.message.id == digest.message.id


async def test_members_of_one_message_may_end_differently(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"), row("m2"))
    [lease] = await shelf.claim(over=1)
    dead = NextState(state=State.DEAD, reason="too big")

    held = await shelf.write(lease, Sent(), (NextState(state=State.DELIVERED), dead), now=NOW)

    assert held == 2
    assert _deliveries(database, "state, reason") == [
        ("delivered", None),
        ("dead", "too big"),
    ]


async def _deliver_everything(shelf: Shelf, *, now: datetime = NOW) -> None:
    while leases := await shelf.claim(now=now):
        for lease in leases:
            await shelf.settle(lease, Sent(), now=now)


# --- expired leases -----------------------------------------------------------


async def _crash(shelf: Shelf, *, now: datetime) -> Claimed:
    """Claim, die, start again."""
    [lease] = await shelf.claim(now=now)
    assert await shelf.release_leases(now=now) == 1
    return lease


async def test_a_message_that_kills_the_process_runs_out_of_attempts(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    now, waits = NOW, []

    while _deliveries(database, "state") == [("pending",)]:
        await _crash(shelf, now=now)
        [wait] = _waits(database, now)
        waits.append(wait)
        now += timedelta(seconds=wait)

    minutes = [0.5, 2, 10, 30, 60, 120, 240, 480, 720, 1200, 1440]
    assert waits[:-1] == [0, *(m * 60 for m in minutes)]
    assert _deliveries(database, "state, attempts, reason") == [("dead", 13, CUT_OFF)]


async def test_a_running_service_releases_only_expired_leases(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()

    early = await shelf.release_leases(now=NOW + 90 * SECOND, everything=False)
    late = await shelf.release_leases(now=NOW + 91 * SECOND, everything=False)

    assert (early, late) == (0, 1)
    assert await shelf.settle(lease, Sent(), now=NOW + 92 * SECOND) == 0


# --- destinations -------------------------------------------------------------


def _standing(database: Path) -> DestinationState:
    with reading(database) as conn:
        return destination_state.load(conn, HOOK)


async def test_a_suspension_outlives_a_restart_and_ends_with_another_url(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="401", scope=Scope.DESTINATION))

    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {HOOK: "fingerprint"}, NOW)
    same = _standing(database)
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {HOOK: "another"}, NOW)
    other = _standing(database)

    assert (same.suspended_since, same.probes, same.reason) == (NOW, 1, "401")
    assert other == DestinationState()


async def test_attempts_since_an_instant_come_newest_first(shelf: Shelf, database: Path) -> None:
    for n in range(3):
        await shelf.show(row(f"m{n}"))
        [lease] = await shelf.claim(now=NOW + n * SECOND)
        await shelf.settle(lease, Sent(), now=NOW + n * SECOND)

    with reading(database) as conn:
        some = destination_state.attempts_since(conn, HOOK, NOW, NOW + MINUTE)

    assert some == [NOW + 2 * SECOND, NOW + SECOND]
