"""
Decoding of answers. Kalshi's own names end here.

A page is only split into rows, each identified by its id and the fingerprint of its
bytes: an unchanged row costs nothing more. `milestone` decodes one row completely.

Absent and null are equal, and empty where nothing is lost by it (tickers, details,
message, end, last update). A field of the wrong type makes the row invalid; the page
and its other rows are used.

Source: Kalshi OpenAPI 3.34.0, GET /milestones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from notifier.domain.live_status import LiveAnswer, parse_status
from notifier.domain.models import Json, Milestone
from notifier.errors import RowInvalid, SourceGarbled
from notifier.kalshi.row_recovery import recover_rows

#: Bytes of a bad row that are kept for inspection.
BAD_ROW_BYTES = 64 * 1024
#: Code that walks through a milestone may recurse so deep.
MAX_DEPTH = 50
#: Characters of foreign text that an error message quotes.
QUOTED = 200
#: Characters of an id. Kalshi's are UUIDs; any printable ASCII is accepted.
ID_LENGTH = 128

#: What msgspec raises for arbitrary bytes.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of a page, not decoded yet. A Struct is 8 times cheaper than a dataclass."""

    id: str
    raw: bytes
    #: 16 bytes over `raw`.
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRow:
    """A row for the quarantine. The same bad bytes have the same fingerprint."""

    #: The row's id if it can be read, else the fingerprint in hex.
    key: str
    #: At most `BAD_ROW_BYTES` of it.
    raw: bytes
    fingerprint: bytes
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer. Rows stand in the order of the list, each id once."""

    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]
    #: Of the next page; empty at the end of the list.
    cursor: str
    sent_at: datetime
    received_at: datetime
    #: The header `Date`, if there is a valid one.
    date: datetime | None


def read_page(
    body: bytes,
    *,
    sent_at: datetime,
    received_at: datetime,
    date: datetime | None = None,
) -> Page:
    """
    Split one answer of the list into its rows.

    Of two rows with one id the newer by `last_updated_ts` stays. `milestones: null`
    is an empty list, `cursor: null` and no cursor are the end.

    Raises:
        SourceGarbled: the body is not a page of milestones, or not a whole one.

    """
    raws, cursor = _split(body)
    rows, bad = _rows(raws)
    return Page(
        rows=tuple(rows),
        bad=tuple(bad),
        cursor=cursor,
        sent_at=sent_at,
        received_at=received_at,
        date=date,
    )


def fingerprint(raw: bytes) -> bytes:
    """16 bytes that are equal for equal rows."""
    return blake2b(raw, digest_size=16).digest()


def read_row(raw: bytes) -> Row | BadRow:
    """One row by itself, as if it came in a page."""
    rows, bad = _rows([raw])
    return rows[0] if rows else bad[0]


def read_single(body: bytes) -> bytes:
    """
    The row inside the answer of `GET /milestones/{id}`.

    Raises:
        SourceGarbled: there is none.

    """
    try:
        return bytes(_decode_single(body).milestone)
    except UNREADABLE as exc:
        raise SourceGarbled(f"the answer is no milestone: {quote(exc)}") from exc


def read_exchange_active(body: bytes) -> bool:
    """
    `exchange_active` in the answer of `GET /exchange/status`.

    Raises:
        SourceGarbled: there is none.

    """
    try:
        return _decode_exchange(body).exchange_active
    except UNREADABLE as exc:
        raise SourceGarbled(f"the answer is no exchange status: {quote(exc)}") from exc


def read_live(body: bytes) -> dict[str, LiveAnswer]:
    """
    By milestone: the live data in the answer of `GET /live_data/batch`.

    Rows without a status, or that cannot be read, are left out; `live_datas: null` is
    an empty list. `widget_status`, which Kalshi's pages show, counts before `status`.

    Raises:
        SourceGarbled: the body is not such an answer.

    """
    try:
        rows = _decode_live(body).live_datas or []
    except UNREADABLE as exc:
        raise SourceGarbled(f"the answer is no live data: {quote(exc)}") from exc
    found: dict[str, LiveAnswer] = {}
    for raw in rows:
        try:
            row = _decode_live_row(raw)
        except UNREADABLE:
            continue
        details = row.details or {}
        words = [details.get(key) for key in ("widget_status", "status")]
        heard = parse_status([quote(word) for word in words if isinstance(word, str)])
        if heard is not None:
            found[row.milestone_id] = heard
    return found


def bad_row(row: Row, error: RowInvalid) -> BadRow:
    """The row for the quarantine, because `milestone` cannot decode it."""
    return BadRow(
        key=row.id,
        raw=row.raw[:BAD_ROW_BYTES],
        fingerprint=row.fingerprint,
        error=str(error),
    )


def milestone(raw: bytes) -> Milestone:
    """
    Decode one row completely.

    Required: id, category, type, start_date, title. Instants need an offset and
    come back in UTC; beyond microseconds they are rounded. Year 1 stands for
    "never" in `last_updated_ts` and `end_date`. Any other date between the years
    1 and 9999 is believed, control characters and megabytes of text are kept.

    Raises:
        RowInvalid: which field, and what is wrong with it.

    """
    doc = _document(raw)
    fields = _fields(doc)
    if not (fields.id.isascii() and fields.id.isprintable()):
        raise RowInvalid("id: not printable ASCII")
    return Milestone(
        id=fields.id,
        category=fields.category,
        type=fields.type,
        title=fields.title,
        message=fields.notification_message or "",
        start=_utc(fields.start_date, "start_date"),
        end=_unless_never(fields.end_date, "end_date"),
        updated=_unless_never(fields.last_updated_ts, "last_updated_ts"),
        primary_tickers=fields.primary_event_tickers or (),
        related_tickers=fields.related_event_tickers or (),
        details=fields.details or {},
        doc=doc,
        raw=raw,
    )


def quote(text: object) -> str:
    """Foreign text for one line of a log: printable, at most `QUOTED` characters."""
    line = " ".join(str(text)[: 4 * QUOTED].split())
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return clean if len(clean) <= QUOTED else clean[: QUOTED - 1] + "…"


# --- splitting a page ---------------------------------------------------------


#: RFC 3339 with an offset.
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]


class _Listing(msgspec.Struct, gc=False):
    milestones: list[msgspec.Raw] | None
    cursor: str | None = None


class _Identity(msgspec.Struct, gc=False):
    id: _Id


class _Stamp(msgspec.Struct, gc=False):
    last_updated_ts: _Instant | None = None


class _Single(msgspec.Struct, gc=False):
    milestone: msgspec.Raw


class _Exchange(msgspec.Struct, gc=False):
    exchange_active: bool


class _LiveListing(msgspec.Struct, gc=False):
    live_datas: list[msgspec.Raw] | None


class _LiveRow(msgspec.Struct, gc=False):
    milestone_id: _Id
    details: dict[str, Any] | None = None


class _Fields(msgspec.Struct, gc=False):
    id: _Id
    category: str
    type: str
    title: str
    start_date: _Instant
    end_date: _Instant | None = None
    last_updated_ts: _Instant | None = None
    notification_message: str | None = None
    primary_event_tickers: tuple[str, ...] | None = None
    related_event_tickers: tuple[str, ...] | None = None
    details: dict[str, Any] | None = None


_decode_listing = msgspec.json.Decoder(_Listing).decode
_decode_identity = msgspec.json.Decoder(_Identity).decode
_decode_stamp = msgspec.json.Decoder(_Stamp).decode
_decode_single = msgspec.json.Decoder(_Single).decode
_decode_exchange = msgspec.json.Decoder(_Exchange).decode
_decode_live = msgspec.json.Decoder(_LiveListing).decode
_decode_live_row = msgspec.json.Decoder(_LiveRow).decode
_decode_document = msgspec.json.Decoder(dict[str, Any]).decode


def _split(body: bytes) -> tuple[Sequence[bytes | msgspec.Raw], str]:
    try:
        listing = _decode_listing(body)
    except (msgspec.ValidationError, UnicodeDecodeError) as exc:
        raise SourceGarbled(f"the answer is no page: {quote(exc)}") from exc
    except (msgspec.DecodeError, RecursionError) as exc:
        return _split_leniently(body, quote(exc))
    return listing.milestones or [], listing.cursor or ""


def _split_leniently(body: bytes, why: str) -> tuple[Sequence[bytes], str]:
    """One row that is not JSON must not cost the page: find the rows around it."""
    parts = recover_rows(body)
    if parts is None:
        raise SourceGarbled(f"the answer is no whole page: {why}")
    raws, rest = parts
    try:
        return raws, _decode_listing(rest).cursor or ""
    except UNREADABLE as exc:
        raise SourceGarbled(f"the answer is no page: {quote(exc)}") from exc


def _rows(raws: Sequence[bytes | msgspec.Raw]) -> tuple[list[Row], list[BadRow]]:
    rows: list[Row] = []
    bad: list[BadRow] = []
    for part in raws:
        raw = bytes(part)
        fingerprint = blake2b(raw, digest_size=16).digest()
        try:
            row_id = _decode_identity(raw).id
        except UNREADABLE as exc:
            bad.append(_without_id(raw, fingerprint, _field_and_problem(str(exc))))
            continue
        if row_id.isascii() and row_id.isprintable():
            rows.append(Row(row_id, raw, fingerprint))
        else:
            bad.append(_without_id(raw, fingerprint, "id: not printable ASCII"))
    return _newest(rows), bad


def _without_id(raw: bytes, fingerprint: bytes, error: str) -> BadRow:
    return BadRow(
        key=fingerprint.hex(),
        raw=raw[:BAD_ROW_BYTES],
        fingerprint=fingerprint,
        error=error,
    )


def _newest(rows: list[Row]) -> list[Row]:
    newest: dict[str, Row] = {row.id: row for row in rows}
    if len(newest) == len(rows):
        return rows
    for row in rows:
        if _stamp(row) > _stamp(newest[row.id]):
            newest[row.id] = row
    return list(newest.values())


def _stamp(row: Row) -> datetime:
    never = datetime.min.replace(tzinfo=UTC)
    try:
        return _decode_stamp(row.raw).last_updated_ts or never
    except UNREADABLE:
        return never


# --- reading a row ------------------------------------------------------------


def _document(raw: bytes) -> dict[str, Json]:
    try:
        doc: dict[str, Json] = _decode_document(raw)
    except UNREADABLE as exc:
        raise RowInvalid(f"the row is no JSON object: {quote(exc)}") from exc
    brackets = raw.count(b"{") + raw.count(b"[")
    if brackets > MAX_DEPTH and (key := _too_deep(doc)) is not None:
        raise RowInvalid(f"{quote(key)}: nested deeper than {MAX_DEPTH} levels")
    return doc


def _too_deep(doc: Mapping[str, Json]) -> str | None:
    """A key with something nested deeper than `MAX_DEPTH` below it."""
    level: list[tuple[str, Json]] = list(doc.items())
    for _ in range(MAX_DEPTH):
        level = [(key, inner) for key, value in level for inner in _inner(value)]
    return level[0][0] if level else None


def _inner(value: Json) -> Sequence[Json]:
    match value:
        case dict():
            return list(value.values()) or [None]
        case list():
            return value or [None]
        case _:
            return []


def _fields(doc: Mapping[str, Json]) -> _Fields:
    try:
        return msgspec.convert(doc, _Fields)
    except msgspec.ValidationError as exc:
        raise RowInvalid(_field_and_problem(str(exc))) from exc


def _field_and_problem(error: str) -> str:
    """The message of msgspec with the field first."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", error):
        return f"{missing[1]}: missing"
    if found := re.fullmatch(r"(.*) - at `\$\.(.*)`", error, re.DOTALL):
        return f"{quote(found[2])}: {quote(found[1])}"
    return quote(error)


def _unless_never(when: datetime | None, key: str) -> datetime | None:
    """None for year 1, with which Kalshi writes a time that was never set."""
    return None if when is None or when.year == 1 else _utc(when, key)


def _utc(when: datetime, key: str) -> datetime:
    try:
        return when.astimezone(UTC)
    except OverflowError as exc:
        raise RowInvalid(f"{key}: outside the years 1 to 9999 in UTC") from exc
