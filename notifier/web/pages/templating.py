"""Rendering of pages: templates, lists, error pages, and messages after an action."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from notifier.domain.auth import Principal
from notifier.domain.models import Kind, State
from notifier.messages.humanize import on_the_wall, zone_name
from notifier.storage.rows import Page
from notifier.web import filters
from notifier.web.auth import ANONYMOUS
from notifier.web.context import WebContext
from notifier.web.pages import forms

_TEMPLATES = Path(__file__).parent.parent / "templates"
#: The navigation.
_MENU = (
    ("/", "Overview"),
    ("/milestones", "Milestones"),
    ("/events", "Events"),
    ("/deliveries", "Deliveries"),
    ("/destinations", "Destinations"),
    ("/routes", "Routes"),
    ("/silences", "Silences"),
    ("/audit", "Audit"),
)
#: Title and advice of error pages by status.
_ERRORS = {
    400: ("Bad request", "Go back, check the form, and send it again."),
    403: ("Not permitted", "Sign in with a session that may change things."),
    404: (
        "Page not found",
        "It may have been deleted, as old data is after a while. The search may find it.",
    ),
    405: ("Method not allowed", "Use the buttons of the pages."),
    413: ("Request too large", "Send less at once."),
    429: ("Too many attempts", "Wait a minute, then try again."),
    503: ("Overloaded", "Try again in a moment."),
}
_OTHER_ERROR = ("Error", "Messages are still sent. The log has the details, under web.failed.")


def template_environment() -> Environment:
    """Jinja with autoescape; an undefined variable is an error."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= filters.FILTERS
    environment.tests |= filters.TESTS
    environment.globals |= {
        "MENU": _MENU,
        "KINDS": [kind.value for kind in Kind],
        "STATES": [state.value for state in State],
    }
    return environment


@dataclass(frozen=True, kw_only=True)
class TemplateRenderer:
    """Renders the pages of one service in a thread, one at a time."""

    context: WebContext
    environment: Environment = field(default_factory=template_environment)
    _limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    @property
    def zone(self) -> ZoneInfo:
        """The zone of times for readers without JavaScript."""
        return ZoneInfo(self.context.zone)

    async def page(
        self, request: Request, template: str, *, code: int = 200, **values: object
    ) -> HTMLResponse:
        """Render a whole page as the response."""
        text = await self.render(request, template, code=code, **values)
        return HTMLResponse(text, code, headers={"cache-control": "no-store"})

    async def list_page(
        self,
        request: Request,
        template: str,
        page: Page[Any],
        *,
        code: int = 200,
        **values: object,
    ) -> HTMLResponse:
        """Render a page of a long list, with links to the first and the next page."""
        query = request.query_params
        values |= {
            "rows": page.rows,
            "next": forms.next_page(query, page),
            "first": "cursor" not in query,
        }
        return await self.page(request, template, code=code, **values)

    async def error_page(self, request: Request, exc: HTTPException) -> HTMLResponse:
        """Render the page for an HTTP error."""
        title, advice = _ERRORS.get(exc.status_code, _OTHER_ERROR)
        is_default = exc.detail == HTTPException(exc.status_code).detail
        page = await self.page(
            request,
            "error.html",
            code=exc.status_code,
            title=title,
            detail="" if is_default else exc.detail,
            advice=advice,
        )
        page.headers.update(exc.headers or {})
        return page

    async def render(self, request: Request, template: str, **values: object) -> str:
        """Render a template, which may be a part of a page."""
        now, zone = self.context.now(), self.zone
        name = zone_name(on_the_wall(now, zone))
        variables = {
            "here": request.url.path,
            "now": now,
            "zone": zone,
            "zone_label": zone.key if name == zone.key else f"{zone.key} ({name})",
            "principal": principal_of(request),
            "version": self.context.version,
            "flash": _flash_message(request.query_params, self.context.destinations),
            **values,
        }
        work = partial(self.environment.get_template(template).render, variables)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def principal_of(request: Request) -> Principal:
    """The principal that the request is authenticated as."""
    found = request.scope.get("state", {}).get("principal")
    return found if isinstance(found, Principal) else ANONYMOUS


def writer_of(request: Request) -> Principal:
    """
    The principal of a request that changes something.

    Raises:
        HTTPException: the principal may only read.
    """
    principal = principal_of(request)
    if not principal.may_write:
        raise HTTPException(403, "This access is read-only.")
    return principal


# --- messages after an action -------------------------------------------------

#: The address holds the code of a message, a number and the name of a destination. A forged
#: address can therefore show no other text.
_FLASH_MESSAGES: Mapping[str, Callable[[int, str], str]] = {
    "resumed": lambda n, name: f"Resumed {name}; {_deliveries(n)} can be sent now.",
    "tested": lambda n, name: f"The test reached {name} in {n:,} ms.",
    "redriven": lambda n, _name: (
        f"Redriven {n:,} dead letter{'s' if n > 1 else ''}, with all attempts."
        if n
        else "There are no dead letters any more; nothing was redriven."
    ),
    "silenced": lambda _n, _name: "Silence added.",
    "expired": lambda _n, _name: "Silence expired. What it dropped stays dropped.",
}
_MAX_DIGITS = 9


def redirect_with_message(path: str, said: str, **values: str | int) -> RedirectResponse:
    """After an action: redirect to a page that shows the message of this code."""
    return RedirectResponse(f"{path}?{urlencode({'said': said, **values})}", 303)


def _flash_message(query: QueryParams, destinations: Sequence[str]) -> str | None:
    message = _FLASH_MESSAGES.get(query.get("said", ""))
    if message is None:
        return None
    digits, name = query.get("n", ""), query.get("of", "")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS
    return message(
        int(digits) if is_number else 0, name if name in destinations else "the destination"
    )


def _deliveries(count: int) -> str:
    return "1 waiting delivery" if count == 1 else f"{count:,} waiting deliveries"
