"""The keys that a `match` may have: a route's and a silence's."""

import re
from collections.abc import Sequence
from typing import Any

from notifier.domain.suggestions import did_you_mean, suggest

#: Fields of a milestone, as Kalshi names them, that have no key of their own.
MILESTONE_KEYS = (
    "id",
    "source_id",
    "notification_message",
    "start_date",
    "end_date",
    "primary_event_tickers",
    "related_event_tickers",
)
_DESCRIPTIONS = {
    "events": "Kinds of events. upcoming comes from reminders alone.",
    "category": "Such as Sports.",
    "type": "Such as football_game.",
    "tickers": "Any of the primary and related tickers.",
    "title": "The title.",
    "changed": "Only updates that change one of these fields, such as start_date.",
}
#: The keys that the program names itself.
OWN_KEYS = tuple(_DESCRIPTIONS)
#: A path into the milestone: `details.league`, `source_ids.source_1_id`.
DOTTED = r"[^.]+(?:\.[^.]+)+"
#: Fields that hold others: only a path into them can be matched.
_HOLDERS = ("details", "source_ids", "product_details")


def unknown(name: str) -> str | None:
    """Return what is wrong with a key; None: nothing."""
    if name in OWN_KEYS or name in MILESTONE_KEYS or re.fullmatch(DOTTED, name):
        return None
    if name in _HOLDERS:
        return f'holds fields; match one of them, such as {name}.league: "..."'
    advice = suggest(name, (*OWN_KEYS, *MILESTONE_KEYS))
    return f"unknown key; {advice or did_you_mean(f'details.{name}')}"


def json_schema(kinds: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of a match."""
    text = {"type": "string"}
    kind = [{"enum": list(kinds)}, {"type": "string", "pattern": r"\$\{"}]
    one_or_many = {"anyOf": [text, {"type": "array", "items": text}]}
    kinds_schema = {"anyOf": [*kind, {"type": "array", "items": {"anyOf": kind}}]}
    return {
        "type": "object",
        "description": "Keys AND, values of one key OR. Globs without case; ~ begins a regex.",
        "properties": {
            key: {
                "description": description,
                **(kinds_schema if key == "events" else one_or_many),
            }
            for key, description in _DESCRIPTIONS.items()
        },
        "patternProperties": {
            rf"^(?:{DOTTED}|{'|'.join(MILESTONE_KEYS)})$": {
                "type": ["string", "array", "number", "boolean"],
                "description": "A field of the milestone, as Kalshi names it.",
            }
        },
        "additionalProperties": False,
    }
