"""
The web service: its composition, and uvicorn on sockets that are bound already.

`notifier.app` imports this module only where the web is on, in a thread, while the
workers already run: what it imports in turn would delay the start otherwise.
"""

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import anyio
import msgspec
import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from notifier import __version__
from notifier.clock import Clock
from notifier.domain.models import Limits, Rendered
from notifier.domain.rules import Rate
from notifier.metrics import Metrics
from notifier.senders import webhook
from notifier.senders.sender import scheme_of
from notifier.settings.models import Settings, WebSettings
from notifier.storage.database import Database, RunInThread
from notifier.storage.explain import RenderContext
from notifier.web.api import api
from notifier.web.app import build_app
from notifier.web.auth import AuthSettings, Password, TokenStore
from notifier.web.context import WebContext
from notifier.web.feeds import Feeds
from notifier.web.listen import Address, ListenSocket, bind_unix_socket
from notifier.web.prometheus import metrics_route
from notifier.web.reader import StoreReader
from notifier.workers.admin_actions import COMMAND, Deeds
from notifier.workers.readiness import Readiness

log = structlog.get_logger()

#: More connections than this at a time get status 503.
_MAX_CONNECTIONS = 100
_MAX_HEADER_BYTES = 32 * 1024
#: The headers of a request arrive within this time, or the connection is closed.
_HEADER_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 5
#: At the end, responses that have not begun are cancelled after this time.
_GRACE_S = 1
#: The server is abandoned if it does not stop within this time.
_STOP_TIMEOUT_S = 2.0
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class DestinationLimits(Protocol):
    """What the senders know of the services behind the destinations."""

    def default_rate(self, destination: str) -> Rate | None: ...
    def limits(self, destination: str) -> Limits: ...


@dataclass(frozen=True, kw_only=True)
class WebService:
    """Dashboard, API, feeds, metrics and health of one running service."""

    config: Settings
    db: Database
    sender: DestinationLimits
    deeds: Deeds
    readiness: Readiness
    clock: Clock
    metrics: Metrics
    #: Returns a new random secret.
    new_token: Callable[[], str]
    run_in_thread: RunInThread
    #: A Unix socket where its owner reaches the same application without a password.
    unix_socket: Path | None = None

    async def run(self, listen: ListenSocket) -> None:
        """Serve until cancelled; return at once if nothing is bound."""
        web, address, bound = self.config.web, listen.address, listen.duplicate()
        if web is None or address is None or bound is None:
            return
        reader = self.reader()
        self.deeds.changed = reader.invalidate
        settings, tokens = self._auth(web, address)
        context = self._context(reader)
        documents = Feeds(
            db=self.db,
            rules=self.config.routes,
            now=self.clock.now,
            zone=self.config.timezone,
            external_url=self.config.external_url,
        )
        routes = [
            *api(context),
            *documents.routes(),
            metrics_route(
                self.db,
                self.metrics,
                now=self.clock.now,
                clock_offset=self.clock.skew,
            ),
        ]
        app = build_app(
            context, settings, tokens, listen_host=address.host, hosts=web.hosts, routes=routes
        )
        # The imported modules stay: examining them in each collection would delay sends.
        gc.freeze()
        log.info("web.listening", address=address.url, login=web.password is not None)
        if web.password is None and self.config.external_url is not None:
            log.warning("web.unguarded", external_url=self.config.external_url)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader.keep_counting, self.clock.sleep)
            tasks.start_soon(tokens.flush_periodically, self.clock.sleep)
            if self.unix_socket is not None:
                owner = replace(settings, password=None, without_password=COMMAND)
                local = build_app(context, owner, tokens, listen_host="localhost", routes=routes)
                tasks.start_soon(serve, local, bind_unix_socket(self.unix_socket))
            await serve(app, bound)

    def _auth(self, web: WebSettings, address: Address) -> tuple[AuthSettings, TokenStore]:
        password = (
            None
            if web.password is None
            else Password(web.password, run_in_thread=self.run_in_thread)
        )
        external_url = self.config.external_url
        settings = AuthSettings(
            password=password,
            port=address.port,
            is_https=urlsplit(external_url or "").scheme == "https",
            # With an external URL, a proxy on this machine is expected.
            trusted_proxies=[*web.trusted_proxies, *(_LOOPBACK if external_url else ())],
            sleep=self.clock.sleep,
        )
        tokens = TokenStore(
            db=self.db,
            now=self.clock.now,
            new_token=self.new_token,
            session_key=None if password is None else password.session_key,
        )
        return settings, tokens

    def reader(self) -> StoreReader:
        """The reads of the pages and the API."""
        config = self.config

        def webhook_body(message: Rendered, now: datetime) -> str:
            return msgspec.json.format(webhook.encode_body(message, now=now), indent=2).decode()

        return StoreReader(
            db=self.db,
            now=self.clock.now,
            monotonic=self.clock.monotonic,
            context=RenderContext(
                routes=config.routes,
                limits={one.name: self.sender.limits(one.name) for one in config.destinations},
                zones={one.name: one.zone for one in config.destinations},
                external_url=config.external_url,
                webhooks={
                    one.name: webhook_body
                    for one in config.destinations
                    if scheme_of(one.url) in webhook.SCHEMES
                },
            ),
            destinations=config.destinations,
            rates={
                one.name: one.rate or self.sender.default_rate(one.name)
                for one in config.destinations
            },
        )

    def _context(self, reader: StoreReader) -> WebContext:
        config = self.config
        return WebContext(
            reader=reader,
            admin=self.deeds,
            readiness=self.readiness,
            now=self.clock.now,
            zone=config.timezone.key,
            external_url=config.external_url,
            version=__version__,
            destinations=[one.name for one in config.destinations],
            routes=[one.name for one in config.routes],
        )


