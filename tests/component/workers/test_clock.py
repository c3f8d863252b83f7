"""A machine's clock that is set, by somebody who may be right or wrong."""

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from storing import HOUR, MINUTE, NOW, SECOND
from structlog.testing import capture_logs

from notifier.clock import BELIEVED_AFTER_S, Skew, SystemClock

MINUTE_S = MINUTE.total_seconds()
BOOT = "one boot"


class Machine:
    """A machine at NOW: time passes, it sleeps, its clock is set."""

    def __init__(self) -> None:
        self.up = 100.0
        self.set_by = 0.0
        self.clock = self._process(BOOT)
        #: What a process last knew of it.
        self.trust = self.clock.trust()

    def _process(self, boot: str) -> SystemClock:
        return SystemClock(wall=self._wall, steady=lambda: self.up, boot=boot)

    def correct(self, offset: timedelta) -> None:
        """Let answers say so, and remember it."""
        self.clock.correct(offset)
        self.trust = self.clock.trust()

    def _wall(self) -> float:
        return NOW.timestamp() - 100.0 + self.up + self.set_by

    def set(self, by: float) -> None:
        """Set its clock, and let somebody look at it."""
        self.set_by += by
        self.clock.now()

    def passes(self, seconds: float) -> None:
        """Let time pass, with a look each second."""
        for _ in range(round(seconds)):
            self.up += 1
            self.clock.now()

    def settle(self, *, follow: bool) -> None:
        """Let somebody settle the jump that is in doubt, if one is."""
        jump = self.clock.jump()
        self.clock.settle(jump.number if jump else 0, follow=follow)

    def again(self, *, boot: str = BOOT) -> None:
        """Another process, which takes up what was known of the clock."""
        self.clock, trust = self._process(boot), self.trust
        self.clock.take_up(trust)

    @property
    def is_at(self) -> timedelta:
        """What its clock shows, from NOW on."""
        return self.clock.now() - NOW


@pytest.fixture
def machine() -> Machine:
    return Machine()


def _settled(logs: list[Any]) -> list[tuple[float, bool, str]]:
    return [
        (line["jump_s"], line["followed"], line["by"])
        for line in logs
        if line["event"] == "clock.settled"
    ]


def test_a_clock_shows_what_the_machine_shows() -> None:
    before, clock = datetime.now(UTC), SystemClock()

    assert before <= clock.now() <= datetime.now(UTC)
    assert clock.jump() is None


@pytest.mark.parametrize("by", [3600.0, -3600.0, 1.5, -1.5, -1_795_000_000.0])
def test_a_jump_is_not_followed_while_nobody_has_confirmed_it(machine: Machine, by: float) -> None:
    with capture_logs() as logs:
        machine.set(by)
        machine.passes(30)

    jump = machine.clock.jump()
    assert jump is not None
    assert jump.by == timedelta(seconds=by)
    assert abs(machine.is_at - 30 * SECOND) < SECOND / 1000
    assert [(one["event"], one["log_level"]) for one in logs] == [("clock.jumped", "warning")]


@pytest.mark.parametrize("by", [0.9, -0.9])
def test_a_clock_that_is_brought_into_step_has_not_jumped(machine: Machine, by: float) -> None:
    for second in range(1, 6):
        machine.set(by)
        machine.passes(1)

        assert abs(machine.is_at - second * (1 + by) * SECOND) < SECOND / 1000
    assert machine.clock.jump() is None


def test_a_machine_that_slept_has_not_jumped(machine: Machine) -> None:
    machine.up += 8 * 3600  # as its wall clock does

    assert machine.is_at == 8 * HOUR
    assert machine.clock.jump() is None


def test_a_jump_that_is_confirmed_is_followed(machine: Machine) -> None:
    machine.set(3600)
    with capture_logs() as logs:
        machine.settle(follow=True)
    machine.passes(2)

    assert machine.is_at == HOUR + 2 * SECOND
    assert machine.clock.jump() is None
    assert _settled(logs) == [(3600.0, True, "answer")]


