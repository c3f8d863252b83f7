"""The shape of the file as a JSON Schema, for editors that complete and check."""

from datetime import timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import (
    ModelSchema,
    NullableSchema,
    WithDefaultSchema,
)

from notifier.domain.models import Json, Rate
from notifier.settings.shape import FileShape
from notifier.settings.values import UNITS, spell

_MILLISECOND = timedelta(milliseconds=1)


def file_schema() -> dict[str, Json]:
    """The JSON Schema of notifier.yaml; every key is described."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **FileShape.model_json_schema(schema_generator=_Schema),
        "title": "Configuration of the milestone notifier",
    }


class _Schema(GenerateJsonSchema):
    """
    Says what an editor should know, and no more.

    A key left out is never written as null, names of classes say nothing, and
    defaults are spelled as in the file.
    """

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        """What the key holds if it is there."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """The default, if there is one."""
        found = super().default_schema(schema)
        return {k: v for k, v in found.items() if (k, v) != ("default", None)}

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """The keys of a mapping."""
        found = super().model_schema(schema)
        return {key: value for key, value in found.items() if key != "title"}

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never: a key is its own title."""
        return not schema

    def encode_default(self, dft: object) -> object:
        """One default, spelled as in the file."""
        if isinstance(dft, tuple):
            return [_spelled(item) for item in dft]
        return super().encode_default(_spelled(dft))


def _spelled(value: object) -> object:
    """A value that JSON does not know, as the file would spell it."""
    match value:
        case timedelta():
            return spell(value // _MILLISECOND)
        case Rate():
            units = {size: unit for unit, size in UNITS.items()}
            return f"{value.count}/{units[value.per // _MILLISECOND]}"
        case ZoneInfo():
            return value.key
        case Enum():
            return value.value
        case _:
            return value
