"""What an answer other than the list means: refusals, hints to wait, dates."""

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

#: No hint to wait is believed beyond this.
LONGEST_WAIT = timedelta(days=1)

_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def error_of(response: httpx.Response, body: bytes, *, now: datetime) -> SourceError | None:
    """
    What an answer means to us; None: it may be read.

    429, 408, 425 and 5xx pass by themselves; other 4xx and redirects, which we do
    not follow, will not. Anything else than JSON with 200 is no answer.
    """
    status = response.status_code
    if status == HTTPStatus.OK:
        return _not_json(response)
    reason = _reason(response, body)
    if status in _PASSING or response.is_server_error:
        return SourceUnavailable(reason, retry_after=retry_after(response, now=now))
    if response.is_client_error or response.is_redirect:
        return SourceRefused(reason, status=status)
    return SourceGarbled(reason)


def says_not_found(body: bytes) -> bool:
    """
    Whether a 404 is the API's own word that there is no such record.

    A proxy or a wrong base_url answers 404 too, and must not remove anything.
    """
    said = message_in(body)
    return said is not None and "not" in said.lower() and "found" in said.lower()


def message_in(body: bytes) -> str | None:
    """
    The API's own short message in an error body of any of its shapes.

    Source: Kalshi OpenAPI 3.34.0 and what was seen: `{"msg": m}`, `{"error": m}`,
    `{"error": {"code": c, "message": m}}`, `{"code": c, "message": m, "details": d}`.
    """
    try:
        said: Json = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if not isinstance(said, dict):
        return None
    inner = said.get("error")
    source = inner if isinstance(inner, dict) else said
    for key in ("message", "msg", "error", "code"):
        text = source.get(key)
        if isinstance(text, str) and text.strip():
            return quote(text)
    return None


def retry_after(response: httpx.Response, *, now: datetime) -> timedelta | None:
    """How long the server asks us to wait, by its own clock if it tells it."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), LONGEST_WAIT)
    until = http_date(text)
    if until is None:
        return None
    wait = until - (date_of(response) or now)
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def date_of(response: httpx.Response) -> datetime | None:
    """The server's clock when it answered, to the second; None if it does not say."""
    return http_date(response.headers.get("date", ""))


def http_date(text: str) -> datetime | None:
    """
    An HTTP date in UTC; None if it is none.

    Source: RFC 9110, section 5.6.7.
    """
    try:
        when = parsedate_to_datetime(text)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _not_json(response: httpx.Response) -> SourceError | None:
    """A web page is a maintenance page or a proxy's; other types may be mislabelled."""
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
    said = message_in(body)
    return f"{line}: {said}" if said else line
