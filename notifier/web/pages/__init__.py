"""
HTML for people, rendered here, readable without JavaScript.

    dress    the templates, and what every page is handed
    spoken   instants, numbers and changes as people read them
    picture  where the marks of the timeline and the bars stand
    asked    what an address or a form asks for; flash: what is said after a deed

and a module for each place: overview, milestones, events, deliveries, destinations,
routes, silences, audit. Deeds are forms: they answer with 303 and a word about it.
"""

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from notifier.web.context import WebContext
from notifier.web.pages import (
    audit,
    deliveries,
    destinations,
    events,
    milestones,
    overview,
    routes,
    silences,
)
from notifier.web.pages.error_pages import Mishap, mishap
from notifier.web.pages.templating import Dress

__all__ = ["Dress", "Mishap", "dressed", "mishap", "pages"]

STATIC = Path(__file__).parent.parent / "static"


class _Fresh(StaticFiles):
    """Files that browsers keep, and ask about each time: an update shows at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["cache-control"] = "no-cache"
        return answer


def dressed(context: WebContext) -> Dress:
    """How pages of this service are dressed; also for pages that others write."""
    return Dress(context=context, zone=ZoneInfo(context.zone))


def pages(context: WebContext, dress: Dress | None = None) -> list[BaseRoute]:
    """Every page of the dashboard, and what they load."""
    dress = dress or dressed(context)
    return [
        *overview.places(dress),
        *milestones.places(dress),
        *events.places(dress),
        *deliveries.places(dress),
        *destinations.places(dress),
        *routes.places(dress),
        *silences.places(dress),
        *audit.places(dress),
        Mount("/static", _Fresh(directory=STATIC)),
    ]
