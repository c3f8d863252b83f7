"""
The service is killed again and again while milestones come, change, move and start.

What it should have told is computed here, from the pages that the API served, by a
differ that shares nothing with the program's own.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest

from e2e.differ import Gap, Sight, content, gap, sights
from e2e.traffic import Story
from e2e.village import Api, Arrival, Life, Service, Sink, api, sink, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # whole processes

KILLS = 4
SEED = 20261122
#: Two lanes read side by side: of two answers so close together either may be
#: committed first, and the older one is then rightly not believed.
_CLOSE = timedelta(seconds=1)


# --- the deaths ---------------------------------------------------------------


async def _die(life: Life, hook: Sink, random: Random) -> None:
    """Live for a while, and then no longer."""
    how = random.choice(("young", "at work", "at work", "with a message under way"))
    if how == "young":
        await anyio.sleep(random.uniform(0.1, 1.0))
    else:
        await life.started()
        await anyio.sleep(random.uniform(0.1, 1.3))
    if how == "with a message under way":
        before = len(hook.arrivals())
        with anyio.move_on_after(2):
            await _arrival(hook, before)
    await life.kill()


async def _arrival(hook: Sink, before: int) -> None:
    while len(hook.arrivals()) == before:  # noqa: ASYNC110 - from another process
        await anyio.sleep(0.002)


async def _requests_until_now(kalshi: Api) -> int:
    """Its requests, the last ones of a process that has just died included."""
    before = -1
    while before != (now := await kalshi.requests()):
        before = now
        await anyio.sleep(0.05)
    return now


async def _live_and_die(service: Service, kalshi: Api, hook: Sink) -> list[int]:
    """The numbers of the requests at which the process died."""
    random = Random(SEED)
    deaths = []
    for _ in range(KILLS):
        async with service.life() as life:
            await _die(life, hook, random)
            deaths.append(await _requests_until_now(kalshi))
            assert "Traceback" not in life.said
    return deaths


async def _become_quiet(service: Service, kalshi: Api) -> None:
    """Wait until everything was read, every start has passed, all is told."""
    seen = datetime.now(UTC)
    lanes: set[str] = set()
    with anyio.fail_after(60):
        while lanes != {"poll", "sweep"}:
            await anyio.sleep(0.2)
            lanes = {page.lane for page in (await kalshi.pages())[-20:] if page.at > seen}
    await until(
        lambda: not _open(service) and all(at > datetime.now(UTC) for at in _timers(service))
    )


def _timers(service: Service) -> list[datetime]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    rows = service.store.ask("SELECT fire_at FROM timers")
    return [epoch + timedelta(microseconds=at) for (at,) in rows]


def _open(service: Service) -> int:
    states = service.store.states()
    return states.get("pending", 0) + states.get("leased", 0)


# --- the test -----------------------------------------------------------------


async def test_however_often_it_is_killed_nothing_is_lost_and_nothing_told_twice(
    tmp_path: Path,
) -> None:
    async with api(tmp_path) as kalshi, sink(tmp_path) as hook:
        service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
        story = Story(kalshi, Random(SEED), service.store.has)
        await story.open()
        async with service.life() as life:
            await until(service.store.is_baselined)
            await life.kill()
        assert service.store.events() == []
        baseline = await _requests_until_now(kalshi)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(story.go_on)
            deaths = [baseline, *await _live_and_die(service, kalshi, hook)]
            tasks.cancel_scope.cancel()
        async with service.life() as life:
            await life.started()
            await until(
                lambda: all(
                    datetime.fromisoformat(at) < datetime.now(UTC) for at in story.near.values()
                )
            )
            await _become_quiet(service, kalshi)
            assert await life.stop() == 0
        pages = await kalshi.pages()

    events, arrivals = service.store.events(), hook.arrivals()
    assert len(events) > 10
    assert service.store.ask("PRAGMA integrity_check") == [("ok",)]
    _assert_every_change_is_one_event(sights(pages, deaths), events)
    _assert_every_start_is_told_once(story, events)
    _assert_everything_owed_is_accounted_for(service, events)
    _assert_everything_arrived(service, events, arrivals)
    _assert_only_messages_under_way_were_repeated(arrivals, kills=len(deaths))


def _assert_every_change_is_one_event(
    shown: Mapping[str, Sequence[Sight]], events: Sequence[Mapping[str, Any]]
) -> None:
    told: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if event["kind"] in {"created", "updated"}:
            told[event["milestone_id"]].append(content(event["milestone"]))
    assert told.keys() <= shown.keys()
    for key, seen in shown.items():
        found = gap(seen, told[key], is_known=key.startswith("old-"))
        assert found == Gap(lost=0, spurious=0), (key, told[key], seen)


def _assert_every_start_is_told_once(story: Story, events: Sequence[Mapping[str, Any]]) -> None:
    started = [
        (event["milestone_id"], event["at"]) for event in events if event["kind"] == "started"
    ]
    assert sorted(started) == sorted(story.near.items())
    assert story.near
    assert not [event for event in events if event["missed"]]


def _assert_everything_owed_is_accounted_for(
    service: Service, events: Sequence[Mapping[str, Any]]
) -> None:
    rows = service.store.ask("SELECT event_id, destination, state FROM deliveries")
    assert Counter(key for key, _, _ in rows) == Counter(e["event_id"] for e in events)
    assert {state for _, _, state in rows} <= {"delivered", "superseded", "expired"}


def _assert_everything_arrived(
    service: Service,
    events: Sequence[Mapping[str, Any]],
    arrivals: Sequence[Arrival],
) -> None:
    rows = service.store.ask("SELECT event_id FROM deliveries WHERE state = 'delivered'")
    arrived = {key for arrival in arrivals for key in arrival.event_ids}
    assert {key for (key,) in rows} <= arrived
    assert arrived <= {event["event_id"] for event in events}
    assert all(arrival.genuine for arrival in arrivals)


def _assert_only_messages_under_way_were_repeated(
    arrivals: Sequence[Arrival], *, kills: int
) -> None:
    members: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    messages: dict[str, set[str]] = defaultdict(set)
    for arrival in arrivals:
        members[arrival.message_id].add(arrival.event_ids)
        for key in arrival.event_ids:
            messages[key].add(arrival.message_id)
    assert all(len(told) == 1 for told in members.values())
    assert all(len(ids) == 1 for ids in messages.values())
    assert len(arrivals) - len(members) <= kills
    early = [
        event
        for arrival in arrivals
        for event in arrival.events
        if event["type"].endswith("started") and arrival.at < datetime.fromisoformat(event["time"])
    ]
    assert early == []
