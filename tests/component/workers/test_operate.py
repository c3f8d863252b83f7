"""The operator is told what is wrong, in simulated time: real store, stub far ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import pytest
from simulated import SimulatedClock, backend
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
from structlog.testing import capture_logs

from notifier.domain.incidents import OperatorPolicy
from notifier.domain.models import (
    Ambiguous,
    Failed,
    Format,
    Limits,
    Outcome,
    Refused,
    Rendered,
    Scope,
    Sent,
)
from notifier.domain.pagination import DeadFilter
from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Rate
from notifier.kalshi.decoding import BadRow
from notifier.storage import destination_state, incidents, milestones
from notifier.storage.database import Priority
from notifier.storage.dead_letters import redrive
from notifier.workers.monitor import Operate, Post

pytestmark = pytest.mark.anyio

OPS, DESK = "ops", "desk"
NEW_YORK = ZoneInfo("America/New_York")
#: 03:02 on a Thursday in New York.
MAINTENANCE = datetime(2026, 11, 26, 8, 2, tzinfo=NOW.tzinfo)
UNAVAILABLE = "503 Service Unavailable"
Answer = Callable[[Rendered], Outcome]
_HOUR_US = 3600 * 10**6


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One attempt as the far end saw it."""

    at: datetime
    destination: str
    message: Rendered

    @property
    def title(self) -> str:
        return self.message.title


@dataclass
class StubSender:
    """Far ends that do as they are told."""

    clock: SimulatedClock
    answers: dict[str, Answer] = field(default_factory=dict)
    takes: dict[str, float] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    format: Format = Format.TEXT

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del delivered_to
        self.requests.append(Request(at=self.clock.now(), destination=destination, message=message))
        await anyio.sleep(self.takes.get(destination, 0))
        answer = self.answers.get(destination)
        return Sent() if answer is None else answer(message)

    def limits(self, destination: str) -> Limits:
        del destination
        return Limits(format=self.format, title=250, body=30_000)


@dataclass
class StubKalshi:
    """What Kalshi says of itself."""

    says: str = "active"
    takes: float = 0
    asked: int = 0

    async def exchange_status(self) -> str:
        self.asked += 1
        await anyio.sleep(self.takes)
        return self.says


class Scene:
    """One store whose operator is told what is wrong."""

    def __init__(
        self, shelf: Shelf, database: Path, *, to: tuple[str, ...], rate: Rate | None
    ) -> None:
        self.shelf = shelf
        self.database = database
        self.clock = SimulatedClock()
        self.sender = StubSender(self.clock)
        self.kalshi = StubKalshi()
        self.to = to
        self.rate = rate
        self.drop_ambiguous = False
        self.pulses = 0

    def operate(self) -> Operate:
        return Operate(
            db=self.shelf.store,
            source=self.kalshi,
            sender=self.sender,
            clock=self.clock,
            posts={
                name: Post(zone=NEW_YORK, rate=self.rate, drop_ambiguous=self.drop_ambiguous)
                for name in (HOOK, OPS, DESK)
            },
            policy=OperatorPolicy(to=self.to, poll_every=30 * SECOND, full_read_every=HOUR),
            heartbeat=self._pulse,
        )

    def _pulse(self, _loop: str) -> None:
        self.pulses += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loop, from a start to an end."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.operate().run)
            yield
            tasks.cancel_scope.cancel()

    def told(self, destination: str = OPS) -> list[str]:
        """Titles, in the order in which they came."""
        return [r.title for r in self.sender.requests if r.destination == destination]

    def body(self) -> str:
        """The last message's."""
        return self.sender.requests[-1].message.body

    def ask(self, text: str, *values: object) -> list[Any]:
        return ask(self.database, text, *values)

    def stands(self, name: str, **columns: datetime | int | str | None) -> None:
        """Let a destination stand so."""
        sets = ", ".join(f"{column} = ?" for column in columns)
        values = [_micros(v) if isinstance(v, datetime) else v for v in columns.values()]
        with sql(self.database) as run:
            run(f"UPDATE destinations SET {sets} WHERE name = ?", *values, name)

    def takes_one(self, name: str, outcome: str = "sent") -> None:
        """Let a destination take a delivery's message, or not."""
        now = _micros(self.clock.now())
        with sql(self.database) as run:
            run(
                "INSERT INTO attempts (message_id, destination, n, members, started_at,"
                " ended_at, outcome) VALUES ('msg_1', ?, 1, 1, ?, ?, ?)",
                *(name, now, now, outcome),
            )

    async def fails_to_read(self, times: int = 1, error: str = UNAVAILABLE) -> None:
        """Reads that break off, ten seconds apart."""
        for _ in range(times):
            await self.read(error=error)
            await anyio.sleep(10)

    async def read(self, error: str | None = None, kind: ReadKind = ReadKind.POLL) -> None:
        now = self.clock.now()
        end = self.shelf.end(_micros(now), kind=kind, now=now, error=error)
        async with self.shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(milestones.end_read, end)

    async def show(self, milestone_id: str, **fields: Any) -> None:
        """A read that brings this milestone."""
        now = self.clock.now()
        one = row(milestone_id, last_updated_ts=stamp(now), **fields)
        await self.shelf.show(one, now=now, read_id=_micros(now))


