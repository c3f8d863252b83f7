import json
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import pytest

from notifier.domain.models import Json
from notifier.errors import RowInvalid, SourceGarbled
from notifier.kalshi.decoding import (
    BAD_ROW_BYTES,
    BadRow,
    Page,
    Row,
    bad_row,
    milestone,
    quote,
    read_exchange_active,
    read_page,
    read_row,
    read_single,
)

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
START = "2026-11-29T18:00:00Z"
LEAST: dict[str, Json] = {
    "id": "m1",
    "category": "Sports",
    "type": "football_game",
    "start_date": START,
    "title": "Syracuse at Pittsburgh",
}


def raw(**fields: Json) -> bytes:
    return json.dumps(LEAST | fields).encode()


def listing(*rows: bytes, cursor: bytes = b'""') -> bytes:
    return b'{"milestones":[' + b",".join(rows) + b'],"cursor":' + cursor + b"}"


def read(body: bytes) -> Page:
    return read_page(body, sent_at=NOW, received_at=NOW)


def error(row: bytes) -> str:
    with pytest.raises(RowInvalid) as caught:
        milestone(row)
    return str(caught.value)


# --- pages --------------------------------------------------------------------


def test_a_page_is_split_into_rows_that_keep_the_bytes_of_the_wire() -> None:
    first, second = b'{"id": "a" ,"x":1}', b'{"title":"t","id":"b"}'

    page = read(listing(first, second, cursor=b'"next"'))

    digest = blake2b(first, digest_size=16).digest()
    assert page.rows[0] == Row("a", first, digest)
    assert [(row.id, row.raw) for row in page.rows] == [("a", first), ("b", second)]
    assert page.cursor == "next"
    assert page.bad == ()


def test_a_page_knows_when_it_was_asked_for_and_what_the_server_s_clock_said() -> None:
    sent, received = NOW, NOW + timedelta(seconds=1)

    page = read_page(listing(), sent_at=sent, received_at=received, date=NOW)

    assert (page.sent_at, page.received_at, page.date) == (sent, received, NOW)


@pytest.mark.parametrize(
    "body",
    [
        b'{"milestones":[],"cursor":""}',
        b'{"milestones":[],"cursor":null}',
        b'{"milestones":[]}',
        b'{"milestones":null,"cursor":""}',
    ],
)
def test_no_more_pages_is_spelt_in_many_ways(body: bytes) -> None:
    page = read(body)

    assert (page.rows, page.cursor) == ((), "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"error":"too many requests"}',
        b"<html>",
        b'{"milestones":{},"cursor":""}',
        b'{"milestones":[],"cursor":5}',
        b'{"milestones":[],"cursor":"\xff"}',
        b'{"milestones":[{"id":"a"}',
        b'{"milestones":[{"id":"a"}],"cursor":"',
        b'{"milestones":[{"id":"a"}],"cursor":""}}',
        b'{"milestones":[{"id":"\\ud800"}],"cursor":"',
        b'{"milestones":[{"id":"\\ud800"}],"cursor":NaN}',
        b'{"milestones":[{"id":"\\ud800"}],"cursor"}',
        b'{"milestones":"\\ud800","cursor":""}',
        b'{"milestones":[{"id":NaN}]}{[]}',
        b'\xef\xbb\xbf{"milestones":[]}',
    ],
)
def test_what_is_not_a_whole_page_is_garbled(body: bytes) -> None:
    with pytest.raises(SourceGarbled):
        read(body)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"null", "Expected `object`, got `null`"),
        (b"5", "Expected `object`"),
        (b"{}", "id: missing"),
        (b'{"id":null}', "id: Expected `str`, got `null`"),
        (b'{"id":7}', "id: Expected `str`, got `int`"),
        (b'{"id":""}', "id: Expected `str` of length >= 1"),
        (b'{"id":"' + b"x" * 129 + b'"}', "id: Expected `str` of length <= 128"),
        (b'{"id":"a\\nb"}', "id: not printable ASCII"),
        (b'{"id":"\xff"}', "utf-8"),
        (b'{"id":"a","title":"\\ud800"}', "truncated"),
        (b'{"id":"a","title":"\x01"}', "invalid character"),
        (b'{"id":"a","title":NaN}', "invalid character"),
        (b'{"id":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}", "recursion"),
    ],
)
def test_a_row_that_cannot_be_read_is_put_aside_and_the_page_lives(row: bytes, says: str) -> None:
    page = read(listing(b'{"id":"before"}', row, b'{"id":"after"}', cursor=b'"c"'))

    assert [good.id for good in page.rows] == ["before", "after"]
    assert page.cursor == "c"
    [bad] = page.bad
    assert bad.raw == row
    assert bad.key == bad.fingerprint.hex()
    assert says in bad.error


