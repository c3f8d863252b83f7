"""
What the operator decides: what is watched, which events go where, how and when.

The fields that have a description are keys of the configuration: the settings hold these
classes, and pydantic parses them by the annotations of their fields.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from notifier.domain import match_keys
from notifier.domain.models import Format, Kind
from notifier.domain.parsing import (
    TIME_OF_DAY,
    UNITS,
    Duration,
    Flag,
    KeysOrOff,
    OneOrMany,
    Parser,
    Patterns,
    Scalar,
    Text,
    TimeOfDay,
    ValueParseError,
    Zone,
    as_list,
    one_of,
    parse_apprise_url,
    parse_pattern,
    parse_rate,
    parse_route_name,
    parse_text,
    parse_time_of_day,
    text_schema,
    unknown_name,
    whole,
)
from notifier.domain.suggestions import did_you_mean

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A rate limit: no sliding window of `per` sees more than `count`."""

    count: int
    per: timedelta

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse `2/s` or `10/m`."""
        count, per = parse_rate(text)
        return cls(count=count, per=per)

    def __str__(self) -> str:
        units = {size: unit for unit, size in UNITS.items()}
        return f"{self.count}/{units[self.per // timedelta(milliseconds=1)]}"


RateLimit: TypeAlias = Annotated[Rate, Parser(Rate.parse, text_schema("[0-9]+/(?:s|m|h|d)"))]
KindName: TypeAlias = Annotated[Kind, one_of(Kind)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One query against the list; every key but live narrows it."""

    category: Text | None = field(default=None, metadata={"description": "Such as Sports."})
    type: Text | None = field(default=None, metadata={"description": "Such as football_game."})
    competition: Text | None = field(
        default=None, metadata={"description": "Kalshi's own filter; known to miss milestones."}
    )
    source_id: Text | None = field(default=None, metadata={"description": "The source's own id."})
    related_event_ticker: Text | None = field(
        default=None, metadata={"description": "Milestones related to this event."}
    )
    live: Flag = field(
        default=False,
        compare=False,
        metadata={"description": "true: ask Kalshi's live data whether they have really started."},
    )

    @property
    def params(self) -> dict[str, str]:
        """The query parameters of this watch; none of them watches everything."""
        values = {
            "category": self.category,
            "type": self.type,
            "competition": self.competition,
            "source_id": self.source_id,
            "related_event_ticker": self.related_event_ticker,
        }
        return {key: value for key, value in values.items() if value is not None}

    @property
    def name(self) -> str:
        """The name in logs, the store and `status`: `category=Sports type=...`."""
        return " ".join(f"{k}={v}" for k, v in self.params.items()) or "everything"


class Every(StrEnum):
    """How often a timed digest is sent."""

    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestPolicy:
    """When many events become one message; or: off."""

    #: None: never.
    over: Annotated[int, whole(0, 1_000_000)] | None = field(
        default=10,
        metadata={"description": "More than so many due together go as one message."},
    )
    window: Duration | None = field(
        default=None,
        metadata={
            "description": "The first waits so long for more to join, then all go as one"
            " message. started and upcoming never wait."
        },
    )
    at: TimeOfDay | None = field(
        default=None,
        metadata={
            "description": "Gather until this time of day, in the destination's zone;"
            " beats window. started and upcoming never wait."
        },
    )
    every: Annotated[Every, one_of(Every, needs="at")] | None = field(
        default=None,
        compare=False,
        metadata={"description": "With at: how often; left out: day."},
    )


