"""Probes, turns, and what is netted, silenced or held before messages are made."""

from dataclasses import replace
from datetime import time
from typing import Any

import pytest
from owed import HOOK, ZONE, due, started
from strategies import HOUR, MINUTE, NOON

from notifier.domain.batching import Composed, Probe, Room, Rules, compose
from notifier.domain.deferral import Manner
from notifier.domain.models import Change, Due, Form, Kind, State
from notifier.domain.rules import QuietPolicy, Window

PLENTY = 1_000_000
PLAIN = Manner(over=None, zone=ZONE)
QUIET = replace(
    PLAIN,
    quiet=QuietPolicy(windows=(Window(days=frozenset(range(7)), start=time(11), end=time(15)),)),
)


def _composed(
    *owed: Due, manner: Manner = PLAIN, rules: Rules | None = None, **room: Any
) -> Composed:
    space: dict[str, Any] = {
        "now": PLENTY,
        "soon": PLENTY,
        "manners": {},
        "manner_else": manner,
    }
    return compose(owed, destination=HOOK, room=Room(**(space | room)), now=NOON, rules=rules)


def _told(composed: Composed) -> list[list[int]]:
    """The members of each message, by their order of birth."""
    return [[one.seq for one in message.members] for message in composed.messages]


def _ended(composed: Composed) -> list[tuple[str, State]]:
    return [(one.delivery_id, one.state) for one in composed.ended]


def _update(seq: int, before: str, after: str, **more: Any) -> Due:
    change = Change(field="title", before=before, after=after)
    row = {"title": after}
    return replace(due(seq, milestone="m", **more), changes=(change,), row=row)


# --- probes -------------------------------------------------------------------


def test_a_destination_that_refuses_us_is_probed_with_what_waited_longest() -> None:
    owed = [due(2), due(1, attempts=3), started(3)]

    assert _told(_composed(*owed, probe=Probe.OLDEST)) == [[1]]


def test_one_that_is_down_is_probed_with_what_failed_least() -> None:
    owed = [due(1, attempts=5), due(2, attempts=1), due(3), due(4)]

    assert _told(_composed(*owed, probe=Probe.LIKELIEST)) == [[3]]


def test_a_probe_overtakes_nothing_of_its_milestone() -> None:
    owed = [due(1, attempts=5, milestone="m"), due(2, milestone="m")]

    assert _told(_composed(*owed, probe=Probe.LIKELIEST)) == [[1]]


def test_what_comes_after_a_bad_message_of_its_milestone_is_no_better_probe() -> None:
    owed = [
        due(1, attempts=5, milestone="m"),
        due(2, milestone="m"),
        due(3, attempts=1),
    ]

    assert _told(_composed(*owed, probe=Probe.LIKELIEST)) == [[3]]


@pytest.mark.parametrize(("probe", "most"), [(Probe.LIKELIEST, 1), (Probe.OLDEST, 4)])
def test_probes_that_cost_no_try_do_not_make_one_message_the_probe_for_ever(
    probe: Probe, most: int
) -> None:
    for tries in range(most):
        bad = replace(due(1), tries=tries)
        assert _told(_composed(bad, due(2), probe=probe)) == [[1]]

    bad = replace(due(1), tries=most)
    assert _told(_composed(bad, due(2), probe=probe)) == [[2]]


@pytest.mark.parametrize("probe", Probe)
def test_what_may_have_arrived_probes_with_all_of_its_members(probe: Probe) -> None:
    owed = [due(1, frozen_in="msg_1"), due(2, frozen_in="msg_1"), due(3, attempts=1)]

    assert _told(_composed(*owed, probe=probe)) == [[1, 2]]


@pytest.mark.parametrize("probe", Probe)
def test_there_may_be_nothing_to_probe_with(probe: Probe) -> None:
    assert _told(_composed(due(1), manner=QUIET, probe=probe)) == []


# --- turns --------------------------------------------------------------------


