"""The secrets in the URLs of destinations, and their removal from texts."""

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import quote, unquote

HIDDEN = "***"

#: Words that many URLs contain and that reveal nothing.
_COMMON_WORDS = frozenset(
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
_SEPARATORS = re.compile(r"[@:,;|+]|%40|%3a|%2c|%3b|%7c|%2b", re.IGNORECASE)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public


def secrets_of_url(url: str) -> frozenset[str]:
    """
    Every part of a destination's URL that no log may show.

    User and password, tokens in host, path and query, and the values of headers:
    each as written, percent-decoded, and as it looks within base64, as in a basic
    authorization. Plain host names and common words are no secrets.
    """
    rest = url.partition("://")[2] or url
    address, _, query = rest.partition("?")
    return frozenset(
        form
        for secret in {*_secrets_of_address(address), *_secrets_of_query(query)}
        for form in _forms(unquote(secret), secret)
        if len(form) >= _SHORTEST
    )


def secrets_of_text(secret: str) -> frozenset[str]:
    """Every form of a secret that is no URL; each line of it is a secret too."""
    return frozenset(
        form
        for line in (secret, *secret.splitlines())
        if len(line) >= _SHORTEST_PART
        for form in _forms(line, line)
        if len(form) >= _SHORTEST_PART
    )


def secrets_of_environment(environ: Mapping[str, str]) -> frozenset[str]:
    """The logins of the proxies that the environment names."""
    proxies = (value for name, value in environ.items() if name.lower().endswith("_proxy"))
    return frozenset[str]().union(*(secrets_of_url(value) for value in proxies if "@" in value))


def redact(text: str, secrets: Collection[str]) -> str:
    """The text with every secret in it replaced, longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _forms(secret: str, written: str) -> Iterator[str]:
    yield from (written, secret, quote(secret, safe=""))
    encoded = secret.encode()
    if len(secret) < _SHORTEST_ENCODED:
        return
    # The part of its base64 that does not depend on the neighbours, at each alignment.
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + encoded).decode()
        yield whole[-(-before * 4 // 3) : (before + len(encoded)) * 8 // 6]


def _secrets_of_address(address: str) -> Iterator[str]:
    netloc, _, path = address.partition("/")
    login, _, host = netloc.rpartition("@")
    user, _, password = login.partition(":")
    yield from (part for part in (user, password) if part)
    yield from (part for part in host.split(":") if _is_token_in_host(part))
    for part in path.split("/"):
        yield from (one for one in (part, *_SEPARATORS.split(part)) if _is_revealing(one))


def _secrets_of_query(query: str) -> Iterator[str]:
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        # Apprise: +header, :payload, -query
        is_carried = unquote(key)[:1] in {"+", ":", "-"}
        if not value or not (is_carried or _is_revealing(value)):
            continue
        yield value
        for word in re.split(r"[\s,]+|%20|%2C", value):
            if _is_revealing(word):
                yield word
                yield word.removeprefix(_SECRET_PREFIX)


def _is_token_in_host(part: str) -> bool:
    """
    Whether this is a token: Slack, Telegram, Discord ... put one in the host's place.

    Cliq's tokens contain dots; but no domain ends in letters and digits mixed.
    """
    end = part.rpartition(".")[2]
    mixed = end.isalnum() and not (end.isalpha() or end.isdecimal())
    return ("." not in part or mixed) and _is_revealing(part)


def _is_revealing(part: str) -> bool:
    return len(part) >= _SHORTEST_PART and unquote(part).lower() not in _COMMON_WORDS
