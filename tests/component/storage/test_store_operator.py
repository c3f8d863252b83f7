"""The operator's channel in the store: one transaction, small questions."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Shelf,
    ask,
    opened,
    row,
    sql,
    stamp,
    stocked,
)

from notifier.domain.incidents import Notice, NoticeKind, NoticeVerdict, View
from notifier.domain.models import Ambiguous, Failed, Kind, Outcome, Sent
from notifier.domain.poll_schedule import ReadKind
from notifier.storage import destination_state, incidents, milestones, notices
from notifier.storage.database import Database, Priority

pytestmark = pytest.mark.anyio

SENT = NoticeVerdict(state="delivered")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


@pytest.fixture
async def shelf(database: Path) -> AsyncIterator[Shelf]:
    async with opened(database) as store:
        yield await stocked(store)


def _notice(kind: NoticeKind = NoticeKind.RAISED, *, key: str = "source") -> Notice:
    return Notice(
        key=key,
        kind=kind,
        destination=HOOK,
        since=NOW - MINUTE,
        title="A title",
        body="A body",
        born_at=NOW,
    )


async def _record(
    store: Database,
    *notices: Notice,
    raised: tuple[str, ...] = (),
    cleared: tuple[str, ...] = (),
    now: datetime = NOW,
) -> None:
    async with store.turn(Priority.CLAIM) as turn:
        await turn.write(
            incidents.record,
            raised=dict.fromkeys(raised, (NOW - MINUTE, "words")),
            cleared=cleared,
            notices=notices,
            now=now,
        )


async def _take(store: Database, now: datetime = NOW) -> Notice | None:
    async with store.turn(Priority.CLAIM) as turn:
        return await turn.write(notices.take, HOOK, now=now)


async def _settle(
    store: Database,
    notice: Notice,
    verdict: NoticeVerdict = SENT,
    outcome: Outcome | None = None,
    now: datetime = NOW,
) -> None:
    async with store.turn(Priority.CLAIM) as turn:
        await turn.write(
            notices.settle, notice, verdict, outcome=outcome or Sent(status=204), now=now
        )


async def _view(store: Database, now: datetime = NOW) -> View:
    return await store.read(incidents.view, names=[HOOK], now=now, bad_for=DAY)


async def test_a_condition_and_its_notices_are_stored_together(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(), raised=("source",))

    view = await _view(shelf.store)
    assert [(one.key, one.since) for one in view.open] == [("source", NOW - MINUTE)]
    assert view.owed == {HOOK}

    await _record(shelf.store, raised=("source",))
    assert ask(database, "SELECT count(*) FROM conditions") == [(1,)]


async def test_a_turn_that_is_cut_short_has_stored_nothing(shelf: Shelf) -> None:
    async with shelf.store.turn(Priority.CLAIM) as turn:
        await turn.write(notices.told, ["source"])
    view = await _view(shelf.store)

    assert (view.open, view.owed) == ((), frozenset())


async def test_the_end_takes_back_what_was_not_told_but_no_earlier_end(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(NoticeKind.CLEARED))
    await _record(shelf.store, _notice(), raised=("source",))
    await _record(shelf.store, cleared=("source",))

    assert ask(database, "SELECT kind, state FROM notices ORDER BY seq") == [
        ("cleared", "pending"),
        ("raised", "superseded"),
    ]
    assert (await _view(shelf.store)).open == ()


async def test_a_notice_is_counted_and_noted_before_it_is_sent(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(), raised=("source",))

    notice = await _take(shelf.store)

    assert notice is not None
    assert notice.attempts == 1
    # Until it is settled it is not due, so that nobody sends it at the same time.
    assert await _take(shelf.store, NOW + 4 * SECOND) is None
    [[message, count]] = ask(database, "SELECT message_id, n FROM attempts")
    assert message.startswith("ntc_")
    assert count == 1
    async with shelf.store.turn(Priority.CLAIM) as turn:
        assert await turn.write(destination_state.attempts_since, HOOK, NOW - SECOND) == [NOW]

    again = await _take(shelf.store, NOW + 5 * SECOND)
    assert again is not None
    assert again.attempts == 2


async def test_a_notice_that_was_sent_is_done_with(shelf: Shelf, database: Path) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    notice = await _take(shelf.store)
    assert notice is not None

    await _settle(shelf.store, notice)

    assert ask(database, "SELECT state FROM notices") == [("delivered",)]
    assert ask(database, "SELECT outcome FROM attempts") == [("sent",)]
    assert await _take(shelf.store, NOW + DAY) is None


async def test_what_was_superseded_while_it_was_sent_stays_so(shelf: Shelf, database: Path) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    notice = await _take(shelf.store)
    assert notice is not None
    await _record(shelf.store, cleared=("source",))

    await _settle(shelf.store, notice)

    assert ask(database, "SELECT state FROM notices") == [("superseded",)]


async def test_an_attempt_that_comes_back_late_does_not_settle_the_next(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    first = await _take(shelf.store)
    second = await _take(shelf.store, NOW + MINUTE)
    assert first is not None
    assert second is not None

    failed = NoticeVerdict(state="dead", reason="too late")
    await _settle(shelf.store, first, failed)
    assert ask(database, "SELECT state FROM notices") == [("pending",)]

    await _settle(shelf.store, second)
    assert ask(database, "SELECT state FROM notices") == [("delivered",)]


@pytest.mark.parametrize(
    ("outcome", "unsure"),
    [
        pytest.param(Failed(reason="500", status=500), False, id="failed"),
        pytest.param(Ambiguous(reason="no answer"), True, id="no answer"),
        pytest.param(None, True, id="cut off"),
    ],
)
async def test_it_is_known_whether_an_attempt_may_have_arrived(
    shelf: Shelf, outcome: Outcome | None, *, unsure: bool
) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    notice = await _take(shelf.store)
    assert notice is not None
    if outcome is not None:
        later = NoticeVerdict(state="pending", reason="no", due_at=NOW + MINUTE)
        await _settle(shelf.store, notice, later, outcome)

    async with shelf.store.turn(Priority.CLAIM) as turn:
        [told] = await turn.write(notices.told, ["source"])
    assert told.may_have_arrived is unsure


async def test_what_was_cut_off_does_not_go_again_where_it_may_not(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(), _notice(key="clock"), raised=("source",))
    await _take(shelf.store)

    async with shelf.store.turn(Priority.CLAIM) as turn:
        notice = await turn.write(notices.take, HOOK, now=NOW + MINUTE, drop_ambiguous=True)

    assert notice is not None
    assert notice.key == "clock"
    assert ask(database, "SELECT key, state, reason FROM notices ORDER BY seq") == [
        ("source", "dead", "it may have arrived: the attempt was cut off"),
        ("clock", "pending", None),
    ]


async def test_whoever_is_no_operator_any_more_is_told_nothing(
    shelf: Shelf, database: Path
) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    async with shelf.store.turn(Priority.CLAIM) as turn:
        await turn.write(incidents.wake, to=["desk"], now=NOW)

    assert ask(database, "SELECT state FROM notices") == [("superseded",)]


async def test_finished_notices_are_forgotten_after_a_month(shelf: Shelf, database: Path) -> None:
    await _record(shelf.store, _notice(), raised=("source",))
    await _record(shelf.store, _notice(key="clock"), raised=("clock",))
    await _record(shelf.store, cleared=("source",), now=NOW + 31 * DAY)

    assert ask(database, "SELECT key, state FROM notices") == [("clock", "pending")]


# --- what the store shows -----------------------------------------------------


async def test_reads_that_failed_before_a_complete_one_are_forgiven(
    shelf: Shelf,
) -> None:
    await _ends(shelf, 10, "503")
    await _ends(shelf, 20, None)
    [watch] = (await _view(shelf.store)).watches
    assert (watch.failed, watch.failed_since) == (0, None)

    for second in (30, 40, 50, 60):
        await _ends(shelf, second, f"50{second // 10}")
    [watch] = (await _view(shelf.store)).watches
    assert (watch.failed, watch.error) == (3, "506")
    assert watch.failed_since == NOW + 30 * SECOND
    assert watch.read_at == NOW + 20 * SECOND


async def _ends(shelf: Shelf, second: int, error: str | None) -> None:
    at = NOW + second * SECOND
    read_id = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    end = shelf.end(read_id, kind=ReadKind.POLL, now=at, error=error)
    async with shelf.store.turn(Priority.PAGE) as turn:
        await turn.write(milestones.end_read, end)


async def test_what_happened_since_is_counted_by_kind(shelf: Shelf) -> None:
    for n, start in enumerate((1, 2, 600)):
        await shelf.show(row(f"m{n}", start_date=stamp(NOW + start * MINUTE)))
    await shelf.ring(now=NOW + MINUTE)
    await shelf.ring(now=NOW + 2 * HOUR)
    later = NOW + 2 * HOUR

    found = await shelf.store.read(incidents.found, since=NOW, now=later)

    assert found.events == {Kind.CREATED: 3, Kind.STARTED: 1}
    assert (found.on_time, found.late) == (1, 0)
    assert (found.missed, found.titles) == (1, ("Game m1",))
    assert found.going == 4


async def test_a_watch_that_shows_too_little_is_remembered(shelf: Shelf) -> None:
    for since in (NOW, None):
        async with shelf.store.turn(Priority.PAGE) as turn:
            await turn.write(milestones.set_suspected, shelf.watch, since)
        [watch] = await shelf.store.read(milestones.watches)
        assert watch.suspected_at == since


async def test_a_look_costs_no_walk_through_deliveries_or_bad_rows(
    shelf: Shelf, database: Path
) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        asked.append((text, values))

    with sql(database) as run:
        for n in range(5):
            run(
                "INSERT INTO quarantine VALUES (?, 'm', x'00', 'why', ?, ?)",
                bytes([n]),
                n,
                (NOW - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            )
    event.listen(shelf.store._readers, "before_cursor_execute", note)
    await _view(shelf.store)

    plans = {
        text: " ".join(step[3] for step in ask(database, "EXPLAIN QUERY PLAN " + text, *values))
        for text, values in asked
    }
    big = ("FROM deliveries", "FROM quarantine", "FROM notices", "FROM reads")
    found = [plan for text, plan in plans.items() if any(t in text for t in big)]
    assert len(found) >= 6
    for plan in found:
        assert "USING" in plan, plan
