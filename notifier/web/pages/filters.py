"""Values as a reader sees them: instants, numbers, changes; for the templates."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from notifier.domain.models import Change, Json, Milestone, State
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

Row: TypeAlias = Mapping[str, Any]

#: Between the thousands: narrow, and no line ends there.
_THIN = "\u202f"
_LONGEST_TITLE = 300
_LONGEST_DOCUMENT = 200_000


# --- instants -----------------------------------------------------------------


def parsed(value: object) -> datetime | None:
    """The instant that a row's text means; None: it means none."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def stamp(when: datetime) -> str:
    """RFC 3339 in UTC, as `datetime` of a `<time>`."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


@pass_context
def when(context: Context, value: object, empty: str = "never") -> Markup:
    """`15:30 CET`, or `Sat 26 Sep, 15:30 CET` if that is not today."""
    found = parsed(value)
    if found is None or not is_set(found):
        return escape(empty if found is None else NOT_SET)
    zone, now = context["zone"], context["now"]
    return _time(found, "when", moment(found, zone=zone, now=now), relative(found, now=now))


@pass_context
def ago(context: Context, value: object, empty: str = "never") -> Markup:
    """`12 min ago`, `in 3 h 20 min`."""
    found = parsed(value)
    if found is None or not is_set(found):
        return escape(empty if found is None else NOT_SET)
    zone, now = context["zone"], context["now"]
    return _time(found, "ago", relative(found, now=now), instant(found, zone=zone, now=now))


def _time(when: datetime, how: str, words: str, title: str) -> Markup:
    """Of our own words alone, which hold no markup; there are hundreds on a page."""
    return Markup(  # noqa: S704
        f'<time datetime="{stamp(when)}" data-{how} title="{title}">{words}</time>'
    )


@pass_context
def is_ahead(context: Context, value: object) -> bool:
    """Whether an instant lies in the future."""
    found = parsed(value)
    now: datetime = context["now"]
    return found is not None and found > now


# --- numbers ------------------------------------------------------------------


def number(value: float) -> str:
    """`137 200`, with thin spaces."""
    return f"{value:,}".replace(",", _THIN)


def counted(value: int | None, one: str, many: str | None = None) -> str:
    """`1 event`, `1 200 events`; `events`, as long as nobody has counted them."""
    words = one if value == 1 else many or one + "s"
    return words if value is None else f"{number(value)} {words}"


def seconds(value: float | None) -> str:
    """`9 ms`, `1.2 s`, `3 min`."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:  # noqa: PLR2004 - as long as one counts in seconds
        return f"{value:.1f} s"
    return span(timedelta(seconds=value))


# --- milestones ---------------------------------------------------------------


def _field(row: object, key: str) -> Any:
    """A field of a row, or a key of Kalshi's document."""
    return row.get(key) if isinstance(row, Mapping) else getattr(row, key, None)


def titled(row: object) -> str:
    """A milestone's title on one line; never empty."""
    title = _field(row, "title")
    text = clean(title, _LONGEST_TITLE) if isinstance(title, str) else ""
    return text or "Untitled milestone"


def sort_of(row: object) -> str:
    """`Sports · football game`: what kind of thing it is."""
    words = (
        clean(_field(row, "category") or "", 60),
        readable(clean(_field(row, "type") or "", 60)),
    )
    return " · ".join(dict.fromkeys(filter(None, words)))


def milestone_of(document: Row) -> Milestone:
    """The milestone that a row of the contract shows, as far as it can be read."""
    start = parsed(document.get("start_date"))
    return Milestone(
        id=_text(document, "id"),
        category=_text(document, "category"),
        type=_text(document, "type"),
        title=_text(document, "title"),
        message=_text(document, "notification_message"),
        start=start or datetime(2000, 1, 1, tzinfo=UTC),
        end=parsed(document.get("end_date")),
        updated=None,
        primary_tickers=_texts(document, "primary_event_tickers"),
        related_tickers=_texts(document, "related_event_tickers"),
        details=document.get("details") or {},
        doc=document,
        raw=b"",
    )


def _text(document: Row, key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _texts(document: Row, key: str) -> tuple[str, ...]:
    values = document.get(key)
    if not isinstance(values, list):
        return ()
    return tuple(value for value in values if isinstance(value, str))


def pretty(document: Json) -> str:
    """JSON as people read it, as much of it as anybody would."""
    text = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True)
    if len(text) > _LONGEST_DOCUMENT:
        return text[:_LONGEST_DOCUMENT] + "\n… (cut here)"
    return text


