"""What a row means beside what is known of it."""

import random
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    Doc,
    committed,
    doc,
    docs,
    known,
    read,
    reading,
    row,
    stamp,
)

from notifier.domain.changes import StoredMilestone, UnconfirmedRevision, diff, removed
from notifier.domain.models import Event, Kind, TimerKind
from notifier.domain.timers import LastAnnounced, TimerChanges

# --- pages --------------------------------------------------------------------


@given(
    before=st.lists(st.sampled_from("abcdef"), unique=True),
    rows=st.fixed_dictionaries({name: docs(name) for name in "abcd"}),
    old=st.fixed_dictionaries({name: docs(name) for name in "abcdef"}),
    seed=st.integers(0, 1000),
)
def test_the_same_page_says_the_same_whatever_the_order_of_its_rows(
    before: list[str], rows: dict[str, Doc], old: dict[str, Doc], seed: int
) -> None:
    held = {name: known(old[name]) for name in before}
    page = [row(rows[name]) for name in "abcd"]
    other = random.Random(seed).sample(page, len(page))

    steps = diff(held, page, reading())

    assert diff(held, other, reading()) == steps
    assert [step.row.milestone.id for step in steps] == list("abcd")
    ids = [step.event.id for step in steps if step.event]
    assert len(set(ids)) == len(ids)


@given(fields=docs())
def test_a_row_that_is_known_byte_for_byte_is_nothing(fields: Doc) -> None:
    step = read(known(fields), fields, reading())

    assert step.is_same
    assert step.event is None
    assert step.timers == TimerChanges()


# --- created, updated ---------------------------------------------------------


def _event(
    before: StoredMilestone | None, fields: Doc, *, touched_is_updated: bool = False
) -> Event:
    reads = reading(2, touched_is_updated=touched_is_updated)
    event = read(before, fields, reads).event
    assert event is not None
    return event


def test_a_row_nobody_knew_is_created() -> None:
    step = read(None, doc(), reading())

    assert step.event is not None
    assert (step.event.kind, step.event.at) == (Kind.CREATED, NOON)
    assert (step.version, step.generation, step.is_new) == (1, 1, True)


def test_a_field_that_differs_is_an_update_with_both_values() -> None:
    event = _event(known(doc()), doc(title="Pitt v Syracuse"))

    assert event.kind is Kind.UPDATED
    assert [change.as_json() for change in event.changes] == [
        {
            "field": "title",
            "before": "Syracuse at Pittsburgh",
            "after": "Pitt v Syracuse",
        }
    ]


def test_a_newer_timestamp_alone_is_counted_and_told_to_nobody() -> None:
    step = read(known(doc()), doc(last_updated_ts=stamp(NOON)), reading())

    assert step.touched
    assert step.event is None
    assert step.version == 2


def test_a_newer_timestamp_alone_is_an_update_for_who_asked_for_it() -> None:
    event = _event(known(doc()), doc(last_updated_ts=stamp(NOON)), touched_is_updated=True)

    assert [change.as_json() for change in event.changes] == [
        {
            "field": "last_updated_ts",
            "before": stamp(NOON - HOUR),
            "after": stamp(NOON),
        }
    ]


def test_the_timestamp_stands_beside_other_changes_only_for_who_asked_for_it() -> None:
    after = doc(title="B", last_updated_ts=stamp(NOON))

    quiet = _event(known(doc()), after)
    loud = _event(known(doc()), after, touched_is_updated=True)

    assert [change.field for change in quiet.changes] == ["title"]
    assert [change.field for change in loud.changes] == ["title", "last_updated_ts"]


def test_a_timestamp_spelled_otherwise_is_no_update_for_anyone() -> None:
    after = doc(last_updated_ts="2026-11-22T12:00:00+01:00")

    step = read(known(doc()), after, reading(touched_is_updated=True))

    assert step.event is None


def test_a_change_without_a_newer_timestamp_is_an_update_too() -> None:
    assert _event(known(doc()), doc(title="B")).kind is Kind.UPDATED


