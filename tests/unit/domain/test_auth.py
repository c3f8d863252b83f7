"""Redirects after a login, the reach of tokens, and the addresses of clients."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

import pytest
from storing import NOW

from notifier.domain.auth import (
    SESSION_IDLE,
    Token,
    TokenKind,
    client_address,
    is_valid,
    opens_feed,
    safe_redirect,
    throttle_key,
)

FEED = Token(hash="h", kind=TokenKind.FEED, name="phone", scope="games", created_at=NOW)


@pytest.mark.parametrize(
    ("target", "is_safe"),
    [
        *(("/", True), ("/events?kind=started&x=%2F%2Fevil", True), ("/milestones/a//b", True)),
        *(("", False), ("events", False), ("//evil.example", False), ("/é", False)),
        *(("https://evil.example", False), ("/\\evil.example", False)),
        *(("\\\\evil.example", False), ("/\t/evil.example", False), ("/\r\nx: y", False)),
    ],
)
def test_a_login_redirects_to_paths_of_this_site_only(target: str, is_safe: bool) -> None:
    assert safe_redirect(target) == (target if is_safe else "/")


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        *(("/feeds/games.ics", True), ("/feeds/games.atom", True)),
        *(("/feeds/games", True), ("/feeds/gamesx.ics", False)),
        *(("/feeds/.ics", False), ("/feeds/", False), ("/api/v1/games", False)),
    ],
)
def test_a_feed_token_opens_the_feeds_of_its_route(path: str, opens: bool) -> None:
    assert opens_feed(FEED, path) is opens
    assert not opens_feed(replace(FEED, kind=TokenKind.API), path)


def test_a_token_expires_at_its_end_and_only_sessions_expire_when_idle() -> None:
    ends = replace(FEED, expires_at=NOW)
    session = replace(FEED, kind=TokenKind.SESSION)

    assert is_valid(ends, NOW - timedelta(microseconds=1))
    assert not is_valid(ends, NOW)
    assert is_valid(FEED, NOW + timedelta(days=3650))
    assert not is_valid(replace(FEED, revoked_at=NOW), NOW)
    assert not is_valid(session, NOW + SESSION_IDLE)


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
        (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:DB8::1]:443"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        *(([], "10.1.2.3"), ([""], "10.1.2.3"), (["203.0.113.9,"], "10.1.2.3")),
        *((["unknown"], "10.1.2.3"), (["[x]:1"], "10.1.2.3"), (["[]"], "10.1.2.3")),
    ],
)
def test_the_last_forwarded_address_counts_if_the_peer_is_a_trusted_proxy(
    forwarded: list[str], found: str
) -> None:
    trusted = [ip_network("10.0.0.0/8"), ip_network("::1/128")]

    assert client_address("10.1.2.3", forwarded, trusted=trusted) == found
    assert client_address("::ffff:10.1.2.3", ["1.2.3.4"], trusted=trusted) == "1.2.3.4"
    assert client_address("192.0.2.7", forwarded, trusted=trusted) == "192.0.2.7"
    assert client_address("unknown", forwarded, trusted=trusted) == "unknown"


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:0:1:2::3", "2001:db8:0:1::/64"),
        ("::ffff:203.0.113.9", "::ffff:203.0.113.9"),
        ("unknown", "unknown"),
    ],
)
def test_logins_are_throttled_by_ipv4_address_or_ipv6_network(address: str, key: str) -> None:
    assert throttle_key(address) == key
