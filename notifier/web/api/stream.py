"""
New events as they come, to as many as listen: server-sent events.

All listeners share what they learn: however many they are, the store is asked for
news four times a second, and not at all while nobody listens.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from notifier.domain.pagination import RowJson
from notifier.storage.books import Books
from notifier.web.api import query_params
from notifier.web.api.query_params import Wrong

EVENT_STREAM = "text/event-stream"
#: More listeners are sent away.
MOST_LISTENERS = 50
#: So often somebody looks whether there is news.
LOOK_EVERY_S = 0.25
#: A stream that says nothing for longer may be taken for dead on the way.
QUIET_S = 15.0
#: Whoever takes no part of it for so long is gone, or too slow.
PATIENCE_S = 30.0
#: So often it is asked whether the listener may still listen.
CHECK_EVERY_S = 10.0
#: Events at a time.
_BATCH = 100
#: What was new lately is not asked for again.
_REMEMBERED = 500
#: How long a browser waits before it comes back.
_HELLO = b"retry: 2000\n\n"
_STILL_HERE = b": still here\n\n"

_Numbered = tuple[int, bytes]


@dataclass(slots=True)
class Broadcast:
    """What is new, learnt once for all listeners."""

    books: Books
    listeners: int = 0
    _newest: int = 0
    _looked_at: float = float("-inf")
    #: The newest events in a row, ready to be sent.
    _recent: deque[_Numbered] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def newest(self) -> int:
        """The number of the newest event, a quarter of a second old at most."""
        async with self._lock:
            if anyio.current_time() - self._looked_at >= LOOK_EVERY_S:
                self._newest = await self.books.newest()
                self._looked_at = anyio.current_time()
        return self._newest

    async def after(self, number: int) -> Sequence[_Numbered]:
        """The next events above a number, oldest first; none: there is nothing new."""
        if await self.newest() <= number:
            return ()
        async with self._lock:
            if not self._remembers(number):
                rows = await self.books.events_after(number, limit=_BATCH)
                found = [(key, told(key, row)) for key, row in rows]
                self._remember(number, found)
                return found
        return [one for one in self._recent if one[0] > number][:_BATCH]

    def _remembers(self, number: int) -> bool:
        """Whether all that is above the number stands among the recent ones."""
        recent = self._recent
        return bool(recent) and recent[0][0] <= number < recent[-1][0]

    def _remember(self, number: int, found: Sequence[_Numbered]) -> None:
        """Keep what is new for the others; it must go on where the recent ones end."""
        if not found or (self._recent and found[-1][0] <= self._recent[-1][0]):
            return
        if not self._recent or self._recent[-1][0] != number:
            self._recent.clear()
            # So that whoever knows the same finds it all here.
            self._recent.append((number, b""))
        self._recent.extend(found)


def told(number: int, row: RowJson) -> bytes:
    """An event as the stream tells it."""
    return b"id: %d\nevent: event\ndata: %s\n\n" % (number, msgspec.json.encode(row))


class Streaming(Response):
    """Tells one listener, until one of both has enough, or it may not listen."""

    media_type = EVENT_STREAM

    def __init__(
        self,
        broadcast: Broadcast,
        number: int,
        *,
        is_head: bool,
        is_still_in: Callable[[], Awaitable[bool]],
    ) -> None:
        super().__init__(headers={"cache-control": "no-store"})
        del self.headers["content-length"]
        self._broadcast = broadcast
        self._number = number
        self._is_head = is_head
        self._is_still_in = is_still_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the number of listeners is right however it ends."""
        del scope
        begin = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **begin})
        if self._is_head:
            await send({"type": "http.response.body", "body": b""})
            return
        self._broadcast.listeners += 1
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_gone, receive, tasks.cancel_scope)
                await self._tell(send)
                tasks.cancel_scope.cancel()
        finally:
            self._broadcast.listeners -= 1

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _tell(self, send: Send) -> None:
        number, quiet_since = self._number, anyio.current_time()
        checked_at = quiet_since
        is_taken = await _sent(send, _HELLO)
        while is_taken:
            if anyio.current_time() - checked_at >= CHECK_EVERY_S:
                if not await self._is_still_in():
                    await send({"type": "http.response.body", "body": b""})
                    return
                checked_at = anyio.current_time()
            news = await self._broadcast.after(number)
            if news:
                is_taken = await _sent(send, b"".join(told for _, told in news))
                number, quiet_since = news[-1][0], anyio.current_time()
            elif anyio.current_time() - quiet_since >= QUIET_S:
                is_taken = await _sent(send, _STILL_HERE)
                quiet_since = anyio.current_time()
            if len(news) < _BATCH:
                await anyio.sleep(LOOK_EVERY_S)


async def _sent(send: Send, words: bytes) -> bool:
    """Whether the listener took it in time."""
    with anyio.move_on_after(PATIENCE_S) as patience:
        await send({"type": "http.response.body", "body": words, "more_body": True})
    return not patience.cancelled_caught


async def stream(broadcast: Broadcast, request: Request) -> Response:
    """
    Listen: from the newest event on, or from the one that is known.

    Raises:
        HTTPException: too many listen.

    """
    after = query_params.STREAM.read(request)["after"]
    newest = await broadcast.newest()
    known = _last(request) if "last-event-id" in request.headers else after
    if broadcast.listeners >= MOST_LISTENERS:
        raise HTTPException(503, "As many listen as can; try again later.", {"retry-after": "30"})
    # Numbers that are still to come belong to another store, or to nobody.
    number = newest if known is None else min(known, newest)
    return Streaming(
        broadcast,
        number,
        is_head=request.method == "HEAD",
        is_still_in=request.state.is_still_in,
    )


def _last(request: Request) -> int:
    """
    The number that a browser knew when it lost us.

    Raises:
        Wrong: it is none of ours.

    """
    value = request.headers["last-event-id"]
    try:
        return int(query_params.AFTER.read(value))
    except ValueError as exc:
        raise Wrong(f"Last-Event-ID: {exc}") from None
