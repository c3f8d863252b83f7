"""`/`: whether it works, what lies ahead, what has happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.pagination import EventFilter
from notifier.storage import queries
from notifier.storage.rows import StatusRow
from notifier.web.pages import charts
from notifier.web.pages.templating import Dress
from notifier.workers.readiness import HealthReport

_NEWEST = 8
#: Starts that the list shows before it is unfolded.
_SOON = 8
#: Starts that the list has; the picture shows more.
_LISTED = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that a person should look at."""

    words: str
    since: object = None
    #: Where more can be seen.
    href: str = ""


def places(dress: Dress) -> list[BaseRoute]:
    """The first page."""
    context, reader = dress.context, dress.context.reader

    async def show(request: Request) -> Response:
        now = context.now()
        # Before the rows, so that none falls between them and the stream.
        newest = await reader.read(queries.newest_event)
        events = await reader.read(queries.events, EventFilter(limit=_NEWEST))
        overview = await reader.overview()
        vital = await context.readiness()
        status, starts, hours = overview.status, overview.starts, overview.hours
        return await dress.page(
            request,
            "overview.html",
            status=status,
            vital=vital,
            troubles=list(troubles(status, vital)),
            starts=starts,
            soon=_SOON,
            listed=_LISTED,
            timeline=charts.timeline(starts, now=now, zone=dress.zone),
            bars=charts.bars(hours, zone=dress.zone, now=now),
            hours=hours,
            latency=overview.latency,
            events=events.rows,
            newest=newest,
        )

    return [Route("/", show)]


def troubles(status: StatusRow, vital: HealthReport) -> Iterator[Trouble]:
    """All that is wrong, the service itself first."""
    if vital.stalled:
        yield Trouble(words=f"No progress in: {', '.join(vital.stalled)}.")
    for words in vital.unready:
        yield Trouble(words=f"Not ready: {words}")
    for row in status.conditions:
        yield Trouble(words=row.words, since=row.since)
    yield from _unsaid(status)


def _unsaid(status: StatusRow) -> Iterator[Trouble]:
    """What stands still at a destination and is no condition yet."""
    known = " ".join(row.key for row in status.conditions)
    for one in status.destinations:
        name, href = one.name, f"/destinations#{one.name}"
        if f":{name}" in known:
            continue
        if one.gone or one.suspended_since is not None:
            yield Trouble(
                words=f"Nothing is sent to {name}: {one.reason or 'suspended'}",
                since=one.suspended_since,
                href=href,
            )
        elif one.dead:
            yield Trouble(
                words=f"{name} has {one.dead:,} dead letters.",
                href=f"/deliveries?state=dead&destination={name}",
            )
