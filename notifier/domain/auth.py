"""Authentication as pure rules: tokens, sessions, client addresses, redirects."""

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

#: Every token of a program or a feed begins with it.
TOKEN_PREFIX = "ntk_"  # noqa: S105 - the public part
#: A session expires when it is unused, and at the latest.
SESSION_IDLE = timedelta(hours=12)
SESSION_LIFETIME = timedelta(days=7)
#: The scope of a feed token that opens every feed.
ALL_FEEDS = "*"
FEEDS_PATH = "/feeds/"
#: The owner of one IPv6 address usually owns its /64 network.
_IPV6_PREFIX = 64
#: An address in `X-Forwarded-For`, perhaps with a port; IPv6 in brackets.
_FORWARDED = re.compile(r"(?:\[([^\]]*)\]|([0-9.]+))(?::[0-9]*)?")

Network: TypeAlias = IPv4Network | IPv6Network


class TokenKind(StrEnum):
    """Who presents a token: a browser, a program, or a calendar or feed reader."""

    SESSION = "session"
    API = "api"
    FEED = "feed"


class TokenScope(StrEnum):
    """What the token of a program permits."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A credential as the database stores it: only the hash of its secret is known."""

    hash: str
    kind: TokenKind
    name: str
    #: API token: a `TokenScope`; feed token: the name of its route, or `ALL_FEEDS`.
    scope: str
    created_at: datetime
    #: None: valid until it is revoked.
    expires_at: datetime | None = None
    used_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The authenticated caller of a request or a command."""

    #: As the audit names it: `session`, `token desk-bot`, `command` or `loopback`.
    name: str
    may_write: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One row of the audit log: who did what to which subject."""

    at: datetime
    who: str
    action: str
    subject: str
    detail: Mapping[str, Json] = field(default_factory=dict)


def token_hash(token: str) -> str:
    """Hash of a token; tokens are long random values, so no salt is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def session_hash(token: str, key: bytes) -> str:
    """Hash of a session token under a key that changes with the password."""
    return hmac.new(key, token.encode(), hashlib.sha256).hexdigest()


def is_valid(token: Token, now: datetime) -> bool:
    """Whether the token is neither revoked nor expired."""
    if token.revoked_at is not None:
        return False
    if token.expires_at is not None and token.expires_at <= now:
        return False
    used = token.used_at or token.created_at
    return token.kind is not TokenKind.SESSION or used + SESSION_IDLE > now


def opens_feed(token: Token, path: str) -> bool:
    """Whether a feed token opens this path: the feeds of its own route and no others."""
    if token.kind is not TokenKind.FEED or not path.startswith(FEEDS_PATH):
        return False
    route = path.removeprefix(FEEDS_PATH).partition(".")[0]
    return bool(route) and token.scope in {ALL_FEEDS, route}


def safe_redirect(target: str) -> str:
    """The target of a redirect after the login if it is a path of this site, else `/`."""
    plain = target.isascii() and target.isprintable() and "\\" not in target
    return target if plain and target.startswith("/") and target[1:2] != "/" else "/"


def client_address(peer: str, forwarded: Sequence[str], *, trusted: Sequence[Network]) -> str:
    """
    The address of a client: the peer, or what a trusted proxy reports.

    `forwarded` has the lines of `X-Forwarded-For`. Only the last entry comes from the
    proxy itself; a client can forge everything before it.
    """
    peer_ip = _parse_ip(peer)
    if peer_ip is None:
        return peer
    if not any(peer_ip in network for network in trusted):
        return str(peer_ip)
    last = ",".join(forwarded).rpartition(",")[2].strip()
    bare = _FORWARDED.fullmatch(last)
    return str(_parse_ip(bare[1] or bare[2] if bare else last) or peer_ip)


def throttle_key(address: str) -> str:
    """The unit that login attempts are counted by: an IPv4 address or an IPv6 network."""
    ip = _parse_ip(address)
    if not isinstance(ip, IPv6Address):
        return address
    return str(ip_network((int(ip), _IPV6_PREFIX), strict=False))


def _parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address, with IPv4-mapped IPv6 addresses as IPv4; None if the text is not one."""
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return mapped or ip
