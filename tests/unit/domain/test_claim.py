"""What a destination's lane does next, and what an outcome means for everybody."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import pytest
from message_samples import event
from owed import HOOK, ZONE, due
from strategies import HOUR, MINUTE, NOON, SECOND

from notifier.domain.batching import Probe, Room
from notifier.domain.claim import (
    NO_LIMIT,
    Finished,
    Wait,
    Waiting,
    Way,
    claim,
    judge,
    room,
    since,
)
from notifier.domain.commit import Claim, Settlement
from notifier.domain.deferral import Manner
from notifier.domain.models import (
    Ambiguous,
    Due,
    Failed,
    Form,
    Kind,
    Message,
    Outcome,
    Refused,
    Scope,
    Sent,
    State,
    message_id,
)
from notifier.domain.retry_policy import Rescheduled, Standing, Tries
from notifier.domain.rules import Rate, Silence
from notifier.domain.silences import made

MANNER = Manner(over=None, zone=ZONE)
PLAIN = Way(name=HOOK, manners={}, manner_else=MANNER)
DOWN = Failed(reason="503", status=503)
SLOW = replace(PLAIN, rate=Rate(count=3, per=MINUTE))
MARGIN = 20 * SECOND / 1000


def _room(
    way: Way,
    standing: Standing = Standing(),  # noqa: B008 - frozen
    *sent: timedelta,
) -> Room | Wait:
    """What there is room for, given how long ago requests left."""
    left = [NOON - ago for ago in sent]
    return room(way, standing, left, now=NOON, retries_first=True)


def _slots(way: Way, *sent: timedelta) -> tuple[int, int]:
    found = _room(way, Standing(), *sent)
    assert isinstance(found, Room)
    return found.now, found.soon


# --- room ---------------------------------------------------------------------


def test_without_a_rate_there_is_room_for_everything() -> None:
    assert since(PLAIN, NOON) is None
    assert _slots(PLAIN) == (NO_LIMIT, NO_LIMIT)


def test_what_left_within_the_window_takes_its_room() -> None:
    assert since(SLOW, NOON) == NOON - MINUTE - MARGIN
    assert _slots(SLOW) == (3, 3)
    assert _slots(SLOW, 10 * SECOND, 20 * SECOND) == (1, 1)


def test_what_leaves_the_window_soon_makes_room_soon() -> None:
    assert _slots(SLOW, 10 * SECOND, 55 * SECOND) == (1, 2)


def test_a_short_window_lets_out_more_within_ten_seconds() -> None:
    quick = replace(PLAIN, rate=Rate(count=2, per=SECOND))

    assert _slots(quick) == (2, 20)


def test_a_full_window_is_waited_for_until_its_oldest_leaves_it() -> None:
    full = [10 * SECOND, 20 * SECOND, 50 * SECOND]

    assert _room(SLOW, Standing(), *full) == Wait(span=10 * SECOND + MARGIN)


def test_what_lies_in_the_future_is_of_a_clock_that_was_wrong() -> None:
    ahead = -2 * HOUR

    assert _slots(SLOW, ahead, ahead, ahead) == (3, 3)


def test_a_destination_that_is_left_alone_is_waited_for() -> None:
    paused = Standing(paused_until=NOON + MINUTE)

    assert _room(PLAIN, paused) == Wait(span=MINUTE)
    assert _room(PLAIN, Standing(gone=True)) == Wait(span=5 * MINUTE)


@pytest.mark.parametrize(
    ("standing", "probe"),
    [
        (Standing(paused_until=NOON, suspended_since=NOON - HOUR), Probe.OLDEST),
        (Standing(paused_until=NOON, open_since=NOON - HOUR), Probe.LIKELIEST),
    ],
    ids=["suspended", "open"],
)
def test_a_destination_that_does_not_work_has_room_for_one_probe(
    standing: Standing, probe: Probe
) -> None:
    found = _room(replace(PLAIN, concurrency=5), standing)

    assert isinstance(found, Room)
    assert (found.now, found.probe) == (1, probe)


@pytest.mark.parametrize("waits", [{"window": MINUTE}, {"at": time(8)}], ids=str)
def test_only_who_waits_for_others_makes_it_matter_what_gathers(
    waits: dict[str, Any],
) -> None:
    gathering = replace(MANNER, **waits)

    assert not PLAIN.gathers
    assert replace(PLAIN, manners={"games": gathering}).gathers
    assert replace(PLAIN, manner_else=gathering).gathers


# --- silences -----------------------------------------------------------------


def _silence(*destinations: str) -> Silence:
    keys = {"events": ["updated"]}
    if destinations:
        keys["destination"] = list(destinations)
    return made(keys, why="noisy", created_at=NOON, until=NOON + HOUR)


def _claim(*owed: Due, silences: tuple[Silence, ...] = ()) -> Claim:
    space = _room(PLAIN)
    assert isinstance(space, Room)
    waiting = Waiting(
        due=owed,
        silences=silences,
        events={one.event_id: [event(one.kind)] for one in owed},
    )
    return claim(PLAIN, space, waiting, now=NOON, started_again_after=15 * MINUTE)


def test_what_falls_under_a_silence_is_dropped_and_says_by_which() -> None:
    silence = _silence()

    found = _claim(due(1), due(2, Kind.CREATED), silences=(silence,))

    assert [(one.delivery_id, one.state) for one in found.ended] == [("dlv_1", State.DROPPED)]
    assert silence.id in found.ended[0].reason
    assert [message.event_ids for message in found.messages] == [("evt_2",)]


def test_a_silence_of_other_destinations_is_none_here() -> None:
    assert _claim(due(1), silences=(_silence("desk"),)).ended == ()
    assert _claim(due(1), silences=(_silence("desk", HOOK),)).ended != ()


def test_no_silence_stops_what_may_have_arrived() -> None:
    frozen = due(1, frozen_in="msg_1")

    assert _claim(frozen, silences=(_silence(),)).ended == ()


# --- judging ------------------------------------------------------------------


def _tried(
    *members: Due,
    outcome: Outcome,
    before: Standing = Standing(),  # noqa: B008 - frozen
    way: Way = PLAIN,
    now: datetime = NOON,
    lately: Callable[[], Tries] = lambda: Tries(failed=0, total=0),
) -> Settlement:
    message = Message(
        id=message_id(HOOK, [one.event_id for one in members]),
        destination=HOOK,
        members=members,
        form=members[0].form,
    )
    done = Finished(
        message=message,
        token="token",
        outcome=outcome,
        at=now,
        took=SECOND,
        jitter=0.0,
    )
    return judge(way, done, before, lately)


def _due_at(settled: Settlement) -> list[timedelta]:
    return [
        verdict.due_at - NOON for _, verdict in settled.verdicts if isinstance(verdict, Rescheduled)
    ]


def test_all_members_of_a_message_wait_as_long_as_the_most_tried() -> None:
    settled = _tried(due(1, attempts=2), due(2), outcome=DOWN)

    assert _due_at(settled) == [2 * MINUTE] * 2
    assert (settled.attempt, settled.outcome, settled.status) == (3, "failed", 503)


def test_nobody_asks_how_a_destination_fared_when_it_takes_a_message() -> None:
    def unasked() -> Tries:
        raise AssertionError("a question to the store for nothing")

    settled = _tried(due(1), outcome=Sent(status=200), lately=unasked)

    assert (settled.outcome, settled.reason) == ("sent", None)


def test_the_failure_that_is_judged_counts_with_those_before_it() -> None:
    def settled(failed: int, total: int) -> Settlement:
        tries = Tries(failed=failed, total=total)
        return _tried(due(1), outcome=DOWN, lately=lambda: tries)

    assert settled(4, 9).standing.open_since == NOON
    assert settled(3, 9).standing.open_since is None


def test_what_opens_the_breaker_is_there_for_its_first_probe() -> None:
    almost = Standing(failures=4)

    settled = _tried(due(1, attempts=4), outcome=DOWN, before=almost)

    assert settled.standing.open_since == NOON
    assert _due_at(settled) == [30 * SECOND]
    [(_, verdict)] = settled.verdicts
    assert isinstance(verdict, Rescheduled)
    assert not verdict.refunded


def test_a_service_that_asks_for_patience_is_paused_for_as_long() -> None:
    busy = Failed(reason="429", status=429, retry_after=10 * MINUTE)

    settled = _tried(due(1), outcome=busy)

    assert settled.standing.paused_until == NOON + 10 * MINUTE
    assert _due_at(settled) == [10 * MINUTE]


def test_nothing_is_repeated_where_a_destination_does_not_want_it() -> None:
    settled = _tried(
        due(1),
        outcome=Ambiguous(reason="no answer"),
        way=replace(PLAIN, drop_ambiguous=True),
    )

    assert _due_at(settled) == []
    assert (settled.outcome, settled.reason) == ("ambiguous", "no answer")
    assert settled.standing.failures == 1


def test_a_refused_digest_is_put_more_plainly_than_it_went() -> None:
    # One member had come further than the other; both went in its form.
    members = due(1, form=Form.PLAIN), due(2, form=Form.RICH)

    settled = _tried(*members, outcome=Refused(reason="400", scope=Scope.MESSAGE))

    forms = [v.form for _, v in settled.verdicts if isinstance(v, Rescheduled)]
    assert forms == [Form.COUNTS] * 2