def test_the_same_bad_bytes_are_known_by_the_same_key() -> None:
    page = read(listing(b'{"id":5}', b'{"id":5}', b'{"id":6}'))

    assert [bad.key for bad in page.bad].count(page.bad[0].key) == 2


def test_a_bad_row_keeps_no_more_than_64_kib() -> None:
    row = b'{"id":5,"title":"' + b"x" * 100_000 + b'"}'

    [bad] = read(listing(row)).bad

    assert bad.raw == row[:BAD_ROW_BYTES]


def test_of_two_rows_with_one_id_the_newer_stays_in_its_place() -> None:
    def stamped(when: str | None) -> bytes:
        return json.dumps({"id": "a", "last_updated_ts": when}).encode()

    older, newer = stamped("2026-01-01T00:00:00Z"), stamped("2026-01-01T00:00:00.5Z")
    never, broken = stamped(None), stamped("soon")
    for copies in ([older, newer], [newer, older], [broken, newer, never]):
        page = read(listing(*copies, b'{"id":"b"}'))

        assert [row.id for row in page.rows] == ["a", "b"]
        assert page.rows[0].raw == newer


def test_structure_inside_of_strings_does_not_end_a_row() -> None:
    row = b'{"id":"a","title":"}],\\"[{:, \\\\"}'

    page = read(listing(row, b'{"id":"\\ud800"}'))

    assert [good.raw for good in page.rows] == [row]


def test_a_page_that_must_be_salvaged_may_be_written_with_blanks() -> None:
    body = b' {\n "cursor" : "c" ,\n "milestones" : [ {"id":"a"} , {"id":NaN} ] }\n'

    page = read(body)

    assert ([row.id for row in page.rows], page.cursor) == (["a"], "c")


def test_a_page_too_large_to_be_searched_is_garbled_at_once() -> None:
    large = b'{"id":"a","title":"' + b"x" * 5_000_000 + b'"}'

    assert read(listing(large)).rows
    with pytest.raises(SourceGarbled):
        read(listing(large, b'{"id":NaN}'))


def test_one_row_by_itself_reads_like_one_of_a_page() -> None:
    good, bad = read_row(b'{"id":"a"}'), read_row(b"{}")

    assert isinstance(good, Row)
    assert good.id == "a"
    assert isinstance(bad, BadRow)


def test_a_single_answer_holds_the_bytes_of_its_row() -> None:
    assert read_single(b'{"milestone": {"id":"a"} }') == b'{"id":"a"}'
    for body in (b"{}", b'{"error":"no"}', b"[]", b"<html>"):
        with pytest.raises(SourceGarbled):
            read_single(body)


def test_the_exchange_s_status_must_be_said_to_be_believed() -> None:
    assert read_exchange_active(b'{"exchange_active":true,"trading_active":false}')
    assert not read_exchange_active(b'{"exchange_active":false}')
    for body in (b"{}", b'{"exchange_active":"yes"}', b"<html>"):
        with pytest.raises(SourceGarbled):
            read_exchange_active(body)


# --- rows ---------------------------------------------------------------------


def test_a_whole_row_becomes_a_milestone_and_keeps_what_it_does_not_know() -> None:
    row = raw(
        end_date="2026-11-29T21:00:00.5Z",
        last_updated_ts="2026-11-22T17:00:00.77172Z",
        notification_message="The game is about to begin!",
        primary_event_tickers=["B", "A"],
        related_event_tickers=["A", "C"],
        details={"status": "Scheduled"},
        product_details={"new": [1, None]},
    )

    read = milestone(row)

    assert (read.id, read.category, read.type) == ("m1", "Sports", "football_game")
    assert read.title == "Syracuse at Pittsburgh"
    assert read.message == "The game is about to begin!"
    assert read.start == datetime(2026, 11, 29, 18, tzinfo=UTC)
    assert read.end == datetime(2026, 11, 29, 21, 0, 0, 500_000, tzinfo=UTC)
    assert read.updated == datetime(2026, 11, 22, 17, 0, 0, 771_720, tzinfo=UTC)
    assert read.primary_tickers == ("B", "A")
    assert read.related_tickers == ("A", "C")
    assert read.details == {"status": "Scheduled"}
    assert read.doc["product_details"] == {"new": [1, None]}
    assert read.raw == row


NULLS: dict[str, Json] = dict.fromkeys(
    [
        "end_date",
        "last_updated_ts",
        "notification_message",
        "primary_event_tickers",
        "related_event_tickers",
        "details",
        "source_id",
        "source_ids",
    ]
)


