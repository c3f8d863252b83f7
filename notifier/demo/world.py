"""The stand-in's milestones, and what may happen to them."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeAlias

import msgspec

from notifier.clock import Clock
from notifier.demo.cursor import Key, decode, encode
from notifier.domain.models import Json

#: A milestone as Kalshi spells it.
Doc: TypeAlias = dict[str, Json]

NEVER = "0001-01-01T00:00:00Z"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_ID = "\N{REPLACEMENT CHARACTER}"
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What `GET /milestones` was asked for. Strings compare as they are."""

    limit: int
    cursor: str = ""
    min_updated_ts: int | None = None
    minimum_start_date: datetime | None = None
    #: category, type, competition, source_id, related_event_ticker
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page before it is put into bytes; a cursor may be spoilt in any way."""

    rows: Sequence[bytes]
    cursor: Json

    def body(self) -> bytes:
        """The page as JSON."""
        rows = b",".join(self.rows)
        return b'{"cursor":%b,"milestones":[%b]}' % (_encode(self.cursor), rows)


class World:
    """
    Milestones in Kalshi's order: ascending by start (whole seconds) and id.

    Kept as bytes, so that 137,200 of them fit and a page is a join. Whatever
    changes a milestone takes effect at once and for all readers.
    """

    def __init__(self, clock: Clock, docs: Iterable[Doc] = ()) -> None:
        self._clock = clock
        self._rows: dict[str, _Entry] = {}
        self._order: list[Key] = []
        #: Whole seconds of `last_updated_ts`, and id; without what never was updated.
        self._updates: list[Key] = []
        #: `details` of live data, by milestone.
        self.live: dict[str, Mapping[str, Json]] = {}
        self.load(docs)

    def __len__(self) -> int:
        """How many milestones there are."""
        return len(self._rows)

    def __contains__(self, milestone_id: str) -> bool:
        """Whether there is such a milestone."""
        return milestone_id in self._rows

    def __iter__(self) -> Iterator[str]:
        """The ids, in the order of the list."""
        return (milestone_id for _, milestone_id in self._order)

    # --- what may happen ---

    def load(self, docs: Iterable[Doc]) -> None:
        """Add many at once, as they are."""
        for doc in docs:
            entry = _entry(doc)
            self._rows[entry.id] = entry
        self._order = sorted(entry.by_start for entry in self._rows.values())
        self._updates = sorted(e.by_update for e in self._rows.values() if e.by_update)

    def add(self, doc: Doc) -> str:
        """Add one, updated now unless it says otherwise, and give its id."""
        entry = _entry({"last_updated_ts": stamp(self._clock.now())} | doc)
        if entry.id in self._rows:
            self.remove(entry.id)
        self._insert(entry)
        return entry.id

    def update(self, milestone_id: str, **fields: Json) -> None:
        """Change fields, those of `details` one by one, and `last_updated_ts`."""
        fields.setdefault("last_updated_ts", stamp(self._clock.now()))
        self.change_without_bump(milestone_id, **fields)

    def touch(self, milestone_id: str) -> None:
        """Bump `last_updated_ts` and nothing else."""
        self.update(milestone_id)

    def change_without_bump(self, milestone_id: str, **fields: Json) -> None:
        """Change fields, those of `details` one by one, and nothing else."""
        doc = self.doc(milestone_id)
        details, new = doc.get("details"), fields.get("details")
        if isinstance(details, dict) and isinstance(new, dict):
            fields["details"] = {**details, **new}
        self.remove(milestone_id)
        self._insert(_entry(doc | fields))

    def move_start(self, milestone_id: str, start: datetime) -> None:
        """Reschedule it."""
        self.update(milestone_id, start_date=stamp(start))

    def remove(self, milestone_id: str) -> None:
        """Let it vanish from the list, and answer 404."""
        entry = self._rows.pop(milestone_id)
        _discard(self._order, entry.by_start)
        if entry.by_update:
            _discard(self._updates, entry.by_update)

    def snapshot(self) -> "World":
        """The world as it is now, apart from what happens to it later."""
        copy = World(self._clock)
        copy._rows = dict(self._rows)
        copy._order = list(self._order)
        copy._updates = list(self._updates)
        copy.live = dict(self.live)
        return copy

    # --- what may be asked ---

    def raw(self, milestone_id: str) -> bytes | None:
        """One row's bytes as every answer holds them."""
        entry = self._rows.get(milestone_id)
        return entry.raw if entry else None

    def doc(self, milestone_id: str) -> Doc:
        """One row to look at or to build on; a KeyError without it."""
        doc: Doc = _decode(self._rows[milestone_id].raw)
        return doc

    def page(self, query: Query) -> Listing:
        """
        One page of the list.

        Raises:
            ValueError: the cursor is none of ours.

        """
        keys = self._keys(query)
        begin = bisect_right(keys, decode(query.cursor)) if query.cursor else 0
        if query.minimum_start_date is not None:
            first = (_seconds(query.minimum_start_date), "")
            begin = max(begin, bisect_left(keys, first))
        found = list(islice(self._matching(keys, begin, query), query.limit + 1))
        rows = found[: query.limit]
        cursor = encode(rows[-1].by_start) if len(found) > query.limit else ""
        return Listing(tuple(entry.raw for entry in rows), cursor)

    def _keys(self, query: Query) -> list[Key]:
        if query.min_updated_ts is None:
            return self._order
        begin = bisect_right(self._updates, (query.min_updated_ts, _LAST_ID))
        ids = (milestone_id for _, milestone_id in self._updates[begin:])
        return sorted(self._rows[milestone_id].by_start for milestone_id in ids)

    def _matching(self, keys: list[Key], begin: int, query: Query) -> Iterator["_Entry"]:
        entries = (self._rows[keys[at][1]] for at in range(begin, len(keys)))
        if not query.filters:
            return entries
        return (entry for entry in entries if _matches(entry, query.filters))

    def _insert(self, entry: "_Entry") -> None:
        self._rows[entry.id] = entry
        insort(self._order, entry.by_start)
        if entry.by_update:
            insort(self._updates, entry.by_update)