class Then(StrEnum):
    """What happens to deliveries that quiet hours hold back."""

    DELIVER = "deliver"
    DIGEST = "digest"
    DROP = "drop"


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
#: Letters of a day's abbreviation.
_LETTERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of the day on some days of the week; may end on the following day."""

    #: Monday is 0; the day on which the window begins.
    days: frozenset[int]
    start: time
    #: Not after `start`: on the following day. Midnight may be either end.
    end: time

    @classmethod
    def parse(cls, text: str) -> "Window":
        """
        Parse `Mon-Fri 22:00-07:00`, `Sat,Sun 00:00-24:00`, `22:00-07:00` (every day).

        Raises: ValueParseError.
        """
        *days, hours = text.split() or [""]
        start, dash, end = hours.partition("-")
        if not dash or len(days) > 1:
            what = "is not a window such as Mon-Fri 22:00-07:00"
            raise ValueParseError(what, advice=_without_blanks(text))
        begins = parse_time_of_day(start)
        ends = time(0) if end == "24:00" else parse_time_of_day(end)
        if begins == ends and (begins, end) != (time(0), "24:00"):
            raise ValueParseError("is empty; the whole day is 00:00-24:00")
        return cls(days=_parse_days(*days), start=begins, end=ends)

    def __str__(self) -> str:
        end = "24:00" if self.end == time(0) else f"{self.end:%H:%M}"
        days = sorted(self.days)
        names = [_DAYS[day][:_LETTERS].capitalize() for day in days]
        is_span = len(names) > 2 and days[-1] - days[0] + 1 == len(names)  # noqa: PLR2004 - from and to
        shown = f"{names[0]}-{names[-1]}" if is_span else ",".join(names)
        prefix = f"{shown} " if len(names) < len(_DAYS) else ""
        return f"{prefix}{self.start:%H:%M}-{end}"


def _without_blanks(text: str) -> str:
    """Suggest a window for `22:00 - 07:00` or `Sat, Sun 00:00-24:00`."""
    better = re.sub(r"\s*([,-])\s*", r"\1", text)
    try:
        if better != text:
            Window.parse(better)
            return did_you_mean(better)
    except ValueParseError:
        pass
    return ""


def _parse_days(text: str = "mon-sun") -> frozenset[int]:
    """Parse `Mon-Fri`, `Sat,Sun`, `Fri-Mon`: Monday is 0."""
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = _parse_day(first), _parse_day(last if dash else first)
        days.update((begin + i) % 7 for i in range((end - begin) % 7 + 1))
    return frozenset(days)


def _parse_day(text: str) -> int:
    for number, name in enumerate(_DAYS):
        if name.startswith(text.casefold()) and len(text) >= _LETTERS:
            return number
    raise ValueParseError("names a day that is none of Mon Tue Wed Thu Fri Sat Sun")


_WINDOW = rf"(?:[A-Za-z,-]+ +)?{TIME_OF_DAY}-{TIME_OF_DAY}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietPolicy:
    """When to hold messages back; or: off."""

    windows: Annotated[
        tuple[Annotated[Window, Parser(Window.parse, text_schema(_WINDOW))], ...],
        OneOrMany(if_empty="quiet: off holds nothing back"),
    ] = field(metadata={"description": "Such as Mon-Fri 22:00-07:00."})
    #: None: the destination's own.
    zone: Zone | None = field(
        default=None, metadata={"description": "Of the windows; left out: the destination's."}
    )
    then: Annotated[Then, one_of(Then)] = field(
        default=Then.DELIVER,
        metadata={
            "description": "What becomes of what was held back: deliver at their end,"
            " digest: as one message; or drop: at once."
        },
    )
    let_pass: Annotated[frozenset[KindName], OneOrMany()] = field(
        default=frozenset(),
        metadata={"alias": "pass", "description": "Kinds that are never held back."},
    )


Digest: TypeAlias = Annotated[DigestPolicy, KeysOrOff("{over: 10}", off=DigestPolicy(over=None))]
Quiet: TypeAlias = Annotated[
    QuietPolicy, KeysOrOff('{windows: "22:00-07:00"}', off=QuietPolicy(windows=()))
]


class MatchError(ValueError):
    """A match that cannot be used; `problems` are by key and position in its list."""

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], ValueError]]) -> None:
        super().__init__("; ".join(f"{path[0]}: {problem}" for path, problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """
    A predicate of events: keys AND, values of one key OR, empty matches all.

    Patterns are as written in the configuration: case-insensitive globs over the
    whole value, or `~` and a regex that is searched for.
    """

    events: frozenset[Kind] = frozenset()
    #: (key, patterns); a key is `category`, `type`, `tickers`, `title` or a dotted
    #: path into the milestone such as `details.league`.
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    changed: tuple[str, ...] = ()

    @classmethod
    def parse(cls, keys: object) -> "Match":
        """
        Parse keys with a pattern or a list of patterns each: a route's or a silence's.

        Raises: MatchError with every problem.
        """
        if isinstance(keys, Match):
            return keys
        if isinstance(keys, Scalar) and keys.empty:
            return cls()
        if not isinstance(keys, Mapping):
            raise ValueError("must be a mapping of keys to values")  # noqa: TRY004 - pydantic collects ValueError
        parsed: dict[str, tuple[Any, ...]] = {}
        problems: list[tuple[tuple[str | int, ...], ValueError]] = []
        for key, value in keys.items():
            try:
                parsed[str(key)] = _parse_patterns(str(key), value)
            except MatchError as exc:
                problems += exc.problems
        if problems:
            raise MatchError(problems)
        return cls(
            events=frozenset(parsed.pop("events", ())),
            changed=parsed.pop("changed", ()),
            fields=tuple(parsed.items()),
        )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Let pydantic call `parse`."""
        from pydantic_core import core_schema  # noqa: PLC0415 - loaded by the caller

        del source, handler
        return core_schema.no_info_plain_validator_function(cls.parse)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        """Return what an editor checks."""
        del schema, handler
        return match_keys.json_schema([kind.value for kind in Kind])


