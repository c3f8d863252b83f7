"""
HTTP of Apprise's plugins, through connections that are kept and observed.

The plugins call `requests.post` and the like. That opens a session, a connection and a
TLS context for every message, and hides the answer. `install` replaces the session
class: during an attempt, requests go through the destination's `HttpConnections`, which
keeps connections and records what it observes. Outside of an attempt `requests` behaves
as usual.
"""

import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from notifier.domain.egress_policy import anywhere
from notifier.senders.attempt import (
    BODY_KEPT,
    AttemptAborted,
    AttemptRecord,
    HttpAnswer,
    NoAnswer,
    Phase,
    TransportError,
    current,
)
from notifier.senders.egress_guard import AddressForbidden, Egress, check_literal, uses_proxies

#: Answers are read no further; what plugins look at is far shorter.
BODY_CAP = 1 << 20
#: A connection that was idle for longer is not used again: servers close idle
#: connections, and a request that meets the closing is ambiguous.
IDLE_S = 20.0
_CHUNK = 16384

_connections: ContextVar["HttpConnections | None"] = ContextVar("connections", default=None)


@contextmanager
def through(connections: "HttpConnections") -> Iterator[None]:
    """Send the requests made inside through these connections."""
    token = _connections.set(connections)
    try:
        yield
    finally:
        _connections.reset(token)


def install() -> None:
    """Have `requests.post` and the like observed; may be called again."""
    requests.sessions.Session = ObservedSession  # type: ignore[misc] # `requests` looks it up there
    # The configuration of a destination says verify=no: no warning per message.
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)


class ObservedSession(requests.Session):
    """A session of `requests` that uses the attempt's connections, if there are any."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = _connections.get()
        if self._kept is not None:
            # Do not read ~/.netrc and the proxy variables for each message.
            self.trust_env = False
            self.adapters.clear()
            self.mount("https://", self._kept)
            self.mount("http://", self._kept)

    def close(self) -> None:
        """Leave kept connections open for the next message."""
        if self._kept is None:
            super().close()


class _ObservedConnection(HTTPConnection):
    """Records in the attempt how far a request got."""

    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        fresh = time.monotonic() - self._used_at < IDLE_S
        return fresh and super().is_connected

    def connect(self) -> None:
        self._enter(Phase.CONNECTING)
        self._used_at = time.monotonic()
        super().connect()
        self._enter(Phase.SENDING)

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._enter(Phase.SENDING)
        super().request(*args, **kwargs)
        self._enter(Phase.WAITING)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3's own differs from http.client's too
        response = super().getresponse()
        self._used_at = time.monotonic()
        return response

    def _enter(self, phase: Phase) -> None:
        record = current()
        if record is not None:
            record.enter(phase, self.sock)


class _ObservedTlsConnection(_ObservedConnection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _ObservedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _ObservedTlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class HttpConnections(HTTPAdapter):
    """One destination's connections over HTTP, as an adapter of `requests`."""

    def __init__(self, tls: ssl.SSLContext, *, may_reach: Egress = anywhere) -> None:
        self._uses_proxies = uses_proxies(may_reach)
        self._tls = tls
        self._proxies: dict[str, dict[str, str]] = {}
        super().__init__()
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The pool of a proxy, observed like the direct one."""
        pools = super().proxy_manager_for(proxy, **proxy_kwargs)
        pools.pool_classes_by_scheme = _POOLS
        return pools

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Share one TLS context: to load the authorities takes 40 ms."""
        host, tls = super().build_connection_pool_key_attributes(request, verify, cert)
        if verify is True:
            tls["ssl_context"] = self._tls
        return host, tls

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the authorities to the shared TLS context."""
        if verify is True and cert is None:
            conn.cert_reqs = "CERT_REQUIRED"
        else:
            super().cert_verify(conn, url, verify, cert)

    def send(  # type: ignore[override] # the other arguments are passed on
        self,
        request: requests.PreparedRequest,
        *,
        stream: bool = False,
        proxies: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send one request, read its answer up to a cap, and record both."""
        url = request.url or ""
        proxies = (proxies or self._proxies_for(url)) if self._uses_proxies else {}
        record = current()
        if record is None or stream:
            return super().send(request, stream=stream, proxies=proxies, **kwargs)
        try:
            record.enter(Phase.IDLE)
            if proxies:
                check_literal(url)
            response = super().send(request, stream=True, proxies=proxies, **kwargs)
        except (AttemptAborted, AddressForbidden) as exc:
            raise requests.exceptions.ConnectionError(exc) from exc
        except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
            record.observe_error(exc)
            raise
        _read_body(response, record)
        return response

    def _proxies_for(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.hostname}"
        if origin not in self._proxies:
            self._proxies[origin] = get_environ_proxies(url)
        return dict(self._proxies[origin])


def _read_body(response: requests.Response, record: AttemptRecord) -> None:
    """Put the body, up to the cap, in the place of the connection; record the answer."""

    def answer(body: bytes) -> HttpAnswer:
        return HttpAnswer(
            status=response.status_code,
            retry_after=response.headers.get("Retry-After"),
            body=body,
        )

    body = bytearray()
    try:
        for chunk in response.raw.stream(_CHUNK, decode_content=True):
            body += chunk
            if len(body) >= BODY_CAP:
                response.raw.close()
                break
    except urllib3.exceptions.HTTPError as exc:
        # A refusal holds without its body; a success may have meant a failure.
        cut = NoAnswer(TransportError.ANSWER_CUT) if response.ok else answer(b"")
        record.observe(cut)
        raise requests.exceptions.ChunkedEncodingError(exc) from exc
    response.raw = BytesIO(body)
    record.observe(answer(bytes(body[:BODY_KEPT])))
