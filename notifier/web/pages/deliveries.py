"""`/deliveries`: what is owed to whom, what became of it; dead letters put back."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.models import State
from notifier.domain.pagination import BadCursor, DeliveryFilter
from notifier.errors import NotifierError, StoreSlow
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import Dress, seen_off, writer

#: Dead letters that the question before all of them are put back names.
_SHOWN = 20


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and putting back."""
    page = _Page(dress)
    return [
        Route("/deliveries", page.found, methods=["GET"]),
        Route("/deliveries/redrive", page.confirm, methods=["GET"]),
        Route("/deliveries/redrive", page.redrive, methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Page:
    dress: Dress

    async def found(self, request: Request) -> Response:
        return await self._listed(request)

    async def confirm(self, request: Request) -> Response:
        """What putting back all that is dead would come to."""
        by = writer(request)
        destination = forms.text(request.query_params, "destination") or None
        admin = self.dress.context.admin
        try:
            found = await admin.redrive(by, destination=destination, dry_run=True, most=1)
        except StoreSlow:
            raise
        except NotifierError as exc:
            raise HTTPException(404, str(exc)) from None
        dead = DeliveryFilter(state=[State.DEAD], destination=destination, limit=_SHOWN)
        context = self.dress.context
        newest = await context.reader.read(queries.deliveries, dead, context.now())
        return await self.dress.page(
            request,
            "redrive.html",
            destination=destination,
            dead=found.count,
            rows=newest.rows,
        )

    async def redrive(self, request: Request) -> Response:
        by = writer(request)
        form = await request.form()
        ids, destination = forms.many(form, "id"), forms.field(form, "destination")
        if not ids and not destination and forms.field(form, "all") != "yes":
            raise HTTPException(400, "No dead letter was named.")
        admin = self.dress.context.admin
        try:
            done = await admin.redrive(by, ids=ids, destination=destination or None)
        except StoreSlow:
            raise
        except NotifierError as exc:
            return await self._listed(request, wrong=str(exc), code=409)
        return seen_off("/deliveries", "redriven", n=done.count)

    async def _listed(self, request: Request, *, wrong: str = "", code: int = 200) -> Response:
        query, context = request.query_params, self.dress.context
        wanted = DeliveryFilter(
            state=forms.choices(query, "state", State),
            destination=forms.text(query, "destination") or None,
            route=forms.text(query, "route") or None,
            **forms.page_of(query),
        )
        try:
            page = await context.reader.read(queries.deliveries, wanted, context.now())
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        return await self.dress.page(
            request,
            "deliveries.html",
            code=code,
            wrong=wrong,
            rows=page.rows,
            next=forms.next_page(query, page),
            first="cursor" not in query,
            wanted=wanted,
            states=[state.value for state in wanted.state],
            destinations=context.destinations,
            routes=context.routes,
        )