def test_first_tries_and_retries_go_one_by_one_in_turn() -> None:
    owed = [due(1, attempts=1), due(2, attempts=2), due(3, attempts=1), due(4), due(5)]

    assert _told(_composed(*owed)) == [[1], [4], [2], [5], [3]]
    assert _told(_composed(*owed, retries_first=False)) == [[4], [1], [5], [2], [3]]


def test_what_comes_after_a_retry_of_its_milestone_is_none_the_fresher() -> None:
    owed = [due(1, attempts=1, milestone="m"), due(2, milestone="m"), due(3)]

    assert _told(_composed(*owed, retries_first=False)) == [[3], [1]]


def test_what_may_have_arrived_goes_before_later_news_if_its_try_cost_none() -> None:
    doubted = due(1, milestone="m", frozen_in="msg_1")
    digest = [due(2, milestone="m"), *(due(n, attempts=1) for n in (3, 4))]

    few = replace(PLAIN, over=2)

    assert _told(_composed(doubted, *digest, manner=few, now=1)) == [[1]]


def test_starts_go_before_either() -> None:
    owed = [due(1, attempts=1), due(2), started(3)]

    assert _told(_composed(*owed, now=1)) == [[3]]


# --- net change ---------------------------------------------------------------


def test_updates_that_wait_become_the_newest_of_them() -> None:
    found = _composed(_update(1, "A", "B"), _update(2, "B", "C"))

    assert _told(found) == [[2]]
    assert _ended(found) == [("dlv_1", State.SUPERSEDED)]


def test_what_may_have_arrived_is_told_again_and_the_rest_waits_behind_it() -> None:
    found = _composed(_update(1, "A", "B", frozen_in="msg"), _update(2, "B", "A"))

    assert (_told(found), _ended(found)) == ([[1]], [])


def test_what_is_silenced_is_dropped_and_netted_with_nothing() -> None:
    rules = Rules(silenced={"dlv_1": "silenced"})

    found = _composed(_update(1, "A", "B"), _update(2, "B", "A"), rules=rules)

    assert _ended(found) == [("dlv_1", State.DROPPED)]
    assert _told(found) == [[2]]


# --- holds --------------------------------------------------------------------


def test_what_is_held_makes_no_message() -> None:
    found = _composed(due(1), due(2), manner=QUIET)

    assert _told(found) == []
    assert [one.until for one in found.held] == [NOON + 3 * HOUR] * 2


def test_what_is_netted_away_is_not_held() -> None:
    found = _composed(_update(1, "A", "B"), _update(2, "B", "A"), manner=QUIET)

    assert (found.held, len(found.ended)) == ((), 2)


def test_a_start_that_quiet_hours_outlast_is_ended_and_not_held() -> None:
    found = _composed(started(1), manner=QUIET)

    assert (found.held, _ended(found)) == ((), [("dlv_1", State.EXPIRED)])


def test_what_has_gathered_goes_as_a_digest_however_little_it_is() -> None:
    manner = replace(PLAIN, over=10, window=MINUTE)
    ripe = replace(due(1), gathered=True)

    assert _told(_composed(ripe, due(2), due(3), manner=manner)) == [[1, 2, 3]]
    assert _told(_composed(ripe, manner=manner)) == [[1]]


def test_a_digest_without_a_limit_of_its_own_gathers_too() -> None:
    ripe = [replace(due(n), gathered=True) for n in (1, 2)]

    assert _told(_composed(*ripe, manner=replace(PLAIN, window=MINUTE))) == [[1, 2]]


def test_members_of_a_refused_digest_stay_apart_even_if_they_had_gathered() -> None:
    ripe = [replace(due(n), gathered=True) for n in (1, 2)]
    alone = [replace(one, form=Form.ALONE) for one in ripe]

    assert _told(_composed(*alone)) == [[1], [2]]


def test_kinds_do_not_matter_to_turns_of_one_milestone() -> None:
    owed = [
        due(1, Kind.CREATED, milestone="m", attempts=1),
        due(2, Kind.ENDED, milestone="m"),
        due(3, Kind.ENDED),
    ]

    assert _told(_composed(*owed)) == [[1], [3]]
