"""
The types of the keys: each leaf's own reader, and how an editor checks it.

Every leaf arrives as a `Scalar`, and its key's reader makes it a value, so that no
rule of pydantic's decides what a text may be taken for.
"""

from datetime import time, timedelta
from enum import StrEnum
from typing import Annotated, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from notifier.domain import models
from notifier.domain.auth import Network
from notifier.domain.models import Format, Kind, Rate, Then
from notifier.settings import values
from notifier.settings.private_key import private_key
from notifier.settings.reading import read_flag, reading
from notifier.settings.settings import Egress, Level, LogFormat, Updates
from notifier.settings.store_url import store_url
from notifier.settings.template import template
from notifier.settings.tree import Scalar

_Item = TypeVar("_Item")


class Ambiguity(StrEnum):
    """What follows a request whose answer never came."""

    RETRY = "retry"
    DROP = "drop"


class Every(StrEnum):
    """How often a timed digest goes."""

    DAY = "day"


# --- scalars ------------------------------------------------------------------


def _string(pattern: str = "", **more: str) -> WithJsonSchema:
    """How an editor checks a text: by pattern, or as a variable to be put in."""
    either = {"pattern": rf"^(?:{pattern})$|\$\{{"} if pattern else {}
    return WithJsonSchema({"type": "string", **either, **more})


_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def _words(kind: type[StrEnum]) -> WithJsonSchema:
    """How an editor completes one word out of several."""
    return WithJsonSchema({"anyOf": [{"enum": [*kind]}, _VARIABLE]})


def _or_variable(kind: str) -> WithJsonSchema:
    """A boolean or number, or a variable to be put in."""
    return WithJsonSchema({"anyOf": [{"type": kind}, _VARIABLE]})


def _whole(least: int, most: int) -> PlainValidator:
    return PlainValidator(reading(values.whole(least, most)))


_SPAN = r"[0-9]+(?:ms|s|m|h|d)"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}"
_WINDOW = rf"(?:[A-Za-z,-]+ +)?{_CLOCK}-{_CLOCK}"

Text: TypeAlias = Annotated[str, PlainValidator(reading(values.text)), _string()]
Secret: TypeAlias = Annotated[str, PlainValidator(reading(values.text, secret=True)), _string()]
KeyId: TypeAlias = Annotated[str, PlainValidator(reading(values.key_id)), _string()]
PrivateKey: TypeAlias = Annotated[str, PlainValidator(reading(private_key, secret=True)), _string()]
Flag: TypeAlias = Annotated[bool, PlainValidator(read_flag), _or_variable("boolean")]
Over: TypeAlias = Annotated[int, _whole(0, 1_000_000), _or_variable("integer")]
Lanes: TypeAlias = Annotated[int, _whole(1, 100), _or_variable("integer")]
Span: TypeAlias = Annotated[timedelta, PlainValidator(reading(values.duration)), _string(_SPAN)]
Lapse: TypeAlias = Annotated[timedelta, PlainValidator(reading(values.lapse)), _string(_SPAN)]
Pace: TypeAlias = Annotated[
    Rate, PlainValidator(reading(values.rate)), _string("[0-9]+/(?:s|m|h|d)")
]
Zone: TypeAlias = Annotated[ZoneInfo, PlainValidator(reading(values.zone)), _string()]
Clock: TypeAlias = Annotated[time, PlainValidator(reading(values.clock_time)), _string(_CLOCK)]
Window: TypeAlias = Annotated[
    models.Window, PlainValidator(reading(values.window)), _string(_WINDOW)
]
Store: TypeAlias = Annotated[
    str, PlainValidator(reading(store_url, secret=True)), _string("sqlite:///.+")
]
BaseUrl: TypeAlias = Annotated[
    str, PlainValidator(reading(values.base_url, secret=True)), _string("https?://.+")
]
Address: TypeAlias = Annotated[
    str, PlainValidator(reading(values.address, secret=True)), _string("https?://.+")
]
AppriseUrl: TypeAlias = Annotated[
    str,
    PlainValidator(reading(values.apprise_url, secret=True)),
    _string("[A-Za-z][A-Za-z0-9+.-]*://.*"),
]
Site: TypeAlias = Annotated[
    str, PlainValidator(reading(values.site, secret=True)), _string("https?://.+")
]
Password: TypeAlias = Annotated[
    str, PlainValidator(reading(values.password, secret=True)), _string()
]
Host: TypeAlias = Annotated[str, PlainValidator(reading(values.host)), _string()]
IpNetwork: TypeAlias = Annotated[
    Network, PlainValidator(reading(values.network)), _string("[0-9a-fA-F.:/]+")
]
Listen: TypeAlias = Annotated[
    tuple[str, int], PlainValidator(reading(values.listen)), _string(".+:[0-9]+")
]
Label: TypeAlias = Annotated[
    str, PlainValidator(reading(values.label)), _string("[a-z0-9_-]{1,64}")
]
Pattern: TypeAlias = Annotated[str, PlainValidator(reading(values.pattern)), _string()]
KindName: TypeAlias = Annotated[Kind, PlainValidator(reading(values.choice(Kind))), _words(Kind)]
FormatName: TypeAlias = Annotated[
    Format, PlainValidator(reading(values.choice(Format))), _words(Format)
]
UpdatesName: TypeAlias = Annotated[
    Updates, PlainValidator(reading(values.choice(Updates))), _words(Updates)
]
LevelName: TypeAlias = Annotated[
    Level, PlainValidator(reading(values.choice(Level))), _words(Level)
]
LogFormatName: TypeAlias = Annotated[
    LogFormat, PlainValidator(reading(values.choice(LogFormat))), _words(LogFormat)
]
AmbiguityName: TypeAlias = Annotated[
    Ambiguity, PlainValidator(reading(values.choice(Ambiguity))), _words(Ambiguity)
]
EgressName: TypeAlias = Annotated[
    Egress, PlainValidator(reading(values.choice(Egress))), _words(Egress)
]
EveryName: TypeAlias = Annotated[
    Every, PlainValidator(reading(values.choice(Every))), _words(Every)
]
ThenName: TypeAlias = Annotated[Then, PlainValidator(reading(values.choice(Then))), _words(Then)]
Jinja: TypeAlias = Annotated[str, PlainValidator(template), _string()]


