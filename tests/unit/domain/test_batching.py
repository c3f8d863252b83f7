"""Which messages the due deliveries of one destination become."""

from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from message_samples import event
from owed import HOOK, LIMITS, PLAIN, PLENTY, due, members, planned, policy, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND, UNSET

from notifier.domain.batching import Capacity, DeliveryPlan, Probe, capacity, silenced
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.models import Change, Kind, State
from notifier.domain.outgoing import PendingDelivery, RenderLevel
from notifier.domain.rules import QuietPolicy, Silence, Window
from notifier.domain.silences import create_silence

QUIET = replace(
    PLAIN,
    quiet=QuietPolicy(windows=(Window(days=frozenset(range(7)), start=time(11), end=time(15)),)),
)


def _many(
    count: int, kind: Kind = Kind.UPDATED, *, first: int = 1, **more: Any
) -> list[PendingDelivery]:
    return [due(seq, kind, **more) for seq in range(first, first + count)]


def _update(seq: int, before: str, after: str, **more: Any) -> PendingDelivery:
    change = Change(field="title", before=before, after=after)
    return due(seq, milestone="m", changes=(change,), row={"title": after}, **more)


def _ended(found: DeliveryPlan) -> list[tuple[str, State]]:
    return [(one.delivery_id, one.state) for one in found.suppressed]


# --- capacity -----------------------------------------------------------------


def test_a_paused_destination_takes_nothing_for_as_long_as_it_is_paused() -> None:
    paused = DestinationState(paused_until=NOON + MINUTE)

    assert capacity(policy(), DestinationState(), [], NOON) == Capacity(now=PLENTY, soon=PLENTY)
    assert capacity(policy(), paused, [], NOON) == Capacity(now=0, soon=0, wait=MINUTE)
    gone = capacity(policy(), DestinationState(gone=True), [], NOON)
    assert (gone.now, gone.wait) == (0, 5 * MINUTE)


@pytest.mark.parametrize(
    ("state", "probe"),
    [
        (DestinationState(paused_until=NOON, suspended_since=NOON - HOUR), Probe.OLDEST),
        (DestinationState(paused_until=NOON, open_since=NOON - HOUR), Probe.LIKELIEST),
    ],
    ids=["suspended", "open"],
)
def test_a_destination_that_does_not_work_takes_one_probe(
    state: DestinationState, probe: Probe
) -> None:
    found = capacity(policy(concurrency=5), state, [], NOON)

    assert (found.now, found.probe) == (1, probe)


@pytest.mark.parametrize("waits", [{"window": MINUTE}, {"at": time(8)}], ids=str)
def test_only_where_a_digest_may_gather_the_gathering_ones_are_read(waits: dict[str, Any]) -> None:
    gathering = replace(PLAIN, **waits)

    assert not policy().gathers
    assert policy(routes={"games": gathering}).gathers
    assert policy(gathering).gathers


# --- too late, obsolete or silenced -------------------------------------------


def _end(one: PendingDelivery, *, now: datetime = NOON, **context: Any) -> tuple[State, str] | None:
    ended = planned([one], now=now, **context).suppressed
    return (ended[0].state, ended[0].reason) if ended else None


def test_a_start_expires_half_an_hour_after_its_instant_and_an_update_never() -> None:
    late = NOON + 30 * MINUTE + SECOND

    assert _end(started(), now=late - SECOND) is None
    assert _end(started(), now=late) == (State.EXPIRED, "too late to be of use")
    assert _end(due(), now=NOON + 30 * DAY) is None


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.UPCOMING])
def test_urgent_news_is_obsolete_once_the_milestone_is_over_or_gone(kind: Kind) -> None:
    one = due(1, kind, lead=MINUTE if kind is Kind.UPCOMING else None, over=True)

    assert _end(one) == (State.SUPERSEDED, "the milestone is over or gone")


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED])
def test_other_news_is_obsolete_only_after_the_removal_was_announced(kind: Kind) -> None:
    one = due(1, kind, start=NOON + DAY, over=True)

    assert _end(one) is None
    told = (State.SUPERSEDED, "its removal has been sent already")
    assert _end(replace(one, removal_announced=True)) == told


@pytest.mark.parametrize("by", [-HOUR, -SECOND, SECOND, HOUR], ids=str)
def test_a_reminder_of_a_start_that_has_moved_is_obsolete(by: timedelta) -> None:
    one = due(1, Kind.UPCOMING, lead=DAY, start=NOON + DAY + by)

    assert _end(one) == (State.SUPERSEDED, "the start has moved")


def test_a_reminder_is_obsolete_once_it_has_started() -> None:
    one = due(1, Kind.UPCOMING, lead=MINUTE)

    assert _end(one, now=NOON + MINUTE - SECOND) is None
    assert _end(one, now=NOON + MINUTE) == (State.SUPERSEDED, "it has started")


