"""How every page is dressed: the templates, and what all of them are handed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import anyio
import anyio.to_thread
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from notifier.domain.auth import Principal
from notifier.domain.models import Kind, State
from notifier.messages.humanize import on_the_wall, zone_name
from notifier.web.context import WebContext
from notifier.web.pages import filters, flash

TEMPLATES = Path(__file__).parent.parent / "templates"
#: Where a reader can go, in the order of the bar.
PLACES = (
    ("/", "Overview"),
    ("/milestones", "Milestones"),
    ("/events", "Events"),
    ("/deliveries", "Deliveries"),
    ("/destinations", "Destinations"),
    ("/routes", "Routes"),
    ("/silences", "Silences"),
    ("/audit", "Audit"),
)


def environment() -> Environment:
    """The templates: everything is escaped, and what is missing is an error."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= filters.FILTERS
    found.tests |= filters.TESTS
    found.globals |= {
        "PLACES": PLACES,
        "KINDS": [kind.value for kind in Kind],
        "STATES": [state.value for state in State],
    }
    return found


@dataclass(frozen=True, kw_only=True)
class Dress:
    """Renders pages for one service."""

    context: WebContext
    zone: ZoneInfo
    templates: Environment = field(default_factory=environment)
    #: Pages are rendered beside the loops, one at a time.
    _turn: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))

    async def page(
        self, request: Request, template: str, *, code: int = 200, **facts: object
    ) -> HTMLResponse:
        """A whole page."""
        text = await self.rendered(request, template, code=code, **facts)
        return HTMLResponse(text, code, headers={"cache-control": "no-store"})

    async def rendered(self, request: Request, template: str, **facts: object) -> str:
        """What a template makes of the facts."""
        work = partial(
            self.templates.get_template(template).render,
            {**self._known(request), **facts},
        )
        return await anyio.to_thread.run_sync(work, limiter=self._turn)

    def _known(self, request: Request) -> Mapping[str, object]:
        """What every page knows."""
        now = self.context.now()
        return {
            "request": request,
            "here": request.url.path,
            "now": now,
            "zone": self.zone,
            "zone_words": _zone_words(self.zone, now),
            "who": who(request),
            "version": self.context.version,
            "flash": flash.read(request.query_params, self.context),
        }


def _zone_words(zone: ZoneInfo, now: datetime) -> str:
    """`America/New_York (EST)`; `UTC` once."""
    name = zone_name(on_the_wall(now, zone))
    return zone.key if name == zone.key else f"{zone.key} ({name})"


def who(request: Request) -> Principal:
    """Who asks; the door has found out."""
    found = request.scope.get("state", {}).get("who")
    return found if isinstance(found, Principal) else Principal(name="nobody", may_write=False)


def writer(request: Request) -> Principal:
    """
    Who asks for a deed.

    Raises:
        HTTPException: they may only look.
    """
    found = who(request)
    if not found.may_write:
        raise HTTPException(403, "You may look at everything here, but change nothing.")
    return found


def seen_off(path: str, said: str, **facts: str | int) -> RedirectResponse:
    """After a deed: to where it shows, with a word about it."""
    return RedirectResponse(flash.address(path, said, **facts), 303)
