from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.messages import humanize

NOW = datetime(2026, 9, 26, 16, 10, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("UTC", "Sat 26 Sep, 19:30 UTC"),
        ("America/New_York", "Sat 26 Sep, 15:30 EDT"),
        ("Europe/Paris", "Sat 26 Sep, 21:30 CEST"),
        ("Asia/Kolkata", "Sun 27 Sep, 01:00 IST"),
        ("Australia/Lord_Howe", "Sun 27 Sep, 06:00 UTC+10:30"),
        ("America/Sao_Paulo", "Sat 26 Sep, 16:30 UTC-3"),
    ],
)
def test_an_instant_is_said_in_the_readers_zone(zone: str, said: str) -> None:
    when = utc("2026-09-26T19:30")

    assert humanize.instant(when, zone=ZoneInfo(zone), now=NOW) == said


@pytest.mark.parametrize(
    ("when", "said"),
    [
        pytest.param("2026-03-08T06:59", "Sun 8 Mar, 01:59 EST", id="before the gap"),
        pytest.param("2026-03-08T07:00", "Sun 8 Mar, 03:00 EDT", id="after the gap"),
        pytest.param("2026-11-01T05:30", "Sun 1 Nov, 01:30 EDT", id="first 01:30"),
        pytest.param("2026-11-01T06:30", "Sun 1 Nov, 01:30 EST", id="second 01:30"),
    ],
)
def test_the_zones_name_tells_apart_what_the_clock_shows_twice(when: str, said: str) -> None:
    zone = ZoneInfo("America/New_York")

    assert humanize.instant(utc(when), zone=zone, now=NOW) == said


def test_the_year_is_said_only_when_it_is_not_this_one_in_the_readers_zone() -> None:
    zone, when = ZoneInfo("America/New_York"), utc("2027-01-01T02:00")

    assert humanize.instant(when, zone=zone, now=NOW) == "Thu 31 Dec, 21:00 EST"
    assert humanize.instant(when, zone=ZoneInfo("UTC"), now=NOW).endswith(
        "Fri 1 Jan 2027, 02:00 UTC"
    )


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Kiritimati"])
def test_absurd_years_are_said_all_the_same(year: int, zone: str) -> None:
    month, hour = (1, 0) if year == 1 else (12, 23)
    when = datetime(year, month, 1 if year == 1 else 31, hour, tzinfo=UTC)

    assert str(year) in humanize.instant(when, zone=ZoneInfo(zone), now=NOW)


@pytest.mark.parametrize(
    ("length", "said"),
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
def test_a_span_is_rounded_to_what_is_shown(length: timedelta, said: str) -> None:
    assert humanize.span(length) == humanize.span(-length) == said


@pytest.mark.parametrize(
    ("by", "said"),
    [
        (timedelta(hours=3, minutes=20), "in 3 h 20 min"),
        (timedelta(minutes=-12), "12 min ago"),
        (timedelta(milliseconds=-80), "now"),
    ],
)
def test_a_relative_time_looks_ahead_and_back(by: timedelta, said: str) -> None:
    assert humanize.relative(NOW + by, now=NOW) == said


def test_a_relative_time_counts_real_hours_across_the_end_of_summer_time() -> None:
    zone = ZoneInfo("America/New_York")
    evening = datetime(2026, 10, 31, 20, 0, tzinfo=zone).astimezone(UTC)
    morning = datetime(2026, 11, 1, 8, 0, tzinfo=zone).astimezone(UTC)

    assert humanize.relative(morning, now=evening) == "in 13 h"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param(
            "2026-09-26T16:00",
            "2026-09-26T19:30",
            "Sat 12:00 to 15:30 EDT (3 h 30 min later)",
            id="same day: it is said once",
        ),
        pytest.param(
            "2026-09-26T16:00",
            "2026-09-24T17:00",
            "Sat 26 Sep, 12:00 to Thu 24 Sep, 13:00 EDT (1 day 23 h earlier)",
            id="another day",
        ),
        pytest.param(
            "2026-12-31T20:00",
            "2027-01-02T20:00",
            "Thu 31 Dec, 15:00 to Sat 2 Jan 2027, 15:00 EST (2 days later)",
            id="another year",
        ),
        pytest.param(
            "2026-11-01T05:30",
            "2026-11-01T06:30",
            "Sun 01:30 EDT to 01:30 EST (1 h later)",
            id="the hour that comes twice",
        ),
        pytest.param(
            "2026-03-08T06:30",
            "2026-03-08T07:30",
            "Sun 01:30 EST to 03:30 EDT (1 h later)",
            id="over the gap",
        ),
        pytest.param(
            "2026-09-26T16:00:10",
            "2026-09-26T16:00:40",
            "Sat 12:00:10 to 12:00:40 EDT (30 s later)",
            id="within a minute",
        ),
        pytest.param(
            "2026-09-26T16:00:00.000001",
            "2026-09-26T16:00:00",
            "Sat 12:00:00.000001 to 12:00:00.000000 EDT",
            id="within a second",
        ),
    ],
)
def test_a_move_says_what_differs_and_by_how_much(before: str, after: str, said: str) -> None:
    zone = ZoneInfo("America/New_York")

    assert humanize.moved(utc(before), utc(after), zone=zone, now=NOW) == said


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_any_two_instants_can_be_told_in_any_odd_zone(one: datetime, other: datetime) -> None:
    for name in ("Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Kiritimati"):
        zone = ZoneInfo(name)
        assert humanize.moved(one, other, zone=zone, now=NOW)
        assert humanize.relative(one, now=other)


def test_long_lists_are_counted() -> None:
    assert humanize.listed(["A", "B"], at_most=3) == "A, B"
    assert humanize.listed(list("ABCDE"), at_most=3) == "A, B, C and 2 more"
    assert humanize.count(1, "market") == "1 market"
    assert humanize.count(1200, "market") == "1,200 markets"
