"""`/milestones`: the search for milestones, and one milestone with its history."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import MilestoneFilter
from notifier.kalshi import decoding
from notifier.messages.cloudevents import link
from notifier.storage import queries
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer

#: The earliest start of each choice of the form, from now; None: any start.
_EARLIEST = {"ahead": timedelta(0), "lately": timedelta(hours=-6), "all": None}
_REMOVED: Mapping[str, Literal["no", "yes", "any"]] = {"": "no", "only": "yes", "with": "any"}


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list, and one milestone."""
    context, reader = renderer.context, renderer.context.reader

    async def list_milestones(request: Request) -> Response:
        query = request.query_params
        search, removed = forms.text(query, "q"), query.get("gone", "")
        # A search includes past milestones unless the form says otherwise.
        when = query.get("when") or ("all" if search else "ahead")
        earliest = _EARLIEST.get(when, timedelta(0))
        wanted = MilestoneFilter(
            search=search,
            category=forms.text(query, "category") or None,
            type=forms.text(query, "type") or None,
            since=None if earliest is None else context.now() + earliest,
            gone=_REMOVED.get(removed, "no"),
            **forms.page_request(query),
        )
        page, counts = await reader.read(queries.milestones, wanted), reader.milestone_counts
        return await renderer.list_page(
            request,
            "milestones.html",
            page,
            wanted=wanted,
            when=when,
            removed=removed,
            categories=sorted({row.category for row in counts}),
            types=sorted({row.type for row in counts}),
            known=(await reader.status()).milestones,
        )

    async def show_milestone(request: Request) -> Response:
        milestone_id = request.path_params["id"]
        details = await reader.read(queries.milestone, milestone_id, context.now())
        if details is None:
            raise HTTPException(404, "No milestone has this id.")
        milestone = decoding.milestone(msgspec.json.encode(details.document))
        return await renderer.page(
            request,
            "milestone.html",
            kalshi_url=link(milestone, None),
            **msgspec.structs.asdict(details),
        )

    return [
        Route("/milestones", list_milestones),
        Route("/milestones/{id:path}", show_milestone),
    ]
