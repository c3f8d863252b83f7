"""What routes would have sent: messages by the digest rule, reminders that no route had."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from storing import DAY, HOOK, HOUR, MINUTE, NOW, SECOND, row, stamp

from notifier.domain.batching import BatchingPolicy, DestinationPolicy
from notifier.domain.models import Delivery, Kind, Timer, TimerKind
from notifier.domain.preview import KnownMilestone, MessageCounter, missing_reminder, owed
from notifier.domain.rules import Route
from notifier.domain.timers import LastAnnounced, TimePolicy, fire

ZONE = ZoneInfo("UTC")
ROUTES = (Route(name="all", to=(HOOK,), reminders=(HOUR,)),)


def counter_of(how: BatchingPolicy, *due: datetime, kind: Kind = Kind.CREATED) -> MessageCounter:
    counter = MessageCounter([DestinationPolicy(name=HOOK, batching={}, default=how, rate=None)])
    for number, due_at in enumerate(due):
        delivery = Delivery(
            id=f"d{number}",
            event_id=f"e{number}",
            kind=kind,
            milestone_id=f"m{number}",
            destination=HOOK,
            route="all",
            due_at=due_at,
            created_at=due_at,
            expires_at=None,
        )
        counter.add(delivery, due_at)
    return counter


def counted(
    how: BatchingPolicy, *due: datetime, kind: Kind = Kind.CREATED
) -> list[tuple[timedelta, int]]:
    """When messages would have left, and how many."""
    messages = counter_of(how, *due, kind=kind).messages(NOW + DAY)
    return [(at - NOW, number) for _, at, number in messages]


def test_more_than_a_digest_allows_would_have_been_one_message() -> None:
    plain = BatchingPolicy(over=10, zone=ZONE)

    assert counted(plain, *[NOW] * 10, *[NOW + HOUR] * 11) == [(timedelta(0), 10), (HOUR, 1)]
    assert counted(BatchingPolicy(over=None, zone=ZONE), *[NOW] * 60) == [(timedelta(0), 60)]


def test_a_daily_digest_would_have_been_one_message_but_starts_do_not_wait_for_it() -> None:
    daily = BatchingPolicy(over=None, zone=ZONE, at=time(20))
    due = [NOW + number * MINUTE for number in range(3)]

    assert counted(daily, *due) == [(2 * HOUR, 1)]
    assert counted(daily, *due, kind=Kind.STARTED) == [
        (timedelta(0), 1),
        (MINUTE, 1),
        (2 * MINUTE, 1),
    ]


def test_a_window_begins_with_the_first_that_gathers() -> None:
    window = BatchingPolicy(over=None, zone=ZONE, window=30 * SECOND)

    found = counted(window, NOW, NOW + 20 * SECOND, NOW + MINUTE)

    assert found == [(30 * SECOND, 1), (90 * SECOND, 1)]


def test_what_would_still_gather_is_counted_as_waiting() -> None:
    counter = counter_of(BatchingPolicy(over=None, zone=ZONE, at=time(20)), NOW)

    assert list(counter.messages(NOW + HOUR)) == []
    assert counter.waiting(NOW + HOUR) == {HOOK: 1}


# --- reminders that no route had ------------------------------------------------


def known(since: datetime, announced_start: datetime | None = None) -> KnownMilestone:
    return KnownMilestone(
        milestone=row("m1").milestone, since=since, announced_start=announced_start
    )


def test_a_missing_reminder_has_the_id_that_it_would_have_had() -> None:
    milestone = row("m1").milestone
    at = milestone.start - HOUR
    timer = Timer(milestone_id="m1", kind=TimerKind.REMIND, fire_at=at, lead=HOUR)
    real = fire(timer, milestone, announced=LastAnnounced(), policy=TimePolicy(), now=at)

    found = missing_reminder(known(NOW - DAY), HOUR, policy=TimePolicy())

    assert found == real
    assert found is not None
    assert [one.destination for one in owed(found, ROUTES, policy=TimePolicy(), due_at=at)] == [
        HOOK
    ]


@pytest.mark.parametrize(
    ("since", "is_reminded"),
    [(NOW + HOUR + 6 * MINUTE, True), (NOW + HOUR + 7 * MINUTE, False)],
)
def test_nobody_is_reminded_of_a_start_that_became_known_too_late(
    since: datetime, is_reminded: bool
) -> None:
    """Late by more than a tenth of its lead."""
    found = missing_reminder(known(since), HOUR, policy=TimePolicy())

    assert (found is not None) == is_reminded


def test_nobody_is_reminded_of_a_start_that_was_announced_shortly_before() -> None:
    start = row("m1").milestone.start

    assert missing_reminder(known(NOW, start - MINUTE), HOUR, policy=TimePolicy()) is None
    assert missing_reminder(known(NOW, start - HOUR), HOUR, policy=TimePolicy()) is not None


def test_a_start_that_is_not_set_reminds_nobody() -> None:
    unset = row("m1", start_date="2000-01-01T00:00:00Z").milestone

    found = missing_reminder(KnownMilestone(milestone=unset, since=NOW), HOUR, policy=TimePolicy())

    assert (stamp(unset.start), found) == ("2000-01-01T00:00:00Z", None)
