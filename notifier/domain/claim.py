"""
What one destination's lane does next: how much room there is, what fills it, and
what an outcome means for everybody who is waiting.

The store runs these decisions inside its own transaction, between what it reads and
what it writes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.domain.batching import Probe, Room, Rules, compose
from notifier.domain.commit import Claim, Settlement
from notifier.domain.deferral import Manner
from notifier.domain.models import URGENT, Ambiguous, Due, Event, Message, Outcome, Sent
from notifier.domain.retry_policy import Rescheduled, Standing, Tries, Verdict, rest, together
from notifier.domain.retry_policy import settle as decide
from notifier.domain.retry_policy import standing as stand
from notifier.domain.rules import Rate, Silence
from notifier.domain.silences import silencing, words

#: Messages that would leave later than this are a digest instead.
_SOON = timedelta(seconds=10)
#: Kept between the edges of a rate's window: the wire is no clock.
_MARGIN = timedelta(milliseconds=20)
#: A destination that is gone is looked at again so rarely: a person may bring it back.
_GONE_FOR = timedelta(minutes=5)
NO_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One destination as the configuration wants it sent to."""

    name: str
    #: By route; and for what a route that is no more had sent.
    manners: Mapping[str, Manner]
    manner_else: Manner
    rate: Rate | None = None
    concurrency: int = 1
    #: What may have arrived is not sent again.
    drop_ambiguous: bool = False

    @property
    def gathers(self) -> bool:
        """Whether a digest may be gathering for it."""
        every = (*self.manners.values(), self.manner_else)
        return any(one.window is not None or one.at is not None for one in every)


# --- claiming -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing may leave for so long."""

    span: timedelta


def since(way: Way, now: datetime) -> datetime | None:
    """From when on a destination's attempts count for its rate; None: it has none."""
    return None if way.rate is None else now - way.rate.per - _MARGIN


def room(
    way: Way,
    standing: Standing,
    sent: Sequence[datetime],
    *,
    now: datetime,
    retries_first: bool,
) -> Room | Wait:
    """
    How much may leave now, or how long nothing may.

    `sent` holds when requests left since `since`.
    """
    pause = rest(standing, now)
    if pause != timedelta(0):
        return Wait(span=_GONE_FOR if pause is None else pause)
    recent = _recent(way, sent, now)
    slots, soon = _slots(way, recent, now)
    if slots <= 0:
        return Wait(span=_next_slot(way, recent, now))
    probe = _probe(standing)
    return Room(
        now=1 if probe else slots,
        soon=soon,
        manners=way.manners,
        manner_else=way.manner_else,
        probe=probe,
        retries_first=retries_first,
    )


def _probe(standing: Standing) -> Probe | None:
    if standing.suspended_since is not None:
        return Probe.OLDEST
    return None if standing.open_since is None else Probe.LIKELIEST


def _recent(way: Way, sent: Sequence[datetime], now: datetime) -> list[datetime]:
    # What lies further ahead was noted before the clock was set back.
    return [at for at in sent if way.rate is not None and at <= now + way.rate.per]


