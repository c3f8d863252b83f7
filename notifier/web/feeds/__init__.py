"""A route's calendar and its feeds, for calendars and feed readers to subscribe to."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Place

from notifier.core.cloudevent import overview
from notifier.core.feed import MOST_ENTRIES
from notifier.core.model import Route
from notifier.web.feeds import atom, jsonfeed
from notifier.web.feeds.copy import Offload, answer
from notifier.web.feeds.ics import Calendar
from notifier.web.feeds.news import News
from notifier.web.feeds.parts import Desk, Shelf

__all__ = ["Shelf", "feeds"]

#: As many routes' calendars, and as many routes' feeds, are kept ready.
_KEPT = 6
_CALENDAR = "text/calendar; charset=utf-8"


class _Forgetful(Protocol):
    def forget(self) -> None:
        """Make room for others."""


One = TypeVar("One", bound=_Forgetful)


class _Ready(Generic[One]):
    """Those that were asked for lately are kept; memory is bounded."""

    def __init__(self, desk: Desk, make: Callable[[Desk, Route], One]) -> None:
        self._desk = desk
        self._make = make
        self._known: OrderedDict[str, One] = OrderedDict()

    def of(self, request: Request) -> tuple[str, One]:
        """The one of the route that is asked for, and the route's name."""
        name = request.path_params["name"]
        rule = self._desk.rule(name)
        if rule is None:
            raise HTTPException(404, "The configuration has no route of that name.")
        one = self._known.pop(name, None) or self._make(self._desk, rule)
        self._known[name] = one
        for other in list(self._known.values())[:-_KEPT]:
            other.forget()
        return name, one


def feeds(
    shelf: Shelf,
    *,
    routes: Sequence[Route],
    now: Callable[[], datetime],
    zone: ZoneInfo,
    external_url: str | None,
    offload: Offload,
    most: int = MOST_ENTRIES,
) -> list[BaseRoute]:
    """`/feeds/{route}.ics`, `.atom` and `.json`; who may read them the doors decide."""
    desk = Desk(
        shelf=shelf,
        routes=routes,
        now=now,
        zone=zone,
        external_url=external_url,
        offload=offload,
        most=most,
    )
    calendars: _Ready[Calendar] = _Ready(desk, Calendar)
    news: _Ready[News] = _Ready(desk, News)
    home = overview(external_url)

    async def ics(request: Request) -> Response:
        name, calendar = calendars.of(request)
        found = answer(request, await calendar.copy(), _CALENDAR, offload=offload)
        found.headers["content-disposition"] = f'inline; filename="{name}.ics"'
        return found

    def told(ending: str, form: "_Form", media: str) -> Place:
        async def feed(request: Request) -> Response:
            name, one = news.of(request)
            own = f"{home}feeds/{name}.{ending}" if external_url is not None else None
            spell = partial(form, name=name, home=home, own=own)
            copy = await one.copy(ending, spell)
            return answer(request, copy, media, offload=offload)

        return Place(f"/feeds/{{name}}.{ending}", feed)

    return [
        Place("/feeds/{name}.ics", ics),
        told("atom", atom.spell, atom.MEDIA),
        told("json", jsonfeed.spell, jsonfeed.MEDIA),
    ]


_Form = Callable[..., bytes]
