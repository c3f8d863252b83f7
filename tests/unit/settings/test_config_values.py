"""Texts of the configuration and the values that they mean."""

from collections.abc import Callable
from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain import parsing
from notifier.domain.parsing import UNITS, ValueParseError
from notifier.domain.rules import Rate, Window
from notifier.settings import types

WEEK = frozenset(range(7))


def advice_of(parse: Callable[[str], object], text: str) -> str:
    with pytest.raises(ValueParseError) as refused:
        parse(text)
    return refused.value.advice


@given(st.integers(0, 3650), st.sampled_from([*UNITS]))
def test_a_duration_is_one_number_and_one_unit(number: int, unit: str) -> None:
    duration = parsing.parse_duration(f"{number}{unit}")

    assert duration == number * timedelta(milliseconds=UNITS[unit])
    assert parsing.parse_duration(parsing.format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("30", "30s"), ("1h30m", "90m"), ("1.5h", "90m"), ("30 sec", "30s"), ("2 weeks", "14d")),
        *(("5min", "5m"), ("30S", "30s"), ("24 hrs", "1d"), ("3s 3", "6s")),
        *((text, "") for text in ("0.0001ms", "soon", "5 parsecs", "-5s", "", "\u0663s")),
    ],
)
def test_what_is_no_duration_is_refused_with_a_suggestion(text: str, meant: str) -> None:
    assert advice_of(parsing.parse_duration, text) == (meant and f"did you mean {meant}?")


@pytest.mark.parametrize("text", ["4000d", "999999999999999d"])
def test_no_duration_is_absurdly_long(text: str) -> None:
    with pytest.raises(ValueParseError, match="longer than 3650d"):
        parsing.parse_duration(text)


@given(st.text(max_size=60))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        duration = parsing.parse_duration(text)
    except ValueParseError:
        return

    assert duration >= timedelta(0)


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
    assert str(rate) == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("2", "2/s"), ("10/min", "10/m"), ("2 per hour", "2/h")),
        *(("fast", ""), ("0/s", ""), ("-1/s", "")),
    ],
)
def test_what_is_no_rate_is_refused_with_a_suggestion(text: str, meant: str) -> None:
    assert advice_of(Rate.parse, text) == (meant and f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("text", "window", "shown"),
    [
        (
            "Mon-Fri 22:00-07:00",
            Window(days=frozenset(range(5)), start=time(22), end=time(7)),
            "Mon-Fri 22:00-07:00",
        ),
        (
            "fri-mon 1:30-02:00",
            Window(days=frozenset({4, 5, 6, 0}), start=time(1, 30), end=time(2)),
            "Mon,Fri,Sat,Sun 01:30-02:00",
        ),
        (
            "Sat,Sunday 00:00-24:00",
            Window(days=frozenset({5, 6}), start=time(0), end=time(0)),
            "Sat,Sun 00:00-24:00",
        ),
        ("22:00-07:00", Window(days=WEEK, start=time(22), end=time(7)), "22:00-07:00"),
    ],
)
def test_a_window_is_days_and_hours(text: str, window: Window, shown: str) -> None:
    assert Window.parse(text) == window
    assert str(window) == shown


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


@pytest.mark.parametrize(
    "text", ["europe/pariss", "", "..", "../etc/passwd", "Europe", "/UTC", "a\0b"]
)
def test_no_text_makes_a_zone_crash(text: str) -> None:
    advice = advice_of(parsing.parse_zone, text)

    assert text != "europe/pariss" or advice == "did you mean Europe/Paris?"


@pytest.mark.parametrize(
    ("parse", "good", "bad"),
    [
        (parsing.parse_positive_duration, "1ms", "0s"),
        (parsing.parse_flag, "true", "True"),
        (parsing.whole(1, 9).parse, "9", "10"),
        (parsing.whole(1, 9).parse, "1", "1.0"),
        (parsing.parse_route_name, "a-1_b", "A"),
        (parsing.parse_route_name, "a" * 64, "a" * 65),
        (parsing.parse_destination_name, "Team.1", "-x"),
        (parsing.parse_time_of_day, "08:00", "8"),
        (parsing.parse_pattern, "~a|b", "~["),
        (parsing.parse_pattern, "[", "~*"),
        (parsing.parse_apprise_url, "slack://a/b", "slack:a/b"),
        (parsing.parse_apprise_url, "terminal://", "slack://a\n"),
        (parsing.parse_text, "x", "  "),
        (types.parse_listen, "[::1]:80", "::1:80"),
        (types.parse_listen, "localhost:8080", "localhost:0"),
        *(
            (types.parse_address, "http://a:1", text)
            for text in (
                *("example.com", "ftp://example.com", "https://", "http://a b", "http://a:x"),
                *("https://example.com:99999", "http://[::1", "https://a\nb", "http://a\\b"),
            )
        ),
        *(
            (types.parse_base_url, "https://a/b/", text)
            for text in ("https://a/b?c=d", "https://a/#b", "https://user:password@a/b")
        ),
    ],
)
def test_a_value_is_parsed_or_refused(parse: Callable[[str], object], good: str, bad: str) -> None:
    parse(good)
    with pytest.raises(ValueParseError):
        parse(bad)


def test_a_base_url_loses_its_last_slash() -> None:
    assert types.parse_base_url("http://127.0.0.1:80/v2/") == "http://127.0.0.1:80/v2"
