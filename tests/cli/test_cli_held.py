"""What people see of deliveries that wait, gave way, or cannot get through."""

from datetime import UTC, datetime, time
from pathlib import Path

import anyio
import pytest
from commanding import typed
from storing import HOUR, MINUTE, SECOND, UTC_ZONE, opened, row, stocked

from notifier.core.hold import Manner
from notifier.core.model import Failed, QuietPolicy, Window

ALWAYS = Window(days=frozenset(range(7)), start=time(0), end=time(0))
QUIET = Manner(over=None, zone=UTC_ZONE, quiet=QuietPolicy(windows=(ALWAYS,)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of one milestone two updates became one; it is held since, as another is."""

    async def fill() -> None:
        now = datetime.now(UTC)
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            for n, title in enumerate(("A", "B", "C")):
                await shelf.show(row("m1", title=title), now=now + n * SECOND)
            await shelf.show(row("m2"), now=now)
            await shelf.claim(manner=QUIET, now=now + 3 * SECOND)

    anyio.run(fill)
    return tmp_path


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A destination that fails for ten minutes, and asked for an hour's patience."""

    async def fill() -> None:
        now = datetime.now(UTC) - 10 * MINUTE
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            for n in range(5):
                await shelf.show(row(f"m{n}"), now=now)
                [lease] = await shelf.claim(now=now)
                await shelf.settle(lease, Failed(reason="HTTP 503"), now=now)
            later = now + MINUTE
            [lease] = await shelf.claim(now=later, room=1)
            busy = Failed(reason="HTTP 503", retry_after=HOUR)
            await shelf.settle(lease, busy, now=later)

    anyio.run(fill)
    return tmp_path


def test_a_held_delivery_says_by_what_and_until_when(folder: Path) -> None:
    rows = typed("deliveries", "--json", cwd=folder).rows
    listed = typed("deliveries", cwd=folder).out
    status = typed("status", cwd=folder).out

    held = [one for one in rows if one["state"] == "pending"]
    assert len(held) == 3
    for one in held:
        assert one["reason"].startswith("quiet hours until ")
        assert datetime.fromisoformat(one["due_at"]) > datetime.now(UTC)
    assert listed.count("quiet hours until ") == 3
    [line] = [line for line in status.splitlines() if line.startswith("hook")]
    assert line.split()[1:3] == ["3", "3"]
    assert "Held" in status


def test_a_superseded_delivery_names_the_event_that_tells_it(folder: Path) -> None:
    rows = typed("deliveries", "--json", cwd=folder).rows
    [gone] = [one for one in rows if one["state"] == "superseded"]
    newest = gone["superseded_by"]

    listed = typed("deliveries", cwd=folder).out
    shown = typed("explain", gone["event_id"], cwd=folder)
    [story] = typed("explain", gone["event_id"], "--json", cwd=folder).rows

    events = [one["event_id"] for one in typed("events", "--json", cwd=folder).rows]
    assert newest == events[2]
    assert f"{newest[:12]}: told with a later update of the milestone" in listed
    assert f"in favour of  {newest}" in shown.out
    assert story["deliveries"][0]["superseded_by"] == newest


def test_a_held_delivery_is_explained(folder: Path) -> None:
    *_, last = typed("events", "--json", cwd=folder).rows

    shown = typed("explain", last["event_id"], cwd=folder).out

    assert "quiet hours until " in shown
    assert "pending, due in " in shown


def test_the_status_says_since_when_a_destination_fails_and_what_follows(
    broken: Path,
) -> None:
    shown = typed("status", cwd=broken).out
    [row_] = typed("status", "--json", cwd=broken).rows

    assert "failing since 10 min ago: HTTP 503, next try in 51 min" in shown
    [hook] = row_["destinations"]
    assert hook["open_since"] is not None
    assert (hook["pending"], hook["held"]) == (5, 0)