# --- changes ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One change, before and after; of tickers what came and what went."""

    label: str
    field: str
    before: str | datetime | None = None
    after: str | datetime | None = None
    #: `3 h 30 min later`, of instants.
    shift: str = ""
    added: tuple[str, ...] | None = None
    removed: tuple[str, ...] | None = None


def changes_of(rows: Sequence[ChangeRow]) -> tuple[Change, ...]:
    """The changes that an event's row shows."""
    return tuple(row.value() for row in rows)


def told(rows: Sequence[ChangeRow]) -> list[Told]:
    """Changes for people, without what says the same twice."""
    return [_told(change) for change in event_text.without_echo(changes_of(rows))]


def _told(change: Change) -> Told:
    label = _LABELS.get(change.field) or event_text.label(change.field)
    if change.added is not None and change.removed is not None:
        return Told(
            label=label,
            field=change.field,
            added=tuple(clean(one, 80) for one in change.added),
            removed=tuple(clean(one, 80) for one in change.removed),
        )
    before, after = _value(change.before), _value(change.after)
    return Told(
        label=label,
        field=change.field,
        before=before,
        after=after,
        shift=_shift(before, after),
    )


_LABELS = {
    "primary_event_tickers": "Markets",
    "related_event_tickers": "Related markets",
}


def _value(value: Json) -> str | datetime | None:
    if value is None:
        return None
    found = parsed(value)
    return event_text.value(value) if found is None else found


def _shift(before: object, after: object) -> str:
    if not isinstance(before, datetime) or not isinstance(after, datetime):
        return ""
    if not is_set(before) or not is_set(after) or before == after:
        return ""
    by = after - before
    return f"{span(by)} {'later' if by > timedelta(0) else 'earlier'}"


@pass_context
def gist(context: Context, rows: Sequence[ChangeRow]) -> Markup:
    """All changes in one short line; what is an instant ticks like any other."""
    formatter = event_text.EventFormatter(zone=_zone(context), now=context["now"])
    changes = event_text.without_echo(changes_of(rows))
    ordered = sorted(changes, key=lambda each: each.field != "start_date")
    return Markup("; ").join(_line(context, formatter, each) for each in ordered)


def _line(context: Context, formatter: event_text.EventFormatter, change: Change) -> Markup:
    one = _told(change)
    if not isinstance(one.after, datetime):
        return escape(formatter.change(change))
    shift = f" ({one.shift})" if one.shift else ""
    if not isinstance(one.before, datetime):
        return Markup("{}: set to {}").format(one.label, when(context, one.after))
    return Markup("{}: {} → {}{}").format(
        one.label, when(context, one.before), when(context, one.after), shift
    )


def _zone(context: Context) -> ZoneInfo:
    zone: ZoneInfo = context["zone"]
    return zone


# --- deliveries and matches ---------------------------------------------------

#: How the reasons of what is kept back begin.
_HELD = ("quiet hours until", "gathered for a digest")


def is_held(row: DeliveryRow) -> bool:
    """Whether quiet hours or a digest keep a delivery back."""
    return row.state is State.PENDING and (row.reason or "").startswith(_HELD)


def phrases(match: Row) -> Iterator[tuple[str, str]]:
    """What a route or a silence matches: a key, and what may stand there."""
    for key, patterns in match.items():
        yield key, " or ".join(patterns)


#: What the audit's details are, in words.
_DETAILS = {
    "waiting": "deliveries that waited",
    "deliveries": "dead letters put back",
    "ok": "arrived",
    "said": "answer",
    "match": "matching",
    "scope": "may",
}


def details(detail: Json) -> Iterator[tuple[str, str | datetime | None]]:
    """What the audit says beside who did what: a word or two, and a value."""
    if not isinstance(detail, dict):
        return
    for key, value in detail.items():
        yield _DETAILS.get(key, readable(key)), _detail(value)


def _detail(value: Json) -> str | datetime | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return number(value)
    return _value(value)


FILTERS: Mapping[str, Callable[..., object]] = {
    "when": when,
    "ago": ago,
    "n": number,
    "counted": counted,
    "seconds": seconds,
    "titled": titled,
    "sort_of": sort_of,
    "readable": lambda text: readable(clean(text or "", 80)),
    "pretty": pretty,
    "told": told,
    "gist": gist,
    "is_ahead": is_ahead,
    "phrases": phrases,
    "details": details,
}
TESTS: Mapping[str, Callable[..., bool]] = {
    "held": is_held,
    "instant": lambda value: isinstance(value, datetime),
}
