"""What counts as new: storms, baselines that announce, watches that overlap."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from storing import NOW, SECOND, Shelf, ask, opened, row

from notifier.domain.changes import DecodedRow, DiffPolicy, ReadContext, diff
from notifier.domain.models import Kind
from notifier.domain.poll_schedule import Progress, ReadKind, WatchRow
from notifier.domain.routing import deliveries, route
from notifier.domain.timers import TimePolicy
from notifier.storage import milestones
from notifier.storage.database import Database, Priority
from notifier.storage.milestones import PageCommit

pytestmark = pytest.mark.anyio

MINUTE = 60 * SECOND


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def store(database: Path) -> AsyncIterator[Database]:
    async with opened(database) as store:
        yield store


async def _watching(store: Database, *names: str) -> list[WatchRow]:
    async with store.turn(Priority.MAINTENANCE) as turn:
        return await turn.write(milestones.set_watches, names)


async def _read(
    shelf: Shelf, *rows: DecodedRow, kind: ReadKind, silent: bool, ends: bool = True
) -> list[Kind]:
    """One page through the watch of the shelf; the kinds of what it brought."""
    async with shelf.store.turn(Priority.PAGE) as turn:
        known = await turn.write(milestones.stored, [one.milestone.id for one in rows], shelf.watch)
        read_id = next(shelf.reads)
        reading = ReadContext(
            read_id=read_id,
            policy=DiffPolicy(time=TimePolicy()),
            silent=silent,
            seen_at=NOW + read_id * MINUTE,
        )
        steps = diff(known, rows, reading)
        events = [step.event for step in steps if step.event is not None]
        owed = tuple(
            delivery
            for event in events
            for delivery in deliveries(
                event,
                route(event, shelf.routes),
                due_at=reading.seen_at + 20 * SECOND,
                now=NOW,
                started_grace=timedelta(minutes=30),
            )
        )
        end = shelf.end(read_id, kind=kind, now=reading.seen_at)
        progress = Progress(pages=1, rows=len(rows), events=len(events))
        held = await turn.write(
            milestones.commit_page,
            PageCommit(
                read_id=read_id,
                watch=shelf.watch,
                now=reading.seen_at,
                changes=steps,
                deliveries=owed,
                end=replace(end, progress=progress) if ends else None,
            ),
        )
    await shelf.release(held)
    found = await store_watch(shelf)
    shelf.watch = found
    return [event.kind for event in events]


async def store_watch(shelf: Shelf) -> WatchRow:
    """The watch of the shelf as it stands now."""
    watches = {watch.name: watch for watch in await shelf.store.read(milestones.watches)}
    return watches[shelf.watch.name]


async def test_more_new_milestones_at_once_than_anyone_reads_go_as_a_digest(
    store: Database,
) -> None:
    [everything] = await _watching(store, "everything")
    shelf = Shelf(store, everything)
    await _read(shelf, kind=ReadKind.BASELINE, silent=True)

    await _read(
        shelf,
        *(row(f"m{n:02}") for n in range(51)),
        kind=ReadKind.POLL,
        silent=False,
    )
    [lease] = await shelf.claim(now=NOW + MINUTE * 9, room=5, over=None)

    assert len(lease.message.members) == 51


async def test_so_few_new_milestones_are_no_storm(store: Database) -> None:
    [everything] = await _watching(store, "everything")
    shelf = Shelf(store, everything)
    await _read(shelf, kind=ReadKind.BASELINE, silent=True)

    rows = [row(f"m{n:02}") for n in range(50)]
    await _read(shelf, *rows, kind=ReadKind.POLL, silent=False)
    leases = await shelf.claim(now=NOW + MINUTE * 9, room=1000, over=None)

    assert {len(lease.message.members) for lease in leases} == {1}
    assert len(leases) == 50


async def test_an_announced_baseline_that_was_cut_off_loses_no_later_change(
    store: Database,
) -> None:
    [everything] = await _watching(store, "everything")
    shelf = Shelf(store, everything)

    first = await _read(shelf, row("m1"), kind=ReadKind.BASELINE, silent=False, ends=False)
    again = await _read(shelf, row("m1", title="Moved"), kind=ReadKind.BASELINE, silent=False)

    assert (first, again) == ([Kind.CREATED], [Kind.UPDATED])


async def test_a_new_watch_does_not_swallow_what_an_older_one_owes(
    store: Database, database: Path
) -> None:
    [older] = await _watching(store, "older")
    a = Shelf(store, older)
    await _read(a, row("m0"), kind=ReadKind.BASELINE, silent=True)
    _, newer = await _watching(store, "older", "newer")
    b = Shelf(store, newer, reads=a.reads)

    by_newer = await _read(b, row("m0"), row("m1"), kind=ReadKind.BASELINE, silent=True)
    by_older = await _read(a, row("m0"), row("m1"), kind=ReadKind.POLL, silent=False)
    once_more = await _read(b, row("m1"), kind=ReadKind.POLL, silent=False)

    assert (by_newer, by_older, once_more) == ([], [Kind.CREATED], [])
    assert ask(database, "SELECT milestone_id FROM events") == [("m1",)]