def test_a_row_spelled_otherwise_is_no_update() -> None:
    after = doc(
        start_date="2026-11-22T15:00:00.000+01:00",
        end_date=None,
        source_id=None,
        source_ids={},
        related_event_tickers=["KXNCAAFSPREAD-A", "KXNCAAFGAME-A", "KXNCAAFGAME-A"],
        details={"status": "scheduled", "league": "NCAAFB", "winner": None},
    )

    step = read(known(doc()), after, reading())

    assert step.event is None
    assert step.timers == TimerChanges()


def test_two_flips_of_one_field_are_different_events() -> None:
    first = read(known(doc()), doc(title="B"), reading(1))
    back = read(committed(known(doc()), first), doc(), reading(2))
    again = read(committed(None, back), doc(title="B"), reading(3))

    ids = {step.event.id for step in (first, back, again) if step.event}
    assert len(ids) == 3


def test_a_crash_before_the_commit_changes_no_id() -> None:
    first = read(known(doc()), doc(title="B"), reading(1, now=NOON))
    replayed = read(known(doc()), doc(title="B"), reading(2, now=NOON + MINUTE))

    assert first.event
    assert replayed.event
    assert first.event.id == replayed.event.id


# --- stale rows ---------------------------------------------------------------

OLD = doc(title="Old", last_updated_ts=stamp(NOON - 2 * HOUR))


def test_a_row_older_than_the_known_one_is_not_believed_at_once() -> None:
    step = read(known(doc()), OLD, reading(7))

    assert step.event is None
    assert step.unconfirmed == UnconfirmedRevision(fingerprint=row(OLD).fingerprint, read_id=7)
    assert step.timers == TimerChanges()
    assert (step.version, step.generation) == (1, 1)


def test_the_same_read_cannot_confirm_itself() -> None:
    doubted = committed(known(doc()), read(known(doc()), OLD, reading(7)))

    assert read(doubted, OLD, reading(7)).unconfirmed is not None


def test_an_older_row_is_believed_when_the_next_read_shows_the_same_bytes() -> None:
    doubted = committed(known(doc()), read(known(doc()), OLD, reading(7)))

    step = read(doubted, OLD, reading(8))

    assert step.event is not None
    assert [change.field for change in step.event.changes] == ["title"]
    assert committed(doubted, step).unconfirmed is None


def test_other_old_bytes_are_doubted_anew() -> None:
    doubted = committed(known(doc()), read(known(doc()), OLD, reading(7)))
    other = OLD | {"title": "Older"}

    step = read(doubted, other, reading(8))

    assert step.unconfirmed == UnconfirmedRevision(fingerprint=row(other).fingerprint, read_id=8)


def test_the_known_bytes_in_between_take_the_doubt_away() -> None:
    before = known(doc())
    doubted = committed(before, read(before, OLD, reading(7)))

    cleared = committed(doubted, read(doubted, doc(), reading(8)))

    assert cleared.unconfirmed is None
    assert read(cleared, OLD, reading(9)).unconfirmed is not None


def test_a_newer_row_is_believed_in_spite_of_a_doubt() -> None:
    doubted = committed(known(doc()), read(known(doc()), OLD, reading(7)))
    after = doc(title="New", last_updated_ts=stamp(NOON))

    assert _event(doubted, after).kind is Kind.UPDATED


def test_a_row_that_was_never_updated_is_older_than_one_that_was() -> None:
    never = doc(title="B", last_updated_ts="0001-01-01T00:00:00Z")

    assert read(known(doc()), never, reading()).unconfirmed is not None
    assert read(known(never), doc(), reading()).event is not None
    assert read(known(never), never | {"title": "C"}, reading()).event is not None


# --- lives --------------------------------------------------------------------