@pytest.mark.parametrize(
    ("start", "is_obsolete"),
    [
        *((NOON + by, True) for by in (15 * MINUTE + SECOND, DAY)),
        (UNSET, True),
        # A start that is not announced again: this announcement is the only one.
        *((NOON + by, False) for by in (-DAY, -SECOND, SECOND, 15 * MINUTE)),
    ],
)
def test_a_start_is_obsolete_when_it_will_be_announced_again(
    start: datetime, is_obsolete: bool
) -> None:
    found = _end(replace(started(), start=start))

    assert found == ((State.SUPERSEDED, "the start has moved") if is_obsolete else None)


def test_the_configuration_says_which_start_is_announced_again() -> None:
    put_off = replace(started(), start=NOON + HOUR)

    assert _end(put_off, started_again_after=HOUR) is None


def test_what_may_have_arrived_is_neither_obsolete_nor_silenced() -> None:
    one = replace(started(), start=NOON + DAY, over=True, frozen_in="msg_1")

    found = planned([one], silenced={"dlv_1": "silenced"})

    assert found.suppressed == ()
    assert [message.id for message in found.messages] == ["msg_1"]


def test_a_message_that_may_have_arrived_expires_with_its_last_member() -> None:
    both = [
        replace(started(1), frozen_in="msg_1"),
        replace(started(2, at=NOON + MINUTE), frozen_in="msg_1"),
    ]

    whole = planned(both, now=NOON + 30 * MINUTE + SECOND)
    gone = planned(both, now=NOON + 31 * MINUTE + SECOND)

    assert members(whole) == [[1, 2]]
    assert gone.messages == ()
    assert {end.state for end in gone.suppressed} == {State.EXPIRED}


def test_everything_obsolete_ends_whatever_room_there_is() -> None:
    stale = [started(seq, at=NOON - HOUR) for seq in range(1, 9)]

    found = planned([*stale, started(9)], room=1)

    assert len(found.suppressed) == 8
    assert members(found) == [[9]]


def _silence(*destinations: str) -> Silence:
    keys = {"events": ["updated"]} | ({"destination": list(destinations)} if destinations else {})
    return create_silence(keys, why="noisy", created_at=NOON, until=NOON + HOUR)


def test_a_silence_drops_what_it_matches_and_is_named() -> None:
    owed = [due(1), due(2, Kind.CREATED)]
    events = {one.event_id: [event(one.kind)] for one in owed}
    silence = _silence()

    reasons = silenced(HOOK, owed, [silence], events)
    found = planned(owed, silenced=reasons)

    assert _ended(found) == [("dlv_1", State.DROPPED)]
    assert silence.id in found.suppressed[0].reason
    assert members(found) == [[2]]
    assert silenced(HOOK, owed, [_silence("desk")], events) == {}
    assert set(silenced(HOOK, owed, [_silence("desk", HOOK)], events)) == {"dlv_1"}


# --- net changes (their rules: test_coalescing) -------------------------------


def test_updates_that_wait_become_the_newest_of_them() -> None:
    found = planned([_update(1, "A", "B"), _update(2, "B", "C")], PLAIN)

    assert members(found) == [[2]]
    assert _ended(found) == [("dlv_1", State.SUPERSEDED)]


def test_what_may_have_arrived_is_sent_again_and_the_rest_waits_behind_it() -> None:
    found = planned([_update(1, "A", "B", frozen_in="msg"), _update(2, "B", "A")], PLAIN)

    assert (members(found), _ended(found)) == ([[1]], [])


def test_what_is_silenced_is_dropped_and_netted_with_nothing() -> None:
    owed = [_update(1, "A", "B"), _update(2, "B", "A")]

    found = planned(owed, PLAIN, silenced={"dlv_1": "silenced"})

    assert _ended(found) == [("dlv_1", State.DROPPED)]
    assert members(found) == [[2]]


# --- deferral (its rules: test_deferral) --------------------------------------


def test_what_is_deferred_makes_no_message() -> None:
    found = planned([due(1), due(2)], QUIET)

    assert members(found) == []
    assert [one.until for one in found.deferred] == [NOON + 3 * HOUR] * 2


def test_what_is_netted_away_or_expires_is_not_deferred() -> None:
    netted = planned([_update(1, "A", "B"), _update(2, "B", "A")], QUIET)
    outlasted = planned([started(1)], QUIET)

    assert (netted.deferred, len(netted.suppressed)) == ((), 2)
    assert (outlasted.deferred, _ended(outlasted)) == ((), [("dlv_1", State.EXPIRED)])


