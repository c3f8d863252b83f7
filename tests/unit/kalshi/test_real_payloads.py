"""Captured answers, where they are at hand; they are not part of the project."""

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from notifier.kalshi.decoding import (
    milestone,
    read_exchange_active,
    read_live,
    read_page,
    read_single,
)

PAGES = Path(__file__).parents[4] / "shared" / "kalshi" / "pages"
NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)

pytestmark = pytest.mark.skipif(
    not PAGES.is_dir(), reason="the captured payloads are not on this machine"
)


def recorded(name: str) -> bytes:
    body = (PAGES / name).read_bytes()
    wrapped = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return bytes(wrapped.get("response", msgspec.Raw(body)))


def test_a_real_page_is_read_whole_with_its_cursor() -> None:
    page = read_page(recorded("milestones_list.json"), sent_at=NOW, received_at=NOW)

    assert page.bad == ()
    assert page.cursor.startswith("CgYI8KnivQYS")
    read = [milestone(row.raw) for row in page.rows]
    assert [m.title for m in read][2:4] == ["Mexico Open", "Rybakina vs Andreeva"]
    assert [m.start for m in read] == sorted(m.start for m in read)


def test_a_real_single_answer_is_read() -> None:
    read = milestone(read_single(recorded("milestone_single.json")))

    assert read.title == "Indiana at New York"
    assert read.message == "Who will emerge victorious?"
    assert read.tickers == ("SIMNBAGAME",)


def test_a_real_game_with_27_tickers_is_read() -> None:
    read = milestone((PAGES / "football_game.json").read_bytes())

    assert len(read.tickers) == 27
    assert read.end is None
    assert read.status == "scheduled"


def test_a_real_race_with_placeholder_dates_is_read_as_it_is() -> None:
    read = milestone((PAGES / "political_race.json").read_bytes())

    assert read.start == datetime(2000, 1, 1, tzinfo=UTC)
    assert read.end == datetime(2000, 1, 2, tzinfo=UTC)
    assert read.updated == datetime(2026, 9, 15, 15, 24, 57, 733_570, tzinfo=UTC)


def test_a_real_game_that_was_never_updated_says_so() -> None:
    read = milestone((PAGES / "basketball_game_never_updated.json").read_bytes())

    assert read.updated is None


def test_a_real_exchange_status_is_read() -> None:
    assert read_exchange_active(recorded("exchange_status.json"))


def test_a_real_answer_of_live_data_is_read() -> None:
    found = read_live(recorded("live_data_batch.json"))

    assert [(one.status.value, one.word) for one in found.values()] == [("live", "live")]


def test_no_real_row_loses_a_key() -> None:
    for name in ("football_game.json", "political_race.json"):
        body = (PAGES / name).read_bytes()

        assert milestone(body).doc == json.loads(body)
