"""
Our own scheme: `webhook://` over plain HTTP, `webhooks://` over TLS. Pure.

A message becomes a CloudEvent, or a batch of them, signed as the Standard
Webhooks specification says; `hook_lane` and `scheme` send what is built here.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import msgspec
from standardwebhooks import Webhook

from notifier.domain.live_status import LiveData
from notifier.domain.models import CloudEvent, Rendered
from notifier.senders.lane import Unusable

SCHEMES = frozenset({"webhook", "webhooks"})
USER_AGENT = "milestone-notifier"

_EVENT = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_SOURCE = "kalshi/milestones"
_NOTICE = "kalshi.milestone.notice"
_SECRET = "whsec_"  # noqa: S105 - the prefix is public

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OURS = re.compile(r"webhook-.*|content-(type|length)|transfer-encoding|host|connection")
_KNOWN = "there are secret=, verify=, +Header= and, for the receiver's own query, -name="
_PLAIN_NAME = re.compile(r"(?=.{1,20}$)[a-z]+(-[a-z]+)*")
_PORT = re.compile(r"[0-9]{1,5}")
_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a webhook's requests go. Its repr shows nothing."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    signers: tuple[Webhook, ...] = field(repr=False)
    verify: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be posted."""

    headers: Mapping[str, str]
    body: bytes


def parse(url: str) -> Target:
    """
    The target of `webhook(s)://[user:password@]host[:port]/path[?options]`.

    Options: `secret=whsec_new,whsec_old` (each signs), `+Header=value`,
    `-name=value` (goes to the receiver as its query), `verify=no`.

    Raises:
        Unusable: says what is wrong, and shows nothing secret.

    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    address, _, query = rest.partition("?")
    netloc, slash, path = address.partition("/")
    login, _, host = netloc.rpartition("@")
    _check_host(host)
    options = _options(query)
    headers = _headers(options)
    if login:
        headers.setdefault("authorization", _basic(login))
    return Target(
        url=f"{'https' if scheme == 'webhooks' else 'http'}://{host}"
        + (slash + path or "/")
        + _query(options),
        headers=headers,
        signers=_signers(options),
        verify=_verify(options),
    )


def request(target: Target, message: Rendered, *, now: datetime) -> Request:
    """The request that carries a message; `now` is when this attempt is made."""
    body = spelt(message, now=now)
    headers = {
        **target.headers,
        "content-type": _BATCH if _is_batch(message) else _EVENT,
        "webhook-id": message.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if target.signers:
        text = body.decode()
        headers["webhook-signature"] = " ".join(
            signer.sign(message.message_id, now, text) for signer in target.signers
        )
    return Request(headers=headers, body=body)


def spelt(message: Rendered, *, now: datetime) -> bytes:
    """What is posted: a CloudEvent, or a batch of them."""
    events = [_cloud_event(event) for event in message.events]
    events = events or [_notice(message, now)]
    told = events if _is_batch(message) else events[0]
    return msgspec.json.encode(told, enc_hook=_plain)


def _is_batch(message: Rendered) -> bool:
    return message.digest or len(message.events) > 1


def _cloud_event(event: CloudEvent) -> dict[str, object]:
    data: dict[str, object] = {"title": event.title, "message": event.message}
    if event.since is not None:
        data |= {"condition": event.subject, "since": _instant(event.since)}
    else:
        data["changes"] = [change.as_json() for change in event.changes]
        data["milestone"] = msgspec.Raw(event.milestone or b"null")
    if event.supersedes:
        data["supersedes"] = event.supersedes
    if event.live is not None:
        data["live"] = _live(event.live)
    if event.test:
        data["test"] = True
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": _SOURCE,
        "type": event.type,
        "subject": event.subject,
        "time": _instant(event.time),
        "datacontenttype": "application/json",
        "data": data,
    }


def _live(live: LiveData) -> dict[str, str]:
    return {
        "status": live.status.value,
        "word": live.word,
        "since": _instant(live.since),
        "checked_at": _instant(live.checked_at),
    }


def _notice(message: Rendered, now: datetime) -> dict[str, object]:
    """A text that is about no milestone, such as a word to the operator."""
    return {
        "specversion": "1.0",
        "id": message.message_id,
        "source": _SOURCE,
        "type": _NOTICE,
        "time": _instant(now),
        "datacontenttype": "application/json",
        "data": {"title": message.title, "message": message.body},
    }


def _instant(at: datetime) -> str:
    """RFC 3339 in UTC with Z; a fraction only if there is one."""
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise NotImplementedError


def _check_host(host: str) -> None:
    name, port = host, ""
    if not host.endswith("]"):
        name, _, port = host.rpartition(":") if ":" in host else (host, "", "")
    if not name or re.search(r"[\s\\]", name):
        raise Unusable("it names no host")
    if port and not (_PORT.fullmatch(port) and 0 < int(port) <= 65535):  # noqa: PLR2004 - TCP's own
        raise Unusable("its port is no number from 1 to 65535")


def _options(query: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    # No form decoding: a + is part of a base64 secret and of +Header.
    options = [(unquote(key), unquote(value)) for key, _, value in pairs]
    if not all(equals for _, equals, _ in pairs):
        raise Unusable(f"an option has no value; {_KNOWN}")
    for key, _value in options:
        if key[:1] in {"+", "-"} and len(key) > 1:
            continue
        if key.lower() not in {"secret", "verify"}:
            raise Unusable(f"unknown option{_named(key)}; {_KNOWN}")
    return options


def _named(key: str) -> str:
    """The option's name, unless it may be a secret in the wrong place."""
    return f" {key!r}" if _PLAIN_NAME.fullmatch(key) else ""


def _headers(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    headers = {"user-agent": USER_AGENT}
    for key, value in options:
        if not key.startswith("+"):
            continue
        name = key[1:].lower()
        if not _HEADER_NAME.fullmatch(name):
            raise Unusable("what stands after + is no name for a header")
        if _OURS.fullmatch(name):
            raise Unusable(f"the header {name} is set by the notifier itself")
        if not _HEADER_VALUE.fullmatch(value):
            raise Unusable(f"the value of the header{_named(name)} is not plain ASCII")
        headers[name] = value.strip()
    return headers


def _query(options: Sequence[tuple[str, str]]) -> str:
    pairs = [
        f"{quote(key[1:], safe='')}={quote(value, safe='')}"
        for key, value in options
        if key.startswith("-")
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _signers(options: Sequence[tuple[str, str]]) -> tuple[Webhook, ...]:
    return tuple(
        _signer(secret.strip())
        for key, value in options
        if key.lower() == "secret"
        for secret in value.split(",")
    )


def _signer(secret: str) -> Webhook:
    encoded = secret.removeprefix(_SECRET)
    padded = encoded + "=" * (-len(encoded) % 4)
    try:
        key = base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or encoded == secret:
        raise Unusable(
            "secret= wants whsec_ and base64 (`echo whsec_$(openssl rand -base64 24)` "
            "makes one), several separated by commas"
        )
    return Webhook(key)


def _verify(options: Sequence[tuple[str, str]]) -> bool:
    said = [value.lower() for key, value in options if key.lower() == "verify"]
    if not said:
        return True
    if said[-1] not in _YES | _NO:
        raise Unusable("verify= wants yes or no")
    return said[-1] in _YES


def _basic(login: str) -> str:
    user, _, password = login.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
