"""
Authentication: the password, sessions, API and feed tokens, and the middleware.

Without a password everyone who can connect may do everything (the settings permit that
on loopback only). With one, people sign in, programs send `Authorization: Bearer
ntk_...`, and feed readers put `?token=` into the address of a feed.
"""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from urllib.parse import quote

import anyio
import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from notifier.domain.auth import (
    FEEDS_PATH,
    SESSION_LIFETIME,
    TOKEN_PREFIX,
    AuditEntry,
    Network,
    Principal,
    Token,
    TokenKind,
    TokenScope,
    client_address,
    is_valid,
    opens_feed,
    safe_redirect,
    session_hash,
    throttle_key,
    token_hash,
)
from notifier.errors import StoreError
from notifier.storage import admin
from notifier.storage.database import Connection, Database, Priority
from notifier.web.middleware import API_PATH, SAFE_METHODS, bare_page, error_response

log = structlog.get_logger()

LOGIN_PATH, LOGOUT_PATH = "/login", "/logout"
LOOPBACK = Principal(name="loopback")
SESSION = Principal(name="session")
ANONYMOUS = Principal(name="nobody", may_write=False)
_PUBLIC_PREFIXES = ("/-/", "/static/")
_PUBLIC_PATHS = frozenset({LOGIN_PATH, "/favicon.ico", "/robots.txt"})
#: Paths of programs: they get status 401 instead of the login page.
_PROGRAM_PATHS = (API_PATH, FEEDS_PATH, "/metrics")
_MAX_PASSWORD_CHARS = 1024
_MAX_TOKEN_CHARS = 200
_FLUSH_EVERY_S = 60.0
#: Argon2 with little memory, as OWASP permits, because the service must stay small.
_ARGON2_MEMORY_KIB = 19 * 1024
ARGON2_PREFIX = "$argon2id$"
_THROTTLE_WINDOW = timedelta(minutes=1)
_ATTEMPTS_PER_ADDRESS = 5
_ATTEMPTS_IN_ALL = 300
#: More attempts than this in all: each one is delayed, but no client is locked out.
_ATTEMPTS_BEFORE_DELAY = 30
_LOGIN_DELAY_S = 1.0
_REFRESH = '\n<meta http-equiv="refresh" content="0">'

RunInThread = Callable[[Callable[[], bool]], Awaitable[bool]]


class Password:
    """The password of the web, verified by its Argon2 hash."""

    def __init__(self, configured: str, *, run_in_thread: RunInThread) -> None:
        """`configured`: the password itself, or its Argon2id hash."""
        is_hash = configured.startswith(ARGON2_PREFIX)
        self._plain: str | None = None if is_hash else configured
        self._hash = configured if is_hash else ""
        self._run_in_thread = run_in_thread
        self._lock = anyio.Lock()
        self._hasher = PasswordHasher(time_cost=2, memory_cost=_ARGON2_MEMORY_KIB, parallelism=1)
        #: The key of session hashes: a new password invalidates every session.
        self.session_key = hashlib.sha256(b"notifier session " + configured.encode()).digest()

    async def matches(self, candidate: str) -> bool:
        """Verify a candidate; slow on purpose, so in a thread and one at a time."""
        async with self._lock:
            return await self._run_in_thread(partial(self._verify, candidate))

    def _verify(self, candidate: str) -> bool:
        if self._plain is not None:
            self._hash, self._plain = self._hasher.hash(self._plain), None
        try:
            return self._hasher.verify(self._hash, candidate)
        except (VerificationError, InvalidHashError):
            return False


@dataclass(slots=True)
class LoginThrottle:
    """Limits login attempts by address and in all, over a sliding window of a minute."""

    _attempts: list[tuple[datetime, str]] = field(default_factory=list)

    def retry_after(self, address: str, now: datetime) -> float:
        """Seconds until this address may try again; 0 permits and counts an attempt."""
        self._attempts = [one for one in self._attempts if one[0] > now - _THROTTLE_WINDOW]
        key = throttle_key(address)
        limits = (
            ([at for at, other in self._attempts if other == key], _ATTEMPTS_PER_ADDRESS),
            ([at for at, _ in self._attempts], _ATTEMPTS_IN_ALL),
        )
        blocking = [times[-limit] for times, limit in limits if len(times) >= limit]
        if blocking:
            return max(1.0, (max(blocking) + _THROTTLE_WINDOW - now).total_seconds())
        self._attempts.append((now, key))
        return 0.0

    @property
    def is_under_attack(self) -> bool:
        """Whether so many attempts arrive that each should be delayed."""
        return len(self._attempts) > _ATTEMPTS_BEFORE_DELAY

    def reset(self, address: str) -> None:
        """Forget the attempts of an address after a successful login."""
        self._attempts = [one for one in self._attempts if one[1] != throttle_key(address)]


