"""The JSON API under `/api/v1`: what each path reads or does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

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
    JsonSchema,
    Operation,
    QuerySchema,
    RedriveRequest,
    SilenceRequest,
    SilencesQuery,
    openapi,
    parse_body,
)
from notifier.web.stream import STREAM_QUERY, Broadcast

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
Endpoints: TypeAlias = dict[tuple[str, str], tuple[Operation, Handler]]


def api(ctx: WebContext) -> list[BaseRoute]:
    """Everything under `/api/v1`, as one mount."""
    document = msgspec.Raw(msgspec.json.encode(describe(ctx)))

    async def show_document(_: Call) -> msgspec.Raw:
        return document

    endpoints = _reads(ctx) | _actions(ctx) | {("GET", "/openapi.json"): (_DOCUMENT, show_document)}
    by_path: dict[str, dict[str, tuple[Operation, Handler]]] = {}
    for (method, path), endpoint in endpoints.items():
        by_path.setdefault(path, {})[method] = endpoint
    routes = [_route(path, methods) for path, methods in by_path.items()]
    routes.append(Route("/stream", Broadcast(ctx.reader).respond, methods=["GET"]))
    return [Mount(PREFIX, app=Router(routes, redirect_slashes=False))]


_DOCUMENT = Operation(summary="This document.")
_STREAM = Operation(
    summary="New events as they come, as server-sent events; data is an event.",
    query=STREAM_QUERY,
    media_type=EVENT_STREAM,
)


def describe(ctx: WebContext) -> JsonSchema:
    """Return the OpenAPI document."""
    operations = {key: one for key, (one, _) in (_reads(ctx) | _actions(ctx)).items()}
    operations |= {("GET", "/stream"): _STREAM, ("GET", "/openapi.json"): _DOCUMENT}
    return openapi(operations, ctx.version)


def _route(path: str, endpoints: Mapping[str, tuple[Operation, Handler]]) -> Route:
    """One route for all methods of a path, so that a wrong method names the right ones."""

    async def respond(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation, handler = endpoints[method]
        by: Principal = request.state.who
        if operation.is_action and not by.may_write:
            raise HTTPException(403, "This token may only read.")
        query = operation.query.parse(request)
        body: Any = None
        if operation.is_action:
            body = await parse_body(request, operation.body)
        try:
            result = await handler(Call(by=by, path=request.path_params, query=query, body=body))
        except BadCursor as exc:
            raise BadRequest(f"cursor: {exc}") from None
        return Response(msgspec.json.encode(result), operation.status, media_type=JSON)

    # The id of a milestone may contain a slash.
    pattern = path.replace("{milestone_id}", "{milestone_id:path}")
    return Route(pattern, respond, methods=list(endpoints))


def _reads(ctx: WebContext) -> Endpoints:
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

    return {
        ("GET", "/status"): (
            Operation(summary="The state of the service.", returns=StatusRow),
            lambda _: reader.status(),
        ),
        ("GET", "/overview"): (
            Operation(summary="The first page.", returns=Overview),
            lambda _: reader.overview(),
        ),
        ("GET", "/milestones"): (
            Operation(
                summary="Milestones by start, soonest first.",
                query=QuerySchema(MilestoneFilter),
                returns=Page[MilestoneRow],
            ),
            lambda call: reader.read(queries.milestones, call.query),
        ),
        ("GET", "/milestone-kinds"): (
            Operation(summary="Their categories and types.", returns=Page[MilestoneCount]),
            counts,
        ),
        ("GET", "/milestones/{milestone_id}"): (
            Operation(summary="One milestone.", returns=MilestoneDetails),
            milestone,
        ),
        ("GET", "/events"): (
            Operation(
                summary="Events, newest first.",
                query=QuerySchema(EventFilter),
                returns=Page[EventRow],
            ),
            lambda call: reader.read(queries.events, call.query),
        ),
        ("GET", "/events/{event_id}"): (
            Operation(
                summary="One event by the beginning of its id, and why it went where it went.",
                returns=Explanation,
            ),
            explain,
        ),
        ("GET", "/deliveries"): (
            Operation(
                summary="Deliveries, newest first.",
                query=QuerySchema(DeliveryFilter),
                returns=Page[ListedDelivery],
            ),
            lambda call: reader.read(queries.deliveries, call.query, ctx.now()),
        ),
        ("GET", "/destinations"): (
            Operation(summary="The destinations.", returns=Page[DestinationRow]),
            destinations,
        ),
        ("GET", "/routes"): (
            Operation(summary="The routes in their order.", returns=Page[RouteRow]),
            routes,
        ),
        ("GET", "/silences"): (
            Operation(
                summary="Silences, oldest first.",
                query=QuerySchema(SilencesQuery),
                returns=Page[SilenceRow],
            ),
            silences,
        ),
        ("GET", "/audit"): (
            Operation(
                summary="The audit, newest first.",
                query=QuerySchema(PageRequest),
                returns=Page[AuditRow],
            ),
            lambda call: reader.read(queries.audit, call.query),
        ),
    }


def _actions(ctx: WebContext) -> Endpoints:
    admin = ctx.admin

    def destination(call: Call) -> str:
        name = call.path["destination"]
        if name not in ctx.destinations:
            raise HTTPException(404, "There is no such destination.")
        return name

    async def resume(call: Call) -> ResumeResult:
        return ResumeResult(waiting=await _done(admin.resume(call.by, destination(call))))

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

    def action(
        summary: str, returns: Any, body: type | None = None, status: int = 200
    ) -> Operation:
        return Operation(summary=summary, returns=returns, body=body, status=status, is_action=True)

    return {
        ("POST", "/destinations/{destination}/resume"): (
            action("End a suspension.", ResumeResult),
            resume,
        ),
        ("POST", "/destinations/{destination}/test"): (
            action("Send a message marked as a test.", DestinationTest),
            lambda call: _done(admin.test(call.by, destination(call))),
        ),
        ("POST", "/deliveries/redrive"): (
            action(
                "Put dead letters back: these, a destination's, or all.",
                RedriveResult,
                RedriveRequest,
            ),
            redrive,
        ),
        ("POST", "/silences"): (
            action("Suppress what matches, until an instant.", SilenceRow, SilenceRequest, 201),
            silence,
        ),
        ("DELETE", "/silences/{silence_id}"): (
            action("End a silence before its time, by the beginning of its id.", SilenceRow),
            expire,
        ),
    }


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
