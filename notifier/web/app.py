"""The ASGI application: routes, middleware and error handlers."""

from collections.abc import Collection, Sequence

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from notifier.domain.auth import FEEDS_PATH
from notifier.domain.pagination import BadCursor
from notifier.errors import StoreSlow
from notifier.web.auth import AuthMiddleware, AuthSettings, TokenStore, login_routes
from notifier.web.context import WebContext
from notifier.web.middleware import (
    API_PATH,
    BodyLimit,
    SameOrigin,
    SecurityHeaders,
    TrustedHosts,
    error_response,
)
from notifier.web.pages import page_routes
from notifier.web.pages.templating import TemplateRenderer

log = structlog.get_logger()

_TOO_SLOW = (
    "The query takes too long. Narrow it: a category, a type, a later start, or fewer conditions."
)
_BAD_CURSOR = "This page of the list does not exist. Start again with the first page."
#: Paths whose errors are read by programs.
_PROGRAM_PATHS = (API_PATH, FEEDS_PATH, "/metrics", "/-/", "/static/")


def build_app(
    context: WebContext,
    settings: AuthSettings,
    tokens: TokenStore,
    *,
    listen_host: str,
    hosts: Collection[str] = (),
    routes: Sequence[BaseRoute] = (),
) -> ASGIApp:
    """
    The whole web behind its middleware; `hosts`: further names that it answers under.

    `routes`: what is served beside the pages, such as the API, feeds and metrics.
    """
    renderer = TemplateRenderer(context=context)

    async def http_error(request: Request, exc: Exception) -> Response:
        error = exc if isinstance(exc, HTTPException) else HTTPException(500)
        if request.scope["path"].startswith(_PROGRAM_PATHS):
            scope, headers = request.scope, error.headers
            return error_response(scope, error.status_code, error.detail, headers=headers)
        return await renderer.error_page(request, error)

    async def too_slow(request: Request, _exc: Exception) -> Response:
        return await http_error(request, HTTPException(503, _TOO_SLOW))

    async def bad_cursor(request: Request, _exc: Exception) -> Response:
        return await http_error(request, HTTPException(404, _BAD_CURSOR))

    async def internal_error(request: Request, exc: Exception) -> Response:
        reference, path = tokens.new_token()[:8], request.scope["path"]
        log.error("web.failed", reference=reference, method=request.method, path=path, exc_info=exc)
        detail = f"An internal error; the log has the details under the reference {reference}."
        return error_response(request.scope, 500, detail)

    app = Starlette(
        routes=[
            *_health_routes(context),
            *login_routes(settings, tokens, renderer.page),
            *routes,
            *page_routes(renderer),
        ],
        middleware=[
            Middleware(
                TrustedHosts,
                listen_host=listen_host,
                external_url=context.external_url,
                hosts=hosts,
            ),
            Middleware(SameOrigin, external_url=context.external_url),
            Middleware(BodyLimit),
            Middleware(AuthMiddleware, settings=settings, tokens=tokens),
        ],
        exception_handlers={
            HTTPException: http_error,
            StoreSlow: too_slow,
            BadCursor: bad_cursor,
            Exception: internal_error,
        },
    )
    return SecurityHeaders(app)


def _health_routes(context: WebContext) -> list[BaseRoute]:
    async def healthy(_request: Request) -> Response:
        found = await context.readiness()
        body = {"ok": not found.stalled, "stuck": list(found.stalled)}
        return JSONResponse(body, 503 if found.stalled else 200)

    async def ready(_request: Request) -> Response:
        found = await context.readiness()
        body = {
            "ready": not found.unready,
            "because": list(found.unready),
            "clock_off_s": found.skew_s,
        }
        return JSONResponse(body, 503 if found.unready else 200)

    return [Route("/-/healthy", healthy), Route("/-/ready", ready)]
