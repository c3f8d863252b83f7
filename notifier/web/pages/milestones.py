"""`/milestones`: search them, and all that is known of one."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import BadCursor, MilestoneFilter
from notifier.messages.cloudevents import link
from notifier.storage import queries
from notifier.storage.rows import MilestoneCount
from notifier.web.pages import filters, forms
from notifier.web.pages.templating import Dress

#: What began so lately may still be going on.
_LATELY = timedelta(hours=6)
_GONE: Mapping[str, Literal["no", "yes", "any"]] = {"": "no", "only": "yes", "with": "any"}


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and a page each."""
    reader = dress.context.reader

    async def found(request: Request) -> Response:
        query = request.query_params
        wanted, when = _wanted(request, dress)
        try:
            page = await reader.read(queries.milestones, wanted)
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        counts = reader.milestone_counts
        return await dress.page(
            request,
            "milestones.html",
            rows=page.rows,
            next=forms.next_page(query, page),
            first="cursor" not in query,
            wanted=wanted,
            when=when,
            gone=query.get("gone", ""),
            categories=sorted({row.category for row in counts}),
            types=sorted({row.type for row in counts}),
            known=await _known(dress, counts),
        )

    async def one(request: Request) -> Response:
        key, now = request.path_params["id"], dress.context.now()
        known = await reader.read(queries.milestone, key, now)
        if known is None:
            raise HTTPException(404, "No milestone has this id.")
        at_kalshi = link(filters.milestone_of(known.document), None)
        fields = {name: getattr(known, name) for name in known.__struct_fields__}
        return await dress.page(request, "milestone.html", at_kalshi=at_kalshi, **fields)

    return [Route("/milestones", found), Route("/milestones/{id:path}", one)]


async def _known(dress: Dress, counts: Sequence[MilestoneCount]) -> int | None:
    """How many milestones there are; None: they are not counted yet."""
    if counts:
        return sum(row.milestones for row in counts)
    return (await dress.context.reader.status()).milestones


def _wanted(request: Request, dress: Dress) -> tuple[MilestoneFilter, str]:
    """Which milestones; and whether all times are wanted, or what lies ahead."""
    query = request.query_params
    search = forms.text(query, "q")
    # Whoever searches may look for what is over.
    when = query.get("when") or ("all" if search else "ahead")
    wanted = MilestoneFilter(
        search=search,
        category=forms.text(query, "category") or None,
        type=forms.text(query, "type") or None,
        since=_since(when, dress.context.now()),
        gone=_GONE.get(query.get("gone", ""), "no"),
        **forms.page_of(query),
    )
    return wanted, when


def _since(when: str, now: datetime) -> datetime | None:
    """Which starts are wanted: none before this."""
    if when == "all":
        return None
    return now - _LATELY if when == "lately" else now
