"""What holds of the messages whatever is due."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from owed import HOOK, backlogs, planned
from strategies import NOON

from notifier.domain.models import URGENT, message_id
from notifier.domain.outgoing import PendingDelivery, RenderLevel

Owed = list[PendingDelivery]
ROOM, SOON = st.integers(1, 6), st.integers(0, 8)


@given(owed=backlogs(), room=ROOM, soon=SOON)
def test_nothing_is_lost_and_nothing_goes_twice(owed: Owed, room: int, soon: int) -> None:
    found = planned(owed, room=room, soon=soon)

    sent = [one.delivery_id for m in found.messages for one in m.members]
    ended = [one.delivery_id for one in found.suppressed]
    assert len(set(sent) | set(ended)) == len(sent) + len(ended)
    assert {*sent, *ended} <= {one.delivery_id for one in owed}
    assert len(found.messages) <= room


@given(owed=backlogs(), soon=SOON)
def test_with_room_enough_what_stays_waits_for_its_milestone(owed: Owed, soon: int) -> None:
    found = planned(owed, soon=soon)

    sent = [one for message in found.messages for one in message.members]
    ended = {one.delivery_id for one in found.suppressed}
    left = [one for one in owed if one not in sent and one.delivery_id not in ended]
    waiting = _waiting({one.milestone_id for one in sent}, left)
    assert all(_whole(one, left) & waiting for one in left)


def _waiting(busy: set[str], left: Sequence[PendingDelivery]) -> set[str]:
    """The milestones of which nothing may go: busy, or bound to one that must wait."""
    found = set(busy)
    for _ in left:
        for one in left:
            if one.frozen_in is not None and (whole := _whole(one, left)) & found:
                found |= whole
    return found


def _whole(one: PendingDelivery, owed: Sequence[PendingDelivery]) -> set[str]:
    """The milestones that go with a delivery, if they have to."""
    if one.frozen_in is None:
        return {one.milestone_id}
    return {other.milestone_id for other in owed if other.frozen_in == one.frozen_in}


@given(owed=backlogs(), room=ROOM, soon=SOON)
def test_what_may_have_arrived_goes_whole_under_its_id_or_ends_whole(
    owed: Owed, room: int, soon: int
) -> None:
    found = planned(owed, room=room, soon=soon)

    ended = {one.delivery_id for one in found.suppressed}
    for message in found.messages:
        before = {one.frozen_in for one in message.members}
        if before != {None}:
            assert before == {message.id}
            assert set(message.members) == {one for one in owed if one.frozen_in == message.id}
    for key in {one.frozen_in for one in owed} - {None}:
        whole = {one.delivery_id for one in owed if one.frozen_in == key}
        assert not whole & ended or whole <= ended


@given(owed=backlogs(), room=ROOM, soon=SOON)
def test_what_has_to_wait_whole_is_overtaken_by_nothing_but_starts(
    owed: Owed, room: int, soon: int
) -> None:
    found = planned(owed, room=room, soon=soon)

    sent = [one for message in found.messages for one in message.members]
    ended = {one.delivery_id for one in found.suppressed}
    waiting = {
        one.milestone_id
        for one in owed
        if one.frozen_in is not None
        and one.kind not in URGENT
        and one not in sent
        and one.delivery_id not in ended
    }
    free = [one for one in sent if one.frozen_in is None and one.kind not in URGENT]
    assert not waiting & {one.milestone_id for one in free}


@given(owed=backlogs(), soon=SOON)
def test_a_milestone_is_in_one_message_and_urgent_ones_go_first_by_themselves(
    owed: Owed, soon: int
) -> None:
    messages = planned(owed, soon=soon).messages

    milestones = [{one.milestone_id for one in message.members} for message in messages]
    assert sum(map(len, milestones)) == len(set().union(*milestones))
    urgent = [{one.kind in URGENT for one in message.members} for message in messages]
    assert all(len(kinds) == 1 for kinds in urgent)
    assert urgent == sorted(urgent, key=lambda kinds: False in kinds)


@given(owed=backlogs(), room=ROOM, soon=SOON)
def test_nothing_overtakes_an_earlier_delivery_of_its_milestone_but_starts(
    owed: Owed, room: int, soon: int
) -> None:
    owed = [one for one in owed if one.frozen_in is None]
    found = planned(owed, room=room, soon=soon)

    ended = {one.delivery_id for one in found.suppressed}
    for message in found.messages:
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


def _turn(one: PendingDelivery) -> tuple[datetime, int]:
    return (one.at if one.kind in URGENT else NOON, one.seq)


@given(owed=backlogs(), room=ROOM, soon=SOON)
def test_the_order_of_the_rows_says_nothing_and_ids_depend_on_members_alone(
    owed: Owed, room: int, soon: int
) -> None:
    found = planned(owed, room=room, soon=soon)
    again = planned(sorted(owed, key=lambda one: one.seq), room=room, soon=soon)

    assert set(found.messages) == set(again.messages)
    assert set(found.suppressed) == set(again.suppressed)
    for message in found.messages:
        members = [replace(one, frozen_in=None).event_id for one in reversed(message.members)]
        assert message.id == message_id(HOOK, members)
        assert message.level is not RenderLevel.COUNTS or len(members) > 1
