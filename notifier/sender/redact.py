"""The secrets of destinations' URLs, and texts without them."""

import re
from collections.abc import Collection, Iterator
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
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public


def secrets(url: str) -> frozenset[str]:
    """
    Every part of a destination's URL that no log may show.

    User and password, tokens in host, path and query, and the values of headers:
    each as written and percent-decoded. Plain host names and common words are
    none.
    """
    rest = url.partition("://")[2] or url
    address, _, query = rest.partition("?")
    found = {*_of_address(address), *_of_query(query)}
    return frozenset(
        form
        for secret in found
        for form in (secret, unquote(secret), quote(unquote(secret), safe=""))
        if len(form) >= _SHORTEST
    )


def redact(text: str, hidden: Collection[str]) -> str:
    """The text with every secret in it replaced, longest first."""
    for secret in sorted(hidden, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _of_address(address: str) -> Iterator[str]:
    netloc, _, path = address.partition("/")
    login, _, host = netloc.rpartition("@")
    user, _, password = login.partition(":")
    yield from (part for part in (user, password) if part)
    yield from (part for part in host.split(":") if _is_token_host(part))
    yield from (part for part in path.split("/") if _is_telling(part))


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
    """Slack, Telegram, Discord ... put a token where other URLs have a host."""
    return "." not in part and _is_telling(part)


def _is_telling(part: str) -> bool:
    return len(part) >= _SHORTEST_PART and unquote(part).lower() not in _PLAIN
