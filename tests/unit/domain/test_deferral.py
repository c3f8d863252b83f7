"""What quiet hours and gathering digests hold back, why, and until when."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from owed import PLAIN, due, policy, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.batching import BatchingPolicy, ClaimContext, defer, join_digests
from notifier.domain.models import Kind, State
from notifier.domain.outgoing import Deferred, PendingDelivery, Suppressed
from notifier.domain.rules import QuietPolicy, Then, Window

PARIS = ZoneInfo("Europe/Paris")
WINDOW = replace(PLAIN, over=10, window=MINUTE)
DAILY = replace(PLAIN, over=10, at=time(18))
NORMAL = frozenset({Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED})


def _quiet(start: int, end: int, **more: Any) -> BatchingPolicy:
    window = Window(days=frozenset(range(7)), start=time(start), end=time(end))
    return replace(PLAIN, over=10, quiet=QuietPolicy(windows=(window,), **more))


def _defer(
    *waiting: PendingDelivery,
    how: BatchingPolicy,
    now: datetime = NOON,
    digests_due: Mapping[str, datetime] | None = None,
) -> dict[str, Deferred | Suppressed]:
    context = ClaimContext(now=now, digests_due=digests_due or {})
    found = list(defer(waiting, policy(how), context))
    assert len(found) == len({one.delivery_id for one in found})
    return {one.delivery_id: one for one in found}


def _waits(*waiting: PendingDelivery, **how: Any) -> dict[str, tuple[timedelta, bool]]:
    """How long from noon each of them waits, and whether for a digest."""
    return {
        key: (one.until - NOON, one.force_digest)
        for key, one in _defer(*waiting, **how).items()
        if isinstance(one, Deferred)
    }


def _joins(*waiting: PendingDelivery) -> list[bool]:
    return [one.force_digest for one in join_digests(waiting, policy(WINDOW), NOON)]


# --- quiet hours --------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(NORMAL))
def test_in_quiet_hours_everything_waits_for_their_end(kind: Kind) -> None:
    held = Deferred(
        delivery_id="dlv_1",
        until=NOON + 3 * HOUR,
        reason="quiet hours until 15:00 UTC",
        force_digest=False,
    )

    assert _defer(due(1, kind), how=_quiet(11, 15)) == {"dlv_1": held}
    for other in (_quiet(13, 15), _quiet(9, 12)):
        assert _defer(due(1, kind), started(2), how=other) == {}


def test_the_reason_names_the_zone_of_the_quiet_hours() -> None:
    [held] = _defer(due(1), how=_quiet(11, 7, zone=PARIS)).values()

    assert held.reason == "quiet hours until Mon 23 Nov, 07:00 CET"


def test_a_kind_that_passes_is_not_held() -> None:
    how = _quiet(11, 15, let_pass=frozenset({Kind.UPDATED}))

    assert set(_defer(due(1), due(2, Kind.CREATED), how=how)) == {"dlv_2"}


def test_what_was_held_may_become_a_digest_or_be_dropped() -> None:
    dropped = Suppressed(
        delivery_id="dlv_1", state=State.DROPPED, reason="quiet hours until 15:00 UTC"
    )

    assert _waits(due(1), how=_quiet(11, 15, then=Then.DIGEST)) == {"dlv_1": (3 * HOUR, True)}
    assert _defer(due(1), how=_quiet(11, 15, then=Then.DROP)) == {"dlv_1": dropped}


@pytest.mark.parametrize("then", Then)
def test_a_start_that_would_be_late_expires_at_once_and_one_in_time_waits(then: Then) -> None:
    early = NOON - 20 * MINUTE

    [late] = _defer(started(1), how=_quiet(11, 15, then=then)).values()

    assert isinstance(late, Suppressed)
    assert late.state is State.EXPIRED
    assert late.reason == "quiet hours until 15:00 UTC: too late to be of use by then"
    assert _waits(started(1, early), how=_quiet(11, 12), now=early) == {
        "dlv_1": (timedelta(0), False)
    }


@pytest.mark.parametrize("then", Then)
def test_what_may_have_arrived_only_waits_and_passes_together(then: Then) -> None:
    frozen = [replace(one, frozen_in="msg_1") for one in (started(1), due(2), due(3, Kind.CREATED))]
    passing = _quiet(11, 15, then=then, let_pass=frozenset({Kind.CREATED}))

    assert set(_waits(*frozen, how=_quiet(11, 15, then=then))) == {"dlv_1", "dlv_2", "dlv_3"}
    assert _defer(*frozen, how=passing) == {}


# --- gathering ----------------------------------------------------------------


def test_the_first_waits_as_long_as_the_window_and_others_join_its_digest() -> None:
    soon = {"games": NOON + 10 * SECOND}

    held = _waits(due(1), due(2, route="all"), how=WINDOW, digests_due=soon)

    assert held == {"dlv_1": (10 * SECOND, True), "dlv_2": (MINUTE, True)}
    far = {"games": NOON + HOUR}
    assert _waits(due(1), how=WINDOW, digests_due=far) == {"dlv_1": (MINUTE, True)}


def test_a_time_of_the_day_is_waited_for_and_beats_the_window() -> None:
    [held] = _defer(due(1), how=replace(DAILY, zone=PARIS)).values()

    assert held.reason == "gathered for a digest at 18:00 CET"
    assert _waits(due(1), how=replace(DAILY, window=MINUTE)) == {"dlv_1": (6 * HOUR, True)}
    at_six = NOON + 6 * HOUR
    assert _waits(due(1), how=DAILY, now=at_six) == {"dlv_1": (6 * HOUR + DAY, True)}


@pytest.mark.parametrize(
    "one",
    [
        started(1),
        due(1, Kind.UPCOMING, lead=MINUTE),
        due(1, attempts=1),
        due(1, frozen_in="msg_1"),
        due(1, force_digest=True),
    ],
    ids=["started", "upcoming", "attempted", "may have arrived", "has gathered"],
)
@pytest.mark.parametrize("how", [WINDOW, DAILY], ids=["window", "at"])
def test_what_is_urgent_or_has_waited_already_does_not_gather(
    one: PendingDelivery, how: BatchingPolicy
) -> None:
    assert _defer(one, how=how) == {}


def test_a_window_begins_with_the_event_whatever_restarts() -> None:
    late, over = due(1, created_at=NOON - 20 * SECOND), due(1, created_at=NOON - MINUTE)

    assert _waits(late, how=WINDOW) == {"dlv_1": (40 * SECOND, True)}
    assert _defer(over, due(2), how=WINDOW) == {}
    assert _joins(over, due(2)) == [True, True]


def test_what_comes_as_a_digest_leaves_goes_with_it() -> None:
    ripe = due(1, force_digest=True)

    assert _defer(ripe, due(2), how=WINDOW) == {}
    assert _joins(ripe, due(2)) == [True, True]
    others = [started(2), due(3, frozen_in="msg"), due(4, route="all")]
    assert _joins(ripe, *others) == [True, False, False, False]


def test_nothing_goes_with_a_digest_before_what_comes_first_of_its_milestone() -> None:
    soon = (NOON + SECOND, NOON + 2 * SECOND)
    late = due(2, force_digest=True, deferred_ahead=soon)

    assert _waits(late, due(3), due(4, deferred_ahead=soon[:1]), how=WINDOW) == {
        "dlv_2": (2 * SECOND, True),
        "dlv_3": (MINUTE, True),
        "dlv_4": (SECOND, True),
    }
    for one in (started(1), due(1, attempts=1), due(1, frozen_in="msg_1")):
        assert _defer(replace(one, deferred_ahead=soon), how=WINDOW) == {}


def test_what_quiet_hours_let_pass_waits_only_for_what_gathers() -> None:
    how = replace(_quiet(11, 15, let_pass=frozenset({Kind.UPDATED})), window=MINUTE)
    quiet, soon = NOON + 3 * HOUR, NOON + SECOND
    ripe = due(1, force_digest=True)

    assert _defer(replace(ripe, deferred_ahead=(quiet,)), how=how) == {}
    held = _waits(replace(ripe, deferred_ahead=(quiet, soon)), how=how)
    assert held == {"dlv_1": (SECOND, True)}


def test_quiet_hours_go_before_gathering() -> None:
    how = replace(_quiet(11, 15), window=MINUTE)

    assert _waits(due(1), how=how) == {"dlv_1": (3 * HOUR, False)}
