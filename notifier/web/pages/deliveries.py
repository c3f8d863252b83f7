"""`/deliveries`: the list of deliveries, and the redrive of dead letters."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.models import State
from notifier.domain.pagination import DeliveryFilter
from notifier.errors import NotifierError, StoreSlow
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer, redirect_with_message, writer_of

#: Dead letters that the confirmation of a redrive lists.
_MAX_LISTED = 20


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list, the confirmation of a redrive, and the redrive."""
    context = renderer.context

    async def list_deliveries(request: Request) -> Response:
        return await show_list(request)

    async def confirm_redrive(request: Request) -> Response:
        principal = writer_of(request)
        destination = forms.text(request.query_params, "destination") or None
        try:
            dead = await context.admin.redrive(
                principal, destination=destination, dry_run=True, most=1
            )
        except StoreSlow:
            raise
        except NotifierError as exc:
            raise HTTPException(404, str(exc)) from None
        wanted = DeliveryFilter(state=[State.DEAD], destination=destination, limit=_MAX_LISTED)
        newest = await context.reader.read(queries.deliveries, wanted, context.now())
        return await renderer.page(
            request,
            "redrive.html",
            destination=destination,
            dead=dead.count,
            rows=newest.rows,
        )

    async def redrive(request: Request) -> Response:
        principal, form = writer_of(request), await request.form()
        ids, destination = forms.many(form, "id"), forms.field(form, "destination")
        if not ids and not destination and forms.field(form, "all") != "yes":
            raise HTTPException(400, "The form names no dead letter.")
        try:
            redriven = await context.admin.redrive(
                principal, ids=ids, destination=destination or None
            )
        except StoreSlow:
            raise
        except NotifierError as exc:
            return await show_list(request, error=str(exc), code=409)
        return redirect_with_message("/deliveries", "redriven", n=redriven.count)

    async def show_list(request: Request, *, error: str = "", code: int = 200) -> Response:
        query = request.query_params
        wanted = DeliveryFilter(
            state=forms.choices(query, "state", State),
            destination=forms.text(query, "destination") or None,
            route=forms.text(query, "route") or None,
            **forms.page_request(query),
        )
        return await renderer.list_page(
            request,
            "deliveries.html",
            await context.reader.read(queries.deliveries, wanted, context.now()),
            code=code,
            error=error,
            wanted=wanted,
            states=[state.value for state in wanted.state],
            destinations=context.destinations,
            routes=context.routes,
        )

    return [
        Route("/deliveries", list_deliveries, methods=["GET"]),
        Route("/deliveries/redrive", confirm_redrive, methods=["GET"]),
        Route("/deliveries/redrive", redrive, methods=["POST"]),
    ]
