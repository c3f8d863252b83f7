"""Query strings, bodies and the OpenAPI document, all from the same `msgspec` structs."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from notifier.domain.pagination import AwareDatetime
from notifier.domain.silences import KEY_PATTERN
from notifier.messages.escaping import clean

T = TypeVar("T")
JsonSchema: TypeAlias = dict[str, Any]

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{name}"
_NAME = {"type": "string", "minLength": 1}
_MAX_IDS, _MAX_KEYS = 500, 50


class BadRequest(HTTPException):
    """A request that cannot be meant; the detail says which part and why."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, detail)


class NoParameters(msgspec.Struct, frozen=True):
    """The query of a path without parameters."""


class SilencesQuery(msgspec.Struct, frozen=True):
    """The query of the list of silences."""

    everything: Annotated[
        Literal["false", "true"], msgspec.Meta(description="Also those that are over.")
    ] = "false"


class StreamQuery(msgspec.Struct, frozen=True):
    """The query of the stream."""

    after: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None,
        msgspec.Meta(description="The number of the last known event; else only new ones come."),
    ] = None


class RedriveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Dead letters to put back: these, a destination's, or all."""

    ids: Annotated[
        Sequence[Annotated[str, msgspec.Meta(min_length=1, max_length=128)]],
        msgspec.Meta(max_length=_MAX_IDS),
    ] = ()
    destination: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    dry_run: bool = False


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Events to suppress, until when, and why."""

    match: Annotated[
        dict[
            Annotated[str, msgspec.Meta(max_length=200)],
            Annotated[
                Sequence[Annotated[str, msgspec.Meta(min_length=1, max_length=500)]],
                msgspec.Meta(min_length=1, max_length=_MAX_KEYS),
            ],
        ],
        msgspec.Meta(
            min_length=1,
            max_length=_MAX_KEYS,
            # In the document alone: a wrong key is refused with a suggestion.
            extra_json_schema={"propertyNames": {"maxLength": 200, "pattern": KEY_PATTERN}},
        ),
    ]
    until: AwareDatetime
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Problem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


# --- requests -----------------------------------------------------------------


class QuerySchema(Generic[T]):
    """The parameters of a path, which are the fields of a struct."""

    def __init__(self, struct: type[T]) -> None:
        self.struct = struct
        _, components = msgspec.json.schema_components([struct], ref_template=_REF)
        fields: Mapping[str, JsonSchema] = components[struct.__name__]["properties"]
        #: The JSON schema of each parameter.
        self.parameters = {name: _inlined(field, components) for name, field in fields.items()}

    def parse(self, request: Request) -> T:
        """
        Read the query string.

        Raises:
            BadRequest: a parameter is unknown, repeated, or has an impossible value.
        """
        known, given = self.parameters, request.query_params
        values: dict[str, Any] = {}
        for name in given:
            if name not in known:
                names = ", ".join(known) or "none"
                raise BadRequest(f"{clean(name, 200)}: unknown parameter; there are: {names}")
            values[name] = found = given.getlist(name)
            if known[name].get("type") != "array":
                if len(found) > 1:
                    raise BadRequest(f"{name}: given {len(found)} times")
                values[name] = found[0]
        return self.convert(values)

    def convert(self, values: Mapping[str, Any]) -> T:
        """
        Read parameters that are texts.

        Raises:
            BadRequest: one has an impossible value.
        """
        try:
            return msgspec.convert(values, self.struct, strict=False)
        except msgspec.ValidationError as exc:
            path = re.search(r"\$\.(\w+)", str(exc))
            name = path[1] if path else ""
            expected = _expected(self.parameters.get(name, {}))
            raise BadRequest(f"{name}: must be {expected}") from None


async def parse_body(request: Request, schema: type[Any] | None) -> Any:
    """
    Read the JSON body; without a schema it must be empty, or `{}`.

    Raises:
        BadRequest: it does not fit the schema.
        HTTPException: it is not JSON.
    """
    if schema is None:
        if (await request.body()).strip() not in {b"", b"{}"}:
            raise BadRequest("the body: must be empty")
        return None
    content_type = request.headers.get("content-type", "").partition(";")[0]
    if content_type.strip().lower() != JSON:
        raise HTTPException(415, f"Send {JSON}.")
    try:
        return msgspec.json.decode(await request.body(), type=schema)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadRequest(f"the body: {exc}") from None


def _inlined(field: JsonSchema, components: Mapping[str, Any]) -> JsonSchema:
    """A parameter's schema without null, which a query string cannot say, and without refs."""
    found = dict(field)
    if "anyOf" in found:
        [value] = [one for one in found.pop("anyOf") if one != {"type": "null"}]
        found |= value
        found.pop("default", None)
    if "items" in found:
        found["items"] = components.get(
            found["items"].get("$ref", "").rpartition("/")[2], found["items"]
        )
        found.pop("default", None)
    return found


