"""The destinations `webhook://` and `webhooks://`, without threads."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx

from notifier.core.model import Format, Limits, Outcome, Rendered
from notifier.sender import webhook
from notifier.sender.egress import Egress, Forbidden, anywhere, check_peer
from notifier.sender.exchange import BODY_KEPT, Answer, Phase, Recorder
from notifier.sender.outcome import of

CONNECT_S = 5.0
READ_S = 15.0
KEPT_S = 20.0
#: How much of an answer is read, and how long that of a success is waited for:
#: only so that the connection can be used again.
BODY_CAP = 1 << 16
SUCCESS_BODY_S = 1.0

_CONNECTED = "connection.connect_tcp.complete"
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
        concurrency: int,
        attempt_limit: timedelta,
        now: Callable[[], datetime],
        may_reach: Egress = anywhere,
    ) -> None:
        self._target = target
        self._may_reach = may_reach
        self._now = now
        self._limit_s = attempt_limit.total_seconds()
        # One small client a destination: a pool's work grows with its square.
        self._client = httpx.AsyncClient(
            verify=tls,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S, pool=self._limit_s),
            limits=httpx.Limits(
                max_connections=concurrency,
                max_keepalive_connections=concurrency,
                keepalive_expiry=KEPT_S,
            ),
        )
        self._client.headers = httpx.Headers({"accept": "*/*"})

    async def send(self, message: Rendered) -> Outcome:
        """Make one attempt; whatever the receiver does is an outcome."""
        recorder = Recorder()
        recorder.enter(Phase.CONNECTING)
        with anyio.move_on_after(self._limit_s):
            await self._post(message, recorder)
        if not recorder.seen:
            recorder.cut = True
            recorder.broke(TimeoutError())
        return of(recorder.seen[-1], now=self._now())

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._client.aclose()

    async def _post(self, message: Rendered, recorder: Recorder) -> None:
        async def trace(event: str, info: dict[str, Any]) -> None:
            if event in _PHASES:
                recorder.enter(_PHASES[event])
            if event == _CONNECTED:
                await self._check(info["return_value"])

        built = webhook.request(self._target, message, now=self._now())
        try:
            async with self._client.stream(
                "POST",
                self._target.url,
                content=built.body,
                headers=dict(built.headers),
                extensions={"trace": trace},
            ) as response:
                await _take(response, recorder)
        except (httpx.HTTPError, OSError) as exc:
            if not recorder.seen:
                recorder.cut = isinstance(exc, httpx.TimeoutException)
                recorder.broke(exc)

    async def _check(self, stream: Any) -> None:
        """Close httpcore's new connection if it leads where it may not."""
        try:
            check_peer(stream.get_extra_info("server_addr"), self._may_reach)
        except Forbidden:
            await stream.aclose()
            raise


async def _take(response: httpx.Response, recorder: Recorder) -> None:
    """Write down what was answered, even if its body never comes whole."""
    body = bytearray()
    patience = SUCCESS_BODY_S if response.is_success else None
    try:
        with anyio.move_on_after(patience) as scope, suppress(httpx.HTTPError):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) >= BODY_CAP:
                    # Leaving the loop would leave httpx's generators open.
                    scope.cancel()
    finally:
        recorder.saw(
            Answer(
                status=response.status_code,
                retry_after=response.headers.get("retry-after"),
                body=bytes(body[:BODY_KEPT]),
            )
        )
