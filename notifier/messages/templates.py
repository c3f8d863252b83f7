"""
Templates written by the operator: Jinja2's immutable sandbox with strict undefined names.

Printed values are escaped for the destination's format; filters that bypass the escaping do not
exist. Source and output are capped at 64 KiB, a `range` at 1,000 numbers. The author is trusted
not to burn CPU on purpose: `check` renders each template once per kind.

Variables of a template:

- `kind`: `created`, `updated`, `upcoming`, `started`, `ended` or `removed`;
- `title`, `message`: the milestone's title and its notification_message;
- `start`, `ends`: print as `Sat 26 Sep, 15:30 EDT` (`start not set`; nothing for an unknown
  `ends`); `.date`, `.time`, `.zone`, `.weekday`, `.relative` (`in 3 h`), `.iso` (UTC), `.known`;
- `changes`: each prints as a sentence; `.field`, `.before`, `.after`, `.added`, `.removed`;
- `milestone`: Kalshi's own fields, `milestone.details.league`;
- `link`: the milestone's page, or nothing; `test`: true in a test message.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

import jinja2
from jinja2 import meta
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from notifier.domain.models import Change, Event, Format, Json, Kind, rfc3339
from notifier.domain.rules import Template
from notifier.domain.sample import milestone_of, sample_event, sample_milestone
from notifier.domain.suggestions import suggest
from notifier.errors import NotifierError
from notifier.messages.escaping import clean, escape, plain
from notifier.messages.event_text import EventFormatter, title_of
from notifier.messages.humanize import day, hours, is_set, on_the_wall, zone_name

VARIABLES = frozenset(
    {"kind", "milestone", "changes", "title", "message", "start", "ends", "link", "test"}
)
#: Characters of a template, and of what it may print.
MAX_SOURCE = MAX_OUTPUT = 64 * 1024

_MAX_RANGE = 1_000
_MAX_DEPTH = 12
_MAX_REASON = 200
#: Filters whose result bypasses the escaping for the destination's format.
_UNSAFE_FILTERS = ("safe", "forceescape", "urlize", "xmlattr")


class TemplateFailed(NotifierError):
    """A template cannot be rendered; the text names the reason and the line."""


class Link(str):
    """An address that is quoted already, and printed without escaping."""

    __slots__ = ()


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
class FormattedChange:
    """A change as a template sees it; prints as a sentence."""

    text: str
    field: str
    before: Json
    after: Json
    added: Sequence[str]
    removed: Sequence[str]

    def __str__(self) -> str:
        return self.text


# --- rendering ----------------------------------------------------------------


@lru_cache(maxsize=len(Format))
def environment(markup: Format) -> jinja2.Environment:
    """The sandbox whose printed values are escaped for that format."""
    printed = partial(_printed, markup=markup)

    @jinja2.pass_context  # without the context, Jinja2 escapes constants as HTML beforehand
    def finalize(_context: Context, value: object) -> Markup:
        return printed(value)

    sandbox = ImmutableSandboxedEnvironment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _UNSAFE_FILTERS:
        del sandbox.filters[name]
    sandbox.filters |= {
        "e": printed,
        "escape": printed,
        "tojson": partial(json.dumps, ensure_ascii=False, default=str),
    }
    del sandbox.globals["lipsum"]
    sandbox.globals["range"] = _range
    return sandbox


def render_template(source: str, *, markup: Format, values: Mapping[str, object]) -> str:
    """
    Render the template in that format.

    Raises:
        TemplateFailed: anything went wrong; a template can raise any exception.
    """
    parts: list[str] = []
    size = 0
    try:
        for part in _compiled(source, markup).generate(values):
            parts.append(part)
            size += len(part)
            if size > MAX_OUTPUT:
                break
    except TemplateFailed:
        raise
    except Exception as exc:
        raise TemplateFailed(_reason(exc)) from exc
    if size > MAX_OUTPUT:
        raise TemplateFailed(f"prints more than {MAX_OUTPUT:,} characters")
    return "".join(parts)


def _printed(value: object, *, markup: Format) -> Markup:
    """A value as it may stand in a message; autoescaping leaves it alone."""
    if isinstance(value, Markup | Link):
        return Markup(value)  # noqa: S704 - a macro's or block's text, escaped when it was printed
    return Markup("" if value is None else escape(str(value), markup))  # noqa: S704 - escaped here


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAX_RANGE:
        raise TemplateFailed(f"range gives more than {_MAX_RANGE:,} numbers")
    return numbers


@lru_cache(maxsize=256)
def _compiled(source: str, markup: Format) -> jinja2.Template:
    return environment(markup).from_string(source)


def _reason(exc: Exception) -> str:
    """The failure in one line, with the template's own line number if it is known."""
    reason = clean(str(exc), _MAX_REASON) or type(exc).__name__
    line = exc.lineno if isinstance(exc, jinja2.TemplateSyntaxError) else None
    frame = exc.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return f"line {line}: {reason}" if line else reason


# --- values -------------------------------------------------------------------


