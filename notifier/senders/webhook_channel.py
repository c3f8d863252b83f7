"""
The destinations `webhook://` and `webhooks://`, sent by aiohttp.

Importing this module loads aiohttp; it runs on asyncio only.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import aiohttp
import anyio
import httpx
import yarl

from notifier.domain.egress_policy import literal
from notifier.domain.models import Format, Limits, Outcome, Rendered
from notifier.errors import DestinationError
from notifier.senders import webhook
from notifier.senders.attempt import (
    BODY_KEPT,
    AttemptRecord,
    HttpAnswer,
    NoAnswer,
    Phase,
    TransportError,
)
from notifier.senders.egress_guard import Egress, guarded
from notifier.senders.outcomes import outcome_of

#: To find the address, connect and shake hands; and to connect alone.
CONNECT_S = 10.0
TCP_CONNECT_S = 5.0
READ_S = 15.0
KEPT_S = 20.0
#: An answer is read so far, and the answer of a success so long: only so that the
#: connection can be used again.
BODY_CAP = 1 << 16
SUCCESS_BODY_S = 1.0

#: For one header of an answer, and for its status line; aiohttp's own 8 KiB is too
#: little for the cookies of some receivers.
HEADER_CAP = 1 << 16

_SUCCESS = range(200, 300)


class WebhookChannel:
    """
    Posts each message, on a connection that is kept.

    Raises:
        DestinationError: the target's host or path is no part of a URL.

    """

    limits = Limits(format=Format.TEXT, title=1_000, body=100_000)
    rate = None

    def __init__(
        self,
        target: webhook.WebhookTarget,
        *,
        tls: ssl.SSLContext,
        may_reach: Egress,
        attempt_limit: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        try:
            url = httpx.URL(target.url)
        except httpx.InvalidURL:
            raise DestinationError("its host or path is no part of a URL") from None
        if url.host.replace(".", "").isdigit():
            # aiohttp refuses other forms of an IPv4 address than the usual one.
            url = url.copy_with(host=literal(target.url) or url.host)
        address = f"{url.scheme}://{url.netloc.decode()}{url.raw_path.decode()}"
        # Encoded: what the operator wrote is sent as it is.
        self._url = yarl.URL(address, encoded=True)
        self._target = target
        self._tls = tls
        self._may_reach = may_reach
        self._limit_s = attempt_limit.total_seconds()
        self._now = now
        #: Made by the first message, because it belongs to the event loop.
        self._http: aiohttp.ClientSession | None = None

    async def send(
        self,
        message: Rendered,
        *,
        delivered_to: frozenset[str] = frozenset(),  # noqa: ARG002 - it has one recipient
    ) -> Outcome:
        """Make one attempt, and evaluate what the receiver answered."""
        record = AttemptRecord()
        record.enter(Phase.CONNECTING)
        error: Exception = TimeoutError()
        with guarded(self._may_reach) as guard, anyio.move_on_after(self._limit_s):
            try:
                await self._post(message, record)
            except (aiohttp.ClientError, OSError) as exc:
                error = exc
        if not record.observations:
            if guard.refused and record.phase is Phase.CONNECTING:
                # aiohttp tries every address of a name, and joins their errors.
                record.observe(NoAnswer(TransportError.FORBIDDEN))
            else:
                record.observe_error(error)
        return outcome_of(record.observations[-1], now=self._now())

    async def aclose(self) -> None:
        """Close the kept connections."""
        if self._http is not None:
            await self._http.close()

    async def _post(self, message: Rendered, record: AttemptRecord) -> None:
        http = self._http = self._http or self._session()
        request = webhook.build_request(self._target, message, now=self._now())
        for _ in range(2):
            # Let the event loop notice that a receiver closed an idle connection.
            await anyio.lowlevel.checkpoint()
        async with http.post(
            self._url,
            headers=request.headers,
            data=_RecordedBody(request.body, record),
            allow_redirects=False,
        ) as response:
            await _observe_answer(response, record)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                # The dispatcher limits how many messages are sent at a time.
                limit=0,
                ssl=self._tls,
                keepalive_timeout=KEPT_S,
                # Each connection is checked against the addresses of its moment.
                use_dns_cache=False,
                resolver=aiohttp.ThreadedResolver(),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=CONNECT_S, sock_connect=TCP_CONNECT_S, sock_read=READ_S
            ),
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
            trust_env=False,
            max_line_size=HEADER_CAP,
            max_field_size=HEADER_CAP,
        )


class _RecordedBody(aiohttp.Payload):
    """The body of a request; records when its first and its last byte are written."""

    def __init__(self, body: bytes, record: AttemptRecord) -> None:
        super().__init__(body)
        self._body = body
        self._size = len(body)
        self._record = record

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Write the body, and wait until the operating system has all of it."""
        self._record.enter(Phase.SENDING)
        transport = writer.transport
        if transport is not None:
            # Otherwise a drain does not wait for the last 64 KiB.
            transport.set_write_buffer_limits(0)
        await writer.write(self._body)
        await writer.drain()
        self._record.enter(Phase.WAITING)


async def _observe_answer(response: aiohttp.ClientResponse, record: AttemptRecord) -> None:
    """Record the answer, even if its body does not come whole."""
    body = bytearray()
    try:
        with (
            anyio.move_on_after(SUCCESS_BODY_S if response.status in _SUCCESS else None),
            suppress(aiohttp.ClientError, OSError),
        ):
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= BODY_CAP:
                    break
    finally:
        if not response.content.is_eof():
            response.close()
        hints = response.headers.getall("retry-after", [])
        record.observe(
            HttpAnswer(
                status=response.status,
                retry_after=", ".join(hints) if hints else None,
                body=bytes(body[:BODY_KEPT]),
            )
        )
