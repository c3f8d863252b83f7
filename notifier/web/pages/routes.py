"""`/routes`: the routes with their latest matches, and the search for an explanation."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import EventFilter, MilestoneFilter
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer

#: Milestones that a search lists, and the events of each.
_MAX_MILESTONES, _MAX_EVENTS = 5, 8


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list with its search."""
    reader = renderer.context.reader

    async def list_routes(request: Request) -> Response:
        search, found = forms.text(request.query_params, "q"), []
        if search:
            wanted = MilestoneFilter(search=search, gone="any", limit=_MAX_MILESTONES)
            for row in (await reader.read(queries.milestones, wanted)).rows:
                newest = EventFilter(milestone_id=row.milestone_id, limit=_MAX_EVENTS)
                found.append((row, (await reader.read(queries.events, newest)).rows))
        rows = await reader.route_rows()
        return await renderer.page(request, "routes.html", rows=rows, search=search, found=found)

    return [Route("/routes", list_routes)]
