"""
Text -> values: how keys of the configuration, and options of commands, are parsed.

The types of keys (`Duration`, `Zone`, ...) are annotated with a `Parser`, which pydantic
calls where a settings model holds them. pydantic itself is not imported here: most
commands run without it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Self, TypeAlias, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from notifier.domain.patterns import PatternError, compile_pattern
from notifier.domain.suggestions import did_you_mean, suggest

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

_Choice = TypeVar("_Choice", bound=StrEnum)

#: Milliseconds in the units of a duration.
UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT_NAMES = {
    "ms": {"ms", "msec", "millis", "millisecond", "milliseconds"},
    "s": {"", "s", "sec", "secs", "second", "seconds"},
    "m": {"m", "min", "mins", "minute", "minutes"},
    "h": {"h", "hr", "hrs", "hour", "hours"},
    "d": {"d", "day", "days"},
    "w": {"w", "wk", "week", "weeks"},
}
#: A longer duration is a typing error.
MAX_DURATION = timedelta(days=3650)
#: No longer text is compared with the forms of a duration.
_MAX_GUESSED = 40
_MILLISECOND = timedelta(milliseconds=1)


class ValueParseError(ValueError):
    """
    A text is not a value of its key's type.

    `what` never quotes the text. `advice` may, and is shown only if the text is no secret.
    """

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        #: The text may not be shown.
        self.secret = False


class Place(NamedTuple):
    """A line of a file, or an environment variable."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


class Scalar(str):  # noqa: SLOT000 - few, and not for long
    """A single value of the configuration: its text, and how and where it is written."""

    place: Place
    #: As in the file, variables unresolved: messages show this, never the text.
    written: str
    #: Written in quotes: `null` and `true` are texts.
    quoted: bool
    #: A block (`|`, `>`): the text begins on the line after `place`.
    block: bool
    #: The text comes from an environment variable or a secret file.
    foreign: bool

    def __new__(cls, text: str, place: Place, *, quoted: bool = False, block: bool = False) -> Self:
        """Create one whose text is as written."""
        scalar = super().__new__(cls, text)
        scalar.place, scalar.written = place, text
        scalar.quoted, scalar.block, scalar.foreign = quoted, block, False
        return scalar

    def resolved(self, text: str, *, foreign: bool, quoted: bool = False) -> "Scalar":
        """Return the same value with another text: of variables, or of a secret file."""
        scalar = Scalar(text, self.place, quoted=self.quoted or quoted, block=self.block)
        scalar.written, scalar.foreign = self.written, foreign
        return scalar

    @property
    def empty(self) -> bool:
        """Whether the key has no value."""
        return not self.quoted and self in {"", "~", "null", "Null", "NULL"}


# --- what pydantic calls ------------------------------------------------------


def text_schema(pattern: str = "") -> dict[str, Any]:
    """Return the JSON Schema of a text: one that matches, or holds a variable."""
    return {"type": "string"} | ({"pattern": rf"^(?:{pattern})$|\$\{{"} if pattern else {})


def _schema_or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "string", "pattern": r"\$\{"}]}


