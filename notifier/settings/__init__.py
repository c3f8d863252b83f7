"""
THE configuration: file + environment -> frozen `Settings`, checked whole at the start.

`models` are the keys, `types` how their texts are parsed, `loading` finds and reads the
file and reports every problem at its line, `json_schema` serves editors. The models load
pydantic, which takes 0.1 s: what needs no more than the store, imports `loading` alone.
"""

from pathlib import Path
from typing import Any

from notifier.settings.loading import (
    NAME,
    find,
    load,
    load_destinations,
    load_store,
    place_of,
    usual_paths,
)

__all__ = [
    "NAME",
    "find",
    "init_text",
    "load",
    "load_destinations",
    "load_store",
    "place_of",
    "schema",
    "usual_paths",
]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of notifier.yaml, for editors that complete and check."""
    from notifier.settings.json_schema import file_schema  # noqa: PLC0415 - pydantic is slow

    return file_schema()


def init_text() -> str:
    """Return the commented configuration to begin with: everything, to the terminal."""
    return Path(__file__).with_name("init.yaml").read_text("utf-8")
