"""What people and programs read: the rows of the contract."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pytest
from storing import (
    DAY,
    EVERYTHING,
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
    stamp,
    stocked,
)

from notifier.domain.batching import BatchingPolicy
from notifier.domain.models import Failed, Json, Refused, Scope, Sent
from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import QuietPolicy, Then, Window
from notifier.storage import destination_state, milestones, queries
from notifier.storage.database import Priority, reading

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


def _events(database: Path, **which: Any) -> list[dict[str, Json]]:
    with reading(database) as conn:
        return list(queries.event_rows(conn, **which))


def _deliveries(database: Path, **which: Any) -> list[dict[str, Json]]:
    with reading(database) as conn:
        return list(queries.delivery_rows(conn, **which))


def _status(database: Path, now: datetime) -> dict[str, Any]:
    with reading(database) as conn:
        return queries.status(conn, now)


async def test_an_event_is_shown_with_its_changes_and_its_milestone(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    await shelf.show(row("m1", title="New"), now=NOW + 1.5 * SECOND)

    _, updated = _events(database)

    assert {key: value for key, value in updated.items() if key != "event_id"} == {
        "kind": "updated",
        "milestone_id": "m1",
        "at": "2026-11-22T18:00:01.500000Z",
        "seen_at": "2026-11-22T18:00:01.500000Z",
        "missed": False,
        "changes": [{"field": "title", "before": "Game m1", "after": "New"}],
        "milestone": doc("m1", title="New"),
    }


async def test_events_come_oldest_first_and_a_limit_keeps_the_newest(
    shelf: Shelf, database: Path
) -> None:
    for n in range(4):
        await shelf.show(row(f"m{n}"), now=NOW + n * MINUTE)

    def ids(**which: Any) -> list[Json]:
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

    assert (waiting["state"], waiting["attempts"], waiting["reason"]) == (
        "pending",
        1,
        "503",
    )
    assert (waiting["due_at"], waiting["sent_at"]) == ("2026-11-22T18:00:05Z", None)
    assert (final["state"], final["due_at"], final["sent_at"], final["reason"]) == (
        "delivered",
        None,
        "2026-11-22T18:00:06Z",
        None,
    )
    assert final["message_id"] == lease.message.id
    assert (final["destination"], final["route"]) == (HOOK, "all")


async def test_dead_deliveries_can_be_asked_for_alone(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    for _ in range(2):
        [lease] = await shelf.claim()
        await shelf.settle(lease, Refused(reason="400", scope=Scope.MESSAGE))
    await shelf.show(row("m2"))

    [dead] = _deliveries(database, dead=True)

    assert (dead["milestone_id"], dead["state"], dead["reason"]) == (
        "m1",
        "dead",
        "400",
    )


async def test_one_event_is_shown_with_every_try_of_its_deliveries(
    shelf: Shelf, database: Path
) -> None:
    [step] = await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))
    await shelf.claim(now=NOW + 5 * SECOND)
    assert step.event is not None

    with reading(database) as conn:
        found = queries.event_with_deliveries(conn, step.event.id)
        missing = queries.event_with_deliveries(conn, "evt_NO")

    assert missing is None
    assert found is not None
    event, _, [delivery] = found
    assert event == step.event
    assert isinstance(delivery["tries"], list)
    assert [(t["outcome"], t["reason"]) for t in delivery["tries"]] == [
        ("failed", "503"),
        ("no answer yet", None),
    ]


async def test_the_status_says_what_is_watched_owed_and_next(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"), row("m2", start_date=stamp(NOW + HOUR)))
    [lease, _] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))

    status = _status(database, NOW)

    assert status["milestones"] == 2
    assert [(w["name"], w["last_read"]["kind"]) for w in status["watches"]] == [
        (EVERYTHING, "poll")
    ]
    [hook] = status["destinations"]
    assert (hook["pending"], hook["leased"], hook["dead"]) == (1, 1, 0)
    assert status["events_24h"] == {"created": 2}
    assert [s["milestone_id"] for s in status["next_starts"]] == ["m2", "m1"]
    assert _status(database, NOW + 2 * DAY)["next_starts"] == []


async def test_the_status_says_why_the_last_read_failed(shelf: Shelf, database: Path) -> None:
    async with shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(
            milestones.end_read,
            shelf.end(9, kind=ReadKind.POLL, now=NOW, error="timeout after 30 s"),
        )

    [watch] = _status(database, NOW)["watches"]

    assert watch["last_read"]["error"] == "timeout after 30 s"


# --- what is held, superseded, failing ----------------------------------------


_WINDOW = QuietPolicy(windows=(Window(days=frozenset(range(7)), start=time(17), end=time(7)),))
QUIET = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=_WINDOW)


async def test_a_held_delivery_says_why_and_until_when(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"), row("m2"))
    await shelf.claim(batching=QUIET)
    held = _deliveries(database)
    [status] = _status(database, NOW)["destinations"]
    [ended] = _status(database, NOW + 13 * HOUR)["destinations"]
    leases = await shelf.claim(now=NOW + 13 * HOUR)
    for lease in leases:
        await shelf.settle(lease, Failed(reason="503"), now=NOW + 13 * HOUR)

    words = "quiet hours until Mon 23 Nov, 07:00 UTC"
    assert [(one["state"], one["due_at"], one["reason"]) for one in held] == [
        ("pending", "2026-11-23T07:00:00Z", words)
    ] * 2
    assert (status["pending"], status["held"], ended["held"]) == (2, 2, 0)
    assert [one["reason"] for one in _deliveries(database)] == ["503"] * 2


async def test_what_was_held_says_how_it_ended_once_it_has(shelf: Shelf, database: Path) -> None:
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


async def test_the_status_shows_a_destination_whose_breaker_is_open(
    shelf: Shelf, database: Path
) -> None:
    for n in range(5):
        await shelf.show(row(f"m{n}"))
        [lease] = await shelf.claim(now=NOW + n * SECOND)
        await shelf.settle(lease, Failed(reason="503"), now=NOW + n * SECOND)

    [hook] = _status(database, NOW + MINUTE)["destinations"]

    assert (hook["open_since"], hook["paused_until"], hook["reason"]) == (
        "2026-11-22T18:00:04Z",
        "2026-11-22T18:00:34Z",
        "503",
    )
    assert hook["suspended_since"] is None


@pytest.mark.usefixtures("shelf")
async def test_the_status_shows_what_is_wrong_until_it_is_over(database: Path) -> None:
    micro = int(NOW.timestamp()) * 1_000_000
    with sql(database) as run:
        for key, words in (
            ("source", "Kalshi cannot be read"),
            ("catchup:2026", "Away"),
        ):
            run("INSERT INTO conditions VALUES (?, ?, ?)", key, micro, words)
    with reading(database) as conn:
        status = queries.status(conn, NOW)

    assert status["conditions"] == [
        {"key": "source", "since": stamp(NOW), "words": "Kalshi cannot be read"}
    ]


# --- destinations that rest, or are no more -----------------------------------


@pytest.mark.parametrize(
    ("scope", "gone", "words"),
    [
        (Scope.DESTINATION, False, "hook is suspended: HTTP 401"),
        (Scope.GONE, True, "hook is gone: HTTP 401"),
    ],
)
async def test_what_waits_for_a_destination_that_refuses_all_says_so(
    shelf: Shelf, database: Path, scope: Scope, gone: bool, words: str
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="HTTP 401", scope=scope))
    [step] = await shelf.show(row("m2"))
    assert step.event is not None

    [_, fresh] = _deliveries(database, now=NOW)
    with reading(database) as conn:
        found = queries.event_with_deliveries(conn, step.event.id, now=NOW)
    [status] = _status(database, NOW)["destinations"]

    assert fresh["reason"] == words
    assert found is not None
    assert found[2][0]["reason"] == words
    assert (status["gone"], status["configured"]) == (gone, True)


async def test_what_was_dropped_in_the_last_day_is_counted(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    drop = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=replace(_WINDOW, then=Then.DROP))
    await shelf.claim(batching=drop)

    [hook] = _status(database, NOW + HOUR)["destinations"]
    [later] = _status(database, NOW + 2 * DAY)["destinations"]

    assert (hook["dropped_24h"], later["dropped_24h"]) == (1, 0)


async def test_a_destination_out_of_the_configuration_is_shown_while_it_is_owed(
    shelf: Shelf, database: Path
) -> None:
    await shelf.show(row("m1"))
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {"other": "fingerprint"}, NOW)

    shown = _status(database, NOW)["destinations"]
    [waiting] = _deliveries(database, now=NOW)
    [lease] = await shelf.claim()
    await shelf.settle(lease, Sent())
    left = _status(database, NOW)["destinations"]

    assert [(one["name"], one["configured"], one["pending"]) for one in shown] == [
        ("other", True, 0),
        (HOOK, False, 1),
    ]
    assert waiting["reason"] == "hook is not configured any more"
    assert [one["name"] for one in left] == ["other"]


async def test_a_destination_that_comes_back_starts_afresh(shelf: Shelf, database: Path) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="401", scope=Scope.DESTINATION))
    for names in ({"other": "1"}, {HOOK: "fingerprint"}):
        async with shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(destination_state.set_destinations, names, NOW + HOUR)

    [hook] = _status(database, NOW + HOUR)["destinations"]

    assert (hook["name"], hook["suspended_since"]) == (HOOK, None)
