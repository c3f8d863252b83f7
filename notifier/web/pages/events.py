"""`/events`: the list of events, updated live, and the explanation of each event."""

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.domain.models import Kind
from notifier.domain.pagination import EventFilter
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer

#: Events that an open page inserts at once; it asks again for more.
_MAX_INSERTED = 50
#: The integers of SQLite have at most 18 digits of any value.
_MAX_DIGITS = 18


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list, the rows that an open list inserts, and one event."""
    reader = renderer.context.reader

    async def list_events(request: Request) -> Response:
        query = request.query_params
        kinds = forms.choices(query, "kind", Kind)
        # Before the rows, so that no event is missing between them and the stream.
        newest = await reader.read(queries.newest_event)
        wanted = EventFilter(kind=kinds, **forms.page_request(query))
        page = await reader.read(queries.events, wanted)
        return await renderer.list_page(
            request,
            "events.html",
            page,
            kinds=[kind.value for kind in kinds],
            newest=newest,
            status=None if page.rows else await reader.status(),
        )

    async def newer_events(request: Request) -> Response:
        """The rows after a number, newest first; `x-newest` is the last number."""
        query = request.query_params
        after = query.get("after", "")
        if not (after.isascii() and after.isdigit() and len(after) <= _MAX_DIGITS):
            raise HTTPException(400, "`after` is the number of an event.")
        numbered = await reader.read(queries.events_after, int(after), _MAX_INSERTED)
        kinds = forms.choices(query, "kind", Kind) or list(Kind)
        rows = [row for _, row in reversed(numbered) if row.kind in kinds]
        text = await renderer.render(request, "newer.html", rows=rows)
        last = numbered[-1][0] if numbered else int(after)
        return HTMLResponse(text, headers={"x-newest": f"{last}", "cache-control": "no-store"})

    async def show_event(request: Request) -> Response:
        explanation = await reader.explain(request.path_params["id"])
        if explanation is None:
            raise HTTPException(404, "No event has this id, or several ids begin with it.")
        return await renderer.page(request, "event.html", **msgspec.structs.asdict(explanation))

    return [
        Route("/events", list_events),
        Route("/events/newer", newer_events),
        Route("/events/{id}", show_event),
    ]
