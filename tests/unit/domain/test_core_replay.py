"""What would have been sent: how many messages events would have become."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from storing import DAY, HOOK, HOUR, MINUTE, NOW, SECOND, row, stamp

from notifier.domain.batching import BatchingPolicy, DestinationPolicy
from notifier.domain.models import Change, Event, Kind, State, Timer, TimerKind, event_id
from notifier.domain.preview import (
    Fate,
    Hush,
    Known,
    Left,
    Rehearsal,
    Unsent,
    owed,
    reminded,
)
from notifier.domain.rules import QuietPolicy, Rate, Route, Then, Window
from notifier.domain.silences import create_silence
from notifier.domain.timers import LastAnnounced, TimePolicy, fire

ZONE = ZoneInfo("UTC")
ROUTES = (Route(name="all", to=(HOOK,), reminders=(HOUR,)),)
EVERY_DAY = frozenset(range(7))


def event(
    number: int,
    kind: Kind = Kind.CREATED,
    *,
    of: str | None = None,
    at: datetime = NOW,
    changes: tuple[Change, ...] = (),
    title: str = "Game",
) -> Event:
    start = at if kind is Kind.STARTED else NOW + 2 * HOUR
    fields = {"title": title, "start_date": stamp(start)}
    milestone = row(of or f"m{number}", **fields).milestone
    return Event(
        id=event_id(milestone.id, kind, str(number)),
        kind=kind,
        milestone=milestone,
        at=at,
        seen_at=at,
        changes=changes,
    )


def titled(number: int, before: str, after: str, at: datetime) -> Event:
    change = Change(field="title", before=before, after=after)
    return event(number, Kind.UPDATED, of="m1", at=at, changes=(change,), title=after)


def rehearsed(
    events: Sequence[Event],
    manner: BatchingPolicy,
    *,
    rate: Rate | None = None,
    until: datetime = NOW + 2 * DAY,
    hushes: Sequence[Hush] = (),
) -> tuple[list[Fate], int]:
    """What would have become of them, and how many wait still."""
    policy = TimePolicy()
    way = DestinationPolicy(name=HOOK, batching={}, default=manner, rate=rate)
    rehearsal = Rehearsal([way], policy=policy, hushes=hushes, living=100)
    fates: list[Fate] = []
    for one in events:
        due_at = one.seen_at
        mine = owed(one, ROUTES, policy=policy, due_at=due_at)
        fates += rehearsal.take(one, mine, due_at=due_at)
    fates += rehearsal.finish(until)
    return fates, rehearsal.waiting[HOOK]


def messages(fates: Sequence[Fate]) -> list[tuple[timedelta, int]]:
    """When each left, and how many it told."""
    return [(one.at - NOW, one.members) for one in fates if isinstance(one, Left)]


def unsent(fates: Sequence[Fate]) -> Counter[State]:
    return Counter(one.state for one in fates if isinstance(one, Unsent))


PLAIN = BatchingPolicy(over=10, zone=ZONE)
AT_NIGHT = QuietPolicy(windows=(Window(days=EVERY_DAY, start=time(17), end=time(20)),))


def test_more_than_a_digest_allows_would_have_been_one_message() -> None:
    few = [event(n) for n in range(10)]
    many = [event(n, at=NOW + HOUR) for n in range(10, 21)]

    fates, _ = rehearsed([*few, *many], PLAIN)

    assert messages(fates) == [*[(timedelta(0), 1)] * 10, (HOUR, 11)]


def test_so_many_new_ones_at_once_would_have_been_a_digest_whatever_the_rules() -> None:
    fates, _ = rehearsed([event(n) for n in range(60)], BatchingPolicy(over=None, zone=ZONE))

    assert messages(fates) == [(timedelta(0), 60)]


def test_what_gathers_until_a_time_of_day_would_have_gone_together() -> None:
    daily = BatchingPolicy(over=None, zone=ZONE, at=time(20))
    news = [event(n, at=NOW + n * MINUTE) for n in range(5)]

    fates, _ = rehearsed(news, daily)

    assert messages(fates) == [(2 * HOUR, 5)]


def test_a_window_ends_for_all_that_have_joined_it() -> None:
    window = BatchingPolicy(over=None, zone=ZONE, window=30 * SECOND)
    news = [event(0), event(1, at=NOW + 20 * SECOND), event(2, at=NOW + MINUTE)]

    fates, _ = rehearsed(news, window)

    assert messages(fates) == [(30 * SECOND, 2), (90 * SECOND, 1)]


@pytest.mark.parametrize(
    ("then", "left", "dropped"),
    [
        (Then.DELIVER, [(2 * HOUR, 1), (2 * HOUR, 1)], 0),
        (Then.DIGEST, [(2 * HOUR, 2)], 0),
        (Then.DROP, [], 2),
    ],
)
def test_quiet_hours_would_have_held_or_dropped(
    then: Then, left: list[tuple[timedelta, int]], dropped: int
) -> None:
    quiet = replace(PLAIN, quiet=replace(AT_NIGHT, then=then))

    fates, _ = rehearsed([event(0), event(1)], quiet)

    assert messages(fates) == left
    assert unsent(fates)[State.DROPPED] == dropped


def test_a_start_that_quiet_hours_outlast_would_have_expired() -> None:
    quiet = replace(PLAIN, quiet=AT_NIGHT)

    fates, _ = rehearsed([event(0, Kind.STARTED)], quiet)

    assert (messages(fates), unsent(fates)) == ([], Counter({State.EXPIRED: 1}))


def test_updates_that_wait_together_would_have_been_their_net_change() -> None:
    window = BatchingPolicy(over=None, zone=ZONE, window=MINUTE)
    moved = [titled(1, "A", "B", NOW), titled(2, "B", "C", NOW + SECOND)]
    undone = [titled(3, "C", "D", NOW + HOUR), titled(4, "D", "C", NOW + HOUR + SECOND)]

    fates, _ = rehearsed([*moved, *undone], window)

    assert messages(fates) == [(MINUTE, 1)]
    assert unsent(fates) == Counter({State.SUPERSEDED: 3})


def test_a_silence_of_then_would_have_dropped_what_fell_due_in_it() -> None:
    silence = create_silence({"type": ["football_game"]}, why="x", created_at=NOW, until=NOW + DAY)
    ended_early = Hush(silence=silence, over=NOW + HOUR)
    news = [event(0), event(1, at=NOW + 2 * HOUR)]

    fates, _ = rehearsed(news, PLAIN, hushes=[ended_early])

    assert messages(fates) == [(2 * HOUR, 1)]
    assert unsent(fates) == Counter({State.DROPPED: 1})


def test_a_rate_would_have_made_them_wait_or_share_a_message() -> None:
    rate = Rate(count=1, per=5 * SECOND)
    two, three = ([event(n) for n in range(many)] for many in (2, 3))

    waited, _ = rehearsed(two, PLAIN, rate=rate)
    shared, _ = rehearsed(three, PLAIN, rate=rate)

    assert [at // SECOND for at, _ in messages(waited)] == [0, 5]
    assert messages(shared) == [(timedelta(0), 3)]


def test_what_is_held_when_the_story_ends_is_counted_as_waiting() -> None:
    daily = BatchingPolicy(over=None, zone=ZONE, at=time(20))

    fates, waiting = rehearsed([event(0)], daily, until=NOW + HOUR)

    assert (fates, waiting) == ([], 1)


# --- reminders that nobody had -------------------------------------------------


def known(since: datetime, fired: datetime | None = None) -> Known:
    return Known(milestone=row("m1").milestone, since=since, fired=fired)


def test_a_reminder_that_nobody_had_has_the_id_that_it_would_have_had() -> None:
    milestone = row("m1").milestone
    at = milestone.start - HOUR
    timer = Timer(milestone_id="m1", kind=TimerKind.REMIND, fire_at=at, lead=HOUR)
    real = fire(timer, milestone, fired=LastAnnounced(), policy=TimePolicy(), now=at)

    found = reminded(known(NOW - DAY), HOUR, policy=TimePolicy())

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
    found = reminded(known(since), HOUR, policy=TimePolicy())

    assert (found is not None) == is_reminded


def test_nobody_is_reminded_of_a_start_that_was_announced_shortly_before() -> None:
    start = row("m1").milestone.start

    assert reminded(known(NOW, start - MINUTE), HOUR, policy=TimePolicy()) is None
    assert reminded(known(NOW, start - HOUR), HOUR, policy=TimePolicy()) is not None


def test_a_start_that_is_not_set_reminds_nobody() -> None:
    unset = row("m1", start_date="2000-01-01T00:00:00Z").milestone

    found = reminded(Known(milestone=unset, since=NOW), HOUR, policy=TimePolicy())

    assert (stamp(unset.start), found) == ("2000-01-01T00:00:00Z", None)