def test_what_has_gathered_goes_as_a_digest_however_little_it_is() -> None:
    ripe = due(1, force_digest=True)

    for over in (10, None):
        how = replace(PLAIN, over=over, window=MINUTE)
        assert members(planned([ripe, due(2), due(3)], how)) == [[1, 2, 3]]
        assert members(planned([ripe], how)) == [[1]]


# --- which goes first ---------------------------------------------------------


def test_a_start_overtakes_older_news_of_its_milestone() -> None:
    assert members(planned([due(1, milestone="m"), started(2, milestone="m")])) == [[2]]


def test_starts_go_by_their_instant_and_the_rest_by_age() -> None:
    starts = [started(1, at=NOON - SECOND), started(2, at=NOON - MINUTE), started(3)]

    assert members(planned(starts)) == [[2], [1], [3]]
    assert members(planned([due(3), due(1), due(2)])) == [[1], [2], [3]]


def test_news_of_one_milestone_goes_one_after_the_other() -> None:
    assert members(planned([due(seq, milestone="m") for seq in (1, 2, 3)])) == [[1]]


@pytest.mark.parametrize(("room", "sent"), [(2, [[1], [2]]), (0, [])])
def test_no_more_leaves_than_there_is_room_for(room: int, sent: list[list[int]]) -> None:
    assert members(planned(_many(3), room=room)) == sent


def test_first_attempts_and_retries_go_one_by_one_in_turn() -> None:
    owed = [due(1, attempts=1), due(2, attempts=2), due(3, attempts=1), due(4), due(5)]

    assert members(planned(owed, PLAIN)) == [[1], [4], [2], [5], [3]]
    assert members(planned(owed, PLAIN, retries_first=False)) == [[4], [1], [5], [2], [3]]


def test_what_follows_a_retry_of_its_milestone_is_none_the_fresher() -> None:
    owed = [due(1, attempts=1, milestone="m"), due(2, Kind.ENDED, milestone="m"), due(3)]

    assert members(planned(owed, PLAIN, retries_first=False)) == [[3], [1]]


def test_what_may_have_arrived_goes_before_later_news_if_its_attempt_cost_none() -> None:
    frozen = due(1, milestone="m", frozen_in="msg_1")
    digest = [due(2, milestone="m"), *(due(n, attempts=1) for n in (3, 4))]

    found = planned([frozen, *digest], replace(PLAIN, over=2), retries_first=False)

    assert members(found)[0] == [1]


# --- probes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probe", "owed", "sent"),
    [
        pytest.param(Probe.OLDEST, [due(2), due(1, attempts=3), started(3)], 1, id="oldest"),
        pytest.param(
            Probe.LIKELIEST, [due(1, attempts=5), due(2, attempts=1), due(3), due(4)], 3, id="least"
        ),
        pytest.param(
            Probe.LIKELIEST,
            [due(1, attempts=5, milestone="m"), due(2, milestone="m")],
            1,
            id="overtakes nothing of its milestone",
        ),
        pytest.param(
            Probe.LIKELIEST,
            [due(1, attempts=5, milestone="m"), due(2, milestone="m"), due(3, attempts=1)],
            3,
            id="what follows a bad message is no better",
        ),
    ],
)
def test_a_probe_carries_one_delivery(probe: Probe, owed: list[PendingDelivery], sent: int) -> None:
    assert members(planned(owed, PLAIN, probe=probe)) == [[sent]]


@pytest.mark.parametrize(("probe", "most"), [(Probe.LIKELIEST, 1), (Probe.OLDEST, 4)])
def test_probes_that_cost_no_attempt_do_not_make_one_message_the_probe_for_ever(
    probe: Probe, most: int
) -> None:
    for total in range(most + 1):
        owed = [due(1, attempts_total=total), due(2)]
        expected = [[1]] if total < most else [[2]]
        assert members(planned(owed, PLAIN, probe=probe)) == expected


@pytest.mark.parametrize("probe", Probe)
def test_a_probe_carries_what_may_have_arrived_whole_or_nothing(probe: Probe) -> None:
    owed = [due(1, frozen_in="msg_1"), due(2, frozen_in="msg_1"), due(3, attempts=1)]

    assert members(planned(owed, PLAIN, probe=probe)) == [[1, 2]]
    assert members(planned([due(1)], QUIET, probe=probe)) == []


# --- digests ------------------------------------------------------------------


def test_as_many_as_the_limit_go_one_by_one_more_go_together() -> None:
    assert members(planned(_many(3))) == [[1], [2], [3]]
    assert members(planned(_many(4))) == [[1, 2, 3, 4]]


def test_a_thousand_starts_at_one_instant_are_one_message() -> None:
    (message,) = planned([started(seq) for seq in range(1000)], room=1).messages

    assert len(message.members) == 1000
    assert message.level is RenderLevel.RICH


