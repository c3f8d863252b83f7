"""(token, now, path) -> who may come in, and what they are given to remember."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from notifier.domain.models import Json

#: Before every token that programs show.
PREFIX = "ntk_"
#: A session ends by itself: unused, and at the latest.
IDLE = timedelta(hours=12)
LONGEST = timedelta(days=7)
#: A feed token that opens every feed.
EVERY_FEED = "*"
FEEDS = "/feeds/"
Network: TypeAlias = IPv4Network | IPv6Network
#: An address as proxies write it down: with a port, an IPv6 one in brackets.
_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]*)?")
#: Whoever has one IPv6 address has all of its network.
_ONE_NETWORK = 64


class TokenKind(StrEnum):
    """Who shows it: a browser, a program, or a calendar or feed reader."""

    SESSION = "session"
    API = "api"
    FEED = "feed"


class Scope(StrEnum):
    """What a program may do."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who asks for something to be done, for the audit."""

    #: `session`, `token desk-bot`, `command`, or `loopback` where nobody signs in.
    name: str
    #: Whether changes are allowed, or reading alone.
    may_write: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A right to come in; of the token itself only a hash is known."""

    hash: str
    kind: TokenKind
    name: str
    #: For a program: a `Scope`; for a feed: its route's name or `*`.
    scope: str
    created_at: datetime
    #: None: until it is revoked.
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A row of the audit: who had what done."""

    at: datetime
    who: str
    action: str
    subject: str
    detail: Mapping[str, Json] = field(default_factory=dict)


def digest(token: str) -> str:
    """What is kept of a token; it has enough chance in it to need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def session_digest(token: str, key: bytes) -> str:
    """What is kept of a session's token: another password makes it worthless."""
    return hmac.new(key, token.encode(), hashlib.sha256).hexdigest()


def is_good(token: Token, now: datetime) -> bool:
    """Whether it still opens anything."""
    if token.revoked_at is not None:
        return False
    if token.expires_at is not None and token.expires_at <= now:
        return False
    used = token.used_at or token.created_at
    return token.kind is not TokenKind.SESSION or used + IDLE > now


def opens_feed(token: Token, path: str) -> bool:
    """Whether a feed's token opens this path: its own route's feeds and no other."""
    if token.kind is not TokenKind.FEED or not path.startswith(FEEDS):
        return False
    route = path.removeprefix(FEEDS).partition(".")[0]
    return bool(route) and token.scope in {EVERY_FEED, route}


def way_on(wish: str) -> str:
    """Where to go after the login: a path of ours, whatever was wished for."""
    plain = wish.isascii() and wish.isprintable() and "\\" not in wish
    return wish if plain and wish.startswith("/") and wish[1:2] != "/" else "/"


def caller(peer: str, forwarded: Sequence[str], *, proxies: Sequence[Network]) -> str:
    """
    Where somebody comes from: what a trusted proxy said last, else the peer.

    `forwarded`: the lines of `X-Forwarded-For`. What stands before their last entry
    anybody can have written.
    """
    here = _ip(peer)
    if here is None:
        return peer
    if not any(here in network for network in proxies):
        return str(here)
    last = ",".join(forwarded).rpartition(",")[2].strip()
    bare = _WITH_PORT.fullmatch(last)
    return str(_ip(bare[1] or bare[2] if bare else last) or here)


def crowd(address: str) -> str:
    """Those who are counted as one: an address, or a network of IPv6."""
    ip = _ip(address)
    if not isinstance(ip, IPv6Address):
        return address
    return str(ip_network((int(ip), _ONE_NETWORK), strict=False))


def _ip(text: str) -> IPv4Address | IPv6Address | None:
    """An address, IPv4 as IPv4 however it came; None: it is none."""
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
