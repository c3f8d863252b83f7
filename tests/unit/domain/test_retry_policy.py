"""What becomes of a delivery once the sender has reported what it saw."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from owed import HOOK, due, started
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.circuit_breaker import DestinationState, RecentAttempts
from notifier.domain.models import Ambiguous, Failed, Kind, Outcome, Refused, Scope, Sent, State
from notifier.domain.outgoing import Lease, Message, PendingDelivery, RenderLevel
from notifier.domain.retry_policy import (
    LEASE_EXPIRED,
    MAX_AGE,
    AttemptResult,
    NextState,
    Settlement,
    after_lost_lease,
    evaluate_attempt,
    keep_together,
    next_state,
)

DOWN = Failed(reason="503", status=503)
BUSY = Failed(reason="429", status=429, retry_after=10 * MINUTE)
SILENT = Ambiguous(reason="no answer")
BAD = Refused(reason="400", status=400, scope=Scope.MESSAGE)
UNKNOWN = Refused(reason="401", status=401, scope=Scope.DESTINATION)
GONE = Refused(reason="410", status=410, scope=Scope.GONE)
OPEN = DestinationState(open_since=NOON - HOUR, paused_until=NOON, probes=2, failures=6)
SUSPENDED = DestinationState(suspended_since=NOON - DAY, paused_until=NOON, probes=2)
DELIVERED = NextState(state=State.DELIVERED)
WAITS = [
    *(5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR),
    *(2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 20 * HOUR, 24 * HOUR),
]
URGENT_WAITS = [5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE]
RICH, PLAIN, COUNTS, ALONE = RenderLevel


def _next(one: PendingDelivery, outcome: Outcome, **more: Any) -> NextState:
    """As the outbox does it: the attempt counts, and is the message's only one."""
    fields: dict[str, Any] = {"in_digest": False, "now": NOON, "jitter": 0.0} | more
    return next_state(one, outcome, attempt=one.attempts_counted, **fields)


def _due_at(found: NextState) -> datetime:
    assert found.state is State.PENDING
    assert found.due_at is not None
    return found.due_at


def _ended(state: State, reason: str) -> NextState:
    return NextState(state=state, reason=reason)


def _attempts(
    one: PendingDelivery, outcome: Outcome, jitter: Callable[[], float] = lambda: 0.0
) -> tuple[list[datetime], NextState]:
    """When it is attempted while every attempt ends alike, and how that ends."""
    now = one.created_at
    at: list[datetime] = []
    while len(at) < 1000:
        at.append(now)
        one = replace(one, attempts_counted=one.attempts_counted + 1)
        found = _next(one, outcome, now=now, jitter=jitter())
        if found.state is not State.PENDING:
            return at, found
        one = replace(
            one,
            attempts_counted=one.attempts_counted - found.refunded,
            level=found.level,
            frozen_in="msg_1" if found.frozen else None,
        )
        now = _due_at(found)
    pytest.fail("it is attempted for ever")


def _waits(at: Sequence[datetime]) -> list[timedelta]:
    return [later - sooner for sooner, later in pairwise(at)]


# --- the schedules ------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED])
@pytest.mark.parametrize("outcome", [DOWN, SILENT], ids=["failed", "ambiguous"])
def test_what_keeps_failing_is_attempted_thirteen_times_and_then_dead(
    kind: Kind, outcome: Failed | Ambiguous
) -> None:
    at, end = _attempts(due(1, kind), outcome)

    assert _waits(at) == WAITS
    assert end == _ended(State.DEAD, outcome.reason)
    assert _next(due(attempts=1), Sent(status=200)) == DELIVERED


@given(dice=st.lists(st.floats(-1, 1), min_size=13, max_size=13))
def test_jitter_costs_no_attempt_and_adds_no_hour(dice: list[float]) -> None:
    thrown = iter(dice)

    at, end = _attempts(due(), DOWN, jitter=lambda: next(thrown))

    assert (len(at), end.state) == (13, State.DEAD)
    assert at[-1] - NOON <= 72 * HOUR


