"""What to read next, and when."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.poll_schedule import (
    Plan,
    ReadKind,
    ReadPolicy,
    WatchRow,
    backoff,
    is_drifting,
    is_suspicious,
    next_poll,
    next_sweep,
    watermark,
)

POLICY = ReadPolicy(poll_every=30 * SECOND, sweep_every=30 * MINUTE, full_read_every=DAY)
#: Everything about it has been read at noon.
READ = WatchRow(
    id=0,
    name="everything",
    baselined_at=NOON - 30 * DAY,
    watermark=NOON,
    polled_at=NOON,
    swept_at=NOON,
    full_at=NOON,
)


def _poll(
    *watches: WatchRow,
    now: datetime = NOON,
    start: datetime | None = None,
    failed: dict[str, datetime] | None = None,
    polled: Collection[str] | None = None,
) -> Plan | None:
    return next_poll(
        watches,
        policy=POLICY,
        next_start=start,
        now=now,
        polled=_names(watches) if polled is None else polled,
        failed=failed or {},
    )


def _names(watches: Sequence[WatchRow]) -> set[str]:
    return {watch.name for watch in watches}


def _poll_at(
    watch: WatchRow = READ, *, now: datetime = NOON, start: datetime | None = None
) -> datetime:
    plan = _poll(watch, now=now, start=start)
    assert plan is not None
    return plan.at


def _sweep(
    *watches: WatchRow,
    now: datetime = NOON,
    failed: dict[str, datetime] | None = None,
    swept: Collection[str] | None = None,
) -> Plan:
    return next_sweep(
        watches,
        policy=POLICY,
        now=now,
        swept=_names(watches) if swept is None else swept,
        failed=failed or {},
    )


# --- polls --------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"baselined_at": None}, {"sweep_only": True}],
    ids=["no baseline yet", "cannot be polled"],
)
def test_a_watch_that_cannot_be_polled_is_not(change: dict[str, bool | None]) -> None:
    plan = _poll(replace(READ, **change))  # type: ignore[arg-type]  # keys and values belong together

    assert plan is None


def test_a_watch_that_was_never_polled_is_polled_now() -> None:
    assert _poll_at(replace(READ, polled_at=None)) == NOON


def test_a_clock_that_was_set_back_stops_no_poll() -> None:
    assert _poll_at(replace(READ, polled_at=NOON + DAY)) == NOON


def test_the_watch_that_waits_longest_is_polled_first() -> None:
    late = replace(READ, id=1, name="late", polled_at=NOON - 2 * MINUTE)
    later = replace(READ, id=2, name="later", polled_at=NOON - 5 * MINUTE)

    plan = _poll(READ, late, later)

    assert plan is not None
    assert plan.watch == later


def test_a_watch_that_fails_does_not_keep_the_others_from_being_polled() -> None:
    broken = replace(READ, id=1, name="broken", polled_at=NOON - HOUR)
    other = replace(READ, id=2, name="other", polled_at=NOON - MINUTE)

    plan = _poll(broken, other, failed={"broken": NOON - SECOND})

    assert plan is not None
    assert plan.watch == other


def test_a_watch_that_fails_is_tried_again_when_nobody_else_is_due() -> None:
    broken = replace(READ, id=1, name="broken", polled_at=NOON - HOUR)

    plan = _poll(broken, READ, failed={"broken": NOON - SECOND})

    assert plan is not None
    assert plan.watch == broken


@given(
    polled_ago=st.floats(0, 40).map(lambda s: s * SECOND),
    ahead=st.floats(0.5, 90).map(lambda s: s * SECOND),
    every=st.sampled_from([SECOND, 7 * SECOND, 30 * SECOND, 5 * MINUTE]),
)
def test_there_is_a_poll_five_to_ten_seconds_before_the_next_start(
    polled_ago: timedelta, ahead: timedelta, every: timedelta
) -> None:
    policy, start = replace(POLICY, poll_every=every), NOON + ahead
    now, polled = NOON, [NOON - polled_ago]
    while now < start:
        watch = replace(READ, polled_at=polled[-1])
        plan = next_poll([watch], policy=policy, next_start=start, now=now, polled=_names([watch]))
        assert plan is not None
        now = max(now, plan.at)
        polled.append(now)
        assert len(polled) < 200

    gaps = [start - at for at in polled]
    is_placed = any(5 * SECOND <= gap <= 10 * SECOND for gap in gaps)
    assert is_placed or ahead < 5 * SECOND
    late = [b - a for a, b in pairwise(polled[1:])]
    assert all(gap <= every for gap in late)


def test_one_poll_before_a_start_is_enough() -> None:
    polled = replace(READ, polled_at=NOON - 8 * SECOND)

    assert _poll_at(polled, start=NOON) == NOON + 22 * SECOND


def test_it_is_too_late_to_place_a_poll_when_the_start_is_close() -> None:
    assert _poll_at(now=NOON, start=NOON + 4 * SECOND) == NOON + 30 * SECOND


# --- sweeps and full reads ----------------------------------------------------


def test_a_full_read_comes_when_its_time_has_come() -> None:
    stale = replace(READ, full_at=NOON - DAY)

    assert _sweep(stale) == Plan(at=NOON, watch=stale, kind=ReadKind.FULL)


def test_a_full_read_counts_from_the_baseline_at_first() -> None:
    fresh = replace(READ, full_at=None, baselined_at=NOON - DAY)

    assert _sweep(fresh).kind is ReadKind.FULL


def test_every_watch_is_swept_once_after_a_start_of_the_service() -> None:
    assert _sweep(READ, swept=()) == Plan(at=NOON, watch=READ, kind=ReadKind.SWEEP)
    assert _sweep(replace(READ, swept_at=None)).at == NOON


def test_a_clock_that_was_set_back_does_not_have_a_watch_swept_for_ever() -> None:
    swept = replace(READ, swept_at=NOON, full_at=NOON)

    assert _sweep(swept, now=NOON + SECOND).at == NOON + 30 * MINUTE


def test_every_watch_is_polled_at_once_after_a_start_of_the_service() -> None:
    plan = _poll(READ, now=NOON + SECOND, polled=())

    assert plan == Plan(at=NOON + SECOND, watch=READ, kind=ReadKind.POLL)


def test_a_watch_without_a_baseline_comes_first_of_all() -> None:
    new = WatchRow(id=1, name="new")
    stale = replace(READ, full_at=NOON - 10 * DAY, swept_at=NOON - 10 * DAY)

    assert _sweep(stale, new) == Plan(at=NOON, watch=new, kind=ReadKind.BASELINE)


def test_of_two_watches_that_fail_the_one_that_failed_longest_ago_is_next() -> None:
    one, two = WatchRow(id=1, name="one"), WatchRow(id=2, name="two")

    plan = _sweep(one, two, failed={"one": NOON - SECOND, "two": NOON - MINUTE})

    assert plan.watch == two


@pytest.mark.parametrize("field", ["swept_at", "full_at"])
def test_a_clock_that_was_set_back_stops_no_sweep(field: str) -> None:
    ahead = replace(READ, **{field: NOON + 365 * DAY})  # type: ignore[arg-type]  # both are instants

    assert _sweep(ahead).at == NOON


# --- after a failure ----------------------------------------------------------


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_the_back_off_begins_within_five_seconds_and_stays_within_five_minutes(
    failures: int, jitter: float
) -> None:
    wait = backoff(failures, hint=None, jitter=jitter)

    assert timedelta(0) < wait <= 5 * MINUTE
    assert failures > 1 or wait <= 5 * SECOND


def test_the_back_off_doubles() -> None:
    waits = [backoff(n, hint=None, jitter=0.0) for n in range(1, 9)]

    seconds = [5, 10, 20, 40, 80, 160, 300, 300]
    assert waits == [n * SECOND for n in seconds]


@pytest.mark.parametrize(
    ("hint", "wait"),
    [
        (timedelta(0), 5 * SECOND),
        (-HOUR, 5 * SECOND),
        (MINUTE, MINUTE),
        (20 * MINUTE, 20 * MINUTE),
        (365 * DAY, HOUR),
    ],
    ids=str,
)
def test_a_hint_of_the_api_is_the_least_that_we_wait_up_to_an_hour(
    hint: timedelta, wait: timedelta
) -> None:
    assert backoff(1, hint=hint, jitter=0.0) == wait


# --- what to believe ----------------------------------------------------------


def test_the_watermark_is_the_least_that_the_server_can_have_shown() -> None:
    assert watermark(date=NOON, took=3 * SECOND) == NOON - 3 * SECOND
    assert watermark(date=None, took=SECOND) is None


@pytest.mark.parametrize(
    ("shown", "known", "suspicious"),
    [
        (0, 0, False),
        (0, 1, True),
        (0, 20, True),
        (1, 19, False),
        (9, 20, True),
        (10, 20, False),
        (68_599, 137_200, True),
        (68_600, 137_200, False),
    ],
)
def test_a_read_that_shows_less_than_half_of_twenty_or_nothing_is_suspicious(
    shown: int, known: int, *, suspicious: bool
) -> None:
    assert is_suspicious(shown=shown, known=known) is suspicious


@pytest.mark.parametrize(
    ("bad", "rows", "drifting"),
    [(0, 0, False), (1, 19, False), (2, 19, True), (3, 0, True), (25, 475, False)],
)
def test_more_than_one_bad_row_in_twenty_is_a_change_of_format(
    bad: int, rows: int, *, drifting: bool
) -> None:
    assert is_drifting(bad=bad, rows=rows) is drifting
