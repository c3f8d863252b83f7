"""Figures: the status, the first page, destinations and routes."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import time
from pathlib import Path

import msgspec
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
    opened,
    row,
    sql,
    stamp,
    stocked,
)

from notifier.domain.batching import BatchingPolicy
from notifier.domain.models import Failed, Kind, Refused, Scope, Sent
from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Match, QuietPolicy, Rate, Route, Then, Window
from notifier.storage import destination_state, milestones, stats
from notifier.storage.database import Priority
from notifier.storage.rows import MilestoneCount

pytestmark = pytest.mark.anyio

_WINDOW = QuietPolicy(windows=(Window(days=frozenset(range(7)), start=time(17), end=time(7)),))


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with opened(tmp_path / "notifier.db") as store:
        yield await stocked(store)


# --- status -------------------------------------------------------------------


async def test_the_status_shows_what_is_watched_owed_and_next(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2", start_date=stamp(NOW + HOUR)))
    [lease, _] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="503"))

    status = await shelf.store.read(stats.status, NOW, milestones=2)
    later = await shelf.store.read(stats.status, NOW + 2 * DAY, milestones=None)

    assert (status.milestones, later.milestones) == (2, None)
    [watch] = status.watches
    assert watch.last_read is not None
    assert (watch.name, watch.last_read.kind) == (EVERYTHING, "poll")
    [hook] = status.destinations
    assert (hook.name, hook.configured, hook.pending, hook.leased, hook.dead) == (
        *(HOOK, True, 1, 1, 0),
    )
    assert (hook.reason, hook.next_try_at) == ("503", NOW + 5 * SECOND)
    assert status.events_24h == {"created": 2}
    assert [one.milestone_id for one in status.next_starts] == ["m2", "m1"]
    assert (later.events_24h, later.next_starts) == ({}, [])


async def test_the_status_shows_why_the_last_read_failed(shelf: Shelf) -> None:
    end = shelf.end(9, kind=ReadKind.POLL, now=NOW, error="timeout after 30 s")
    await shelf.store.write(Priority.PAGE, milestones.end_read, end)

    [watch] = (await shelf.store.read(stats.status, NOW, milestones=0)).watches

    assert watch.last_read is not None
    assert watch.last_read.error == "timeout after 30 s"


async def test_the_status_shows_incidents_until_they_are_resolved(
    shelf: Shelf, tmp_path: Path
) -> None:
    micro = int(NOW.timestamp()) * 1_000_000
    with sql(tmp_path / "notifier.db") as run:
        for key, words in (("source", "Kalshi cannot be read"), ("catchup:2026", "Away")):
            run("INSERT INTO conditions VALUES (?, ?, ?)", key, micro, words)

    status = await shelf.store.read(stats.status, NOW, milestones=0)

    assert msgspec.to_builtins(status.conditions) == [
        {"key": "source", "since": stamp(NOW), "words": "Kalshi cannot be read"}
    ]


async def test_milestones_and_starts_are_counted(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2", category="Elections"), row("m3"))

    assert await shelf.store.read(stats.count_milestones) == 3
    assert await shelf.store.read(stats.count_starts, NOW) == 3
    assert await shelf.store.read(stats.count_starts, NOW + DAY) == 0
    assert await shelf.store.read(stats.count_by_type) == [
        MilestoneCount(category="Elections", type="football_game", milestones=1),
        MilestoneCount(category="Sports", type="football_game", milestones=2),
    ]


# --- destinations -------------------------------------------------------------


async def test_a_destination_shows_what_is_held_and_what_was_dropped(shelf: Shelf) -> None:
    quiet = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=_WINDOW)
    await shelf.show(row("m1"))
    await shelf.claim(batching=quiet)
    [held] = await shelf.store.read(stats.destination_status, NOW)
    [ended] = await shelf.store.read(stats.destination_status, NOW + 13 * HOUR)
    await shelf.claim(
        batching=replace(quiet, quiet=replace(_WINDOW, then=Then.DROP)), now=NOW + 13 * HOUR
    )
    await shelf.show(row("m2"))
    await shelf.claim(batching=replace(quiet, quiet=replace(_WINDOW, then=Then.DROP)))
    [dropped] = await shelf.store.read(stats.destination_status, NOW + HOUR)
    [later] = await shelf.store.read(stats.destination_status, NOW + 2 * DAY)

    assert (held.pending, held.held, ended.held) == (1, 1, 0)
    assert (dropped.dropped_24h, later.dropped_24h) == (1, 0)


async def test_a_destination_shows_that_its_breaker_is_open(shelf: Shelf) -> None:
    for n in range(5):
        await shelf.show(row(f"m{n}"))
        [lease] = await shelf.claim(now=NOW + n * SECOND)
        await shelf.settle(lease, Failed(reason="503"), now=NOW + n * SECOND)

    [hook] = await shelf.store.read(stats.destination_status, NOW + MINUTE)

    assert (hook.open_since, hook.paused_until) == (NOW + 4 * SECOND, NOW + 34 * SECOND)
    assert (hook.reason, hook.suspended_since) == ("503", None)


@pytest.mark.parametrize(("scope", "gone"), [(Scope.DESTINATION, False), (Scope.GONE, True)])
async def test_a_suspended_destination_starts_afresh_when_it_is_configured_again(
    shelf: Shelf, scope: Scope, gone: bool
) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Refused(reason="401", scope=scope))
    [suspended] = await shelf.store.read(stats.destination_status, NOW)
    for names in ({"other": "1"}, {HOOK: "fingerprint"}):
        await shelf.store.write(
            Priority.MAINTENANCE, destination_state.set_destinations, names, NOW + HOUR
        )

    [hook] = await shelf.store.read(stats.destination_status, NOW + HOUR)

    assert (suspended.gone, suspended.suspended_since, suspended.reason) == (gone, NOW, "401")
    assert (hook.name, hook.gone, hook.suspended_since) == (HOOK, False, None)


async def test_a_destination_out_of_the_configuration_is_shown_while_it_is_owed(
    shelf: Shelf,
) -> None:
    await shelf.show(row("m1"))
    await shelf.store.write(
        Priority.MAINTENANCE, destination_state.set_destinations, {"other": "fingerprint"}, NOW
    )

    shown = await shelf.store.read(stats.destination_status, NOW)
    [lease] = await shelf.claim()
    await shelf.settle(lease, Sent())
    left = await shelf.store.read(stats.destination_status, NOW)

    assert [(one.name, one.configured, one.pending) for one in shown] == [
        ("other", True, 0),
        (HOOK, False, 1),
    ]
    assert [one.name for one in left] == ["other"]
    assert await shelf.store.read(stats.destination_names) == ["other"]


async def test_a_destination_shows_its_rate_and_its_attempts(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503", status=503))
    [lease] = await shelf.claim(now=NOW + 10 * SECOND)
    await shelf.settle(lease, Sent(status=200), now=NOW + 11 * SECOND)

    rates = {HOOK: Rate(count=10, per=MINUTE)}
    [found] = await shelf.store.read(
        stats.destinations, NOW + 20 * SECOND, {HOOK: "webhooks"}, rates
    )

    assert (found.name, found.service, found.rate, found.used) == (HOOK, "webhooks", "10/m", 2)
    assert (found.sent_24h, found.failed_24h) == (1, 1)
    assert [one.outcome for one in found.tries] == ["sent", "failed"]


@pytest.mark.parametrize(
    ("rate", "text"), [((1, SECOND), "1/s"), ((5, DAY), "5/d"), ((2, 90 * SECOND), "2/90s")]
)
def test_a_rate_is_formatted_as_in_the_configuration(rate: tuple[int, object], text: str) -> None:
    count, per = rate
    assert stats.format_rate(Rate(count=count, per=per)) == text  # type: ignore[arg-type]


# --- the first page, routes ---------------------------------------------------


async def test_hours_starts_and_latency_are_what_happened(shelf: Shelf) -> None:
    soon = (NOW + 3 * HOUR).isoformat()
    await shelf.show(row("m1", start_date=soon), now=NOW - 90 * MINUTE)
    await shelf.show(row("m2", start_date=(NOW + 2 * DAY).isoformat()), now=NOW)
    for lease in await shelf.claim(now=NOW):
        await shelf.settle(lease, Sent(), now=NOW + SECOND)

    starts = await shelf.store.read(stats.starts, NOW, NOW + DAY)
    hours = await shelf.store.read(stats.hours, NOW + MINUTE)
    later = await shelf.store.read(stats.hours, NOW + HOUR)
    latency = await shelf.store.read(stats.latency, [HOOK], NOW + MINUTE)

    assert [one.milestone_id for one in starts] == ["m1"]
    assert (len(hours), hours[-1].hour) == (48, NOW)
    assert [hour.created for hour in hours][-3:] == [1, 0, 1]
    assert [hour.created for hour in later][-4:] == [1, 0, 1, 0]
    assert (latency.sent, latency.p50_s, latency.p99_s) == (2, 5401.0, 5401.0)


async def test_a_route_shows_its_latest_events(shelf: Shelf) -> None:
    match = Match(events=frozenset({Kind.CREATED}), fields=(("title", ("~Game",)),))
    route = Route(name="all", to=(HOOK,), match=match, reminders=(15 * MINUTE,))
    await shelf.show(row("old"), now=NOW - 2 * DAY)
    for number in range(7):
        await shelf.show(row(f"m{number}"), now=NOW + number * SECOND)

    routes = (route, Route(name="idle", to=(HOOK,)))
    [found, idle] = await shelf.store.read(stats.routes, routes, NOW + MINUTE)

    assert found.match == {"events": ["created"], "title": ["~Game"]}
    assert (found.reminders, found.events_24h) == (["15m"], {"created": 7})
    assert [one.title for one in found.latest] == [f"Game m{n}" for n in (6, 5, 4, 3, 2)]
    assert (idle.events_24h, idle.latest) == ({}, [])
