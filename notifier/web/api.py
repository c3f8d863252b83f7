"""The JSON API under `/api/v1`: what each path reads or does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar, get_type_hints

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
    MilestoneFilter,
    PageRequest,
)
from notifier.domain.rules import Silence
from notifier.domain.silences import keys_of
from notifier.errors import BadWish, NotifierError, StoreBroken, StoreSlow
from notifier.storage import queries
from notifier.storage.rows import (
    AuditRow,
    DestinationRow,
    DestinationTest,
    EventRow,
    Explanation,
    ListedDelivery,
    MilestoneCount,
    MilestoneDetails,
    MilestoneRow,
    Overview,
    Page,
    RedriveResult,
    ResumeResult,
    RouteRow,
    SilenceRow,
    StatusRow,
)
from notifier.web.context import WebContext
from notifier.web.schemas import (
    EVENT_STREAM,
    JSON,
    BadRequest,
    Endpoint,
    NoParameters,
    QuerySchema,
    RedriveRequest,
    SilenceRequest,
    SilencesQuery,
    StreamQuery,
    openapi,
    parse_body,
)
from notifier.web.stream import Broadcast

PREFIX = "/api/v1"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: the principal, the parts of its path, its query and its body."""

    by: Principal
    path: Mapping[str, str]
    query: Any
    body: Any


Handler: TypeAlias = Callable[[Call], Awaitable[Any]]


