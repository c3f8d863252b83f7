"""
What stands before everything: hosts, origins, sizes, headers, forged forms, mistakes.

Each is an ASGI application around another. A page of somebody else's, open in the
same browser, must neither read nor do anything here, whatever name it finds us by.
"""

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier.web.answers import API, refusal

log = structlog.get_logger()

#: No form and no question of ours is longer.
LARGEST = 64 * 1024
#: A body comes within this, or not at all.
_PATIENCE_S = 15.0
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEALTH = frozenset({"/-/healthy", "/-/ready"})
FORM = "application/x-www-form-urlencoded"

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    # With `no-referrer` browsers would hide the origin of our own forms.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Dressed:
    """Gives every answer the headers that keep browsers strict."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dress(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, dress)


@dataclass(frozen=True, slots=True)
class Unbroken:
    """A mistake of ours is logged and answered, and hurts nobody else."""

    app: ASGIApp
    fresh: Callable[[], str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_begun = False

        async def watch(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:
            reference = self.fresh()[:8]
            log.exception(
                "web.failed",
                reference=reference,
                method=scope["method"],
                path=scope["path"],
            )
            if is_begun:
                return
            words = (
                "This is a mistake of the program; the log has more under the "
                f"reference {reference}."
            )
            await refusal(scope, 500, words)(scope, receive, send)


class Hosts:
    """
    Answers only under names that are ours.

    Otherwise a name of somebody else's that leads here would let their page read
    everything: browsers go by the name. Health, which says nothing private, is told
    to probes by any name.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str], any_ip: bool) -> None:
        """`any_ip`: also under any address in figures; it listens on all of them."""
        self._app = app
        self._names = frozenset(name.lower() for name in names)
        self._any_ip = any_ip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _HEALTH or self._knows(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        words = (
            "This service is not known by that name; web.external_url or web.hosts "
            "in its configuration makes it known."
        )
        await refusal(scope, 421, words)(scope, receive, send)

    def _knows(self, hosts: list[str]) -> bool:
        name = _host_name(hosts[0]) if len(hosts) == 1 else None
        return name is not None and (name in self._names or (self._any_ip and _is_ip(name)))


def names_of(host: str, external_url: str | None, more: Collection[str] = ()) -> frozenset[str]:
    """The names of a service that listens there and is reached so."""
    external = urlsplit(external_url or "").hostname
    known = filter(None, [external, *more])
    return frozenset({host, "localhost", "127.0.0.1", "::1", *known})


def _host_name(host: str) -> str | None:
    """The name in a `Host` header, without its port; None: it is none."""
    found = _HOST.fullmatch(host)
    return None if found is None else found[1].strip("[]").lower()


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Origins:
    """Lets nothing be done from pages of anybody else's."""

    app: ASGIApp
    external_url: str | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE or self._is_ours(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        words = "That came from another site's page; nothing was done."
        await refusal(scope, 403, words)(scope, receive, send)

    def _is_ours(self, headers: Mapping[str, str]) -> bool:
        if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        return origin in self._origins(headers.get("host", ""))

    def _origins(self, host: str) -> Iterator[str]:
        yield f"http://{host}"
        if self.external_url is not None:
            parts = urlsplit(self.external_url)
            yield f"{parts.scheme}://{parts.netloc}"


class TooMuch(Exception):
    """More than any body of ours."""


class Gone(Exception):
    """Whoever asked hung up in the middle: half a wish is none."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """Takes in a body as a whole before anybody works on it; none too large or slow."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE:
            await self.app(scope, receive, send)
            return
        body: bytes | None = None
        try:
            with anyio.move_on_after(_PATIENCE_S):
                body = await _body(scope, receive)
        except Gone:
            return
        except TooMuch:
            words = f"More than {LARGEST // 1024} KiB is not taken."
            await refusal(scope, 413, words, headers={"connection": "close"})(scope, receive, send)
            return
        if body is None:
            words = "The rest of it did not come in time."
            await refusal(scope, 408, words, headers={"connection": "close"})(scope, receive, send)
            return
        scope.setdefault("state", {})["body"] = body
        await self.app(scope, _replaying(body, receive), send)


async def _body(scope: Scope, receive: Receive) -> bytes:
    length = Headers(scope=scope).get("content-length", "0")
    if length.isdigit() and int(length) > LARGEST:
        raise TooMuch
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Gone
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST:
            raise TooMuch
        if not message.get("more_body", False):
            return body


def _replaying(body: bytes, receive: Receive) -> Receive:
    is_told = False

    async def again() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


# --- forged forms -------------------------------------------------------------


@dataclass(slots=True)
class Seal:
    """What a form of ours carries, and nobody else's can know."""

    value: str
    #: To be remembered by the browser, if a form is shown; None: it does already.
    cookie: str | None = None
    is_shown: bool = False


def csrf_token(request: Request) -> str:
    """What the forms of this page carry as `csrf`, scripts as `X-CSRF-Token`."""
    seal: Seal = request.state.seal
    seal.is_shown = True
    return seal.value


def sealed(key: str, secret: bytes) -> str:
    """The seal of whoever has this cookie."""
    return hmac.new(secret, b"csrf " + key.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Forms:
    """
    Lets nothing be done by forms that are not ours.

    Whoever shows a token in a header is no form; nor, where nobody signs in, is a
    program that sends JSON: a foreign page cannot do either without being asked.
    """

    app: ASGIApp
    cookie: str
    is_open: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if scope["method"] not in SAFE and not self._is_ours(request):
            words = "This form is too old, or not ours: load its page again."
            if request.scope["path"].startswith(API):
                words = (
                    "X-CSRF-Token is missing or wrong; programs show a token in "
                    "Authorization, or send application/json where nobody signs in."
                )
            await refusal(scope, 403, words)(scope, receive, send)
            return
        await self.app(scope, receive, self._sealing(request.state.seal, send))

    def _is_ours(self, request: Request) -> bool:
        if request.state.is_program:
            return True
        seal: Seal = request.state.seal
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        said = request.headers.get("x-csrf-token")
        if said is None and kind == FORM:
            said = field_of(request, "csrf")
        if said and seal.cookie is None:
            return hmac.compare_digest(said.encode(), seal.value.encode())
        return self.is_open and kind == "application/json" and request.scope["path"].startswith(API)

    def _sealing(self, seal: Seal, send: Send) -> Send:
        """Let the browser remember what the shown forms are known by."""

        async def remember(message: Message) -> None:
            begins = message["type"] == "http.response.start"
            if begins and seal.is_shown and seal.cookie is not None:
                MutableHeaders(scope=message).append(
                    "set-cookie",
                    f"{self.cookie}={seal.cookie}; Path=/; HttpOnly; SameSite=Strict",
                )
            await send(message)

        return remember


def field_of(request: Request, name: str) -> str:
    """A field of the form that was sent; empty: it is not there."""
    body = getattr(request.state, "body", b"")
    try:
        fields = parse_qs(str(body, "utf-8"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return ""
    return fields.get(name, [""])[0]
