"""
Users' own templates: Jinja2, sandboxed, strict, bounded.

Whatever a template prints of a value is escaped for the destination's format;
`safe` and filters that make HTML do not exist. Undefined names are errors. A
template can compute little (see `sandbox.py`): all its ranges together give 10,000
numbers, texts do not multiply, and what it prints ends at 64 KiB.

What a template sees:

- `kind`: `created`, `updated`, `upcoming`, `started`, `ended` or `removed`;
- `title`, `message`: the milestone's title and its notification_message;
- `start`, `ends`: print as `Sat 26 Sep, 15:30 EDT` (`start not set`; nothing for
  an `ends` that is not known); `.date`, `.time`, `.zone`, `.weekday`,
  `.relative` (`in 3 h`), `.iso` (UTC), `.known`;
- `changes`: each prints as a sentence; `.field`, `.before`, `.after`, `.added`,
  `.removed`;
- `milestone`: Kalshi's own fields, `milestone.details.league`;
- `link`: the milestone's page, or nothing; `test`: true in a test message.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial

import jinja2
from markupsafe import Markup

from notifier.domain.models import Change, Event, Format, Json
from notifier.errors import NotifierError
from notifier.messages.escaping import clean, escape, plain
from notifier.messages.event_text import Teller, title_of
from notifier.messages.humanize import day, hours, is_set, on_the_wall, zone_name
from notifier.messages.sandbox import BUDGET, LARGEST, Budget, sandbox

NAMES = frozenset(
    {
        *("kind", "milestone", "changes", "title", "message"),
        *("start", "ends", "link", "test", "range"),
    }
)
#: Characters that one template may print.
LONGEST_OUTPUT = LARGEST

_RANGE = 10_000
_DEPTH = 12
_LONGEST_REASON = 200


class TemplateFailed(NotifierError):
    """A user's template cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """An instant as a template sees it."""

    text: str
    known: bool = False
    date: str = ""
    time: str = ""
    zone: str = ""
    weekday: str = ""
    relative: str = ""
    iso: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A change as a template sees it; prints as a sentence."""

    text: str
    field: str
    before: Json
    after: Json
    added: Sequence[str]
    removed: Sequence[str]

    def __str__(self) -> str:
        return self.text


def fill(source: str, *, markup: Format, values: Mapping[str, object]) -> str:
    """
    What the template gives in that format.

    Raises: TemplateFailed, whatever went wrong in it: a template can raise anything.
    """
    try:
        return _filled(_compiled(source, markup), values)
    except TemplateFailed:
        raise
    except Exception as exc:
        raise TemplateFailed(why(exc)) from exc


def why(exc: Exception) -> str:
    """The failure in a line, with the template's own line number if it is known."""
    reason = clean(str(exc), _LONGEST_REASON) or type(exc).__name__
    line = exc.lineno if isinstance(exc, jinja2.TemplateSyntaxError) else _line_of(exc)
    return f"line {line}: {reason}" if line else reason


def values_of(
    event: Event, *, teller: Teller, link: str | None, test: bool, room: int
) -> dict[str, object]:
    """
    What a template sees of an event; foreign text is cleaned and calls nobody.

    `room` bounds the message.
    """
    milestone = event.milestone
    return {
        "kind": event.kind.value,
        "title": plain(title_of(milestone)),
        "message": plain(clean(milestone.message, room)),
        "start": moment_of(milestone.start, teller),
        "ends": None if milestone.end is None else moment_of(milestone.end, teller),
        "changes": tuple(_told(change, teller) for change in event.changes),
        "milestone": _cleaned(milestone.doc, room, _DEPTH),
        # Quoted already: escaping could only break it.
        "link": None if link is None else Markup(link),  # noqa: S704
        "test": test,
    }


def moment_of(when: datetime, teller: Teller) -> Moment:
    """The instant in the reader's zone; a placeholder is not known."""
    if not is_set(when):
        return Moment(text=teller.instant(when))
    wall = on_the_wall(when, teller.zone)
    return Moment(
        text=teller.instant(when),
        known=True,
        date=wall.date().isoformat(),
        time=hours(wall),
        zone=zone_name(wall),
        weekday=day(wall, this_year=wall.year).split()[0],
        relative=teller.relative(when),
        iso=when.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    )


def _told(change: Change, teller: Teller) -> Told:
    return Told(
        text=plain(teller.change(change)),
        field=plain(clean(change.field, _LONGEST_REASON)),
        before=_cleaned(change.before, _LONGEST_REASON, _DEPTH),
        after=_cleaned(change.after, _LONGEST_REASON, _DEPTH),
        added=tuple(clean(each, _LONGEST_REASON) for each in change.added or ()),
        removed=tuple(clean(each, _LONGEST_REASON) for each in change.removed or ()),
    )


def _cleaned(foreign: Json, room: int, depth: int) -> Json:
    if isinstance(foreign, str):
        return plain(clean(foreign, room))
    if depth == 0:
        return None
    if isinstance(foreign, Mapping):
        return {key: _cleaned(each, room, depth - 1) for key, each in foreign.items()}
    if isinstance(foreign, Sequence):
        return [_cleaned(each, room, depth - 1) for each in foreign]
    return foreign


# --- filling it in ------------------------------------------------------------


class _Range:
    """`range`, with so many numbers for a whole template."""

    def __init__(self, left: int) -> None:
        self._left = left

    def __call__(self, *bounds: int) -> Sequence[int]:
        numbers = range(*bounds)
        self._left -= len(numbers)
        if self._left < 0:
            raise TemplateFailed(f"gives more than {_RANGE:,} numbers by range")
        return numbers


@lru_cache(maxsize=len(Format))
def environment(markup: Format) -> jinja2.Environment:
    """The sandbox whose printed values are escaped for that format."""
    printed = partial(_printed, markup=markup)
    return sandbox(
        printed,
        filters={
            "e": printed,
            "escape": printed,
            "tojson": partial(json.dumps, ensure_ascii=False, default=str),
        },
    )


def _printed(value: object, *, markup: Format) -> Markup:
    """A value as it may stand in a message; autoescaping leaves it alone."""
    if isinstance(value, Markup):
        return value
    words = "" if value is None else escape(str(value), markup)
    return Markup(words)  # noqa: S704 - escaped a line above


@lru_cache(maxsize=256)
def _compiled(source: str, markup: Format) -> jinja2.Template:
    return environment(markup).from_string(source)


def _filled(template: jinja2.Template, values: Mapping[str, object]) -> str:
    parts: list[str] = []
    room = LONGEST_OUTPUT
    given = {**values, "range": _Range(_RANGE), BUDGET: Budget()}
    for part in template.generate(given):
        room -= len(part)
        if room < 0:
            raise TemplateFailed(f"prints more than {LONGEST_OUTPUT:,} characters")
        parts.append(part)
    return "".join(parts)


def _line_of(exc: Exception) -> int | None:
    """The template's line in which it was raised."""
    line: int | None = None
    step = exc.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            line = step.tb_lineno
        step = step.tb_next
    return line
