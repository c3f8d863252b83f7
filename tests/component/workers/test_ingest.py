"""What a read makes of Kalshi's answers: real store, stand-in in memory."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from reading import OVERLAP, POLITICS, SPORTS, Kalshi, Scene, instant, named, process
from servers.api_faults import Cursor, NoDate, Skew, Spoil, Status
from simulated import MachineClock, backend
from storing import HOUR, NOW, SECOND, stamp
from structlog.testing import capture_logs
from structlog.typing import EventDict

from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Rate, Watch
from notifier.settings.models import Updates

pytestmark = pytest.mark.anyio

BASELINE, FULL = ReadKind.BASELINE, ReadKind.FULL
POLL, SWEEP = ReadKind.POLL, ReadKind.SWEEP


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def kalshi() -> Kalshi:
    return Kalshi()


def _lines(logs: list[EventDict], name: str) -> list[EventDict]:
    return [line for line in logs if line["event"] == name]


# --- baseline -----------------------------------------------------------------


async def test_a_baseline_is_silent_and_awaits_the_starts(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)

        assert scene.events == []
        assert scene.timers == ["m1", "m2"]
        assert scene.ask("SELECT baselined_at > 0 FROM watches") == [(1,)]


async def test_a_baseline_that_broke_off_begins_again_as_silently(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists(*named(501))
    kalshi.api.plan(Status(status=503), after=1)
    async with process(database, kalshi) as scene:
        await scene.fails_to_read(BASELINE)
        assert scene.ask("SELECT count(*) FROM milestones") == [(500,)]
        assert scene.ask("SELECT baselined_at, watermark FROM watches") == [(None,) * 2]

    kalshi.api.update("m0001", title="Meanwhile")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)

        assert scene.events == []
        assert len(scene.timers) == 501
    assert ["cursor" in one.query for one in kalshi.asked] == [False, True] * 2


async def test_what_is_there_already_is_announced_where_that_is_wanted(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi, announce_existing=True) as scene:
        await scene.read(BASELINE)

        assert scene.events == [("created", "m1"), ("created", "m2")]


async def test_a_new_watch_is_baselined_silently(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists("game")
    kalshi.lists("vote", category="Politics")
    async with process(database, kalshi, watch=(SPORTS,)) as scene:
        await scene.read(BASELINE, watch=SPORTS)

    async with process(database, kalshi, watch=(SPORTS, POLITICS)) as scene:
        await scene.read(BASELINE, watch=POLITICS)
        assert scene.events == []
        assert scene.timers == ["game", "vote"]

        kalshi.lists("debate", category="Politics")
        await scene.read(POLL, watch=POLITICS)
        assert scene.events == [("created", "debate")]


# --- what is asked, and the watermark -----------------------------------------


async def test_a_poll_asks_from_two_minutes_before_the_watermark_to_the_last_page(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        assert before is not None
        kalshi.lists(*named(501))
        await scene.read(POLL)

        assert len(scene.events) == 501
    assert [one.updated_since for one in kalshi.polls] == [before - OVERLAP] * 2
    assert ["cursor" in one.query for one in kalshi.polls] == [False, True]


@pytest.mark.parametrize("kind", [BASELINE, POLL, FULL])
async def test_the_watermark_is_the_least_the_servers_clock_can_have_shown_at_first(
    database: Path, kalshi: Kalshi, kind: ReadKind
) -> None:
    async with process(database, kalshi) as scene:
        if kind is not BASELINE:
            await scene.read(BASELINE)
        kalshi.lists(*named(501))
        kalshi.seconds = 3
        await anyio.sleep(60)
        asked_at = scene.clock.now() + SECOND
        await scene.read(kind)

        assert scene.clock.now() == asked_at + 6 * SECOND
        assert scene.watermark == asked_at


async def test_a_sweep_does_not_move_the_watermark(database: Path, kalshi: Kalshi) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        await scene.read(SWEEP)

        assert scene.watermark == before


async def test_a_poll_that_breaks_off_does_not_move_the_watermark(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        kalshi.lists(*named(501))
        kalshi.api.plan(Status(status=503), after=1)
        await scene.fails_to_read(POLL)
        assert scene.watermark == before
        assert len(scene.events) == 500

        await scene.read(POLL)
        assert scene.watermark == scene.clock.now()
        assert len(scene.events) == 501


@pytest.mark.parametrize("fault", [NoDate(), Skew(seconds=-3600)])
async def test_an_answer_without_a_date_or_with_an_old_one_leaves_the_watermark(
    database: Path, kalshi: Kalshi, fault: NoDate | Skew
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        kalshi.api.plan(fault)
        await scene.read(POLL)

        assert scene.watermark == before


# --- rows ---------------------------------------------------------------------


async def test_older_bytes_are_believed_when_a_second_read_shows_them(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", title="Before")
    kalshi.api.take_snapshot("replica")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.update("m1", title="After")
        await scene.read(POLL)
        kalshi.late(2, "replica")

        await scene.read(SWEEP)
        assert scene.events == [("updated", "m1")]
        assert scene.ask("SELECT title FROM milestones") == [("After",)]

        await scene.read(SWEEP)
        assert scene.events == [("updated", "m1")] * 2
        assert scene.ask("SELECT title FROM milestones") == [("Before",)]


async def test_a_change_counts_with_or_without_a_new_timestamp(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.change_without_bump("m1", title="Renamed")
        kalshi.api.update("m2")
        await scene.read(SWEEP)

        assert scene.events == [("updated", "m1")]
        [[touched]] = scene.ask("SELECT touched FROM reads WHERE kind = 'sweep'")
        assert touched == 1


async def test_a_new_timestamp_alone_is_an_update_where_that_is_wanted(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1")
    async with process(database, kalshi, updates=Updates.TIMESTAMP) as scene:
        await scene.read(BASELINE)
        kalshi.api.update("m1")
        await scene.read(POLL)

        assert scene.events == [("updated", "m1")]


async def test_an_unreadable_row_is_put_aside_and_named_once_and_the_page_goes_on(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.lists(*named(30))
        kalshi.api.change_without_bump("m0007", start_date="soon")
        with capture_logs() as logs:
            await scene.read(POLL, POLL, SWEEP)

        assert len(scene.events) == 29
        assert scene.ask("SELECT milestone_id FROM quarantine") == [("m0007",)]
    [line] = _lines(logs, "row.quarantined")
    assert line["id"] == "m0007"
    assert "start_date" in line["reason"]


async def test_many_new_unreadable_rows_freeze_the_watermark_and_are_told(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        before = scene.watermark
        kalshi.lists(*named(20))
        for one in named(2):
            kalshi.api.change_without_bump(one, start_date="soon")
        with capture_logs() as logs:
            await scene.read(POLL)
            assert scene.watermark == before
            [line] = _lines(logs, "read.drifting")
            assert (line["log_level"], line["bad"]) == ("error", 2)

            await scene.read(POLL)  # the same bad bytes are not new
        assert len(_lines(logs, "read.drifting")) == 1
        assert scene.watermark == scene.clock.now()


async def test_milestones_that_are_only_simulations_are_ignored(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        for name, tickers in {
            "simulated": ["SIMNFL-A", "SIMNFL-B"],
            "mixed": ["SIMNFL-A", "KXNFLGAME-A"],
            "bare": [],
        }.items():
            kalshi.lists(name, primary_event_tickers=tickers, related_event_tickers=tickers)
        await scene.read(POLL)

        assert scene.events == [("created", "bare"), ("created", "mixed")]
        assert scene.timers == ["bare", "mixed"]


async def test_a_milestone_that_two_watches_see_is_one_milestone(
    database: Path, kalshi: Kalshi
) -> None:
    games = Watch(type="football_game")
    async with process(database, kalshi, watch=(SPORTS, games)) as scene:
        for watch in (SPORTS, games):
            await scene.read(BASELINE, watch=watch)
        kalshi.lists("m1")
        for watch in (SPORTS, games):
            await scene.read(POLL, watch=watch)

        assert scene.events == [("created", "m1")]
        assert scene.ask("SELECT count(*) FROM deliveries") == [(1,)]
        assert scene.timers == ["m1"]


# --- deliveries ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "held"),
    [(5, 5), (60, 20)],
    ids=["short: at its end", "long: after 20 s"],
)
async def test_what_a_read_of_several_pages_finds_waits_for_its_end_but_not_long(
    database: Path, kalshi: Kalshi, seconds: int, held: int
) -> None:
    rate = Rate(count=1, per=seconds * SECOND)
    async with process(database, kalshi, rate=rate) as scene:
        await scene.read(BASELINE)
        kalshi.lists(*named(501))
        await scene.read(POLL)

        found = scene.ask("SELECT born_at, due_at FROM deliveries ORDER BY seq")
        (born, due), *_, (_, last) = [[instant(t) for t in pair] for pair in found]
        assert len(found) == 501
        assert (due - born) / SECOND == pytest.approx(held, abs=0.1)
        assert last == scene.clock.now()


# --- absence ------------------------------------------------------------------


async def test_a_milestone_is_removed_after_three_reads_without_it_and_a_404(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("gone", "kept")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw("gone")
        await scene.read(SWEEP, POLL, FULL, POLL)
        assert (scene.events, kalshi.singles) == ([], [])
        assert scene.absences == {"gone": 2}

        await scene.read(SWEEP)
        assert scene.events == [("removed", "gone")]
        assert kalshi.singles == ["gone"]
        assert scene.timers == ["kept"]

        await scene.read(SWEEP, FULL)
        assert kalshi.singles == ["gone"]


async def test_absences_count_only_in_a_row(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        for _ in range(2):
            kalshi.hide("m1", reads=2)
            await scene.read(SWEEP, SWEEP, SWEEP)

        assert scene.absences == {}
    assert kalshi.singles == []


async def test_one_that_answers_by_its_id_stays_and_is_read_like_a_row(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.update("m1", title="Renamed")
        kalshi.hide("m1", reads=3)
        await scene.read(SWEEP, SWEEP, SWEEP)

        assert scene.events == [("updated", "m1")]
        assert scene.absences == {}
        assert scene.timers == ["m1", "m2"]
    assert kalshi.singles == ["m1"]


async def test_a_404_that_is_not_the_apis_own_removes_nothing(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", "m2")
    kalshi.api.plan(Status(status=404, shape="html"), times=None, path="/milestones/*")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw("m1")
        await scene.read(SWEEP, SWEEP)
        await scene.fails_to_read(SWEEP)

        assert scene.events == []
        assert scene.timers == ["m1", "m2"]
    assert kalshi.singles == ["m1"]


async def test_no_more_than_twenty_are_asked_for_after_one_read(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists(*named(45))
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw(*named(21))
        await scene.read(SWEEP, SWEEP, SWEEP)
        assert len(kalshi.singles) == len(scene.events) == 20

        await scene.read(SWEEP)
        assert sorted(kalshi.singles) == list(named(21))
        assert len(scene.events) == 21


async def test_a_removed_milestone_that_returns_is_created_again(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.lists("m1")
        await scene.read(POLL)
        kalshi.withdraw("m1")
        await scene.read(SWEEP, SWEEP, SWEEP)
        kalshi.lists("m1")
        await scene.read(POLL)

        kinds = [kind for kind, _ in scene.events]
        assert kinds == ["created", "removed", "created"]
        assert scene.timers == ["m1", "m2"]


@pytest.mark.parametrize("kind", [SWEEP, FULL])
async def test_a_read_that_shows_too_little_counts_nobody_as_absent(
    database: Path, kalshi: Kalshi, kind: ReadKind
) -> None:
    kalshi.lists(*named(20))
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw(*named(11))
        with capture_logs() as logs:
            await scene.read(*[kind] * 4)

        assert (scene.absences, kalshi.singles) == ({}, [])
        [line] = _lines(logs, "read.suspicious")
        assert (line["log_level"], line["rows"], line["known"]) == ("error", 9, 20)

        [[since]] = scene.ask("SELECT suspected_at FROM watches")
        assert since is not None

    async with process(database, kalshi) as scene:
        with capture_logs() as logs:
            await scene.read(*[kind] * 2)
        assert _lines(logs, "read.suspicious") == []
        assert scene.ask("SELECT suspected_at FROM watches") == [(since,)]

        kalshi.lists("m0000")  # now it is half of them
        await scene.read(kind)
        assert len(scene.absences) == 10
        assert scene.ask("SELECT suspected_at FROM watches") == [(None,)]


async def test_a_sweep_says_nothing_about_what_starts_before_its_window(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1")
    kalshi.lists("old", start_date=stamp(NOW - HOUR))
    async with process(database, kalshi, look_back=HOUR / 2) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw("old")
        await scene.read(SWEEP)
        assert scene.absences == {}

        await scene.read(FULL)
        assert scene.absences == {"old": 1}


async def test_a_cursor_that_loops_ends_the_read_and_nobody_is_absent(
    database: Path, kalshi: Kalshi
) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.withdraw("m1")
        kalshi.api.plan(Cursor(), times=None)
        await scene.fails_to_read(SWEEP)

        assert len(kalshi.sweeps) == 2
        assert scene.absences == {}
        [[error]] = scene.ask("SELECT error FROM reads WHERE kind = 'sweep'")
        assert "cursor" in error


async def test_a_row_that_cannot_be_read_is_not_absent(database: Path, kalshi: Kalshi) -> None:
    kalshi.lists("m1", "m2")
    async with process(database, kalshi) as scene:
        await scene.read(BASELINE)
        kalshi.api.plan(Spoil(field="start_date", value="soon"), times=None)
        await scene.read(SWEEP, SWEEP)

        assert scene.ask("SELECT milestone_id FROM quarantine") == [("m1",)]
        assert scene.absences == {}


# --- the clock ----------------------------------------------------------------


async def test_five_answers_that_agree_correct_the_clock(database: Path, kalshi: Kalshi) -> None:
    async with process(database, kalshi, clock=MachineClock()) as scene:
        kalshi.clock.correct(30 * SECOND)
        await scene.read(*[SWEEP] * 4)
        assert abs(kalshi.clock.now() - scene.clock.now() - 30 * SECOND) < SECOND / 1000

        with capture_logs() as logs:
            await scene.read(SWEEP)
        assert _is_right(scene)
        [line] = _lines(logs, "clock.corrected")
        assert line["log_level"] == "warning"
        found = scene.clock.skew()
        assert found is not None
        assert abs(found - 30 * SECOND) <= SECOND

        # The correction stays, and so does what is known of the machine.
        await scene.read(*[SWEEP] * 9)
        assert scene.clock.skew() == found


async def test_one_answer_among_five_does_not_correct_the_clock(
    database: Path, kalshi: Kalshi
) -> None:
    async with process(database, kalshi, clock=MachineClock()) as scene:
        kalshi.clock.correct(30 * SECOND)
        await scene.read(*[SWEEP] * 4)
        kalshi.api.plan(Skew(seconds=-30))
        await scene.read(*[SWEEP] * 5)

        assert abs(kalshi.clock.now() - scene.clock.now() - 30 * SECOND) < SECOND / 1000


@pytest.mark.parametrize("off", [30 * SECOND, -HOUR])
async def test_the_first_answer_corrects_the_clock_of_a_new_process(
    database: Path, kalshi: Kalshi, off: timedelta
) -> None:
    machine = MachineClock(set_by=-off.total_seconds())
    async with process(database, kalshi, clock=machine, is_known=False) as scene:
        await scene.read(SWEEP)
        assert _is_right(scene)

        kalshi.clock.correct(30 * SECOND)
        await scene.read(*[SWEEP] * 4)
        assert kalshi.clock.now() - scene.clock.now() > 28 * SECOND


async def test_one_answer_says_whether_a_jump_of_the_machines_clock_was_right(
    database: Path, kalshi: Kalshi
) -> None:
    machine = MachineClock()
    async with process(database, kalshi, clock=machine) as scene:
        machine.set_by = 3600.0
        await scene.read(SWEEP)
        assert _is_right(scene)
        assert scene.clock.skew() == -HOUR

        machine.set_by = 0.0
        await scene.read(*[SWEEP] * 9)
        assert _is_right(scene)
        assert scene.clock.skew() == 0 * SECOND


async def test_answers_about_the_clock_before_a_jump_prove_nothing_about_it_after(
    database: Path, kalshi: Kalshi
) -> None:
    machine = MachineClock()
    async with process(database, kalshi, clock=machine) as scene:
        kalshi.clock.correct(600 * SECOND)
        await scene.read(*[SWEEP] * 5)
        kalshi.clock.correct(30 * SECOND)
        await scene.read(*[SWEEP] * 4)

        # The machine's clock is repaired while the API is silent.
        machine.set_by = 630.0
        machine.now()
        await anyio.sleep(61)
        with capture_logs() as logs:
            await scene.read(SWEEP)
        assert not _lines(logs, "clock.corrected")
        assert scene.clock.skew() == 0 * SECOND


def _is_right(scene: Scene) -> bool:
    return abs(scene.kalshi.clock.now() - scene.clock.now()) <= SECOND
