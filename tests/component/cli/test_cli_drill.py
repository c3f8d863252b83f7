"""`notifier test --drill`: would an alert arrive, and if not, why?"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from commanding import Ended, done, typed
from servers.http_sink import Answer, HttpSink, http_sink
from simulated import SimulatedClock, backend
from storing import DAY, HOUR, NOW, SECOND, ask, opened, row, stamp, stocked

from notifier import settings
from notifier.cli.send_test import DryRun, Row, Situation
from notifier.domain.batching import destination_policy
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.models import Format, Kind, Limits, Outcome, Rendered, Sent
from notifier.domain.rules import Rate
from notifier.domain.silences import create_silence
from notifier.storage import admin
from notifier.storage.database import Priority

ALL_DAY = '{windows: ["00:00-12:00", "12:00-00:00"]}'
KINDS = ["created", "updated", "upcoming", "started", "ended", "removed"]


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


def stored(folder: Path) -> None:
    """Two games, the newer of which is m2; nothing has been sent."""

    async def fill() -> None:
        now = datetime.now(UTC)
        async with opened(folder / "notifier.db") as store:
            shelf = await stocked(store, routes=())
            soon = stamp(now + DAY)
            await shelf.show(row("m1", start_date=soon), now=now - HOUR)
            await shelf.show(row("m2", start_date=soon, title="Newest"), now=now)

    anyio.run(fill)


def configure(folder: Path, sink: HttpSink, routes: str, **more: str) -> None:
    named = "\n".join(
        f'  {name}: {{url: "webhook://{sink.netloc}/{name}"{rest}}}'
        for name, rest in {"hook": "", "desk": "", **more}.items()
    )
    (folder / "notifier.yaml").write_text(f"destinations:\n{named}\nroutes:\n{routes}")


def drill(folder: Path, *args: object) -> Ended:
    return typed("test", "--drill", *args, cwd=folder, TZ="UTC", COLUMNS="160")


def results(ended: Ended) -> list[tuple[str, str, str | None, str]]:
    keys = ("kind", "route", "destination", "result")
    return [tuple(one[key] for key in keys) for one in ended.rows]


def arrived(sink: HttpSink, name: str) -> list[Any]:
    return [one.json for one in sink.at(f"/{name}")]


def test_every_kind_that_a_route_takes_is_sent_marked_as_a_test(
    tmp_path: Path, sink: HttpSink
) -> None:
    stored(tmp_path)
    configure(tmp_path, sink, "  - {name: all, to: [hook], reminders: [15m, 1d]}\n")

    ended = drill(tmp_path, "--json")

    events = arrived(sink, "hook")
    assert ended.status == 0
    assert results(ended) == [(kind, "all", "hook", "sent") for kind in KINDS]
    assert [one["type"].rpartition(".")[2] for one in events] == KINDS
    assert {one["subject"] for one in events} == {"m2"}
    assert all(one["data"]["test"] is True for one in events)
    assert len({one["id"] for one in events}) == len(KINDS)
    assert all(one["status"] == 200 and one["seconds"] >= 0 for one in ended.rows)


def test_a_route_that_does_not_match_says_why(tmp_path: Path, sink: HttpSink) -> None:
    stored(tmp_path)
    configure(
        tmp_path,
        sink,
        "  - {name: polls, to: [desk], match: {category: Elections}}\n"
        "  - {name: games, to: [hook], match: {events: [started]}}\n"
        "  - {name: late, to: [hook], match: {events: [started]}}\n",
    )

    ended = drill(tmp_path, "--json", "--kind", "started")

    assert [(one["route"], one["result"], one["why"]) for one in ended.rows] == [
        ("polls", "not matched", "category is Sports, wants Elections"),
        ("games", "sent", None),
        ("late", "told already", "hook has it from games"),
    ]
    assert arrived(sink, "desk") == []


def test_quiet_hours_digests_and_silences_keep_back_and_say_so(
    tmp_path: Path, sink: HttpSink
) -> None:
    stored(tmp_path)
    now = datetime.now(UTC)
    hush = create_silence(
        {"destination": ["mute"]}, why="maintenance", created_at=now, until=now + DAY
    )

    async def silence() -> None:
        async with opened(tmp_path / "notifier.db") as store:
            await store.write(Priority.MAINTENANCE, admin.add_silence, hush)

    anyio.run(silence)
    configure(
        tmp_path,
        sink,
        f"  - {{name: quiet, to: [hook], quiet: {ALL_DAY}}}\n"
        "  - {name: rest, to: [desk, mute, night]}\n",
        desk=', digest: {at: "08:00"}',
        mute="",
        night=', quiet: {windows: ["00:00-12:00", "12:00-00:00"], then: drop}',
    )

    ended = drill(tmp_path, "--json", "--kind", "created")

    found = {one["destination"]: one for one in ended.rows}
    assert ended.status == 0
    assert {name: one["result"] for name, one in found.items()} == {
        "hook": "held",
        "desk": "held",
        "mute": "dropped",
        "night": "dropped",
    }
    assert "quiet hours until" in found["hook"]["why"]
    assert "(of route quiet)" in found["hook"]["why"]
    assert "gathered for a digest at" in found["desk"]["why"]
    assert "(of desk)" in found["desk"]["why"]
    assert f"by {hush.id}: maintenance" in found["mute"]["why"]
    assert sink.requests == []


def test_a_destination_that_refuses_fails_the_drill_and_is_not_tried_again(
    tmp_path: Path, sink: HttpSink
) -> None:
    stored(tmp_path)
    configure(tmp_path, sink, "  - {name: all, to: [hook, desk]}\n")
    sink.answer("/desk", Answer(404))

    ended = drill(tmp_path, "--kind", "created", "--kind", "ended")

    words = " ".join(ended.out.split())
    assert ended.status == 1
    assert "Acted with Newest (Sports, football_game, m2)" in words
    assert "desk refused 404" in words
    assert "desk not tried after it failed: HTTP 404" in words
    assert (len(sink.at("/hook")), len(sink.at("/desk"))) == (2, 1)


def test_a_suspended_destination_is_sent_nothing(tmp_path: Path, sink: HttpSink) -> None:
    stored(tmp_path)
    configure(tmp_path, sink, "  - {name: all, to: [hook]}\n")
    ask(
        tmp_path / "notifier.db",
        "UPDATE destinations SET suspended_since = 1, reason = 'HTTP 403'",
    )

    ended = drill(tmp_path, "--json", "--kind", "created")

    [found] = ended.rows
    assert ended.status == 1
    assert (found["result"], found["why"]) == ("suspended", "not sent: HTTP 403")
    assert sink.requests == []


def test_it_stores_nothing(tmp_path: Path, sink: HttpSink) -> None:
    stored(tmp_path)
    configure(tmp_path, sink, "  - {name: all, to: [hook]}\n")

    drill(tmp_path)

    database = tmp_path / "notifier.db"
    assert ask(database, "SELECT count(*) FROM deliveries") == [(0,)]
    assert ask(database, "SELECT count(*) FROM attempts") == [(0,)]
    assert ask(database, "SELECT count(*) FROM events") == [(2,)]


def test_a_milestone_can_be_named_and_destinations_too(tmp_path: Path, sink: HttpSink) -> None:
    stored(tmp_path)
    configure(tmp_path, sink, "  - {name: all, to: [hook, desk]}\n")

    ended = drill(tmp_path, "desk", "--json", "--milestone", "m1", "--kind", "ended")

    assert results(ended) == [("ended", "all", "desk", "sent")]
    assert [one["subject"] for one in arrived(sink, "desk")] == ["m1"]
    assert sink.at("/hook") == []

    unknown = drill(tmp_path, "--milestone", "zzz")
    assert (unknown.status, "no milestone 'zzz'" in unknown.err) == (1, True)
    several = drill(tmp_path, "--milestone", "m")
    assert (several.status, "m is the beginning of m1 and m2" in several.err) == (
        1,
        True,
    )


def test_without_a_store_a_made_up_milestone_acts(tmp_path: Path, sink: HttpSink) -> None:
    configure(tmp_path, sink, "  - {name: all, to: [hook], match: {events: [created]}}\n")

    ended = drill(tmp_path)

    assert ended.status == 0
    assert "a made-up milestone" in ended.out
    assert len(arrived(sink, "hook")) == 1
    assert not (tmp_path / "notifier.db").exists()


def test_rows_for_programs_are_not_mixed_with_messages_for_people(
    tmp_path: Path, sink: HttpSink
) -> None:
    (tmp_path / "notifier.yaml").write_text("destinations: {here: {url: 'terminal://'}}\n")

    ended = done("test", "--drill", "--json", "--kind", "created", cwd=tmp_path)

    assert results(ended) == [("created", "all", "here", "sent")]
    assert "[TEST] New: " in ended.err
    assert sink.requests == []


def test_its_options_mean_nothing_without_it(tmp_path: Path, sink: HttpSink) -> None:
    configure(tmp_path, sink, "  - {name: all}\n")

    for option in (["--json"], ["--kind", "created"], ["--milestone", "m1"]):
        ended = typed("test", *option, cwd=tmp_path)
        assert (ended.status, "need --drill" in ended.err) == (2, True)

    wrong = drill(tmp_path, "--kind", "begun")
    assert (wrong.status, "'begun' is none of created, updated" in wrong.err) == (
        2,
        True,
    )
    assert sink.requests == []


# --- rates, in simulated time ---------------------------------------------------


@pytest.fixture
def anyio_backend() -> Any:
    return backend()


@dataclass
class FarEnd:
    """Takes everything, and notes when."""

    clock: SimulatedClock
    rate: Rate
    sent: list[float] = field(default_factory=list)

    async def send(self, _destination: str, message: Rendered) -> Outcome:
        assert "[TEST] " in message.title
        self.sent.append(self.clock.monotonic())
        return Sent(status=200)

    def limits(self, _destination: str) -> Limits:
        return Limits(format=Format.TEXT, title=200, body=2000)

    def default_rate(self, _destination: str) -> Rate:
        return self.rate


async def played(folder: Path, rate: Rate) -> tuple[list[Row], FarEnd]:
    """Created, started and ended for one destination that has had one just now."""
    file = folder / "notifier.yaml"
    file.write_text(
        "destinations: {desk: {url: 'terminal://'}}\n"
        "routes: [{name: all, match: {events: [created, started, ended]}}]\n"
    )
    found = settings.load(file, {}, cwd=folder)
    clock = SimulatedClock()
    far = FarEnd(clock, rate)
    run = DryRun(
        config=found,
        sender=far,
        clock=clock,
        policies={
            one.name: destination_policy(one, found.routes, far.default_rate(one.name))
            for one in found.destinations
        },
        situation=Situation(
            milestone=row("m1").milestone,
            states={"desk": DestinationState()},
            sent={"desk": [NOW]},
        ),
    )
    return await run.rows(()), far


@pytest.mark.anyio
async def test_a_rate_is_waited_for_and_said(tmp_path: Path) -> None:
    rate = Rate(count=2, per=30 * SECOND)

    rows, far = await played(tmp_path, rate)

    assert [one.result for one in rows] == ["sent"] * 3
    assert [round(at) for at in far.sent] == [0, 30, 30]
    assert [one.why for one in rows] == [
        None,
        "after 30 s: its rate of 2 in 30 s was used up",
        None,
    ]


@pytest.mark.anyio
async def test_a_rate_is_not_waited_for_longer_than_a_minute(tmp_path: Path) -> None:
    rows, far = await played(tmp_path, Rate(count=2, per=HOUR))

    assert [one.result for one in rows] == ["sent", "limited", "not tried"]
    assert [one.failed for one in rows] == [False, True, True]
    assert len(far.sent) == 1
    assert rows[1].kind is Kind.STARTED
    assert "used up for more than 1 min" in (rows[1].why or "")
