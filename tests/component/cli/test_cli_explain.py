"""`notifier explain`: why did, or didn't, I get this, and what did it say?"""

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from commanding import Ended, typed
from storing import DAY, HOOK, MINUTE, SECOND, Claimed, opened, row, stamp, stocked

from notifier.domain.models import Sent

CONFIG = """\
destinations:
  hook: {url: "${NOBODY_KNOWS}", zone: Europe/Paris}
routes:
  - {name: all, to: [hook]}
  - {name: hockey, to: [hook], match: {details.league: NHL}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A game was told; it was renamed twice, which was told as one."""
    (tmp_path / "notifier.yaml").write_text(CONFIG)
    now = datetime.now(UTC) - MINUTE
    start = stamp(now + DAY)

    async def fill() -> None:
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            for at, titles in ((now, ["A"]), (now + 9 * SECOND, ["\x1b[1mB", "C"])):
                for n, title in enumerate(titles):
                    shown = row(title=title, start_date=start)
                    await shelf.show(shown, now=at + n * SECOND)
                lease: Claimed
                [lease] = await shelf.claim(now=at + 2 * SECOND, to=HOOK)
                sent = Sent(status=200)
                await shelf.settle(lease, sent, now=at + 2 * SECOND)

    anyio.run(fill)
    return tmp_path


def explained(folder: Path, number: int, *args: object) -> Ended:
    ids = [one["event_id"] for one in typed("events", "--json", cwd=folder).rows]
    return typed("explain", ids[number], *args, cwd=folder, TZ="UTC", COLUMNS="100")


def test_the_message_is_put_into_words_once_more(folder: Path) -> None:
    words = " ".join(explained(folder, 2).out.split())

    assert "tried" in words
    assert "sent, HTTP 200" in words
    assert "told Renamed: C Title: A → C" in words
    assert "The net of 2 updates." in words
    assert words.count("plain text") == 1


def test_what_was_told_with_another_names_it(folder: Path) -> None:
    words = " ".join(explained(folder, 1).out.split())

    newest = typed("events", "--json", cwd=folder).rows[2]["event_id"]
    assert f"sent with a later update of the milestone: {newest}" in words
    assert "\x1b" not in words


def test_a_route_that_does_not_match_shows_the_value(folder: Path) -> None:
    words = " ".join(explained(folder, 0).out.split())

    assert "yes all -> hook: matched" in words
    assert "no hockey: details.league is NFL, wants NHL" in words


def test_the_row_for_programs_is_that_of_the_contract(folder: Path) -> None:
    [found] = explained(folder, 0, "--json").rows

    assert set(found) == {"event", "routes", "deliveries"}
    assert [set(one) for one in found["routes"]] == [{"route", "matched", "why"}] * 2
    [owed] = found["deliveries"]
    [listed] = typed("deliveries", "--json", "--limit", "3", cwd=folder).rows[:1]
    assert owed == listed


def test_without_right_routes_the_rest_is_told(folder: Path) -> None:
    (folder / "notifier.yaml").write_text(CONFIG.replace("[hook]}", "[hock]}"))

    ended = explained(folder, 0)

    assert ended.status == 0
    assert "The routes are missing here" in ended.err
    assert "did you mean hook?" in ended.err
    assert "hook delivered" in " ".join(ended.out.split())