@pytest.mark.parametrize("optional", [{}, NULLS], ids=["absent", "null"])
def test_optional_fields_may_be_absent_or_null(optional: dict[str, Json]) -> None:
    read = milestone(raw(**optional))

    assert (read.end, read.updated, read.message) == (None, None, "")
    assert (read.primary_tickers, read.related_tickers, read.details) == ((), (), {})


@pytest.mark.parametrize("field", list(LEAST))
def test_a_required_field_that_is_absent_or_null_is_named(field: str) -> None:
    absent = {key: value for key, value in LEAST.items() if key != field}

    assert error(json.dumps(absent).encode()) == f"{field}: missing"
    assert error(raw(**{field: None})).startswith(f"{field}: Expected")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("id", "a b\n"),
        ("category", ["Sports"]),
        ("type", 1.5),
        ("title", {"en": "x"}),
        ("start_date", 1784000000),
        ("start_date", ""),
        ("start_date", "tomorrow"),
        ("end_date", "tomorrow"),
        ("end_date", 5),
        ("last_updated_ts", True),
        ("notification_message", ["x"]),
        ("primary_event_tickers", "KXNFL"),
        ("related_event_tickers", ["A", None]),
        ("related_event_tickers", {"A": 1}),
        ("details", []),
        ("details", "none"),
    ],
)
def test_a_wrong_type_is_never_guessed_at_and_names_its_field(field: str, value: Json) -> None:
    assert error(raw(**{field: value})).startswith(field)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-29T18:00:00Z", "2026-11-29T18:00:00"),
        ("2026-11-29T18:00:00.5Z", "2026-11-29T18:00:00.500000"),
        ("2026-11-29T18:00:00.73357Z", "2026-11-29T18:00:00.733570"),
        ("2026-11-29T18:00:00.123456789Z", "2026-11-29T18:00:00.123457"),
        ("2026-11-29T13:00:00-05:00", "2026-11-29T18:00:00"),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59"),
    ],
)
def test_any_instant_that_can_be_told_is_believed(text: str, when: str) -> None:
    assert milestone(raw(start_date=text)).start.isoformat() == when + "+00:00"


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-29T18:00:00",
        "2026-11-29",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-29T18:00:60Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "1784000000",
    ],
)
def test_an_instant_without_offset_or_beyond_the_calendar_is_invalid(text: str) -> None:
    assert error(raw(start_date=text)).startswith("start_date: ")


@pytest.mark.parametrize("never", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.5Z"])
def test_year_one_means_never(never: str) -> None:
    read = milestone(raw(last_updated_ts=never, end_date=never))

    assert (read.updated, read.end) == (None, None)


def test_megabytes_and_control_characters_are_kept_for_rendering_to_deal_with() -> None:
    title = "\x00\x1b[31m\u202e" + "x" * 1_000_000

    assert milestone(raw(title=title)).title == title


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    row = raw()[:-1] + b',"title":"second"}'

    assert milestone(row).title == "second"


def test_fifty_levels_are_read_and_more_are_refused() -> None:
    def nested(levels: int) -> Json:
        value: Json = 1
        for _ in range(levels):
            value = [value]
        return value

    assert milestone(raw(details={"x": nested(48)})).id == "m1"
    assert milestone(raw(many=[[1], [2]] * 40)).id == "m1"
    deep = error(raw(details={"x": nested(49)}))
    assert deep == "details: nested deeper than 50 levels"
    assert error(raw(x=nested(60))) == "x: nested deeper than 50 levels"


@pytest.mark.parametrize(
    "row",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b'{"id":"\xff"}',
        b'{"id":"\\ud800"}',
        b'{"x":NaN}',
        b'{"x":1e999}',
        b'{"x":' + b"9" * 5000 + b"}",
        b'{"x":' + b"[" * 100_000 + b"}",
    ],
)
def test_bytes_that_are_no_row_are_invalid_in_one_line(row: bytes) -> None:
    said = error(row)

    assert said
    assert said.isprintable()
    assert len(said) < 300


def test_a_row_that_turns_out_invalid_is_put_aside_under_its_id() -> None:
    row = read_row(raw(title=5))
    assert isinstance(row, Row)

    aside = bad_row(row, RowInvalid("title: no"))

    assert aside == BadRow(key="m1", raw=row.raw, fingerprint=row.fingerprint, error="title: no")


def test_foreign_text_in_an_error_is_one_short_printable_line() -> None:
    said = quote("a\nb\x1b[31m\u202e " + "x" * 10_000)

    assert said.startswith("a b\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER} x")
    assert said.isprintable()
    assert len(said) == 200
