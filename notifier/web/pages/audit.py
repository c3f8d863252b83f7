"""`/audit`: who did what."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import BadCursor
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress


def places(dress: Dress) -> list[BaseRoute]:
    """The list."""

    async def found(request: Request) -> Response:
        query = request.query_params
        try:
            leaf = await dress.ports.books.audit(forms.part(query))
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        return await dress.page(
            request,
            "audit.html",
            rows=leaf.rows,
            next=forms.next_page(query, leaf),
            first="cursor" not in query,
        )

    return [Route("/audit", found)]
