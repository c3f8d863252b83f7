"""The settings as a JSON Schema, for editors that complete and check."""

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import NullableSchema, WithDefaultSchema

from notifier.domain.parsing import format_duration
from notifier.domain.rules import DigestPolicy, Match, Rate
from notifier.settings.models import Settings

#: Keys that can be left out though the program's value needs them: see `fill_defaults`.
_FILLED = {"to", "zone", "url", "private_key"}
_FILES = {
    "url": "A file that holds the URL.",
    "password": "A file that holds the password.",
    "private_key": "A file that holds the private key in PEM.",
}


@cache
def file_schema() -> dict[str, Any]:
    """Return the JSON Schema of notifier.yaml; every key is described."""
    schema = Settings.model_json_schema(schema_generator=_Generator)
    definitions = schema["$defs"]
    del definitions["Destination"]["properties"]["name"]
    for section in definitions.values():
        del section["title"]
        properties = section["properties"]
        for key in [*properties]:
            if key in _FILES:
                properties[f"{key}_file"] = {"type": "string", "description": _FILES[key]}
        required = [key for key in section.pop("required", ()) if key not in {*_FILLED, "name"}]
        if "name" in properties:
            required = ["name"]
        if required:
            section["required"] = required
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Configuration of the milestone notifier",
    }


def keys_at(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the keys that the mapping at a path may have."""
    schema = file_schema()
    node: Mapping[str, Any] = schema
    for part in path:
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties", {})
        for option in node.get("anyOf", ()):
            if "$ref" in option or "items" in option:
                node = option
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return tuple(node.get("properties", ()))


class _Generator(GenerateJsonSchema):
    """
    Says what an editor needs, and no more.

    A key left out is never written as null, names of classes say nothing, and
    defaults are written as in the file.
    """

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """Return the schema of the value, if there is one."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """Return the schema with its default, if the file can have it."""
        default = schema.get("default")
        if default is None or isinstance(default, DigestPolicy | Match):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: object) -> bool:
        """Return False: a key is its own title."""
        return not schema

    def encode_default(self, dft: object) -> object:
        """Return a default as the file writes it."""
        match dft:
            case tuple() | frozenset():
                return [self.encode_default(item) for item in dft]
            case timedelta():
                return format_duration(dft)
            case Rate() | ZoneInfo():
                return str(dft)
            case Enum():
                return dft.value
            case _:
                return super().encode_default(dft)
