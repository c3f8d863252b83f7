"""What the demo says that it came to."""

import pytest

from notifier.cli.tally import SINK, TERMINAL, Owed, compare
from notifier.domain.models import Kind, State

KINDS = {"evt_a": Kind.CREATED, "evt_b": Kind.STARTED}


def owed(event: str, destination: str, state: State = State.DELIVERED) -> Owed:
    return Owed(event_id=event, kind=KINDS[event], destination=destination, state=state)


ALL = [owed(event, to) for event in KINDS for to in (TERMINAL, SINK)]


def test_what_arrived_everywhere_is_neither_lost_nor_repeated() -> None:
    found = compare(KINDS, ALL, ["evt_a", "evt_b"])

    assert (found.repeated, found.lost, found.waiting) == (0, 0, 0)
    assert found.events == found.terminal == found.webhook
    assert found.webhook == {Kind.CREATED: 1, Kind.STARTED: 1}


def test_a_delivery_that_never_arrived_is_lost_whatever_the_store_believes() -> None:
    assert compare(KINDS, ALL, ["evt_a"]).lost == 1


@pytest.mark.parametrize("state", [State.DEAD, State.EXPIRED, State.DROPPED])
def test_a_message_given_up_is_lost(state: State) -> None:
    given_up = [*ALL[1:], owed("evt_a", TERMINAL, state)]

    assert compare(KINDS, given_up, ["evt_a", "evt_b"]).lost == 1


def test_what_still_waits_is_not_lost() -> None:
    waiting = [*ALL[:-1], owed("evt_b", SINK, State.PENDING)]

    found = compare(KINDS, waiting, ["evt_a"])

    assert (found.lost, found.waiting) == (0, 1)


def test_an_event_that_arrives_again_is_a_repeat() -> None:
    assert compare(KINDS, ALL, ["evt_a", "evt_b", "evt_b"]).repeated == 1
