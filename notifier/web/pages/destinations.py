"""`/destinations`: how each stands; a test, and the end of a suspension."""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.errors import NotifierError
from notifier.web.pages.dress import Dress, seen_off, writer
from notifier.web.pages.spoken import Row


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and what can be done to one."""
    ports = dress.ports

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
            wrong = f"The test did not reach {name}: {said['said']}"
            return await found(request, wrong=wrong, code=409)
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
        Route("/destinations", found, methods=["GET"]),
        Route("/destinations/{name}/resume", partial(done, resume), methods=["POST"]),
        Route("/destinations/{name}/test", partial(done, test), methods=["POST"]),
    ]
