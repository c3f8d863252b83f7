"""What holds of the messages whatever is due."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from owed import HOOK, backlogs, composed_of
from strategies import NOON

from notifier.domain.models import URGENT, Due, Form, message_id


@given(owed=backlogs(), room=st.integers(1, 6), soon=st.integers(0, 8))
def test_nothing_is_lost_and_nothing_goes_twice(owed: list[Due], room: int, soon: int) -> None:
    composed = composed_of(owed, room=room, soon=soon)

    told = [one.delivery_id for m in composed.messages for one in m.members]
    ended = [end.delivery_id for end in composed.ended]
    assert len(set(told) | set(ended)) == len(told) + len(ended)
    assert {*told, *ended} <= {one.delivery_id for one in owed}
    assert len(composed.messages) <= room


@given(owed=backlogs(), soon=st.integers(0, 8))
def test_with_room_enough_what_stays_waits_for_its_milestone(owed: list[Due], soon: int) -> None:
    composed = composed_of(owed, soon=soon)

    told = [one for message in composed.messages for one in message.members]
    ended = {end.delivery_id for end in composed.ended}
    left = [one for one in owed if one not in told and one.delivery_id not in ended]
    waiting = _waiting({one.milestone_id for one in told}, left)
    assert all(_whole(one, left) & waiting for one in left)


def _waiting(busy: set[str], left: Sequence[Due]) -> set[str]:
    """The milestones of whom nothing may go: busy, or bound to one that must wait."""
    found = set(busy)
    for _ in left:
        for one in left:
            if one.frozen_in is not None and (whole := _whole(one, left)) & found:
                found |= whole
    return found


def _whole(one: Due, owed: Sequence[Due]) -> set[str]:
    """The milestones that go with a delivery, if they have to."""
    if one.frozen_in is None:
        return {one.milestone_id}
    return {other.milestone_id for other in owed if other.frozen_in == one.frozen_in}


@given(owed=backlogs(), room=st.integers(1, 6), soon=st.integers(0, 8))
def test_what_has_to_wait_whole_is_overtaken_by_nothing_but_starts(
    owed: list[Due], room: int, soon: int
) -> None:
    composed = composed_of(owed, room=room, soon=soon)

    told = [one for message in composed.messages for one in message.members]
    ended = {end.delivery_id for end in composed.ended}
    waiting = {
        one.milestone_id
        for one in owed
        if one.frozen_in is not None
        and one.kind not in URGENT
        and one not in told
        and one.delivery_id not in ended
    }
    free = [one for one in told if one.frozen_in is None and one.kind not in URGENT]
    assert not waiting & {one.milestone_id for one in free}


@given(owed=backlogs(), soon=st.integers(0, 8))
def test_one_milestone_is_in_one_message_at_most(owed: list[Due], soon: int) -> None:
    messages = composed_of(owed, soon=soon).messages

    milestones = [{one.milestone_id for one in m.members} for m in messages]
    assert sum(map(len, milestones)) == len(set().union(*milestones))


@given(owed=backlogs(), soon=st.integers(0, 8))
def test_starts_and_reminders_share_no_message_with_the_rest_and_go_first(
    owed: list[Due], soon: int
) -> None:
    messages = composed_of(owed, soon=soon).messages

    urgent = [[one.kind in URGENT for one in message.members] for message in messages]
    assert all(len(set(kinds)) == 1 for kinds in urgent)
    firsts = [kinds[0] for kinds in urgent]
    assert firsts == sorted(firsts, reverse=True)


@given(owed=backlogs(), room=st.integers(1, 6), soon=st.integers(0, 8))
def test_nothing_overtakes_an_earlier_delivery_of_its_milestone_but_starts(
    owed: list[Due], room: int, soon: int
) -> None:
    owed = [one for one in owed if one.frozen_in is None]
    composed = composed_of(owed, room=room, soon=soon)

    ended = {end.delivery_id for end in composed.ended}
    for message in composed.messages:
        assert list(message.members) == sorted(message.members, key=_turn)
        for one in message.members:
            ahead = {
                other.seq
                for other in owed
                if other.milestone_id == one.milestone_id
                and other.kind not in URGENT
                and other.seq < one.seq
                and other.delivery_id not in ended
            }
            assert one.kind in URGENT or ahead <= {m.seq for m in message.members}


def _turn(one: Due) -> tuple[datetime, int]:
    return (one.at if one.kind in URGENT else NOON, one.seq)


@given(owed=backlogs(), room=st.integers(1, 6), soon=st.integers(0, 8))
def test_what_may_have_arrived_goes_again_whole_and_under_its_id(
    owed: list[Due], room: int, soon: int
) -> None:
    composed = composed_of(owed, room=room, soon=soon)

    for message in composed.messages:
        before = {one.frozen_in for one in message.members}
        if before != {None}:
            together = {one.seq for one in owed if one.frozen_in == message.id}
            assert before == {message.id}
            assert {one.seq for one in message.members} == together


@given(owed=backlogs(), soon=st.integers(0, 8))
def test_an_id_depends_on_the_members_alone(owed: list[Due], soon: int) -> None:
    for message in composed_of(owed, soon=soon).messages:
        reborn = [
            replace(one, attempts=5, form=Form.RICH, frozen_in=None, over=False)
            for one in reversed(message.members)
        ]
        members = [one.event_id for one in reborn]

        assert message.id == message_id(HOOK, members)


@given(owed=backlogs(), room=st.integers(1, 6), soon=st.integers(0, 8))
def test_the_order_in_which_the_store_answers_says_nothing(
    owed: list[Due], room: int, soon: int
) -> None:
    in_order = sorted(owed, key=lambda one: one.seq)

    composed = composed_of(owed, room=room, soon=soon)
    again = composed_of(in_order, room=room, soon=soon)

    assert set(composed.messages) == set(again.messages)
    assert set(composed.ended) == set(again.ended)


@given(owed=backlogs(), soon=st.integers(0, 8))
def test_what_goes_alone_is_never_counted_only(owed: list[Due], soon: int) -> None:
    for message in composed_of(owed, soon=soon).messages:
        assert message.form is not Form.COUNTS or len(message.members) > 1