@given(jitter=st.floats(-1, 1), attempt=st.integers(1, 12))
def test_a_wait_is_the_schedules_up_to_a_fifth(jitter: float, attempt: int) -> None:
    wait = _due_at(_next(due(attempts=attempt), DOWN, jitter=jitter)) - NOON

    assert 0.8 * WAITS[attempt - 1] <= wait <= 1.2 * WAITS[attempt - 1]


@pytest.mark.parametrize("kind", [Kind.STARTED, Kind.UPCOMING])
def test_urgent_news_is_attempted_often_until_it_expires(kind: Kind) -> None:
    at, end = _attempts(due(1, kind, expires_at=NOON + 30 * MINUTE), DOWN)

    assert _waits(at) == [*URGENT_WAITS, *[5 * MINUTE] * 4]
    assert at[-1] <= NOON + 30 * MINUTE
    assert end == _ended(State.EXPIRED, "503")


def test_nothing_is_attempted_longer_than_three_days_and_the_last_time_in_time() -> None:
    old = due(attempts=2, created_at=NOON - 72 * HOUR)
    last = due(attempts=12, created_at=NOON - 60 * HOUR)

    assert _next(old, DOWN) == _ended(State.DEAD, "503")
    assert _due_at(_next(last, DOWN)) == NOON + 12 * HOUR


# --- Retry-After --------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "attempt", "wait"),
    [
        (10 * MINUTE, 1, 10 * MINUTE),
        (SECOND, 3, 2 * MINUTE),
        (-HOUR, 1, 5 * SECOND),
        (timedelta(0), 1, 5 * SECOND),
        (5 * HOUR, 1, HOUR),
        (SECOND, 12, HOUR),
    ],
    ids=str,
)
def test_retry_after_is_honoured_beside_the_schedule_up_to_an_hour(
    hint: timedelta, attempt: int, wait: timedelta
) -> None:
    busy = replace(BUSY, retry_after=hint)

    assert _due_at(_next(due(attempts=attempt), busy)) == NOON + wait


def test_retry_after_costs_no_attempt_but_the_age_counts() -> None:
    assert _next(due(attempts=13), BUSY).refunded
    assert not _next(due(attempts=12), DOWN).refunded
    hourly = replace(BUSY, retry_after=HOUR)
    at, end = _attempts(due(), hourly)
    assert end.state is State.DEAD
    assert 71 * HOUR <= at[-1] - NOON <= 72 * HOUR
    assert _next(started(attempts=1), hourly) == _ended(State.EXPIRED, "429")


# --- refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_digest", "levels"),
    [(False, [RICH, PLAIN]), (True, [RICH, PLAIN, COUNTS, ALONE])],
    ids=["single", "digest"],
)
def test_what_is_refused_goes_plainer_and_then_dies(
    in_digest: bool, levels: list[RenderLevel]
) -> None:
    one = due(attempts=1)
    for level in levels[1:]:
        found = _next(one, BAD, in_digest=in_digest)
        assert (found.level, _due_at(found), found.refunded) == (level, NOON, False)
        one = replace(one, level=level)

    assert _next(one, BAD, in_digest=in_digest) == _ended(State.DEAD, "400")


def test_the_last_of_a_digest_that_counted_is_told_in_words_before_it_dies() -> None:
    assert _next(due(attempts=3, level=COUNTS), BAD).level is ALONE


def test_plainer_levels_are_no_way_around_the_limits() -> None:
    assert _next(due(attempts=13), BAD).state is State.DEAD
    late = NOON + 31 * MINUTE
    assert _next(started(attempts=1), BAD, now=late) == _ended(State.EXPIRED, "400")