@dataclass(frozen=True, slots=True, eq=False)
class Parser:
    """
    Annotation of a key's type: parses its text.

    A value that is no text, given by code, is taken as it is. `check` raises
    ValueParseError if other keys, which pydantic's context holds, forbid the value.
    `needs` names a key of the same mapping without which this one means nothing.
    """

    parse: Callable[[str], object]
    schema: Mapping[str, Any]
    secret: bool = False
    check: Callable[[Any, Mapping[str, Any]], None] | None = None
    needs: str = ""

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Let pydantic call `validate`."""
        from pydantic_core import core_schema  # noqa: PLC0415 - loaded by the caller

        del source, handler
        return core_schema.with_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        """Return what an editor checks."""
        del schema, handler
        return dict(self.schema)

    def validate(self, value: object, info: Any = None) -> object:
        """
        Parse a text.

        Raises: ValueError with what is wrong, ValueParseError where it speaks of the text.
        """
        if isinstance(value, Mapping | list):
            raise ValueError("must be a single value, not a list or mapping")  # noqa: TRY004 - pydantic collects ValueError
        if not isinstance(value, str):
            return value
        if isinstance(value, Scalar) and value.empty:
            raise ValueError("has no value")
        try:
            parsed = self.parse(value)
            if self.check is not None and info is not None and info.context is not None:
                self.check(value, info.context)
        except ValueParseError as exc:
            exc.secret = self.secret
            raise
        if self.needs and info is not None and info.data.get(self.needs, "invalid") is None:
            raise ValueError(f"needs {self.needs}")
        return str(parsed) if type(parsed) is Scalar else parsed


@dataclass(frozen=True, slots=True, eq=False)
class OneOrMany:
    """Annotation of a list: a single value is a list of one, duplicates are dropped."""

    #: What to do about an empty list; empty: nothing, it is allowed.
    if_empty: str = ""

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Validate the list."""
        from pydantic_core import core_schema  # noqa: PLC0415 - loaded by the caller

        listed = core_schema.no_info_before_validator_function(as_list, handler(source))
        return core_schema.no_info_after_validator_function(self._check, listed)

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        """Return what an editor checks."""
        listed = {k: v for k, v in handler(schema).items() if k != "uniqueItems"}
        single = listed["items"]
        return {"anyOf": [*single.get("anyOf", [single]), listed]}

    def _check(self, items: Any) -> Any:
        if self.if_empty and not items:
            raise ValueError(f"is empty; {self.if_empty}")
        return tuple(dict.fromkeys(items)) if isinstance(items, tuple) else items


def as_list(value: object) -> object:
    """Return a single value as a list of one; a key without a value has no items."""
    if isinstance(value, Scalar):
        return [] if value.empty else [value]
    return value


@dataclass(frozen=True, slots=True, eq=False)
class KeysOrOff:
    """Annotation of a mapping: without keys it is empty, `off` stands for a value."""

    #: A mapping as it could be written.
    example: str
    #: What `off` stands for; `...`: it is not allowed.
    off: object = ...

    def __get_pydantic_core_schema__(
        self, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Validate the mapping."""
        from pydantic_core import core_schema  # noqa: PLC0415 - loaded by the caller

        return core_schema.no_info_before_validator_function(self._before, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: "CoreSchema", handler: "GetJsonSchemaHandler"
    ) -> "JsonSchemaValue":
        """Return what an editor checks."""
        keys = handler(schema)
        return keys if self.off is ... else {"anyOf": [keys, {"const": "off"}]}

    def _before(self, value: object) -> object:
        if not isinstance(value, Scalar):
            return value
        if value.empty:
            return {}
        if self.off is ...:
            raise ValueError(f"must be a mapping such as {self.example}")
        if value == "off":
            return self.off
        raise ValueParseError(f"is neither off nor a mapping such as {self.example}")


# --- plain values -------------------------------------------------------------


def parse_text(value: str) -> str:
    """Return any text but an empty one."""
    if not value.strip():
        raise ValueParseError("is empty")
    return value


def parse_flag(value: str) -> bool:
    """Parse `true` or `false`; in quotes they are texts."""
    if isinstance(value, Scalar) and value.quoted and not value.foreign:
        raise ValueParseError("is a text; write it without quotes")
    if value in {"true", "false"}:
        return value == "true"
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    folded = value.casefold()
    guess = words.get(folded, folded if folded in {"true", "false"} else "")
    raise ValueParseError("is neither true nor false", advice=did_you_mean(guess))


def whole(least: int, most: int) -> Parser:
    """Return a parser of whole numbers within bounds."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,12}", value):
            raise ValueParseError("is not a whole number")
        if not least <= int(value) <= most:
            raise ValueParseError(f"is not between {least} and {most}")
        return int(value)

    return Parser(parse, _schema_or_variable({"type": "integer"}))


