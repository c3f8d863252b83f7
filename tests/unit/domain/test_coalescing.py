"""Net changes: deliveries whose news is contained in another's, or is none any more."""

from typing import Any

import pytest
from owed import due

from notifier.domain.batching import coalesce
from notifier.domain.changes import net
from notifier.domain.models import Change, Kind, State
from notifier.domain.outgoing import PendingDelivery

CONTAINED = "sent with a later update of the milestone"
UNDONE = "changed back before it was sent"
PASSED = "it was listed and removed again before it was sent"


def _update(seq: int, before: str, after: str, **more: Any) -> PendingDelivery:
    change = Change(field="title", before=before, after=after)
    fields = {"milestone": "m", "changes": (change,), "row": {"title": after}}
    return due(seq, **(fields | more))


def _other(seq: int, kind: Kind, **more: Any) -> PendingDelivery:
    return due(seq, kind, milestone="m", **more)


def _superseded(*waiting: PendingDelivery) -> list[tuple[str, str | None, str]]:
    """What is not sent, by which event it is superseded, and why."""
    found = list(coalesce(waiting))
    assert all(one.state is State.SUPERSEDED for one in found)
    return [(one.delivery_id, one.by, one.reason) for one in found]


@pytest.mark.parametrize(
    "waiting",
    [
        pytest.param([_update(1, "A", "B")], id="one by itself"),
        pytest.param(
            [_update(1, "A", "B"), _update(2, "B", "A", milestone="other")], id="other milestones"
        ),
        pytest.param(
            [_update(1, "A", "B"), _other(2, Kind.ENDED), _update(3, "B", "C")], id="end between"
        ),
        pytest.param(
            [_update(1, "A", "B"), _other(2, Kind.CREATED), _update(3, "B", "C")],
            id="creation between",
        ),
        pytest.param([_update(1, "A", "B"), _update(2, "B", "A", changes=())], id="unknown change"),
        pytest.param(
            [_update(1, "A", "B"), _other(2, Kind.REMOVED)], id="removal of what was announced"
        ),
        pytest.param(
            [_other(1, Kind.CREATED, announced_since=True), _other(2, Kind.REMOVED)],
            id="removal of what was heard of meanwhile",
        ),
    ],
)
def test_what_is_news_by_itself_is_sent(waiting: list[PendingDelivery]) -> None:
    assert _superseded(*waiting) == []


def test_updates_that_follow_each_other_are_contained_in_the_newest() -> None:
    updates = [_update(2, "B", "C"), _update(1, "A", "B"), _update(3, "C", "D")]

    assert _superseded(*updates) == [
        ("dlv_1", "evt_3", CONTAINED),
        ("dlv_2", "evt_3", CONTAINED),
    ]
    created = _other(1, Kind.CREATED)
    beside = [created, _update(2, "A", "B"), _update(3, "B", "C")]
    assert _superseded(*beside) == [("dlv_2", "evt_3", CONTAINED)]


def test_updates_that_undo_each_other_are_not_sent() -> None:
    assert _superseded(_update(1, "A", "B"), _update(2, "B", "A")) == [
        ("dlv_1", "evt_2", UNDONE),
        ("dlv_2", "evt_2", UNDONE),
    ]


def test_different_routes_do_not_share_an_update() -> None:
    updates = [
        _update(1, "A", "B"),
        _update(2, "B", "C", route="all"),
        _update(3, "C", "D", route="all"),
    ]

    assert _superseded(*updates) == [("dlv_2", "evt_3", CONTAINED)]


@pytest.mark.parametrize("route", ["games", "all"])
def test_what_came_and_went_is_not_sent_nor_what_was_between(route: str) -> None:
    waiting = [
        _other(1, Kind.CREATED),
        _update(2, "A", "B"),
        _other(3, Kind.ENDED),
        _other(4, Kind.REMOVED, route=route),
    ]

    assert _superseded(*waiting) == [(f"dlv_{n}", "evt_4", PASSED) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("kinds", "gone"),
    [
        ([Kind.CREATED, Kind.REMOVED, Kind.CREATED], [(1, 2), (2, 2)]),
        ([Kind.REMOVED, Kind.CREATED, Kind.REMOVED], [(2, 3), (3, 3)]),
    ],
    ids=["comes back", "was owed before"],
)
def test_only_what_came_and_went_is_passed_over(
    kinds: list[Kind], gone: list[tuple[int, int]]
) -> None:
    waiting = [_other(n, kind) for n, kind in enumerate(kinds, 1)]

    assert _superseded(*waiting) == [(f"dlv_{n}", f"evt_{by}", PASSED) for n, by in gone]


def test_the_net_is_what_the_milestone_came_to_whoever_heard_of_it() -> None:
    # Between the two the title changed once more, which went elsewhere.
    other = Change(field="category", before="X", after="Y")
    row = {"title": "A", "category": "Y"}
    first, second = _update(1, "A", "B"), _update(2, "C", "A", changes=(other,), row=row)

    assert _superseded(first, second) == [("dlv_1", "evt_2", CONTAINED)]
    assert net([first.changes, second.changes], second.row) == (other,)
