"""
Webhooks, without the network: URLs of `webhook://` and `webhooks://`, and what is posted.

A message becomes a CloudEvent, or a batch of them, signed according to the Standard
Webhooks specification; `webhook_channel` posts it.
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

from notifier.domain.models import CloudEvent, Rendered
from notifier.errors import DestinationError

SCHEMES = frozenset({"webhook", "webhooks"})
USER_AGENT = "milestone-notifier"

_EVENT = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_SOURCE = "kalshi/milestones"
_NOTICE = "kalshi.milestone.notice"
_SECRET = "whsec_"  # noqa: S105 - the prefix is public

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_OWN_HEADERS = re.compile(r"webhook-.*|content-(type|length)|transfer-encoding|host|connection")
_OPTIONS = "there are secret=, verify=, +Header= and, for the receiver's own query, -name="
_PLAIN_NAME = re.compile(r"(?=.{1,20}$)[a-z]+(-[a-z]+)*")
_PORT = re.compile(r"[0-9]{1,5}")
_YES = frozenset({"yes", "true", "on", "1"})
_NO = frozenset({"no", "false", "off", "0"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTarget:
    """Where a webhook's requests go. Its repr shows nothing."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    signers: tuple[Webhook, ...] = field(repr=False)
    verify: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """The headers and body of one POST."""

    headers: Mapping[str, str]
    body: bytes


def parse_url(url: str) -> WebhookTarget:
    """
    The target of `webhook(s)://[user:password@]host[:port]/path[?options]`.

    Options: `secret=whsec_new,whsec_old` (each signs), `+Header=value`,
    `-name=value` (goes to the receiver as its query), `verify=no`.

    Raises:
        DestinationError: says what is wrong, and shows nothing secret.

    """
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    netloc, slash, path = address.partition("/")
    login, _, host = netloc.rpartition("@")
    name, port = host, ""
    if ":" in host and not host.endswith("]"):
        name, _, port = host.rpartition(":")
    if not name or re.search(r"[\s\\]", name):
        raise DestinationError("it names no host")
    if port and not (_PORT.fullmatch(port) and 0 < int(port) <= 65535):  # noqa: PLR2004 - TCP's own
        raise DestinationError("its port is no number from 1 to 65535")
    headers = {"user-agent": USER_AGENT}
    signers: list[Webhook] = []
    parameters: list[str] = []
    verify = True
    for key, value in _options(query):
        if key.startswith("+"):
            header, text = _header(key[1:].lower(), value)
            headers[header] = text
        elif key.startswith("-"):
            parameters.append(f"{quote(key[1:], safe='')}={quote(value, safe='')}")
        elif key.lower() == "secret":
            signers += [_signer(secret.strip()) for secret in value.split(",")]
        elif value.lower() in _YES | _NO:
            verify = value.lower() in _YES
        else:
            raise DestinationError("verify= wants yes or no")
    if login:
        user, _, password = login.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        headers.setdefault("authorization", f"Basic {base64.b64encode(pair).decode()}")
    return WebhookTarget(
        url=f"{'https' if scheme.lower() == 'webhooks' else 'http'}://{host}"
        + (slash + path or "/")
        + ("?" + "&".join(parameters) if parameters else ""),
        headers=headers,
        signers=tuple(signers),
        verify=verify,
    )


def build_request(target: WebhookTarget, message: Rendered, *, now: datetime) -> WebhookRequest:
    """The request that carries a message; `now` is the time of this attempt."""
    body = encode_body(message, now=now)
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
    return WebhookRequest(headers=headers, body=body)


def encode_body(message: Rendered, *, now: datetime) -> bytes:
    """The body of the request: a CloudEvent, or a batch of them, as JSON."""
    events = [_cloud_event(event) for event in message.events]
    if not events:
        # A text that belongs to no milestone.
        data: dict[str, object] = {"title": message.title, "message": message.body}
        events = [_envelope(message.message_id, _NOTICE, None, now, data)]
    content = events if _is_batch(message) else events[0]
    return msgspec.json.encode(content, enc_hook=_as_builtin)


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
    if (live := event.live) is not None:
        data["live"] = {
            "status": live.status.value,
            "word": live.word,
            "since": _instant(live.since),
            "checked_at": _instant(live.checked_at),
        }
    if event.test:
        data["test"] = True
    return _envelope(event.id, event.type, event.subject, event.time, data)


def _envelope(
    event_id: str, kind: str, subject: str | None, time: datetime, data: Mapping[str, object]
) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": _SOURCE,
        "type": kind,
        **({} if subject is None else {"subject": subject}),
        "time": _instant(time),
        "datacontenttype": "application/json",
        "data": data,
    }


def _instant(at: datetime) -> str:
    """RFC 3339 in UTC with Z; with a fraction only if there is one."""
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def _as_builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise NotImplementedError


def _options(query: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    # No form decoding: a + is part of a base64 secret and of +Header.
    options = [(unquote(key), unquote(value)) for key, _, value in pairs]
    if not all(equals for _, equals, _ in pairs):
        raise DestinationError(f"an option has no value; {_OPTIONS}")
    for key, _value in options:
        is_prefixed = key[:1] in {"+", "-"} and len(key) > 1
        if not is_prefixed and key.lower() not in {"secret", "verify"}:
            raise DestinationError(f"unknown option{_shown(key)}; {_OPTIONS}")
    return options


def _header(name: str, value: str) -> tuple[str, str]:
    if not _HEADER_NAME.fullmatch(name):
        raise DestinationError("what stands after + is no name for a header")
    if _OWN_HEADERS.fullmatch(name):
        raise DestinationError(f"the header {name} is set by the notifier itself")
    if not _HEADER_VALUE.fullmatch(value):
        raise DestinationError(f"the value of the header{_shown(name)} is not plain ASCII")
    return name, value.strip()


def _shown(key: str) -> str:
    """The option's name, unless it may be a secret in the wrong place."""
    return f" {key!r}" if _PLAIN_NAME.fullmatch(key) else ""


def _signer(secret: str) -> Webhook:
    encoded = secret.removeprefix(_SECRET)
    padded = encoded + "=" * (-len(encoded) % 4)
    try:
        key = base64.b64decode(padded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or encoded == secret:
        raise DestinationError(
            "secret= wants whsec_ and base64 (`echo whsec_$(openssl rand -base64 24)` "
            "makes one), several separated by commas"
        )
    return Webhook(key)