def test_a_jump_that_was_wrong_is_corrected_for_until_it_is_taken_back(
    machine: Machine,
) -> None:
    machine.set(3600)
    machine.settle(follow=False)
    machine.passes(300)
    assert machine.is_at == 5 * MINUTE

    machine.set(-3600)
    machine.settle(follow=False)
    machine.passes(300)
    assert machine.is_at == 10 * MINUTE


def test_a_correction_stays_through_a_jump(machine: Machine) -> None:
    machine.clock.correct(30 * SECOND)
    machine.set(-5)
    assert machine.is_at == 30 * SECOND

    machine.settle(follow=True)
    assert machine.is_at == 25 * SECOND


def test_a_jump_that_is_taken_back_is_over(machine: Machine) -> None:
    with capture_logs() as logs:
        machine.set(3600)
        machine.passes(10)
        machine.set(-3600)
    machine.passes(MINUTE_S)

    assert machine.clock.jump() is None
    assert machine.is_at == 70 * SECOND
    assert _settled(logs) == [(3600.0, False, "itself")]


def test_a_jump_is_believed_when_nobody_says_anything_for_a_minute(
    machine: Machine,
) -> None:
    machine.set(3600)
    machine.passes(BELIEVED_AFTER_S - 1)
    assert machine.is_at == 59 * SECOND

    with capture_logs() as logs:
        machine.passes(1)
    assert machine.is_at == HOUR + MINUTE
    assert machine.clock.jump() is None
    assert _settled(logs) == [(3600.0, True, "silence")]


def test_another_jump_is_doubted_anew(machine: Machine) -> None:
    machine.set(3600)
    first = machine.clock.jump()
    machine.passes(50)
    machine.set(600)
    machine.passes(50)

    second = machine.clock.jump()
    assert first is not None
    assert second is not None
    assert first.number != second.number
    assert second.by == 4200 * SECOND
    assert abs(machine.is_at - 100 * SECOND) < SECOND / 1000


def test_whoever_settles_an_earlier_jump_settles_nothing(machine: Machine) -> None:
    machine.set(3600)
    first = machine.clock.jump()
    assert first is not None
    machine.set(600)

    machine.clock.settle(first.number, follow=True)
    assert machine.clock.jump() is not None
    assert machine.is_at == 0 * SECOND


# --- a jump after a correction ------------------------------------------------


@pytest.mark.parametrize(("off", "left"), [(600, 0.0), (600, 1.5), (1.8e9, -1.5)])
def test_a_jump_that_undoes_a_correction_has_repaired_the_clock(
    machine: Machine, off: float, left: float
) -> None:
    machine.correct(off * SECOND)
    settled = machine.clock.settled()
    with capture_logs() as logs:
        machine.set(off - left)
        assert machine.clock.jump() is None
    assert machine.clock.settled() == settled + 1
    machine.passes(90)

    assert abs(machine.is_at - (off + 90) * SECOND) < SECOND / 1000
    assert abs(machine.clock.trust().offset - left * SECOND) < SECOND / 1000
    assert _settled(logs) == [(off - left, False, "repair")]


@pytest.mark.parametrize("by", [597.0, -600.0, 1200.0])
def test_a_correction_of_a_clock_that_is_no_more_is_void_when_the_machine_is_believed(
    machine: Machine, by: float
) -> None:
    machine.correct(600 * SECOND)
    settled = machine.clock.settled()
    machine.set(by)
    machine.passes(MINUTE_S)

    assert machine.is_at == (by + 60) * SECOND
    assert machine.clock.trust().offset == 0 * SECOND
    assert machine.clock.settled() == settled + 1


