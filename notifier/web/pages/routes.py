"""`/routes`: what goes where, and why one did or did not get something."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import EventFilter, MilestoneFilter
from notifier.storage import queries
from notifier.storage.rows import EventRow, MilestoneRow
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress
from notifier.web.reader import StoreReader

#: Milestones that a search for a reason names, and the events of each.
_MILESTONES, _EVENTS = 5, 8


def places(dress: Dress) -> list[BaseRoute]:
    """The routes, and the way to a reason."""
    reader = dress.context.reader

    async def found(request: Request) -> Response:
        search = forms.text(request.query_params, "q")
        return await dress.page(
            request,
            "routes.html",
            rows=await reader.route_rows(),
            search=search,
            found=await _events_of(reader, search) if search else [],
        )

    return [Route("/routes", found)]


async def _events_of(
    reader: StoreReader, search: str
) -> Sequence[tuple[MilestoneRow, Sequence[EventRow]]]:
    """Milestones that a search finds, each with its newest events."""

    async def newest(row: MilestoneRow) -> Sequence[EventRow]:
        wanted = EventFilter(milestone_id=row.milestone_id, limit=_EVENTS)
        return (await reader.read(queries.events, wanted)).rows

    wanted = MilestoneFilter(search=search, gone="any", limit=_MILESTONES)
    found = await reader.read(queries.milestones, wanted)
    return [(row, await newest(row)) for row in found.rows]
