"""What is kept back, why, and until when."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from owed import due, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.deferral import Manner, hold, joined
from notifier.domain.models import Due, Ended, Held, Kind, State
from notifier.domain.rules import QuietPolicy, Then, Window

UTC_ZONE = ZoneInfo("UTC")
PARIS = ZoneInfo("Europe/Paris")
PLAIN = Manner(over=10, zone=UTC_ZONE)
WINDOW = replace(PLAIN, window=MINUTE)
DAILY = replace(PLAIN, at=time(18))
EVERY_DAY = frozenset(range(7))
BUSY = frozenset({Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED})


def _quiet(start: int, end: int, **more: Any) -> Manner:
    window = Window(days=EVERY_DAY, start=time(start), end=time(end))
    return replace(PLAIN, quiet=QuietPolicy(windows=(window,), **more))


def _hold(
    *waiting: Due,
    manner: Manner | Mapping[str, Manner],
    now: datetime = NOON,
    gathering: Mapping[str, datetime] | None = None,
) -> dict[str, Held | Ended]:
    def mannered(one: Due) -> Manner:
        return manner if isinstance(manner, Manner) else manner[one.route]

    found = list(hold(waiting, mannered, gathering=gathering or {}, now=now))
    assert len(found) == len({one.delivery_id for one in found})
    return {one.delivery_id: one for one in found}


def _held(*waiting: Due, **how: Any) -> dict[str, tuple[timedelta, bool]]:
    """How long from noon each of them waits, and whether it gathers."""
    return {
        key: (one.until - NOON, one.gathered)
        for key, one in _hold(*waiting, **how).items()
        if isinstance(one, Held)
    }


# --- quiet hours --------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(BUSY))
def test_in_quiet_hours_everything_waits_for_their_end(kind: Kind) -> None:
    found = _hold(due(1, kind), manner=_quiet(11, 15))

    assert found == {
        "dlv_1": Held(
            delivery_id="dlv_1",
            until=NOON + 3 * HOUR,
            reason="quiet hours until 15:00 UTC",
            gathered=False,
        )
    }


def test_out_of_quiet_hours_nothing_waits() -> None:
    assert _hold(due(1), started(2), manner=_quiet(13, 15)) == {}
    assert _hold(due(1), started(2), manner=_quiet(9, 12)) == {}


def test_the_words_name_the_zone_of_the_quiet_hours() -> None:
    manner = replace(_quiet(11, 7, zone=PARIS), zone=UTC_ZONE)

    [held] = _hold(due(1), manner=manner).values()

    assert held.reason == "quiet hours until Mon 23 Nov, 07:00 CET"


def test_a_kind_that_passes_is_not_held() -> None:
    manner = _quiet(11, 15, let_pass=frozenset({Kind.UPDATED}))

    assert set(_hold(due(1), due(2, Kind.CREATED), manner=manner)) == {"dlv_2"}


def test_what_was_held_may_be_gathered_or_dropped() -> None:
    gather, drop = _quiet(11, 15, then=Then.DIGEST), _quiet(11, 15, then=Then.DROP)

    assert _held(due(1), manner=gather) == {"dlv_1": (3 * HOUR, True)}
    assert _hold(due(1), manner=drop) == {
        "dlv_1": Ended(
            delivery_id="dlv_1",
            state=State.DROPPED,
            reason="quiet hours until 15:00 UTC",
        )
    }


@pytest.mark.parametrize("then", Then)
def test_a_start_that_would_be_late_expires_at_once(then: Then) -> None:
    [found] = _hold(started(1), manner=_quiet(11, 15, then=then)).values()

    assert isinstance(found, Ended)
    assert found.state is State.EXPIRED
    assert found.reason == ("quiet hours until 15:00 UTC: too late to be of use by then")


def test_a_start_that_will_be_in_time_waits() -> None:
    manner = _quiet(11, 12)
    at = NOON - 20 * MINUTE

    assert _held(started(1, at), manner=manner, now=at) == {"dlv_1": (timedelta(0), False)}


@pytest.mark.parametrize("then", Then)
def test_what_may_have_arrived_only_waits(then: Then) -> None:
    frozen = [replace(one, frozen_in="msg_1") for one in (started(1), due(2), due(3, Kind.CREATED))]

    assert set(_held(*frozen, manner=_quiet(11, 15, then=then))) == {*("dlv_1", "dlv_2", "dlv_3")}


def test_what_may_have_arrived_together_passes_together() -> None:
    manner = _quiet(11, 15, let_pass=frozenset({Kind.CREATED}))
    members = [due(1, frozen_in="msg_1"), due(2, Kind.CREATED, frozen_in="msg_1")]

    assert _hold(*members, manner=manner) == {}


# --- gathering ----------------------------------------------------------------


def test_the_first_waits_as_long_as_the_window() -> None:
    assert _held(due(1), due(2), manner=WINDOW) == {
        "dlv_1": (MINUTE, True),
        "dlv_2": (MINUTE, True),
    }


def test_who_comes_later_joins_the_digest_of_its_route() -> None:
    manners = {"games": WINDOW, "all": WINDOW}
    soon = {"games": NOON + 10 * SECOND}

    held = _held(due(1), due(2, route="all"), manner=manners, gathering=soon)

    assert held == {"dlv_1": (10 * SECOND, True), "dlv_2": (MINUTE, True)}


def test_a_shorter_window_does_not_wait_for_a_digest_of_a_longer_one() -> None:
    far = {"games": NOON + HOUR}

    assert _held(due(1), manner=WINDOW, gathering=far) == {"dlv_1": (MINUTE, True)}


def test_a_time_of_the_day_is_waited_for() -> None:
    assert _held(due(1), manner=DAILY) == {"dlv_1": (6 * HOUR, True)}
    paris = replace(DAILY, zone=PARIS)
    [held] = _hold(due(1), manner=paris).values()
    assert held.reason == "gathered for a digest at 18:00 CET"


def test_what_comes_at_the_very_time_waits_for_the_next() -> None:
    at_six = NOON + 6 * HOUR

    assert _held(due(1), manner=DAILY, now=at_six) == {"dlv_1": (6 * HOUR + DAY, True)}


def test_the_time_of_the_day_beats_the_window() -> None:
    both = replace(DAILY, window=MINUTE)

    assert _held(due(1), manner=both) == {"dlv_1": (6 * HOUR, True)}


@pytest.mark.parametrize(
    "one",
    [
        started(1),
        due(1, Kind.UPCOMING, lead=MINUTE),
        due(1, attempts=1),
        due(1, frozen_in="msg_1"),
        replace(due(1), gathered=True),
    ],
    ids=["started", "upcoming", "tried", "may have arrived", "gathered"],
)
@pytest.mark.parametrize("manner", [WINDOW, DAILY], ids=["window", "at"])
def test_what_is_urgent_or_has_waited_already_does_not_gather(one: Due, manner: Manner) -> None:
    assert _hold(one, manner=manner) == {}


def _windowed(_one: Due) -> Manner:
    return WINDOW


def test_a_window_begins_with_the_event_however_often_the_process_begins_anew() -> None:
    late = replace(due(1), born_at=NOON - 20 * SECOND)
    over = replace(due(1), born_at=NOON - MINUTE)

    assert _held(late, manner=WINDOW) == {"dlv_1": (40 * SECOND, True)}
    assert _hold(over, due(2), manner=WINDOW) == {}
    assert [one.gathered for one in joined([over, due(2)], _windowed, NOON)] == [
        True,
        True,
    ]


def test_what_comes_as_a_digest_leaves_goes_with_it() -> None:
    ripe = replace(due(1), gathered=True)

    assert _hold(ripe, due(2), manner=WINDOW) == {}
    assert [one.gathered for one in joined([ripe, due(2)], _windowed, NOON)] == [
        True,
        True,
    ]


def test_nothing_goes_with_a_digest_before_what_comes_first_of_its_milestone() -> None:
    soon = (NOON + SECOND, NOON + 2 * SECOND)
    late = replace(due(2), gathered=True, behind=soon)

    assert _held(late, due(3), replace(due(4), behind=soon[:1]), manner=WINDOW) == {
        "dlv_2": (2 * SECOND, True),
        "dlv_3": (MINUTE, True),
        "dlv_4": (SECOND, True),
    }


def test_what_quiet_hours_let_pass_waits_only_for_what_gathers() -> None:
    passing = frozenset({Kind.UPDATED})
    manner = replace(_quiet(11, 15, let_pass=passing), window=MINUTE)
    quiet, soon = NOON + 3 * HOUR, NOON + SECOND
    ripe = replace(due(1), gathered=True)

    assert _hold(replace(ripe, behind=(quiet,)), manner=manner) == {}
    assert _held(replace(ripe, behind=(quiet, soon)), manner=manner) == {"dlv_1": (SECOND, True)}


@pytest.mark.parametrize(
    "one",
    [started(1), due(1, attempts=1), due(1, frozen_in="msg_1")],
    ids=["started", "tried", "may have arrived"],
)
def test_what_is_urgent_or_was_tried_waits_for_nothing_that_gathers(one: Due) -> None:
    assert _hold(replace(one, behind=(NOON + SECOND,)), manner=WINDOW) == {}


def test_a_digest_takes_along_neither_starts_nor_doubts_nor_other_routes() -> None:
    ripe = replace(due(1), gathered=True)
    others: Sequence[Due] = [started(2), due(3, frozen_in="msg"), due(4, route="all")]

    assert [one.gathered for one in joined([ripe, *others], _windowed, NOON)] == [
        True,
        *[False] * 3,
    ]


def test_quiet_hours_go_before_gathering_and_a_digest_stays_one_through_them() -> None:
    manner = replace(_quiet(11, 15), window=MINUTE)

    assert _held(due(1), manner=manner) == {"dlv_1": (3 * HOUR, False)}
    ripe = replace(due(1), gathered=True)
    assert _held(ripe, manner=manner) == {"dlv_1": (3 * HOUR, True)}
