"""`/audit`: who did what."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import BadCursor, PageRequest
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress


def places(dress: Dress) -> list[BaseRoute]:
    """The list."""

    async def found(request: Request) -> Response:
        query = request.query_params
        try:
            wanted = PageRequest(**forms.page_of(query))
            page = await dress.context.reader.read(queries.audit, wanted)
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        return await dress.page(
            request,
            "audit.html",
            rows=page.rows,
            next=forms.next_page(query, page),
            first="cursor" not in query,
        )

    return [Route("/audit", found)]
