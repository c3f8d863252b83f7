"""A receiver of signed webhooks that keeps what arrives, in order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.clock import Clock
from notifier.demo.local_server import HOST

PATH = "/hook"

_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request as it came."""

    at: datetime
    #: The header `webhook-id`: a repeated message carries the same.
    message_id: str
    #: CloudEvents, one or a batch; empty when the body holds none.
    events: tuple[Mapping[str, Any], ...]
    #: Whether the signature is valid; None when the receiver knows no secret.
    is_genuine: bool | None

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The ids of its events, oldest first."""
        return tuple(str(event.get("id", "")) for event in self.events)


class WebhookReceiver:
    """Answers 204 to what is genuine and 401 to the rest; `on_arrival` is called for each."""

    def __init__(self, *, clock: Clock, secret: str, on_arrival: Callable[[Arrival], None]) -> None:
        self.arrivals: list[Arrival] = []
        self.app = Starlette(routes=[Route(PATH, self._receive, methods=["POST"])])
        self._clock = clock
        self._verifier = Webhook(secret)
        self._on_arrival = on_arrival

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        arrival = read_arrival(dict(request.headers), body, self._verifier, at=self._clock.now())
        self.arrivals.append(arrival)
        self._on_arrival(arrival)
        return Response(status_code=204 if arrival.is_genuine else 401)


def read_arrival(
    headers: Mapping[str, str], body: bytes, verifier: Webhook | None, *, at: datetime
) -> Arrival:
    """A request's events, and whether its signature is valid. Header names are in lower case."""
    is_genuine: bool | None = None
    if verifier is not None:
        try:
            verifier.verify(body, dict(headers), json_parse=False)
            is_genuine = True
        except (WebhookVerificationError, ValueError):
            is_genuine = False
    try:
        content = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    events = content if isinstance(content, list) else [content]
    return Arrival(
        at=at,
        message_id=headers.get("webhook-id", ""),
        events=tuple(event for event in events if isinstance(event, dict)),
        is_genuine=is_genuine,
    )


def destination_url(port: int, *, secret: str | None = None) -> str:
    """The destination that sends to a receiver on this port."""
    query = f"?secret={secret}" if secret else ""
    return f"webhook://{HOST}:{port}{PATH}{query}"
