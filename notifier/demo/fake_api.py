"""
A fake of Kalshi's API: milestones in memory, and the answers of its endpoints.

Source: Kalshi OpenAPI 3.34.0, and captured answers.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.clock import Clock
from notifier.demo.local_server import HOST
from notifier.domain.models import Json

#: A milestone as Kalshi writes it.
Document: TypeAlias = dict[str, Json]
#: Start in whole Unix seconds, and id: what the list is ordered by.
SortKey: TypeAlias = tuple[int, str]

PREFIX = "/trade-api/v2"
#: `last_updated_ts` of a milestone that was never updated.
NEVER = "0001-01-01T00:00:00Z"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_ID = "\N{REPLACEMENT CHARACTER}"
_FILTERS = ("category", "competition", "source_id", "type", "related_event_ticker")
_MAX_LIMIT = 500
_MAX_LIVE = 100
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The parameters of `GET /milestones`. Strings compare as they are."""

    limit: int
    cursor: str = ""
    min_updated_ts: int | None = None
    minimum_start_date: datetime | None = None
    #: category, type, competition, source_id, related_event_ticker
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the list; a test may put any value in place of the cursor."""

    rows: Sequence[bytes]
    cursor: Json

    def body(self) -> bytes:
        """The page as JSON."""
        rows = b",".join(self.rows)
        return b'{"cursor":%b,"milestones":[%b]}' % (_encode(self.cursor), rows)


class _Entry(msgspec.Struct, frozen=True, gc=False):
    id: str
    raw: bytes
    by_start: SortKey
    by_update: SortKey | None
    category: Json
    type: Json


class FakeApi:
    """
    Milestones in Kalshi's order, ascending by start (whole seconds) and id.

    They are kept as bytes, so that 137,200 of them fit into memory and a page is a
    join. A change takes effect at once.
    """

    def __init__(self, clock: Clock, documents: Iterable[Document] = ()) -> None:
        self._clock = clock
        self._rows: dict[str, _Entry] = {}
        self._order: list[SortKey] = []
        #: Whole seconds of `last_updated_ts`, and id; without what never was updated.
        self._updates: list[SortKey] = []
        #: `details` of live data, by milestone.
        self.live: dict[str, Mapping[str, Json]] = {}
        self.load(documents)

    def __len__(self) -> int:
        """The number of milestones."""
        return len(self._rows)

    def __contains__(self, milestone_id: str) -> bool:
        """Whether there is such a milestone."""
        return milestone_id in self._rows

    def __iter__(self) -> Iterator[str]:
        """The ids, in the order of the list."""
        return (milestone_id for _, milestone_id in self._order)

    # --- changes ---

    def load(self, documents: Iterable[Document]) -> None:
        """Add many at once, as they are."""
        for document in documents:
            entry = _entry(document)
            self._rows[entry.id] = entry
        self._order = sorted(entry.by_start for entry in self._rows.values())
        self._updates = sorted(e.by_update for e in self._rows.values() if e.by_update)

    def add(self, document: Document) -> str:
        """Add one, updated now unless it says otherwise; its id."""
        entry = _entry({"last_updated_ts": timestamp(self._clock.now())} | document)
        if entry.id in self._rows:
            self.remove(entry.id)
        self._insert(entry)
        return entry.id

    def update(self, milestone_id: str, **fields: Json) -> None:
        """Change fields, those of `details` one by one, and `last_updated_ts`."""
        fields.setdefault("last_updated_ts", timestamp(self._clock.now()))
        self.change_without_bump(milestone_id, **fields)

    def change_without_bump(self, milestone_id: str, **fields: Json) -> None:
        """Change fields, those of `details` one by one, but not `last_updated_ts`."""
        document = self.document(milestone_id)
        details, new = document.get("details"), fields.get("details")
        if isinstance(details, dict) and isinstance(new, dict):
            fields["details"] = {**details, **new}
        self.remove(milestone_id)
        self._insert(_entry(document | fields))

    def move_start(self, milestone_id: str, start: datetime) -> None:
        """Reschedule a milestone."""
        self.update(milestone_id, start_date=timestamp(start))

    def remove(self, milestone_id: str) -> None:
        """Take a milestone off the list, so that it answers 404."""
        entry = self._rows.pop(milestone_id)
        del self._order[bisect_left(self._order, entry.by_start)]
        if entry.by_update:
            del self._updates[bisect_left(self._updates, entry.by_update)]

    def snapshot(self) -> "FakeApi":
        """A copy that later changes do not reach."""
        copy = FakeApi(self._clock)
        copy._rows = dict(self._rows)
        copy._order = list(self._order)
        copy._updates = list(self._updates)
        copy.live = dict(self.live)
        return copy

    def _insert(self, entry: _Entry) -> None:
        self._rows[entry.id] = entry
        insort(self._order, entry.by_start)
        if entry.by_update:
            insort(self._updates, entry.by_update)

    # --- answers ---

    def raw(self, milestone_id: str) -> bytes | None:
        """One row's bytes as every answer holds them."""
        entry = self._rows.get(milestone_id)
        return entry.raw if entry else None

    def document(self, milestone_id: str) -> Document:
        """One row, decoded; raises KeyError without it."""
        found: Document = _decode(self._rows[milestone_id].raw)
        return found

    def page(self, query: ListQuery) -> ListPage:
        """
        One page of the list.

        Raises:
            ValueError: the cursor is not one of this API.

        """
        keys = self._order
        if query.min_updated_ts is not None:
            first = bisect_right(self._updates, (query.min_updated_ts, _LAST_ID))
            keys = sorted(self._rows[key].by_start for _, key in self._updates[first:])
        begin = bisect_right(keys, _decode_cursor(query.cursor)) if query.cursor else 0
        if query.minimum_start_date is not None:
            begin = max(begin, bisect_left(keys, (_seconds(query.minimum_start_date), "")))
        entries = (self._rows[keys[at][1]] for at in range(begin, len(keys)))
        if query.filters:
            entries = (entry for entry in entries if _matches(entry, query.filters))
        found = list(islice(entries, query.limit + 1))
        rows = found[: query.limit]
        cursor = encode_cursor(rows[-1].by_start) if len(found) > query.limit else ""
        return ListPage(tuple(entry.raw for entry in rows), cursor)

    def respond(
        self,
        method: str,
        path: str,
        query: Mapping[str, Sequence[str]],
        *,
        change_page: Callable[[ListPage], ListPage] = lambda page: page,
    ) -> tuple[int, bytes]:
        """
        Status and JSON body of an answer; `path` is without the prefix.

        `change_page` may replace a page of the list before it is encoded.
        """
        match [method, *path.strip("/").split("/")]:
            case ["GET", "milestones"]:
                return self._list(query, change_page)
            case ["GET", "milestones", milestone_id] if milestone_id in self:
                return 200, b'{"milestone":%b}' % self._rows[milestone_id].raw
            case ["GET", "exchange", "status"]:
                return 200, _encode({"exchange_active": True, "trading_active": True})
            case ["GET", "live_data", "batch"]:
                return 200, _encode({"live_datas": self._live(query.get("milestone_ids", ()))})
            case ["GET", *_]:
                return 404, _encode({"error": {"code": "not_found", "message": "not found"}})
            case _:
                return 405, _encode({"error": "method not allowed"})

    def _list(
        self, query: Mapping[str, Sequence[str]], change_page: Callable[[ListPage], ListPage]
    ) -> tuple[int, bytes]:
        if "limit" not in query:
            return 400, _encode({"msg": "Query argument limit is required, but not found"})
        try:
            page = self.page(_list_query(query))
        except ValueError as exc:
            return 400, _encode({"code": "bad_request", "message": str(exc), "details": ""})
        return 200, change_page(page).body()

    def _live(self, milestone_ids: Sequence[str]) -> list[Mapping[str, Json]] | None:
        """Rows of live data; null for joined ids, as the API has it."""
        known = [i for i in milestone_ids[:_MAX_LIVE] if i in self]
        if milestone_ids and not known:
            return None
        return [
            {"details": self.live[i], "milestone_id": i, "type": self.document(i)["type"]}
            for i in known
            if i in self.live
        ]


