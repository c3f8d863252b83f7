"""`/`: problems, upcoming starts, the newest events and the state of the destinations."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import EventFilter
from notifier.storage import queries
from notifier.storage.rows import StatusRow
from notifier.web import charts
from notifier.web.pages.templating import TemplateRenderer
from notifier.workers.readiness import HealthReport

_NEWEST_EVENTS = 8
#: Upcoming starts in the list: always visible, and after it is expanded.
_STARTS, _MORE_STARTS = 8, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewProblem:
    """Something that a person should look at."""

    text: str
    since: datetime | None = None
    #: The page with details.
    href: str = ""


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The first page."""
    context, reader = renderer.context, renderer.context.reader

    async def show_overview(request: Request) -> Response:
        now, zone = context.now(), renderer.zone
        # Before the rows, so that no event is missing between them and the stream.
        newest = await reader.read(queries.newest_event)
        events = await reader.read(queries.events, EventFilter(limit=_NEWEST_EVENTS))
        overview, health = await reader.overview(), await context.readiness()
        return await renderer.page(
            request,
            "overview.html",
            status=overview.status,
            health=health,
            problems=list(problems(overview.status, health)),
            starts=overview.starts,
            visible_starts=_STARTS,
            max_starts=_MORE_STARTS,
            timeline=charts.timeline(overview.starts, now=now, zone=zone),
            bars=charts.bar_chart(overview.hours, zone=zone, now=now),
            hours=overview.hours,
            latency=overview.latency,
            events=events.rows,
            newest=newest,
        )

    return [Route("/", show_overview)]


def problems(status: StatusRow, health: HealthReport) -> Iterator[OverviewProblem]:
    """The problems of the service, its open incidents, and destinations that have neither."""
    if health.stalled:
        yield OverviewProblem(text=f"No progress in: {', '.join(health.stalled)}.")
    for reason in health.unready:
        yield OverviewProblem(text=f"Not ready: {reason}")
    for incident in status.conditions:
        yield OverviewProblem(text=incident.words, since=incident.since)
    incident_keys = " ".join(incident.key for incident in status.conditions)
    for one in status.destinations:
        if f":{one.name}" in incident_keys:
            continue
        if one.gone or one.suspended_since is not None:
            yield OverviewProblem(
                text=f"Nothing is sent to {one.name}: {one.reason or 'suspended'}",
                since=one.suspended_since,
                href=f"/destinations#{one.name}",
            )
        elif one.dead:
            yield OverviewProblem(
                text=f"{one.name} has {one.dead:,} dead letters.",
                href=f"/deliveries?state=dead&destination={one.name}",
            )
