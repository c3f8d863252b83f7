"""The destinations `webhook://` and `webhooks://`, without threads."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpcore
import httpx

from notifier.domain.egress_policy import anywhere
from notifier.domain.models import Format, Limits, Outcome, Rendered
from notifier.senders import webhook
from notifier.senders.attempt import BODY_KEPT, Answer, Phase, Recorder
from notifier.senders.egress_guard import Egress, guarded
from notifier.senders.outcomes import of

CONNECT_S = 5.0
READ_S = 15.0
KEPT_S = 20.0
#: How much of an answer is read, and how long that of a success is waited for:
#: only so that the connection can be used again.
BODY_CAP = 1 << 16
SUCCESS_BODY_S = 1.0

_SUCCESS = range(200, 300)
#: What a connection ends by.
_BROKEN = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
)
#: httpcore's words for how far a request got.
_PHASES = {
    "connection.connect_tcp.started": Phase.CONNECTING,
    "http11.send_request_headers.started": Phase.SENDING,
    "http11.send_request_body.complete": Phase.WAITING,
}


class HookLane:
    """Posts each message on a connection that is kept."""

    limits = Limits(format=Format.TEXT, title=1_000, body=100_000)
    rate = None

    def __init__(
        self,
        target: webhook.Target,
        *,
        tls: ssl.SSLContext,
        attempt_limit: timedelta,
        now: Callable[[], datetime],
        may_reach: Egress = anywhere,
    ) -> None:
        self._target = target
        self._may_reach = may_reach
        self._now = now
        self._limit_s = attempt_limit.total_seconds()
        self._tls = tls
        url = httpx.URL(target.url)
        self._url = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        self._timeouts = {
            "connect": CONNECT_S,
            "read": READ_S,
            "write": READ_S,
            "pool": self._limit_s,
        }
        # A connection each for as many as are under way: what a pool does for one
        # request grows with the number of its connections.
        self._idle: list[httpcore.AsyncConnectionPool] = []

    async def send(
        self,
        message: Rendered,
        *,
        served: frozenset[str] = frozenset(),  # noqa: ARG002 - it has one recipient
    ) -> Outcome:
        """Make one attempt; whatever the receiver does is an outcome."""
        recorder = Recorder()
        recorder.enter(Phase.CONNECTING)
        with guarded(self._may_reach), anyio.move_on_after(self._limit_s):
            await self._post(message, recorder)
        if not recorder.seen:
            recorder.cut = True
            recorder.broke(TimeoutError())
        return of(recorder.seen[-1], now=self._now())

    async def aclose(self) -> None:
        """Close the kept connections."""
        for connection in self._idle:
            await connection.aclose()

    async def _post(self, message: Rendered, recorder: Recorder) -> None:
        async def trace(event: str, _info: dict[str, Any]) -> None:
            if event in _PHASES:
                recorder.enter(_PHASES[event])

        built = webhook.request(self._target, message, now=self._now())
        headers = {"accept": "*/*", **built.headers}
        connection = self._idle.pop() if self._idle else self._connection()
        try:
            async with connection.stream(
                "POST",
                self._url,
                headers=[(name.encode(), said.encode()) for name, said in headers.items()],
                content=built.body,
                extensions={"trace": trace, "timeout": self._timeouts},
            ) as response:
                await _take(response, recorder)
        except (*_BROKEN, OSError) as exc:
            if not recorder.seen:
                recorder.cut = isinstance(exc, httpcore.TimeoutException)
                recorder.broke(exc)
        finally:
            self._idle.append(connection)

    def _connection(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls, max_connections=1, keepalive_expiry=KEPT_S
        )


async def _take(response: httpcore.Response, recorder: Recorder) -> None:
    """Write down what was answered, even if its body never comes whole."""
    body = bytearray()
    is_success = response.status in _SUCCESS
    try:
        with (
            anyio.move_on_after(SUCCESS_BODY_S if is_success else None) as scope,
            suppress(*_BROKEN),
        ):
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) >= BODY_CAP:
                    # Leaving the loop would leave the library's generators open.
                    scope.cancel()
    finally:
        recorder.saw(
            Answer(
                status=response.status,
                retry_after=_header(response, b"retry-after"),
                body=bytes(body[:BODY_KEPT]),
            )
        )


def _header(response: httpcore.Response, name: bytes) -> str | None:
    """A header's value; several of one name are one, as HTTP has it."""
    found = [value for key, value in response.headers if key.lower() == name]
    return b", ".join(found).decode("latin-1") if found else None