def _slots(way: Way, recent: Sequence[datetime], now: datetime) -> tuple[int, int]:
    """How many messages may leave now, and how many within ten seconds."""
    rate = way.rate
    if rate is None:
        return NO_LIMIT, NO_LIMIT
    if rate.per <= _SOON:
        soon = rate.count * (_SOON // rate.per)
    else:
        soon = rate.count - sum(at + rate.per > now + _SOON for at in recent)
    return rate.count - len(recent), soon


def _next_slot(way: Way, recent: Sequence[datetime], now: datetime) -> timedelta:
    """How long until the oldest attempt leaves the window of the rate."""
    if way.rate is None or not recent:
        return timedelta(0)
    return min(recent) + way.rate.per + _MARGIN - now


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is due at a destination, and what else decides about it."""

    due: Sequence[Due]
    #: In force; and, while there are any, by what is due: all the events it would tell.
    silences: Sequence[Silence] = ()
    events: Mapping[str, Sequence[Event]] = field(default_factory=dict)
    #: By route: when the digest that gathers already will go.
    gathering: Mapping[str, datetime] = field(default_factory=dict)


def claim(
    way: Way,
    space: Room,
    waiting: Waiting,
    *,
    now: datetime,
    started_again_after: timedelta,
) -> Claim:
    """What becomes of what is due: messages to lease, ends, and holds."""
    composed = compose(
        waiting.due,
        destination=way.name,
        room=space,
        now=now,
        rules=Rules(
            started_again_after=started_again_after,
            silenced=_silenced(way, waiting),
            gathering=waiting.gathering,
        ),
    )
    return Claim(
        destination=way.name,
        messages=composed.messages,
        ended=composed.ended,
        held=composed.held,
    )


def _silenced(way: Way, waiting: Waiting) -> dict[str, str]:
    if not waiting.silences:
        return {}
    found: dict[str, str] = {}
    for one in waiting.due:
        told = waiting.events.get(one.event_id, ())
        quiet = [silencing(event, way.name, waiting.silences) for event in told]
        # A net change is worth telling while any of its updates is.
        if quiet and quiet[-1] is not None and all(quiet):
            found[one.delivery_id] = words(quiet[-1])
    return found


# --- settling -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A message that was tried, and what was seen."""

    message: Message
    token: str
    outcome: Outcome
    #: When the outcome came in, and how long it took.
    at: datetime
    took: timedelta
    #: Uniform in [-1, 1]: moves the next try.
    jitter: float
    #: Marks of the recipients who had it before.
    was_served: frozenset[str] = frozenset()


def judge(way: Way, done: Finished, before: Standing, lately: Callable[[], Tries]) -> Settlement:
    """
    What an outcome means for a message's members and for its destination.

    `lately` says how the destination fared without this attempt; it is asked only
    about failures.
    """
    message, outcome = done.message, done.outcome
    attempt = message.attempt
    verdicts = _verdicts(way, done, before, attempt)
    is_sent = isinstance(outcome, Sent)
    tries = Tries(failed=0, total=0) if is_sent else lately()
    after = stand(
        before,
        outcome,
        now=done.at,
        due_at=_due_again(verdicts),
        lately=replace(tries, failed=tries.failed + 1, total=tries.total + 1),
    )
    return Settlement(
        message_id=message.id,
        attempt=attempt,
        token=done.token,
        destination=message.destination,
        verdicts=tuple(
            (member.delivery_id, _ready_to_probe(verdict, after))
            for member, verdict in zip(message.members, verdicts, strict=True)
        ),
        before=before,
        standing=after,
        outcome=type(outcome).__name__.lower(),
        status=None if isinstance(outcome, Ambiguous) else outcome.status,
        reason=None if isinstance(outcome, Sent) else outcome.reason,
        now=done.at,
        served=frozenset() if isinstance(outcome, Sent) else outcome.served,
        was_served=done.was_served,
    )


def _verdicts(way: Way, done: Finished, before: Standing, attempt: int) -> tuple[Verdict, ...]:
    """One for each member; those that are alike are judged once."""
    in_digest = len(done.message.members) > 1
    known: dict[tuple[object, ...], Verdict] = {}
    found: list[Verdict] = []
    for member in done.message.members:
        alike = (
            member.kind in URGENT,
            member.born_at,
            member.expires_at,
            member.attempts,
            member.frozen_in,
        )
        if alike not in known:
            known[alike] = decide(
                replace(member, attempts=member.attempts + 1, form=done.message.form),
                done.outcome,
                attempt=attempt,
                in_digest=in_digest,
                now=done.at,
                jitter=done.jitter,
                standing=before,
                drop_ambiguous=way.drop_ambiguous,
            )
        found.append(known[alike])
    return together(found)


def _ready_to_probe(verdict: Verdict, after: Standing) -> Verdict:
    """What failed last is there when an open breaker lets something pass."""
    if (
        isinstance(verdict, Rescheduled)
        and after.open_since is not None
        and after.paused_until is not None
    ):
        return replace(verdict, due_at=min(verdict.due_at, after.paused_until))
    return verdict


def _due_again(verdicts: Sequence[Verdict]) -> datetime | None:
    again = (v.due_at for v in verdicts if isinstance(v, Rescheduled))
    return max(again, default=None)
