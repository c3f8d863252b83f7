"""What people see of deliveries that wait, gave way, or cannot get through."""

from datetime import UTC, datetime, time
from pathlib import Path

import anyio
import pytest
from commanding import typed
from storing import HOOK, HOUR, MINUTE, SECOND, UTC_ZONE, opened, row, stocked

from notifier.domain.batching import BatchingPolicy
from notifier.domain.models import Failed, Refused, Scope
from notifier.domain.rules import QuietPolicy, Route, Then, Window
from notifier.storage import destination_state
from notifier.storage.database import Priority

ALWAYS = Window(days=frozenset(range(7)), start=time(0), end=time(0))
QUIET = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=QuietPolicy(windows=(ALWAYS,)))


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
            await shelf.claim(batching=QUIET, now=now + 3 * SECOND)

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


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A destination that is suspended, one that is gone, and one that is no more."""

    async def fill() -> None:
        now = datetime.now(UTC) - MINUTE
        async with opened(tmp_path / "notifier.db") as store:
            everywhere = (Route(name="all", to=(HOOK, "desk", "old")),)
            shelf = await stocked(store, routes=everywhere)
            async with store.turn(Priority.MAINTENANCE) as turn:
                await turn.write(
                    destination_state.set_destinations, {HOOK: "fingerprint", "desk": "1"}, now
                )
            await shelf.show(row("m1"), now=now)
            for name, status, scope in (
                (HOOK, 401, Scope.DESTINATION),
                ("desk", 410, Scope.GONE),
            ):
                [lease] = await shelf.claim(now=now, to=name)
                no = Refused(reason=f"HTTP {status}", scope=scope)
                await shelf.settle(lease, no, now=now)
            await shelf.show(row("m2"), now=now)

    anyio.run(fill)
    return tmp_path


@pytest.fixture
def dead(tmp_path: Path) -> Path:
    """Two dead letters."""
    reason = "HTTP 400: the text holds something that this service does not like"

    async def fill() -> None:
        now = datetime.now(UTC)
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            for name in ("m1", "m2"):
                await shelf.show(row(name), now=now)
                for _ in range(2):
                    [lease] = await shelf.claim(now=now)
                    no = Refused(reason=reason, scope=Scope.MESSAGE)
                    await shelf.settle(lease, no, now=now)

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
    why, _, newest = gone["reason"].partition(": ")

    shown = typed("explain", gone["event_id"], cwd=folder)
    [story] = typed("explain", gone["event_id"], "--json", cwd=folder).rows

    events = [one["event_id"] for one in typed("events", "--json", cwd=folder).rows]
    assert newest == events[2]
    assert why == "sent with a later update of the milestone"
    assert newest in "".join(shown.out.split())
    assert story["deliveries"][0]["reason"] == gone["reason"]


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


def test_the_status_says_what_helps_a_destination_that_refuses(refused: Path) -> None:
    [row_] = typed("status", "--json", cwd=refused).rows
    shown = typed("status", cwd=refused).out

    assert "suspended 1 min ago: HTTP 401, next probe in 14 min" in shown
    assert "gone (410): notifier resume desk" in shown
    assert "not configured any more; 2 wait, given up 72 h after they became due" in shown
    assert "Dropped" not in shown
    assert {one["name"]: one["configured"] for one in row_["destinations"]} == {
        "desk": True,
        HOOK: True,
        "old": False,
    }


def test_the_status_counts_what_was_dropped_once_there_is_any(tmp_path: Path) -> None:
    async def fill() -> None:
        now = datetime.now(UTC)
        quiet = QuietPolicy(windows=(ALWAYS,), then=Then.DROP)
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            await shelf.show(row("m1"), now=now)
            manner = BatchingPolicy(over=None, zone=UTC_ZONE, quiet=quiet)
            await shelf.claim(batching=manner, now=now)

    anyio.run(fill)

    shown = typed("status", cwd=tmp_path).out.splitlines()

    [line] = [line for line in shown if line.startswith("hook")]
    assert any("Dropped, 24 h" in line for line in shown)
    assert line.split()[:6] == ["hook", "0", "0", "0", "0", "1"]


def test_what_has_not_been_tried_says_what_it_waits_for(refused: Path) -> None:
    *_, last = typed("events", "--json", cwd=refused).rows

    shown = typed("explain", last["event_id"], cwd=refused).out
    listed = typed("deliveries", cwd=refused).out

    for words in (
        "hook is suspended: HTTP 401",
        "desk is gone: HTTP 410",
        "old is not configured any more",
    ):
        assert words in shown
        assert words in listed


def test_a_reason_is_whole_on_a_narrow_terminal(dead: Path) -> None:
    shown = typed("deliveries", "--dead", cwd=dead, COLUMNS="80").out
    listed = typed("deliveries", cwd=dead, COLUMNS="80").out

    for out in (shown, listed):
        assert "\N{HORIZONTAL ELLIPSIS}" not in out
        assert out.count("service") == 2
    assert max(map(len, shown.splitlines())) <= 80


def test_a_dead_letter_is_put_back_by_the_id_that_is_shown(dead: Path) -> None:
    first, second = typed("deliveries", "--dead", "--json", cwd=dead).rows
    _, line, *_ = typed("deliveries", "--dead", cwd=dead).out.splitlines()
    explained = typed("explain", first["event_id"], cwd=dead).out

    shown = line.split()[0]
    put_back = typed("redrive", shown, cwd=dead)
    again = typed("redrive", shown, cwd=dead)

    assert first["delivery_id"].startswith(shown)
    assert first["delivery_id"] in explained
    assert put_back.out.startswith(f"{first['delivery_id']}  hook  created  HTTP 400")
    assert "1 delivery that had been given up: put back" in put_back.err
    assert (again.status, again.out) == (0, "")
    assert f"{first['delivery_id']} to hook is pending: left" in again.err
    [left] = typed("deliveries", "--dead", "--json", cwd=dead).rows
    assert left == second


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("dlv_typo",), "there is no delivery 'dlv_typo'; the dead ones are dlv_"),
        (("dlv_",), "dlv_ is the beginning of dlv_"),
        (("--destination", "hok"), "'hok' is no destination; there are hook"),
    ],
)
def test_what_is_not_there_is_not_put_back(dead: Path, wrong: tuple[str, ...], says: str) -> None:
    ended = typed("redrive", *wrong, cwd=dead)

    assert (ended.status, ended.out) == (1, "")
    assert says in ended.err