@pytest.mark.parametrize("outcome", [UNKNOWN, GONE], ids=["401", "410"])
def test_what_a_destination_refuses_as_a_whole_waits_seven_days_at_no_cost(
    outcome: Refused,
) -> None:
    found = _next(due(attempts=13, level=PLAIN), outcome)

    assert (_due_at(found), found.level, found.refunded) == (NOON, PLAIN, True)
    week = due(attempts=1, created_at=NOON - 7 * DAY)
    assert _next(week, outcome).state is State.PENDING
    older = replace(week, created_at=week.created_at - SECOND)
    assert _next(older, outcome) == _ended(State.DEAD, outcome.reason)
    late = _next(started(attempts=1), outcome, now=NOON + HOUR)
    assert late == _ended(State.EXPIRED, outcome.reason)


def test_what_some_recipients_have_is_not_rendered_otherwise() -> None:
    delivered_to = frozenset({"ann"})

    assert _next(due(attempts=1), replace(BAD, delivered_to=delivered_to)) == _ended(
        State.DEAD, "400"
    )
    waiting = _next(due(attempts=1), replace(UNKNOWN, delivered_to=delivered_to))
    assert (waiting.frozen, waiting.refunded) == (True, True)


# --- may have arrived ---------------------------------------------------------


def test_only_what_may_have_arrived_is_frozen() -> None:
    assert _next(due(attempts=1), SILENT).frozen
    assert not _next(due(attempts=1), DOWN).frozen
    assert not _next(due(attempts=1), BAD).frozen


@pytest.mark.parametrize("outcome", [DOWN, BUSY, BAD, UNKNOWN], ids=lambda o: o.reason)
def test_what_was_frozen_stays_so_until_it_goes_one_by_one(outcome: Outcome) -> None:
    one = due(attempts=2, frozen_in="msg_1")

    assert _next(one, outcome, in_digest=True).frozen
    alone = _next(replace(one, level=COUNTS), BAD, in_digest=True)
    assert (alone.level, alone.frozen) == (ALONE, False)


def test_no_member_leaves_what_may_have_arrived_while_one_is_worth_an_attempt() -> None:
    members = [due(1, attempts=13), due(2, attempts=2), started(3, at=NOON - HOUR)]
    decided = [_next(one, SILENT) for one in members]
    assert [one.state for one in decided] == [State.DEAD, State.PENDING, State.EXPIRED]

    assert set(keep_together(decided)) == {decided[1]}


@pytest.mark.parametrize(
    ("outcome", "attempts"), [(DOWN, (13, 2)), (SILENT, (13, 13))], ids=["did not", "all used up"]
)
def test_otherwise_members_are_decided_one_by_one(
    outcome: Outcome, attempts: tuple[int, int]
) -> None:
    decided = [_next(due(seq, attempts=n), outcome) for seq, n in enumerate(attempts)]

    assert keep_together(decided) == tuple(decided)


@pytest.mark.parametrize("outcome", [DOWN, BUSY], ids=["503", "429"])
def test_where_nothing_is_repeated_only_what_may_have_arrived_is_dropped(outcome: Outcome) -> None:
    dropped = _ended(State.DROPPED, "it may have arrived: no answer")
    some = replace(SILENT, delivered_to=frozenset({"ann"}))
    both = [_next(due(seq, attempts=1), SILENT, drop_ambiguous=True) for seq in (1, 2)]

    assert keep_together(both) == (dropped, dropped)
    assert _next(due(attempts=1), some, drop_ambiguous=True) == dropped
    assert _next(due(attempts=1), outcome, drop_ambiguous=True).state is State.PENDING
    # Those who surely lack it get it.
    lacking = _next(due(attempts=1), replace(some, unsure=False), drop_ambiguous=True)
    assert (lacking.state, lacking.frozen) == (State.PENDING, True)


# --- a lease that was lost ----------------------------------------------------


def test_after_the_first_lost_lease_it_goes_at_once_then_by_the_schedule() -> None:
    now, waits = NOON, []
    for attempts in range(1, 13):
        found = after_lost_lease(due(attempts=attempts), expired_leases=attempts - 1, now=now)
        assert (found.frozen, found.refunded) == (True, False)
        waits.append(_due_at(found) - now)
        now = _due_at(found)

    assert waits == [timedelta(0), *WAITS[1:]]
    last = after_lost_lease(due(attempts=13), expired_leases=12, now=now)
    assert last == _ended(State.DEAD, LEASE_EXPIRED)


