"""What the ledger calls broken."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from servers.http_sink import Answer, Hang, Received, Step

from faults.ledger import NOTHING, Counts, Result, Row, Stage
from faults.verdict import Evidence, Owed, verdict

OWED = Owed(
    event_id="event",
    state="superseded",
    superseded_by=None,
    reason="the start has moved",
    attempts=0,
    expires_at=None,
    settled_at=1_000,
)
MINUTE = 60_000_000


def request(message_id: str, *, met: Step | None = None) -> Received:
    return Received(
        method="POST",
        path="/hook",
        query="",
        headers={"webhook-id": message_id},
        body=b"[]",
        connection=1,
        met=met or Answer(),
    )


def judged(*requests: Received, in_doubt: Sequence[int] = (), owed: Sequence[Owed] = ()) -> Counts:
    return verdict(
        Evidence(
            pages=[],
            deaths=[],
            lost_on_the_way=[],
            in_doubt=frozenset(in_doubt),
            faults=1,
            events=[],
            deliveries=owed,
            requests=requests,
            starts={},
            broken=[],
        )
    )


def test_what_was_under_way_at_a_death_may_be_repeated_once() -> None:
    once = judged(request("a"), request("a"), in_doubt=[0])
    twice = judged(request("a"), request("a"), request("a"), in_doubt=[0])

    assert once.holds
    assert (once.repeats, once.allowed) == (1, 1)
    assert not twice.holds


def test_what_was_never_answered_may_be_repeated() -> None:
    assert judged(request("a", met=Hang()), request("a")).holds


def test_one_messages_doubt_excuses_no_repeat_of_another() -> None:
    counts = judged(request("a"), request("b"), request("b"), in_doubt=[0])

    assert (counts.repeats, counts.allowed) == (1, 1)
    assert not counts.holds
    assert counts.broken == ("b: 1 repeats of what was not under way",)


def test_a_death_that_did_not_find_it_under_way_excuses_no_repeat() -> None:
    refused = judged(request("a"), request("a", met=Answer(status=503)), request("a"), in_doubt=[1])

    assert not refused.holds


@pytest.mark.parametrize(
    ("owed", "lost"),
    [
        (OWED, 0),
        (replace(OWED, reason=None), 1),
        (replace(OWED, superseded_by="other"), 1),
        (replace(OWED, state="expired"), 1),
        (replace(OWED, state="expired", expires_at=999), 0),
        (replace(OWED, state="expired", expires_at=999, reason=None), 1),
        (replace(OWED, state="expired", expires_at=MINUTE), 1),
        (replace(OWED, state="expired", expires_at=MINUTE, attempts=1), 0),
        (replace(OWED, state="expired", expires_at=10 * MINUTE, attempts=1), 1),
        (replace(OWED, state="pending"), 1),
    ],
)
def test_what_was_not_told_needs_a_reason_that_holds(owed: Owed, lost: int) -> None:
    assert judged(owed=[owed]).lost == lost


async def _never(_stage: Stage) -> Counts:
    raise AssertionError


def test_a_seed_that_is_broken_breaks_its_row_whatever_the_others_would_excuse() -> None:
    calm = replace(NOTHING, faults=1, repeats=0, allowed=5)
    broken = replace(NOTHING, faults=1, repeats=3, allowed=1)
    row = Row(id="row", matrix="", done="", holds="", run=_never)

    result = Result(row=row, runs=(calm, broken), seconds=0)

    assert not result.holds
    assert result.counts is not None
    assert (result.counts.repeats, result.counts.allowed) == (3, 6)
