"""Reading the body of an answer within a limit."""

import zlib

import anyio
import httpx

from notifier.errors import SourceGarbled

#: What `read_body` decodes; request nothing else.
ACCEPT_ENCODING = "gzip"
_GZIP = 16 + zlib.MAX_WBITS


async def read_body(response: httpx.Response, *, limit: int) -> bytes:
    """
    The decoded body of a streamed answer.

    gzip is inflated step by step, because httpx inflates a whole chunk at once: a
    thousandfold at worst.

    Raises:
        SourceGarbled: more than `limit` bytes once decoded, or not decodable.

    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise SourceGarbled(f"the answer came in an encoding not asked for: {encoding}")
    inflater = zlib.decompressobj(_GZIP) if encoding.endswith("gzip") else None
    pieces: list[bytes] = []
    size, error = 0, None
    # Cancelled, not left by `break`: httpx's generators must unwind from within.
    with anyio.CancelScope() as reading:
        async for chunk in response.aiter_raw():
            if error is not None or (inflater is not None and inflater.eof):
                continue
            try:
                piece = inflater.decompress(chunk, limit + 1 - size) if inflater else chunk
            except zlib.error as exc:
                error = SourceGarbled(f"the answer is broken gzip: {exc}")
            else:
                size += len(piece)
                pieces.append(piece)
                if size > limit:
                    error = SourceGarbled(f"the answer is larger than {limit} bytes")
            if error is not None:
                reading.cancel()
    if error is None and inflater is not None and not inflater.eof:
        error = SourceGarbled("the answer is cut off: its gzip has no end")
    if error is not None:
        raise error
    return b"".join(pieces)