def _micros(when: datetime) -> int:
    return (when - datetime.fromtimestamp(0, when.tzinfo)) // timedelta(microseconds=1)


@asynccontextmanager
async def _scene(
    database: Path,
    *,
    to: tuple[str, ...] = (OPS,),
    rate: Rate | None = None,
    at: datetime = NOW,
) -> AsyncIterator[Scene]:
    async with opened(database) as store:
        shelf = await stocked(store)
        async with store.turn(Priority.MAINTENANCE) as turn:
            names = dict.fromkeys((HOOK, OPS, DESK), "fingerprint")
            await turn.write(destination_state.set_destinations, names, NOW)
        scene = Scene(shelf, database, to=to, rate=rate)
        scene.clock.correct(at - NOW)
        await scene.read()
        await anyio.sleep(1)
        yield scene


def _always(outcome: Outcome) -> Answer:
    return lambda _message: outcome


# --- Kalshi -------------------------------------------------------------------


async def test_kalshis_outage_is_told_once_and_so_is_its_end(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        await scene.fails_to_read(20)
        assert scene.told() == ["Kalshi cannot be read"]

        await scene.show("m1")
        await anyio.sleep(10)
        await scene.read()
        await anyio.sleep(3600)

        assert scene.told() == ["Kalshi cannot be read", "Kalshi answers again"]
        assert "after 3 min" in scene.body()
        assert "Found meanwhile: 1 created." in scene.body()


async def test_a_few_failures_that_pass_are_told_to_nobody(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        for _ in range(10):
            await scene.fails_to_read(8)
            await scene.read()

        assert scene.told() == []
        assert scene.kalshi.asked == 0


async def test_two_failures_are_not_enough_however_long_they_last(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        await scene.fails_to_read(2)
        await anyio.sleep(3600)
        assert scene.told() == []

        await scene.fails_to_read(1)
        assert scene.told() == ["Kalshi cannot be read"]


async def test_an_outage_that_comes_and_goes_is_told_once(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        for _ in range(10):
            await scene.fails_to_read(17)
            await scene.read()
            await anyio.sleep(10)
        assert scene.told() == ["Kalshi cannot be read"]

        await anyio.sleep(3600)
        assert scene.told()[1:] == ["Kalshi answers again"]
        # Until the first read that was followed by no failure.
        assert "after 30 min" in scene.body()


async def test_a_refusal_is_told_at_once(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        await scene.read(error="401 Unauthorized: no such key")
        await anyio.sleep(6)

        assert scene.told() == ["Kalshi refuses to be read"]
        assert "401 Unauthorized: no such key" in scene.body()
        assert "source.api_key" in scene.body()


async def test_thursdays_maintenance_is_named_as_such(database: Path) -> None:
    async with _scene(database, at=MAINTENANCE) as scene, scene.running():
        scene.kalshi.says = "maintenance"
        await scene.fails_to_read(13)

        assert scene.kalshi.asked == 1
        assert scene.body() == (
            f"Kalshi cannot be read since 03:02 EST (2 min): {UNAVAILABLE}.\n"
            "Kalshi says that its exchange is paused: probably its Thursday "
            "maintenance, usually over by 05:00 New York time.\n"
            "What changes meanwhile is told once it answers; starts and reminders go "
            "out all the same."
        )


async def test_a_kalshi_that_does_not_say_how_it_is_holds_nothing_up(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.kalshi.takes = 10**6
        await scene.fails_to_read(20)

        assert scene.told() == ["Kalshi cannot be read"]
        assert "exchange" not in scene.body()


async def test_an_outage_outlives_restarts_without_being_told_again(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        for _ in range(3):
            async with scene.running():
                await scene.fails_to_read(15)
        async with scene.running():
            await anyio.sleep(60)
            assert scene.told() == ["Kalshi cannot be read"]

            await scene.read()
            await anyio.sleep(130)
            assert scene.told()[1:] == ["Kalshi answers again"]


async def test_only_the_watch_that_fails_is_named(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        async with scene.shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(milestones.set_watches, [scene.shelf.watch.name, "category=Sports"])
        await scene.fails_to_read(13)

        assert scene.told() == ["Kalshi cannot be read in part"]
        assert f"for {scene.shelf.watch.name} since" in scene.body()


async def test_starts_during_an_outage_are_counted_at_its_end(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        for n in range(2):
            await scene.show(f"m{n}", start_date=stamp(NOW + 2 * MINUTE))
            await anyio.sleep(1)
        await scene.fails_to_read(11)
        await anyio.sleep((NOW + 2 * MINUTE - scene.clock.now()).total_seconds())
        await scene.shelf.ring(now=scene.clock.now())
        await scene.fails_to_read(5)
        await scene.read()
        await anyio.sleep(130)

        assert scene.told()[-1] == "Kalshi answers again"
        assert "2 starts were announced on time." in scene.body()


# --- destinations -------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "raised", "cleared"),
    [
        pytest.param(
            {"suspended_since": NOW, "reason": "401 Unauthorized"},
            "hook is suspended",
            "hook is back",
            id="suspended",
        ),
        pytest.param(
            {"suspended_since": NOW, "gone": 1, "reason": "410 Gone"},
            "hook is gone",
            "hook is back",
            id="gone",
        ),
        pytest.param(
            {"open_since": NOW - 6 * MINUTE, "failures": 9, "reason": "no connection"},
            "hook fails",
            "hook works again",
            id="breaker",
        ),
    ],
)
async def test_a_destination_in_trouble_is_told_through_the_others(
    database: Path, columns: dict[str, Any], raised: str, cleared: str
) -> None:
    async with _scene(database, to=(HOOK, OPS, DESK)) as scene, scene.running():
        scene.stands(HOOK, **columns)
        await anyio.sleep(3600)
        assert scene.told(OPS) == scene.told(DESK) == [raised]
        assert columns["reason"] in scene.body()

        scene.takes_one(HOOK)
        scene.stands(HOOK, **dict.fromkeys(columns) | {"gone": 0, "failures": 0})
        await anyio.sleep(3600)
        assert scene.told(OPS) == scene.told(DESK) == [raised, cleared]
        assert scene.told(HOOK) == []


async def test_a_breaker_that_closes_within_minutes_is_nobodys_matter(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.stands(HOOK, open_since=scene.clock.now())
        await anyio.sleep(290)
        scene.stands(HOOK, open_since=None)
        await anyio.sleep(3600)

        assert scene.told() == []


async def test_a_destination_that_fails_on_and_off_is_told_once(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        for _ in range(5):
            scene.stands(HOOK, open_since=scene.clock.now(), reason="503")
            await anyio.sleep(360)
            scene.takes_one(HOOK, outcome="failed")
            await anyio.sleep(1)
            scene.takes_one(HOOK)
            scene.stands(HOOK, open_since=None, reason=None)
            await anyio.sleep(40)
            assert scene.told() == ["hook fails"]
        await anyio.sleep(30)

        assert scene.told()[1:] == ["hook works again"]


async def test_a_suspension_that_turns_out_to_be_for_good_is_not_called_over(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(60)
        scene.stands(HOOK, gone=1)
        await anyio.sleep(60)
        scene.stands(HOOK, gone=0, suspended_since=None)
        await anyio.sleep(60)

        assert scene.told() == ["hook is suspended", "hook is gone", "hook is back"]
        assert "notifier resume hook" in scene.sender.requests[1].message.body


@pytest.mark.parametrize("to", [(), (HOOK,)], ids=["nobody", "only the broken one"])
async def test_what_nobody_can_be_told_is_an_error_in_the_log(
    database: Path, to: tuple[str, ...]
) -> None:
    async with _scene(database, to=to) as scene:
        with capture_logs() as lines:
            async with scene.running():
                scene.stands(HOOK, suspended_since=NOW)
                await anyio.sleep(600)

    errors = [line for line in lines if line["log_level"] == "error"]
    assert [(e["event"], e["condition"]) for e in errors] == [("operator.untold", "suspended:hook")]
    assert scene.sender.requests == []
    assert scene.ask("SELECT key FROM conditions") == [("suspended:hook",)]


async def test_an_operators_own_destination_that_fails_is_told_through_another(
    database: Path,
) -> None:
    async with _scene(database, to=(OPS, DESK)) as scene, scene.running():
        scene.sender.answers[OPS] = _always(Failed(reason="no connection"))
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(600)

        assert scene.told(DESK) == ["hook is suspended", "ops fails"]


async def test_one_that_merely_has_nothing_more_to_try_is_not_said_to_work(
    database: Path,
) -> None:
    async with _scene(database, to=(OPS, DESK)) as scene, scene.running():
        scene.sender.answers[OPS] = _always(Failed(reason="no connection"))
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(120)
        with sql(database) as run:
            run("UPDATE notices SET state = 'dead' WHERE destination = 'ops'")
        await anyio.sleep(120)
        assert scene.told(DESK) == ["hook is suspended", "ops fails"]
        assert scene.ask("SELECT key FROM conditions") == [("suspended:hook",)]

        scene.clock.off = 9 * SECOND
        await anyio.sleep(120)
        scene.sender.answers.clear()
        await anyio.sleep(600)
        assert scene.told(DESK)[2:] == [
            "This machine's clock is 9 s slow",
            "ops fails",
            "ops works again",
        ]


# --- who is broken hears later ------------------------------------------------


async def test_a_broken_operator_gets_nothing_and_hears_of_it_afterwards(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        await scene.shelf.show(row("m1"), now=scene.clock.now())
        with sql(database) as run:
            run("UPDATE deliveries SET destination = ?", OPS)
        scene.stands(OPS, suspended_since=NOW, paused_until=NOW + MINUTE)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(3600)
        assert scene.told() == []

        scene.stands(OPS, suspended_since=None, paused_until=None)
        await anyio.sleep(6)
        assert scene.told() == ["hook is suspended"]


@pytest.mark.parametrize(
    ("lasts", "told"),
    [
        pytest.param(30 * 60, [], id="short"),
        pytest.param(90 * 60, ["Over: hook was suspended"], id="long"),
    ],
)
async def test_what_is_over_before_it_could_be_told_is_told_only_if_it_was_long(
    database: Path, lasts: int, told: list[str]
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.stands(OPS, gone=1)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(lasts)
        scene.stands(HOOK, suspended_since=None)
        await anyio.sleep(60)
        scene.stands(OPS, gone=0)
        await anyio.sleep(60)

        assert scene.told() == told
        if told:
            assert "from 13:00 to 14:30 EST (1 h 30 min)" in scene.body()


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        pytest.param(Failed(reason="500", status=500), [], id="surely not arrived"),
        pytest.param(Ambiguous(reason="no answer"), ["Over: hook was suspended"], id="unsure"),
    ],
)
async def test_what_surely_did_not_arrive_is_not_called_over(
    database: Path, outcome: Outcome, told: list[str]
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.sender.answers[OPS] = _always(outcome)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(240)
        tried = len(scene.told())
        scene.sender.answers.clear()
        scene.stands(HOOK, suspended_since=None)
        await anyio.sleep(3600)

        assert tried > 1
        assert scene.told()[tried:] == told


async def test_the_numbers_are_those_of_the_time_at_which_it_is_sent(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.stands(OPS, paused_until=NOW + HOUR)
        await _dies(scene, "m1", "m2")
        scene.stands(DESK, suspended_since=NOW, reason="401 Unauthorized")
        await anyio.sleep(60)
        await _dies(scene, *(f"m{n}" for n in range(3, 9)))
        await scene.show("m9")
        with sql(database) as run:
            run("UPDATE deliveries SET destination = 'desk' WHERE state = 'pending'")
        await anyio.sleep(3600)

        assert set(scene.told()) == {"hook: 8 dead letters", "desk is suspended"}
        [desk] = [r for r in scene.sender.requests if r.title == "desk is suspended"]
        assert "1 delivery waits" in desk.message.body


async def test_where_nothing_else_is_due_a_notice_is_the_probe(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        paused = {"paused_until": NOW + 10 * MINUTE, "open_since": NOW}
        scene.stands(OPS, **paused)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(590)
        assert scene.told() == []

        await anyio.sleep(20)
        assert scene.told() == ["hook is suspended"]
        assert scene.ask(
            "SELECT open_since, paused_until FROM destinations WHERE name = 'ops'"
        ) == [(None, None)]


async def test_a_notice_that_ends_a_suspension_ends_it_for_what_waited(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await scene.shelf.show(row("m1"), now=NOW)
        long_ago, later = _micros(NOW - 3 * DAY), _micros(NOW + 5 * DAY)
        with sql(database) as run:
            run(
                "UPDATE deliveries SET destination = ?, attempts = 1, born_at = ?, due_at = ?",
                *(OPS, long_ago, later),
            )
        scene.stands(OPS, suspended_since=NOW - 2 * DAY, paused_until=NOW, probes=3)
        scene.stands(HOOK, suspended_since=NOW)
        async with scene.running():
            await anyio.sleep(6)

        assert scene.told() == ["hook is suspended"]
        [[born_at, due_at]] = scene.ask("SELECT born_at, due_at FROM deliveries")
        # A day had passed before the suspension began.
        assert 0 <= born_at - (_micros(NOW) - 24 * _HOUR_US) < 10**7
        assert due_at <= _micros(scene.clock.now())


async def test_a_pause_that_was_asked_for_meanwhile_stays(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        scene.sender.takes[OPS] = 10
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(8)
        scene.stands(OPS, paused_until=NOW + HOUR)
        await anyio.sleep(10)

        assert scene.ask("SELECT state FROM notices") == [("delivered",)]
        assert scene.ask("SELECT paused_until FROM destinations WHERE name='ops'") == [
            (_micros(NOW + HOUR),)
        ]


async def test_a_destination_that_asks_a_notice_for_patience_is_left_alone(
    database: Path,
) -> None:
    hint = Failed(reason="429", status=429, retry_after=10 * MINUTE)
    async with _scene(database) as scene, scene.running():
        scene.sender.answers[OPS] = _always(hint)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(6)

        [request] = scene.sender.requests
        assert scene.ask("SELECT paused_until FROM destinations WHERE name='ops'") == [
            (_micros(request.at + 10 * MINUTE),)
        ]


# --- sending ------------------------------------------------------------------


async def test_a_stop_lets_a_notice_that_is_on_its_way_arrive(database: Path) -> None:
    async with _scene(database) as scene:
        scene.sender.takes[OPS] = 10
        scene.clock.off = 9 * SECOND
        for _ in range(3):
            async with scene.running():
                scene.stands(HOOK, suspended_since=NOW)
                await anyio.sleep(8)
            if not scene.ask("SELECT 1 FROM notices WHERE state = 'pending'"):
                break
        ids = [request.message.message_id for request in scene.sender.requests]

        assert len(ids) == len(set(ids)) == 2
        assert scene.ask("SELECT DISTINCT state FROM notices") == [("delivered",)]


async def test_a_stop_waits_no_longer_than_it_may(database: Path) -> None:
    async with _scene(database) as scene:
        scene.sender.takes[OPS] = 10**6
        scene.stands(HOOK, suspended_since=NOW)
        async with scene.running():
            await anyio.sleep(100)
            stopped = scene.clock.now()

        assert (scene.clock.now() - stopped).total_seconds() == pytest.approx(18)


async def test_where_nothing_may_be_repeated_an_unsure_notice_is_not(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        scene.drop_ambiguous = True
        scene.sender.answers[OPS] = _always(Ambiguous(reason="no answer"))
        scene.stands(HOOK, suspended_since=NOW)
        async with scene.running():
            await anyio.sleep(86_400)

        assert scene.told() == ["hook is suspended"]
        assert scene.ask("SELECT state, reason FROM notices") == [
            ("dead", "it may have arrived: no answer")
        ]


async def test_a_notice_that_fails_is_tried_again_and_then_without_markup(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        scene.sender.format = Format.MARKDOWN
        refused = Refused(reason="400 Bad Request", scope=Scope.MESSAGE)
        scene.sender.answers[OPS] = _always(refused)
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(3)
        scene.sender.answers.clear()
        await anyio.sleep(3600)

        first, second = scene.sender.requests
        assert first.message.message_id == second.message.message_id
        assert first.message.message_id.startswith("ntc_")
        formats = [first.message.format, second.message.format]
        assert formats == [Format.MARKDOWN, Format.TEXT]
        assert 5 <= (second.at - first.at).total_seconds() <= 15


async def test_a_notice_is_given_up_after_three_days(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        scene.sender.answers[OPS] = _always(Failed(reason="no connection"))
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(600)
        with sql(database) as run:
            run("UPDATE notices SET born_at = born_at - ?, due_at = 0", 72 * _HOUR_US)
        await anyio.sleep(600)

        assert scene.ask("SELECT state, reason FROM notices") == [("dead", "no connection")]


async def test_no_window_of_the_rate_sees_more_whoever_sends(database: Path) -> None:
    rate = Rate(count=2, per=MINUTE)
    async with _scene(database, rate=rate) as scene, scene.running():
        scene.takes_one(OPS)
        scene.stands(HOOK, suspended_since=NOW)
        scene.stands(DESK, suspended_since=NOW)
        scene.clock.off = 9 * SECOND
        await anyio.sleep(600)

        sent = [request.at for request in scene.sender.requests]
        assert len(sent) == 3
        assert sent[1] - NOW > MINUTE
        assert sent[2] - sent[0] > MINUTE
        assert scene.ask(
            "SELECT count(*) FROM attempts WHERE message_id LIKE 'ntc_%' AND outcome = 'sent'"
        ) == [(3,)]


async def test_a_slow_destination_delays_neither_others_nor_the_looking(
    database: Path,
) -> None:
    async with _scene(database, to=(OPS, DESK)) as scene, scene.running():
        scene.sender.takes[DESK] = 30
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(12)
        scene.clock.off = 9 * SECOND
        await anyio.sleep(6)

        assert scene.told(OPS) == [
            "hook is suspended",
            "This machine's clock is 9 s slow",
        ]


async def test_a_crash_while_sending_repeats_the_same_notice_and_no_other(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        async with scene.running():
            # Longer than a stop waits for it.
            scene.sender.takes[OPS] = 30
            scene.stands(HOOK, suspended_since=NOW)
            await anyio.sleep(12)
        scene.sender.takes.clear()
        async with scene.running():
            await anyio.sleep(3600)

        ids = [request.message.message_id for request in scene.sender.requests]
        assert len(ids) == 2
        assert len(set(ids)) == 1


async def test_what_was_stored_before_a_crash_is_sent_after_it(database: Path) -> None:
    async with _scene(database) as scene:
        scene.stands(OPS, gone=1)
        async with scene.running():
            scene.stands(HOOK, suspended_since=NOW)
            await anyio.sleep(12)
        scene.stands(OPS, gone=0)
        async with scene.running():
            await anyio.sleep(60)

        assert scene.told() == ["hook is suspended"]


async def test_a_bug_ends_neither_the_loop_nor_the_notice(database: Path) -> None:
    def broken(_message: Rendered) -> Outcome:
        raise ZeroDivisionError

    async with _scene(database) as scene:
        with capture_logs() as lines:
            async with scene.running():
                scene.sender.answers[OPS] = broken
                scene.stands(HOOK, suspended_since=NOW)
                await anyio.sleep(3)
                scene.sender.answers.clear()
                await anyio.sleep(600)
                pulses = scene.pulses
                await anyio.sleep(60)

        assert scene.told() == ["hook is suspended"] * 2
        assert scene.pulses > pulses
    assert [one["event"] for one in lines if one["log_level"] == "error"] == ["notice.broken"]


async def test_a_webhook_gets_an_event_for_machines(database: Path) -> None:
    async with _scene(database) as scene, scene.running():
        scene.stands(HOOK, suspended_since=NOW)
        await anyio.sleep(6)
        scene.stands(HOOK, suspended_since=None)
        await anyio.sleep(6)

        events = [one.message.events[0] for one in scene.sender.requests]
        assert [(event.type, event.subject) for event in events] == [
            ("notifier.operator.raised", "suspended:hook"),
            ("notifier.operator.cleared", "suspended:hook"),
        ]
        assert {event.since for event in events} == {NOW}


# --- the rest -----------------------------------------------------------------


async def test_rows_that_cannot_be_read_are_told_until_they_are_seen_no_more(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        await _quarantines(scene, "m1", "m2")
        await anyio.sleep(6)
        assert scene.told() == ["2 milestones cannot be read"]
        assert "m2: start_date is missing" in scene.body()

        await _quarantines(scene, "m3")
        await anyio.sleep(1.9 * 3600)
        assert len(scene.told()) == 1
        await anyio.sleep(600)
        assert scene.told()[1:] == ["All milestones can be read again"]


async def _quarantines(scene: Scene, *ids: str) -> None:
    for milestone_id in ids:
        await anyio.sleep(1)
        now = scene.clock.now()
        bad = BadRow(
            key=milestone_id,
            fingerprint=milestone_id.encode(),
            raw=b"{}",
            error="start_date is missing",
        )
        page = scene.shelf.page(
            {}, [], now=now, kind=ReadKind.POLL, read_id=_micros(now), due_at=now
        )
        async with scene.shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(milestones.commit_page, type(page)(**_fields(page) | {"bad": (bad,)}))


def _fields(page: Any) -> dict[str, Any]:
    return {name: getattr(page, name) for name in page.__dataclass_fields__}


async def test_a_list_that_shows_too_little_is_told_until_it_shows_enough(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        for since in (scene.clock.now(), None):
            async with scene.shelf.store.turn(Priority.PAGE) as turn:
                await turn.write(milestones.set_suspected, scene.shelf.watch, since)
            await anyio.sleep(600)

        assert scene.told() == [
            "Kalshi shows far too little",
            "Kalshi shows enough again",
        ]


async def test_a_clock_that_is_off_by_more_than_five_seconds_is_told(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        async with scene.running():
            scene.clock.off = 4 * SECOND
            await anyio.sleep(60)
            assert scene.told() == []
            scene.clock.off = -12 * SECOND
            await anyio.sleep(60)
            assert scene.told() == ["This machine's clock is 12 s fast"]

        scene.clock.off = None
        async with scene.running():
            await anyio.sleep(600)
            assert len(scene.told()) == 1
            scene.clock.off = 0 * SECOND
            await anyio.sleep(60)
            assert scene.told()[1:] == ["This machine's clock is right again"]


async def test_dead_letters_are_told_and_that_they_were_put_back(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        await _dies(scene, "m1", "m2")
        await anyio.sleep(60)
        assert scene.told() == ["hook: 2 dead letters"]
        assert "400 Bad Request" in scene.body()
        assert "notifier redrive --destination hook" in scene.body()

        async with scene.shelf.store.turn(Priority.MAINTENANCE) as turn:
            wanted = DeadFilter(destination=HOOK, to_put_back=True)
            await turn.write(partial(redrive, wanted=wanted, now=scene.clock.now()))
        await anyio.sleep(60)
        assert scene.told()[1:] == ["hook: no dead letters any more"]


async def test_dead_letters_that_only_grow_old_are_not_called_over(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        await _dies(scene, "m1")
        await anyio.sleep(60)
        with sql(database) as run:
            run("UPDATE deliveries SET settled_at = settled_at - ?", 24 * _HOUR_US)
        await anyio.sleep(60)
        assert scene.told() == ["hook: 1 dead letter"]
        assert scene.ask("SELECT key FROM conditions") == []

        await _dies(scene, "m2")
        await anyio.sleep(60)
        assert scene.told()[1:] == ["hook: 1 dead letter"]


async def _dies(scene: Scene, *ids: str) -> None:
    for milestone_id in ids:
        await anyio.sleep(1)
        await scene.show(milestone_id)
    with sql(scene.database) as run:
        run(
            "UPDATE deliveries SET state = 'dead', reason = '400 Bad Request', "
            "settled_at = ? WHERE state = 'pending'",
            _micros(scene.clock.now()),
        )


async def test_a_backup_that_fails_is_told_and_that_there_is_one_again(
    database: Path,
) -> None:
    async with _scene(database) as scene, scene.running():
        for failed in ("the disk is full", "the disk is full", None, None):
            async with scene.shelf.store.turn(Priority.MAINTENANCE) as turn:
                await turn.write(incidents.note_backup, failed=failed, now=scene.clock.now())
            await anyio.sleep(3600)

        assert scene.told() == [
            "The daily backup fails",
            "The daily backup is there again",
        ]
        assert "after 2 h" in scene.body()


# --- a downtime ---------------------------------------------------------------


async def _is_alive(scene: Scene, at: datetime) -> None:
    async with scene.shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(incidents.alive, at)


async def test_after_a_downtime_it_says_what_happened_and_what_goes_out(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        for n, start in enumerate((10, 20)):
            await anyio.sleep(1)
            await scene.show(f"m{n}", start_date=stamp(NOW + start * MINUTE), title=f"Game {n}")
        with sql(database) as run:
            run("UPDATE deliveries SET state = 'delivered'")
        await _is_alive(scene, scene.clock.now())
        await anyio.sleep(3 * 3600 + 12 * 60)

        async with scene.running():
            await scene.shelf.ring(now=scene.clock.now())
            await anyio.sleep(20)
            assert scene.told() == []
            await scene.show("m2", start_date=stamp(NOW + DAY))
            await anyio.sleep(6)

        assert scene.told() == ["Back after 3 h 12 min"]
        assert scene.body().split("\n") == [
            "Back after 3 h 12 min. Found: 1 change (1 created).",
            "2 starts are over and were not announced: Game 0, Game 1.",
            "1 delivery goes out now.",
        ]


async def test_a_downtime_is_told_after_two_minutes_even_if_kalshi_is_down(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await _is_alive(scene, NOW)
        await anyio.sleep(3600)
        async with scene.running():
            await anyio.sleep(119)
            assert scene.told() == []
            await anyio.sleep(10)

        assert scene.told() == ["Back after 1 h"]
        assert "Kalshi has not been read since" in scene.body()


async def test_a_crash_before_it_could_be_told_does_not_lose_a_downtime(
    database: Path,
) -> None:
    async with _scene(database) as scene:
        await _is_alive(scene, NOW)
        await anyio.sleep(3600)
        for _ in range(3):
            async with scene.running():
                await anyio.sleep(60)
        async with scene.running():
            await scene.read()
            await anyio.sleep(600)
            assert scene.told() == ["Back after 1 h"]

        await _is_alive(scene, scene.clock.now())
        async with scene.running():
            await anyio.sleep(600)
            assert scene.told() == ["Back after 1 h"]


async def test_a_restart_within_minutes_is_no_downtime(database: Path) -> None:
    async with _scene(database) as scene:
        await _is_alive(scene, NOW)
        await anyio.sleep(290)
        async with scene.running():
            await anyio.sleep(600)

        assert scene.told() == []


# --- one round ----------------------------------------------------------------


async def test_one_round_looks_once_and_tells_what_is_due(database: Path) -> None:
    async with _scene(database) as scene:
        scene.stands(HOOK, suspended_since=NOW)
        await scene.operate().once()
        await scene.operate().once()

        assert scene.told() == ["hook is suspended"]


async def test_rounds_of_their_own_notice_an_outage_too(database: Path) -> None:
    async with _scene(database) as scene:
        for _ in range(5):
            await anyio.sleep(300)
            await scene.read(error=UNAVAILABLE)
            await scene.operate().once()

        assert scene.told() == ["Kalshi cannot be read"]
