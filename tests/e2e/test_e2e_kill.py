"""
The service is killed again and again while milestones come, change, move and start.

What it should have told is computed here, from the pages that the API served, by a
differ that shares nothing with the program's own.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from village import Api, Arrival, Life, Page, Service, Sink, api, sink, soon, until

from notifier.core.model import Json
from notifier.demo.population import milestone

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

KILLS = 8
SEED = 20261122
#: Two lanes read side by side: of two answers so close together either may be
#: committed first, and the older one is then rightly not believed.
_CLOSE = timedelta(seconds=1)


# --- what happens at the API --------------------------------------------------


@dataclass
class Story:
    """Seeded changes of the list, as fast as the API takes them."""

    api: Api
    random: Random
    #: Whether the service has read that milestone before.
    is_known: Callable[[str], bool]
    #: Never updated since hours: only sweeps show what happens to these.
    quiet: list[str] = field(default_factory=list)
    lively: list[str] = field(default_factory=list)
    #: Starts that were moved so near that they will come within the story.
    near: dict[str, str] = field(default_factory=dict)
    told: int = 0

    async def open(self) -> None:
        """What is there before anybody looks."""
        long_ago = soon(datetime.now(UTC), -6 * 3600)
        for n in range(40):
            key = f"old-{n:02d}"
            await self.api.tell("add", **self._game(key, last_updated_ts=long_ago))
            self.quiet.append(key)

    async def go_on(self) -> None:
        """One thing after another, until cancelled."""
        while True:
            await anyio.sleep(self.random.uniform(0.02, 0.2))
            with anyio.CancelScope(shield=True):
                await self._happen()

    async def _happen(self) -> None:
        self.told += 1
        what = self.random.choices(
            ("add", "burst", "update", "touch", "move", "start", "silent"),
            (4, 0.5, 8, 3, 2, 2, 2),
        )[0]
        if what in {"add", "burst"} or not self.lively:
            for _ in range(14 if what == "burst" else 1):
                await self._add()
        elif what == "silent":
            await self._tell(
                "change_without_bump", self.quiet, fields={"title": self._text()}
            )
        elif what == "update":
            fields = {"title": self._text(), "details": {"round": self._text()}}
            await self._tell("update", self.lively, fields=fields)
        elif what == "touch":
            await self._tell("touch", self.lively)
        elif what == "move":
            start = soon(datetime.now(UTC), self.random.randrange(7200, 90_000))
            await self._tell("move_start", self.lively, start=start)
        else:
            await self._bring_near()

    async def _add(self) -> None:
        key = f"new-{self.told}-{len(self.lively):03d}"
        await self.api.tell("add", **self._game(key))
        self.lively.append(key)

    async def _tell(self, what: str, keys: Sequence[str], **more: Any) -> None:
        await self.api.tell(what, id=self.random.choice(keys), **more)

    async def _bring_near(self) -> None:
        """
        Move a start so near that it comes soon; it is left alone from then on.

        One that is known: a start that is past when it is first seen is not told.
        """
        key = self.random.choice(self.lively)
        if not self.is_known(key):
            return
        self.lively.remove(key)
        start = soon(datetime.now(UTC), 4)
        await self.api.tell("move_start", id=key, start=start)
        self.near[key] = start

    def _game(self, key: str, **more: Json) -> dict[str, Json]:
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        return milestone(
            milestone_id=key,
            title=self._text(),
            start=start,
            tickers=("KXNFLGAME-A", "KXNFLGAME-B"),
            **more,
        )

    def _text(self) -> str:
        return f"Game {self.random.getrandbits(64):016x}"


# --- what should follow from it -----------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One milestone on one page that was served."""

    at: datetime
    lane: str
    content: str
    start: str
    #: Nobody can tell whether the page was committed before the process died.
    maybe: bool


def _content(row: Mapping[str, Json]) -> str:
    kept = {
        key: sorted(map(str, value)) if isinstance(value, list) else value
        for key, value in row.items()
        if key != "last_updated_ts" and value is not None
    }
    return json.dumps(kept, sort_keys=True)


