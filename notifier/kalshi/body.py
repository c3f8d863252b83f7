"""A body whole, and never more of it in memory than allowed."""

import zlib
from typing import Protocol

import anyio
import httpx

from notifier.errors import SourceGarbled

#: What `read_body` understands; ask for nothing else.
ACCEPT_ENCODING = "gzip"
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(response: httpx.Response, *, limit: int) -> bytes:
    """
    The decoded body of a streamed answer.

    gzip is inflated step by step here, because httpx would inflate a whole chunk at
    once, a thousandfold at worst.

    Raises:
        SourceGarbled: more than `limit` bytes once decoded, or not decodable.

    """
    body = _Body(response.headers.get("content-encoding", ""), limit=limit)
    # Cancelled rather than left: httpx's generators must unwind from within.
    with anyio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            if not body.take(chunk):
                reading.cancel()
    return body.whole()


async def read_beginning(response: httpx.Response, *, limit: int) -> bytes:
    """The body if it can be read within `limit`, else nothing: for mere errors."""
    try:
        return await read_body(response, limit=limit)
    except SourceGarbled:
        return b""


class _Body:
    """What has come of a body."""

    def __init__(self, encoding: str, *, limit: int) -> None:
        self._part = _part(encoding)
        self._limit = limit
        self._room = limit
        self._pieces: list[bytes] = []
        self._error: SourceGarbled | None = None

    def take(self, chunk: bytes) -> bool:
        """Whether more is wanted."""
        if self._error is None:
            try:
                self._add(self._part.take(chunk, self._room + 1))
            except SourceGarbled as exc:
                self._error = exc
        return self._error is None

    def whole(self) -> bytes:
        """All of it; raises SourceGarbled if that cannot be had."""
        if self._error is not None:
            raise self._error
        self._part.end()
        return b"".join(self._pieces)

    def _add(self, piece: bytes) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise SourceGarbled(f"the answer is larger than {self._limit} bytes")
        self._pieces.append(piece)


class _Part(Protocol):
    def take(self, chunk: bytes, most: int) -> bytes: ...

    def end(self) -> None: ...


def _part(encoding: str) -> _Part:
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Gzip()
        case other:
            raise SourceGarbled(f"the answer came in an encoding not asked for: {other}")


class _Plain:
    def take(self, chunk: bytes, most: int) -> bytes:
        return chunk if len(chunk) <= most else chunk[:most]

    def end(self) -> None:
        pass


class _Gzip:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)

    def take(self, chunk: bytes, most: int) -> bytes:
        if self._inflate.eof:
            return b""
        try:
            return self._inflate.decompress(chunk, most)
        except zlib.error as exc:
            raise SourceGarbled(f"the answer is broken gzip: {exc}") from exc

    def end(self) -> None:
        if not self._inflate.eof:
            raise SourceGarbled("the answer is cut off: its gzip has no end")