# --- uvicorn ------------------------------------------------------------------


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield


async def serve(
    app: ASGIApp, bound: socket.socket, *, header_timeout_s: float = _HEADER_TIMEOUT_S
) -> None:
    """Serve the application on this socket until cancelled, then close the socket."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )
    server = _Server(config)
    with bound:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_close_slow_connections, server, header_timeout_s)
            with anyio.CancelScope(shield=True) as stopping:
                tasks.start_soon(_stop_when_cancelled, server, stopping)
                await server.serve(sockets=[bound])
            tasks.cancel_scope.cancel()


async def _stop_when_cancelled(server: _Server, stopping: anyio.CancelScope) -> None:
    """Stop the server soon: streams end at once, other responses have a short grace."""
    try:
        await anyio.sleep_forever()
    finally:
        server.should_exit = True
        stopping.deadline = anyio.current_time() + _STOP_TIMEOUT_S
        for connection in _connections(server):
            if (request := _request_of(connection)) and request.response_started:
                connection.transport.close()


async def _close_slow_connections(server: _Server, timeout_s: float) -> None:
    """
    Close connections on which no request arrives completely within the timeout.

    uvicorn limits the time between requests only, not that of the first one or of headers
    that arrive byte by byte; such connections would use up the limit of connections.
    """
    idle_since: dict[H11Protocol, tuple[RequestResponseCycle | None, float]] = {}
    while True:
        await anyio.sleep(timeout_s / 5)
        now, known, idle_since = anyio.current_time(), idle_since, {}
        for connection in _connections(server):
            request = _request_of(connection)
            if request and not request.response_complete:
                continue
            last_request, since = known.get(connection, (request, now))
            if last_request is not request:
                since = now
            if now - since >= timeout_s:
                connection.transport.close()
            idle_since[connection] = request, since


def _request_of(connection: H11Protocol) -> RequestResponseCycle | None:
    """The latest request of a connection; None before the first."""
    return connection.cycle


def _connections(server: _Server) -> list[H11Protocol]:
    connections = server.server_state.connections
    return [one for one in connections if isinstance(one, H11Protocol)]
