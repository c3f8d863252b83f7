"""
What failed requests and unusable answers mean, as errors of ours: the only place for it.

Source: Kalshi OpenAPI 3.34.0, and captured answers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
import msgspec

from notifier.domain.models import Json
from notifier.errors import (
    SourceError,
    SourceGarbled,
    SourceRefused,
    SourceUnavailable,
)
from notifier.kalshi.decoding import UNREADABLE, quote

#: The longest `Retry-After` that is honoured.
LONGEST_WAIT = timedelta(days=1)

_TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def error_of(response: httpx.Response, body: bytes, *, now: datetime) -> SourceError | None:
    """
    The error that an answer stands for; None: its body may be read.

    408, 425, 429 and 5xx are transient. Other 4xx and redirects, which are not
    followed, are refusals. A web page with status 200 is not an answer.
    """
    status = response.status_code
    if status == HTTPStatus.OK:
        return _not_json(response)
    reason = _reason(response, body)
    if status in _TRANSIENT or response.is_server_error:
        return SourceUnavailable(reason, retry_after=retry_after(response, now=now))
    if response.is_client_error or response.is_redirect:
        return SourceRefused(reason, status=status)
    return SourceGarbled(reason)


def says_not_found(body: bytes) -> bool:
    """
    Whether the API itself says that there is no such record.

    A proxy or a wrong base_url answers 404 too, and must not remove anything.
    """
    message = (message_in(body) or "").lower()
    return "not" in message and "found" in message


def message_in(body: bytes) -> str | None:
    """
    The API's own short message in an error body of any of its shapes.

    Source: Kalshi OpenAPI 3.34.0 and what was seen: `{"msg": m}`, `{"error": m}`,
    `{"error": {"code": c, "message": m}}`, `{"code": c, "message": m, "details": d}`.
    """
    try:
        content: Json = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if not isinstance(content, dict):
        return None
    inner = content.get("error")
    source = inner if isinstance(inner, dict) else content
    for key in ("message", "msg", "error", "code"):
        text = source.get(key)
        if isinstance(text, str) and text.strip():
            return quote(text)
    return None


def retry_after(response: httpx.Response, *, now: datetime) -> timedelta | None:
    """How long the server asks to wait; a date counts from its own `Date` if there is one."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_WAIT)
    until = http_date(text)
    if until is None:
        return None
    wait = until - (date_of(response) or now)
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def date_of(response: httpx.Response) -> datetime | None:
    """The header `Date`; None without a valid one."""
    return http_date(response.headers.get("date", ""))


def http_date(text: str) -> datetime | None:
    """
    An HTTP date in UTC; None if it cannot be parsed.

    Source: RFC 9110, section 5.6.7.
    """
    try:
        when = parsedate_to_datetime(text)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _not_json(response: httpx.Response) -> SourceError | None:
    """An error for a web page (maintenance, a proxy); other types may be mislabelled."""
    kind = response.headers.get("content-type", "")
    if "html" in kind.lower():
        return SourceGarbled(f"the answer is a web page ({quote(kind)}), not JSON")
    return None


def _reason(response: httpx.Response, body: bytes) -> str:
    status = response.status_code
    phrase = response.reason_phrase or httpx.codes.get_reason_phrase(status)
    line = f"{status} {quote(phrase)}".strip()
    if response.has_redirect_location:
        return f"{line} to {quote(response.headers['location'])}, not followed"
    message = message_in(body)
    return f"{line}: {message}" if message else line


# --- exceptions of httpx and the network ---

#: In place of an HTTP status: the request could not be sent.
NEVER_SENT = 0

#: The first matching type counts.
_UNAVAILABLE: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.TimeoutException: "no answer in time",
    httpx.ProxyError: "the proxy failed",
    httpx.ConnectError: "cannot connect",
    httpx.NetworkError: "the connection broke",
    httpx.RemoteProtocolError: "the answer broke off, or is no HTTP",
    OSError: "the network failed",
}
_REFUSED: dict[type[Exception], str] = {
    httpx.UnsupportedProtocol: "base_url cannot be requested",
    httpx.InvalidURL: "base_url cannot be requested",
    httpx.LocalProtocolError: "the request cannot be sent",
}
_GARBLED: dict[type[Exception], str] = {
    httpx.HTTPError: "the answer cannot be read",
    httpx.StreamError: "the answer cannot be read",
    httpx.CookieConflict: "the answer cannot be read",
}
FOREIGN = (*_UNAVAILABLE, *_REFUSED, *_GARBLED)


@contextmanager
def translate_errors(*, timeout: timedelta) -> Iterator[None]:
    """Raise `SourceError`s only; a TimeoutError is that of the total deadline."""
    try:
        yield
    except TimeoutError as exc:
        seconds = timeout.total_seconds()
        raise SourceUnavailable(f"no whole answer within {seconds:g} s") from exc
    except FOREIGN as exc:
        raise source_error(exc) from exc


def source_error(exc: Exception) -> SourceError:
    """The `SourceError` for an exception of httpx or the network."""
    if message := _message(exc, _UNAVAILABLE):
        return SourceUnavailable(message)
    if message := _message(exc, _REFUSED):
        return SourceRefused(message, status=NEVER_SENT)
    return SourceGarbled(_message(exc, _GARBLED) or quote(exc))


def _message(exc: Exception, table: dict[type[Exception], str]) -> str | None:
    for kind, what in table.items():
        if isinstance(exc, kind):
            detail = quote(exc)
            return f"{what}: {detail}" if detail else what
    return None
