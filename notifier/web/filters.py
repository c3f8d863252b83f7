"""Jinja filters: instants, numbers, changes and matches as text for people."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from notifier.domain.models import Change, Json, State, rfc3339
from notifier.messages import event_text
from notifier.messages.escaping import clean
from notifier.messages.humanize import (
    NOT_SET,
    instant,
    is_set,
    moment,
    readable,
    relative,
    span,
)
from notifier.storage.rows import ChangeRow, DeliveryRow

_THIN_SPACE = "\u202f"
_MAX_TITLE_CHARS = 300
_MAX_DOCUMENT_CHARS = 200_000
_CHANGE_LABELS = {
    "primary_event_tickers": "Markets",
    "related_event_tickers": "Related markets",
}
_AUDIT_LABELS = {
    "waiting": "deliveries that waited",
    "deliveries": "dead letters redriven",
    "ok": "arrived",
    "said": "answer",
    "match": "matching",
    "scope": "may",
}
#: The reasons of deliveries that quiet hours or a digest hold back begin so.
_HELD_REASONS = ("quiet hours until", "gathered for a digest")


# --- instants -----------------------------------------------------------------


def parse_instant(value: object) -> datetime | None:
    """The instant in a value of a JSON document; None if it holds none."""
    if isinstance(value, datetime):
        return value
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return parsed if parsed and parsed.tzinfo else None


def format_instant(value: datetime) -> str:
    """RFC 3339 in UTC."""
    return rfc3339(value)


@pass_context
def when(context: Context, value: object, empty: str = "never") -> Markup:
    """`15:30 CET`, or `Sat 26 Sep, 15:30 CET` if that is not today."""
    return _time_element(context, value, empty, exact=True)


@pass_context
def ago(context: Context, value: object, empty: str = "never") -> Markup:
    """`12 min ago`, `in 3 h 20 min`."""
    return _time_element(context, value, empty, exact=False)


def _time_element(context: Context, value: object, empty: str, *, exact: bool) -> Markup:
    """A `<time>` that the script shows in the zone of the reader and keeps up to date."""
    found, zone, now = parse_instant(value), context["zone"], context["now"]
    if found is None or not is_set(found):
        return escape(empty if found is None else NOT_SET)
    name, text = "ago", relative(found, now=now)
    title = instant(found, zone=zone, now=now)
    if exact:
        name, title, text = "when", text, moment(found, zone=zone, now=now)
    # No part can contain markup, and a page has hundreds: not worth escaping.
    return Markup(  # noqa: S704
        f'<time datetime="{format_instant(found)}" data-{name} title="{title}">{text}</time>'
    )


@pass_context
def is_ahead(context: Context, value: object) -> bool:
    """Whether an instant is in the future."""
    found = parse_instant(value)
    now: datetime = context["now"]
    return found is not None and found > now


# --- numbers ------------------------------------------------------------------


def number(value: float) -> str:
    """`137 200`, with thin spaces."""
    return f"{value:,}".replace(",", _THIN_SPACE)


def counted(value: int | None, one: str, many: str | None = None) -> str:
    """`1 event`, `1 200 events`; `events` while they are not counted."""
    noun = one if value == 1 else many or one + "s"
    return noun if value is None else f"{number(value)} {noun}"


def duration(value: float | None) -> str:
    """`9 ms`, `1.2 s`, `3 min`."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{value:.1f} s"
    return span(timedelta(seconds=value))


# --- milestones ---------------------------------------------------------------


def _field(row: object, name: str) -> str:
    """A text of a row, or of a document as Kalshi sent it."""
    value = row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)
    return value if isinstance(value, str) else ""


def title_of(row: object) -> str:
    """The title of a milestone on one line; never empty."""
    return clean(_field(row, "title"), _MAX_TITLE_CHARS) or "Untitled milestone"


def category_and_type(row: object) -> str:
    """`Sports · football game`."""
    parts = clean(_field(row, "category"), 60), readable(clean(_field(row, "type"), 60))
    return " · ".join(dict.fromkeys(filter(None, parts)))


