"""The doors of a service, with rooms behind them that say who came in."""

import ipaddress
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio.lowlevel
import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp
from storing import NOW, inline, opened

from notifier.domain.auth import Token, TokenKind, digest
from notifier.storage import admin
from notifier.storage.database import Database, Priority
from notifier.web.app import build
from notifier.web.auth import Locks
from notifier.web.middleware import csrf_token
from notifier.web.ports import Ports
from notifier.web.tokens import Password, Tokens
from notifier.workers.admin_actions import COMMAND, let_in
from notifier.workers.readiness import HealthReport

ORIGIN = "http://127.0.0.1:8080"


@dataclass
class Hours:
    """A clock that a test moves."""

    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **span: float) -> None:
        self.at += timedelta(**span)


@dataclass(kw_only=True)
class Doorway:
    """One process of the service."""

    app: ASGIApp
    rooms: "Rooms"
    tokens: Tokens
    now: Hours
    #: What was done behind the doors.
    done: list[str]
    vital: list[HealthReport]
    store: Database
    #: The seconds that somebody was made to wait.
    waits: list[float]

    def visitor(self, base_url: str = ORIGIN, *, address: str = "192.0.2.7") -> httpx.AsyncClient:
        """A browser, or a program."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=base_url)

    async def let_in(self, shown: str, **details: Any) -> None:
        """Make a token, as a command would."""
        fields = {"kind": TokenKind.API, "name": "bot", "scope": "read", **details}
        token = Token(hash=digest(shown), created_at=self.now(), **fields)
        await self.store.write(
            Priority.MAINTENANCE,
            admin.with_audit,
            lambda conn: admin.add_token(conn, token),
            lambda _done: let_in(COMMAND, token),
        )


@dataclass
class Rooms:
    """What stands behind the doors."""

    done: list[str] = field(default_factory=list)
    #: What happens during an answer that goes on and on.
    meanwhile: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    def places(self) -> list[BaseRoute]:
        return [
            Route("/", self.form),
            Route("/do", self.do, methods=["POST"]),
            Route("/api/v1/who", self.who),
            Route("/api/v1/do", self.do, methods=["POST"]),
            Route("/api/v1/lasting", self.last),
            Route("/api/v1/break", self.fail),
            Route("/break", self.fail),
            Route("/metrics", self.who),
            Route("/feeds/{name}", self.who),
        ]

    async def form(self, request: Request) -> Response:
        return HTMLResponse(f'<input name="csrf" value="{csrf_token(request)}">')

    async def who(self, request: Request) -> Response:
        who = request.state.who
        return JSONResponse({"name": who.name, "may_write": who.may_write})

    async def do(self, request: Request) -> Response:
        if not request.state.who.may_write:
            return PlainTextResponse("look, but do not touch", 403)
        self.done.append((await request.body()).decode())
        return PlainTextResponse("done")

    async def last(self, request: Request) -> Response:
        """An answer that went on while the clock was moved and the rights changed."""
        await self.meanwhile()
        return JSONResponse(await request.state.is_still_in())

    async def fail(self, _request: Request) -> Response:
        raise ZeroDivisionError("a secret of the program")


def counted(prefix: str) -> Callable[[], str]:
    """Fresh secrets that a test can tell apart."""
    numbers: Iterator[int] = itertools.count(1)
    return lambda: f"{prefix}{next(numbers):03d}"


@asynccontextmanager
async def doorway(
    database: Path,
    *,
    password: str | None = None,
    now: Hours | None = None,
    host: str = "127.0.0.1",
    external_url: str | None = None,
    hosts: Sequence[str] = (),
    proxies: Sequence[str] = (),
    life: str = "first",
) -> AsyncIterator[Doorway]:
    """The doors over this store; `life`: of which process."""
    now = now or Hours()
    vital, waits = [HealthReport()], list[float]()

    async def vitals() -> HealthReport:
        return vital[-1]

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async with opened(database) as store:
        rooms = Rooms()
        known = None if password is None else Password(password, offload=inline)
        tokens = Tokens(
            db=store,
            now=now,
            fresh=counted(life),
            key=None if known is None else known.key,
        )
        locks = Locks(
            tokens=tokens,
            password=known,
            secret=life.encode(),
            port=8080,
            is_https=(external_url or "").startswith("https"),
            is_behind=external_url is not None,
            proxies=[ipaddress.ip_network(one) for one in proxies],
            sleep=wait,
        )
        nothing: Any = None
        ports = Ports(
            books=nothing,
            deeds=nothing,
            vitals=vitals,
            now=now,
            external_url=external_url,
            version="0",
        )
        app = build(ports, locks, host=host, hosts=hosts, more=rooms.places())
        yield Doorway(
            app=app,
            tokens=tokens,
            now=now,
            done=rooms.done,
            vital=vital,
            store=store,
            waits=waits,
            rooms=rooms,
        )


def seal(answer: httpx.Response) -> str:
    """What the form of a page carries."""
    found = re.search(r'name="csrf" value="([^"]+)"', answer.text)
    assert found is not None
    return found[1]


async def sign_in(
    visitor: httpx.AsyncClient, password: str = "hunter2", **more: str
) -> httpx.Response:
    """Fill in the form, as a person would."""
    csrf = seal(await visitor.get("/login"))
    return await visitor.post("/login", data={"csrf": csrf, "password": password, **more})
