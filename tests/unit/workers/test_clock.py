"""A machine's clock that is set, rightly or wrongly."""

from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from storing import HOUR, MINUTE, NOW, SECOND
from structlog.testing import capture_logs

from notifier.clock import MAX_DOUBT_S, SystemClock
from notifier.domain.clock_offset import ANSWERS, OffsetBounds


class Machine:
    """A machine at NOW: time passes, it sleeps, its clock is set, the API answers."""

    def __init__(self, *, set_by: float = 0.0, confirmed: bool = True) -> None:
        self.up = 100.0
        self.set_by = set_by
        self.clock = SystemClock(wall=self.wall, steady=lambda: self.up)
        if confirmed:
            self.answer()

    def wall(self) -> float:
        return NOW.timestamp() - 100.0 + self.up + self.set_by

    def set(self, by: float) -> None:
        """Set its clock, and let the process look at it."""
        self.set_by += by
        self.clock.now()

    def passes(self, seconds: float) -> None:
        """Let time pass, with a look each second."""
        for _ in range(round(seconds)):
            self.up += 1
            self.clock.now()

    def answer(self, *, times: int = 1) -> None:
        """Let the API say what time it is."""
        for _ in range(times):
            off = NOW + timedelta(seconds=self.up - 100.0) - self.clock.now()
            self.clock.observe(OffsetBounds(low=off - SECOND / 2, high=off + SECOND / 2))

    @property
    def shows(self) -> timedelta:
        """What its clock shows, from NOW on."""
        return self.clock.now() - NOW


@pytest.fixture
def machine() -> Machine:
    return Machine()


def _events(logs: list[Any], *keys: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(key) for key in ("event", *keys)) for line in logs]


def test_the_clock_shows_what_the_machine_shows() -> None:
    before, clock = datetime.now(UTC), SystemClock()

    assert before <= clock.now() <= datetime.now(UTC)


def test_a_new_process_is_in_doubt_until_its_first_read_or_for_a_minute() -> None:
    machine, silent = Machine(confirmed=False), Machine(confirmed=False)
    assert machine.clock.doubt() == 0
    assert machine.clock.skew() is None

    machine.answer()
    assert machine.clock.doubt() is None
    assert machine.clock.skew() == 0 * SECOND

    failed = Machine(confirmed=False)
    failed.clock.no_answer()
    assert failed.clock.doubt() is None
    assert failed.clock.skew() is None

    silent.passes(MAX_DOUBT_S - 1)
    assert silent.clock.doubt() == 0
    silent.passes(1)
    assert silent.clock.doubt() is None
    assert silent.clock.skew() is None


@pytest.mark.parametrize("off", [40.0, -HOUR / SECOND, 86_400.0])
def test_the_first_answer_corrects_a_clock_that_is_off(off: float) -> None:
    machine = Machine(set_by=-off, confirmed=False)
    with capture_logs() as logs:
        machine.answer()

    assert machine.shows == 0 * SECOND
    assert machine.clock.skew() == off * SECOND
    assert _events(logs, "offset_s", "log_level") == [("clock.corrected", off, "warning")]


def test_five_answers_correct_a_clock_that_was_confirmed(machine: Machine) -> None:
    for _ in range(29):
        machine.set(0.9)  # it drifts too slowly for a jump
    machine.answer(times=ANSWERS - 1)
    assert abs(machine.shows - 26.1 * SECOND) < SECOND / 1000

    machine.answer()
    assert abs(machine.shows) < SECOND / 1000


@pytest.mark.parametrize("by", [3600.0, -3600.0, 1.5, -1.5, -1_795_000_000.0])
def test_a_jump_is_not_followed_until_an_answer_confirms_it(machine: Machine, by: float) -> None:
    with capture_logs() as logs:
        machine.set(by)
        machine.passes(30)

    machine.clock.no_answer()
    assert machine.clock.doubt() == 1
    assert abs(machine.shows - 30 * SECOND) < SECOND / 1000
    assert _events(logs, "jump_s", "log_level") == [("clock.jumped", by, "warning")]


@pytest.mark.parametrize("by", [0.9, -0.9])
def test_a_clock_that_is_brought_into_step_has_not_jumped(machine: Machine, by: float) -> None:
    for second in range(1, 6):
        machine.set(by)
        machine.passes(1)

        assert abs(machine.shows - second * (1 + by) * SECOND) < SECOND / 1000
    assert machine.clock.doubt() is None


def test_a_machine_that_slept_has_not_jumped(machine: Machine) -> None:
    machine.up += 8 * 3600  # as its wall clock does

    assert machine.shows == 8 * HOUR
    assert machine.clock.doubt() is None


def test_an_answer_that_confirms_a_jump_lets_it_be_followed() -> None:
    machine = Machine(set_by=-3600.0, confirmed=False)
    machine.passes(MAX_DOUBT_S)
    machine.set(3600.0)
    with capture_logs() as logs:
        machine.answer()

    assert machine.shows == MINUTE
    assert machine.clock.doubt() is None
    assert _events(logs, "followed", "by") == [("clock.settled", True, "answer")]


def test_a_jump_that_was_wrong_is_corrected_for_until_it_is_taken_back(machine: Machine) -> None:
    machine.set(3600)
    machine.answer()
    machine.passes(300)
    assert machine.shows == 5 * MINUTE
    assert machine.clock.skew() == -HOUR

    machine.set(-3600)
    machine.answer()
    machine.passes(300)
    assert machine.shows == 10 * MINUTE
    assert machine.clock.skew() == 0 * SECOND


def test_a_jump_that_is_taken_back_before_an_answer_is_over(machine: Machine) -> None:
    with capture_logs() as logs:
        machine.set(3600)
        machine.passes(10)
        machine.set(-3600)
    machine.passes(60)

    assert machine.clock.doubt() is None
    assert machine.shows == 70 * SECOND
    assert _events(logs[1:], "jump_s", "followed", "by") == [
        ("clock.settled", 3600.0, False, "itself")
    ]


@pytest.mark.parametrize("corrected", [0.0, 600.0])
@pytest.mark.parametrize("by", [3600.0, 600.0, -40.0])
def test_the_machine_is_believed_without_an_answer_for_a_minute(
    corrected: float, by: float
) -> None:
    machine = Machine(set_by=-corrected)
    machine.set(by)
    machine.passes(MAX_DOUBT_S - 1)
    assert abs(machine.shows - 59 * SECOND) < SECOND / 1000

    with capture_logs() as logs:
        machine.passes(1)
    assert machine.clock.doubt() is None
    assert machine.clock.skew() is None
    assert machine.clock.now().timestamp() == pytest.approx(machine.wall())
    assert _events(logs, "followed", "by") == [("clock.settled", True, "silence")]

    machine.answer()
    assert abs(machine.shows - MINUTE) < SECOND / 1000


def test_another_jump_is_in_doubt_anew(machine: Machine) -> None:
    machine.set(3600)
    machine.passes(50)
    machine.set(600)
    machine.passes(50)

    assert machine.clock.doubt() == 2
    assert abs(machine.shows - 100 * SECOND) < SECOND / 1000


def test_a_process_that_is_stopped_between_two_clocks_sees_no_jump(machine: Machine) -> None:
    stops = iter([3600.0])

    def wall() -> float:
        shown = machine.wall()
        machine.up += next(stops, 0.0)
        return shown

    machine.clock._wall = wall

    assert machine.clock.now() == NOW + HOUR
    assert machine.clock.doubt() is None


def test_many_threads_see_one_jump(machine: Machine) -> None:
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