@pytest.mark.parametrize("expired", [0, 1])
def test_a_start_that_was_cut_off_expires_unless_it_is_in_time(expired: int) -> None:
    one, late = started(attempts=1), NOON + 30 * MINUTE + SECOND

    assert after_lost_lease(one, expired_leases=expired, now=late).state is State.EXPIRED
    in_time = after_lost_lease(one, expired_leases=0, now=NOON + MINUTE)
    assert _due_at(in_time) == NOON + MINUTE


def test_a_lost_lease_is_dropped_where_nothing_is_repeated() -> None:
    found = after_lost_lease(due(attempts=1), expired_leases=0, now=NOON, drop_ambiguous=True)

    assert found == _ended(State.DROPPED, f"it may have arrived: {LEASE_EXPIRED}")


# --- probes -------------------------------------------------------------------


@pytest.mark.parametrize("state", [OPEN, SUSPENDED], ids=["open", "suspended"])
@pytest.mark.parametrize("outcome", [DOWN, BUSY, SILENT], ids=["503", "429", "silent"])
def test_a_failed_probe_costs_no_attempt_and_is_ready_for_the_next(
    state: DestinationState, outcome: Failed | Ambiguous
) -> None:
    found = _next(due(attempts=13), outcome, destination=state)

    assert found == NextState(
        state=State.PENDING,
        due_at=NOON,
        reason=outcome.reason,
        frozen=outcome is SILENT,
        refunded=True,
    )
    late = _next(started(), outcome, destination=state, now=NOON + 31 * MINUTE)
    assert late == _ended(State.EXPIRED, outcome.reason)


def test_a_probe_that_gets_an_answer_is_settled_like_any_other() -> None:
    assert _next(due(attempts=1), Sent(), destination=OPEN) == DELIVERED
    refused = _next(due(attempts=1), BAD, destination=OPEN)
    assert (refused.level, refused.refunded) == (PLAIN, False)


def test_a_probe_grows_too_old_unless_the_destination_is_suspended() -> None:
    old = due(attempts=1, created_at=NOON - MAX_AGE - SECOND)

    assert _next(old, DOWN, destination=OPEN) == _ended(State.DEAD, "503")
    assert _next(old, DOWN, destination=SUSPENDED).state is State.PENDING


# --- a whole message ----------------------------------------------------------


def _evaluate(
    *members: PendingDelivery,
    outcome: Outcome,
    before: DestinationState = DestinationState(),  # noqa: B008 - frozen
    recent: RecentAttempts = RecentAttempts(),  # noqa: B008 - frozen
    **more: Any,
) -> Settlement:
    message = Message(id="msg_1", destination=HOOK, members=members, level=members[0].level)
    lease = Lease(message=message, token="token")
    result = AttemptResult(lease=lease, outcome=outcome, at=NOON, took=SECOND, jitter=0.0)
    return evaluate_attempt(result, before, recent, **more)


def test_all_members_of_a_message_wait_as_long_as_the_most_attempted() -> None:
    found = _evaluate(due(1, attempts=2), due(2), outcome=DOWN)

    assert [_due_at(one) - NOON for one in found.next_states] == [2 * MINUTE] * 2


@pytest.mark.parametrize(("failed", "is_open"), [(4, True), (3, False)])
def test_a_failure_counts_with_those_before_it(failed: int, is_open: bool) -> None:
    found = _evaluate(due(1), outcome=DOWN, recent=RecentAttempts(failed=failed, total=9))

    assert (found.after.open_since == NOON) is is_open


def test_what_opens_the_breaker_is_there_for_its_first_probe() -> None:
    found = _evaluate(due(1, attempts=4), outcome=DOWN, before=DestinationState(failures=4))

    assert found.after.open_since == NOON
    [one] = found.next_states
    assert (_due_at(one) - NOON, one.refunded) == (30 * SECOND, False)


