"""
Who is let in: everybody who reaches it, or whoever knows the password or has a token.

Without a password whoever reaches the service may do everything (the configuration
allows that on loopback only). With one, people sign in, programs show
`Authorization: Bearer ntk_...`, and calendars carry `?token=` in a feed's address.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import Protocol
from urllib.parse import quote

import anyio
import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from notifier.domain.auth import FEEDS, LONGEST, Network, Who, caller, way_on
from notifier.web.answers import API, page, refusal
from notifier.web.middleware import SAFE, Seal, field_of, sealed
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
#: How long each try takes while many come from all sides.
_SLOW_S = 1.0
_HERE: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


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
    #: Others that are believed when they say whom they ask for.
    proxies: Sequence[Network] = ()
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

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
        """Where somebody comes from, as far as a proxy can be believed."""
        return caller(
            request.client.host if request.client else "unknown",
            request.headers.getlist("x-forwarded-for"),
            proxies=[*self.proxies, *(_HERE if self.is_behind else ())],
        )


@dataclass(frozen=True, slots=True)
class Door:
    """
    Finds out who asks: `request.state.who`; or does not let them in.

    `request.state.is_still_in` looks again, for an answer that goes on and on. That is
    no use of a session: an open page must not keep it for ever.
    """

    app: ASGIApp
    locks: Locks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        who = await self._who(request)
        if who is None and not _is_open(request.scope["path"]):
            await self._turned_away(request)(scope, receive, send)
            return
        request.state.is_program = _token(request) is not None and who is not None
        request.state.seal = self._seal(request, who)
        request.state.who = who or NOBODY
        request.state.is_still_in = partial(self._is_still_in, request)
        await self.app(scope, receive, send)

    async def _who(self, request: Request, *, is_use: bool = True) -> Who | None:
        path, tokens = request.scope["path"], self.locks.tokens
        if (shown := _token(request)) is not None:
            return await tokens.program(shown, path, is_use=is_use)
        if path.startswith(FEEDS) and "token" in request.query_params:
            shown = request.query_params["token"]
            return await tokens.feed(shown, path, is_use=is_use)
        if self.locks.password is None:
            return LOOPBACK
        session = request.cookies.get(self.locks.session_cookie, "")
        return SESSION if await tokens.session(session, is_use=is_use) else None

    async def _is_still_in(self, request: Request) -> bool:
        return await self._who(request, is_use=False) is not None

    def _seal(self, request: Request, who: Who | None) -> Seal:
        if who is SESSION:
            # Not of this process's secret: open forms outlive it, as sessions do. A
            # cookie that is a session nobody knows but its browser.
            return Seal(sealed(request.cookies[self.locks.session_cookie], b"session"))
        known = request.cookies.get(self.locks.browser_cookie, "")
        cookie = known or self.locks.tokens.fresh()
        return Seal(sealed(cookie, self.locks.secret), None if known else cookie)

    def _turned_away(self, request: Request) -> Response:
        path = request.scope["path"]
        if path.startswith(_PROGRAMS) or "authorization" in request.headers:
            words = "Show a token: `notifier token add` makes one."
            if _token(request) or "token" in request.query_params:
                words = (
                    "This token opens nothing here: it is unknown, over, revoked, or "
                    "for something else. `notifier token list` says which there are."
                )
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


def _token(request: Request) -> str | None:
    """What a program shows in its header; None: nothing."""
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else None


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
        if self.tries.are_many:
            await locks.sleep(_SLOW_S)
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
