"""
New events as server-sent events.

All listeners share what is read: the store is read four times a second for any number of
them, and not at all without one.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from notifier.storage import queries
from notifier.web.reader import StoreReader
from notifier.web.schemas import EVENT_STREAM, BadRequest, QuerySchema, StreamQuery

#: More listeners are refused.
MAX_LISTENERS = 50
#: Seconds between two reads.
READ_EVERY_S = 0.25
#: Seconds of silence after which proxies may drop a connection.
KEEP_ALIVE_S = 15.0
#: A listener that takes nothing for so many seconds is dropped.
SEND_TIMEOUT_S = 30.0
#: Seconds between two checks of a listener's rights.
CHECK_EVERY_S = 10.0
_BATCH = 100
STREAM_QUERY = QuerySchema(StreamQuery)
#: How long a browser waits before it connects again.
_RETRY = b"retry: 2000\n\n"
_KEEP_ALIVE = b": still here\n\n"


@dataclass(slots=True)
class Broadcast:
    """The newest events, read once for all listeners."""

    reader: StoreReader
    listeners: int = 0
    _newest: int = 0
    _read_at: float = float("-inf")
    #: The batch that was read last, and the number above which it begins.
    _batch: tuple[int, Sequence[tuple[int, bytes]]] = (-1, ())
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def newest(self) -> int:
        """The number of the newest event, a quarter of a second old at most."""
        async with self._lock:
            if anyio.current_time() - self._read_at >= READ_EVERY_S:
                self._newest = await self.reader.read(queries.newest_event)
                self._read_at = anyio.current_time()
        return self._newest

    async def after(self, number: int) -> Sequence[tuple[int, bytes]]:
        """The next events above a number, encoded, oldest first."""
        if await self.newest() <= number:
            return ()
        async with self._lock:
            if self._batch[0] != number:
                rows = await self.reader.read(queries.events_after, number, _BATCH)
                self._batch = number, [(seq, encode(seq, row)) for seq, row in rows]
            return self._batch[1]

    async def respond(self, request: Request) -> Response:
        """
        Stream from the newest event on, or from the last one that the client knows.

        Raises:
            BadRequest: the number of the last event is none.
            HTTPException: too many clients listen.
        """
        known = STREAM_QUERY.parse(request).after
        if (last := request.headers.get("last-event-id")) is not None:
            try:
                known = STREAM_QUERY.convert({"after": last}).after
            except BadRequest as exc:
                raise BadRequest(f"Last-Event-ID: {exc.detail}") from None
        newest = await self.newest()
        if self.listeners >= MAX_LISTENERS:
            raise HTTPException(
                503, "Too many clients listen; try again later.", {"retry-after": "30"}
            )
        # A number that is still to come belongs to another database.
        number = newest if known is None else min(known, newest)
        return EventStream(
            self,
            number,
            is_head=request.method == "HEAD",
            is_allowed=request.state.is_still_authenticated,
        )


def encode(number: int, row: object) -> bytes:
    """One event as a server-sent event."""
    return b"id: %d\nevent: event\ndata: %s\n\n" % (number, msgspec.json.encode(row))


class EventStream(Response):
    """Sends events to one listener, until it goes, is too slow, or loses its rights."""

    media_type = EVENT_STREAM

    def __init__(
        self,
        broadcast: Broadcast,
        number: int,
        *,
        is_head: bool,
        is_allowed: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._broadcast = broadcast
        self._number = number
        self._is_head = is_head
        self._is_allowed = is_allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond; the number of listeners is right however it ends."""
        del scope
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        if self._is_head:
            await send({"type": "http.response.body", "body": b""})
            return
        self._broadcast.listeners += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._wait_for_disconnect, receive, tasks.cancel_scope)
                await self._send_events(send)
                tasks.cancel_scope.cancel()
        finally:
            self._broadcast.listeners -= 1

    async def _wait_for_disconnect(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _send_events(self, send: Send) -> None:
        number = self._number
        checked_at = sent_at = anyio.current_time()
        is_taken = await _send(send, _RETRY)
        while is_taken:
            now = anyio.current_time()
            if now - checked_at >= CHECK_EVERY_S:
                if not await self._is_allowed():
                    await send({"type": "http.response.body", "body": b""})
                    return
                checked_at = now
            batch = await self._broadcast.after(number)
            if batch:
                is_taken = await _send(send, b"".join(event for _, event in batch))
                number, sent_at = batch[-1][0], anyio.current_time()
            elif now - sent_at >= KEEP_ALIVE_S:
                is_taken = await _send(send, _KEEP_ALIVE)
                sent_at = anyio.current_time()
            if len(batch) < _BATCH:
                await anyio.sleep(READ_EVERY_S)


async def _send(send: Send, body: bytes) -> bool:
    """Whether the listener took it in time."""
    with anyio.move_on_after(SEND_TIMEOUT_S) as timeout:
        await send({"type": "http.response.body", "body": body, "more_body": True})
    return not timeout.cancelled_caught