def test_a_removed_milestone_that_returns_is_created_again_in_its_next_life() -> None:
    gone = replace(
        known(doc(), announced=LastAnnounced(start=NOON - DAY)), is_removed=True, version=4
    )

    step = read(gone, doc(), reading(2))

    assert step.event is not None
    assert step.event.kind is Kind.CREATED
    assert step.event.id != _event(None, doc()).id
    assert (step.version, step.generation, step.is_new) == (5, 2, True)
    assert TimerKind.START in {timer.kind for timer in step.timers.added}


def test_each_life_ends_in_an_event_of_its_own() -> None:
    first, second = known(doc()), replace(known(doc()), generation=2)

    ids = {removed(one, now=NOON).id for one in (first, first, second)}

    assert len(ids) == 2
    assert removed(first, now=NOON).kind is Kind.REMOVED


def test_updates_of_two_lives_are_different_events() -> None:
    life = known(doc())
    first = read(life, doc(title="B"), reading(1))
    gone = replace(committed(life, first), is_removed=True)
    returned = committed(gone, read(gone, doc(), reading(2)))

    second = read(returned, doc(title="B"), reading(3))

    assert first.event
    assert second.event
    assert first.event.id != second.event.id


def test_a_baseline_stores_and_arms_and_announces_nothing() -> None:
    step = read(None, doc(), reading(silent=True))

    assert step.event is None
    assert [timer.kind for timer in step.timers.added] == [TimerKind.START]


def test_a_new_watch_is_no_reason_to_hide_an_update_from_the_others() -> None:
    step = read(known(doc()), doc(title="B"), reading(silent=True))

    assert step.event is not None


def test_what_nobody_was_told_is_no_update_when_its_baseline_starts_over() -> None:
    before = replace(known(doc()), never_announced=True)

    step = read(before, doc(title="B"), reading(silent=True))

    assert step.event is None
    assert (step.version, step.generation) == (2, 1)
    assert step.timers.replaces_start


def test_a_baseline_that_starts_over_does_not_forget_an_announced_start() -> None:
    told = replace(known(doc(), announced=LastAnnounced(start=NOON - MINUTE)), never_announced=True)
    soon = doc(start_date=stamp(NOON + 5 * MINUTE))

    step = read(told, soon, reading(silent=True))

    assert not step.is_new
    assert step.timers.added == ()


def test_a_dormant_milestone_of_a_new_watch_is_armed_again() -> None:
    before = replace(known(doc()), never_announced=True)

    step = read(before, doc(), reading(silent=True))

    assert not step.is_same
    assert [timer.kind for timer in step.timers.added] == [TimerKind.START]


# --- an end that turns out to be past -----------------------------------------

ENDED = stamp(NOON - HOUR)


def test_an_end_that_appears_in_the_past_is_no_update_by_itself() -> None:
    step = read(known(doc()), doc(end_date=ENDED), reading())

    assert step.event is None
    assert [timer.kind for timer in step.timers.added] == [TimerKind.END]


def test_not_even_for_who_asked_for_timestamps() -> None:
    after = doc(end_date=ENDED, last_updated_ts=stamp(NOON))

    assert read(known(doc()), after, reading(touched_is_updated=True)).event is None


def test_an_end_in_the_past_is_told_beside_other_changes() -> None:
    event = _event(known(doc()), doc(end_date=ENDED, title="B"))

    assert [change.field for change in event.changes] == ["end_date", "title"]


@pytest.mark.parametrize(
    "end",
    [NOON + HOUR, NOON - 25 * HOUR, datetime.fromisoformat("2000-01-02T00:00:00Z")],
    ids=["ahead", "beyond the grace", "no date yet"],
)
def test_an_end_that_says_nothing_by_itself_is_an_update(end: datetime) -> None:
    event = _event(known(doc()), doc(end_date=stamp(end)))

    assert [change.field for change in event.changes] == ["end_date"]


def test_the_correction_of_an_end_that_was_told_is_an_update() -> None:
    told = known(doc(end_date=stamp(NOON - 2 * HOUR)), announced=LastAnnounced(end=NOON - 2 * HOUR))

    event = _event(told, doc(end_date=ENDED))

    assert [change.field for change in event.changes] == ["end_date"]
