"""A start that live data does not confirm is not announced as a fact."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from message_samples import MOVED, START, event, lines, milestone, put

from notifier.domain.live_status import LiveData, Status
from notifier.domain.models import Event, Kind
from notifier.domain.outgoing import RenderLevel

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NOT_STARTED = "Kalshi's live data says that it has not started yet."


def live(
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
    data = LiveData(status=status, word=word or status.value, since=START, checked_at=checked_at)
    return replace(one, live=data)


@pytest.mark.parametrize(
    ("started", "now", "title", "body"),
    [
        (
            live(Kind.STARTED, Status.NOT_STARTED),
            START + SECOND,
            "Scheduled to start now: Syracuse at Pittsburgh (not started yet)",
            ["Scheduled to start Sat 26 Sep, 15:30 EDT", NOT_STARTED],
        ),
        (
            live(Kind.STARTED, Status.DELAYED, word="Postponed", checked_at=START + 5 * MINUTE),
            START + 5 * MINUTE,
            "Was to start 5 min ago: Syracuse at Pittsburgh (postponed)",
            [
                "Scheduled to start Sat 26 Sep, 15:30 EDT (5 min ago)",
                "Kalshi's live data says that it is postponed.",
            ],
        ),
        (
            live(Kind.STARTED, Status.DELAYED, checked_at=START - 20 * SECOND),
            START,
            "Scheduled to start now: Syracuse at Pittsburgh (delayed)",
            [
                "Scheduled to start Sat 26 Sep, 15:30 EDT",
                "Kalshi's live data says that it is delayed.",
            ],
        ),
        (
            live(Kind.STARTED, Status.LIVE),
            START + SECOND,
            "Started: Syracuse at Pittsburgh",
            [
                "Started Sat 26 Sep, 15:30 EDT",
                "Kalshi's live data says that it is live.",
            ],
        ),
    ],
)
def test_a_start_says_what_live_data_says(
    started: Event, now: datetime, title: str, body: list[str]
) -> None:
    message = put(started, now=now)

    assert message.title == title
    assert lines(message)[:2] == body


@pytest.mark.parametrize(
    ("status", "checked_at"),
    [
        (Status.NOT_STARTED, START - 3 * MINUTE),
        (Status.NOT_STARTED, START),
        (Status.UNKNOWN, START),
    ],
    ids=["long ago", "before it could start", "an unknown word"],
)
def test_live_data_that_says_nothing_changes_nothing(status: Status, checked_at: datetime) -> None:
    with_it = live(Kind.STARTED, status, checked_at=checked_at)

    message = put(with_it, now=START + SECOND)

    plain = put(replace(with_it, live=None), now=START + SECOND)
    assert (message.title, message.body) == (plain.title, plain.body)


def test_a_start_announced_again_keeps_when_it_was_announced_before() -> None:
    again = live(Kind.STARTED, Status.NOT_STARTED, again_from=START - HOUR)

    message = put(again, now=START + SECOND)

    assert message.title.startswith("Scheduled to start now: ")
    assert message.title.endswith(" (not started yet) (announced before at 14:30 EDT)")


def test_an_end_is_confirmed_long_after_it_was_seen() -> None:
    message = put(live(Kind.ENDED, Status.FINISHED, at=START + 3 * HOUR), now=START + 9 * HOUR)

    assert "Kalshi's live data says that it has finished." in lines(message)


def test_an_update_after_a_start_that_did_not_come_says_so() -> None:
    late = live(Kind.UPDATED, Status.NOT_STARTED, checked_at=START + 5 * MINUTE)

    body = lines(put(late, now=START + 5 * MINUTE))

    assert "Was to start Sat 26 Sep, 15:30 EDT (5 min ago)" in body
    assert NOT_STARTED in body


def test_a_reminder_only_says_what_is_not_obvious() -> None:
    ahead = START - 15 * MINUTE
    reminder = live(Kind.UPCOMING, Status.NOT_STARTED, checked_at=ahead)
    delayed = live(Kind.UPCOMING, Status.DELAYED, word="delayed", checked_at=ahead)

    assert "live data" not in put(reminder, now=ahead).body
    assert "Kalshi's live data says that it is delayed." in lines(put(delayed, now=ahead))


# --- digests ------------------------------------------------------------------


def test_a_digest_sets_apart_what_has_not_started() -> None:
    message = put(
        live(Kind.STARTED, Status.LIVE, name="a"),
        live(Kind.STARTED, Status.NOT_STARTED, name="b"),
        now=START + SECOND,
    )

    assert message.title.startswith("2 scheduled to start: ")
    headings = [line.partition(":")[0] for line in lines(message) if "football game" in line]
    assert headings == ["Started", "Scheduled to start"]
    assert lines(message)[-1].endswith(" – live data says that it has not started yet")


def test_a_digest_shows_a_start_on_time_as_started() -> None:
    before = START - SECOND
    starts = [live(Kind.STARTED, Status.NOT_STARTED, name=n, checked_at=before) for n in "ab"]

    message = put(*starts, now=START)

    assert message.title.startswith("2 started: ")
    assert "live data" not in message.body


@pytest.mark.parametrize("level", [RenderLevel.RICH, RenderLevel.COUNTS])
def test_no_count_of_a_digest_states_an_unconfirmed_start(level: RenderLevel) -> None:
    message = put(
        live(Kind.STARTED, Status.NOT_STARTED, name="a"),
        live(Kind.UPCOMING, Status.NOT_STARTED, name="b"),
        level=level,
        now=START + SECOND,
    )

    assert message.title == "2 milestones: 1 upcoming, 1 scheduled to start"
    assert "1 started" not in message.body


def test_a_webhook_gets_the_live_data() -> None:
    [sent] = put(live(Kind.STARTED, Status.LIVE), now=START).events
    [plain] = put(event(Kind.STARTED), now=START).events

    assert sent.live is not None
    assert (sent.live.status, sent.live.checked_at) == (Status.LIVE, START + SECOND)
    assert plain.live is None
