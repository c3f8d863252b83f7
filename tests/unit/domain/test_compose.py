"""Which messages the due deliveries of one destination become."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from owed import composed_of, due, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND, UNSET

from notifier.domain.batching import Composed, Rules
from notifier.domain.models import Due, Form, Kind, State


def _told(composed: Composed) -> list[list[int]]:
    """The members of each message, by their order of birth."""
    return [[one.seq for one in message.members] for message in composed.messages]


def _many(count: int, kind: Kind = Kind.UPDATED, *, first: int = 1) -> list[Due]:
    return [due(seq, kind) for seq in range(first, first + count)]


# --- too late, or not true any more -------------------------------------------


def _end(one: Due, *, now: datetime = NOON) -> tuple[State, str] | None:
    ended = composed_of([one], now=now).ended
    return (ended[0].state, ended[0].reason) if ended else None


def test_a_start_expires_half_an_hour_after_its_instant() -> None:
    assert _end(started(), now=NOON + 30 * MINUTE) is None
    assert _end(started(), now=NOON + 30 * MINUTE + SECOND) == (
        State.EXPIRED,
        "too late to be of use",
    )


def test_an_update_does_not_expire() -> None:
    assert _end(due(), now=NOON + 30 * DAY) is None


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.UPCOMING])
def test_news_of_a_start_is_moot_once_the_milestone_is_over_or_gone(
    kind: Kind,
) -> None:
    one = due(1, kind, lead=MINUTE if kind is Kind.UPCOMING else None, over=True)

    assert _end(one) == (State.SUPERSEDED, "the milestone is over or gone")


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED])
def test_other_news_is_never_moot(kind: Kind) -> None:
    assert _end(due(1, kind, start=NOON + DAY, over=True)) is None


@pytest.mark.parametrize("by", [-HOUR, -SECOND, SECOND, HOUR], ids=str)
def test_a_reminder_of_a_start_that_has_moved_is_moot(by: timedelta) -> None:
    one = due(1, Kind.UPCOMING, lead=DAY, start=NOON + DAY + by)

    assert _end(one) == (State.SUPERSEDED, "the start has moved")


def test_a_reminder_is_moot_once_it_has_started() -> None:
    one = due(1, Kind.UPCOMING, lead=MINUTE)

    assert _end(one, now=NOON + MINUTE - SECOND) is None
    assert _end(one, now=NOON + MINUTE) == (State.SUPERSEDED, "it has started")


@pytest.mark.parametrize("start", [NOON + 15 * MINUTE + SECOND, NOON + DAY, UNSET])
def test_the_announcement_of_a_start_that_was_put_off_is_moot(start: datetime) -> None:
    assert _end(replace(started(), start=start)) == (
        State.SUPERSEDED,
        "the start has moved",
    )


@pytest.mark.parametrize("by", [-DAY, -SECOND, SECOND, 15 * MINUTE], ids=str)
def test_the_announcement_of_a_start_that_is_not_announced_again_still_holds(
    by: timedelta,
) -> None:
    # It is the only one that there will be.
    assert _end(replace(started(), start=NOON + by)) is None


def test_which_start_is_announced_again_is_the_users_to_say() -> None:
    put_off = replace(started(), start=NOON + HOUR)

    composed = composed_of([put_off], rules=Rules(started_again_after=HOUR))

    assert composed.ended == ()


def test_what_may_have_arrived_is_never_moot() -> None:
    one = replace(started(), start=NOON + DAY, over=True, frozen_in="msg_1")

    composed = composed_of([one])

    assert composed.ended == ()
    assert [message.id for message in composed.messages] == ["msg_1"]


def test_a_message_that_may_have_arrived_expires_with_its_last_member() -> None:
    early = replace(started(1), frozen_in="msg_1")
    later = replace(started(2, at=NOON + MINUTE), frozen_in="msg_1")

    whole = composed_of([early, later], now=NOON + 30 * MINUTE + SECOND)
    gone = composed_of([early, later], now=NOON + 31 * MINUTE + SECOND)

    assert _told(whole) == [[1, 2]]
    assert gone.messages == ()
    assert {end.state for end in gone.ended} == {State.EXPIRED}


def test_everything_that_has_ended_is_ended_whatever_room_there_is() -> None:
    stale = [started(seq, at=NOON - HOUR) for seq in range(1, 9)]

    composed = composed_of([*stale, started(9)], room=1)

    assert len(composed.ended) == 8
    assert _told(composed) == [[9]]


# --- who goes first -----------------------------------------------------------


def test_a_start_overtakes_older_news_of_its_milestone() -> None:
    older = due(1, Kind.UPDATED, milestone="m")
    urgent = replace(started(2), milestone_id="m")

    composed = composed_of([older, urgent])

    assert _told(composed) == [[2]]


def test_what_has_started_longest_ago_goes_first() -> None:
    owed = [started(1, at=NOON - SECOND), started(2, at=NOON - MINUTE), started(3)]

    assert _told(composed_of(owed)) == [[2], [1], [3]]


def test_the_rest_goes_in_the_order_of_its_birth() -> None:
    assert _told(composed_of([due(3), due(1), due(2)])) == [[1], [2], [3]]


def test_news_of_one_milestone_goes_one_after_the_other() -> None:
    owed = [due(seq, milestone="m") for seq in (1, 2, 3)]

    assert _told(composed_of(owed)) == [[1]]


def test_no_more_leaves_than_there_is_room_for() -> None:
    assert _told(composed_of(_many(3), room=2)) == [[1], [2]]
    assert _told(composed_of(_many(3), room=0)) == []


# --- digests ------------------------------------------------------------------


def test_as_many_as_the_limit_go_one_by_one_more_go_together() -> None:
    assert _told(composed_of(_many(3))) == [[1], [2], [3]]
    assert _told(composed_of(_many(4))) == [[1, 2, 3, 4]]


def test_a_thousand_starts_at_one_instant_are_one_message() -> None:
    (message,) = composed_of([started(seq) for seq in range(1000)], room=1).messages

    assert len(message.members) == 1000
    assert message.form is Form.RICH


def test_starts_and_the_rest_each_have_a_digest_of_their_own() -> None:
    owed = [*_many(4), *(started(seq) for seq in range(5, 9))]

    assert _told(composed_of(owed)) == [[5, 6, 7, 8], [1, 2, 3, 4]]


def test_starts_do_not_push_the_rest_over_the_limit() -> None:
    owed = [*_many(2), *(started(seq) for seq in (3, 4))]

    assert _told(composed_of(owed)) == [[3], [4], [1], [2]]


@pytest.mark.parametrize("soon", [0, 1])
def test_what_the_rate_would_hold_for_long_goes_together(soon: int) -> None:
    assert _told(composed_of(_many(2), soon=soon)) == [[1, 2]]
    assert _told(composed_of(_many(1), soon=soon)) == [[1]]


def test_what_the_rate_lets_through_soon_goes_one_by_one() -> None:
    assert _told(composed_of(_many(3), soon=3)) == [[1], [2], [3]]


def test_what_goes_before_counts_against_what_the_rate_lets_through() -> None:
    owed = [started(1), started(2), *_many(2, first=3)]

    assert _told(composed_of(owed, soon=4)) == [[1], [2], [3], [4]]
    assert _told(composed_of(owed, soon=3)) == [[1], [2], [3, 4]]


def test_routes_with_different_limits_share_no_digest_but_the_rate() -> None:
    owed = [replace(one, route="all") if one.seq % 2 else one for one in _many(6)]

    assert _told(composed_of(owed)) == [[1], [2], [3], [4], [5], [6]]
    assert _told(composed_of(owed, soon=5)) == [[1, 3, 5], [2, 4, 6]]


@pytest.mark.parametrize("route", ["quiet", "unknown"])
def test_a_route_without_digests_has_none_whatever_the_rate(route: str) -> None:
    owed = [replace(one, route=route) for one in _many(6)]

    assert _told(composed_of(owed, soon=1)) == [[1], [2], [3], [4], [5], [6]]


def test_a_digest_tells_all_news_of_one_milestone_in_order() -> None:
    owed = [due(seq, milestone="m") for seq in (1, 2, 3, 4)]

    assert _told(composed_of(owed)) == [[1, 2, 3, 4]]


def test_a_digest_leaves_out_what_comes_after_news_that_goes_by_itself() -> None:
    first = due(1, route="quiet", milestone="m")
    second = due(2, milestone="m")

    composed = composed_of([first, second, *_many(4, first=3)])

    assert _told(composed) == [[3, 4, 5, 6], [1]]


def test_a_digest_does_not_skip_news_of_a_milestone_that_goes_another_way() -> None:
    skipped = due(2, route="all", milestone="m1")
    later = due(3, milestone="m1")

    composed = composed_of([due(1), skipped, later, *_many(4, first=4)])

    assert _told(composed) == [[1, 4, 5, 6, 7]]


def test_a_digest_leaves_out_the_milestone_that_is_just_starting() -> None:
    owed = [*_many(5), replace(started(6), milestone_id="m2")]

    assert _told(composed_of(owed)) == [[6], [1, 3, 4, 5]]


# --- again --------------------------------------------------------------------


def test_others_join_what_surely_did_not_arrive() -> None:
    tried = [replace(one, attempts=1) for one in _many(4)]

    (message,) = composed_of([*tried, due(5)]).messages

    assert [one.seq for one in message.members] == [1, 2, 3, 4, 5]
    assert message.attempt == 2


def test_nobody_joins_what_may_have_arrived() -> None:
    frozen = [replace(one, frozen_in="msg_1", attempts=1) for one in _many(4)]

    composed = composed_of([*frozen, *_many(4, first=5)])

    assert _told(composed) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert composed.messages[0].id == "msg_1"


def test_what_may_have_arrived_waits_whole_for_a_start_of_one_of_its_members() -> None:
    frozen = [replace(one, frozen_in="msg_1") for one in _many(2)]
    urgent = replace(started(3), milestone_id="m2")

    assert _told(composed_of([*frozen, urgent])) == [[3]]


def test_what_may_have_arrived_and_waits_is_not_overtaken_by_later_news() -> None:
    frozen = [replace(one, frozen_in="msg_1") for one in _many(2)]
    urgent = replace(started(3), milestone_id="m2")
    later = replace(due(4), milestone_id="m1")

    assert _told(composed_of([*frozen, urgent, later])) == [[3]]


@pytest.mark.parametrize("plainest", [Form.PLAIN, Form.COUNTS])
def test_a_digest_goes_as_plain_as_its_plainest_member(plainest: Form) -> None:
    owed = [*_many(4), due(5, form=plainest)]

    (message,) = composed_of(owed).messages

    assert message.form is plainest


def test_a_member_of_a_digest_that_was_refused_for_good_goes_alone() -> None:
    alone = [due(seq, form=Form.ALONE) for seq in range(1, 7)]

    composed = composed_of(alone, soon=1)

    assert _told(composed) == [[1], [2], [3], [4], [5], [6]]
    assert {message.form for message in composed.messages} == {Form.ALONE}


def test_the_last_of_a_digest_that_only_counted_is_told_in_words() -> None:
    (message,) = composed_of([due(1, form=Form.COUNTS)]).messages

    assert message.form is Form.ALONE


def test_a_message_speaks_with_the_template_of_its_first_member() -> None:
    owed = [replace(one, route=f"r{one.seq}") for one in _many(4)]
    over = {one.route: 3 for one in owed}

    (message,) = composed_of(owed, over=over).messages

    assert message.route == "r1"
