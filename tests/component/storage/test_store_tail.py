"""The tail: what was committed is counted once, whenever somebody looks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from storing import (
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Claimed,
    Shelf,
    opened,
    row,
    sql,
    stamp,
    stocked,
)

from notifier.domain.commit import ReadKind
from notifier.domain.deliveries import Suppressed
from notifier.domain.metrics import Tally
from notifier.domain.models import Ambiguous, Failed, Outcome, Refused, Scope, Sent, State
from notifier.domain.pagination import DeadFilter
from notifier.domain.retry_policy import NextState
from notifier.storage import milestones
from notifier.storage.database import Priority
from notifier.storage.dead_letters import redrive
from notifier.storage.tail import Tail

pytestmark = pytest.mark.anyio


@dataclass
class Clocks:
    """A wall clock that may jump, and one that may not."""

    wall: datetime = NOW
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def pass_by(self, span: timedelta) -> None:
        self.wall += span
        self.seconds += span.total_seconds()


@dataclass
class Watching:
    """A store, and whoever counts what happens in it."""

    shelf: Shelf
    tail: Tail
    clock: Clocks
    database: Path

    @property
    def tally(self) -> Tally:
        return self.tail.tally

    async def tell(self, lease: Claimed, outcome: Outcome) -> None:
        await self.shelf.settle(lease, outcome, now=self.clock.wall)

    async def claim(self) -> list[Claimed]:
        return await self.shelf.claim(now=self.clock.wall)


@pytest.fixture
async def watching(tmp_path: Path) -> AsyncIterator[Watching]:
    database = tmp_path / "n.db"
    async with opened(database) as store:
        shelf = await stocked(store)
        await shelf.show(row("before"), now=NOW - HOUR)
        for lease in await shelf.claim(now=NOW - HOUR):
            await shelf.settle(lease, Sent(), now=NOW - HOUR)
        clock = Clocks()
        tail = Tail(db=store, tally=Tally(), clock=clock)
        await tail.begin()
        yield Watching(shelf=shelf, tail=tail, clock=clock, database=database)


async def test_what_happened_before_is_not_counted(watching: Watching) -> None:
    await watching.tail.catch_up()

    tally = watching.tally
    assert not tally.events
    assert not tally.reads
    assert not tally.tries
    assert not tally.latency_s


async def test_each_event_is_counted_once_by_kind(watching: Watching) -> None:
    await watching.shelf.show(row("m1"), row("m2"))
    await watching.tail.catch_up()
    await watching.shelf.show(row("m1", title="Other"), now=NOW + SECOND)
    for _ in range(3):
        await watching.tail.catch_up()

    assert watching.tally.events == {"created": 2, "updated": 1}


async def test_tries_count_when_they_end_in_whatever_order(watching: Watching) -> None:
    await watching.shelf.show(row("m1"), row("m2"), row("m3"))
    first, second, third = await watching.claim()
    await watching.tell(third, Sent(status=200))
    await watching.tail.catch_up()
    assert watching.tally.tries == {(HOOK, "sent"): 1}

    watching.clock.pass_by(10 * SECOND)
    await watching.tell(first, Failed(reason="HTTP 503", status=503))
    await watching.tail.catch_up()
    await watching.tell(second, Sent(status=200))
    for _ in range(2):
        await watching.tail.catch_up()

    assert watching.tally.tries == {(HOOK, "sent"): 2, (HOOK, "failed"): 1}
    assert watching.tally.failures == {(HOOK, "unavailable"): 1}
    assert sum(watching.tally.latency_s[HOOK].counts) == 2
    assert watching.tally.latency_s[HOOK].total == 10.0


@pytest.mark.parametrize(
    ("outcome", "reason", "repeats"),
    [
        (Failed(reason="cannot connect"), "unreachable", 0),
        (Failed(reason="HTTP 429", status=429), "rate_limited", 0),
        (Failed(reason="HTTP 500", status=500), "unavailable", 0),
        (Refused(reason="no", scope=Scope.MESSAGE, status=400), "refused", 0),
        (Ambiguous(reason="timed out"), "no_answer", 1),
    ],
)
async def test_failures_fall_into_few_classes(
    watching: Watching, outcome: Outcome, reason: str, repeats: int
) -> None:
    await watching.shelf.show(row("m1"))
    [lease] = await watching.claim()
    await watching.tell(lease, outcome)
    await watching.tail.catch_up()

    assert watching.tally.failures == {(HOOK, reason): 1}
    assert watching.tally.repeats[HOOK] == repeats


async def test_a_try_that_a_crash_cut_off_may_have_arrived(watching: Watching) -> None:
    await watching.shelf.show(row("m1"))
    await watching.claim()
    await watching.tail.catch_up()
    assert not watching.tally.tries

    await watching.shelf.release_leases(now=NOW + 2 * MINUTE)
    await watching.tail.catch_up()

    assert watching.tally.tries == {(HOOK, "cut_off"): 1}
    assert watching.tally.repeats == {HOOK: 1}


async def test_a_try_under_way_at_the_beginning_counts_when_it_ends(
    watching: Watching,
) -> None:
    await watching.shelf.show(row("m1"))
    [lease] = await watching.claim()
    later = Tail(db=watching.shelf.store, tally=Tally(), clock=watching.clock)
    await later.begin()
    await watching.tell(lease, Sent())
    await later.catch_up()

    assert later.tally.tries == {(HOOK, "sent"): 1}


async def test_a_message_of_many_counts_each_of_them_as_told(
    watching: Watching,
) -> None:
    await watching.shelf.show(*(row(f"m{i}") for i in range(5)))
    [lease] = await watching.shelf.claim(now=NOW, over=2)
    await watching.tell(lease, Sent())
    await watching.tail.catch_up()

    assert watching.tally.tries == {(HOOK, "sent"): 1}
    assert sum(watching.tally.latency_s[HOOK].counts) == 5


async def test_how_late_a_start_was_told_is_measured_from_the_start(
    watching: Watching,
) -> None:
    await watching.shelf.show(row("m1", start_date=stamp(NOW + MINUTE)))
    watching.clock.pass_by(MINUTE)
    await watching.shelf.ring(now=watching.clock.wall)
    for lease in await watching.claim():
        watching.clock.pass_by(SECOND)
        await watching.tell(lease, Sent())
    await watching.tail.catch_up()

    assert sum(watching.tally.lateness_s.counts) == 1
    assert watching.tally.lateness_s.total in {1.0, 2.0}


@pytest.mark.parametrize(
    ("state", "reason", "counted"),
    [
        (State.DROPPED, "silenced until 2026-11-22T19:00:00Z by s: x", "silence"),
        (State.DROPPED, "quiet hours until 07:00 UTC", "quiet"),
        (State.DROPPED, "it may have arrived: timed out", "dropped"),
        (State.SUPERSEDED, "a later message tells it", "superseded"),
        (State.EXPIRED, "too late to be of use", "expired"),
    ],
)
async def test_what_is_not_sent_counts_by_why(
    watching: Watching, state: State, reason: str, counted: str
) -> None:
    await watching.shelf.show(row("m1"))
    with sql(watching.database) as ask:
        [(key,)] = ask("SELECT id FROM deliveries WHERE milestone_id = 'm1'")
    over = Suppressed(delivery_id=key, state=state, reason=reason)
    await watching.shelf.suppress(over, now=NOW)
    for _ in range(2):
        await watching.tail.catch_up()

    assert watching.tally.untold == {counted: 1}


async def test_what_is_given_up_counts_once_even_if_it_is_given_up_again(
    watching: Watching,
) -> None:
    await watching.shelf.show(row("m1"))
    for again in range(2):
        [lease] = await watching.claim()
        dead = (NextState(state=State.DEAD, reason="HTTP 400"),)
        refused = Refused(reason="HTTP 400", scope=Scope.MESSAGE, status=400)
        await watching.shelf.write(lease, refused, dead, now=watching.clock.wall)
        await watching.tail.catch_up()
        gauges = await watching.tail.catch_up()
        assert gauges.destinations[HOOK].dead == 1
        assert watching.tally.untold == {"dead": again + 1}
        watching.clock.pass_by(MINUTE)
        async with watching.shelf.store.turn(Priority.MAINTENANCE) as turn:
            wanted = DeadFilter(to_put_back=True)
            await turn.write(partial(redrive, wanted=wanted, now=watching.clock.wall))


async def test_a_clock_that_jumps_back_hides_and_repeats_nothing(
    watching: Watching,
) -> None:
    async def give_up(name: str) -> None:
        await watching.shelf.show(row(name), now=watching.clock.wall)
        for lease in await watching.claim():
            dead = (NextState(state=State.DEAD, reason="x"),) * len(lease.message.members)
            failed = Failed(reason="x")
            await watching.shelf.write(lease, failed, dead, now=watching.clock.wall)

    await give_up("m1")
    await watching.tail.catch_up()
    watching.clock.wall -= HOUR
    watching.clock.seconds += 5
    await give_up("m2")
    watching.clock.pass_by(5 * MINUTE)
    for _ in range(2):
        await watching.tail.catch_up()

    assert watching.tally.untold == {"dead": 2}


async def test_reads_count_by_kind_and_result_in_whatever_order_they_end(
    watching: Watching,
) -> None:
    def at(when: datetime) -> int:
        return int(when.timestamp() * 1_000_000)

    async def end(began: datetime, kind: ReadKind, error: str | None = None) -> None:
        now = watching.clock.wall
        read = watching.shelf.end(at(began), kind=kind, now=now, error=error)
        async with watching.shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(milestones.end_read, replace(read, started_at=began))

    began = watching.clock.wall
    watching.clock.pass_by(MINUTE)
    await end(NOW + 59 * SECOND, ReadKind.POLL)
    await watching.tail.catch_up()
    watching.clock.pass_by(MINUTE)
    await end(began, ReadKind.FULL)
    await end(NOW + 110 * SECOND, ReadKind.POLL, error="HTTP 503")
    await watching.tail.catch_up()
    gauges = await watching.tail.catch_up()

    assert watching.tally.reads == {
        ("poll", "complete"): 1,
        ("poll", "failed"): 1,
        ("full", "complete"): 1,
    }
    assert watching.tally.read_s["full"].total == 120.0
    assert gauges.read_at["full"] == began
    assert gauges.read_at["poll"] == NOW + 59 * SECOND


async def test_a_watch_that_was_never_read_hides_behind_no_other(
    watching: Watching,
) -> None:
    read = (await watching.tail.catch_up()).read_at
    async with watching.shelf.store.turn(Priority.MAINTENANCE) as turn:
        names = [watching.shelf.watch.name, "another"]
        _, another = await turn.write(milestones.set_watches, names)
    never = (await watching.tail.catch_up()).read_at
    with sql(watching.database) as run:
        run("UPDATE watches SET swept_at = polled_at, full_at = polled_at")
        run("UPDATE watches SET swept_at = 0, full_at = 0 WHERE id = ?", another.id)
    unpolled = (await watching.tail.catch_up()).read_at
    async with watching.shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(milestones.set_sweep_only, another)
    swept_only = (await watching.tail.catch_up()).read_at

    assert "poll" in read
    assert never == {}
    assert set(unpolled) == {"sweep", "full"}
    assert swept_only["poll"] == read["poll"]


async def test_how_things_stand_is_told_for_each_destination(
    watching: Watching,
) -> None:
    await watching.shelf.show(row("m1"), row("m2"))
    watching.clock.pass_by(MINUTE)
    gauges = await watching.tail.catch_up()
    standing = gauges.destinations[HOOK]

    assert gauges.milestones == 3
    assert (standing.pending, standing.held, standing.dead) == (2, 0, 0)
    assert standing.oldest == NOW
    assert not standing.suspended

    for lease in await watching.claim():
        refused = Refused(reason="HTTP 403", scope=Scope.DESTINATION, status=403)
        await watching.tell(lease, refused)
    assert (await watching.tail.catch_up()).destinations[HOOK].suspended


async def test_counting_goes_on_where_a_reload_left_it(watching: Watching) -> None:
    await watching.shelf.show(row("m1"))
    again = Tail(db=watching.shelf.store, tally=watching.tally, clock=watching.clock)
    await again.begin()
    await again.catch_up()

    assert watching.tally.events == {"created": 1}


async def test_more_than_one_piece_of_tries_is_counted_whole(
    watching: Watching,
) -> None:
    with sql(watching.database) as ask:
        for i in range(1200):
            ask(
                "INSERT INTO attempts (message_id, destination, n, members, started_at,"
                " ended_at, outcome) VALUES (?, 'hook', 1, 1, 1, 2, 'failed')",
                f"msg_{i}",
            )
    await watching.tail.catch_up()

    assert watching.tally.tries == {(HOOK, "failed"): 1200}
