"""What comes before a start, reminders, and what comes after it, the end."""

from datetime import timedelta

import pytest
from life import Life, announced, first_seen, kinds
from strategies import DAY, HOUR, MINUTE, NOON, SECOND, UNSET

from notifier.domain.models import Kind
from notifier.domain.timers import TimePolicy

REMINDED = TimePolicy(leads=(15 * MINUTE, DAY))


# --- reminders ----------------------------------------------------------------


def test_reminders_come_before_the_start_each_at_its_lead() -> None:
    start = NOON + 2 * DAY
    life = first_seen(start, policy=REMINDED)

    events = life.wait(3 * DAY)

    assert [(event.kind, event.at, event.lead) for event in events] == [
        (Kind.UPCOMING, start - DAY, DAY),
        (Kind.UPCOMING, start - 15 * MINUTE, 15 * MINUTE),
        (Kind.STARTED, start, None),
    ]
    assert len({event.id for event in events}) == 3


def test_reminders_follow_a_move_and_come_again_for_the_new_start() -> None:
    life = first_seen(NOON + 2 * DAY, policy=REMINDED)
    life.wait(DAY + HOUR)
    moved = NOON + 5 * DAY
    life.shows(start=moved)
    life.events.clear()

    events = life.wait(5 * DAY)

    assert [event.at for event in events] == [
        moved - DAY,
        moved - 15 * MINUTE,
        moved,
    ]


def test_a_reminder_says_the_same_when_a_start_moves_away_and_back() -> None:
    # The same id: the store owes it once.
    life = first_seen(NOON + DAY + HOUR, policy=REMINDED)
    life.wait(2 * HOUR)
    life.shows(start=NOON + 3 * DAY)
    life.shows(start=NOON + DAY + HOUR)
    life.wait(2 * HOUR)

    reminded = [event.id for event in life.events if event.kind is Kind.UPCOMING]
    assert len(reminded) == 2
    assert len(set(reminded)) == 1


@pytest.mark.parametrize(
    ("lead", "late", "comes"),
    [
        (15 * MINUTE, 90 * SECOND, True),
        (15 * MINUTE, 91 * SECOND, False),
        (DAY, 144 * MINUTE, True),
        (DAY, 145 * MINUTE, False),
        (10 * SECOND, SECOND, True),
        (10 * SECOND, 2 * SECOND, False),
    ],
    ids=str,
)
def test_a_reminder_may_be_late_by_a_tenth_of_its_lead(
    lead: timedelta, late: timedelta, *, comes: bool
) -> None:
    policy = TimePolicy(leads=(lead,))

    just_seen = first_seen(NOON + lead - late, policy=policy).wait(timedelta(0))
    slept = first_seen(NOON + HOUR + lead, policy=policy).sleep(HOUR + late)

    assert kinds(just_seen) == [Kind.UPCOMING] * comes
    assert kinds(slept) == [Kind.UPCOMING] * comes


def test_leads_that_have_no_time_left_are_skipped_the_others_come() -> None:
    life = first_seen(NOON + HOUR, policy=REMINDED)

    assert [event.lead for event in life.wait(HOUR - SECOND)] == [15 * MINUTE]


def test_a_start_that_moves_close_keeps_the_reminders_that_still_make_sense() -> None:
    life = first_seen(NOON + 3 * DAY, policy=REMINDED)
    life.shows(start=NOON + 20 * MINUTE)
    life.events.clear()

    assert [event.lead for event in life.wait(19 * MINUTE)] == [15 * MINUTE]


def test_nobody_is_reminded_of_the_past() -> None:
    life = first_seen(NOON + 2 * MINUTE, policy=TimePolicy(leads=(HOUR,)))
    assert life.timers.keys() == first_seen(NOON + 2 * MINUTE).timers.keys()

    down = first_seen(NOON + 2 * DAY, policy=TimePolicy(leads=(MINUTE, DAY)))
    assert kinds(down.sleep(2 * DAY + SECOND)) == [Kind.STARTED]


def test_a_start_that_will_not_be_announced_again_needs_no_reminder() -> None:
    life = announced(NOON + HOUR)
    life.policy = TimePolicy(leads=(5 * MINUTE,))
    life.shows(start=NOON + HOUR + 12 * MINUTE)
    life.events.clear()

    assert life.wait(DAY) == []


def test_a_reminder_is_withdrawn_with_its_milestone() -> None:
    life = first_seen(NOON + 2 * DAY, policy=REMINDED)
    life.vanishes()

    assert life.wait(3 * DAY) == []


