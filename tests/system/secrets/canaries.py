"""
URLs full of canaries: for every service of Apprise, made from its own templates.

A canary is a value that stands nowhere else, so that wherever it turns up it leaked.
"""

# mypy: disable-error-code="no-untyped-call"

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager

from notifier.domain.rules import Destination
from notifier.errors import DestinationError
from notifier.senders import registry
from notifier.senders.sender import scheme_of

#: What is replaced by what can be reached from a test.
HOST = "{here}"
_LENGTHS = (*range(6, 65), 72, 80, 96, 128)
_PLACES = frozenset({"schema", "host", "port", "region"})
#: Values that services check: a phone number, a mail address, names with a prefix.
_TARGETS = ("{c}", "{digits}", "{c}@example.com", "#{c}", "@{c}", "+{digits}", "")


@dataclass(frozen=True)
class Baited:
    """A URL, and the canaries in it by the name of their place."""

    scheme: str
    url: str = field(repr=False)
    canaries: Mapping[str, str]


@cache
def services() -> dict[str, type[NotifyBase]]:
    """Every service that works on this machine, by the first of its schemes."""
    registry.silence_loggers()
    known = NotificationManager()
    by_class: dict[type[NotifyBase], str] = {}
    for scheme in sorted(known.schemas()):
        kind = known[scheme]
        if kind.enabled and scheme not in {"webhook", "webhooks"}:
            by_class.setdefault(kind, scheme)
    return {scheme: kind for kind, scheme in by_class.items()}


def baited(scheme: str) -> list[Baited]:
    """URLs that together have a canary in each secret place that a URL can have."""
    kind = services()[scheme]
    kept: list[Baited] = []
    covered: set[str] = set()
    templates: list[str] = sorted(kind.templates, key=lambda one: -one.count("{"))
    for template in templates:
        places = set(re.findall(r"{(\w+)}", template)) - _PLACES
        if kept and places <= covered:
            continue
        one = _filled(scheme, kind, template)
        if one is not None:
            kept.append(one)
            covered |= one.canaries.keys()
    return kept


def _filled(scheme: str, kind: type[NotifyBase], template: str) -> Baited | None:
    """The template with canaries; None: the service takes none of our values."""
    names = re.findall(r"{(\w+)}", template)
    choices = [list(_values(scheme, kind, name)) for name in names]
    for values in product(*choices):
        canaries = {name: canary for name, (_, canary) in zip(names, values, strict=True) if canary}
        written = {name: text for name, (text, _) in zip(names, values, strict=True)}
        url = re.sub("/?{path}/?", "/{path}/", template).format(**written)
        if _loads(url):
            return _with_options(scheme, kind, url, canaries)
    return None


def _with_options(
    scheme: str, kind: type[NotifyBase], url: str, canaries: dict[str, str]
) -> Baited:
    """As many options with canaries as the service takes."""
    options = [f"{name}=" for name, known in _options(kind)]
    options += [f"{known['prefix']}X-Key=" for known in kind.template_kwargs.values()]
    for option in options:
        canary = _canary(scheme, option)
        longer = f"{url}{'&' if '?' in url else '?'}{quote(option, safe=':=-')}{canary}"
        if _loads(longer):
            url, canaries = longer, canaries | {option: canary}
    return Baited(scheme, url, canaries)


def _options(kind: type[NotifyBase]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    known: Mapping[str, Any] = kind.template_tokens
    options: Mapping[str, Any] = kind.template_args
    for name, spec in options.items():
        whole = known.get(spec["alias_of"], {}) if "alias_of" in spec else spec
        if isinstance(whole, dict) and whole.get("private") and name != "pgpprv":
            yield name, whole


def _values(scheme: str, kind: type[NotifyBase], name: str) -> Iterator[tuple[str, str | None]]:
    """What may stand at a place, and the canary in it."""
    known = kind.template_tokens.get(name, {})
    if name == "schema":
        yield scheme, None
    elif name in {"host", "hostname", "domain", "homeserver"}:
        yield HOST, None
    elif name == "port" or known.get("type") == "int":
        yield "{port}" if name == "port" else "7", None
    elif "values" in known:
        yield next(iter(known["values"])), None
    elif str(known.get("type", "")).startswith("list"):
        canary = _canary(scheme, name)
        digits = _digits(canary)
        for target in _TARGETS:
            value = target.format(c=canary, digits=digits)
            yield quote(value, safe="@+"), (digits if "digits" in target else canary)
    else:
        yield from _matching(scheme, name, known.get("regex"))


def _matching(scheme: str, name: str, regex: tuple[str, str] | None) -> Iterator[tuple[str, str]]:
    canary = _canary(scheme, name)
    alphabets = (canary, canary.upper(), hashlib.sha256(canary.encode()).hexdigest())
    pattern = re.compile(regex[0], re.IGNORECASE) if regex else None
    fitting = 0
    for candidate in _candidates(canary, alphabets):
        if pattern is None or pattern.match(candidate):
            yield quote(candidate, safe="@"), candidate
            fitting += 1
            if fitting == _MOST:
                return


_MOST = 3


def _candidates(canary: str, alphabets: Sequence[str]) -> Iterator[str]:
    yield canary
    yield f"{canary}@example.com"
    yield _digits(canary)
    for alphabet in (*alphabets, _digits(canary)):
        for length in _LENGTHS:
            yield (alphabet * 20)[:length]
    for prefix in ("xoxb-", "KEY", "sk_", "AC", "T", "SK", "key-", "re_"):
        yield prefix + canary
        yield prefix + alphabets[2][:32]
    digest = alphabets[2]
    uuid = (digest[:8], digest[8:12], f"4{digest[13:16]}", f"a{digest[17:20]}")
    yield "-".join([*uuid, digest[20:32]])
    yield f"{_digits(canary)[:9]}:{canary}{canary}"


def _canary(scheme: str, name: str) -> str:
    digest = hashlib.sha256(f"{scheme} {name}".encode()).hexdigest()
    return "canary" + digest[:12]


def _digits(canary: str) -> str:
    return "1555" + str(int(canary.removeprefix("canary"), 16) % 10**7).zfill(7)


def _loads(url: str) -> bool:
    there = url.format(here="sink.example.com", port=8080)
    destination = Destination(name="ops", url=there, zone=ZoneInfo("UTC"))
    try:
        registry.load(scheme_of(destination.url), destination, read_timeout_s=1)
    except DestinationError:
        return False
    return True
