"""Which path answers what: one small function each."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from notifier.domain.auth import Principal
from notifier.domain.pagination import (
    BadCursor,
    DeliveryFilter,
    EventFilter,
    Leaf,
    MilestoneFilter,
    RowJson,
)
from notifier.domain.rules import Silence
from notifier.domain.silences import keys_of
from notifier.errors import BadWish, NotifierError, StoreBroken, StoreSlow
from notifier.web.api import openapi, query_params, request_bodies
from notifier.web.api.query_params import NOTHING, Wrong, part_of
from notifier.web.api.stream import Broadcast, stream
from notifier.web.ports import Ports

PREFIX = "/api/v1"
T = TypeVar("T")
_Handler = Callable[[Request], Awaitable[Response]]


def api(ports: Ports) -> list[BaseRoute]:
    """Everything under `/api/v1`, as one mount."""
    looking, doing = _Looking(ports), _Doing(ports)
    broadcast = Broadcast(ports.books)
    described = msgspec.json.encode(openapi.document(ports.version))

    async def document(request: Request) -> Response:
        NOTHING.read(request)
        return Response(described, media_type=request_bodies.JSON)

    routes = [
        _at("/openapi.json", GET=document),
        _at("/status", GET=looking.status),
        _at("/overview", GET=looking.overview),
        _at("/milestones", GET=looking.milestones),
        _at("/milestone-kinds", GET=looking.kinds),
        _at("/milestones/{milestone_id:path}", GET=looking.milestone),
        _at("/events", GET=looking.events),
        _at("/events/{event_id}", GET=looking.explain),
        _at("/deliveries", GET=looking.deliveries),
        _at("/deliveries/redrive", POST=doing.redrive),
        _at("/destinations", GET=looking.destinations),
        _at("/destinations/{destination}/resume", POST=doing.resume),
        _at("/destinations/{destination}/test", POST=doing.test),
        _at("/routes", GET=looking.routes),
        _at("/silences", GET=looking.silences, POST=doing.silence),
        _at("/silences/{silence_id}", DELETE=doing.expire),
        _at("/audit", GET=looking.audit),
        _at("/stream", GET=partial(stream, broadcast)),
    ]
    return [Mount(PREFIX, app=Router(routes, redirect_slashes=False))]


def _at(path: str, **by_method: _Handler) -> Route:
    """One path, whatever is done with it: a wrong method is told the right ones."""

    async def answer(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await by_method[method](request)

    return Route(path, answer, methods=list(by_method))


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=request_bodies.JSON)


def _leaf(leaf: Leaf) -> Response:
    return _json({"rows": leaf.rows, "next": leaf.next})


class _Looking:
    """What can be looked at."""

    def __init__(self, ports: Ports) -> None:
        self._books, self._now = ports.books, ports.now

    async def status(self, request: Request) -> Response:
        NOTHING.read(request)
        return _json(await self._books.status(self._now()))

    async def overview(self, request: Request) -> Response:
        NOTHING.read(request)
        return _json(await self._books.overview(self._now()))

    async def kinds(self, request: Request) -> Response:
        NOTHING.read(request)
        return _all(await self._books.kinds_of_milestones())

    async def milestones(self, request: Request) -> Response:
        asked = query_params.MILESTONES.read(request)
        wanted = MilestoneFilter(
            search=asked["search"],
            category=asked["category"],
            type=asked["type"],
            since=asked["since"],
            until=asked["until"],
            gone=asked["gone"],
        )
        return await _listed(self._books.milestones(wanted, part_of(asked)))

    async def milestone(self, request: Request) -> Response:
        NOTHING.read(request)
        found = await self._books.milestone(request.path_params["milestone_id"])
        if found is None:
            raise HTTPException(404, "There is no such milestone.")
        return _json(found)

    async def events(self, request: Request) -> Response:
        asked = query_params.EVENTS.read(request)
        wanted = EventFilter(
            kinds=asked["kind"],
            milestone_id=asked["milestone_id"],
            since=asked["since"],
        )
        return await _listed(self._books.events(wanted, part_of(asked)))

    async def explain(self, request: Request) -> Response:
        NOTHING.read(request)
        beginning = request.path_params["event_id"]
        found = await self._books.explain(beginning, self._now())
        if found is None:
            raise HTTPException(404, "No event, or several, have an id that begins so.")
        return _json(found)

    async def deliveries(self, request: Request) -> Response:
        asked = query_params.DELIVERIES.read(request)
        wanted = DeliveryFilter(
            states=asked["state"],
            destination=asked["destination"],
            route=asked["route"],
            milestone_id=asked["milestone_id"],
            since=asked["since"],
        )
        return await _listed(self._books.deliveries(wanted, part_of(asked)))

    async def destinations(self, request: Request) -> Response:
        NOTHING.read(request)
        return _all(await self._books.destinations(self._now()))

    async def routes(self, request: Request) -> Response:
        NOTHING.read(request)
        return _all(await self._books.routes(self._now()))

    async def silences(self, request: Request) -> Response:
        asked = query_params.SILENCES.read(request)
        everything = asked["everything"]
        return _all(await self._books.silences(self._now(), everything=everything))

    async def audit(self, request: Request) -> Response:
        asked = query_params.AUDIT.read(request)
        return await _listed(self._books.audit(part_of(asked)))


def _all(rows: object) -> Response:
    """A list that is short enough to be given whole."""
    return _json({"rows": rows, "next": None})


async def _listed(leaf: Awaitable[Leaf]) -> Response:
    try:
        return _leaf(await leaf)
    except BadCursor as exc:
        raise Wrong(f"cursor: {exc}") from None


class _Doing:
    """What can be done, by those who may."""

    def __init__(self, ports: Ports) -> None:
        self._deeds, self._now = ports.deeds, ports.now
        self._destinations = frozenset(ports.destinations)

    async def resume(self, request: Request) -> Response:
        who, name = await self._wish(request), self._destination(request)
        return _json({"waiting": await _done(self._deeds.resume(who, name))})

    async def test(self, request: Request) -> Response:
        who, name = await self._wish(request), self._destination(request)
        return _json(await _done(self._deeds.test(who, name)))

    async def redrive(self, request: Request) -> Response:
        who = _who(request)
        wish = await request_bodies.read(request, request_bodies.Redrive)
        done = await _done(
            self._deeds.redrive(
                who,
                ids=wish.ids,
                destination=wish.destination,
                dry_run=wish.dry_run,
            )
        )
        return _json({"rows": done.rows, "count": done.count})

    async def silence(self, request: Request) -> Response:
        who = _who(request)
        wish = await request_bodies.read(request, request_bodies.Silence)
        silence = await _done(self._deeds.silence(who, wish.match, until=wish.until, why=wish.why))
        return _json(_row(silence), 201)

    async def expire(self, request: Request) -> Response:
        who = await self._wish(request)
        wanted = request.path_params["silence_id"]
        silence = await _done(self._deeds.expire(who, wanted), status=404)
        return _json(_row(silence, expired_at=self._now()))

    async def _wish(self, request: Request) -> Principal:
        """Who wishes for it; all has been said by the path."""
        who = _who(request)
        await request_bodies.nothing(request)
        return who

    def _destination(self, request: Request) -> str:
        name = str(request.path_params["destination"])
        if name not in self._destinations:
            raise HTTPException(404, "There is no such destination.")
        return name


def _who(request: Request) -> Principal:
    """
    Who asks, if they may do something.

    Raises:
        HTTPException: they may only look.

    """
    who: Principal = request.state.who
    if not who.may_write:
        raise HTTPException(403, "This token may look, and do nothing.")
    NOTHING.read(request)
    return who


async def _done(deed: Awaitable[T], *, status: int = 409) -> T:
    """What came of it; what cannot be done now is said with this status."""
    try:
        return await deed
    except (StoreBroken, StoreSlow):
        raise
    except BadWish as exc:
        raise Wrong(str(exc)) from None
    except NotifierError as exc:
        raise HTTPException(status, str(exc)) from None


def _row(silence: Silence, *, expired_at: datetime | None = None) -> RowJson:
    """A silence as the list shows it."""
    return {
        "id": silence.id,
        "active": expired_at is None,
        "created_at": _stamp(silence.created_at),
        "until": _stamp(silence.until),
        "expired_at": None if expired_at is None else _stamp(expired_at),
        "match": keys_of(silence),
        "why": silence.why,
    }


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
