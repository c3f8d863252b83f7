"""When a milestone starts, which start is announced again, and what is too late."""

from datetime import UTC, datetime, timedelta

import pytest
from life import Life, announced, first_seen, kinds
from strategies import DAY, HOUR, MINUTE, NOON, SECOND, UNSET

from notifier.domain.models import Kind
from notifier.domain.timers import TimePolicy

# --- started ------------------------------------------------------------------


def test_a_start_is_announced_at_its_instant() -> None:
    life = first_seen(NOON + HOUR)

    assert life.wait(HOUR - SECOND) == []
    (event,) = life.wait(SECOND)

    assert (event.kind, event.at, event.seen_at) == (
        Kind.STARTED,
        NOON + HOUR,
        NOON + HOUR,
    )
    assert not event.missed
    assert event.again_from is None


def test_a_start_is_announced_once_however_often_it_is_read() -> None:
    life = announced(NOON + HOUR)
    life.fields |= {"title": "B"}
    life.shows()

    assert kinds(life.events) == [Kind.UPDATED]
    assert life.wait(30 * DAY) == []


@pytest.mark.parametrize("years", [0, 25, 100], ids=["2000", "1975", "1900"])
def test_a_start_up_to_the_year_2000_arms_nothing(years: int) -> None:
    life = first_seen(datetime(2000 - years, 12, 31, 23, 59, 59, tzinfo=UTC))

    assert life.timers == {}


def test_a_start_of_2001_is_a_date() -> None:
    life = Life(now=datetime(2000, 6, 1, tzinfo=UTC))
    life.shows(start=datetime(2001, 1, 1, tzinfo=UTC))

    assert life.timers != {}


def test_a_start_that_was_past_when_first_seen_is_not_announced() -> None:
    life = first_seen(NOON - MINUTE)

    assert life.wait(DAY) == []


def test_a_start_at_the_very_moment_it_is_first_seen_is_past() -> None:
    assert first_seen(NOON).timers == {}


def test_a_date_that_takes_the_place_of_none_is_announced() -> None:
    life = first_seen(UNSET)
    life.shows(start=NOON + HOUR)
    life.events.clear()

    assert kinds(life.wait(DAY)) == [Kind.STARTED]


def test_a_start_that_loses_its_date_is_not_announced() -> None:
    life = first_seen(NOON + HOUR)
    life.shows(start=UNSET)
    life.events.clear()

    assert life.wait(DAY) == []


# --- moved before it was announced --------------------------------------------


@pytest.mark.parametrize("by", [-HOUR, -SECOND, SECOND, 5 * MINUTE, 7 * DAY], ids=str)
def test_a_start_that_moves_is_announced_at_its_new_instant_only(
    by: timedelta,
) -> None:
    life = first_seen(NOON + 2 * HOUR)
    life.shows(start=NOON + 2 * HOUR + by)
    life.events.clear()

    (event,) = life.wait(30 * DAY)

    assert (event.kind, event.at) == (Kind.STARTED, NOON + 2 * HOUR + by)
    assert event.again_from is None


def test_a_start_that_moves_away_and_back_is_announced_once() -> None:
    life = first_seen(NOON + 2 * HOUR)
    life.shows(start=NOON + 3 * HOUR)
    life.shows(start=NOON + 2 * HOUR)
    life.events.clear()

    assert [event.at for event in life.wait(DAY)] == [NOON + 2 * HOUR]


def test_a_start_that_moves_away_in_the_moment_it_is_due_is_not_announced() -> None:
    life = first_seen(NOON + HOUR)
    life.now = NOON + HOUR
    life.shows(start=NOON + 2 * HOUR)
    life.events.clear()

    assert [event.at for event in life.wait(DAY)] == [NOON + 2 * HOUR]


# --- moved after it was announced ---------------------------------------------


def test_a_start_that_moves_later_by_much_is_announced_again_and_says_so() -> None:
    life = announced(NOON + HOUR)
    life.shows(start=NOON + 2 * HOUR)
    life.events.clear()

    (event,) = life.wait(DAY)

    assert (event.at, event.again_from) == (NOON + 2 * HOUR, NOON + HOUR)


@pytest.mark.parametrize("by", [SECOND, 15 * MINUTE], ids=str)
def test_a_start_that_moves_later_by_little_is_not_announced_again(
    by: timedelta,
) -> None:
    life = announced(NOON + HOUR)
    life.shows(start=NOON + HOUR + by)
    life.events.clear()

    assert life.wait(DAY) == []


def test_how_much_is_much_is_the_users_to_say() -> None:
    life = announced(NOON + HOUR)
    life.policy = TimePolicy(started_again_after=2 * HOUR)
    life.shows(start=NOON + 3 * HOUR)
    life.events.clear()

    assert life.wait(DAY) == []


