"""Answers of the API: whatever the bytes, they are read, put aside, or refused."""

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import anyio
import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from message_samples import changed, event, put

from fuzz.bounds import MEBIBYTE, at_most, guarded
from notifier.domain.changes import changes
from notifier.domain.models import Format, Json, Kind, Milestone
from notifier.domain.outgoing import RenderLevel
from notifier.domain.routing import route
from notifier.domain.rules import Match, Route
from notifier.errors import RowInvalid, SourceGarbled
from notifier.kalshi.body import read_body
from notifier.kalshi.decoding import (
    MAX_DEPTH,
    milestone,
    read_exchange_active,
    read_page,
    read_single,
)
from notifier.kalshi.errors import error_of, message_in, retry_after

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
LEAST = {
    "id": "m1",
    "category": "Sports",
    "type": "football_game",
    "title": "Bears at Packers",
    "start_date": "2026-11-29T18:00:00Z",
}
FIELDS = [
    *LEAST,
    *("end_date", "last_updated_ts", "notification_message", "details", "source_ids"),
    *("primary_event_tickers", "related_event_tickers", "product_details", "unknown"),
]
#: Written as they are, since no writer of JSON would write most of them.
ODD = [
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e999",
    b"-1e-999",
    b"9" * 400,
    b"1" + b"0" * 5000,
    b"1.7976931348623159e308",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"' + b"x" * 300_000 + b'"',
    b'"' + b"\\u202e@everyone <b> " * 20_000 + b'"',
    b"[" * 100_000,
    b"[" * 200 + b"]" * 200,
    b'{"a":' * 60 + b"1" + b"}" * 60,
    b"[" + b"0," * 50_000 + b"0]",
    b"{" + b",".join(b'"k%d":1' % n for n in range(5_000)) + b"}",
    b'{"a":1,"a":2}',
    b'{"":{"":[]}}',
    b'{"~":1,"~1":2,".":3,"a.b":4}',
    b'"0000-00-00T00:00:00Z"',
    b'"9999-12-31T23:59:59-23:59"',
    b'"0001-01-01T00:00:00+23:59"',
    b'"2026-02-30T00:00:00Z"',
    b'"2026-11-29T18:00:60Z"',
    b'"2026-11-29T18:00:00.' + b"9" * 1000 + b'Z"',
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'[""]',
    b"[null]",
    b'["A","A","a"]',
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda of: st.lists(of) | st.dictionaries(st.text(), of),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
VALUES = st.sampled_from(ODD) | JSON
ROWS = st.lists(st.tuples(st.sampled_from(FIELDS), VALUES), max_size=4)


def written(fields: list[tuple[str, bytes]]) -> bytes:
    """A row that would be good, but for these; a key may well come twice."""
    parts = [f'"{key}":{json.dumps(value)}'.encode() for key, value in LEAST.items()]
    parts += [b'"%s":%s' % (key.encode(), value) for key, value in fields]
    return b"{" + b",".join(parts) + b"}"


def refused(exc: Exception) -> None:
    """What is said is short enough for a log, whatever it is about."""
    assert len(str(exc)) < 600
    assert str(exc).isprintable()


def read(body: bytes) -> Iterator[Milestone]:
    """Every milestone of a page; nothing of a body that is none."""
    try:
        page = read_page(body, sent_at=NOW, received_at=NOW)
    except SourceGarbled as exc:
        refused(exc)
        return
    for bad in page.bad:
        assert bad.raw[:100] in body
        assert len(bad.error) < 600
        assert bad.error.isprintable()
    for row in page.rows:
        try:
            yield milestone(row.raw)
        except RowInvalid as exc:
            refused(exc)


def told(of: Milestone) -> None:
    """All that is ever made of a milestone: events, deliveries, messages."""
    bare = milestone(written([]))
    wants = Match(fields=(("title", ("~(.+)+x",)), ("details.a", ("*",))))
    events = [
        event(Kind.CREATED, of),
        event(
            Kind.UPDATED,
            of,
            changes=(*changes(bare.doc, of.doc), changed("x", None, "y")),
        ),
        event(Kind.UPDATED, bare, changes=changes(of.doc, bare.doc)),
        event(Kind.STARTED, of),
        event(Kind.REMOVED, of),
    ]
    for each in events:
        route(each, [Route(name="all", to=("ops",), match=wants)])
        for markup in Format:
            assert len(put(each, markup=markup, body=2000).body) <= 2000
    digest = put(*events, level=RenderLevel.RICH, body=2000, external_url="https://x.example")
    assert len(digest.body) <= 2000
    for one in digest.events:
        json.loads(one.milestone)


@given(ROWS)
@example([("details", b'{"status":"cancelled","a":' + ODD[17] + b"}")])
@example([("end_date", ODD[24])])
@example([("title", ODD[14]), ("notification_message", ODD[14])])
@example([("id", b'"' + b"x" * 128 + b'"')])
def test_any_row_is_told_or_put_aside(fields: list[tuple[str, bytes]]) -> None:
    row = written(fields)
    beside = written([("id", b'"beside"')])
    with at_most(256):
        found = list(read(b'{"milestones":[' + row + b"," + beside + b"]}"))
        for of in found:
            told(of)

    # Only what leaves a bracket or a quotation mark open takes its neighbours along.
    if all(value != b"[" * 100_000 for _, value in fields):
        assert "beside" in {of.id for of in found}


@given(
    st.binary()
    | st.tuples(st.sampled_from(ODD), st.integers(0, 200), st.integers(0, 40)).map(
        lambda cut: (
            (page := b'{"milestones":[' + written([]) * 2 + b'],"cursor":"x"}')[: cut[1]]
            + cut[0]
            + page[cut[1] + cut[2] :]
        )
    )
)
@example(b"[" * 1_000_000)
@example(b'{"milestones":' * 100_000)
@example(b'{"milestones":[' + b"{}," * 300_000 + b"NaN]}")
@example(b'{"milestones":[' + b'"\\ud800",' * 100_000 + b"1]}")
@example(b'{"milestones":null,"milestones":[],"cursor":"a","cursor":7}')
@example(b'\xef\xbb\xbf{"milestones":[]}')
@example(b'{"milestones":[]}\x00')
@example(b'"' + b"\\" * 1_000_001 + b'"')
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    with at_most(512):
        list(read(body))
        message_in(body)
        for reader in (read_single, read_exchange_active):
            try:
                reader(body)
            except SourceGarbled as exc:
                refused(exc)


HEADERS = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\x00"))


@given(st.integers(200, 599), HEADERS | st.sampled_from(["9" * 400, "-1", "1e9"]))
@example(429, "Sun, 06 Nov 0000 08:49:37 GMT")
@example(503, "Fri, 31 Dec 9999 23:59:59 -2359")
@example(302, "٣")
def test_any_headers_are_read_or_left(status: int, text: str) -> None:
    names = ("retry-after", "date", "content-type", "location")
    raw = [(name.encode(), text.encode("utf-8")) for name in names]
    answer = httpx.Response(status, headers=raw)

    wait = retry_after(answer, now=NOW)

    assert wait is None or 0 <= wait.total_seconds() <= 86_400
    error_of(answer, text.encode(), now=NOW)


def deflated(*, times: int, again: bool = False) -> bytes:
    """A bomb: a gigabyte and more out of a megabyte, or that once again packed."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    bomb = b"".join(squeeze.compress(bytes(MEBIBYTE)) for _ in range(times))
    bomb += squeeze.flush()
    return gzip.compress(bomb) if again else bomb


@pytest.mark.parametrize("chunk", [100, 64 * 1024, 8 * MEBIBYTE])
def test_a_bomb_takes_no_more_room_than_an_answer_may(chunk: int) -> None:
    limit = MEBIBYTE
    bomb = deflated(times=256)

    async def fetch() -> bytes:
        async def stream(request: httpx.Request) -> httpx.Response:
            del request
            parts = (bomb[at : at + chunk] for at in range(0, len(bomb), chunk))
            return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=_Parts(parts))

        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(stream)) as client,
            client.stream("GET", "http://x") as answer,
        ):
            return await read_body(answer, limit=limit)

    with at_most(64), pytest.raises(SourceGarbled, match="larger than"):
        anyio.run(fetch)


class _Parts(httpx.AsyncByteStream):
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204
        for part in self._parts:
            yield part


@pytest.mark.parametrize("depth", [MAX_DEPTH - 2, MAX_DEPTH + 1, 900, 100_000])
def test_nesting_is_told_or_put_aside(depth: int) -> None:
    deep = b'{"a":[' * (depth // 2) + b"1" + b"]}" * (depth // 2)
    with guarded():
        for of in read(b'{"milestones":[' + written([("details", deep)]) + b"]}"):
            told(of)


def test_every_odd_value_of_every_field_is_told_or_put_aside() -> None:
    with guarded():
        for field in FIELDS:
            for value in ODD:
                for of in read(b'{"milestones":[' + written([(field, value)]) + b"]}"):
                    details: Json = of.doc.get("details")
                    assert details is None or of.details == (details or {})
