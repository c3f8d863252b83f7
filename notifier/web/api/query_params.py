"""
What may be asked: each parameter once, for the check of it and for the description.

A parameter that nobody knows is a mistake of whoever asks, and so is one given twice.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from notifier.domain.models import Json, Kind, State
from notifier.domain.pagination import Slice

Schema = dict[str, Json]

#: A list's page has no more rows.
MOST_ROWS = 500
USUAL_ROWS = 50
#: No word of a question is longer.
LONGEST = 200
_LONGEST_CURSOR = 1000
_MOST_NUMBER = 2**63 - 1
_Aware = Annotated[datetime, msgspec.Meta(tz=True)]


class Wrong(HTTPException):
    """What was asked cannot be meant; the words say which part and why."""

    def __init__(self, words: str) -> None:
        super().__init__(400, words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One thing that a question may say."""

    name: str
    schema: Schema
    #: Raises ValueError with words.
    read: Callable[[str], Any]
    about: str
    default: Any = None
    #: It may be given several times; the answer takes any of the values.
    many: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """All that one path may be asked."""

    parameters: Sequence[Parameter] = field(default=())

    def read(self, request: Request) -> dict[str, Any]:
        """
        What is asked, by name.

        Raises:
            Wrong: it names what nobody knows, or gives it a value that cannot be.

        """
        known = {one.name: one for one in self.parameters}
        for name in request.query_params:
            if name not in known:
                may = ", ".join(known) or "none"
                raise Wrong(f"{_short(name)}: is no parameter here; there are: {may}")
        given = request.query_params.multi_items()
        return {
            name: _value(one, [value for key, value in given if key == name])
            for name, one in known.items()
        }


def _value(one: Parameter, values: Sequence[str]) -> Any:
    if one.many:
        return tuple(dict.fromkeys(_read(one, value) for value in values))
    if len(values) > 1:
        raise Wrong(f"{one.name}: is given {len(values)} times")
    return _read(one, values[0]) if values else one.default


def _read(one: Parameter, value: str) -> Any:
    try:
        return one.read(value)
    except ValueError as exc:
        raise Wrong(f"{one.name}: {exc}") from None


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def part_of(asked: Mapping[str, Any]) -> Slice:
    """How much of the list."""
    return Slice(limit=asked["limit"], cursor=asked["cursor"])


# --- the values ---------------------------------------------------------------


def _text(longest: int) -> Callable[[str], str]:
    def read(value: str) -> str:
        if len(value) > longest:
            raise ValueError(f"has at most {longest} characters")
        return value

    return read


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        # Nothing but digits: `int` takes spaces and underscores as well.
        if not re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
            raise ValueError(f"is a number from {least} to {most}")
        if not least <= int(value) <= most:
            raise ValueError(f"is from {least} to {most}")
        return int(value)

    return read


def _instant(value: str) -> datetime:
    try:
        return msgspec.convert(value, _Aware, strict=False)
    except msgspec.ValidationError:
        raise ValueError(
            "is an instant such as 2026-11-22T18:00:00Z (a + is written %2B)"
        ) from None


def _among(words: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(value: str) -> Any:
        if value not in words:
            raise ValueError(f"is one of {', '.join(words)}")
        return words[value]

    return read


def _enum(kind: type[StrEnum]) -> Callable[[str], Any]:
    return _among({one.value: one for one in kind})


# --- the parameters -----------------------------------------------------------


def text(name: str, about: str, *, default: str | None = None) -> Parameter:
    """A text, as it is."""
    return Parameter(
        name=name,
        schema={"type": "string", "maxLength": LONGEST},
        read=_text(LONGEST),
        about=about,
        default=default,
    )


def instant(name: str, about: str) -> Parameter:
    """An instant with its zone."""
    return Parameter(
        name=name,
        schema={"type": "string", "format": "date-time"},
        read=_instant,
        about=about,
    )


def any_of(name: str, kind: type[StrEnum], about: str) -> Parameter:
    """Any of some words; given several times, each counts."""
    items: Schema = {"type": "string", "enum": [one.value for one in kind]}
    return Parameter(
        name=name,
        schema={"type": "array", "items": items},
        read=_enum(kind),
        about=about,
        many=True,
    )


def choice(name: str, words: Mapping[str, Any], usual: str, about: str) -> Parameter:
    """One of some words, each of which means something."""
    return Parameter(
        name=name,
        schema={"type": "string", "enum": list(words), "default": usual},
        read=_among(words),
        about=about,
        default=words[usual],
    )


LIMIT = Parameter(
    name="limit",
    schema={
        "type": "integer",
        "minimum": 1,
        "maximum": MOST_ROWS,
        "default": USUAL_ROWS,
    },
    read=_number(1, MOST_ROWS),
    about="How many rows at most.",
    default=USUAL_ROWS,
)
CURSOR = Parameter(
    name="cursor",
    schema={"type": "string", "maxLength": _LONGEST_CURSOR},
    read=_text(_LONGEST_CURSOR),
    about="Where to go on: `next` of the page before.",
)
PAGED = (LIMIT, CURSOR)
AFTER = Parameter(
    name="after",
    schema={"type": "integer", "minimum": 0, "maximum": _MOST_NUMBER},
    read=_number(0, _MOST_NUMBER),
    about="The number of the last event that is known; without it, only new ones come.",
)

NOTHING = Question()
MILESTONES = Question(
    (
        text("search", "Parts of the title, the id or a ticker.", default=""),
        text("category", "Exactly this category."),
        text("type", "Exactly this type."),
        instant("since", "Starting then or later."),
        instant("until", "Starting earlier."),
        choice(
            "gone",
            {"no": False, "yes": True, "any": None},
            "no",
            "Those that are there, those that were removed, or both.",
        ),
        *PAGED,
    )
)
EVENTS = Question(
    (
        any_of("kind", Kind, "What happened."),
        text("milestone_id", "To this milestone."),
        instant("since", "Seen then or later."),
        *PAGED,
    )
)
DELIVERIES = Question(
    (
        any_of("state", State, "Where they stand."),
        text("destination", "To this destination."),
        text("route", "By this route."),
        text("milestone_id", "Of this milestone."),
        instant("since", "Born then or later."),
        *PAGED,
    )
)
SILENCES = Question(
    (
        choice(
            "everything",
            {"false": False, "true": True},
            "false",
            "Also those that are over.",
        ),
    )
)
AUDIT = Question(PAGED)
STREAM = Question((AFTER,))