def one_of(choices: type[StrEnum], *, needs: str = "") -> Parser:
    """Return a parser of one word out of several."""
    schema = _schema_or_variable({"enum": [choice.value for choice in choices]})
    return Parser(lambda value: parse_choice(value, choices), schema, needs=needs)


def parse_choice(value: str, choices: type[_Choice]) -> _Choice:
    """Parse one word out of several."""
    try:
        return choices(value)
    except ValueError:
        advice = suggest(value, choices)
        raise ValueParseError(f"is none of {', '.join(choices)}", advice=advice) from None


def parse_route_name(value: str) -> str:
    """Return a route's name: it is part of feeds' addresses and of metrics."""
    if re.fullmatch(r"[a-z0-9_-]{1,64}", value):
        return value
    better = re.sub(r"[^a-z0-9_-]+", "-", value.casefold()).strip("-")[:64]
    raise ValueParseError("is not a name of 1 to 64 of a-z 0-9 _ -", advice=did_you_mean(better))


def parse_destination_name(value: str) -> str:
    """Return a destination's name: it is an argument of commands."""
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", value):
        return value
    better = re.sub(r"[^A-Za-z0-9_.-]+", "-", value).strip("-.")[:64]
    what = "is not a name of 1 to 64 of A-Z a-z 0-9 _ . -"
    raise ValueParseError(what, advice=did_you_mean(better))


def parse_pattern(value: str) -> str:
    """Return a glob, or a regular expression after a `~`, that can be used."""
    try:
        compile_pattern(value)
    except PatternError as exc:
        raise ValueParseError(exc.reason, advice=exc.advice) from None
    return value