def pretty_json(document: Json) -> str:
    """Indented JSON, cut where it is too long to read."""
    text = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True)
    if len(text) > _MAX_DOCUMENT_CHARS:
        return text[:_MAX_DOCUMENT_CHARS] + "\n… (cut here)"
    return text


# --- changes ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayedChange:
    """One change of a field, or of a list of tickers."""

    label: str
    before: str | datetime | None = None
    after: str | datetime | None = None
    #: For instants: `3 h 30 min later`.
    shift: str = ""
    added: Sequence[str] | None = None
    removed: Sequence[str] | None = None


def _changes(rows: Sequence[ChangeRow]) -> Sequence[Change]:
    """The changes without those that repeat another one."""
    return event_text.without_echo(tuple(row.value() for row in rows))


def format_changes(rows: Sequence[ChangeRow]) -> list[DisplayedChange]:
    """The changes of an event for a list."""
    return [_format_change(change) for change in _changes(rows)]


def _format_change(change: Change) -> DisplayedChange:
    label = _CHANGE_LABELS.get(change.field) or event_text.label(change.field)
    if change.added is not None and change.removed is not None:
        added, removed = ([clean(x, 80) for x in xs] for xs in (change.added, change.removed))
        return DisplayedChange(label=label, added=added, removed=removed)
    before, after = _format_value(change.before), _format_value(change.after)
    shift = ""
    if isinstance(before, datetime) and isinstance(after, datetime):
        by = after - before
        if by and is_set(before) and is_set(after):
            shift = f"{span(by)} {'later' if by > timedelta(0) else 'earlier'}"
    return DisplayedChange(label=label, before=before, after=after, shift=shift)


def _format_value(value: Json) -> str | datetime | None:
    if value is None:
        return None
    return parse_instant(value) or event_text.value(value)


@pass_context
def change_summary(context: Context, rows: Sequence[ChangeRow]) -> Markup:
    """All changes of an event on one line, the start first."""
    formatter = event_text.EventFormatter(zone=context["zone"], now=context["now"])
    lines = []
    for change in sorted(_changes(rows), key=lambda each: each.field != "start_date"):
        formatted = _format_change(change)
        label, before, after = formatted.label, formatted.before, formatted.after
        if not isinstance(after, datetime):
            lines.append(escape(formatter.change(change)))
        elif not isinstance(before, datetime):
            lines.append(Markup("{}: set to {}").format(label, when(context, after)))
        else:
            shift = f" ({formatted.shift})" if formatted.shift else ""
            line = Markup("{}: {} → {}{}")
            lines.append(line.format(label, when(context, before), when(context, after), shift))
    return Markup("; ").join(lines)


# --- deliveries, matches, audit -----------------------------------------------


def is_held(row: DeliveryRow) -> bool:
    """Whether quiet hours or a digest hold a delivery back."""
    return row.state is State.PENDING and (row.reason or "").startswith(_HELD_REASONS)


def match_terms(match: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The keys of a match, each with its alternatives."""
    return ((key, " or ".join(patterns)) for key, patterns in match.items())


def audit_details(detail: Mapping[str, Any]) -> Iterator[tuple[str, str | datetime | None]]:
    """The details of an audit entry as labels and values."""
    for key, value in detail.items():
        text: str | datetime | None
        if isinstance(value, bool):
            text = "yes" if value else "no"
        elif isinstance(value, int):
            text = number(value)
        else:
            text = _format_value(value)
        yield _AUDIT_LABELS.get(key, readable(key)), text


FILTERS: Mapping[str, Callable[..., object]] = {
    "when": when,
    "ago": ago,
    "is_ahead": is_ahead,
    "number": number,
    "counted": counted,
    "duration": duration,
    "title_of": title_of,
    "category_and_type": category_and_type,
    "readable": lambda text: readable(clean(text or "", 80)),
    "pretty_json": pretty_json,
    "format_changes": format_changes,
    "change_summary": change_summary,
    "match_terms": match_terms,
    "audit_details": audit_details,
}
TESTS: Mapping[str, Callable[..., bool]] = {
    "held": is_held,
    "instant": lambda value: isinstance(value, datetime),
}