def _expected(schema: JsonSchema) -> str:
    """The values that a parameter may have, in words."""
    values = schema.get("enum") or schema.get("items", {}).get("enum")
    if values:
        return f"one of {', '.join(values)}"
    if schema.get("type") == "integer":
        return f"a number from {schema['minimum']} to {schema['maximum']}"
    if schema.get("format") == "date-time":
        return "an instant such as 2026-11-22T18:00:00Z (a + is written %2B)"
    return f"a text of at most {schema.get('maxLength')} characters"


# --- the OpenAPI document -----------------------------------------------------

_REFUSALS = {
    400: "The request cannot be meant so.",
    401: "Show a token, or sign in.",
    404: "Not found.",
    503: "Reading that takes too long, or too many clients listen.",
}
_REFUSED_ACTIONS = {
    403: "This token may only read.",
    408: "The rest of the body did not come.",
    409: "Impossible at the moment.",
    413: "The body is too large.",
    415: "Send JSON.",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method of a path: what it does, reads and returns."""

    method: str
    path: str
    summary: str
    handler: Callable[[Any], Awaitable[Any]]
    #: The type of the result.
    returns: Any = None
    query: type[Any] = NoParameters
    body: type[Any] | None = None
    status: int = 200
    media_type: str = JSON

    @property
    def is_action(self) -> bool:
        """It changes something."""
        return self.method != "GET"


def openapi(endpoints: Sequence[Endpoint], version: str) -> JsonSchema:
    """Return the OpenAPI 3.1 document."""
    types = {one for end in endpoints for one in (end.returns, end.body) if one is not None}
    ordered = [*sorted(types, key=str), Problem]
    refs, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    schemas = dict(zip(ordered, refs, strict=True))
    paths: dict[str, JsonSchema] = {}
    for endpoint in endpoints:
        named = [
            {"name": name, "in": "path", "required": True, "schema": _NAME}
            for name in re.findall(r"{(\w+)}", endpoint.path)
        ]
        described = paths.setdefault(endpoint.path, {"parameters": named} if named else {})
        described[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Milestone notifier",
            "version": version or "0",
            "description": "Events, deliveries, and the reasons for them.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "notifier_session_8080",
                    "description": "The cookie of a signed-in browser; it ends with the port.",
                },
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: Mapping[Any, JsonSchema]) -> JsonSchema:
    parameters = [
        {
            "name": name,
            "in": "query",
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in QuerySchema(endpoint.query).parameters.items()
    ]
    content = schemas.get(endpoint.returns, {"type": "object"})
    if endpoint.media_type != JSON:
        content = {"type": "string"}
    responses: JsonSchema = {
        str(endpoint.status): {
            "description": endpoint.summary,
            "content": {endpoint.media_type: {"schema": content}},
        }
    }
    refusals = _REFUSALS | (_REFUSED_ACTIONS if endpoint.is_action else {})
    for status, words in sorted(refusals.items()):
        problem = {_PROBLEM: {"schema": schemas[Problem]}}
        responses[str(status)] = {"description": words, "content": problem}
    found: JsonSchema = {
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if endpoint.body is not None:
        body = {JSON: {"schema": schemas[endpoint.body]}}
        found["requestBody"] = {"required": True, "content": body}
    return found
