"""Where the login leads, and which feeds a token opens."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest
from storing import NOW

from notifier.domain.auth import (
    Token,
    TokenKind,
    caller,
    crowd,
    is_good,
    opens_feed,
    way_on,
)

FEED = Token(hash="h", kind=TokenKind.FEED, name="phone", scope="games", created_at=NOW)


@pytest.mark.parametrize("wish", ["/", "/events?kind=started&x=%2F%2Fevil", "/milestones/a//b"])
def test_after_the_login_it_goes_where_it_was_to_go(wish: str) -> None:
    assert way_on(wish) == wish


@pytest.mark.parametrize(
    "wish",
    [
        *("", "events", "//evil.example", "https://evil.example", "/\\evil.example"),
        *("\\\\evil.example", "/\t/evil.example", "/\r\nset-cookie: x", "/é"),
    ],
)
def test_and_never_anywhere_else(wish: str) -> None:
    assert way_on(wish) == "/"


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        *(("/feeds/games.ics", True), ("/feeds/games.atom", True)),
        *(("/feeds/games", True), ("/feeds/gamesx.ics", False)),
        *(("/feeds/.ics", False), ("/feeds/", False), ("/api/v1/games", False)),
    ],
)
def test_a_feeds_token_opens_its_own_routes_feeds(path: str, opens: bool) -> None:
    assert opens_feed(FEED, path) is opens
    assert not opens_feed(replace(FEED, kind=TokenKind.API), path)


def test_a_token_lasts_until_its_end_and_a_program_may_be_idle_for_years() -> None:
    ends = replace(FEED, expires_at=NOW)

    assert is_good(ends, NOW - timedelta(microseconds=1))
    assert not is_good(ends, NOW)
    assert is_good(FEED, NOW + timedelta(days=3650))
    assert not is_good(replace(FEED, revoked_at=NOW), NOW)


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:DB8::1]:443"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        *(([], "10.1.2.3"), ([""], "10.1.2.3"), (["203.0.113.9,"], "10.1.2.3")),
        *((["unknown"], "10.1.2.3"), (["[x]:1"], "10.1.2.3"), (["[]"], "10.1.2.3")),
    ],
)
def test_of_what_a_proxy_says_the_last_address_counts(forwarded: list[str], found: str) -> None:
    proxies = [ip_network("10.0.0.0/8"), ip_network("::1/128")]

    assert caller("10.1.2.3", forwarded, proxies=proxies) == found
    assert caller("192.0.2.7", forwarded, proxies=proxies) == "192.0.2.7"
    assert caller("unknown", forwarded, proxies=proxies) == "unknown"


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:0:1:2::3", "2001:db8:0:1::/64"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("unknown", "unknown"),
    ],
)
def test_a_network_of_ipv6_is_counted_as_one(address: str, counted: str) -> None:
    assert crowd(address) == counted
