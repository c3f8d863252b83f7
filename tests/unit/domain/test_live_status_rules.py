"""What live data means, how long it holds, and whom to ask about."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.live_status import (
    Candidate,
    LiveAnswer,
    LiveData,
    PolledCandidate,
    Status,
    ids_to_ask,
    next_start,
    parse_status,
    updated_status,
)

START = datetime(2026, 11, 22, 18, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def known(status: Status, *, since: datetime = START, checked_at: datetime = START) -> LiveData:
    return LiveData(status=status, word=status.value, since=since, checked_at=checked_at)


def asks(
    now: datetime,
    *,
    live: LiveData | None = None,
    last: datetime | None = None,
) -> bool:
    one = Candidate(milestone_id="m1", start=START, known=live)
    return ids_to_ask([PolledCandidate(candidate=one, at=last)], now, most=9) == ["m1"]


# --- what words mean ----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["live", "inprogress"], Status.LIVE),
        (["In-Progress"], Status.LIVE),
        (["finished", "closed"], Status.FINISHED),
        ([" Closed "], Status.FINISHED),
        (["not_started"], Status.NOT_STARTED),
        (["scheduled"], Status.NOT_STARTED),
        (["postponed"], Status.DELAYED),
        (["SUSPENDED"], Status.DELAYED),
        (["warming up"], Status.UNKNOWN),
    ],
)
def test_their_words_come_to_a_few_statuses(words: list[str], status: Status) -> None:
    heard = parse_status(words)

    assert heard is not None
    assert heard == LiveAnswer(status=status, word=words[0].strip())


def test_a_word_that_is_known_counts_before_one_that_is_not() -> None:
    assert parse_status(["3rd inning", "inprogress"]) == LiveAnswer(
        status=Status.LIVE, word="inprogress"
    )


@pytest.mark.parametrize("words", [[], [""], ["  ", ""]])
def test_no_word_says_nothing(words: list[str]) -> None:
    assert parse_status(words) is None


@given(st.lists(st.text()))
def test_whatever_stands_there_is_short_and_safe_to_keep(words: list[str]) -> None:
    heard = parse_status(words)

    assert heard is None or 0 < len(heard.word) <= 60


def test_a_status_is_known_since_it_was_first_seen() -> None:
    live = LiveAnswer(status=Status.LIVE, word="live")
    over = LiveAnswer(status=Status.FINISHED, word="closed")

    first = updated_status(None, live, START)
    again = updated_status(first, live, START + MINUTE)
    last = updated_status(again, over, START + HOUR)

    assert (again.since, again.checked_at) == (START, START + MINUTE)
    assert (last.status, last.since) == (Status.FINISHED, START + HOUR)


# --- how long it holds --------------------------------------------------------


@pytest.mark.parametrize("status", [one for one in Status if one is not Status.FINISHED])
def test_what_was_said_long_ago_may_not_hold_any_more(status: Status) -> None:
    live = known(status)

    start = START - MINUTE
    assert live.holds(start=start, now=START + 2 * MINUTE)
    assert not live.holds(start=start, now=START + 3 * MINUTE)
    assert not live.holds(start=start, now=START - 3 * MINUTE)


def test_an_end_holds_for_good_unless_the_start_has_moved_behind_it() -> None:
    over = known(Status.FINISHED, since=START + 2 * HOUR, checked_at=START + 2 * HOUR)

    assert over.holds(start=START, now=START + 9 * HOUR)
    assert not over.holds(start=START + 24 * HOUR, now=START + 24 * HOUR)
    assert not over.holds(start=START, now=START + HOUR)


@pytest.mark.parametrize("status", Status)
def test_only_not_started_says_nothing_of_a_start_that_came_with_it(
    status: Status,
) -> None:
    before = known(status, since=START - MINUTE, checked_at=START)
    after = known(status, since=START - MINUTE, checked_at=START + SECOND)

    assert before.holds(start=START, now=START - SECOND)
    assert before.holds(start=START, now=START) is (status is not Status.NOT_STARTED)
    assert after.holds(start=START, now=START + SECOND)


# --- whom to ask about --------------------------------------------------------


@pytest.mark.parametrize(
    ("away", "asked"),
    [
        (-16 * MINUTE, False),
        (-15 * MINUTE, True),
        (MINUTE, True),
        (6 * HOUR, True),
        (6 * HOUR + MINUTE, False),
    ],
)
def test_whoever_starts_soon_or_has_started_lately_is_asked_about(
    away: timedelta, asked: bool
) -> None:
    assert asks(START + away) is asked


@pytest.mark.parametrize(
    ("away", "live", "every"),
    [
        (-10 * MINUTE, None, 2 * MINUTE),
        (-2 * MINUTE, None, 30 * SECOND),
        (timedelta(0), Status.NOT_STARTED, 30 * SECOND),
        (MINUTE, Status.NOT_STARTED, 30 * SECOND),
        (20 * MINUTE, Status.DELAYED, 30 * SECOND),
        (3 * MINUTE, Status.LIVE, 2 * MINUTE),
        (31 * MINUTE, Status.NOT_STARTED, 2 * MINUTE),
        (5 * HOUR, Status.LIVE, 2 * MINUTE),
    ],
)
def test_around_a_start_that_has_not_come_to_pass_it_is_asked_often(
    away: timedelta, live: Status | None, every: timedelta
) -> None:
    now = START + away
    has = None if live is None else known(live)

    assert asks(now, live=has, last=now - every)
    assert not asks(now, live=has, last=now - every + SECOND)


@pytest.mark.parametrize("status", [None, Status.NOT_STARTED, Status.LIVE])
def test_right_after_a_start_it_is_asked_once_more(status: Status | None) -> None:
    has = None if status is None else known(status)
    last = START - 2 * SECOND

    assert not asks(START, live=has, last=last)
    assert asks(START + SECOND, live=has, last=last)
    assert not asks(START + 2 * SECOND, live=has, last=START + SECOND)


def test_the_next_start_is_the_soonest_that_is_ahead() -> None:
    crowd = [
        PolledCandidate(candidate=Candidate(milestone_id=f"{away}", start=START + away), at=None)
        for away in (-HOUR, -SECOND, MINUTE, HOUR)
    ]

    assert next_start(crowd, START) == START + MINUTE + SECOND
    assert next_start(crowd[:2], START) is None


def test_whoever_has_finished_is_not_asked_about_until_its_start_moves() -> None:
    now = START + 3 * HOUR

    assert not asks(now, live=known(Status.FINISHED, since=START + 2 * HOUR))
    assert asks(now, live=known(Status.FINISHED, since=START - 24 * HOUR))


def test_a_clock_that_was_set_back_does_not_end_the_asking() -> None:
    assert asks(START, last=START + HOUR)


def test_when_there_are_too_many_those_at_their_start_come_first() -> None:
    def one(name: str, start: datetime, last: datetime | None) -> PolledCandidate:
        return PolledCandidate(candidate=Candidate(milestone_id=name, start=start), at=last)

    old = START - 3 * HOUR
    crowd = [
        one("long under way", old, START - 5 * MINUTE),
        one("longer waiting", old, START - 9 * MINUTE),
        one("never asked", old, None),
        one("starts", START, START - MINUTE),
    ]

    assert ids_to_ask(crowd, START, most=3) == ["starts", "never asked", "longer waiting"]


def test_whoever_has_just_started_comes_before_all_others() -> None:
    def one(name: str, start: datetime, last: datetime) -> PolledCandidate:
        return PolledCandidate(candidate=Candidate(milestone_id=name, start=start), at=last)

    late = START - 9 * MINUTE
    crowd = [one("late", late, START - MINUTE), one("now", START, START - SECOND)]

    assert ids_to_ask(crowd, START + SECOND, most=1) == ["now"]