def api_app(api: FakeApi) -> Starlette:
    """The API as an ASGI application."""

    async def endpoint(request: Request) -> Response:
        query = {key: request.query_params.getlist(key) for key in request.query_params}
        status, body = api.respond(request.method, request.path_params["path"], query)
        return Response(body, status, media_type="application/json")

    return Starlette(routes=[Route(f"{PREFIX}/{{path:path}}", endpoint)])


def base_url(port: int) -> str:
    """The `source.base_url` that reads from an API on this port."""
    return f"http://{HOST}:{port}{PREFIX}"


def milestone(
    *, milestone_id: str, title: str, start: datetime, tickers: Sequence[str], **more: Json
) -> Document:
    """One milestone as Kalshi would send it; `more` replaces any of its fields."""
    document: Document = {
        "category": "Sports",
        "details": {"league": "NFL", "status": "scheduled"},
        "id": milestone_id,
        "notification_message": "The game is about to begin.",
        "primary_event_tickers": list(tickers[:1]),
        "related_event_tickers": list(tickers),
        "start_date": timestamp(start),
        "title": title,
        "type": "football_game",
    }
    return document | more


def timestamp(when: datetime) -> str:
    """An instant as Kalshi writes it: `Z`, and a fraction without closing zeros."""
    text = when.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def encode_cursor(key: SortKey) -> str:
    """The cursor behind the row with this key."""
    return urlsafe_b64encode(_encode(key)).decode().rstrip("=")


