"""`/milestones`: search them, and all that is known of one."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import BadCursor, MilestoneFilter
from notifier.messages.cloudevents import link
from notifier.web.pages import filters, forms
from notifier.web.pages.filters import Row
from notifier.web.pages.templating import Dress

#: What began so lately may still be going on.
_LATELY = timedelta(hours=6)
_GONE = {"": False, "only": True, "with": None}


def places(dress: Dress) -> list[BaseRoute]:
    """The list, and a page each."""
    books = dress.ports.books

    async def found(request: Request) -> Response:
        query = request.query_params
        wanted, when = _wanted(request, dress)
        try:
            leaf = await books.milestones(wanted, forms.part(query))
        except BadCursor as exc:
            raise forms.bad_cursor(exc) from None
        kinds: Sequence[Row] = await books.kinds_of_milestones()
        return await dress.page(
            request,
            "milestones.html",
            rows=leaf.rows,
            next=forms.next_page(query, leaf),
            first="cursor" not in query,
            wanted=wanted,
            when=when,
            gone=query.get("gone", ""),
            categories=sorted({row["category"] for row in kinds}),
            types=sorted({row["type"] for row in kinds}),
            known=await _known(dress, kinds),
        )

    async def one(request: Request) -> Response:
        known: Row | None = await books.milestone(request.path_params["id"])
        if known is None:
            raise HTTPException(404, "No milestone has this id.")
        document = known["document"]
        at_kalshi = link(filters.milestone_of(document), None)
        return await dress.page(request, "milestone.html", at_kalshi=at_kalshi, **known)

    return [Route("/milestones", found), Route("/milestones/{id:path}", one)]


async def _known(dress: Dress, kinds: Sequence[Row]) -> int | None:
    """How many milestones there are; None: they are not counted yet."""
    if kinds:
        return sum(int(row["milestones"]) for row in kinds)
    status: Row = await dress.ports.books.status(dress.ports.now())
    found: int | None = status["milestones"]
    return found


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
        since=_since(when, dress.ports.now()),
        gone=_GONE.get(query.get("gone", ""), False),
    )
    return wanted, when


def _since(when: str, now: datetime) -> datetime | None:
    """Which starts are wanted: none before this."""
    if when == "all":
        return None
    return now - _LATELY if when == "lately" else now
