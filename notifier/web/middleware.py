"""
ASGI middleware: security headers, trusted hosts, same-origin writes, body limit.

Together they keep a page of another site, open in the same browser, from reading or
changing anything here, under any host name.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from html import escape
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API_PATH = "/api/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Larger than any form or request body that the service accepts.
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 15.0
_PROBES = frozenset({"/-/healthy", "/-/ready"})
#: Paths whose clients expect errors as plain text.
_PLAIN_TEXT_PATHS = ("/-/", "/feeds/", "/metrics", "/static/")
_HOST_HEADER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # `no-referrer` would make browsers send `Origin: null` with the forms of this site.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_ERROR_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{head}
<title>{title} · Milestone notifier</title>
<link rel="stylesheet" href="/static/notifier.css">
</head>
<body>
<main class="wide">
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def bare_page(title: str, body: str, *, head: str = "") -> str:
    """A page without the frame of the dashboard; `body` and `head` are HTML."""
    return _ERROR_PAGE.format(title=escape(title), body=body, head=head)


def error_response(
    scope: Scope, status: int, detail: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as problem JSON, plain text or HTML, depending on the path."""
    path, title = str(scope["path"]), HTTPStatus(status).phrase
    if path.startswith(API_PATH):
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        media_type = "application/problem+json"
        return JSONResponse(problem, status, headers=headers, media_type=media_type)
    if path.startswith(_PLAIN_TEXT_PATHS):
        return PlainTextResponse(f"{detail}\n", status, headers=headers)
    body = f'<p>{escape(detail)}</p>\n<p><a href="/">Go to the overview</a></p>'
    return HTMLResponse(bare_page(title, body), status, headers=headers)


class SecurityHeaders:
    """Adds the security headers to every response, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class TrustedHosts:
    """
    Answers only requests whose `Host` is a name of this service.

    This defends against DNS rebinding: a browser lets a foreign page read everything
    that is served under its own host name. Health probes are answered under any name.
    Starlette's own middleware knows neither probes nor "any IP address".
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        listen_host: str,
        external_url: str | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        external = urlsplit(external_url or "").hostname or ""
        names = {listen_host, "localhost", "127.0.0.1", "::1", external, *hosts}
        self._app = app
        self._names = frozenset(name.lower() for name in names if name)
        self._any_ip = listen_host in _WILDCARD_HOSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _PROBES or self._is_trusted(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        detail = (
            "This service does not answer under this host name. Add the name to web.hosts, "
            "or set web.external_url, in its configuration."
        )
        await error_response(scope, 421, detail)(scope, receive, send)

    def _is_trusted(self, hosts: list[str]) -> bool:
        match = _HOST_HEADER.fullmatch(hosts[0]) if len(hosts) == 1 else None
        name = "" if match is None else match[1].strip("[]").lower()
        return name in self._names or (self._any_ip and _is_ip_address(name))


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class SameOrigin:
    """
    Refuses writes that a page of another origin sends (CSRF protection).

    Browsers state the origin of every POST in `Origin`, and in `Sec-Fetch-Site` where the
    connection is trustworthy. A request with neither comes from a program.
    """

    def __init__(self, app: ASGIApp, *, external_url: str | None = None) -> None:
        external = urlsplit(external_url or "")
        self._app = app
        self._external_origin = f"{external.scheme}://{external.netloc}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE_METHODS or self._is_same_origin(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        detail = "The request came from a page of another site; nothing was changed."
        await error_response(scope, 403, detail)(scope, receive, send)

    def _is_same_origin(self, headers: Headers) -> bool:
        own = {f"http://{headers.get('host')}", self._external_origin, None}
        site_is_own = headers.get("sec-fetch-site", "none") in {"same-origin", "none"}
        return site_is_own and headers.get("origin") in own


class BodyLimit:
    """Reads request bodies completely before the application runs; limits size and time."""

    def __init__(self, app: ASGIApp, *, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE_METHODS:
            await self._app(scope, receive, send)
            return
        body, status, detail = b"", 0, ""
        try:
            with anyio.fail_after(self._timeout_s):
                async for chunk in Request(scope, receive).stream():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        status = 413
                        detail = f"A request body may have at most {MAX_BODY_BYTES // 1024} KiB."
                        break
        except TimeoutError:
            status, detail = 408, f"The request body took longer than {self._timeout_s:.0f} s."
        except ClientDisconnect:
            return
        if status:
            response = error_response(scope, status, detail, headers={"connection": "close"})
            await response(scope, receive, send)
            return
        request_body = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(request_body, None) or await receive()

        await self._app(scope, replay, send)