@dataclass(slots=True, kw_only=True)
class TokenStore:
    """Looks up, creates and ends sessions and tokens, with their rows in the audit log."""

    db: Database
    now: Callable[[], datetime]
    #: Returns a new random secret.
    new_token: Callable[[], str]
    #: None: there is no password, so no sessions.
    session_key: bytes | None = None
    _used_at: dict[str, datetime] = field(default_factory=dict)

    async def is_session(self, shown: str, *, touch: bool = True) -> bool:
        """Whether a session cookie is valid; `touch` records its use."""
        if self.session_key is None or not 0 < len(shown) <= _MAX_TOKEN_CHARS:
            return False
        token = await self._find_valid(session_hash(shown, self.session_key), touch=touch)
        return token is not None and token.kind is TokenKind.SESSION

    async def principal(
        self, shown: str, path: str, *, in_header: bool, touch: bool = True
    ) -> Principal | None:
        """The principal of a token for this path; only feed tokens work outside a header."""
        if not shown.startswith(TOKEN_PREFIX) or len(shown) > _MAX_TOKEN_CHARS:
            return None
        token = await self._find_valid(token_hash(shown), touch=touch)
        if token is None:
            return None
        if opens_feed(token, path):
            return Principal(name=f"feed {token.name}", may_write=False)
        if token.kind is TokenKind.API and in_header:
            may_write = token.scope == TokenScope.WRITE
            return Principal(name=f"token {token.name}", may_write=may_write)
        return None

    async def start_session(self, address: str) -> str:
        """Start a session; return its token, of which only the hash is stored."""
        now, shown = self.now(), self.new_token()
        token = Token(
            hash=session_hash(shown, self.session_key or b""),
            kind=TokenKind.SESSION,
            name="session",
            scope="",
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
        )
        entry = AuditEntry(at=now, who="session", action="login", subject=address)
        await self._write_audited(partial(admin.add_token, token=token), entry)
        return shown

    async def end_session(self, shown: str, address: str) -> None:
        """End a session before it expires."""
        key = session_hash(shown, self.session_key or b"")
        self._used_at.pop(key, None)
        entry = AuditEntry(at=self.now(), who="session", action="logout", subject=address)
        await self._write_audited(partial(admin.end_session, key=key, now=entry.at), entry)

    async def record_failed_login(self, address: str) -> None:
        """Record a wrong password in the audit log."""
        entry = AuditEntry(at=self.now(), who="nobody", action="login failed", subject=address)
        await self.db.write(Priority.MAINTENANCE, admin.add_audit_entry, entry)

    async def flush(self) -> None:
        """Write the last uses of tokens to the database and delete expired tokens there."""
        used_at, self._used_at = self._used_at, {}
        try:
            now = self.now()
            await self.db.write(Priority.MAINTENANCE, admin.touch_tokens, used_at, now=now)
        except StoreError as exc:
            log.warning("web.forgot", reason=str(exc))

    async def flush_periodically(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Flush until cancelled."""
        while True:
            await sleep(_FLUSH_EVERY_S)
            await self.flush()

    async def _write_audited(self, work: Callable[[Connection], None], entry: AuditEntry) -> None:
        await self.db.write(Priority.MAINTENANCE, admin.with_audit, work, lambda _done: entry)

    async def _find_valid(self, key: str, *, touch: bool) -> Token | None:
        token = await self.db.read(admin.find_token, key)
        if token is None:
            return None
        now = self.now()
        if key in self._used_at:
            token = replace(token, used_at=self._used_at[key])
        if not is_valid(token, now):
            return None
        if touch:
            self._used_at[key] = now
        return token


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """What authentication depends on, for one listening socket."""

    #: None: no login is required.
    password: Password | None
    #: Part of the cookie's name: cookies know no ports, and two services on one machine
    #: must not overwrite each other's sessions.
    port: int
    #: People reach the service by HTTPS only.
    is_https: bool = False
    #: Proxies whose `X-Forwarded-For` is believed.
    trusted_proxies: Sequence[Network] = ()
    #: The principal of every request while there is no password.
    without_password: Principal = LOOPBACK
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep

    @property
    def session_cookie(self) -> str:
        """The name of the session cookie."""
        return f"{'__Host-' if self.is_https else ''}notifier_session_{self.port}"

    def client_address(self, request: Request) -> str:
        """The address of the client, as far as a proxy is trusted."""
        peer = request.client.host if request.client else "unknown"
        forwarded = request.headers.getlist("x-forwarded-for")
        return client_address(peer, forwarded, trusted=self.trusted_proxies)


class AuthMiddleware:
    """
    Authenticates each request and sets `request.state.principal`, or refuses it.

    A long-running response calls `request.state.is_still_authenticated` to check again. That does
    not count as a use of the session, so an open page does not keep it alive.
    """

    def __init__(self, app: ASGIApp, *, settings: AuthSettings, tokens: TokenStore) -> None:
        self._app = app
        self._settings = settings
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, path = Request(scope), scope["path"]
        principal = await self._authenticate(request)
        if principal is None:
            if path not in _PUBLIC_PATHS and not path.startswith(_PUBLIC_PREFIXES):
                await _refuse(request)(scope, receive, send)
                return
            principal = ANONYMOUS
        request.state.principal = principal
        request.state.is_still_authenticated = partial(self._is_still_authenticated, request)
        await self._app(scope, receive, send)

    async def _authenticate(self, request: Request, *, touch: bool = True) -> Principal | None:
        path = request.scope["path"]
        bearer, query_token = _bearer_token(request), request.query_params.get("token")
        if bearer is not None:
            return await self._tokens.principal(bearer, path, in_header=True, touch=touch)
        if path.startswith(FEEDS_PATH) and query_token is not None:
            return await self._tokens.principal(query_token, path, in_header=False, touch=touch)
        if self._settings.password is None:
            return self._settings.without_password
        cookie = request.cookies.get(self._settings.session_cookie, "")
        return SESSION if await self._tokens.is_session(cookie, touch=touch) else None

    async def _is_still_authenticated(self, request: Request) -> bool:
        return await self._authenticate(request, touch=False) is not None


def _bearer_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _refuse(request: Request) -> Response:
    """Status 401 for programs and writes; for a page, the way to the login."""
    path = request.scope["path"]
    if path.startswith(_PROGRAM_PATHS) or "authorization" in request.headers:
        detail = "Send a token; `notifier token add` creates one."
        if _bearer_token(request) or "token" in request.query_params:
            detail = (
                "The token does not permit this: it is unknown, expired, revoked, or for "
                "something else. `notifier token list` lists the valid tokens."
            )
        if path.startswith(API_PATH):
            detail += " Or sign in."
        return error_response(request.scope, 401, detail, headers={"www-authenticate": "Bearer"})
    if request.method not in SAFE_METHODS:
        return error_response(request.scope, 401, "You are signed out, so nothing was changed.")
    fetch = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    if request.method == "GET" and fetch == ("cross-site", "navigate"):
        # A link in a message: the browser withholds a strict cookie from such a request,
        # but sends it when a page of this site asks for the same address.
        return HTMLResponse(
            bare_page("One moment", '<p><a href="">Continue</a></p>', head=_REFRESH)
        )
    target = path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{LOGIN_PATH}?next={quote(target)}", 303)


class PageRenderer(Protocol):
    """Renders a template in the frame of the dashboard."""

    async def __call__(
        self, request: Request, template: str, *, code: int = 200, **facts: object
    ) -> HTMLResponse: ...


def login_routes(
    settings: AuthSettings, tokens: TokenStore, render: PageRenderer
) -> list[BaseRoute]:
    """The login form, the login and the logout."""
    throttle = LoginThrottle()

    async def form(request: Request) -> Response:
        target = safe_redirect(request.query_params.get("next", "/"))
        if request.state.principal.may_write:
            return RedirectResponse(target, 303)
        return await render(request, "login.html", target=target, error="")

    async def login(request: Request) -> Response:
        fields = await request.form()
        target = safe_redirect(str(fields.get("next", "")))
        if settings.password is None:
            return RedirectResponse(target, 303)
        address = settings.client_address(request)
        if wait := throttle.retry_after(address, tokens.now()):
            error = f"Too many attempts. Try again in {wait:.0f} s."
            page = await render(request, "login.html", code=429, target=target, error=error)
            page.headers["retry-after"] = f"{wait:.0f}"
            return page
        if throttle.is_under_attack:
            await settings.sleep(_LOGIN_DELAY_S)
        candidate = str(fields.get("password", ""))
        is_too_long = len(candidate) > _MAX_PASSWORD_CHARS
        if is_too_long or not await settings.password.matches(candidate):
            log.warning("login.refused", address=address)
            await tokens.record_failed_login(address)
            error = "The password is wrong."
            return await render(request, "login.html", code=403, target=target, error=error)
        throttle.reset(address)
        response = RedirectResponse(target, 303)
        response.set_cookie(
            settings.session_cookie,
            await tokens.start_session(address),
            max_age=int(SESSION_LIFETIME.total_seconds()),
            secure=settings.is_https,
            httponly=True,
            samesite="strict",
        )
        return response

    async def logout(request: Request) -> Response:
        if (cookie := request.cookies.get(settings.session_cookie)) is not None:
            await tokens.end_session(cookie, settings.client_address(request))
        response = RedirectResponse(LOGIN_PATH if settings.password else "/", 303)
        response.delete_cookie(
            settings.session_cookie, secure=settings.is_https, httponly=True, samesite="strict"
        )
        return response

    return [
        Route(LOGIN_PATH, form, methods=["GET"]),
        Route(LOGIN_PATH, login, methods=["POST"]),
        Route(LOGOUT_PATH, logout, methods=["POST"]),
    ]
