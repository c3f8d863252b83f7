"""What was made for one address, kept small, and handed out again."""

import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from typing import Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

T = TypeVar("T")
#: What is sent at a time: nobody waits behind more.
_PART = 64 * 1024
_SECOND = timedelta(seconds=1)


class Offload(Protocol):
    """Runs blocking work off the event loop, and comes back with its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A body as it stands, compressed, and how to know it again."""

    packed: bytes
    size: int
    etag: str
    #: Since when it has been like this, as far as this process knows.
    since: datetime


def copied(body: bytes, before: Copy | None, *, now: datetime) -> Copy:
    """
    A body to keep.

    What has not changed keeps its time; what has changed is at least a second
    younger, because the time of an answer knows whole seconds alone.
    """
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    if before is not None and before.etag == etag:
        return before
    since = now.astimezone(UTC).replace(microsecond=0)
    if before is not None:
        since = max(since, before.since + _SECOND)
    return Copy(packed=zlib.compress(body, 1), size=len(body), etag=etag, since=since)


def answer(request: Request, copy: Copy, media: str, *, offload: Offload) -> Response:
    """The copy, or word that the reader has it already."""
    headers = {
        "etag": copy.etag,
        "last-modified": format_datetime(copy.since, usegmt=True),
        "cache-control": "private",
    }
    if _has(request, copy):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(copy.size)
    headers["content-type"] = media
    if request.method == "HEAD":
        return Response(headers=headers)
    return StreamingResponse(_parts(copy, offload), headers=headers)


async def _parts(copy: Copy, offload: Offload) -> AsyncIterator[bytes]:
    unpack, left = zlib.decompressobj(), copy.packed
    while left:
        part = await offload(partial(unpack.decompress, left, _PART))
        left = unpack.unconsumed_tail
        if part:
            yield part
    if rest := unpack.flush():
        yield rest


def _has(request: Request, copy: Copy) -> bool:
    if (tags := request.headers.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return copy.etag in known or "*" in known
    if (said := request.headers.get("if-modified-since")) is None:
        return False
    try:
        then = parsedate_to_datetime(said)
    except ValueError:
        return False
    return then.replace(tzinfo=then.tzinfo or UTC) >= copy.since
