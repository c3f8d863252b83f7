"""
File + environment -> a frozen `Config`; everything is checked here, at the start.

`find` says which file, `load` reads it all; `load_store`, `load_routes`, `load_plan`
and `load_destinations` read one part, whatever is wrong with the others.
text -> `read_yaml` -> tree -> `override`, `expand`, `read_secrets` -> `check` (the
keys: `shape`, what one asks of another: `cross`, what must wait: `not_yet`) ->
`build`. The tree remembers the line of every value, so every problem has a place.
"""

from pathlib import Path

from notifier.domain.models import Json
from notifier.settings.find import NAME, find, usual
from notifier.settings.load import (
    load,
    load_destinations,
    load_plan,
    load_routes,
    load_store,
    place_of,
)
from notifier.settings.settings import (
    ApiKey,
    Config,
    Egress,
    Level,
    Log,
    LogFormat,
    Retention,
    Source,
    Updates,
    Web,
)

__all__ = [
    "NAME",
    "ApiKey",
    "Config",
    "Egress",
    "Level",
    "Log",
    "LogFormat",
    "Retention",
    "Source",
    "Updates",
    "Web",
    "find",
    "init_text",
    "load",
    "load_destinations",
    "load_plan",
    "load_routes",
    "load_store",
    "place_of",
    "schema",
    "usual",
]


def schema() -> dict[str, Json]:
    """The JSON Schema of notifier.yaml, for editors that complete and check."""
    from notifier.settings.json_schema import file_schema  # noqa: PLC0415 - pydantic is slow

    return file_schema()


def init_text() -> str:
    """The commented configuration to begin with: everything, to the terminal."""
    return Path(__file__).with_name("init.yaml").read_text("utf-8")
