"""`/destinations`: how each stands; a test, and the end of a suspension."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import PageRequest
from notifier.errors import NotifierError
from notifier.storage import queries
from notifier.web.pages.filters import Row
from notifier.web.pages.templating import Dress, seen_off, writer

_UNTESTED = "untested"
#: The audit's newest rows; one of them tells of a test that was just made.
_LATELY = PageRequest(limit=20)


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and what can be done to one."""
    context = dress.context

    async def listed(request: Request) -> Response:
        return await found(request, wrong=await _untested(request, dress))

    async def back(_request: Request) -> Response:
        """Whoever loads again what only a form leads to."""
        return RedirectResponse("/destinations", 303)

    async def found(request: Request, *, wrong: str = "", code: int = 200) -> Response:
        return await dress.page(
            request,
            "destinations.html",
            code=code,
            wrong=wrong,
            rows=await context.reader.destination_rows(),
        )

    async def resume(request: Request, name: str) -> Response:
        waited = await context.admin.resume(writer(request), name)
        return seen_off("/destinations", "resumed", of=name, n=waited)

    async def test(request: Request, name: str) -> Response:
        said: Row = await context.admin.test(writer(request), name)
        if not said["ok"]:
            return seen_off("/destinations", _UNTESTED, of=name)
        took_ms = round(said["seconds"] * 1000)
        return seen_off("/destinations", "tested", of=name, n=took_ms)

    async def done(
        deed: Callable[[Request, str], Awaitable[Response]], request: Request
    ) -> Response:
        writer(request)
        name = request.path_params["name"]
        if name not in context.destinations:
            raise HTTPException(404, "The configuration has no such destination.")
        try:
            return await deed(request, name)
        except NotifierError as exc:
            return await found(request, wrong=str(exc), code=409)

    return [
        Route("/destinations", listed, methods=["GET"]),
        Route("/destinations/{name}/resume", back, methods=["GET"]),
        Route("/destinations/{name}/test", back, methods=["GET"]),
        Route("/destinations/{name}/resume", partial(done, resume), methods=["POST"]),
        Route("/destinations/{name}/test", partial(done, test), methods=["POST"]),
    ]


async def _untested(request: Request, dress: Dress) -> str:
    """Why the test did not arrive that led here; empty: none did."""
    query, context = request.query_params, dress.context
    name = query.get("of")
    if query.get("said") != _UNTESTED or name not in context.destinations:
        return ""
    audit = (await context.reader.read(queries.audit, _LATELY)).rows
    detail = next((row.detail for row in audit if (row.action, row.subject) == ("test", name)), {})
    why = f": {detail['said']}" if detail.get("ok") is False else "."
    return f"The test did not reach {name}{why}"
