"""`/destinations`: the state of each destination; sends tests and ends suspensions."""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import PageRequest
from notifier.errors import NotifierError
from notifier.storage import queries
from notifier.storage.rows import DestinationTest
from notifier.web.context import WebContext
from notifier.web.pages.templating import TemplateRenderer, redirect_with_message, writer_of

_TEST_FAILED = "untested"
#: The entry of a failed test is among so many newest ones of the audit log.
_NEWEST_ENTRIES = PageRequest(limit=20)


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list, and the actions on one destination."""
    context = renderer.context

    async def list_destinations(request: Request) -> Response:
        return await show_list(request, error=await _failed_test(request, context))

    async def redirect_to_list(_request: Request) -> Response:
        """For a reader who reloads the address of a form that was submitted."""
        return RedirectResponse("/destinations", 303)

    async def resume(request: Request, name: str) -> Response:
        waiting = await context.admin.resume(writer_of(request), name)
        return redirect_with_message("/destinations", "resumed", of=name, n=waiting)

    async def test(request: Request, name: str) -> Response:
        outcome = await context.admin.test(writer_of(request), name)
        result = msgspec.convert(outcome, DestinationTest)
        if not result.ok:
            return redirect_with_message("/destinations", _TEST_FAILED, of=name)
        milliseconds = round(result.seconds * 1000)
        return redirect_with_message("/destinations", "tested", of=name, n=milliseconds)

    async def act(
        action: Callable[[Request, str], Awaitable[Response]], request: Request
    ) -> Response:
        writer_of(request)
        name = request.path_params["name"]
        if name not in context.destinations:
            raise HTTPException(404, "The configuration has no such destination.")
        try:
            return await action(request, name)
        except NotifierError as exc:
            return await show_list(request, error=str(exc), code=409)

    async def show_list(request: Request, *, error: str = "", code: int = 200) -> Response:
        rows = await context.reader.destination_rows()
        return await renderer.page(request, "destinations.html", code=code, error=error, rows=rows)

    actions = {"resume": resume, "test": test}
    return [
        Route("/destinations", list_destinations, methods=["GET"]),
        *(
            route
            for path, action in actions.items()
            for route in (
                Route(f"/destinations/{{name}}/{path}", redirect_to_list, methods=["GET"]),
                Route(f"/destinations/{{name}}/{path}", partial(act, action), methods=["POST"]),
            )
        ),
    ]


async def _failed_test(request: Request, context: WebContext) -> str:
    """The error of the test that redirected here, from the audit log; empty if none did."""
    query = request.query_params
    name = query.get("of")
    if query.get("said") != _TEST_FAILED or name not in context.destinations:
        return ""
    entries = (await context.reader.read(queries.audit, _NEWEST_ENTRIES)).rows
    details = (one.detail for one in entries if (one.action, one.subject) == ("test", name))
    detail = next(details, {})
    reason = f": {detail['said']}" if detail.get("ok") is False else "."
    return f"The test did not reach {name}{reason}"