def stamp(when: datetime) -> str:
    """An instant as Kalshi writes it: `Z`, and a fraction without closing zeros."""
    text = when.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


class _Entry(msgspec.Struct, frozen=True, gc=False):
    id: str
    raw: bytes
    by_start: Key
    by_update: Key | None
    category: Json
    type: Json


def _entry(doc: Doc) -> _Entry:
    row_id = str(doc["id"])
    updated = _second(doc.get("last_updated_ts"))
    return _Entry(
        id=row_id,
        raw=_encode(doc),
        by_start=(_second(doc.get("start_date")) or 0, row_id),
        by_update=None if updated is None else (updated, row_id),
        category=doc.get("category"),
        type=doc.get("type"),
    )


def _second(text: Json) -> int | None:
    """The whole second of an instant; None for never, and for what is none."""
    if not isinstance(text, str) or text == NEVER:
        return None
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        return None


def _seconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(seconds=1)


def _matches(entry: _Entry, filters: Mapping[str, str]) -> bool:
    if entry.category != filters.get("category", entry.category):
        return False
    if entry.type != filters.get("type", entry.type):
        return False
    rare = filters.keys() - {"category", "type"}
    return not rare or _matches_whole(_decode(entry.raw), filters)


def _matches_whole(doc: Doc, filters: Mapping[str, str]) -> bool:
    details, tickers = doc.get("details"), doc.get("related_event_tickers")
    actual = {
        "competition": details.get("competition") if isinstance(details, dict) else None,
        "source_id": doc.get("source_id"),
    }
    ticker = filters.get("related_event_ticker")
    if ticker is not None and not (isinstance(tickers, list) and ticker in tickers):
        return False
    return all(actual[key] == filters[key] for key in actual.keys() & filters.keys())


def _discard(keys: list[Key], key: Key) -> None:
    del keys[bisect_left(keys, key)]
