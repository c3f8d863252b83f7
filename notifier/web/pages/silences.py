"""`/silences`: the list of silences, and the form that previews and adds one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
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
from notifier.kalshi import decoding
from notifier.messages.humanize import span
from notifier.storage import queries
from notifier.storage.database import Connection
from notifier.storage.rows import EventRow
from notifier.web.pages import forms
from notifier.web.pages.templating import TemplateRenderer, redirect_with_message, writer_of

#: Fields of the form that are keys of the match.
_MATCH_FIELDS = ("category", "type", "title", "tickers")
_DURATIONS = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "12h": timedelta(hours=12),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
}
_DURATION_LABELS = {key: span(length) for key, length in _DURATIONS.items()}
#: A preview tests the silence against the events of this time, and at most this many.
_PREVIEW_SPAN, _PREVIEW_EVENTS = timedelta(days=1), 500
_PREVIEW_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceForm:
    """The submitted form, as it is shown again."""

    match: Mapping[str, list[str]] = field(default_factory=dict)
    #: Further keys of the match, one `KEY=PATTERN` per line.
    more: str = ""
    span: str = "4h"
    #: An exact end instead of a duration, in this zone; empty: the configured zone.
    until: str = ""
    zone: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SilencePreview:
    """What a silence would have matched."""

    silence: Silence
    events: int
    matched: int
    examples: Sequence[EventRow]


def page_routes(renderer: TemplateRenderer) -> list[BaseRoute]:
    """The list with the form, and its actions."""
    context = renderer.context

    async def list_silences(request: Request) -> Response:
        return await show_list(request)

    async def add(request: Request) -> Response:
        principal, data, now = writer_of(request), await request.form(), context.now()
        form = _parse(data)
        try:
            _check_lines(form.more)
            until = _end(form, now=now, zone=renderer.zone)
            if forms.field(data, "step") == "preview":
                why = form.why or "a preview"
                silence = create_silence(form.match, why=why, created_at=now, until=until)
                preview = await context.reader.read(_preview, silence, now)
                return await show_list(request, form=form, preview=preview)
            await context.admin.silence(principal, form.match, until=until, why=form.why)
        except (ValueError, NotifierError) as exc:
            return await show_list(request, form=form, error=str(exc), code=422)
        return redirect_with_message("/silences", "silenced")

    async def expire(request: Request) -> Response:
        principal = writer_of(request)
        try:
            await context.admin.expire(principal, request.path_params["id"])
        except NotifierError as exc:
            return await show_list(request, error=str(exc), code=409)
        return redirect_with_message("/silences", "expired")

    async def show_list(
        request: Request,
        *,
        form: SilenceForm | None = None,
        preview: SilencePreview | None = None,
        error: str = "",
        code: int = 200,
    ) -> Response:
        reader, everything = context.reader, request.query_params.get("all") == "yes"
        return await renderer.page(
            request,
            "silences.html",
            code=code,
            rows=await reader.read(queries.silences, context.now(), everything=everything),
            everything=everything,
            form=form or SilenceForm(),
            error=error,
            preview=preview,
            durations=_DURATION_LABELS,
            destinations=context.destinations,
            counts=reader.milestone_counts,
        )

    return [
        Route("/silences", list_silences, methods=["GET"]),
        Route("/silences", add, methods=["POST"]),
        Route("/silences/{id}/expire", expire, methods=["POST"]),
    ]


def _parse(data: FormData) -> SilenceForm:
    """Read the form; a key that appears twice gets two patterns."""
    more = forms.lines(data, "more")
    pairs = [
        *(("events", kind) for kind in forms.many(data, "events")),
        *((key, forms.field(data, key)) for key in _MATCH_FIELDS),
        *((DESTINATION, name) for name in forms.many(data, DESTINATION)),
        *((key.strip(), value.strip()) for key, _, value in (x.partition("=") for x in more)),
    ]
    match: dict[str, list[str]] = {}
    for key, pattern in pairs:
        if pattern and pattern not in match.setdefault(key, []):
            match[key].append(pattern)
    return SilenceForm(
        match={key: patterns for key, patterns in match.items() if patterns},
        more="\n".join(more),
        span=forms.field(data, "span"),
        until=forms.field(data, "until"),
        zone=forms.field(data, "zone"),
        why=forms.field(data, "why"),
    )


def _check_lines(more: str) -> None:
    """
    Check the form of the further keys.

    Raises:
        ValueError: a line is not `KEY=PATTERN`.
    """
    for line in more.splitlines():
        key, _, pattern = (part.strip() for part in line.partition("="))
        if not key or not pattern:
            raise ValueError(f"{line!r} is not KEY=PATTERN, such as category=Sports")


def _end(form: SilenceForm, *, now: datetime, zone: ZoneInfo) -> datetime:
    """
    The end of the silence: an exact time takes precedence over a duration.

    Raises:
        ValueError: there is no end, or it cannot be parsed.
    """
    if not form.until:
        if form.span not in _DURATIONS:
            raise ValueError("a silence needs an end: choose a duration")
        return (now + _DURATIONS[form.span]).replace(microsecond=0)
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", form.until):
        raise ValueError("the end is not a time such as 2026-12-01T08:00")
    if form.zone:
        try:
            zone = ZoneInfo(form.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                "the time zone of your browser is unknown here; choose a duration instead"
            ) from None
    try:
        return datetime.fromisoformat(form.until).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("the end is not a date of the calendar") from None


def _preview(conn: Connection, silence: Silence, now: datetime) -> SilencePreview:
    """Test the silence against the events of the last day."""
    recent = EventFilter(since=now - _PREVIEW_SPAN, limit=_PREVIEW_EVENTS)
    rows = queries.events(conn, recent).rows
    matched = [row for row in rows if matches(_event(row), silence.match)]
    return SilencePreview(
        silence=silence,
        events=len(rows),
        matched=len(matched),
        examples=matched[:_PREVIEW_EXAMPLES],
    )


def _event(row: EventRow) -> Event:
    return Event(
        id=row.event_id,
        kind=row.kind,
        milestone=decoding.milestone(msgspec.json.encode(row.milestone)),
        at=row.at,
        seen_at=row.seen_at,
        changes=tuple(change.value() for change in row.changes),
    )
