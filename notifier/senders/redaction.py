"""The secrets of destinations' URLs, and texts without them."""

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import quote, unquote

HIDDEN = "***"

#: Words that stand in many an address and betray nothing.
_PLAIN = frozenset(
    """
    alerts apprise chat default events example false format hook hooks html https
    inbound incoming kalshi localhost markdown message messages milestone
    milestones notifications notifier notify public sports status terminal
    test text true webhook webhooks workflows services
    """.split()  # noqa: SIM905 - a list of words reads as words
)
_SHORTEST = 3
_SHORTEST_PART = 6
_SHORTEST_ENCODED = 5
#: What services put between two values in one part of a path.
_WITHIN = re.compile(r"[@:,;|+]|%40|%3a|%2c|%3b|%7c|%2b", re.IGNORECASE)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public


def secrets(url: str) -> frozenset[str]:
    """
    Every part of a destination's URL that no log may show.

    User and password, tokens in host, path and query, and the values of headers:
    each as written, percent-decoded, and as it looks within base64, where logins
    travel. Plain host names and common words are none.
    """
    rest = url.partition("://")[2] or url
    address, _, query = rest.partition("?")
    found = {*_of_address(address), *_of_query(query)}
    return frozenset(
        form
        for secret in found
        for form in _forms(unquote(secret), secret)
        if len(form) >= _SHORTEST
    )


def of_text(secret: str) -> frozenset[str]:
    """Every form of a secret that is no URL; of several lines, each by itself."""
    return frozenset(
        form
        for line in (secret, *secret.splitlines())
        if len(line) >= _SHORTEST_PART
        for form in _forms(line, line)
        if len(form) >= _SHORTEST_PART
    )


def of_environment(environ: Mapping[str, str]) -> frozenset[str]:
    """The logins of the proxies that the environment names."""
    proxies = (value for name, value in environ.items() if name.lower().endswith("_proxy"))
    return frozenset[str]().union(*(secrets(value) for value in proxies if "@" in value))


def redact(text: str, hidden: Collection[str]) -> str:
    """The text with every secret in it replaced, longest first."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _forms(secret: str, written: str) -> Iterator[str]:
    yield from (written, secret, quote(secret, safe=""))
    if len(secret) >= _SHORTEST_ENCODED:
        yield from _encoded(secret.encode())


def _encoded(secret: bytes) -> Iterator[str]:
    """The part of its base64 that no neighbour changes, wherever it begins."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + secret).decode()
        first = -(-before * 4 // 3)
        last = (before + len(secret)) * 8 // 6
        yield whole[first:last]


def _of_address(address: str) -> Iterator[str]:
    netloc, _, path = address.partition("/")
    login, _, host = netloc.rpartition("@")
    user, _, password = login.partition(":")
    yield from (part for part in (user, password) if part)
    yield from (part for part in host.split(":") if _is_token_host(part))
    for part in path.split("/"):
        yield from (one for one in (part, *_WITHIN.split(part)) if _is_telling(one))


def _of_query(query: str) -> Iterator[str]:
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        # Apprise: +header, :payload, -query
        carries = unquote(key)[:1] in {"+", ":", "-"}
        if not value or not (carries or _is_telling(value)):
            continue
        yield value
        for word in re.split(r"[\s,]+|%20|%2C", value):
            if len(word) >= _SHORTEST_PART and _is_telling(word):
                yield word
                yield word.removeprefix(_SECRET_PREFIX)


def _is_token_host(part: str) -> bool:
    """
    Slack, Telegram, Discord ... put a token where other URLs have a host.

    Cliq's has dots; but no domain ends in letters and figures.
    """
    end = part.rpartition(".")[2]
    mixed = end.isalnum() and not (end.isalpha() or end.isdecimal())
    return ("." not in part or mixed) and _is_telling(part)


def _is_telling(part: str) -> bool:
    return len(part) >= _SHORTEST_PART and unquote(part).lower() not in _PLAIN
