"""`/routes`: what goes where, and why one did or did not get something."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import EventFilter, MilestoneFilter, RowJson, Slice
from notifier.storage.books import Books
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress

#: Milestones that a search for a reason names, and the events of each.
_MILESTONES, _EVENTS = 5, 8


def places(dress: Dress) -> list[BaseRoute]:
    """The routes, and the way to a reason."""
    ports = dress.ports

    async def found(request: Request) -> Response:
        search = forms.text(request.query_params, "q")
        return await dress.page(
            request,
            "routes.html",
            rows=await ports.books.routes(ports.now()),
            search=search,
            found=await _events_of(ports.books, search) if search else [],
        )

    return [Route("/routes", found)]


async def _events_of(books: Books, search: str) -> Sequence[tuple[RowJson, Sequence[RowJson]]]:
    """Milestones that a search finds, each with its newest events."""
    leaf = await books.milestones(
        MilestoneFilter(search=search, gone=None), Slice(limit=_MILESTONES)
    )
    return [
        (
            row,
            (
                await books.events(
                    EventFilter(milestone_id=str(row["milestone_id"])),
                    Slice(limit=_EVENTS),
                )
            ).rows,
        )
        for row in leaf.rows
    ]
