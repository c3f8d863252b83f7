"""Net changes, quiet hours, gathering digests and silences, by the dispatcher."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from delivering import (
    BOTH,
    DESK,
    UNAVAILABLE,
    Request,
    Scene,
    always,
    in_turn,
    staged,
    worker,
)
from simulated import backend
from storing import DAY, HOOK, HOUR, MINUTE, NOW, SECOND, UTC_ZONE, stamp

from notifier.domain.batching import BatchingPolicy
from notifier.domain.models import Change, Kind, Sent
from notifier.domain.rules import Match, QuietPolicy, Route, Then, Window

pytestmark = pytest.mark.anyio

PARIS = ZoneInfo("Europe/Paris")
START = NOW + 2 * HOUR


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


def _change(before: str, after: str, field: str = "title") -> Change:
    return Change(field=field, before=before, after=after)


def _kinds(requests: list[Request]) -> list[list[str]]:
    return [[event.type[17:] for event in one.message.events] for one in requests]


# --- the net change -----------------------------------------------------------


async def _titled(scene: Scene, *titles: str) -> None:
    """The titles of one milestone, one a second."""
    for title in titles:
        await scene.show("m1", title=title)
        await anyio.sleep(1)


async def test_waiting_updates_become_one_message_with_the_net_change(
    database: Path,
) -> None:
    async with staged(database) as scene:
        async with scene.running():
            await _titled(scene, "A")
        await _titled(scene, "B", "C")
        async with scene.running():
            await anyio.sleep(60)

        _, first, newest = scene.event_ids()
        [_, told] = scene.sender.requests
        [event] = told.message.events
        assert (event.id, event.supersedes) == (newest, (first,))
        assert event.changes == (_change("A", "C"),)
        assert scene.rows("state, reason, superseded_by") == [
            ("delivered", None, None),
            ("superseded", "sent with a later update of the milestone", newest),
            ("delivered", None, None),
        ]


async def test_a_milestone_created_and_removed_before_any_message_is_not_announced(
    database: Path,
) -> None:
    async with staged(database) as scene:
        await _titled(scene, "A", "B")
        await scene.remove("m1")
        async with scene.running():
            await anyio.sleep(60)

        assert scene.sender.requests == []
        gone = scene.event_ids()[-1]
        words = "it was listed and removed again before it was sent"
        assert scene.rows("state, reason, superseded_by") == ([("superseded", words, gone)] * 3)


async def test_the_removal_of_an_announced_milestone_is_announced(database: Path) -> None:
    async with staged(database) as scene:
        async with scene.running():
            await _titled(scene, "A")
        await scene.remove("m1")
        async with scene.running():
            await anyio.sleep(60)

        assert _kinds(scene.sender.requests) == [["created"], ["removed"]]


# --- quiet hours --------------------------------------------------------------


def _quiet(
    *windows: str, zone: ZoneInfo = UTC_ZONE, over: int | None = None, **more: Any
) -> BatchingPolicy:
    policy = QuietPolicy(windows=tuple(map(Window.parse, windows)), **more)
    return BatchingPolicy(over=over, zone=zone, quiet=policy)


def _wall(scene: Scene, zone: ZoneInfo = UTC_ZONE) -> list[str]:
    """When each attempt was made, on that zone's clocks."""
    return [f"{one.at.astimezone(zone):%d %H:%M}" for one in scene.sender.requests]


@pytest.mark.parametrize(
    ("then", "told", "states"),
    [
        (Then.DELIVER, [["m1"], ["m2"]], ["delivered"] * 2),
        (Then.DIGEST, [["m1", "m2"]], ["delivered"] * 2),
        (Then.DROP, [], ["dropped"] * 2),
    ],
    ids=str,
)
async def test_quiet_hours_deliver_digest_or_drop(
    database: Path, then: Then, told: list[list[str]], states: list[str]
) -> None:
    batching = _quiet("17:00-07:00", over=10, then=then)
    async with staged(database, worker(batching=batching)) as scene, scene.running():
        await scene.show("m1")
        await anyio.sleep(60)
        await scene.show("m2")
        await anyio.sleep(14 * 3600)

        assert scene.told() == told
        assert scene.states() == states
        if then is Then.DROP:
            words = "quiet hours until Mon 23 Nov, 07:00 UTC"
            assert scene.states("reason") == [words] * 2


async def test_kinds_that_pass_quiet_hours_do_not_wait_behind_deferred_ones(
    database: Path,
) -> None:
    batching = _quiet("17:00-07:00", let_pass=frozenset({Kind.STARTED, Kind.ENDED}))
    async with staged(database, worker(batching=batching)) as scene, scene.running():
        await scene.show("m1", end_date=stamp(START + HOUR))
        await anyio.sleep(7200)
        await scene.start()
        await anyio.sleep(3600)
        await scene.start()
        await anyio.sleep(60)

        assert _kinds(scene.sender.requests) == [["started"], ["ended"]]
        assert scene.states() == ["pending", "delivered", "delivered"]