def test_what_is_believed_for_want_of_answers_is_not_sure(machine: Machine) -> None:
    assert not machine.clock.trust().is_sure
    machine.correct(0 * SECOND)
    assert machine.clock.trust().is_sure
    machine.set(600)
    machine.passes(MINUTE_S)
    assert not machine.clock.trust().is_sure
    machine.set(600)
    machine.settle(follow=True)
    assert machine.clock.trust().is_sure


def test_what_is_known_of_the_machine_follows_each_settlement(machine: Machine) -> None:
    skew = Skew()
    skew.note(600 * SECOND)
    machine.correct(600 * SECOND)
    skew.hear(machine.clock)
    assert skew.known == 600 * SECOND

    machine.set(600)
    skew.hear(machine.clock)
    assert skew.known == 0 * SECOND

    machine.set(3600)
    machine.settle(follow=False)
    skew.hear(machine.clock)
    assert skew.known == -HOUR

    machine.set(600)
    machine.passes(MINUTE_S)
    skew.hear(machine.clock)
    assert skew.known is None


# --- another process ----------------------------------------------------------


def test_another_process_takes_up_a_correction(machine: Machine) -> None:
    machine.correct(600 * SECOND)
    machine.up += 30
    machine.again()

    assert machine.is_at == 630 * SECOND
    assert machine.clock.jump() is None
    assert machine.clock.trust().is_sure


@pytest.mark.parametrize("by", [40.0, 86_400.0, -86_400.0])
def test_a_clock_that_was_set_while_nobody_looked_has_jumped(machine: Machine, by: float) -> None:
    machine.up += 30
    machine.set_by = by
    machine.again()

    assert abs(machine.is_at - 30 * SECOND) < SECOND / 1000
    jump = machine.clock.jump()
    assert jump is not None
    assert jump.by == by * SECOND
    machine.passes(MINUTE_S)
    assert abs(machine.is_at - (by + 90) * SECOND) < SECOND / 1000


def test_a_jump_that_was_in_doubt_when_a_process_died_is_in_doubt_again(
    machine: Machine,
) -> None:
    machine.set(40)
    machine.passes(10)
    machine.trust = machine.clock.trust()
    machine.again()

    assert machine.is_at == 10 * SECOND
    assert machine.clock.jump() is not None


def test_a_clock_that_was_repaired_while_nobody_looked_is_right(
    machine: Machine,
) -> None:
    machine.correct(600 * SECOND)
    machine.set_by = 600.0
    machine.again()

    assert machine.is_at == 600 * SECOND
    assert machine.clock.jump() is None
    assert machine.clock.trust().offset == 0 * SECOND


@pytest.mark.parametrize("boot", ["another boot", ""])
def test_nothing_is_known_of_a_machine_that_was_started_again(machine: Machine, boot: str) -> None:
    machine.correct(600 * SECOND)
    machine.set_by = 40.0
    machine.again(boot=boot)

    assert machine.is_at == 40 * SECOND
    assert machine.clock.jump() is None
    assert not machine.clock.trust().is_sure


def test_only_the_start_of_a_process_takes_anything_up(machine: Machine) -> None:
    before = machine.clock.trust()
    machine.clock.take_up(None)
    machine.correct(600 * SECOND)
    machine.clock.take_up(before)

    assert machine.is_at == 600 * SECOND


def test_whoever_is_stopped_between_two_clocks_takes_that_for_no_jump() -> None:
    stops = iter([3600.0])
    machine = Machine()

    def wall() -> float:
        shown = machine._wall()
        machine.up += next(stops, 0.0)
        return shown

    clock = SystemClock(wall=machine._wall, steady=lambda: machine.up)
    clock._wall = wall

    assert clock.now() == NOW + HOUR
    assert clock.jump() is None


def test_many_threads_see_one_jump() -> None:
    machine = Machine()
    machine.set_by = 3600.0

    def looks() -> None:
        for _ in range(200):
            machine.clock.now()

    with capture_logs() as logs:
        threads = [Thread(target=looks) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    assert len(logs) == 1