def test_a_service_that_sends_retry_after_is_paused_for_as_long() -> None:
    found = _evaluate(due(1), outcome=BUSY)

    assert found.after.paused_until == NOON + 10 * MINUTE
    assert [_due_at(one) for one in found.next_states] == [NOON + 10 * MINUTE]


def test_what_is_not_repeated_is_a_failure_of_its_destination_all_the_same() -> None:
    found = _evaluate(due(1), outcome=SILENT, drop_ambiguous=True)

    assert found.next_states[0].state is State.DROPPED
    assert found.after.failures == 1


def test_a_refused_digest_becomes_plainer_than_it_was_sent() -> None:
    # One member had come further than the other; both were sent at its level.
    found = _evaluate(due(1, level=PLAIN), due(2), outcome=BAD)

    assert [one.level for one in found.next_states] == [COUNTS] * 2


# --- laws ---------------------------------------------------------------------

_HINTS = st.none() | st.timedeltas(-DAY, 30 * DAY)
_OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Failed, reason=st.just("x"), retry_after=_HINTS),
    st.builds(Ambiguous, reason=st.just("x")),
    st.builds(Refused, reason=st.just("x"), scope=st.sampled_from(Scope)),
)
_OWED = st.builds(
    due,
    kind=st.sampled_from(Kind),
    created_at=st.timedeltas(timedelta(0), 8 * DAY).map(lambda age: NOON - age),
    expires_at=st.none() | st.timedeltas(-HOUR, HOUR).map(lambda left: NOON + left),
    attempts=st.integers(1, 20),
    level=st.sampled_from(RenderLevel),
    frozen_in=st.sampled_from([None, "msg_1"]),
)


@given(
    one=_OWED,
    outcome=_OUTCOMES,
    attempt=st.integers(1, 20),
    jitter=st.floats(-1, 1),
    in_digest=st.booleans(),
)
def test_nothing_is_attempted_before_it_is_due_nor_after_it_is_worth_it(
    one: PendingDelivery, outcome: Outcome, attempt: int, jitter: float, in_digest: bool
) -> None:
    found = next_state(one, outcome, attempt=attempt, in_digest=in_digest, now=NOON, jitter=jitter)

    assert found.state is not State.DELIVERED
    if found.state is State.PENDING:
        is_suspended = isinstance(outcome, Refused) and outcome.scope is not Scope.MESSAGE
        at = _due_at(found)
        assert at >= NOON
        assert one.expires_at is None or at <= one.expires_at
        assert at - one.created_at <= (7 * DAY if is_suspended else 72 * HOUR)
        urgent = one.kind in {Kind.STARTED, Kind.UPCOMING}
        assert found.refunded or one.attempts_counted < 13 or urgent


@given(one=_OWED, outcomes=st.lists(_OUTCOMES, min_size=60, max_size=60))
def test_no_mix_of_outcomes_is_attempted_more_than_thirteen_times(
    one: PendingDelivery, outcomes: list[Outcome]
) -> None:
    one, now = replace(one, kind=Kind.UPDATED, attempts_counted=0, expires_at=None), NOON
    for outcome in outcomes:
        one = replace(one, attempts_counted=one.attempts_counted + 1)
        assert one.attempts_counted <= 13
        found = _next(one, outcome, now=now)
        if found.state is not State.PENDING:
            return
        counted = one.attempts_counted - found.refunded
        one, now = replace(one, attempts_counted=counted, level=found.level), _due_at(found)


@given(one=_OWED, expired=st.integers(0, 20))
def test_a_lost_lease_is_like_an_answer_that_never_came(one: PendingDelivery, expired: int) -> None:
    lost = after_lost_lease(one, expired_leases=expired, now=NOON)
    unanswered = _next(one, SILENT)

    if lost.state is State.PENDING:
        assert lost.due_at in {NOON, unanswered.due_at}
        assert (lost.frozen, lost.level) == (True, one.level)
    else:
        assert unanswered.state is not State.PENDING
