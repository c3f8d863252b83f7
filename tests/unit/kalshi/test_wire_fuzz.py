import json
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from notifier.domain.models import Json, Milestone
from notifier.errors import RowInvalid, SourceGarbled
from notifier.kalshi.decoding import milestone, read_page

NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)
SAMPLE = json.dumps(
    {
        "milestones": [
            {
                "id": f"m{n}",
                "category": "Sports",
                "type": "football_game",
                "start_date": "2026-11-29T18:00:00.5Z",
                "title": 'A "quoted" \\ title, [with] {structure}: é',
                "details": {"season": {"week": n, "odds": [1.5, None, True]}},
                "primary_event_tickers": ["A", "B"],
            }
            for n in range(3)
        ],
        "cursor": "CgYI8KnivQY",
    }
).encode()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9" * 30]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = (
    "id",
    "category",
    "type",
    "title",
    "start_date",
    "end_date",
    "last_updated_ts",
    "notification_message",
    "primary_event_tickers",
    "related_event_tickers",
    "details",
)


def try_page(body: bytes) -> None:
    try:
        page = read_page(body, sent_at=NOW, received_at=NOW)
    except SourceGarbled:
        return
    for row in page.rows:
        assert row.raw in body
        try_row(row.raw)


def try_row(raw: bytes) -> Milestone | None:
    try:
        return milestone(raw)
    except RowInvalid:
        return None


@given(st.binary())
@example(b"{")
def test_no_bytes_at_all_raise_anything_but_our_own_errors(body: bytes) -> None:
    try_page(body)
    try_row(body)


@given(
    st.integers(0, len(SAMPLE) - 1),
    st.integers(0, 40),
    st.binary(max_size=8)
    | st.sampled_from([b"NaN", b"\\ud800", b"\x00", b'"', b"[" * 2000, b"}", b"null"]),
)
def test_no_damage_to_a_page_raises_anything_but_our_own_errors(
    at: int, length: int, patch: bytes
) -> None:
    try_page(SAMPLE[:at] + patch + SAMPLE[at + length :])


@given(st.integers(0, len(SAMPLE) - 1))
def test_a_page_that_was_cut_off_never_passes_for_a_whole_one(at: int) -> None:
    damaged = SAMPLE[:at].replace(b"Sports", b"\\ud800")
    for body in (SAMPLE[:at], damaged):
        try:
            read_page(body, sent_at=NOW, received_at=NOW)
        except SourceGarbled:
            continue
        raise AssertionError(body)


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_no_value_of_any_field_raises_anything_but_our_own_errors(
    fields: dict[str, Json],
) -> None:
    least = {
        "id": "a",
        "category": "c",
        "type": "t",
        "title": "x",
        "start_date": "2026-01-01T00:00:00Z",
    }
    raw = json.dumps(least | fields).encode()

    read = try_row(raw)

    if read is not None:
        assert read.start.tzinfo is UTC
        assert read.raw == raw
    try_page(b'{"milestones":[' + raw + b'],"cursor":""}')


@given(st.lists(st.sampled_from([b'{"id":"a"}', b'{"id":"b"}', b"{}", b"5"])))
def test_every_row_of_a_page_is_either_read_or_put_aside(rows: list[bytes]) -> None:
    body = b'{"milestones":[' + b",".join([*rows, b'{"id":NaN}']) + b'],"cursor":""}'

    page = read_page(body, sent_at=NOW, received_at=NOW)

    good = {row for row in rows if b"id" in row}
    assert {row.raw for row in page.rows} == good
    assert len(page.bad) == sum(b"id" not in row for row in rows) + 1
