"""`/destinations`: how each stands; a test, and the end of a suspension."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import Slice
from notifier.errors import NotifierError
from notifier.web.pages.filters import Row
from notifier.web.pages.templating import Dress, seen_off, writer

_UNTESTED = "untested"
#: The audit's newest rows; one of them tells of a test that was just made.
_LATELY = Slice(limit=20)


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and what can be done to one."""
    ports = dress.ports

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
            rows=await ports.books.destinations(ports.now()),
        )

    async def resume(request: Request, name: str) -> Response:
        waited = await ports.deeds.resume(writer(request), name)
        return seen_off("/destinations", "resumed", of=name, n=waited)

    async def test(request: Request, name: str) -> Response:
        said: Row = await ports.deeds.test(writer(request), name)
        if not said["ok"]:
            return seen_off("/destinations", _UNTESTED, of=name)
        took_ms = round(said["seconds"] * 1000)
        return seen_off("/destinations", "tested", of=name, n=took_ms)

    async def done(
        deed: Callable[[Request, str], Awaitable[Response]], request: Request
    ) -> Response:
        writer(request)
        name = request.path_params["name"]
        if name not in ports.destinations:
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
    query, ports = request.query_params, dress.ports
    name = query.get("of")
    if query.get("said") != _UNTESTED or name not in ports.destinations:
        return ""
    deeds: Sequence[Row] = (await ports.books.audit(_LATELY)).rows
    mine = (row for row in deeds if (row["action"], row["subject"]) == ("test", name))
    detail = next(mine, {}).get("detail") or {}
    why = f": {detail['said']}" if detail.get("ok") is False else "."
    return f"The test did not reach {name}{why}"
