"""`/metrics`, in the text format that the scraper prefers."""

from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.metrics import Metrics
from notifier.storage import gauges
from notifier.storage.database import Database

#: The number of milestones is counted anew after this.
_COUNTED_FOR = timedelta(minutes=1)


def metrics_route(
    db: Database,
    metrics: Metrics,
    *,
    now: Callable[[], datetime],
    clock_offset: Callable[[], timedelta | None],
) -> Route:
    """The route of `/metrics`."""
    counted: tuple[datetime, int] | None = None

    async def scrape(request: Request) -> Response:
        nonlocal counted
        at = now()
        if counted is None or not timedelta(0) <= at - counted[0] < _COUNTED_FOR:
            counted = at, await db.read(gauges.milestones)
        state = await db.read(gauges.gauges, milestones=counted[1], now=at)
        accept = request.headers.get("accept", "")
        body, media_type = metrics.exposition(state, clock_offset(), accept)
        return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})

    return Route("/metrics", scrape)