async def test_changed_quiet_hours_count_after_a_reload(
    database: Path,
) -> None:
    async with staged(database, worker(batching=_quiet("17:00-07:00"))) as scene:
        async with scene.running():
            await scene.show("m1", "m2")
            await anyio.sleep(60)
        await scene.reload(worker(batching=_quiet("17:00-18:30")))
        async with scene.running():
            await anyio.sleep(60)
            held = set(scene.states("held"))
        await scene.reload(worker())
        async with scene.running():
            await anyio.sleep(1)

        assert held == {"quiet hours until 18:30 UTC"}
        assert scene.offsets() == [120, 120]


NIGHTS = [
    ("Europe/Paris", "2027-03-27", "28 07:00"),
    ("Australia/Lord_Howe", "2027-10-02", "03 07:00"),
]


@pytest.mark.parametrize(("name", "evening", "morning"), NIGHTS)
async def test_quiet_hours_end_on_time_in_nights_with_a_clock_change(
    database: Path, name: str, evening: str, morning: str
) -> None:
    zone = ZoneInfo(name)
    batching = _quiet("22:00-07:00", zone=zone, over=3)
    async with staged(database, worker(batching=batching)) as scene:
        begin = datetime.fromisoformat(f"{evening}T21:00").replace(tzinfo=zone)
        end = (begin + timedelta(hours=11)).astimezone(UTC_ZONE)
        assert begin.utcoffset() != end.astimezone(zone).utcoffset()
        scene.set_clock(begin.astimezone(UTC_ZONE))
        async with scene.running():
            n = 0
            while scene.clock.now() < end:
                await scene.show(f"m{n}")
                n += 1
                await anyio.sleep(3600)

        first, *rest = _wall(scene, zone)
        assert first == f"{begin:%d} 21:00"
        assert rest == [morning, *rest[1:]]
        assert all(at > morning for at in rest[1:])
        assert len(scene.told()[1]) == n - 1 - len(rest[1:])


# --- digests that gather ------------------------------------------------------


WINDOW = BatchingPolicy(over=10, zone=UTC_ZONE, window=30 * SECOND)
DAILY = BatchingPolicy(over=10, zone=PARIS, at=time(8))


async def test_a_digest_window_gathers_later_deliveries(
    database: Path,
) -> None:
    async with staged(database, worker(batching=WINDOW)) as scene, scene.running():
        await scene.show("m1")
        await anyio.sleep(1)
        waiting = scene.states("held")
        await anyio.sleep(19)
        await scene.show("m2")
        await anyio.sleep(9)
        await scene.show("m3")
        await anyio.sleep(2)
        await scene.show("m4")
        await anyio.sleep(60)

        assert waiting == ["gathered for a digest at 18:00 UTC"]
        assert scene.offsets() == [30, 61]
        assert scene.told() == [["m1", "m2", "m3"], ["m4"]]
        assert [one.message.digest for one in scene.sender.requests] == [True, False]


async def test_an_update_does_not_overtake_its_milestone_that_gathers_for_a_later_digest(
    database: Path,
) -> None:
    async with staged(database, worker(batching=WINDOW)) as scene:
        await scene.show("m2")
        await anyio.sleep(1)
        await scene.show("m1", title="A")
        await anyio.sleep(1)
        async with scene.running():
            await anyio.sleep(1)
            await scene.show("m1", title="B")
            await anyio.sleep(60)

    assert scene.offsets() == [30, 31]
    assert scene.told() == [["m2"], ["m1", "m1"]]
    assert _kinds(scene.sender.requests) == [["created"], ["created", "updated"]]


@pytest.mark.parametrize(
    ("batching", "leaves"),
    [(WINDOW, 61), (BatchingPolicy(over=10, zone=UTC_ZONE, at=time(18, 0, 30)), 30 + 86400)],
    ids=["window", "at"],
)
async def test_a_retried_digest_leaves_out_milestones_that_still_gather(
    database: Path, batching: BatchingPolicy, leaves: float
) -> None:
    async with staged(database, worker(batching=batching)) as scene:
        scene.sender.answers[HOOK] = in_turn(UNAVAILABLE, Sent())
        await scene.show("m2")
        async with scene.running():
            await anyio.sleep(31)
            await scene.show("m1", title="A")
            await anyio.sleep(2)
        await anyio.sleep(1)
        await scene.show("m1", title="B")
        await anyio.sleep(2)
        async with scene.running():
            await anyio.sleep(DAY.total_seconds())

    assert scene.offsets() == [30, 36, leaves]
    assert scene.told() == [["m2"], ["m2"], ["m1", "m1"]]
    assert _kinds(scene.sender.requests)[-1] == ["created", "updated"]


