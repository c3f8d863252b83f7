"""A machine's clock that is set, by somebody who may be right or wrong."""

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from storing import HOUR, MINUTE, NOW, SECOND
from structlog.testing import capture_logs

from notifier.clock import BELIEVED_AFTER_S, SystemClock

MINUTE_S = MINUTE.total_seconds()


class Machine:
    """A machine at NOW: time passes, it sleeps, its clock is set."""

    def __init__(self) -> None:
        self.up = 100.0
        self.set_by = 0.0
        self.clock = SystemClock(wall=self._wall, steady=lambda: self.up)

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
def test_a_jump_is_not_followed_while_nobody_has_confirmed_it(
    machine: Machine, by: float
) -> None:
    with capture_logs() as logs:
        machine.set(by)
        machine.passes(30)

    jump = machine.clock.jump()
    assert jump is not None
    assert jump.by == timedelta(seconds=by)
    assert abs(machine.is_at - 30 * SECOND) < SECOND / 1000
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("clock.jumped", "warning")
    ]


@pytest.mark.parametrize("by", [0.9, -0.9])
def test_a_clock_that_is_brought_into_step_has_not_jumped(
    machine: Machine, by: float
) -> None:
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
        machine.clock.settle(follow=True)
    machine.passes(2)

    assert machine.is_at == HOUR + 2 * SECOND
    assert machine.clock.jump() is None
    assert _settled(logs) == [(3600.0, True, "answer")]


def test_a_jump_that_was_wrong_is_corrected_for_until_it_is_taken_back(
    machine: Machine,
) -> None:
    machine.set(3600)
    machine.clock.settle(follow=False)
    machine.passes(300)
    assert machine.is_at == 5 * MINUTE

    machine.set(-3600)
    machine.clock.settle(follow=False)
    machine.passes(300)
    assert machine.is_at == 10 * MINUTE


def test_a_correction_stays_through_a_jump(machine: Machine) -> None:
    machine.clock.correct(30 * SECOND)
    machine.set(-5)
    assert machine.is_at == 30 * SECOND

    machine.clock.settle(follow=True)
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
