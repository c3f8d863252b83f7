"""
What a server may do instead of answering well: values that can be scripted.

Each is spelt in JSON by its `kind`, so that a test in another process can ask for
it as well. A fault may replace the answer, spoil the page, or spoil the response.
"""

import gzip
import zlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias

import anyio
import msgspec

from notifier.demo.fake_api import ListPage
from notifier.domain.models import Json
from servers.loopback import HangUp, Response

JSON = "application/json"
_CHUNK = 64 * 1024
_HTML = b"<!doctype html><html><body><h1>We will be back soon</h1></body></html>"


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Something that goes wrong. By itself it does nothing."""

    async def instead(self) -> Response | None:
        """The whole answer, in place of the right one."""
        return None

    def spoil_page(self, page: ListPage) -> ListPage:
        """The page, before it is put into bytes."""
        return page

    def spoil_response(self, response: Response) -> Response:
        """The answer, before it is sent."""
        return response


class Status(Fault, frozen=True, kw_only=True, tag="status"):
    """An error in any of the shapes that the API gives them."""

    status: int
    shape: Literal["msg", "error", "nested", "code", "html", "empty"] = "error"
    message: str = "out of order"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    async def instead(self) -> Response:
        """The error."""
        if self.shape == "html":
            return Response(
                status=self.status,
                headers={"content-type": "text/html", **self.headers},
                body=_HTML,
            )
        return Response(
            status=self.status,
            headers={"content-type": JSON, **self.headers},
            body=b"" if self.shape == "empty" else msgspec.json.encode(self._said()),
        )

    def _said(self) -> Mapping[str, Json]:
        match self.shape:
            case "msg":
                return {"msg": self.message}
            case "nested":
                return {"error": {"code": "failed", "message": self.message}}
            case "code":
                return {"code": "failed", "message": self.message, "details": ""}
            case _:
                return {"error": self.message}


class Body(Fault, frozen=True, kw_only=True, tag="body"):
    """These bytes for an answer; as it is, an HTML page with status 200."""

    body: bytes = _HTML
    content_type: str = "text/html"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)

    async def instead(self) -> Response:
        """The bytes."""
        return Response(headers={"content-type": self.content_type, **self.headers}, body=self.body)


class Gigantic(Fault, frozen=True, kw_only=True, tag="gigantic"):
    """A valid, empty page with so many blanks in it; gzipped, it is a bomb."""

    size: int = 200 * 1024 * 1024
    gzip: bool = False

    async def instead(self) -> Response:
        """The page without end."""
        headers = {"content-type": JSON}
        if self.gzip:
            headers["content-encoding"] = "gzip"
        return Response(headers=headers, body=self._bomb() if self.gzip else self._mud())

    async def _mud(self) -> AsyncGenerator[bytes, None]:
        for _ in range(self.size // _CHUNK):
            yield b" " * _CHUNK
        yield b'{"milestones":[],"cursor":""}'

    async def _bomb(self) -> AsyncGenerator[bytes, None]:
        squeeze = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
        for _ in range(self.size // _CHUNK):
            yield squeeze.compress(b" " * _CHUNK)
        yield squeeze.compress(b'{"milestones":[],"cursor":""}') + squeeze.flush()


class Hang(Fault, frozen=True, kw_only=True, tag="hang"):
    """No answer, ever."""

    async def instead(self) -> Response:
        """Nothing: it never returns."""
        await anyio.sleep_forever()
        raise AssertionError


class Drip(Fault, frozen=True, kw_only=True, tag="drip"):
    """The right answer, so many bytes at a time and so many seconds apart."""

    bytes_at_once: int = 1
    seconds: float = 0.05

    def spoil_response(self, response: Response) -> Response:
        """The same, slowly."""
        return replace(response, body=self._drops(_whole(response)))

    async def _drops(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for at in range(0, len(body), self.bytes_at_once):
            yield body[at : at + self.bytes_at_once]
            await anyio.sleep(self.seconds)


class Reset(Fault, frozen=True, kw_only=True, tag="reset"):
    """The connection breaks within the body, after this share of it."""

    share: float = 0.5

    def spoil_response(self, response: Response) -> Response:
        """The same, up to the break."""
        body = _whole(response)
        length = {"content-length": str(len(body))}
        part = body[: int(len(body) * self.share)]
        return replace(response, headers={**response.headers, **length}, body=_broken_off(part))


class Truncated(Fault, frozen=True, kw_only=True, tag="truncated"):
    """JSON that is cut short, in an answer that claims to be whole."""

    share: float = 0.5

    def spoil_response(self, response: Response) -> Response:
        """The same, shorter."""
        body = _whole(response)
        return replace(response, body=body[: int(len(body) * self.share)])


class Gzipped(Fault, frozen=True, kw_only=True, tag="gzipped"):
    """The right answer, compressed; a fault only if `share` of it is below 1."""

    share: float = 1.0

    def spoil_response(self, response: Response) -> Response:
        """The same, smaller."""
        body = gzip.compress(_whole(response))
        return replace(
            response,
            headers={**response.headers, "content-encoding": "gzip"},
            body=body[: int(len(body) * self.share)],
        )


class Cursor(Fault, frozen=True, kw_only=True, tag="cursor"):
    """Another cursor than the right one; the same every time loops."""

    value: Any = "WzE3MDAwMDAwMDAsImEiXQ"

    def spoil_page(self, page: ListPage) -> ListPage:
        """The same rows, another cursor."""
        return ListPage(page.rows, self.value)


class NoCursor(Fault, frozen=True, kw_only=True, tag="no_cursor"):
    """A page without the key `cursor`."""

    def spoil_response(self, response: Response) -> Response:
        """The same without it."""
        page = msgspec.json.decode(_whole(response), type=dict[str, msgspec.Raw])
        page.pop("cursor", None)
        return replace(response, body=msgspec.json.encode(page))


class Empty(Fault, frozen=True, kw_only=True, tag="empty"):
    """An empty list, as during a partial outage."""

    def spoil_page(self, page: ListPage) -> ListPage:  # noqa: ARG002 - nothing of it stays
        """No rows and no more to come."""
        return ListPage((), "")


class Spoil(Fault, frozen=True, kw_only=True, tag="spoil"):
    """One field of one row replaced, or taken away when no value is given."""

    row: int = 0
    field: str
    value: Any = msgspec.UNSET

    def spoil_page(self, page: ListPage) -> ListPage:
        """The same page with that row spoilt."""
        doc = msgspec.json.decode(page.rows[self.row], type=dict[str, Any])
        doc[self.field] = self.value
        if self.value is msgspec.UNSET:
            del doc[self.field]
        return _with_row(page, self.row, msgspec.json.encode(doc))


class SpoilRow(Fault, frozen=True, kw_only=True, tag="spoil_row"):
    """One row replaced by any bytes; base64 in JSON."""

    row: int = 0
    raw: bytes

    def spoil_page(self, page: ListPage) -> ListPage:
        """The same page with those bytes in it."""
        return _with_row(page, self.row, self.raw)


class NoDate(Fault, frozen=True, kw_only=True, tag="no_date"):
    """An answer without the header `Date`."""

    def spoil_response(self, response: Response) -> Response:
        """The same without it."""
        headers = {k: v for k, v in response.headers.items() if k != "date"}
        return replace(response, headers=headers)


class Skew(Fault, frozen=True, kw_only=True, tag="skew"):
    """A server's clock that is wrong by so many seconds."""

    seconds: float

    def spoil_response(self, response: Response) -> Response:
        """The same at another time."""
        right = parsedate_to_datetime(response.headers["date"])
        wrong = format_datetime(right + timedelta(seconds=self.seconds), usegmt=True)
        return replace(response, headers={**response.headers, "date": wrong})