# --- lists --------------------------------------------------------------------


def _several(value: object) -> object:
    """One value serves as a list of one, a missing one as an empty list."""
    if isinstance(value, Scalar):
        return [] if value.empty else [value]
    return value


def empty_list(value: object) -> object:
    """A list or mapping whose entries are all commented out is empty."""
    return [] if isinstance(value, Scalar) and value.empty else value


def empty_mapping(value: object) -> object:
    """The same for a mapping of names."""
    return {} if isinstance(value, Scalar) and value.empty else value


def _some(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """A list that chooses must choose something."""
    if not items:
        raise ValueError("is empty; leave the key out to choose everything")
    return items


def _hours(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Quiet hours have some."""
    if not items:
        raise ValueError("is empty; quiet: off holds nothing back")
    return items


Texts: TypeAlias = Annotated[
    tuple[Text, ...],
    BeforeValidator(_several, json_schema_input_type=Text | tuple[Text, ...]),
]
Patterns: TypeAlias = Annotated[
    tuple[Pattern, ...],
    BeforeValidator(_several, json_schema_input_type=Pattern | tuple[Pattern, ...]),
]
Hosts: TypeAlias = Annotated[
    tuple[Host, ...],
    BeforeValidator(_several, json_schema_input_type=Host | tuple[Host, ...]),
]
Networks: TypeAlias = Annotated[
    tuple[IpNetwork, ...],
    BeforeValidator(_several, json_schema_input_type=IpNetwork | tuple[IpNetwork, ...]),
]
Kinds: TypeAlias = Annotated[
    tuple[KindName, ...],
    BeforeValidator(_several, json_schema_input_type=KindName | tuple[KindName, ...]),
]
Lapses: TypeAlias = Annotated[
    tuple[Lapse, ...],
    BeforeValidator(_several, json_schema_input_type=Lapse | tuple[Lapse, ...]),
]
Windows: TypeAlias = Annotated[
    tuple[Window, ...],
    BeforeValidator(_several, json_schema_input_type=Window | tuple[Window, ...]),
    AfterValidator(_hours),
]
SomeTexts: TypeAlias = Annotated[Texts, AfterValidator(_some)]
SomePatterns: TypeAlias = Annotated[Patterns, AfterValidator(_some)]
SomeKinds: TypeAlias = Annotated[Kinds, AfterValidator(_some)]


def _handle(name: str) -> str:
    """A destination's name; a key, so it comes without a place."""
    try:
        return values.handle(name)
    except values.Unreadable as exc:
        raise ValueError("; ".join(filter(None, (exc.what, exc.advice)))) from None


Handle: TypeAlias = Annotated[str, AfterValidator(_handle)]