async def test_each_route_gathers_by_itself(database: Path) -> None:
    routes = (
        Route(name="games", match=Match(fields=(("title", ("a*",)),)), to=(HOOK,)),
        Route(name="rest", to=(HOOK,)),
    )
    slow = BatchingPolicy(over=10, zone=UTC_ZONE, window=5 * MINUTE)
    route_batching: Mapping[str, BatchingPolicy] = {"games": WINDOW, "rest": slow}
    async with (
        staged(database, worker(by_route=route_batching), routes=routes) as scene,
        scene.running(),
    ):
        await scene.show("r1", title="r")
        await scene.show("a1", title="a")
        await anyio.sleep(10)
        await scene.show("a2", title="a")
        await scene.show("r2", title="r")
        await anyio.sleep(600)

        assert scene.told() == [["a1", "a2"], ["r1", "r2"]]
        assert scene.offsets() == [30, 300]


# --- silences -----------------------------------------------------------------


async def test_a_silence_drops_what_it_matches_until_it_ends(
    database: Path,
) -> None:
    async with staged(database) as scene, scene.running():
        wish = await scene.silence(NOW + HOUR, title=["Game m*"])
        await scene.show("m1", "x1")
        await anyio.sleep(3599)
        await scene.show("m2")
        await anyio.sleep(2)
        await scene.show("m3")
        await anyio.sleep(1)

        words = f"silenced until 2026-11-22T19:00:00Z by {wish.id}: too noisy"
        assert scene.rows("milestone_id, state, reason") == [
            ("m1", "dropped", words),
            ("x1", "delivered", None),
            ("m2", "dropped", words),
            ("m3", "delivered", None),
        ]


async def test_a_net_change_silenced_in_part_is_sent_whole(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        await scene.show("m1")
        await anyio.sleep(1)
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show("m1", title="Two")
        await anyio.sleep(1)
        await scene.show("m1", title="Two", notification_message="New words")
        await anyio.sleep(7)
        await scene.silence(NOW + HOUR, changed=["notification_message"])
        scene.sender.answers.clear()
        await anyio.sleep(600)

        assert scene.states() == ["delivered", "superseded", "delivered"]
        told = scene.sender.requests[-1].message.events[0]
        assert [one.field for one in told.changes] == ["title", "notification_message"]


async def test_nothing_about_a_milestone_is_sent_after_its_removal(database: Path) -> None:
    daily = BatchingPolicy(over=10, zone=UTC_ZONE, at=time(8))
    at_once = BatchingPolicy(over=10, zone=UTC_ZONE)
    routes = (
        Route(name="daily", to=(HOOK,), match=Match(events=frozenset({Kind.CREATED}))),
        Route(name="now", to=(HOOK,), match=Match(events=frozenset({Kind.REMOVED}))),
    )
    route_batching = {"daily": daily, "now": at_once}
    async with (
        staged(database, worker(by_route=route_batching), routes=routes) as scene,
        scene.running(),
    ):
        await scene.show("m1")
        await anyio.sleep(3600)
        await scene.remove("m1")
        await anyio.sleep(DAY.total_seconds())

        assert _kinds(scene.sender.requests) == [["removed"]]
        assert scene.rows("kind, state, reason")[0] == (
            "created",
            "superseded",
            "its removal has been sent already",
        )


async def test_drain_waits_for_slow_destinations_while_others_go_on(
    database: Path,
) -> None:
    async with staged(database, worker(HOOK), worker(DESK), routes=BOTH) as scene:
        async with scene.running() as deliver, anyio.create_task_group() as tasks:
            scene.sender.takes[HOOK] = 20
            await scene.show("m1")
            await anyio.sleep(1)
            tasks.start_soon(deliver.drain, 32)
            for key in ("m2", "m3", "m4"):
                await scene.show(key)
                await anyio.sleep(1)
            assert scene.told(DESK) == [["m1"], ["m2"], ["m3"], ["m4"]]
            await anyio.sleep(30)

        assert scene.told(HOOK) == [["m1"]]
        assert scene.rows("destination, state")[2::2] == [(HOOK, "pending")] * 3


async def test_a_created_message_shows_the_milestone_as_it_is_now(database: Path) -> None:
    async with staged(database) as scene, scene.running():
        scene.sender.answers[HOOK] = always(UNAVAILABLE)
        await scene.show("m1", title="Rovers at Rangers")
        await anyio.sleep(1)
        await scene.show("m1", title="Rovers at United")
        scene.sender.answers.clear()
        await anyio.sleep(60)

        first, second = scene.sender.requests[-2:]
        assert "Rovers at United" in first.message.title
        assert first.message.events[0].title == "Rovers at Rangers"
        assert _kinds([first, second]) == [["created"], ["updated"]]
