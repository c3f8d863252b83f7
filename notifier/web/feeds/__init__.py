"""A route's calendar and its feeds, for calendars and feed readers to subscribe to."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Place

from notifier.domain.calendar import MOST_ENTRIES
from notifier.domain.models import Route
from notifier.errors import StoreError
from notifier.messages.cloudevents import overview
from notifier.storage.feed import Feeds as StoredFeeds
from notifier.web.feeds import atom, jsonfeed
from notifier.web.feeds.copy import Offload, answer
from notifier.web.feeds.ics import Calendar
from notifier.web.feeds.news import News
from notifier.web.feeds.parts import Desk

__all__ = ["Feeds", "feeds"]

log = structlog.get_logger()

#: As many routes' calendars, and as many routes' feeds, are kept ready.
_KEPT = 6
_CALENDAR = "text/calendar; charset=utf-8"
#: So often calendars are kept up while nobody asks.
_KEEP_EVERY_S = 60.0
#: Between two pieces of a calendar that nobody waits for.
_BREATH_S = 0.05

_Sleep = Callable[[float], Awaitable[None]]


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

    def wanted(self) -> list[One]:
        """Those that are kept ready: whoever was asked for lately, then the first."""
        for rule in self._desk.routes[:_KEPT]:
            if len(self._known) < _KEPT and rule.name not in self._known:
                self._known[rule.name] = self._make(self._desk, rule)
        return list(self._known.values())[-_KEPT:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """Calendars and feeds: where they are, and who keeps them ready."""

    places: list[BaseRoute]
    calendars: "_Ready[Calendar]"

    async def keep(self, sleep: _Sleep) -> None:
        """
        Keep calendars ready, so that whoever asks need not wait, until cancelled.

        There is no hurry: between pieces others get on.
        """
        while True:
            for calendar in self.calendars.wanted():
                # What cannot be read is told by whoever asks for it.
                with suppress(StoreError):
                    await self._ready(calendar, sleep)
            await sleep(_KEEP_EVERY_S)

    async def _ready(self, calendar: Calendar, sleep: _Sleep) -> None:
        try:
            await calendar.ready(lambda: sleep(_BREATH_S))
        except StoreError:
            raise
        except Exception as exc:
            # One calendar that cannot be made must not take the web along.
            log.exception("web.calendar_broken", reason=type(exc).__name__)


def feeds(
    shelf: StoredFeeds,
    *,
    routes: Sequence[Route],
    now: Callable[[], datetime],
    zone: ZoneInfo,
    external_url: str | None,
    offload: Offload,
    most: int = MOST_ENTRIES,
) -> Feeds:
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

    places: list[BaseRoute] = [
        Place("/feeds/{name}.ics", ics),
        told("atom", atom.spell, atom.MEDIA),
        told("json", jsonfeed.spell, jsonfeed.MEDIA),
    ]
    return Feeds(places=places, calendars=calendars)


_Form = Callable[..., bytes]
