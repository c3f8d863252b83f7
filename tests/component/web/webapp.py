"""The web application around probe routes that report who called and what they sent."""

import ipaddress
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.lowlevel
import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from storing import NOW, inline, opened

from notifier.domain.auth import Token, TokenKind, token_hash
from notifier.storage import admin
from notifier.storage.database import Database, Priority
from notifier.web.app import build_app
from notifier.web.auth import AuthSettings, Password, TokenStore
from notifier.web.context import WebContext
from notifier.workers.admin_actions import COMMAND, let_in
from notifier.workers.readiness import HealthReport

ORIGIN = "http://127.0.0.1:8080"


@dataclass
class TestClock:
    """A clock that a test moves."""

    __test__ = False
    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass(kw_only=True)
class WebApp:
    """One process of the service."""

    app: ASGIApp
    tokens: TokenStore
    db: Database
    clock: TestClock
    #: The bodies of the writes that reached a route.
    written: list[str] = field(default_factory=list)
    #: What `/-/healthy` and `/-/ready` report.
    health: HealthReport = field(default_factory=HealthReport)
    #: Seconds that logins were delayed by.
    delays: list[float] = field(default_factory=list)
    #: What happens in the middle of a long-running response.
    meanwhile: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    def client(self, base_url: str = ORIGIN, *, address: str = "192.0.2.7") -> httpx.AsyncClient:
        """A browser or a program at this address."""
        transport = httpx.ASGITransport(
            self.app, client=(address, 4711), raise_app_exceptions=False
        )
        return httpx.AsyncClient(transport=transport, base_url=base_url)

    async def add_token(self, secret: str, **details: Any) -> None:
        """Add a token, as the command does."""
        fields = {"kind": TokenKind.API, "name": "bot", "scope": "read", **details}
        token = Token(hash=token_hash(secret), created_at=self.clock(), **fields)
        await self.db.write(Priority.MAINTENANCE, admin.add_token, token)
        await self.db.write(Priority.MAINTENANCE, admin.add_audit_entry, let_in(COMMAND, token))

    async def revoke(self, name: str) -> None:
        """Revoke a token, as the command does."""
        await self.db.write(Priority.MAINTENANCE, admin.revoke_token, name, now=self.clock())

    # --- the routes ---

    async def who(self, request: Request) -> Response:
        principal = request.state.principal
        return JSONResponse({"name": principal.name, "may_write": principal.may_write})

    async def write(self, request: Request) -> Response:
        if not request.state.principal.may_write:
            return PlainTextResponse("read only", 403)
        self.written.append((await request.body()).decode())
        return PlainTextResponse("done")

    async def long_running(self, request: Request) -> Response:
        await self.meanwhile()
        return JSONResponse(await request.state.is_still_authenticated())

    async def fail(self, _request: Request) -> Response:
        raise ZeroDivisionError("a secret of the program")


@asynccontextmanager
async def webapp(
    database: Path,
    *,
    password: str | None = None,
    clock: TestClock | None = None,
    listen_host: str = "127.0.0.1",
    external_url: str | None = None,
    hosts: Sequence[str] = (),
    proxies: Sequence[str] = (),
    process: str = "first",
) -> AsyncIterator[WebApp]:
    """The web application over this database; `process` makes its secrets unique."""
    clock = clock or TestClock()
    numbers = itertools.count(1)
    async with opened(database) as db:
        known = None if password is None else Password(password, run_in_thread=inline)
        tokens = TokenStore(
            db=db,
            now=clock,
            new_token=lambda: f"{process}{next(numbers):03d}",
            session_key=None if known is None else known.session_key,
        )
        nothing: Any = None
        found = WebApp(app=nothing, tokens=tokens, db=db, clock=clock)

        async def readiness() -> HealthReport:
            return found.health

        async def sleep(seconds: float) -> None:
            found.delays.append(seconds)

        settings = AuthSettings(
            password=known,
            port=8080,
            is_https=(external_url or "").startswith("https"),
            trusted_proxies=[ipaddress.ip_network(one) for one in proxies],
            sleep=sleep,
        )
        context = WebContext(
            reader=nothing,
            admin=nothing,
            readiness=readiness,
            now=clock,
            external_url=external_url,
            version="0",
        )
        routes = [
            *(Route(path, found.who) for path in ("/", "/metrics", "/feeds/{name}")),
            *(Route(path, found.fail) for path in ("/break", "/api/v1/break")),
            *(Route(path, found.write, methods=["POST"]) for path in ("/write", "/api/v1/write")),
            Route("/api/v1/who", found.who),
            Route("/api/v1/long", found.long_running),
        ]
        found.app = build_app(
            context, settings, tokens, listen_host=listen_host, hosts=hosts, routes=routes
        )
        yield found


async def sign_in(
    client: httpx.AsyncClient, password: str = "hunter2", **more: str
) -> httpx.Response:
    """Submit the login form."""
    return await client.post("/login", data={"password": password, **more})