def template_values(
    event: Event, *, formatter: EventFormatter, link: str | None, test: bool, limit: int
) -> dict[str, object]:
    """The variables of a template: foreign text cleaned and cut to `limit`, without mentions."""
    milestone = event.milestone
    return {
        "kind": event.kind.value,
        "title": plain(title_of(milestone)),
        "message": plain(clean(milestone.message, limit)),
        "start": _moment(milestone.start, formatter),
        "ends": None if milestone.end is None else _moment(milestone.end, formatter),
        "changes": tuple(_formatted_change(change, formatter) for change in event.changes),
        "milestone": _cleaned(milestone.doc, limit, _MAX_DEPTH),
        "link": None if link is None else Link(link),
        "test": test,
    }


def _moment(when: datetime, formatter: EventFormatter) -> Moment:
    if not is_set(when):
        return Moment(text=formatter.instant(when))
    wall = on_the_wall(when, formatter.zone)
    return Moment(
        text=formatter.instant(when),
        known=True,
        date=wall.date().isoformat(),
        time=hours(wall),
        zone=zone_name(wall),
        weekday=day(wall, this_year=wall.year).split()[0],
        relative=formatter.relative(when),
        iso=rfc3339(when),
    )


def _formatted_change(change: Change, formatter: EventFormatter) -> FormattedChange:
    return FormattedChange(
        text=plain(formatter.change(change)),
        field=plain(clean(change.field, _MAX_REASON)),
        before=_cleaned(change.before, _MAX_REASON, _MAX_DEPTH),
        after=_cleaned(change.after, _MAX_REASON, _MAX_DEPTH),
        added=tuple(clean(each, _MAX_REASON) for each in change.added or ()),
        removed=tuple(clean(each, _MAX_REASON) for each in change.removed or ()),
    )


def _cleaned(foreign: Json, limit: int, depth: int) -> Json:
    if isinstance(foreign, str):
        return plain(clean(foreign, limit))
    if depth == 0:
        return None
    if isinstance(foreign, Mapping):
        return {key: _cleaned(each, limit, depth - 1) for key, each in foreign.items()}
    if isinstance(foreign, Sequence):
        return [_cleaned(each, limit, depth - 1) for each in foreign]
    return foreign


# --- trial rendering ----------------------------------------------------------


_GLOBALS = frozenset({"range", "dict", "namespace", "cycler", "joiner"})
_NOW = datetime(2026, 9, 17, 20, 10, tzinfo=UTC)


def check_template(template: Template, *, kind: Kind | None = None) -> str | None:
    """
    Render the template once for a sample of each kind: the first error in a line, or None.

    Without `kind` it passes if it works for one kind, else it must work for that kind. A field
    of `milestone` that the sample lacks is no error, since milestones carry different fields.
    """
    kinds = list(Kind) if kind is None else [kind]
    for part, source in (("title", template.title), ("body", template.body)):
        if source is not None and (problem := _problem(source, kinds)) is not None:
            return f"{part}: {problem}"
    return None


def _problem(source: str, kinds: Sequence[Kind]) -> str | None:
    known = VARIABLES | _GLOBALS
    try:
        unknown = meta.find_undeclared_variables(environment(Format.TEXT).parse(source)) - known
    except (jinja2.TemplateError, RecursionError, ValueError) as exc:
        return _reason(exc)
    if unknown:
        advice = suggest(min(unknown), sorted(known))
        return f"{min(unknown)} is unknown" + (f"; {advice}" if advice else "")
    failures = [_failure(source, kind) for kind in kinds]
    return None if None in failures else failures[0]


def _failure(source: str, kind: Kind) -> str | None:
    """Why the template fails on a sample; None if it works, or may with other fields."""
    event = _sample(kind)
    missing: list[str] = []
    values = template_values(
        event,
        formatter=EventFormatter(zone=ZoneInfo("UTC"), now=_NOW),
        link="https://kalshi.com/markets/kxgame/KXGAME-1",
        test=True,
        limit=2_000,
    )
    values["milestone"] = _SampleFields(event.milestone.doc, missing)
    try:
        printed = render_template(source, markup=Format.TEXT, values=values)
    except TemplateFailed as failed:
        return None if missing else str(failed)
    return None if printed.strip() or missing else "prints nothing"


class _SampleFields(dict[str, object]):
    """A sample's fields; a field that it lacks is empty text, and is noted in `missing`."""

    def __init__(self, fields: Mapping[str, object], missing: list[str]) -> None:
        super().__init__(
            (key, _SampleFields(value, missing) if isinstance(value, Mapping) else value)
            for key, value in fields.items()
        )
        self._missing = missing

    def __missing__(self, key: str) -> str:
        self._missing.append(key)
        return ""


def _sample(kind: Kind) -> Event:
    document: dict[str, Json] = {
        **sample_milestone(_NOW).doc,
        "category": "Sports",
        "type": "football_game",
        "title": "Home at Away",
        "notification_message": "The game is about to begin!",
        "primary_event_tickers": ["KXGAME-1"],
        "related_event_tickers": ["KXGAME-1"],
        "source_id": "sample",
        "details": {"league": "NFL", "status": "scheduled"},
    }
    changes = (
        Change(field="start_date", before="2026-09-17T20:00:00Z", after="2026-09-17T21:10:00Z"),
        Change(
            field="primary_event_tickers",
            before=[],
            after=["KXGAME-1"],
            added=("KXGAME-1",),
            removed=(),
        ),
    )
    return sample_event(milestone_of(document), kind, now=_NOW, changes=changes)
