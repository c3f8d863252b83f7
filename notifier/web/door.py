"""
Who is let in: everybody who reaches it, or whoever knows the password or has a token.

Without a password whoever reaches the service may do everything (the configuration
allows that on loopback only). With one, people sign in, programs show
`Authorization: Bearer ntk_...`, and calendars carry `?token=` in a feed's address.
"""

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from notifier.core.door import FEEDS, LONGEST, way_on
from notifier.web.answers import API, page, refusal
from notifier.web.guard import SAFE, Seal, field_of, sealed
from notifier.web.ports import Who
from notifier.web.tokens import Password, Tokens, Tries

log = structlog.get_logger()

LOGIN, LOGOUT = "/login", "/logout"
LOOPBACK = Who(name="loopback")
SESSION = Who(name="session")
NOBODY = Who(name="nobody", may_write=False)
#: Open to everybody who reaches the service.
_OPEN = ("/-/", "/static/")
_OPEN_PATHS = frozenset({LOGIN, "/favicon.ico", "/robots.txt"})
_METRICS = "/metrics"
_PROGRAMS = (API, FEEDS, _METRICS)
_BEARER = {"www-authenticate": "Bearer"}
#: No password is longer.
_LONGEST_PASSWORD = 1024


@dataclass(frozen=True, kw_only=True)
class Locks:
    """What the doors of one service are locked with."""

    tokens: Tokens
    #: None: nobody signs in.
    password: Password | None
    #: Of this process; seals the forms of browsers that are not signed in.
    secret: bytes
    #: Cookies know no ports: two services on one machine must not share theirs.
    port: int
    #: People reach it by https alone.
    is_https: bool = False
    #: It stands behind a proxy of this machine.
    is_behind: bool = False

    @property
    def session_cookie(self) -> str:
        """The name of the cookie that holds a session's token."""
        prefix = "__Host-" if self.is_https else ""
        return f"{prefix}notifier_session_{self.port}"

    @property
    def browser_cookie(self) -> str:
        """The name of the cookie that seals forms before anybody signs in."""
        return f"notifier_browser_{self.port}"

    def address(self, request: Request) -> str:
        """Where somebody comes from, as far as a proxy here can be believed."""
        peer = request.client.host if request.client else "unknown"
        if self.is_behind and peer in {"127.0.0.1", "::1"}:
            said = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
            return said[:64] or peer
        return peer


@dataclass(frozen=True, slots=True)
class Door:
    """Finds out who asks: `request.state.who`; or does not let them in."""

    app: ASGIApp
    locks: Locks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        request.state.is_program = False
        request.state.seal = self._seal(request)
        who = await self._who(request)
        if who is None and not _is_open(request.scope["path"]):
            await self._turned_away(request)(scope, receive, send)
            return
        request.state.who = who or NOBODY
        await self.app(scope, receive, send)

    async def _who(self, request: Request) -> Who | None:
        path, tokens = request.scope["path"], self.locks.tokens
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            who = await tokens.program(shown.strip(), path)
            request.state.is_program = who is not None
            return who
        if path.startswith(FEEDS) and "token" in request.query_params:
            return await tokens.feed(request.query_params["token"], path)
        if self.locks.password is None:
            return LOOPBACK
        session = request.cookies.get(self.locks.session_cookie, "")
        return SESSION if await tokens.session(session) else None

    def _seal(self, request: Request) -> Seal:
        if session := request.cookies.get(self.locks.session_cookie, ""):
            return Seal(sealed(session, b"session"))
        known = request.cookies.get(self.locks.browser_cookie, "")
        cookie = known or self.locks.tokens.fresh()
        return Seal(sealed(cookie, self.locks.secret), None if known else cookie)

    def _turned_away(self, request: Request) -> Response:
        path = request.scope["path"]
        if path.startswith(_PROGRAMS) or "authorization" in request.headers:
            words = "Show a token: `notifier token add` makes one."
            if path.startswith(API):
                words += " Or sign in."
            return refusal(request.scope, 401, words, headers=_BEARER)
        if request.method not in SAFE:
            words = "You are not signed in any more, so nothing was done."
            return refusal(request.scope, 401, words)
        if _comes_from_elsewhere(request):
            return _again()
        wish = path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{LOGIN}?next={quote(wish)}", 303)


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith(_OPEN)


def _comes_from_elsewhere(request: Request) -> bool:
    """By a link in a message: the browser keeps a strict cookie to itself then."""
    return (
        request.method == "GET"
        and request.headers.get("sec-fetch-site") == "cross-site"
        and request.headers.get("sec-fetch-mode") == "navigate"
    )


def _again() -> Response:
    """The same page, asked for by a page of ours: now the cookie comes along."""
    text = page("One moment", '<p><a href="">Go on</a></p>')
    return HTMLResponse(text.replace("<title>", _AGAIN + "<title>", 1))


_AGAIN = '<meta http-equiv="refresh" content="0">\n'


# --- signing in ---------------------------------------------------------------


class Page(Protocol):
    """Renders a template in the dress of all pages."""

    async def __call__(
        self, request: Request, template: str, *, code: int = 200, **facts: object
    ) -> HTMLResponse: ...


@dataclass(frozen=True, slots=True)
class SigningIn:
    """The login page, and the way out."""

    locks: Locks
    page: Page
    tries: Tries

    def places(self) -> list[BaseRoute]:
        """Where it stands."""
        return [
            Route(LOGIN, self.ask, methods=["GET"]),
            Route(LOGIN, self.sign_in, methods=["POST"]),
            Route(LOGOUT, self.sign_out, methods=["POST"]),
        ]

    async def ask(self, request: Request) -> Response:
        """Ask for the password."""
        wish = way_on(request.query_params.get("next", "/"))
        if request.state.who.may_write:
            return RedirectResponse(wish, 303)
        return await self._form(request, wish)

    async def sign_in(self, request: Request) -> Response:
        """Let in whoever knows it."""
        locks, wish = self.locks, way_on(field_of(request, "next"))
        if locks.password is None:
            return RedirectResponse(wish, 303)
        address = locks.address(request)
        wait = self.tries.wait(address, locks.tokens.now())
        if wait:
            words = f"Too many tries; wait {wait:.0f} s."
            shown = await self._form(request, wish, words=words, code=429)
            shown.headers["retry-after"] = f"{wait:.0f}"
            return shown
        said = field_of(request, "password")
        if len(said) > _LONGEST_PASSWORD or not await locks.password.fits(said):
            log.warning("login.refused", address=address)
            await locks.tokens.refused(address)
            words = "That is not the password."
            return await self._form(request, wish, words=words, code=403)
        self.tries.forget(address)
        answer = RedirectResponse(wish, 303)
        answer.set_cookie(
            locks.session_cookie,
            await locks.tokens.begin(address),
            max_age=int(LONGEST.total_seconds()),
            secure=locks.is_https,
            httponly=True,
            samesite="strict",
        )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session; of everybody else's nothing changes."""
        locks = self.locks
        if (shown := request.cookies.get(locks.session_cookie)) is not None:
            await locks.tokens.end(shown, locks.address(request))
        answer = RedirectResponse(LOGIN if locks.password else "/", 303)
        answer.delete_cookie(
            locks.session_cookie,
            secure=locks.is_https,
            httponly=True,
            samesite="strict",
        )
        return answer

    async def _form(
        self, request: Request, wish: str, *, words: str = "", code: int = 200
    ) -> HTMLResponse:
        return await self.page(request, "login.html", code=code, wish=wish, words=words)
