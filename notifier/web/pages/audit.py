"""`/audit`: the audit log."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import PageRequest
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list of entries."""

    async def list_entries(request: Request) -> Response:
        wanted = PageRequest(**forms.page_request(request.query_params))
        page = await renderer.context.reader.read(queries.audit, wanted)
        return await renderer.list_page(request, "audit.html", page)

    return [Route("/audit", list_entries)]