def _parse_patterns(key: str, value: object) -> tuple[Any, ...]:
    """
    Parse a key's pattern, or its list of patterns; of `events`, the kinds.

    Raises: MatchError with every problem.
    """
    items = as_list(value)
    problem = match_keys.unknown(key)
    if problem is None and not isinstance(items, list | tuple):
        problem = "must be a list"
    if problem is None and not items:
        problem = "is empty; leave the key out to choose everything"
    if problem is not None or not isinstance(items, list | tuple):
        raise MatchError([((key,), ValueError(problem))])
    parser = _KIND if key == "events" else _PATTERN
    patterns: list[Any] = []
    problems: list[tuple[tuple[str | int, ...], ValueError]] = []
    for position, item in enumerate(items):
        try:
            patterns.append(parser.validate(item))
        except ValueError as exc:
            problems.append(((key, position), exc))
    if problems:
        raise MatchError(problems)
    return tuple(dict.fromkeys(patterns))


_KIND = one_of(Kind)
_PATTERN = Parser(parse_pattern, text_schema())


def _compiles(value: str, context: Mapping[str, Any]) -> None:
    """Let the settings compile a template: the templates' engine is not loaded here."""
    context["compile_template"](value)


TemplateText: TypeAlias = Annotated[str, Parser(str, text_schema(), check=_compiles)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A message of your own, in Jinja2; None keeps the built-in one."""

    title: TemplateText | None = field(
        default=None, metadata={"description": "The title or subject."}
    )
    body: TemplateText | None = field(default=None, metadata={"description": "The text."})


KindTemplate: TypeAlias = Annotated[Template, KeysOrOff("{title: ..., body: ...}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates(Template):
    """A message of your own, for all kinds, and for single ones."""

    created: KindTemplate | None = field(default=None, metadata={"description": "For created."})
    updated: KindTemplate | None = field(default=None, metadata={"description": "For updated."})
    upcoming: KindTemplate | None = field(default=None, metadata={"description": "For upcoming."})
    started: KindTemplate | None = field(default=None, metadata={"description": "For started."})
    ended: KindTemplate | None = field(default=None, metadata={"description": "For ended."})
    removed: KindTemplate | None = field(default=None, metadata={"description": "For removed."})

    def by_kind(self, kind: Kind) -> Template | None:
        """Return the template of a kind, else the one for all kinds; None: there is none."""
        own: Template | None = getattr(self, kind.value)
        candidates = (own, self)
        return next(
            (one for one in candidates if one and (one.title or one.body) is not None), None
        )


def _is_destination(value: str, context: Mapping[str, Any]) -> None:
    if value not in context["destinations"]:
        raise unknown_name(value, context["destinations"], "is no destination")


DestinationRef: TypeAlias = Annotated[str, Parser(parse_text, text_schema(), check=_is_destination)]


def _is_unique(value: str, context: Mapping[str, Any]) -> None:
    first = context["routes"].setdefault(str(value), value)
    if first is not value:
        raise ValueParseError(f"is the name of the route at {first.place} already")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which events go where, and how."""

    name: Annotated[
        str, Parser(parse_route_name, text_schema("[a-z0-9_-]{1,64}"), check=_is_unique)
    ] = field(metadata={"description": "A name of a-z 0-9 _ -."})
    match: Match = field(default=Match(), metadata={"description": "Which events; left out: all."})
    to: Annotated[
        tuple[DestinationRef, ...],
        OneOrMany(if_empty="leave the key out to choose everything"),
    ] = field(metadata={"description": "Names of destinations; left out: all of them."})
    stop: Flag = field(
        default=False,
        metadata={"description": "true: later routes do not see what this one took."},
    )
    reminders: Annotated[tuple[Duration, ...], OneOrMany()] = field(
        default=(), metadata={"description": "How long before a start to remind, such as 15m."}
    )
    ignore_changes: Patterns = field(
        default=("details.status", "details.session_id", "source_id", "source_ids.*"),
        metadata={
            "description": "An update confined to these fields is not sent; a change to or"
            " from cancelled, postponed, abandoned, suspended or delayed always is."
        },
    )
    digest: Digest | None = field(
        default=None, metadata={"description": "Left out: as its destinations say; or: off."}
    )
    quiet: Quiet | None = field(
        default=None,
        metadata={
            "description": "When to hold messages back; left out: as its destinations say; or: off."
        },
    )
    template: Annotated[Templates, KeysOrOff("{title: ..., body: ...}")] | None = field(
        default=None, metadata={"description": "Messages of your own."}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Events that are not sent until a time, by a person's decision."""

    id: str
    match: Match
    #: Only deliveries to these; empty: to all.
    destinations: frozenset[str]
    why: str
    created_at: datetime
    until: datetime


class OnAmbiguous(StrEnum):
    """What follows a request whose answer never came."""

    RETRY = "retry"
    DROP = "drop"


def _is_reachable(value: str, context: Mapping[str, Any]) -> None:
    """Let the settings check an address: `egress` says which ones are allowed."""
    context["check_egress"](value)


def _is_no_key(value: str) -> str:
    """Return a name that the settings put in: the file has it as the mapping's key."""
    if isinstance(value, Scalar):
        raise ValueParseError("unknown key")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A named place to send to. url or url_file must be given."""

    name: Annotated[str, Parser(_is_no_key, text_schema(), secret=True)]
    #: A secret: repr hides it.
    url: Annotated[
        str,
        Parser(
            parse_apprise_url,
            text_schema("[A-Za-z][A-Za-z0-9+.-]*://.*"),
            secret=True,
            check=_is_reachable,
        ),
    ] = field(
        repr=False,
        metadata={
            "description": "Any Apprise URL, webhook(s)://... or terminal://. It is a"
            ' secret: use "${VAR}" or url_file.'
        },
    )
    #: None: the service's preferred format.
    format: Annotated[Format, one_of(Format)] | None = field(
        default=None, metadata={"description": "Left out: what the service likes best."}
    )
    #: None: the service's default.
    rate: RateLimit | None = field(
        default=None, metadata={"description": "No more requests than this, such as 10/m."}
    )
    concurrency: Annotated[int, whole(1, 100)] = field(
        default=1, metadata={"description": "How many requests may be on their way at once."}
    )
    on_ambiguous: Annotated[OnAmbiguous, one_of(OnAmbiguous)] = field(
        default=OnAmbiguous.RETRY,
        metadata={
            "description": "What follows a request whose answer never came: retry with"
            " the same id, or drop, where twice is worse than never."
        },
    )
    zone: Zone = field(
        metadata={
            "description": "For times in its messages, its quiet hours and its digests;"
            " left out: timezone."
        }
    )
    digest: Digest = field(
        default=DigestPolicy(),
        metadata={"description": "When many events become one message; or: off."},
    )
    quiet: Quiet | None = field(
        default=None, metadata={"description": "When to hold messages back; or: off."}
    )

    @property
    def drop_ambiguous(self) -> bool:
        """Whether a message that may have arrived is not sent again."""
        return self.on_ambiguous is OnAmbiguous.DROP
