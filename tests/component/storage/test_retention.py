"""What is kept, what is forgotten, and reminders after a change of routes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from storing import (
    DAY,
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

from notifier.domain.models import Ambiguous, Refused, Scope, Sent
from notifier.domain.outgoing import Message
from notifier.domain.rules import Route
from notifier.domain.timers import TimePolicy
from notifier.kalshi.decoding import BadRow
from notifier.storage import dead_letters, milestones, outbox, retention
from notifier.storage.database import Priority
from notifier.storage.milestones import PageCommit

pytestmark = pytest.mark.anyio

LATER = NOW + 100 * DAY


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


async def _prune(shelf: Shelf) -> int:
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        return await turn.write(
            retention.prune, events_before=LATER - 90 * DAY, deliveries_before=LATER - 30 * DAY
        )


async def _prune_all(shelf: Shelf) -> int:
    rounds = 0
    while await _prune(shelf):
        rounds += 1
    return rounds


async def _kill(shelf: Shelf, *, milestone_id: str) -> None:
    await shelf.show(row(milestone_id))
    for _ in range(2):
        [lease] = await shelf.claim()
        await shelf.settle(lease, Refused(reason="400", scope=Scope.MESSAGE))


async def test_what_is_finished_and_old_is_forgotten(shelf: Shelf, database: Path) -> None:
    for name, now in (("m1", NOW), ("m2", LATER)):
        await shelf.show(row(name), now=now)
        [lease] = await shelf.claim(now=now)
        await shelf.settle(lease, Sent(), now=now)

    await _prune_all(shelf)

    for table in ("events", "deliveries", "attempts", "reads"):
        assert ask(database, f"SELECT count(*) FROM {table}") == [(1,)], table
    assert ask(database, "SELECT milestone_id FROM events") == [("m2",)]
    assert ask(database, "SELECT id FROM milestones") == [("m1",), ("m2",)]


async def test_numbers_rise_however_much_is_forgotten(shelf: Shelf, database: Path) -> None:
    """Whoever follows asks for what is above the number that they know."""

    def newest() -> list[int]:
        return [
            ask(database, f"SELECT max(seq) FROM {table}")[0][0]
            for table in ("events", "deliveries", "attempts")
        ]

    for name in ("m1", "m2"):
        await shelf.show(row(name))
        [lease] = await shelf.claim()
        await shelf.settle(lease, Sent())
    known = newest()
    await _prune_all(shelf)
    left = ask(database, "SELECT milestone_id FROM events")

    await shelf.show(row("m3"), now=LATER)
    await shelf.claim(now=LATER)

    assert left == [("m2",)]
    assert newest() == [number + 1 for number in known]


async def test_what_is_pending_leased_or_dead_stays_with_its_event_however_old(
    shelf: Shelf, database: Path
) -> None:
    await _kill(shelf, milestone_id="dead")
    await shelf.show(row("leased"))
    [lease] = await shelf.claim()
    await shelf.show(row("pending"))

    await _prune_all(shelf)

    kept = ask(
        database,
        "SELECT e.milestone_id, d.state FROM events e "
        "JOIN deliveries d ON d.event_id = e.id ORDER BY e.seq",
    )
    assert kept == [("dead", "dead"), ("leased", "leased"), ("pending", "pending")]
    assert await shelf.settle(lease, Sent(), now=LATER) == 1


async def test_an_event_stays_as_long_as_one_of_its_deliveries_does(
    database: Path,
) -> None:
    routes = (Route(name="all", to=(HOOK, "desk")),)
    async with opened(database) as store:
        shelf = await stocked(store, routes=routes)
        await shelf.show(row("m1"))
        [lease] = await shelf.claim()
        await shelf.settle(lease, Sent())

        await _prune_all(shelf)

    assert ask(database, "SELECT destination FROM deliveries") == [("desk",)]
    assert ask(database, "SELECT milestone_id FROM events") == [("m1",)]


async def test_forgetting_goes_in_batches_so_that_nobody_waits_long(
    shelf: Shelf, database: Path
) -> None:
    for page in range(3):
        await shelf.show(*(row(f"m{page}-{n}") for n in range(400)))
    while leases := await shelf.claim(over=1, room=1):
        await shelf.settle(leases[0], Sent())

    rounds = await _prune_all(shelf)

    assert rounds >= 3
    assert ask(database, "SELECT count(*) FROM events") == [(1,)]


async def test_bad_rows_that_have_not_come_for_long_are_forgotten(
    shelf: Shelf, database: Path
) -> None:
    for name, now in (("old", NOW), ("young", LATER)):
        bad = BadRow(key=name, fingerprint=name.encode(), raw=b"{", error="no title")
        page = PageCommit(read_id=9, watch=shelf.watch, now=now, changes=(), bad=(bad,))
        async with shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(milestones.commit_page, page)

    await _prune_all(shelf)

    assert ask(database, "SELECT milestone_id FROM quarantine") == [("young",)]


# --- reminders ----------------------------------------------------------------


async def _set_reminders(shelf: Shelf, *leads: object) -> int | None:
    policy = TimePolicy(leads=leads)  # type: ignore[arg-type]  # spans, all of them
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        return await turn.write(retention.set_reminders, policy, NOW)


async def test_other_leads_arm_other_reminders_for_all_starts_to_come(
    shelf: Shelf, database: Path
) -> None:
    await _set_reminders(shelf)
    past = row("past", start_date=stamp(NOW - HOUR))
    await shelf.show(row("m1"), row("m2"), past)

    armed = await _set_reminders(shelf, HOUR, 10 * MINUTE)
    same = await _set_reminders(shelf, 10 * MINUTE, HOUR)

    assert (armed, same) == (4, None)
    leads = ask(database, "SELECT DISTINCT lead_s FROM timers WHERE kind = 'remind'")
    assert sorted(leads) == [(600.0,), (3600.0,)]
    assert await _set_reminders(shelf) == 0
    assert ask(database, "SELECT count(*) FROM timers WHERE kind = 'remind'") == [(0,)]


async def test_a_reminder_that_is_already_late_is_not_armed(shelf: Shelf) -> None:
    await shelf.show(row("m1"))

    assert await _set_reminders(shelf, 2 * HOUR + 20 * MINUTE) == 0
    assert await _set_reminders(shelf, 2 * HOUR + 13 * MINUTE) == 1


async def test_what_is_owed_to_a_destination_that_is_no_more_dies_of_age(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("old"))
    await shelf.show(row("young"), now=NOW + 2 * DAY)

    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        spared = await turn.write(outbox.kill_orphans, [HOOK], before=LATER, now=LATER)
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        buried = await turn.write(outbox.kill_orphans, ["desk"], before=NOW + DAY, now=LATER)

    states = ask(database, "SELECT milestone_id, state FROM deliveries ORDER BY seq")
    assert (spared, buried) == (0, 1)
    assert states == [("old", "dead"), ("young", "pending")]


async def test_a_start_that_waits_for_a_paused_destination_expires_in_time(
    shelf: Shelf, database: Path
) -> None:
    start = NOW + 2 * HOUR
    await shelf.show(row("m1"))
    for at in (start - MINUTE, start + 14 * MINUTE):
        [lease] = await shelf.claim(now=at, room=1)
        refused = Refused(reason="401", scope=Scope.DESTINATION)
        await shelf.settle(lease, refused, now=at)
    await shelf.ring(now=start + 15 * MINUTE)

    ended = []
    for minutes in (20, 31):
        async with shelf.store.turn(Priority.MAINTENANCE) as turn:
            ended.append(await turn.write(outbox.expire_paused, start + minutes * MINUTE))

    assert ended == [0, 1]
    assert ask(database, "SELECT kind, state, reason FROM deliveries ORDER BY seq") == [
        ("created", "pending", "401"),
        ("started", "expired", "too late to be of use"),
    ]


async def test_where_messages_leave_nothing_is_ended_behind_their_back(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    await shelf.ring(now=NOW + 2 * HOUR)

    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        assert await turn.write(outbox.expire_paused, NOW + 3 * HOUR) == 0


async def test_who_has_a_message_is_forgotten_once_nobody_waits_for_it(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    partly = Ambiguous(reason="partly sent", delivered_to=frozenset({"rcp_1"}))
    await shelf.settle(lease, partly)
    await _prune(shelf)
    kept = ask(database, "SELECT mark FROM served")
    with sql(database) as run:
        run("UPDATE deliveries SET state = 'expired'")
    await _prune(shelf)

    assert kept == [("rcp_1",)]
    assert ask(database, "SELECT mark FROM served") == []


async def test_what_waits_for_a_destination_that_is_gone_dies_after_seven_days(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"), row("m2"))
    [lease] = await shelf.claim(room=1)
    await shelf.settle(lease, Refused(reason="410", scope=Scope.GONE))

    dead = []
    for days in (6, 8):
        async with shelf.store.turn(Priority.MAINTENANCE) as turn:
            dead.append(await turn.write(outbox.give_up_suspended, NOW + days * DAY))

    assert dead == [0, 2]
    assert ask(database, "SELECT DISTINCT state, reason FROM deliveries") == [
        ("dead", "its destination has refused us for 7 days")
    ]


class _FrozenDigest:
    """A digest of an old and a young event that may have arrived, and one more old event."""

    def __init__(self, shelf: Shelf, database: Path) -> None:
        self.shelf = shelf
        self.database = database

    async def make(self) -> Message:
        await self.shelf.show(row("old"))
        await self.shelf.show(row("young"), now=NOW + 2 * DAY)
        [lease] = await self.shelf.claim(now=NOW + 2 * DAY, over=1)
        await self.shelf.settle(lease, Ambiguous(reason="no answer"), now=NOW + 2 * DAY)
        await self.shelf.show(row("other"), now=NOW)
        return lease.message

    def states(self) -> list[str]:
        return [state for (state,) in ask(self.database, "SELECT state FROM deliveries")]

    async def suspend(self) -> None:
        with sql(self.database) as run:
            run("UPDATE destinations SET suspended_since = 0, gone = 1")

    async def resume(self) -> None:
        await self.shelf.store.write(
            Priority.MAINTENANCE, dead_letters.resume, HOOK, now=NOW + 8 * DAY
        )


@pytest.fixture
def digest(shelf: Shelf, database: Path) -> _FrozenDigest:
    return _FrozenDigest(shelf, database)


async def test_members_that_may_have_arrived_are_given_up_together(
    digest: _FrozenDigest,
) -> None:
    """Of a message that may have arrived no member is given up before the youngest is."""
    message = await digest.make()
    await digest.suspend()
    async with digest.shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(outbox.give_up_suspended, NOW + 8 * DAY)
    after_eight = digest.states()
    await digest.resume()
    again = await digest.shelf.claim(now=NOW + 8 * DAY, over=1)
    await digest.shelf.settle(
        again[0], Refused(reason="401", scope=Scope.DESTINATION), now=NOW + 8 * DAY
    )
    async with digest.shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(outbox.give_up_suspended, NOW + 30 * DAY)

    assert after_eight == ["pending", "pending", "dead"]
    assert [(one.message.id, one.message.event_ids) for one in again] == [
        (message.id, message.event_ids)
    ]
    assert digest.states() == ["dead", "dead", "dead"]


async def test_members_for_a_destination_no_longer_configured_die_together(
    digest: _FrozenDigest,
) -> None:
    await digest.make()
    seen = []
    for before in (NOW + DAY, NOW + 3 * DAY):
        async with digest.shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(outbox.kill_orphans, ["desk"], before=before, now=LATER)
        seen.append(digest.states())

    assert seen == [["pending", "pending", "dead"], ["dead", "dead", "dead"]]


async def test_starts_that_may_have_arrived_expire_together(shelf: Shelf, database: Path) -> None:
    start = NOW + 2 * HOUR
    await shelf.show(row("m1"), row("m2", start_date=stamp(start + MINUTE)))
    [lease] = await shelf.claim(over=1)
    await shelf.settle(lease, Sent())
    await shelf.ring(now=start + MINUTE)
    [lease] = await shelf.claim(now=start + MINUTE, over=1)
    await shelf.settle(lease, Ambiguous(reason="no answer"), now=start + MINUTE)
    with sql(database) as run:
        run("UPDATE destinations SET gone = 1")

    ended = []
    for seconds in (30 * 60 + 30, 31 * 60 + 1):
        async with shelf.store.turn(Priority.MAINTENANCE) as turn:
            ended.append(await turn.write(outbox.expire_paused, start + seconds * SECOND))

    assert ended == [0, 2]


async def test_what_a_waiting_message_tells_beside_its_own_is_kept(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Sent())
    await shelf.show(row("m1", title="Two"))
    await shelf.show(row("m1", title="Two", notification_message="New words"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="401", scope=Scope.DESTINATION))
    await _prune_all(shelf)

    states = ask(database, "SELECT kind, state FROM deliveries ORDER BY seq")
    assert states == [("updated", "superseded"), ("updated", "pending")]
