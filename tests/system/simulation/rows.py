"""
How the reference reads a row: from DESIGN and KALSHI alone.

Nothing here imports the service: two readings of the same rules must agree.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Doc = Mapping[str, Any]

_GZIP = b"\x1f\x8b"
_REQUIRED = ("id", "category", "type", "title")
_TICKERS = ("primary_event_tickers", "related_event_tickers")
_INSTANTS = ("start_date", "end_date")
_LATER_THAN_PLACEHOLDERS = datetime(2001, 1, 1, tzinfo=UTC)
_GRAVE = ("cancelled", "canceled", "postponed", "abandoned", "suspended", "delayed")


@dataclass(frozen=True)
class Page:
    """One answer of the list, or of a single milestone."""

    rows: tuple[bytes, ...]
    cursor: str


def page(body: bytes) -> Page | None:
    """The rows as they stand in the body; None: it is no page."""
    said = _object(body)
    if said is None or "milestones" not in said:
        return None
    docs = said["milestones"] or []
    rows = tuple(_bytes(doc) for doc in docs)
    return Page(rows=rows, cursor=said.get("cursor") or "")


def single(body: bytes) -> bytes | None:
    """The row of an answer for one milestone; None: there is none."""
    said = _object(body)
    return None if said is None else _bytes(said["milestone"])


def says_not_found(body: bytes) -> bool:
    """Whether a 404 is the API's own word, and came whole."""
    said = _object(body)
    return said is not None and said["error"]["code"] == "not_found"


def _object(body: bytes) -> Doc | None:
    try:
        said = json.loads(gzip.decompress(body) if body[:2] == _GZIP else body)
    except (ValueError, EOFError):
        return None
    return said if isinstance(said, dict) else None


def _bytes(doc: object) -> bytes:
    return json.dumps(doc, separators=(",", ":"), ensure_ascii=False).encode()


def identity(raw: bytes) -> str | None:
    """The row's id, if that much can be read."""
    doc = json.loads(raw)
    return doc["id"] if isinstance(doc, dict) and _is_text(doc.get("id")) else None


def read(raw: bytes) -> Doc | None:
    """The row; None: it is no milestone."""
    doc = json.loads(raw)
    if not isinstance(doc, dict):
        return None
    if not all(_is_text(doc.get(key)) for key in _REQUIRED):
        return None
    if not isinstance(doc.get("details") or {}, dict):
        return None
    if any(not isinstance(doc.get(key) or [], list) for key in _TICKERS):
        return None
    return doc if _is_text(doc.get("start_date")) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


# --- its values ---------------------------------------------------------------


def instant(text: str | None) -> datetime | None:
    """An instant; None for never."""
    if text is None or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def start(doc: Doc) -> datetime:
    """When it starts."""
    return datetime.fromisoformat(doc["start_date"])


def end(doc: Doc) -> datetime | None:
    """When it ends, if that is known."""
    return instant(doc.get("end_date"))


def is_real(when: datetime) -> bool:
    """Whether it is more than Kalshi's placeholder."""
    return when >= _LATER_THAN_PLACEHOLDERS


def is_older(doc: Doc, than: Doc) -> bool:
    """Whether a row says of itself that it is the older one."""
    one, other = instant(doc["last_updated_ts"]), instant(than["last_updated_ts"])
    return other is not None and (one is None or one < other)


def is_simulation(doc: Doc) -> bool:
    """Whether it is one of Kalshi's own simulations."""
    tickers = [ticker for key in _TICKERS for ticker in doc.get(key) or []]
    return bool(tickers) and all(ticker.startswith("SIM") for ticker in tickers)


def changed(before: Doc, after: Doc) -> frozenset[str]:
    """The fields in which two rows differ, but for `last_updated_ts`."""
    old, new = flat(before), flat(after)
    return frozenset(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))


def flat(doc: Doc) -> dict[str, object]:
    """The fields that are there, by path, so that equal ones mean the same."""
    found: dict[str, object] = {}
    for key, value in doc.items():
        if isinstance(value, dict):
            _flatten(found, key, value)
        elif key != "last_updated_ts":
            found[key] = meaning(key, value)
    return {path: value for path, value in found.items() if value is not None}


def meaning(path: str, value: object) -> object:
    """One value of one field: tickers are a set, instants have no zone; or None."""
    if path in _TICKERS:
        return frozenset(value) if isinstance(value, list) else frozenset()
    if value is None:
        return None
    if path in _INSTANTS:
        return datetime.fromisoformat(str(value))
    return json.dumps(value, sort_keys=True)


def _flatten(found: dict[str, object], path: str, value: object) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(found, f"{path}.{key}", inner)
    else:
        found[path] = meaning(path, value)


def is_grave(before: Doc, after: Doc) -> bool:
    """Whether its status comes to, or from, what nobody may miss."""
    return _grave_word(before) != _grave_word(after)


def _grave_word(doc: Doc) -> str | None:
    status = (doc.get("details") or {}).get("status")
    return status if status in _GRAVE else None
