"""Rows as Kalshi sends them, drawn and built, and the reads that show them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import msgspec
from hypothesis import strategies as st

from notifier.domain.changes import (
    DecodedRow,
    DiffPolicy,
    ReadContext,
    RowChange,
    StoredMilestone,
    diff,
)
from notifier.domain.models import Json
from notifier.domain.timers import LastAnnounced, TimePolicy
from notifier.kalshi import decoding

Doc: TypeAlias = dict[str, Json]

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
UNSET = datetime(2000, 1, 1, tzinfo=UTC)


def stamp(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def doc(name: str = "m1", **fields: Json) -> Doc:
    """A milestone that starts two hours after noon, last updated an hour before it."""
    fixed: Doc = {
        "id": name,
        "category": "Sports",
        "type": "football_game",
        "title": "Syracuse at Pittsburgh",
        "notification_message": "The game is about to begin!",
        "start_date": stamp(NOON + 2 * HOUR),
        "primary_event_tickers": ["KXNCAAFGAME-A"],
        "related_event_tickers": ["KXNCAAFGAME-A", "KXNCAAFSPREAD-A"],
        "details": {"league": "NCAAFB", "status": "scheduled"},
        "last_updated_ts": stamp(NOON - HOUR),
    }
    return fixed | fields


def row(fields: Mapping[str, Json]) -> DecodedRow:
    """The same as a read hands it on."""
    raw = msgspec.json.encode(fields)
    return DecodedRow(milestone=decoding.milestone(raw), fingerprint=decoding.fingerprint(raw))


def known(fields: Mapping[str, Json], *, announced: LastAnnounced | None = None) -> StoredMilestone:
    """The same as the store has it, after its first commit."""
    read = row(fields)
    return StoredMilestone(
        milestone=read.milestone,
        fingerprint=read.fingerprint,
        version=1,
        generation=1,
        announced=announced or LastAnnounced(),
    )


def reading(
    number: int = 1,
    *,
    now: datetime = NOON,
    silent: bool = False,
    touched_is_updated: bool = False,
    time: TimePolicy | None = None,
) -> ReadContext:
    policy = DiffPolicy(time=time or TimePolicy(), touched_is_updated=touched_is_updated)
    return ReadContext(read_id=number, policy=policy, silent=silent, seen_at=now)


def read(
    before: StoredMilestone | None, fields: Mapping[str, Json], reads: ReadContext
) -> RowChange:
    """What one row means beside what is known of it."""
    held = {} if before is None else {before.milestone.id: before}
    (step,) = diff(held, [row(fields)], reads)
    return step


def committed(before: StoredMilestone | None, step: RowChange) -> StoredMilestone:
    """What is known of a milestone once its step is committed."""
    if before is not None and (step.unconfirmed or step.is_same):
        return replace(before, unconfirmed=step.unconfirmed)
    was_told = before is not None and not step.is_new
    return StoredMilestone(
        milestone=step.row.milestone,
        fingerprint=step.row.fingerprint,
        version=step.version,
        generation=step.generation,
        announced=before.announced if before is not None and was_told else LastAnnounced(),
    )


# --- drawn --------------------------------------------------------------------

_KEYS = st.sampled_from(["a", "b", "a.b", "~", "~1", "", "status"])
_SCALARS: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 1.0, 2.5])
    | st.sampled_from(["", "x", "1", "2026-01-01T00:00:00Z"])
)


def _nested(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    lists: st.SearchStrategy[Json] = st.lists(inner, max_size=3)
    return lists | st.dictionaries(_KEYS, inner, max_size=3)


_JSON: st.SearchStrategy[Json] = st.recursive(_SCALARS, _nested, max_leaves=8)
_NULL: st.SearchStrategy[Json] = st.none()
_MAPS = _NULL | st.dictionaries(_KEYS, _JSON, max_size=4)
_TICKERS = _NULL | st.lists(st.sampled_from(["KX-A", "KX-B", "KX-C"]), max_size=4)
_STARTS = st.sampled_from(
    [
        "2026-11-22T14:00:00Z",
        "2026-11-22T14:00:00.000Z",
        "2026-11-22T15:00:00+01:00",
        "2026-11-22t14:00:00z",
        "2026-11-22T14:00:00.5Z",
        "2026-11-22T10:00:00Z",
        "2000-01-01T00:00:00Z",
    ]
)
_ENDS = st.sampled_from(
    [
        None,
        "2000-01-02T00:00:00Z",
        "2026-11-22T11:59:59.123456Z",
        "2026-11-22T17:00:00Z",
        "2026-11-22T18:00:00+01:00",
    ]
)
_UPDATED = st.sampled_from(
    [
        "0001-01-01T00:00:00Z",
        "2026-11-22T11:00:00Z",
        "2026-11-22T11:00:00.12345Z",
        "2026-11-22T11:30:00Z",
    ]
)


def docs(name: str = "m1") -> st.SearchStrategy[Doc]:
    """Rows of one milestone that differ often, in small ways and in spelling only."""
    fields: dict[str, st.SearchStrategy[Json]] = {
        "title": st.sampled_from(["A at B", "A at C"]),
        "start_date": _STARTS,
        "last_updated_ts": _UPDATED,
        "details": _MAPS,
    }
    optional: dict[str, st.SearchStrategy[Json]] = {
        "end_date": _ENDS,
        "primary_event_tickers": _TICKERS,
        "related_event_tickers": _TICKERS,
        "source_ids": _MAPS,
        "product_details": _JSON,
        "x.y": _SCALARS,
    }
    base: Doc = {"id": name, "category": "Sports", "type": "football_game"}
    drawn = st.fixed_dictionaries(fields, optional=optional)

    def whole(some: Doc) -> Doc:
        return base | some

    return drawn.map(whole)
