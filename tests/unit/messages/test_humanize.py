from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.messages import humanize

NOW = datetime(2026, 9, 26, 16, 10, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "when", "text"),
    [
        ("UTC", "2026-09-26T19:30", "Sat 26 Sep, 19:30 UTC"),
        ("America/New_York", "2026-09-26T19:30", "Sat 26 Sep, 15:30 EDT"),
        ("Asia/Kolkata", "2026-09-26T19:30", "Sun 27 Sep, 01:00 IST"),
        ("Australia/Lord_Howe", "2026-09-26T19:30", "Sun 27 Sep, 06:00 UTC+10:30"),
        ("America/Sao_Paulo", "2026-09-26T19:30", "Sat 26 Sep, 16:30 UTC-3"),
        # The zone's name tells apart what the clock shows twice.
        ("America/New_York", "2026-11-01T05:30", "Sun 1 Nov, 01:30 EDT"),
        ("America/New_York", "2026-11-01T06:30", "Sun 1 Nov, 01:30 EST"),
        # The year is shown if it is another one in the reader's zone.
        ("America/New_York", "2027-01-01T02:00", "Thu 31 Dec, 21:00 EST"),
        ("UTC", "2027-01-01T02:00", "Fri 1 Jan 2027, 02:00 UTC"),
        # Where the calendar ends, in UTC.
        ("America/New_York", "0001-01-01T00:00", "Mon 1 Jan 1, 00:00 UTC"),
        ("Pacific/Kiritimati", "9999-12-31T23:00", "Fri 31 Dec 9999, 23:00 UTC"),
    ],
)
def test_an_instant_is_shown_in_the_readers_zone(zone: str, when: str, text: str) -> None:
    assert humanize.instant(utc(when), zone=ZoneInfo(zone), now=NOW) == text


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=40), "40 s"),
        (timedelta(seconds=59.6), "1 min"),
        (timedelta(minutes=14, seconds=59.7), "15 min"),
        (timedelta(minutes=59, seconds=40), "1 h"),
        (timedelta(hours=3, minutes=20), "3 h 20 min"),
        (timedelta(hours=23, minutes=59, seconds=50), "1 day"),
        (timedelta(days=2, hours=4, minutes=10), "2 days 4 h"),
        (timedelta(days=6, hours=23, minutes=45), "7 days"),
        (timedelta(days=12, hours=3), "12 days"),
        (timedelta(days=729), "729 days"),
        (timedelta(days=3 * 365.25), "3 years"),
    ],
)
def test_a_duration_is_rounded_to_the_smallest_unit_shown(length: timedelta, text: str) -> None:
    assert humanize.span(length) == humanize.span(-length) == text


@pytest.mark.parametrize(
    ("by", "text"),
    [
        (timedelta(hours=3, minutes=20), "in 3 h 20 min"),
        (timedelta(minutes=-12), "12 min ago"),
        (timedelta(milliseconds=-80), "now"),
    ],
)
def test_a_relative_time_looks_ahead_and_back(by: timedelta, text: str) -> None:
    assert humanize.relative(NOW + by, now=NOW) == text


def test_a_relative_time_counts_real_hours_across_the_end_of_summer_time() -> None:
    evening = datetime(2026, 10, 31, 20, 0, tzinfo=NEW_YORK).astimezone(UTC)
    morning = datetime(2026, 11, 1, 8, 0, tzinfo=NEW_YORK).astimezone(UTC)

    assert humanize.relative(morning, now=evening) == "in 13 h"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("2026-09-26T16:00", "2026-09-26T19:30", "Sat 12:00 to 15:30 EDT (3 h 30 min later)"),
        (
            *("2026-09-26T16:00", "2026-09-24T17:00"),
            "Sat 26 Sep, 12:00 to Thu 24 Sep, 13:00 EDT (1 day 23 h earlier)",
        ),
        (
            *("2026-12-31T20:00", "2027-01-02T20:00"),
            "Thu 31 Dec, 15:00 to Sat 2 Jan 2027, 15:00 EST (2 days later)",
        ),
        ("2026-11-01T05:30", "2026-11-01T06:30", "Sun 01:30 EDT to 01:30 EST (1 h later)"),
        ("2026-03-08T06:30", "2026-03-08T07:30", "Sun 01:30 EST to 03:30 EDT (1 h later)"),
        ("2026-09-26T16:00:10", "2026-09-26T16:00:40", "Sat 12:00:10 to 12:00:40 EDT (30 s later)"),
        (
            *("2026-09-26T16:00:00.000001", "2026-09-26T16:00:00"),
            "Sat 12:00:00.000001 to 12:00:00.000000 EDT",
        ),
    ],
)
def test_a_move_shows_what_differs_and_by_how_much(before: str, after: str, text: str) -> None:
    assert humanize.moved(utc(before), utc(after), zone=NEW_YORK, now=NOW) == text


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_any_two_instants_have_a_text_in_any_zone(one: datetime, other: datetime) -> None:
    for name in ("Australia/Lord_Howe", "Pacific/Kiritimati"):
        assert humanize.moved(one, other, zone=ZoneInfo(name), now=NOW)
        assert humanize.relative(one, now=other)


def test_long_lists_are_counted() -> None:
    assert humanize.listed(["A", "B"], at_most=3) == "A, B"
    assert humanize.listed(list("ABCDE"), at_most=3) == "A, B, C and 2 more"
    assert humanize.count(1, "market") == "1 market"
    assert humanize.count(1200, "market") == "1,200 markets"
