"""
The pages of the dashboard, one module each, rendered on the server.

They are readable without JavaScript. Actions are forms, answered by a redirect to a page
that shows a message about the result.
"""

from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

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
from notifier.web.pages.templating import TemplateRenderer

_PAGES = (overview, milestones, events, deliveries, destinations, routes, silences, audit)
_STATIC = Path(__file__).parent.parent / "static"


class _RevalidatedFiles(StaticFiles):
    """Files that browsers cache but revalidate, so that an update is used at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The routes of all pages and of the files that they load."""
    return [
        *(route for page in _PAGES for route in page.page_routes(renderer)),
        Mount("/static", _RevalidatedFiles(directory=_STATIC)),
    ]
