from collections.abc import Callable
from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import parsing
from notifier.domain.parsing import UNITS, ValueParseError
from notifier.domain.rules import Rate, Window
from notifier.settings import types


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("2s", timedelta(seconds=2)),
        ("30m", timedelta(minutes=30)),
        ("1h", timedelta(hours=1)),
        ("30d", timedelta(days=30)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_one_number_and_one_unit(text: str, span: timedelta) -> None:
    assert parsing.parse_duration(text) == span


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("30", "did you mean 30s?"),
        ("1h30m", "did you mean 90m?"),
        ("1.5h", "did you mean 90m?"),
        ("30 sec", "did you mean 30s?"),
        ("2 weeks", "did you mean 14d?"),
        ("5min", "did you mean 5m?"),
        ("30S", "did you mean 30s?"),
        ("24 hrs", "did you mean 1d?"),
        ("0.0001ms", ""),
        ("soon", ""),
        ("5 parsecs", ""),
        ("-5s", ""),
        ("", ""),
        ("3s 3", "did you mean 6s?"),
        ("\u0663s", ""),
    ],
)
def test_what_is_no_duration_is_refused_with_what_was_meant(text: str, advice: str) -> None:
    with pytest.raises(ValueParseError) as refused:
        parsing.parse_duration(text)

    assert refused.value.advice == advice


@pytest.mark.parametrize("text", ["4000d", "999999999999999d"])
def test_no_duration_is_absurdly_long(text: str) -> None:
    with pytest.raises(ValueParseError, match="longer than 3650d"):
        parsing.parse_duration(text)


@given(st.integers(0, 3650), st.sampled_from([*UNITS]))
def test_a_spelled_duration_reads_back(number: int, unit: str) -> None:
    span = parsing.parse_duration(f"{number}{unit}")

    assert parsing.parse_duration(parsing.format_duration(span)) == span


@given(st.text(max_size=60))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        span = parsing.parse_duration(text)
    except ValueParseError:
        return

    assert span >= timedelta(0)


def test_what_must_take_time_cannot_take_none() -> None:
    with pytest.raises(ValueParseError, match="longer than 0"):
        parsing.parse_positive_duration("0s")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2/s", Rate(count=2, per=timedelta(seconds=1))),
        ("10/m", Rate(count=10, per=timedelta(minutes=1))),
        ("1000/d", Rate(count=1000, per=timedelta(days=1))),
    ],
)
def test_a_rate_is_a_number_in_a_unit(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("2", "did you mean 2/s?"),
        ("10/min", "did you mean 10/m?"),
        ("2 per hour", "did you mean 2/h?"),
        ("fast", ""),
        ("0/s", ""),
        ("-1/s", ""),
    ],
)
def test_what_is_no_rate_is_refused_with_what_was_meant(text: str, advice: str) -> None:
    with pytest.raises(ValueParseError) as refused:
        Rate.parse(text)

    assert refused.value.advice == advice


@pytest.mark.parametrize(
    ("text", "window"),
    [
        (
            "Mon-Fri 22:00-07:00",
            Window(days=frozenset(range(5)), start=time(22), end=time(7)),
        ),
        (
            "fri-mon 1:30-02:00",
            Window(days=frozenset({4, 5, 6, 0}), start=time(1, 30), end=time(2)),
        ),
        (
            "Sat,Sunday 00:00-24:00",
            Window(days=frozenset({5, 6}), start=time(0), end=time(0)),
        ),
        (
            "22:00-07:00",
            Window(days=frozenset(range(7)), start=time(22), end=time(7)),
        ),
    ],
)
def test_a_window_is_days_and_hours(text: str, window: Window) -> None:
    assert Window.parse(text) == window


@pytest.mark.parametrize(
    "text",
    [
        *("", "Mon", "Mon-Fri", "Mon Fri 22:00-07:00", "Xxx 22:00-07:00"),
        *("Mon 22-07", "Mon 25:00-07:00", "Mon 07:00-07:00", "24:00-07:00"),
        *("Mon- 22:00-07:00", "Mon,,Tue 22:00-07:00", "Monkey1 1:00-2:00"),
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueParseError):
        Window.parse(text)


def test_a_zone_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueParseError) as refused:
        parsing.parse_zone("europe/pariss")

    assert refused.value.advice == "did you mean Europe/Paris?"


@pytest.mark.parametrize("text", ["", "..", "../etc/passwd", "Europe", "/UTC", "a\0b"])
def test_no_text_makes_a_zone_crash(text: str) -> None:
    with pytest.raises(ValueParseError):
        parsing.parse_zone(text)


@pytest.mark.parametrize(
    "text",
    [
        *("example.com", "ftp://example.com", "https://", "http://a b", "http://a:x"),
        *("https://example.com:99999", "http://[::1", "https://a\nb", "http://a\\b"),
    ],
)
def test_what_is_no_http_address_is_refused(text: str) -> None:
    with pytest.raises(ValueParseError):
        types.parse_address(text)


def test_a_base_url_loses_its_last_slash() -> None:
    assert types.parse_base_url("http://127.0.0.1:80/v2/") == "http://127.0.0.1:80/v2"


@pytest.mark.parametrize("text", ["https://a/b?c=d", "https://a/#b", "https://user:password@a/b"])
def test_a_base_url_holds_nothing_that_paths_cannot_follow(text: str) -> None:
    with pytest.raises(ValueParseError):
        types.parse_base_url(text)


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (parsing.parse_flag, "true", "True"),
        (parsing.whole(1, 9).parse, "9", "10"),
        (parsing.whole(1, 9).parse, "1", "1.0"),
        (parsing.parse_route_name, "a-1_b", "A"),
        (parsing.parse_route_name, "a" * 64, "a" * 65),
        (parsing.parse_destination_name, "Team.1", "-x"),
        (parsing.parse_time_of_day, "08:00", "8"),
        (types.parse_listen, "[::1]:80", "::1:80"),
        (types.parse_listen, "localhost:8080", "localhost:0"),
        (parsing.parse_pattern, "~a|b", "~["),
        (parsing.parse_pattern, "[", "~*"),
        (parsing.parse_apprise_url, "slack://a/b", "slack:a/b"),
        (parsing.parse_apprise_url, "terminal://", "slack://a\n"),
        (parsing.parse_text, "x", "  "),
    ],
)
def test_a_value_is_read_or_refused(read: Callable[[str], object], good: str, bad: str) -> None:
    read(good)
    with pytest.raises(ValueParseError):
        read(bad)
