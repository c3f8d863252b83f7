"""What httpx and the network raise, as errors of ours: the one place for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import httpx

from notifier.errors import (
    SourceError,
    SourceGarbled,
    SourceRefused,
    SourceUnavailable,
)
from notifier.kalshi.decoding import quote

#: In place of an HTTP status: the request could not even be put on the wire.
NEVER_SENT = 0

#: The first that fits serves. Left: what to say; right: what it is to us.
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
def translated(*, timeout: timedelta) -> Iterator[None]:
    """Let nothing out but `SourceError`s; a TimeoutError is the total deadline's."""
    try:
        yield
    except TimeoutError as exc:
        seconds = timeout.total_seconds()
        raise SourceUnavailable(f"no whole answer within {seconds:g} s") from exc
    except FOREIGN as exc:
        raise translation(exc) from exc


def translation(exc: Exception) -> SourceError:
    """What a foreign exception means to a reader of the list."""
    if said := _said(exc, _UNAVAILABLE):
        return SourceUnavailable(said)
    if said := _said(exc, _REFUSED):
        return SourceRefused(said, status=NEVER_SENT)
    return SourceGarbled(_said(exc, _GARBLED) or quote(exc))


def _said(exc: Exception, table: dict[type[Exception], str]) -> str | None:
    for kind, what in table.items():
        if isinstance(exc, kind):
            detail = quote(exc)
            return f"{what}: {detail}" if detail else what
    return None
