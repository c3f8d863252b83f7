"""`/silences`: those in force, a new one, and the end of one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import anyio.to_thread
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.models import Event
from notifier.domain.pagination import EventFilter
from notifier.domain.routing import matches
from notifier.domain.rules import Silence
from notifier.domain.silences import DESTINATION, create_silence
from notifier.errors import NotifierError
from notifier.messages.humanize import span
from notifier.storage import queries
from notifier.storage.rows import EventRow
from notifier.web.pages import filters, forms
from notifier.web.pages.templating import Dress, seen_off, writer
from notifier.web.reader import StoreReader

#: Fields of the form, each of which is a key of the match.
_KEYS = ("category", "type", "title", "tickers")
_SPANS = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "12h": timedelta(hours=12),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
}
_SPAN_WORDS = {key: span(length) for key, length in _SPANS.items()}
#: A silence is held against what happened in so long a time, or so many events.
_PAST, _PAST_EVENTS = timedelta(days=1), 500
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What was typed into the form."""

    match: Mapping[str, list[str]] = field(default_factory=dict)
    more: str = ""
    span: str = "4h"
    until: str = ""
    #: In which `until` is meant; empty: the configured one.
    zone: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a silence would have come to."""

    silence: Silence
    matched: int
    events: int
    examples: Sequence[EventRow]


def places(dress: Dress) -> list[BaseRoute]:
    """The list with its form, and what it sends."""
    page = _Page(dress)
    return [
        Route("/silences", page.found, methods=["GET"]),
        Route("/silences", page.add, methods=["POST"]),
        Route("/silences/{id}/expire", page.expire, methods=["POST"]),
    ]


@dataclass(frozen=True, slots=True)
class _Page:
    dress: Dress

    async def found(self, request: Request) -> Response:
        return await self._listed(request)

    async def add(self, request: Request) -> Response:
        by, form = writer(request), await request.form()
        given, context = _given(form), self.dress.context
        now = context.now()
        try:
            _check(given)
            until = _until(given, now=now, zone=self.dress.zone)
            if forms.field(form, "step") == "preview":
                why = given.why or "a preview"
                silence = create_silence(given.match, why=why, created_at=now, until=until)
                preview = await _preview(context.reader, silence, now=now)
                return await self._listed(request, given=given, preview=preview)
            await context.admin.silence(by, given.match, until=until, why=given.why)
        except (ValueError, NotifierError) as exc:
            wrong = str(exc)
            return await self._listed(request, given=given, wrong=wrong, code=422)
        return seen_off("/silences", "silenced")

    async def expire(self, request: Request) -> Response:
        by = writer(request)
        try:
            await self.dress.context.admin.expire(by, request.path_params["id"])
        except NotifierError as exc:
            return await self._listed(request, wrong=str(exc), code=409)
        return seen_off("/silences", "expired")

    async def _listed(
        self,
        request: Request,
        *,
        given: Given | None = None,
        wrong: str = "",
        preview: Preview | None = None,
        code: int = 200,
    ) -> Response:
        context = self.dress.context
        everything = request.query_params.get("all") == "yes"
        return await self.dress.page(
            request,
            "silences.html",
            code=code,
            rows=await context.reader.read(queries.silences, context.now(), everything=everything),
            everything=everything,
            given=given or Given(),
            wrong=wrong,
            preview=preview,
            spans=_SPAN_WORDS,
            destinations=context.destinations,
            kinds=context.reader.milestone_counts,
        )


# --- the form -----------------------------------------------------------------


def _given(form: FormData) -> Given:
    """The form as it was sent; a key that is named twice has two patterns."""
    match: dict[str, list[str]] = {}
    pairs = [
        *(("events", kind) for kind in forms.many(form, "events")),
        *((key, forms.field(form, key)) for key in _KEYS),
        *((DESTINATION, name) for name in forms.many(form, DESTINATION)),
    ]
    more = forms.lines(form, "more")
    for line in more:
        key, _, pattern = line.partition("=")
        pairs.append((key.strip(), pattern.strip()))
    for key, pattern in pairs:
        if pattern and pattern not in match.setdefault(key, []):
            match[key].append(pattern)
    return Given(
        match={key: patterns for key, patterns in match.items() if patterns},
        more="\n".join(more),
        span=forms.field(form, "span"),
        until=forms.field(form, "until"),
        zone=forms.field(form, "zone"),
        why=forms.field(form, "why"),
    )


def _check(given: Given) -> None:
    """
    See that each of the other lines says what is to be matched.

    Raises:
        ValueError: one does not.
    """
    for line in given.more.splitlines():
        key, equals, pattern = (part.strip() for part in line.partition("="))
        if not key or not equals or not pattern:
            raise ValueError(f"{line!r} is not KEY=PATTERN, such as category=Sports")


def _until(given: Given, *, now: datetime, zone: ZoneInfo) -> datetime:
    """
    When it ends: an instant that was typed beats a span that was chosen.

    Raises:
        ValueError: neither can be read.
    """
    if not given.until:
        if given.span not in _SPANS:
            raise ValueError("a silence needs an end: choose how long it lasts")
        return (now + _SPANS[given.span]).replace(microsecond=0)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", given.until):
        raise ValueError("the end is not a time such as 2026-12-01T08:00")
    try:
        wall = datetime.fromisoformat(given.until)
        meant = _zone(given.zone) if given.zone else zone
        return wall.replace(tzinfo=meant).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("the end is on no calendar") from None
    except LookupError:
        raise ValueError(
            "your browser's time zone is not known here; say for how long instead"
        ) from None


def _zone(name: str) -> ZoneInfo:
    """
    The zone of that name.

    Raises:
        LookupError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise LookupError(name) from None


# --- what it would have come to -----------------------------------------------


async def _preview(reader: StoreReader, silence: Silence, *, now: datetime) -> Preview:
    wanted = EventFilter(since=now - _PAST, limit=_PAST_EVENTS)
    page = await reader.read(queries.events, wanted)
    work = partial(_fitting, silence, page.rows)
    fitting = await anyio.to_thread.run_sync(work)
    return Preview(
        silence=silence,
        matched=len(fitting),
        events=len(page.rows),
        examples=fitting[:_SHOWN],
    )


def _fitting(silence: Silence, rows: Sequence[EventRow]) -> list[EventRow]:
    return [row for row in rows if matches(_event(row), silence.match)]


def _event(row: EventRow) -> Event:
    """The event that a row shows, as far as a match looks at it."""
    return Event(
        id=row.event_id,
        kind=row.kind,
        milestone=filters.milestone_of(row.milestone),
        at=row.at,
        seen_at=row.seen_at,
        changes=filters.changes_of(row.changes),
    )
