"""`/events`: what happened, live; and why each went where it went."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.domain.models import Kind
from notifier.domain.pagination import BadCursor, EventFilter
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress

#: More at once than this are for the list, not to be slipped in above it.
_AT_ONCE = 50


def places(dress: Dress) -> list[BaseRoute]:
    """The list, its newest rows alone, and a page each."""
    reader = dress.context.reader

    async def found(request: Request) -> Response:
        query = request.query_params
        kinds = forms.choices(query, "kind", Kind)
        # Before the rows, so that none falls between them and the stream.
        newest = await reader.read(queries.newest_event)
        try:
            wanted = EventFilter(kind=kinds, **forms.page_of(query))
            page = await reader.read(queries.events, wanted)
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        return await dress.page(
            request,
            "events.html",
            rows=page.rows,
            next=forms.next_page(query, page),
            first="cursor" not in query,
            kinds=[kind.value for kind in kinds],
            newest=newest,
            status=None if page.rows else await reader.status(),
        )

    async def newer(request: Request) -> Response:
        """The rows above a number, newest first, and up to where they reach."""
        query = request.query_params
        after = query.get("after", "")
        if not (after.isascii() and after.isdigit() and len(after) < 19):  # noqa: PLR2004 - SQLite's integers end there
            raise HTTPException(400, "`after` is the number of an event.")
        numbered = await reader.read(queries.events_after, int(after), _AT_ONCE)
        kinds = {kind.value for kind in forms.choices(query, "kind", Kind)}
        rows = [row for _, row in reversed(numbered)]
        text = await dress.rendered(
            request,
            "newer.html",
            rows=[row for row in rows if not kinds or row.kind in kinds],
        )
        reached = numbered[-1][0] if numbered else int(after)
        return HTMLResponse(text, headers={"x-newest": f"{reached}", "cache-control": "no-store"})

    async def one(request: Request) -> Response:
        found = await reader.explain(request.path_params["id"])
        if found is None:
            raise HTTPException(404, "No event has this id, or several begin so.")
        fields = {name: getattr(found, name) for name in found.__struct_fields__}
        return await dress.page(request, "event.html", **fields)

    return [
        Route("/events", found),
        Route("/events/newer", newer),
        Route("/events/{id}", one),
    ]