def test_starts_and_the_rest_each_have_a_digest_and_a_limit_of_their_own() -> None:
    owed = [*_many(4), *(started(seq) for seq in range(5, 9))]

    assert members(planned(owed)) == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert members(planned([*_many(2), started(3), started(4)])) == [[3], [4], [1], [2]]


@pytest.mark.parametrize(
    ("count", "soon", "sent"),
    [(2, 0, [[1, 2]]), (2, 1, [[1, 2]]), (1, 0, [[1]]), (1, 1, [[1]]), (3, 3, [[1], [2], [3]])],
)
def test_what_the_rate_would_hold_for_long_goes_together(
    count: int, soon: int, sent: list[list[int]]
) -> None:
    assert members(planned(_many(count), soon=soon)) == sent


def test_what_goes_before_counts_against_what_the_rate_lets_through() -> None:
    owed = [started(1), started(2), *_many(2, first=3)]

    assert members(planned(owed, soon=4)) == [[1], [2], [3], [4]]
    assert members(planned(owed, soon=3)) == [[1], [2], [3, 4]]


def test_routes_with_different_limits_share_no_digest_but_the_rate() -> None:
    owed = [due(seq, route="all" if seq % 2 else "games") for seq in range(1, 7)]

    assert members(planned(owed)) == [[1], [2], [3], [4], [5], [6]]
    assert members(planned(owed, soon=5)) == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize("route", ["quiet", "unknown"])
def test_a_route_without_digests_has_none_whatever_the_rate(route: str) -> None:
    assert members(planned(_many(6, route=route), soon=1)) == [[1], [2], [3], [4], [5], [6]]


def test_a_digest_lists_all_news_of_one_milestone_in_order() -> None:
    assert members(planned(_many(4, milestone="m"))) == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("owed", "sent"),
    [
        pytest.param(
            [due(1, route="quiet", milestone="m"), due(2, milestone="m"), *_many(4, first=3)],
            [[3, 4, 5, 6], [1]],
            id="what follows news that goes by itself",
        ),
        pytest.param(
            [
                *(due(1), due(2, route="all", milestone="m1"), due(3, milestone="m1")),
                *_many(4, first=4),
            ],
            [[1, 4, 5, 6, 7]],
            id="what follows news in another pool",
        ),
        pytest.param(
            [*_many(5), started(6, milestone="m2")],
            [[6], [1, 3, 4, 5]],
            id="the milestone that is just starting",
        ),
    ],
)
def test_a_digest_leaves_out_what_would_overtake(
    owed: list[PendingDelivery], sent: list[list[int]]
) -> None:
    assert members(planned(owed)) == sent


# --- again --------------------------------------------------------------------


def test_others_join_what_surely_did_not_arrive() -> None:
    (message,) = planned([*_many(4, attempts=1), due(5)]).messages

    assert [one.seq for one in message.members] == [1, 2, 3, 4, 5]
    assert message.attempt == 2


def test_nothing_joins_what_may_have_arrived() -> None:
    frozen = _many(4, frozen_in="msg_1", attempts=1)

    found = planned([*frozen, *_many(4, first=5)])

    assert members(found) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert found.messages[0].id == "msg_1"


def test_what_may_have_arrived_waits_whole_for_a_start_and_is_not_overtaken() -> None:
    frozen = _many(2, frozen_in="msg_1")
    urgent, later = started(3, milestone="m2"), due(4, milestone="m1")

    assert members(planned([*frozen, urgent])) == [[3]]
    assert members(planned([*frozen, urgent, later])) == [[3]]


@pytest.mark.parametrize("plainest", [RenderLevel.PLAIN, RenderLevel.COUNTS])
def test_a_digest_is_as_plain_as_its_plainest_member(plainest: RenderLevel) -> None:
    (message,) = planned([*_many(4), due(5, level=plainest)]).messages

    assert message.level is plainest


@pytest.mark.parametrize("force", [False, True])
def test_a_former_member_of_a_refused_digest_goes_alone(force: bool) -> None:
    alone = _many(6, level=RenderLevel.ALONE, force_digest=force)

    found = planned(alone, soon=1)

    assert members(found) == [[1], [2], [3], [4], [5], [6]]
    assert {message.level for message in found.messages} == {RenderLevel.ALONE}


def test_the_last_of_a_digest_that_only_counted_is_told_in_words() -> None:
    (message,) = planned([due(1, level=RenderLevel.COUNTS)]).messages

    assert message.level is RenderLevel.ALONE


def test_a_message_uses_the_template_of_its_first_member() -> None:
    owed = [due(seq, route=f"r{seq}") for seq in range(1, 5)]
    how = policy(routes={one.route: LIMITS.batching["games"] for one in owed})

    (message,) = planned(owed, how).messages

    assert message.route == "r1"