@pytest.mark.parametrize("by", [-SECOND, -HOUR, -7 * DAY], ids=str)
def test_a_start_that_moves_earlier_after_it_was_announced_says_nothing(
    by: timedelta,
) -> None:
    life = announced(NOON + HOUR)
    life.shows(start=NOON + HOUR + by)
    life.events.clear()

    assert life.wait(DAY) == []


def test_small_moves_add_up_from_the_announced_instant() -> None:
    life = announced(NOON + HOUR)
    life.shows(start=NOON + HOUR + 10 * MINUTE)
    life.shows(start=NOON + HOUR + 20 * MINUTE)
    life.events.clear()

    (event,) = life.wait(DAY)

    assert event.again_from == NOON + HOUR


def test_each_new_announcement_names_the_one_before() -> None:
    life = announced(NOON + HOUR)
    for hours in (3, 6):
        life.shows(start=NOON + hours * HOUR)
        life.wait(3 * HOUR)

    again = [event.again_from for event in life.events if event.kind is Kind.STARTED]
    assert again == [NOON + HOUR, NOON + 3 * HOUR]


# --- told late, or missed -----------------------------------------------------


@pytest.mark.parametrize("late", [SECOND, 12 * MINUTE, 30 * MINUTE], ids=str)
def test_a_start_that_passed_while_the_service_was_down_is_told_late(
    late: timedelta,
) -> None:
    life = first_seen(NOON + HOUR)

    (event,) = life.sleep(HOUR + late)

    assert (event.at, event.seen_at, event.missed) == (
        NOON + HOUR,
        NOON + HOUR + late,
        False,
    )


def test_a_start_that_passed_too_long_ago_is_recorded_as_missed() -> None:
    life = first_seen(NOON + HOUR)

    (event,) = life.sleep(HOUR + 30 * MINUTE + SECOND)

    assert (event.kind, event.at, event.missed) == (Kind.STARTED, NOON + HOUR, True)


@pytest.mark.parametrize(
    ("ago", "missed"),
    [(SECOND, False), (30 * MINUTE, False), (31 * MINUTE, True), (60 * DAY, True)],
    ids=str,
)
def test_a_start_that_moves_into_the_past_is_told_late_or_missed(
    ago: timedelta, *, missed: bool
) -> None:
    life = first_seen(NOON + HOUR)
    life.shows(start=NOON - ago)
    life.events.clear()

    (event,) = life.wait(timedelta(0))

    assert (event.kind, event.at, event.missed) == (Kind.STARTED, NOON - ago, missed)


def test_a_missed_start_was_never_announced_so_the_next_one_is_the_first() -> None:
    life = first_seen(NOON + HOUR)
    life.sleep(3 * HOUR)
    life.shows(start=NOON + 4 * HOUR)
    life.events.clear()

    (event,) = life.wait(DAY)

    assert event.again_from is None


def test_a_missed_start_that_moves_within_reach_is_told_late() -> None:
    life = first_seen(NOON + HOUR)
    life.sleep(HOUR + 35 * MINUTE)
    life.shows(start=NOON + HOUR + 10 * MINUTE)
    life.events.clear()

    (event,) = life.wait(timedelta(0))

    assert (event.at, event.missed) == (NOON + HOUR + 10 * MINUTE, False)


@pytest.mark.parametrize("first", [NOON - 3 * DAY, UNSET], ids=["past", "no date yet"])
def test_an_old_start_that_is_corrected_is_no_news(first: datetime) -> None:
    life = first_seen(first)
    life.shows(start=NOON - 2 * DAY)
    life.events.clear()

    assert life.wait(DAY) == []


def test_a_start_that_really_was_a_little_later_is_told_again() -> None:
    life = announced(NOON + HOUR)
    life.wait(25 * MINUTE)
    life.shows(start=NOON + HOUR + 20 * MINUTE)
    life.events.clear()

    (event,) = life.wait(timedelta(0))

    assert (event.again_from, event.missed) == (NOON + HOUR, False)


# --- removed and returned -----------------------------------------------------


def test_a_removed_milestone_does_not_start() -> None:
    life = first_seen(NOON + HOUR)
    life.vanishes()

    assert life.wait(DAY) == []


def test_a_milestone_that_returns_after_its_start_does_not_start_again() -> None:
    life = announced(NOON + HOUR)
    life.vanishes()
    life.wait(MINUTE)
    life.shows()

    assert life.wait(DAY) == []


# --- ids ----------------------------------------------------------------------


def test_the_same_fact_has_the_same_id_whenever_it_is_told() -> None:
    (on_time,) = first_seen(NOON + HOUR).wait(HOUR)
    (late,) = first_seen(NOON + HOUR).sleep(HOUR + MINUTE)

    assert on_time.id == late.id