def parse_apprise_url(value: str) -> str:
    """Return a URL with a scheme; the senders know whether Apprise accepts it."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueParseError("holds a line break or another control character")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
        raise ValueParseError("is not an Apprise URL such as slack://... or mailtos://...")
    return value


def unknown_name(value: str, known: Iterable[str], what: str) -> ValueParseError:
    """Return the error for a name that is not known, with the known ones."""
    names = tuple(known)
    advice = suggest(value, names) or f"there are {', '.join(names)}"
    return ValueParseError(what, advice=advice)


# --- time ---------------------------------------------------------------------


def parse_duration(value: str) -> timedelta:
    """Parse `500ms`, `2s`, `30m`, `1h`, `30d`; zero is allowed."""
    if not (parts := re.fullmatch(r"([0-9]{1,15})(ms|s|m|h|d)", value)):
        what = "has no unit" if re.fullmatch(r"[0-9.]+", value) else "is not a duration"
        raise ValueParseError(f"{what} (500ms, 2s, 30m, 1h, 30d)", advice=_guess_duration(value))
    milliseconds = int(parts[1]) * UNITS[parts[2]]
    if milliseconds > MAX_DURATION / _MILLISECOND:
        raise ValueParseError("is longer than 3650d")
    return timedelta(milliseconds=milliseconds)


def parse_positive_duration(value: str) -> timedelta:
    """Parse a duration above zero."""
    duration = parse_duration(value)
    if not duration:
        raise ValueParseError("must be longer than 0")
    return duration


def _guess_duration(value: str) -> str:
    """Suggest what `30`, `1h30m`, `1.5h` or `30 sec` mean."""
    from fractions import Fraction  # noqa: PLC0415 - only for a mistake

    amount = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)")
    if len(value) > _MAX_GUESSED or not value.isascii():
        return ""
    parts = amount.findall(value)
    sizes = [_unit_size(unit) for _, unit in parts]
    if not parts or None in sizes or amount.sub("", value).strip():
        return ""
    total = sum(Fraction(n) * size for (n, _), size in zip(parts, sizes, strict=True) if size)
    if total.denominator != 1:
        return ""
    return did_you_mean(format_duration(int(total) * _MILLISECOND))


def _unit_size(word: str) -> int | None:
    """Return the milliseconds of a unit, by any of its usual abbreviations."""
    folded = word.casefold()
    unit = next((unit for unit, names in _UNIT_NAMES.items() if folded in names), None)
    return 7 * UNITS["d"] if unit == "w" else UNITS.get(unit or "")


def format_duration(duration: timedelta) -> str:
    """Return a duration in its largest whole unit, as the configuration writes it."""
    milliseconds = duration // _MILLISECOND
    for unit, size in reversed(UNITS.items()):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return "0s"


def parse_rate(value: str) -> tuple[int, timedelta]:
    """Parse `2/s`, `10/m`: a number, and the unit of time that it is counted in."""
    if not (parts := re.fullmatch(r"([0-9]{1,9})/(s|m|h|d)", value)):
        raise ValueParseError("is not a rate (2/s, 10/m)", advice=_guess_rate(value))
    if not int(parts[1]):
        raise ValueParseError("must allow at least 1")
    return int(parts[1]), timedelta(milliseconds=UNITS[parts[2]])


def _guess_rate(value: str) -> str:
    """Suggest what `2`, `2 / sec` or `10 per minute` mean."""
    parts = re.fullmatch(r"([0-9]{1,9})\s*(?:/|per|\s|$)\s*([a-zA-Z]*)", value)
    if not parts:
        return ""
    units = {size: unit for unit, size in UNITS.items() if unit != "ms"}
    unit = units.get(_unit_size(parts[2]) or 0)
    return did_you_mean(f"{parts[1]}/{unit}") if unit else ""


def parse_zone(value: str) -> ZoneInfo:
    """Parse an IANA time zone."""
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        advice = suggest(value, available_timezones())
        raise ValueParseError("is no IANA time zone such as Europe/Paris", advice=advice) from None


def parse_time_of_day(value: str) -> time:
    """Parse a time of day such as `08:00`."""
    parts = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", value)
    if not parts or int(parts[1]) > 23 or int(parts[2]) > 59:  # noqa: PLR2004 - hours, minutes
        raise ValueParseError("is not a time of day such as 08:00")
    return time(int(parts[1]), int(parts[2]))


# --- the types of keys --------------------------------------------------------

Text: TypeAlias = Annotated[str, Parser(parse_text, text_schema())]
Flag: TypeAlias = Annotated[bool, Parser(parse_flag, _schema_or_variable({"type": "boolean"}))]
_DURATION = text_schema(r"[0-9]+(?:ms|s|m|h|d)")
Duration: TypeAlias = Annotated[timedelta, Parser(parse_positive_duration, _DURATION)]
DurationOrZero: TypeAlias = Annotated[timedelta, Parser(parse_duration, _DURATION)]
Zone: TypeAlias = Annotated[ZoneInfo, Parser(parse_zone, text_schema())]
TIME_OF_DAY = r"[0-9]{1,2}:[0-9]{2}"
TimeOfDay: TypeAlias = Annotated[time, Parser(parse_time_of_day, text_schema(TIME_OF_DAY))]
Pattern: TypeAlias = Annotated[str, Parser(parse_pattern, text_schema())]
Patterns: TypeAlias = Annotated[tuple[Pattern, ...], OneOrMany()]


def quote(value: str, most: int = 60) -> str:
    """Return a value as it is written, in quotes, cut to one short line."""
    flat = " ".join((value.written if isinstance(value, Scalar) else value).split())
    return f'"{flat if len(flat) <= most else flat[: most - 1] + "…"}"'


def describe(error: ValueError, value: object) -> str:
    """Return what is wrong with a value, and what is probably meant; show no secret."""
    if not isinstance(error, ValueParseError) or not isinstance(value, str):
        return str(error)
    if error.secret:
        return error.what
    advice = "" if isinstance(value, Scalar) and value.foreign else error.advice
    joint = " " if advice.startswith("(") else "; "
    return joint.join(filter(None, (f"{quote(value)} {error.what}", advice)))
