"""Which path leads where, and what stands before all of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from notifier.errors import StoreSlow
from notifier.web.answers import API, refusal
from notifier.web.auth import Door, Locks, SigningIn
from notifier.web.middleware import (
    Bodies,
    Dressed,
    Forms,
    Hosts,
    Origins,
    Unbroken,
    names_of,
)
from notifier.web.pages import dressed, mishap, pages
from notifier.web.ports import Ports
from notifier.web.tokens import Tries

#: It listens on every address that the machine has.
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_TOO_LONG = (
    "That takes too long to look up. Ask for less: a category, a type, a later start, "
    "fewer conditions."
)
#: Paths whose refusals are for programs.
_PROGRAMS = (API, "/feeds/", "/metrics", "/-/", "/static/")


@dataclass(frozen=True, slots=True)
class _Site:
    """The routes; what they cannot find says so in the form of its readers."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.app(scope, receive, send)


def build(
    ports: Ports,
    locks: Locks,
    *,
    host: str,
    hosts: Collection[str] = (),
    more: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """
    Everything behind its doors. `host`: where it listens; `hosts`: its further names.

    `more`: what else there is beside the pages: the API, the feeds, the metrics.
    """
    dress = dressed(ports)
    routes = [
        *_health(ports),
        *SigningIn(locks, dress.page, Tries()).places(),
        *more,
        *pages(ports, dress),
    ]
    wrong = mishap(dress)

    async def refused(request: Request, exc: Exception) -> Response:
        if isinstance(exc, HTTPException) and request.scope["path"].startswith(_PROGRAMS):
            headers = exc.headers
            return refusal(request.scope, exc.status_code, exc.detail, headers=headers)
        return await wrong(request, exc)

    async def too_long(request: Request, _exc: Exception) -> Response:
        return await refused(request, HTTPException(503, _TOO_LONG))

    handlers = {HTTPException: refused, StoreSlow: too_long}
    app: ASGIApp = _Site(ExceptionMiddleware(Router(routes), handlers=handlers))
    app = Forms(app, locks.browser_cookie, is_open=locks.password is None)
    app = Door(app, locks)
    app = Bodies(app)
    app = Origins(app, ports.external_url)
    names = names_of(host, ports.external_url, hosts)
    app = Hosts(app, names=names, any_ip=host in _ANY)
    return Dressed(Unbroken(app, locks.tokens.fresh))


def _health(ports: Ports) -> list[BaseRoute]:
    async def healthy(_request: Request) -> Response:
        vital = await ports.vitals()
        return JSONResponse(
            {"ok": not vital.stalled, "stuck": list(vital.stalled)},
            503 if vital.stalled else 200,
        )

    async def ready(_request: Request) -> Response:
        vital = await ports.vitals()
        found = {
            "ready": not vital.unready,
            "because": list(vital.unready),
            "clock_off_s": vital.skew_s,
        }
        return JSONResponse(found, 503 if vital.unready else 200)

    return [Route("/-/healthy", healthy), Route("/-/ready", ready)]
