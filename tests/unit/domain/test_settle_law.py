"""What holds of every verdict."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from owed import due
from strategies import DAY, HOUR, NOON

from notifier.domain.models import Ambiguous, Due, Failed, Form, Kind, Outcome, Refused, Scope
from notifier.domain.retry_policy import Delivered, Rescheduled, abandoned, settle

_HINTS = st.none() | st.timedeltas(-DAY, 30 * DAY)
_OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Failed, reason=st.just("x"), retry_after=_HINTS),
    st.builds(Ambiguous, reason=st.just("x")),
    st.builds(Refused, reason=st.just("x"), scope=st.sampled_from(Scope)),
)
_AGES = st.timedeltas(timedelta(0), 8 * DAY)
_OWED = st.builds(
    due,
    kind=st.sampled_from(Kind),
    born_at=_AGES.map(lambda age: NOON - age),
    expires_at=st.none() | st.timedeltas(-HOUR, HOUR).map(lambda left: NOON + left),
    attempts=st.integers(1, 13),
    form=st.sampled_from(Form),
    frozen_in=st.sampled_from([None, "msg_1"]),
)


@given(
    one=_OWED,
    outcome=_OUTCOMES,
    attempt=st.integers(1, 20),
    in_digest=st.booleans(),
    jitter=st.floats(-1, 1),
)
def test_nothing_is_put_off_beyond_its_use_or_into_the_past(
    one: Due, outcome: Outcome, attempt: int, jitter: float, *, in_digest: bool
) -> None:
    verdict = settle(one, outcome, attempt=attempt, in_digest=in_digest, now=NOON, jitter=jitter)

    assert not isinstance(verdict, Delivered)
    if isinstance(verdict, Rescheduled):
        is_parked = isinstance(outcome, Refused) and outcome.scope is not Scope.MESSAGE
        assert verdict.due_at >= NOON
        assert one.expires_at is None or verdict.due_at <= one.expires_at
        assert verdict.due_at - one.born_at <= (7 * DAY if is_parked else 72 * HOUR)
        patient = one.kind not in {Kind.STARTED, Kind.UPCOMING}
        assert verdict.refunded or one.attempts < 13 or not patient


@given(one=_OWED, outcomes=st.lists(_OUTCOMES, min_size=60, max_size=60))
def test_no_mix_of_outcomes_is_tried_more_than_thirteen_times(
    one: Due, outcomes: list[Outcome]
) -> None:
    one, now = replace(one, kind=Kind.UPDATED, attempts=0, expires_at=None), NOON
    for outcome in outcomes:
        one = replace(one, attempts=one.attempts + 1)
        assert one.attempts <= 13
        verdict = settle(one, outcome, attempt=one.attempts, in_digest=False, now=now, jitter=0.0)
        if not isinstance(verdict, Rescheduled):
            return
        one = replace(one, attempts=one.attempts - verdict.refunded, form=verdict.form)
        now = verdict.due_at


@given(one=_OWED, crashes=st.integers(0, 20), outcome=st.just(Ambiguous(reason="cut off")))
def test_a_crash_is_like_an_answer_that_never_came(
    one: Due, crashes: int, outcome: Ambiguous
) -> None:
    cut_off = abandoned(one, crashes=crashes, now=NOON)
    unanswered = settle(one, outcome, attempt=one.attempts, in_digest=False, now=NOON, jitter=0.0)

    if isinstance(cut_off, Rescheduled):
        assert cut_off.due_at in {NOON, getattr(unanswered, "due_at", NOON)}
        assert cut_off.frozen
        assert cut_off.form is one.form
    else:
        assert not isinstance(unanswered, Rescheduled)