class Stale(Fault, frozen=True, kw_only=True, tag="stale"):
    """The list as it was when the snapshot of this name was taken: a late replica."""

    snapshot: str


AnyFault: TypeAlias = (
    Status
    | Body
    | Gigantic
    | Hang
    | Drip
    | Reset
    | Truncated
    | Gzipped
    | Cursor
    | NoCursor
    | Empty
    | Spoil
    | SpoilRow
    | NoDate
    | Skew
    | Stale
)


class Plan(msgspec.Struct, kw_only=True):
    """Faults that come together, and which requests they hit."""

    faults: tuple[AnyFault, ...]
    #: So many requests; None: every one, until healed.
    times: int | None = 1
    #: So many matching requests go well before.
    after: int = 0
    #: A pattern of the path behind the prefix: `/milestones` is the list alone,
    #: `/milestones/*` any single one.
    path: str = "/milestones"

    def hits(self, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if self.times == 0 or not fnmatchcase(path, self.path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


def _with_row(page: ListPage, place: int, raw: bytes) -> ListPage:
    rows = list(page.rows)
    rows[place] = raw
    return ListPage(tuple(rows), page.cursor)


def _whole(response: Response) -> bytes:
    if not isinstance(response.body, bytes):
        raise TypeError("one fault of the body at a time")
    return response.body


async def _broken_off(part: bytes) -> AsyncGenerator[bytes, None]:
    yield part
    raise HangUp
