"""What waits for one milestone, told as one or not at all."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from owed import due

from notifier.domain.changes import net
from notifier.domain.coalescing import netted
from notifier.domain.models import Change, Due, Ended, Kind, State


def _update(seq: int, before: str, after: str, *, route: str = "games") -> Due:
    change = Change(field="title", before=before, after=after)
    row = {"title": after}
    return replace(due(seq, milestone="m", route=route), changes=(change,), row=row)


def _other(seq: int, kind: Kind, *, route: str = "games") -> Due:
    return due(seq, kind, milestone="m", route=route)


def _net(*waiting: Due) -> list[tuple[str, str | None]]:
    """What need not be told, and by which event it is."""
    ended = list(netted(waiting))
    assert all(one.state is State.SUPERSEDED for one in ended)
    return [(one.delivery_id, one.by) for one in ended]


def _reasons(waiting: Sequence[Due]) -> set[str]:
    ended: list[Ended] = list(netted(waiting))
    return {one.reason for one in ended}


def test_one_by_itself_is_told() -> None:
    assert _net(_update(1, "A", "B")) == []


def test_updates_that_follow_each_other_are_told_by_the_newest() -> None:
    updates = [_update(1, "A", "B"), _update(2, "B", "C"), _update(3, "C", "D")]

    assert _net(*updates) == [("dlv_1", "evt_3"), ("dlv_2", "evt_3")]
    assert _reasons(updates) == {"told with a later update of the milestone"}


def test_it_does_not_matter_in_which_order_they_are_found() -> None:
    assert _net(_update(2, "B", "C"), _update(1, "A", "B")) == [("dlv_1", "evt_2")]


def test_updates_that_undo_each_other_are_not_told() -> None:
    updates = [_update(1, "A", "B"), _update(2, "B", "A")]

    assert _net(*updates) == [("dlv_1", "evt_2"), ("dlv_2", "evt_2")]
    assert _reasons(updates) == {"changed back before it was told"}


def test_milestones_have_nothing_to_do_with_each_other() -> None:
    other = replace(_update(2, "B", "A"), milestone_id="other")

    assert _net(_update(1, "A", "B"), other) == []


def test_different_routes_do_not_share_an_update() -> None:
    updates = [
        _update(1, "A", "B"),
        _update(2, "B", "C", route="all"),
        _update(3, "C", "D", route="all"),
    ]

    assert _net(*updates) == [("dlv_2", "evt_3")]


@pytest.mark.parametrize("between", [Kind.ENDED, Kind.CREATED])
def test_what_happened_between_two_updates_keeps_them_apart(between: Kind) -> None:
    assert _net(_update(1, "A", "B"), _other(2, between), _update(3, "B", "C")) == []


def test_updates_after_the_creation_are_told_as_one_beside_it() -> None:
    waiting = [_other(1, Kind.CREATED), _update(2, "A", "B"), _update(3, "B", "C")]

    assert _net(*waiting) == [("dlv_2", "evt_3")]


def test_an_update_of_which_nothing_is_known_is_told() -> None:
    blank = replace(_update(2, "B", "A"), changes=())

    assert _net(_update(1, "A", "B"), blank) == []


def test_what_came_and_went_is_not_told_nor_what_was_between() -> None:
    waiting = [
        _other(1, Kind.CREATED),
        _update(2, "A", "B"),
        _other(3, Kind.ENDED),
        _other(4, Kind.REMOVED),
    ]

    assert _net(*waiting) == [(f"dlv_{n}", "evt_4") for n in (1, 2, 3, 4)]
    assert _reasons(waiting) == {"it was listed and removed again before it was told"}


def test_what_had_been_told_before_is_told_to_be_gone() -> None:
    assert _net(_update(1, "A", "B"), _other(2, Kind.REMOVED)) == []


def test_what_comes_back_is_told_whatever_came_and_went_before() -> None:
    kinds = [Kind.CREATED, Kind.REMOVED, Kind.CREATED]
    waiting = [_other(n, kind) for n, kind in enumerate(kinds, 1)]

    assert _net(*waiting) == [("dlv_1", "evt_2"), ("dlv_2", "evt_2")]


def test_a_removal_that_is_owed_is_told_though_it_came_and_went_again() -> None:
    kinds = [Kind.REMOVED, Kind.CREATED, Kind.REMOVED]
    waiting = [_other(n, kind) for n, kind in enumerate(kinds, 1)]

    assert _net(*waiting) == [("dlv_2", "evt_3"), ("dlv_3", "evt_3")]


def test_what_came_and_went_came_and_went_by_whatever_route() -> None:
    waiting = [_other(1, Kind.CREATED), _other(2, Kind.REMOVED, route="all")]

    assert _net(*waiting) == [("dlv_1", "evt_2"), ("dlv_2", "evt_2")]


def test_the_net_is_what_the_milestone_came_to_whoever_was_told_of_it() -> None:
    # Between the two somebody changed the title once more, which went elsewhere.
    first, second = _update(1, "A", "B"), replace(_update(2, "C", "A"), changes=())
    other = Change(field="category", before="X", after="Y")
    second = replace(second, changes=(other,), row={"title": "A", "category": "Y"})

    assert _net(first, second) == [("dlv_1", "evt_2")]
    assert net([first.changes, second.changes], second.row) == (other,)


def test_what_came_and_went_is_told_to_those_who_heard_of_it_meanwhile() -> None:
    listed = replace(_other(1, Kind.CREATED), heard=True)

    assert _net(listed, _other(2, Kind.REMOVED)) == []