def api(ctx: WebContext) -> list[BaseRoute]:
    """Everything under `/api/v1`, as one mount."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in endpoints(ctx):
        if endpoint.media_type == JSON:
            by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [_route(path, methods) for path, methods in by_path.items()]
    routes.append(Route("/stream", Broadcast(ctx.reader).respond, methods=["GET"]))
    return [Mount(PREFIX, app=Router(routes, redirect_slashes=False))]


def _route(path: str, methods: Mapping[str, Endpoint]) -> Route:
    """One route for all methods of a path, so that a wrong method names the right ones."""
    queries_of = {method: QuerySchema(one.query) for method, one in methods.items()}

    async def respond(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        endpoint, body = methods[method], None
        by: Principal = request.state.principal
        if endpoint.is_action and not by.may_write:
            raise HTTPException(403, "This token may only read.")
        query = queries_of[method].parse(request)
        if endpoint.is_action:
            body = await parse_body(request, endpoint.body)
        call = Call(by=by, path=request.path_params, query=query, body=body)
        try:
            result = await endpoint.handler(call)
        except BadCursor as exc:
            raise BadRequest(f"cursor: {exc}") from None
        return Response(msgspec.json.encode(result), endpoint.status, media_type=JSON)

    # The id of a milestone may contain a slash.
    pattern = path.replace("{milestone_id}", "{milestone_id:path}")
    return Route(pattern, respond, methods=list(methods))


def endpoints(ctx: WebContext) -> list[Endpoint]:
    """All endpoints, with the OpenAPI document of them."""
    found = [*_reads(ctx), *_actions(ctx)]

    async def show_document(_: Call) -> msgspec.Raw:
        return document

    found.append(Endpoint("GET", "/openapi.json", "This document.", show_document))
    document = msgspec.Raw(msgspec.json.encode(openapi(found, ctx.version)))
    return found


def _reads(ctx: WebContext) -> list[Endpoint]:  # noqa: C901 - handlers side by side, without branches
    reader = ctx.reader

    async def milestone(call: Call) -> MilestoneDetails:
        found = await reader.read(queries.milestone, call.path["milestone_id"], ctx.now())
        return _found(found, "There is no such milestone.")

    async def explain(call: Call) -> Explanation:
        found = await reader.explain(call.path["event_id"])
        return _found(found, "No event, or several, have an id that begins so.")

    async def silences(call: Call) -> Page[SilenceRow]:
        everything = call.query.everything == "true"
        return _whole(await reader.read(queries.silences, ctx.now(), everything=everything))

    async def counts(_: Call) -> Page[MilestoneCount]:
        return _whole(reader.milestone_counts)

    async def destinations(_: Call) -> Page[DestinationRow]:
        return _whole(await reader.destination_rows())

    async def routes(_: Call) -> Page[RouteRow]:
        return _whole(await reader.route_rows())

    async def status(_: Call) -> StatusRow:
        return await reader.status()

    async def overview(_: Call) -> Overview:
        return await reader.overview()

    async def milestones(call: Call) -> Page[MilestoneRow]:
        return await reader.read(queries.milestones, call.query)

    async def events(call: Call) -> Page[EventRow]:
        return await reader.read(queries.events, call.query)

    async def deliveries(call: Call) -> Page[ListedDelivery]:
        return await reader.read(queries.deliveries, call.query, ctx.now())

    async def audit(call: Call) -> Page[AuditRow]:
        return await reader.read(queries.audit, call.query)

    def get(path: str, summary: str, handler: Handler, query: type[Any] = NoParameters) -> Endpoint:
        return Endpoint("GET", path, summary, handler, get_type_hints(handler)["return"], query)

    return [
        get("/status", "The state of the service.", status),
        get("/overview", "The first page.", overview),
        get("/milestones", "Milestones, soonest first.", milestones, MilestoneFilter),
        get("/milestone-kinds", "Categories and types of the milestones.", counts),
        get("/milestones/{milestone_id}", "One milestone.", milestone),
        get("/events", "Events, newest first.", events, EventFilter),
        get("/events/{event_id}", "One event by a prefix of its id, explained.", explain),
        get("/deliveries", "Deliveries, newest first.", deliveries, DeliveryFilter),
        get("/destinations", "The destinations.", destinations),
        get("/routes", "The routes, in their order.", routes),
        get("/silences", "Silences, oldest first.", silences, SilencesQuery),
        get("/audit", "The audit, newest first.", audit, PageRequest),
        Endpoint(
            *("GET", "/stream", "New events as server-sent events; data is an event.", events),
            query=StreamQuery,
            media_type=EVENT_STREAM,
        ),
    ]


def _actions(ctx: WebContext) -> list[Endpoint]:
    admin = ctx.admin

    def destination(call: Call) -> str:
        name = call.path["destination"]
        if name not in ctx.destinations:
            raise HTTPException(404, "There is no such destination.")
        return name

    async def resume(call: Call) -> ResumeResult:
        return ResumeResult(waiting=await _done(admin.resume(call.by, destination(call))))

    async def test(call: Call) -> Any:
        return await _done(admin.test(call.by, destination(call)))

    async def redrive(call: Call) -> Any:
        body: RedriveRequest = call.body
        return await _done(
            admin.redrive(call.by, ids=body.ids, destination=body.destination, dry_run=body.dry_run)
        )

    async def silence(call: Call) -> SilenceRow:
        body: SilenceRequest = call.body
        return _silence_row(
            await _done(admin.silence(call.by, body.match, until=body.until, why=body.why))
        )

    async def expire(call: Call) -> SilenceRow:
        ended = await _done(admin.expire(call.by, call.path["silence_id"]), status=404)
        return _silence_row(ended, expired_at=ctx.now())

    of_one = "/destinations/{destination}"
    return [
        Endpoint("POST", f"{of_one}/resume", "End a suspension.", resume, ResumeResult),
        Endpoint("POST", f"{of_one}/test", "Send a test message.", test, DestinationTest),
        Endpoint(
            *("POST", "/deliveries/redrive", "Put dead letters back.", redrive, RedriveResult),
            body=RedriveRequest,
        ),
        Endpoint(
            *("POST", "/silences", "Suppress what matches.", silence, SilenceRow),
            body=SilenceRequest,
            status=201,
        ),
        Endpoint("DELETE", "/silences/{silence_id}", "End a silence.", expire, SilenceRow),
    ]


async def _done(action: Awaitable[T], *, status: int = 409) -> T:
    """The result of an action; what is impossible now is answered with `status`."""
    try:
        return await action
    except (StoreBroken, StoreSlow):
        raise
    except BadWish as exc:
        raise BadRequest(str(exc)) from None
    except NotifierError as exc:
        raise HTTPException(status, str(exc)) from None


def _found(row: T | None, otherwise: str) -> T:
    if row is None:
        raise HTTPException(404, otherwise)
    return row


def _whole(rows: Sequence[T]) -> Page[T]:
    """A list that is short enough for one page."""
    return Page(rows=rows, next=None)


def _silence_row(silence: Silence, *, expired_at: datetime | None = None) -> SilenceRow:
    return SilenceRow(
        id=silence.id,
        active=expired_at is None,
        created_at=silence.created_at,
        until=silence.until,
        expired_at=expired_at,
        match=keys_of(silence),
        why=silence.why,
    )