def _decode_cursor(cursor: str) -> SortKey:
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(text, type=tuple[int, str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise ValueError("invalid cursor") from exc


def _entry(document: Document) -> _Entry:
    row_id = str(document["id"])
    updated = _whole_second(document.get("last_updated_ts"))
    return _Entry(
        id=row_id,
        raw=_encode(document),
        by_start=(_whole_second(document.get("start_date")) or 0, row_id),
        by_update=None if updated is None else (updated, row_id),
        category=document.get("category"),
        type=document.get("type"),
    )


def _whole_second(text: Json) -> int | None:
    """The whole second of an instant; None for never, and for what is none."""
    if not isinstance(text, str) or text == NEVER:
        return None
    try:
        return _seconds(datetime.fromisoformat(text))
    except ValueError:
        return None


def _seconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(seconds=1)


def _list_query(query: Mapping[str, Sequence[str]]) -> ListQuery:
    values = {key: texts[-1] for key, texts in query.items()}
    limit = int(values["limit"])
    if not 1 <= limit <= _MAX_LIMIT:
        raise ValueError(f"limit must be between 1 and {_MAX_LIMIT}")
    updated, start = values.get("min_updated_ts"), values.get("minimum_start_date")
    starts_after = None if start is None else datetime.fromisoformat(start)
    if starts_after is not None and starts_after.tzinfo is None:
        raise ValueError("minimum_start_date needs an offset")
    return ListQuery(
        limit=limit,
        cursor=values.get("cursor", ""),
        min_updated_ts=None if updated is None else int(updated),
        minimum_start_date=starts_after,
        filters={key: values[key] for key in _FILTERS if values.get(key)},
    )


def _matches(entry: _Entry, filters: Mapping[str, str]) -> bool:
    if entry.category != filters.get("category", entry.category):
        return False
    if entry.type != filters.get("type", entry.type):
        return False
    if not filters.keys() - {"category", "type"}:
        return True
    document = _decode(entry.raw)
    details, tickers = document.get("details"), document.get("related_event_tickers")
    ticker = filters.get("related_event_ticker")
    if ticker is not None and not (isinstance(tickers, list) and ticker in tickers):
        return False
    actual = {
        "competition": details.get("competition") if isinstance(details, dict) else None,
        "source_id": document.get("source_id"),
    }
    return all(actual[key] == filters[key] for key in actual.keys() & filters.keys())