def test_an_update_of_the_title_loses_no_timer_that_is_due() -> None:
    life = first_seen(NOON + HOUR, policy=REMINDED)
    life.now = NOON + HOUR
    life.fields |= {"title": "B"}
    life.shows()
    life.events.clear()

    assert kinds(life.wait(timedelta(0))) == [Kind.STARTED]


def test_leads_that_differ_by_a_second_in_weeks_are_two_reminders() -> None:
    weeks = timedelta(days=14, seconds=1)
    life = first_seen(NOON + 15 * DAY, policy=TimePolicy(leads=(weeks, weeks + SECOND)))

    events = life.wait(2 * DAY)

    assert len({event.id for event in events}) == 2


# --- ended --------------------------------------------------------------------


def test_an_end_is_announced_at_its_instant_microseconds_included() -> None:
    end = NOON + HOUR + timedelta(microseconds=123456)
    life = first_seen(NOON - HOUR)
    life.shows(end=end)
    life.events.clear()

    (event,) = life.wait(DAY)

    assert (event.kind, event.at) == (Kind.ENDED, end)


@pytest.mark.parametrize("ago", [SECOND, 24 * HOUR], ids=str)
def test_an_end_that_appears_in_the_past_within_the_grace_is_announced(
    ago: timedelta,
) -> None:
    life = announced(NOON + HOUR)
    life.shows(end=life.now - ago)

    (event,) = life.wait(timedelta(0))

    assert (event.kind, event.missed) == (Kind.ENDED, False)
    assert life.events == [event]


def test_an_end_that_appears_long_past_is_a_mere_update() -> None:
    life = announced(NOON + HOUR)
    life.shows(end=life.now - 24 * HOUR - SECOND)

    assert life.wait(DAY) == []
    assert kinds(life.events) == [Kind.UPDATED]


def test_an_end_that_was_ahead_and_turns_out_to_be_past_is_announced() -> None:
    life = first_seen(NOON - HOUR)
    life.shows(end=NOON + 5 * HOUR)
    life.shows(end=NOON - MINUTE)

    assert kinds(life.wait(DAY)) == [Kind.ENDED]


@pytest.mark.parametrize(("down", "missed"), [(24 * HOUR, False), (25 * HOUR, True)], ids=str)
def test_an_end_that_passed_while_the_service_was_down_is_told_within_the_grace(
    down: timedelta, *, missed: bool
) -> None:
    life = first_seen(NOON - HOUR)
    life.shows(end=NOON + MINUTE)

    (event,) = life.sleep(MINUTE + down)

    assert (event.kind, event.missed) == (Kind.ENDED, missed)


def test_a_milestone_that_was_over_when_first_seen_does_not_end() -> None:
    life = Life()
    life.shows(start=NOON - 3 * HOUR, end=NOON - HOUR)
    life.events.clear()

    assert life.wait(DAY) == []


def test_an_end_without_a_date_says_nothing() -> None:
    life = first_seen(UNSET)
    life.shows(end=UNSET + DAY)
    life.events.clear()

    assert life.wait(DAY) == []


def test_an_end_that_is_taken_back_says_nothing() -> None:
    life = first_seen(NOON - HOUR)
    life.shows(end=NOON + HOUR)
    life.shows_no_end()
    life.events.clear()

    assert life.wait(DAY) == []


def _over() -> Life:
    """One that ended an hour after noon, and was announced to."""
    life = first_seen(NOON - HOUR)
    life.shows(end=NOON + HOUR)
    assert kinds(life.wait(HOUR)) == [Kind.ENDED]
    life.events.clear()
    return life


@pytest.mark.parametrize("by", [-30 * MINUTE, MINUTE, 40 * MINUTE], ids=str)
def test_the_correction_of_an_announced_end_is_a_mere_update(by: timedelta) -> None:
    life = _over()
    life.wait(HOUR)
    life.shows(end=NOON + HOUR + by)

    assert life.wait(DAY) == []
    assert kinds(life.events) == [Kind.UPDATED]


def test_a_milestone_that_is_resumed_and_ends_for_good_ends_again() -> None:
    life = _over()
    life.shows_no_end()
    life.wait(DAY)
    life.shows(end=life.now - MINUTE)
    life.events.clear()

    assert kinds(life.wait(DAY)) == [Kind.ENDED]


def test_a_start_that_moves_leaves_the_end_alone() -> None:
    life = first_seen(NOON + HOUR)
    life.shows(end=NOON + 3 * HOUR)
    life.shows(start=NOON + 2 * HOUR)
    life.events.clear()

    assert kinds(life.wait(DAY)) == [Kind.STARTED, Kind.ENDED]
