"""
Where Apprise's plugins meet HTTP.

They call `requests.post` and the like, which opens a new session, and with it a
new connection and a new TLS context, for every message, and tells nobody what
was answered. `install` puts `WatchedSession` in its place: during an attempt its
requests go through the destination's `Wire`, which keeps connections and writes
down what it sees. Outside of one it behaves as it always did.
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
    Answer,
    AttemptOver,
    Break,
    Broken,
    Phase,
    Recorder,
    current,
)
from notifier.senders.egress_guard import Egress, Forbidden, check_literal, uses_proxies

#: No answer is read further; what plugins look at is far shorter.
BODY_CAP = 1 << 20
#: A kept connection is not used again after so many seconds: servers close idle
#: ones, and a request that meets the closing is lost in doubt.
IDLE_S = 20.0
_CHUNK = 16384

_wire: ContextVar["Wire | None"] = ContextVar("wire", default=None)


@contextmanager
def through(wire: "Wire") -> Iterator[None]:
    """Requests made inside go through this wire."""
    token = _wire.set(wire)
    try:
        yield
    finally:
        _wire.reset(token)


def install() -> None:
    """Let `requests.post` and its kin be watched; may be called again."""
    requests.sessions.Session = WatchedSession  # type: ignore[misc] # the seam itself
    # A destination with verify=no was asked for; no need to say so per message.
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)


class WatchedSession(requests.Session):
    """A session of `requests` that uses the attempt's wire, if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self._through = _wire.get()
        if self._through is not None:
            # Neither ~/.netrc nor the proxy variables are read per message.
            self.trust_env = False
            self.adapters.clear()
            self.mount("https://", self._through)
            self.mount("http://", self._through)

    def close(self) -> None:
        """Leave the wire's connections open for the next message."""
        if self._through is None:
            super().close()


class _WatchedConnection(HTTPConnection):
    """Tells the attempt's recorder how far a request got."""

    _used_at = 0.0

    @property
    def is_connected(self) -> bool:
        fresh = time.monotonic() - self._used_at < IDLE_S
        return fresh and super().is_connected

    def connect(self) -> None:
        _enter(Phase.CONNECTING, self)
        self._used_at = time.monotonic()
        super().connect()
        _enter(Phase.SENDING, self)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _enter(Phase.SENDING, self)
        super().request(*args, **kwargs)
        _enter(Phase.WAITING, self)

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # urllib3's own differs from http.client's too
        response = super().getresponse()
        self._used_at = time.monotonic()
        return response


class _WatchedTlsConnection(_WatchedConnection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class Wire(HTTPAdapter):
    """One destination's connections over HTTP."""

    def __init__(self, tls: ssl.SSLContext, *, may_reach: Egress = anywhere) -> None:
        self._uses_proxies = uses_proxies(may_reach)
        self._tls = tls
        self._proxies: dict[str, dict[str, str]] = {}
        super().__init__()
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The pool of a proxy, watched like the direct one."""
        pools = super().proxy_manager_for(proxy, **proxy_kwargs)
        pools.pool_classes_by_scheme = _POOLS
        return pools

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Share one TLS context: loading the authorities costs 40 ms."""
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

    def send(  # type: ignore[override] # the arguments pass through untouched
        self,
        request: requests.PreparedRequest,
        *,
        stream: bool = False,
        proxies: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        """Send one request, read its answer up to a cap, and write both down."""
        url = request.url or ""
        proxies = (proxies or self._proxies_for(url)) if self._uses_proxies else {}
        recorder = current()
        if recorder is None or stream:
            return super().send(request, stream=stream, proxies=proxies, **kwargs)
        try:
            recorder.enter(Phase.IDLE)
            if proxies:
                check_literal(url)
            response = super().send(request, stream=True, proxies=proxies, **kwargs)
        except (AttemptOver, Forbidden) as exc:
            raise requests.exceptions.ConnectionError(exc) from exc
        except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
            recorder.broke(exc)
            raise
        _read(response, recorder)
        return response

    def _proxies_for(self, url: str) -> dict[str, str]:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.hostname}"
        if origin not in self._proxies:
            self._proxies[origin] = get_environ_proxies(url)
        return dict(self._proxies[origin])


def _enter(phase: Phase, connection: HTTPConnection) -> None:
    recorder = current()
    if recorder is not None:
        recorder.enter(phase, connection.sock)


def _read(response: requests.Response, recorder: Recorder) -> None:
    """Swap the network for the body, and write the answer down."""
    body = bytearray()
    try:
        for chunk in response.raw.stream(_CHUNK, decode_content=True):
            body += chunk
            if len(body) >= BODY_CAP:
                response.raw.close()
                break
    except urllib3.exceptions.HTTPError as exc:
        recorder.saw(_cut_short(response))
        raise requests.exceptions.ChunkedEncodingError(exc) from exc
    response.raw = BytesIO(body)
    recorder.saw(_answer(response, bytes(body[:BODY_KEPT])))


def _cut_short(response: requests.Response) -> Answer | Broken:
    """A refusal stands without its body; a success may have meant otherwise."""
    return _answer(response, b"") if not response.ok else Broken(Break.CUT)


def _answer(response: requests.Response, body: bytes) -> Answer:
    return Answer(
        status=response.status_code,
        retry_after=response.headers.get("Retry-After"),
        body=body,
    )