def _sights(pages: Sequence[Page], deaths: Sequence[int]) -> dict[str, list[Sight]]:
    """By milestone: what was shown of it, in the order of the API."""
    uncertain = {number for at in deaths for number in _last_of_lanes(pages, at)}
    found: dict[str, list[Sight]] = defaultdict(list)
    for page in pages:
        for row in page.rows:
            found[str(row["id"])].append(
                Sight(
                    at=page.at,
                    lane=page.lane,
                    content=_content(row),
                    start=str(row["start_date"]),
                    maybe=page.number in uncertain,
                )
            )
    return found


def _last_of_lanes(pages: Sequence[Page], death: int) -> Iterator[int]:
    """The pages that each lane was on when the process died."""
    for lane in ("poll", "sweep"):
        served = [p.number for p in pages if p.lane == lane and p.number <= death]
        yield from served[-1:]


def _is_overtaken(sight: Sight, later: Sequence[Sight]) -> bool:
    return any(
        other.lane != sight.lane
        and other.content != sight.content
        and other.at - sight.at <= _CLOSE
        for other in later
    )


def _explains(sights: Sequence[Sight], chain: Sequence[str]) -> bool:
    """Whether a differ that saw these could have told exactly this chain."""
    reached = {0} if chain and sights[0].content == chain[0] else set()
    for n, sight in enumerate(sights):
        may_skip = sight.maybe or _is_overtaken(sight, sights[n + 1 : n + 40])
        following: set[int] = set()
        for at in reached:
            if sight.content == chain[at]:
                following.add(at)
            elif at + 1 < len(chain) and chain[at + 1] == sight.content:
                following.add(at + 1)
            if may_skip:
                following.add(at)
        reached = following
    return len(chain) - 1 in reached


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
            lanes = {
                page.lane for page in (await kalshi.pages())[-20:] if page.at > seen
            }
    await until(
        lambda: (
            not _open(service)
            and all(at > datetime.now(UTC) for at in _timers(service))
        )
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
                    datetime.fromisoformat(at) < datetime.now(UTC)
                    for at in story.near.values()
                )
            )
            await _become_quiet(service, kalshi)
            assert await life.stop() == 0
        pages = await kalshi.pages()

    events, arrivals = service.store.events(), hook.arrivals()
    assert len(events) > 20
    assert service.store.ask("PRAGMA integrity_check") == [("ok",)]
    _assert_every_change_is_one_event(_sights(pages, deaths), events)
    _assert_every_start_is_told_once(story, events)
    _assert_everything_owed_is_accounted_for(service, events)
    _assert_everything_arrived(service, events, arrivals)
    _assert_only_messages_under_way_were_repeated(arrivals, kills=len(deaths))


def _assert_every_change_is_one_event(
    sights: Mapping[str, Sequence[Sight]], events: Sequence[Mapping[str, Any]]
) -> None:
    told: dict[str, list[str]] = defaultdict(list)
    for event in events:
        if event["kind"] in {"created", "updated"}:
            told[event["milestone_id"]].append(_content(event["milestone"]))
    assert told.keys() <= sights.keys()
    for key, seen in sights.items():
        is_old = key.startswith("old-")
        chain = [seen[0].content, *told[key]] if is_old else told[key]
        if not chain:
            assert all(sight.maybe for sight in seen), key
        else:
            first = next(n for n, s in enumerate(seen) if s.content == chain[0])
            assert all(sight.maybe for sight in seen[:first]), key
            assert _explains(seen[first:], chain), (key, chain, seen)


def _assert_every_start_is_told_once(
    story: Story, events: Sequence[Mapping[str, Any]]
) -> None:
    started = [
        (event["milestone_id"], event["at"])
        for event in events
        if event["kind"] == "started"
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
    rows = service.store.ask(
        "SELECT event_id FROM deliveries WHERE state = 'delivered'"
    )
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
        if event["type"].endswith("started")
        and arrival.at < datetime.fromisoformat(event["time"])
    ]
    assert early == []
