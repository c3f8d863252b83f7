"""What the API is, in OpenAPI 3.1, for programs that write programs."""

from collections.abc import Sequence

from notifier.domain.models import Json
from notifier.domain.silences import KEY_PATTERN
from notifier.web.api import query_params, request_bodies
from notifier.web.api.query_params import NOTHING, Parameter, Question
from notifier.web.api.schemas import SHAPES, Schema, ref

_PROBLEM = "application/problem+json"
#: What any path may answer, beside its own.
_ANY = {
    400: "It cannot be meant so.",
    401: "Show a token, or sign in.",
    503: "That takes too long to look up.",
}
_WRITES = {
    403: "You may look, and do nothing.",
    408: "The rest of it did not come.",
    409: "It cannot be done now.",
    413: "That is too much.",
    415: "Send JSON.",
}
_NOT_THERE = {404: "There is no such thing."}
_PATIENT = {503: "Too many listen."}

_REDRIVE: Schema = {
    "type": "object",
    "properties": {
        "ids": {
            "type": "array",
            "maxItems": request_bodies.MOST_IDS,
            "items": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "destination": {"type": ["string", "null"], "maxLength": 200},
        "dry_run": {"type": "boolean", "default": False},
    },
    "additionalProperties": False,
}
_PATTERNS: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": request_bodies.MOST_KEYS,
    "items": {"type": "string", "minLength": 1, "maxLength": 500},
}
_SILENCE: Schema = {
    "type": "object",
    "properties": {
        "match": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": request_bodies.MOST_KEYS,
            "propertyNames": {"maxLength": 200, "pattern": KEY_PATTERN},
            "additionalProperties": _PATTERNS,
        },
        "until": {"type": "string", "format": "date-time"},
        "why": {"type": "string", "minLength": 1, "maxLength": 200},
    },
    "required": ["match", "until", "why"],
    "additionalProperties": False,
}


def document(version: str) -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Milestone notifier",
            "version": version or "0",
            "description": "What was seen, what was sent, and why.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}, {"session": []}, {}],
        "paths": {**_looks(), **_deeds()},
        "components": {
            "schemas": SHAPES,
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


def _looks() -> dict[str, Json]:
    """What can be looked at."""
    return {
        "/openapi.json": {"get": _get("This description.", None)},
        "/status": {"get": _get("How things stand.", "Status")},
        "/overview": {"get": _get("Everything at a glance.", "Overview")},
        "/milestones": {
            "get": _get(
                "Milestones by start, soonest first.",
                "MilestonePage",
                query_params.MILESTONES,
            )
        },
        "/milestone-kinds": {"get": _get("Their categories and types.", "KindOfMilestonePage")},
        "/milestones/{milestone_id}": {
            "get": _get("One, and all that is known of it.", "MilestoneStory"),
            "parameters": [_in_path("milestone_id", "Its id.")],
        },
        "/events": {"get": _get("Events, newest first.", "EventPage", query_params.EVENTS)},
        "/events/{event_id}": {
            "get": _get("One, and why it went where it went.", "Explanation"),
            "parameters": [_in_path("event_id", "Its id, or its beginning.")],
        },
        "/deliveries": {
            "get": _get("Deliveries, newest first.", "ListedDeliveryPage", query_params.DELIVERIES)
        },
        "/destinations": {"get": _get("Where things go.", "DestinationPage")},
        "/routes": {"get": _get("The routes, in their order.", "RoutePage")},
        "/audit": {"get": _get("What was done, newest first.", "DeedPage", query_params.AUDIT)},
        "/stream": {"get": _streamed()},
    }


def _deeds() -> dict[str, Json]:
    """What can be done, and silences, which can be looked at as well."""
    name = _in_path("destination", "Its name.")
    return {
        "/destinations/{destination}/resume": {
            "post": _post("End its suspension.", "Resumed", there=True),
            "parameters": [name],
        },
        "/destinations/{destination}/test": {
            "post": _post("Send a message marked as a test.", "Tested", there=True),
            "parameters": [name],
        },
        "/deliveries/redrive": {
            "post": _post(
                "Put dead letters back: these, a destination's, or all.",
                "Redriven",
                wish=_REDRIVE,
            )
        },
        "/silences": {
            "get": _get("Silences, oldest first.", "SilencePage", query_params.SILENCES),
            "post": _post("Suppress what matches, until then.", "Silence", 201, wish=_SILENCE),
        },
        "/silences/{silence_id}": {
            "delete": _post("End it before its time.", "Silence", there=True),
            "parameters": [_in_path("silence_id", "Its id, or its beginning.")],
        },
    }


def _get(about: str, name: str | None, asked: Question = NOTHING) -> Schema:
    why_not = _ANY | _NOT_THERE
    return {
        "summary": about,
        "parameters": [_described(one) for one in asked.parameters],
        "responses": {"200": _answer(about, name), **_refusals(why_not)},
    }


def _post(
    about: str,
    name: str,
    status: int = 200,
    *,
    wish: Schema | None = None,
    there: bool = False,
) -> Schema:
    why_not = _ANY | _WRITES | (_NOT_THERE if there else {})
    found: Schema = {
        "summary": about,
        "responses": {str(status): _answer(about, name), **_refusals(why_not)},
    }
    if wish is not None:
        content = {"application/json": {"schema": wish}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _streamed() -> Schema:
    about = "New events as they come, as server-sent events; data is an Event."
    last: Schema = {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The number of the last event that a browser knew.",
        "schema": {"type": "integer", "minimum": 0},
    }
    answer = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "summary": about,
        "parameters": [*map(_described, query_params.STREAM.parameters), last],
        "responses": {
            "200": {"description": about, "content": answer},
            **_refusals(_ANY | _PATIENT),
        },
    }


def _described(one: Parameter) -> Schema:
    return {
        "name": one.name,
        "in": "query",
        "description": one.about,
        "schema": one.schema,
    }


def _in_path(name: str, about: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": about,
        "schema": {"type": "string", "minLength": 1},
    }


def _answer(about: str, name: str | None) -> Schema:
    schema: Schema = {"type": "object"} if name is None else ref(name)
    return {"description": about, "content": {request_bodies.JSON: {"schema": schema}}}


def _refusals(why: dict[int, str]) -> dict[str, Json]:
    content = {_PROBLEM: {"schema": ref("Problem")}}
    return {
        str(status): {"description": words, "content": content}
        for status, words in sorted(why.items())
    }


def paths() -> Sequence[str]:
    """Every path that is described."""
    return [*_looks(), *_deeds()]
