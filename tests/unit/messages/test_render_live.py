"""A start that live data does not bear out is not told as a fact."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from message_samples import MOVED, START, event, lines, milestone, put

from notifier.domain.deliveries import RenderLevel
from notifier.domain.live_status import LiveData, Status
from notifier.domain.models import Event, Kind

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def told(
    kind: Kind,
    status: Status,
    *,
    word: str = "",
    name: str = "a",
    checked_at: datetime = START + SECOND,
    at: datetime = START,
    again_from: datetime | None = None,
) -> Event:
    changes = (MOVED,) if kind is Kind.UPDATED else ()
    one = event(kind, milestone(name=name), at=at, changes=changes, again_from=again_from)
    live = LiveData(status=status, word=word or status.value, since=START, checked_at=checked_at)
    return replace(one, live=live)


def test_a_start_that_has_not_come_to_pass_is_told_as_scheduled() -> None:
    message = put(told(Kind.STARTED, Status.NOT_STARTED), now=START + SECOND)

    assert message.title == "Scheduled to start now: Syracuse at Pittsburgh (not started yet)"
    assert lines(message)[:2] == [
        "Scheduled to start Sat 26 Sep, 15:30 EDT",
        "Kalshi's live data says that it has not started yet.",
    ]


def test_a_start_that_is_postponed_says_so_in_their_word() -> None:
    late = told(
        Kind.STARTED,
        Status.DELAYED,
        word="Postponed",
        checked_at=START + 5 * MINUTE,
    )

    message = put(late, now=START + 5 * MINUTE)

    assert message.title == "Was to start 5 min ago: Syracuse at Pittsburgh (postponed)"
    assert "Kalshi's live data says that it is postponed." in lines(message)
    assert "Started" not in message.title + message.body


def test_a_start_that_was_postponed_before_it_came_is_told_as_scheduled() -> None:
    before = told(Kind.STARTED, Status.DELAYED, checked_at=START - 20 * SECOND)

    message = put(before, now=START)

    assert message.title == "Scheduled to start now: Syracuse at Pittsburgh (delayed)"


def test_a_start_that_live_data_bears_out_is_a_fact() -> None:
    message = put(told(Kind.STARTED, Status.LIVE), now=START + SECOND)

    assert message.title == "Started: Syracuse at Pittsburgh"
    assert lines(message)[:2] == [
        "Started Sat 26 Sep, 15:30 EDT",
        "Kalshi's live data says that it is live.",
    ]


@pytest.mark.parametrize(
    ("status", "checked_at"),
    [
        (Status.NOT_STARTED, START - 3 * MINUTE),
        (Status.NOT_STARTED, START),
        (Status.UNKNOWN, START),
    ],
    ids=["long ago", "before it could start", "a word that nobody knows"],
)
def test_what_live_data_cannot_say_changes_nothing(status: Status, checked_at: datetime) -> None:
    with_it = told(Kind.STARTED, status, checked_at=checked_at)

    message = put(with_it, now=START + SECOND)

    plain = put(replace(with_it, live=None), now=START + SECOND)
    assert (message.title, message.body) == (plain.title, plain.body)


def test_a_start_that_is_told_again_keeps_when_it_was_told_before() -> None:
    again = told(Kind.STARTED, Status.NOT_STARTED, again_from=START - HOUR)

    message = put(again, now=START + SECOND)

    assert message.title.startswith("Scheduled to start now: ")
    assert message.title.endswith(" (not started yet) (announced before at 14:30 EDT)")


def test_an_end_is_borne_out_long_after_it_was_seen() -> None:
    message = put(told(Kind.ENDED, Status.FINISHED, at=START + 3 * HOUR), now=START + 9 * HOUR)

    assert "Kalshi's live data says that it has finished." in lines(message)


def test_an_update_of_what_has_not_started_does_not_say_that_it_has() -> None:
    late = told(Kind.UPDATED, Status.NOT_STARTED, checked_at=START + 5 * MINUTE)

    message = put(late, now=START + 5 * MINUTE)

    assert "Was to start Sat 26 Sep, 15:30 EDT (5 min ago)" in lines(message)
    assert "Kalshi's live data says that it has not started yet." in lines(message)


def test_a_reminder_need_not_say_that_it_has_not_started() -> None:
    ahead = START - 15 * MINUTE
    reminder = told(Kind.UPCOMING, Status.NOT_STARTED, checked_at=ahead)
    delayed = told(Kind.UPCOMING, Status.DELAYED, word="delayed", checked_at=ahead)

    assert "live data" not in put(reminder, now=ahead).body
    assert "Kalshi's live data says that it is delayed." in lines(put(delayed, now=ahead))


# --- digests ------------------------------------------------------------------


def test_a_digest_sets_apart_what_has_not_started() -> None:
    message = put(
        told(Kind.STARTED, Status.LIVE, name="a"),
        told(Kind.STARTED, Status.NOT_STARTED, name="b"),
        now=START + SECOND,
    )

    assert message.title.startswith("2 scheduled to start: ")
    headings = [line for line in lines(message) if "football game" in line]
    assert [line.partition(":")[0] for line in headings] == [
        "Started",
        "Scheduled to start",
    ]
    assert lines(message)[-1].endswith(" – live data says that it has not started yet")


def test_a_digest_tells_an_on_time_start_as_started() -> None:
    before = START - SECOND
    message = put(
        told(Kind.STARTED, Status.NOT_STARTED, name="a", checked_at=before),
        told(Kind.STARTED, Status.NOT_STARTED, name="b", checked_at=before),
        now=START,
    )

    assert message.title.startswith("2 started: ")
    assert "live data" not in message.body


@pytest.mark.parametrize("level", [RenderLevel.RICH, RenderLevel.COUNTS])
def test_no_count_of_a_digest_makes_a_fact_of_it(level: RenderLevel) -> None:
    message = put(
        told(Kind.STARTED, Status.NOT_STARTED, name="a"),
        told(Kind.UPCOMING, Status.NOT_STARTED, name="b"),
        level=level,
        now=START + SECOND,
    )

    assert message.title == "2 milestones: 1 upcoming, 1 scheduled to start"
    assert "1 started" not in message.body


# --- machines -----------------------------------------------------------------


def test_a_webhook_is_given_what_is_known() -> None:
    [sent] = put(told(Kind.STARTED, Status.LIVE), now=START).events
    [plain] = put(event(Kind.STARTED), now=START).events

    assert sent.live is not None
    assert (sent.live.status, sent.live.checked_at) == (Status.LIVE, START + SECOND)
    assert plain.live is None
