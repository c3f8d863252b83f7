"""
The outbox: deliveries that are due, claimed under a lease, settled, or given up.

A claim leases the members of a message under one token and counts the attempt before
anything leaves. Every later change of a leased delivery is a compare-and-set on that
token: a process that has lost its lease changes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Executable, Row

from notifier.domain import batching
from notifier.domain.batching import Capacity, ClaimContext, DeliveryPlan, DestinationPolicy
from notifier.domain.circuit_breaker import DestinationState, RecentAttempts
from notifier.domain.models import Ambiguous, Sent, State
from notifier.domain.outgoing import Lease, Message, Suppressed
from notifier.domain.rate_limit import window_start
from notifier.domain.retry_policy import (
    MAX_SUSPENDED,
    AttemptResult,
    NextState,
    Settlement,
    after_lost_lease,
    evaluate_attempt,
    keep_together,
)
from notifier.errors import StoreError
from notifier.storage import admin, destination_state, due, message_events
from notifier.storage.sql import execute_many, sql

LEASE = timedelta(seconds=90)
_FAR = datetime.max.replace(tzinfo=UTC)
#: So many events are read in the transaction of a claim; more are read after it.
_FEW_EVENTS = 50

# Conditions on a state are literals: with a parameter SQLite cannot use partial indexes.
_LEASE = sql(
    "UPDATE deliveries SET state = 'leased', token = :token, message_id = :message,"
    " lease_until = :until, attempts = attempts + 1, tries = tries + 1, held = NULL"
    " WHERE id IN :ids AND state = 'pending'"
)
_BEGIN_ATTEMPT = sql(
    "INSERT INTO attempts (message_id, destination, n, members, started_at)"
    " VALUES (:message, :destination, :n, :members, :now)"
)
_END_ATTEMPT = sql(
    "UPDATE attempts SET ended_at = :now, outcome = :outcome, status = :status, reason = :reason"
    " WHERE outcome IS NULL AND seq ="
    " (SELECT max(seq) FROM attempts AS last WHERE last.message_id = :message AND last.n = :n)"
)
#: The attempts of a process that has ended may have lasted until now.
_CUT_OFF = sql("UPDATE attempts SET ended_at = :now WHERE ended_at IS NULL")
_DEFER = sql(
    "UPDATE deliveries SET due_at = :until, held = :reason, gathered = :force_digest"
    " WHERE id = :id AND state = 'pending'"
)
_SUPPRESS = sql(
    """
    UPDATE deliveries SET state = :state, reason = :reason, settled_at = :now,
        superseded_by = CASE WHEN :state = 'superseded' THEN coalesce(:by, (
            SELECT e.id FROM events AS e WHERE e.milestone_id = deliveries.milestone_id
            ORDER BY e.seq DESC LIMIT 1
        )) END
    WHERE id = :id AND state = 'pending'
    """
)
#: What a message contained that is superseded itself is contained in the later one.
_HAND_ON = sql(
    "UPDATE deliveries SET superseded_by = :by WHERE destination = :destination"
    " AND superseded_by IS NOT NULL"
    " AND superseded_by = (SELECT own.event_id FROM deliveries AS own WHERE own.id = :id)"
)
_IS_OURS = "token = :token AND state = 'leased'"
_DELIVERED = sql(
    "UPDATE deliveries SET state = 'delivered', reason = NULL, token = NULL, lease_until = NULL,"
    f" settled_at = :now, sent_at = :now WHERE id = :id AND {_IS_OURS}"
)
_FINISH = sql(
    "UPDATE deliveries SET state = :state, reason = :reason, token = NULL, lease_until = NULL,"
    f" settled_at = :now, sent_at = :sent_at WHERE id IN :ids AND {_IS_OURS}"
)
_RETRY = sql(
    "UPDATE deliveries SET state = 'pending', reason = :reason, token = NULL,"
    " lease_until = NULL, due_at = :due_at, form = :level, frozen = :frozen,"
    f" attempts = attempts - :refund WHERE id IN :ids AND {_IS_OURS}"
)
_REMEMBER_RECIPIENT = sql(
    "INSERT INTO served (message_id, mark) VALUES (:message, :mark) ON CONFLICT DO NOTHING"
)
_FORGET_RECIPIENTS = sql("DELETE FROM served WHERE message_id = :message")
_COUNT_EXPIRED_LEASE = sql("UPDATE deliveries SET crashes = crashes + 1 WHERE id IN :ids")
_REQUEUE_DEFERRED = sql(
    "UPDATE deliveries SET due_at = :now, held = NULL, gathered = FALSE"
    " WHERE state = 'pending' AND held IS NOT NULL AND due_at > :now"
)


# --- claim --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a worker asks for beside settling what it has attempted."""

    now: datetime
    #: Deliveries that are due by then are claimed.
    until: datetime
    #: So many messages more may be under way.
    free: int
    #: Messages planned a moment ago; while there are any, nothing is planned anew.
    planned: Sequence[Message] = ()
    retries_first: bool = True
    started_again_after: timedelta = timedelta(minutes=15)
    new_token: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What one transaction of delivery came to."""

    settled: Sequence[Settlement] = ()
    leases: Sequence[Lease] = ()
    #: Planned, but more than there are free slots.
    planned: Sequence[Message] = ()
    #: Nothing may leave for so long.
    wait: timedelta = timedelta(0)
    #: The destination does not work: an attempt only probes it.
    half_open: bool = False
    suppressed: Sequence[Suppressed] = ()
    #: Something was suppressed or deferred.
    changed: bool = False


def settle_and_claim(
    conn: Connection,
    policy: DestinationPolicy,
    results: Sequence[AttemptResult],
    request: ClaimRequest | None,
) -> ClaimResult:
    """Settle what was attempted, and lease what is to be attempted next."""
    state = destination_state.load(conn, policy.name)
    settled = settle(conn, policy, results, state) if results else []
    if request is None:
        return ClaimResult(settled=settled)
    state = next((one.after for one in reversed(settled) if _was_ours(one)), state)
    sent: list[datetime] = []
    if (since := window_start(policy.rate, request.now)) is not None:
        sent = destination_state.attempts_since(conn, policy.name, since, request.now)
    room = batching.capacity(policy, state, sent, request.now)
    half_open = state.half_open
    if room.now <= 0:
        return ClaimResult(settled=settled, wait=room.wait, half_open=half_open)
    free = min(request.free, room.now)
    if room.probe is not None and request.free < policy.concurrency:
        return ClaimResult(settled=settled, half_open=half_open)  # a probe is under way
    plan = DeliveryPlan(messages=tuple(request.planned), suppressed=())
    if not request.planned:
        plan = _plan(conn, policy, room, request)
        if plan.suppressed or plan.deferred:
            _suppress_and_defer(conn, policy.name, plan, request.now)
    return ClaimResult(
        settled=settled,
        leases=_lease(conn, plan.messages[:free], request),
        planned=plan.messages[free:],
        half_open=half_open,
        suppressed=plan.suppressed,
        changed=bool(plan.suppressed or plan.deferred),
    )


def _plan(
    conn: Connection, policy: DestinationPolicy, room: Capacity, request: ClaimRequest
) -> DeliveryPlan:
    name = policy.name
    found = due.select_due(conn, name, request.until)
    if not found:
        return DeliveryPlan(messages=(), suppressed=())
    silenced: dict[str, str] = {}
    if in_force := admin.active_silences(conn, request.now):
        events = message_events.contained_events(conn, name, found)
        silenced = batching.silenced(name, found, in_force, events)
    gathering: dict[str, datetime] = {}
    if policy.gathers:
        gathering = due.digests_due(conn, name, request.now)
        found = due.with_deferred_ahead(conn, name, found, request.until)
    context = ClaimContext(
        now=request.now,
        started_again_after=request.started_again_after,
        silenced=silenced,
        digests_due=gathering,
        retries_first=request.retries_first,
    )
    return batching.plan(found, policy, room, context)


def _suppress_and_defer(
    conn: Connection, destination: str, plan: DeliveryPlan, now: datetime
) -> None:
    suppressed = [
        {
            "id": one.delivery_id,
            "state": one.state.value,
            "reason": one.reason,
            "by": one.by,
            "now": now,
        }
        for one in plan.suppressed
    ]
    handed_on = [
        {"id": one.delivery_id, "by": one.by, "destination": destination}
        for one in plan.suppressed
        if one.by is not None
    ]
    deferred = [
        {
            "id": one.delivery_id,
            "until": one.until,
            "reason": one.reason,
            "force_digest": one.force_digest,
        }
        for one in plan.deferred
    ]
    execute_many(conn, _HAND_ON, handed_on)
    execute_many(conn, _SUPPRESS, suppressed)
    execute_many(conn, _DEFER, deferred)


def _lease(conn: Connection, messages: Sequence[Message], request: ClaimRequest) -> list[Lease]:
    """
    Lease each message's members under a token, counting the attempt now.

    Raises:
        StoreError: one of them is not pending any more, which cannot be.
    """
    if not messages:
        return []
    tokens = [request.new_token() for _ in messages]
    leased = 0
    for message, token in zip(messages, tokens, strict=True):
        asked = {
            "ids": [member.delivery_id for member in message.members],
            "token": token,
            "message": message.id,
            "until": request.now + LEASE,
        }
        leased += conn.execute(_LEASE, asked).rowcount
    attempts = [
        {
            "message": message.id,
            "destination": message.destination,
            "n": message.attempt,
            "members": len(message.members),
            "now": request.now,
        }
        for message in messages
    ]
    execute_many(conn, _BEGIN_ATTEMPT, attempts)
    members = sum(len(message.members) for message in messages)
    if leased != members:
        raise StoreError("a delivery was claimed twice")
    marks = message_events.delivered_to(conn, messages)
    events: Sequence[tuple[Any, ...]] = [()] * len(messages)
    if members <= _FEW_EVENTS:
        events = message_events.events_of_messages(conn, messages)
    return [
        Lease(
            message=message,
            token=token,
            delivered_to=marks.get(message.id, frozenset()),
            events=its_events,
        )
        for message, token, its_events in zip(messages, tokens, events, strict=True)
    ]


def requeue_deferred(conn: Connection, now: datetime) -> None:
    """Let everything that is deferred come due: the configuration may have changed."""
    conn.execute(_REQUEUE_DEFERRED, {"now": now})


# --- settle -------------------------------------------------------------------


def settle(
    conn: Connection,
    policy: DestinationPolicy,
    results: Sequence[AttemptResult],
    state: DestinationState,
) -> list[Settlement]:
    """
    Settle messages of one destination in turn.

    Nothing else may have been written in this transaction yet.
    """
    plain = all(
        isinstance(one.outcome, Sent)
        and len(one.lease.message.members) == 1
        and not one.lease.delivered_to
        for one in results
    )
    if plain and state == DestinationState():
        return _settle_sent(conn, results, state) or _settle_each(conn, policy, results, state)
    return _settle_each(conn, policy, results, state)


def _was_ours(settlement: Settlement) -> bool:
    return settlement.lost < len(settlement.next_states)


def _settle_sent(
    conn: Connection, results: Sequence[AttemptResult], state: DestinationState
) -> list[Settlement]:
    """
    Settle single messages that were sent, with two statements for all of them.

    Nothing, and nothing written: a lease was lost.
    """
    rows = [
        {"id": one.lease.message.members[0].delivery_id, "token": one.lease.token, "now": one.at}
        for one in results
    ]
    if execute_many(conn, _DELIVERED, rows) != len(rows):
        conn.rollback()
        return []
    execute_many(conn, _END_ATTEMPT, [_attempt_end(one) for one in results])
    delivered = (NextState(state=State.DELIVERED),)
    return [
        Settlement(result=one, next_states=delivered, before=state, after=state) for one in results
    ]


def _settle_each(
    conn: Connection,
    policy: DestinationPolicy,
    results: Sequence[AttemptResult],
    state: DestinationState,
) -> list[Settlement]:
    settled: list[Settlement] = []
    for result in results:
        recent = RecentAttempts()
        if not isinstance(result.outcome, Sent):
            recent = destination_state.recent_attempts(conn, policy.name, result.at)
        settlement = evaluate_attempt(result, state, recent, drop_ambiguous=policy.drop_ambiguous)
        settlement = write_settlement(conn, settlement)
        if _was_ours(settlement):
            state = settlement.after
        settled.append(settlement)
    return settled


def write_settlement(conn: Connection, settlement: Settlement) -> Settlement:
    """
    Write what becomes of a message, and of its destination.

    Where its whole lease was lost, nothing at all is written.
    """
    result, lease = settlement.result, settlement.result.lease
    members = [member.delivery_id for member in lease.message.members]
    held = _write_next_states(
        conn, lease.token, dict(zip(members, settlement.next_states, strict=True)), result.at
    )
    settlement = replace(settlement, lost=len(members) - held)
    if not held:
        return settlement
    conn.execute(_END_ATTEMPT, _attempt_end(result))
    is_pending = any(one.state is State.PENDING for one in settlement.next_states)
    if is_pending and not isinstance(result.outcome, Sent):
        rows = [
            {"message": lease.message.id, "mark": mark}
            for mark in sorted(result.outcome.delivered_to)
        ]
        execute_many(conn, _REMEMBER_RECIPIENT, rows)
    elif lease.delivered_to:
        conn.execute(_FORGET_RECIPIENTS, {"message": lease.message.id})
    if settlement.after != settlement.before:
        destination_state.save(
            conn, lease.message.destination, settlement.before, settlement.after, result.at
        )
    return settlement


def _write_next_states(
    conn: Connection, token: str, next_states: Mapping[str, NextState], now: datetime
) -> int:
    """Compare-and-set: only what the token still holds changes; how many deliveries."""
    alike: dict[NextState, list[str]] = defaultdict(list)
    for delivery_id, next_state in next_states.items():
        alike[next_state].append(delivery_id)
    held = 0
    for one, ids in alike.items():
        asked: dict[str, Any] = {"ids": ids, "token": token, "reason": one.reason}
        if one.state is State.PENDING:
            asked |= {
                "due_at": one.due_at,
                "level": one.level.value,
                "frozen": one.frozen,
                "refund": int(one.refunded),
            }
            held += conn.execute(_RETRY, asked).rowcount
        else:
            sent_at = now if one.state is State.DELIVERED else None
            asked |= {"state": one.state.value, "now": now, "sent_at": sent_at}
            held += conn.execute(_FINISH, asked).rowcount
    return held


def _attempt_end(result: AttemptResult) -> dict[str, Any]:
    outcome = result.outcome
    return {
        "message": result.lease.message.id,
        "n": result.lease.message.attempt,
        "now": result.at,
        "outcome": type(outcome).__name__.lower(),
        "status": None if isinstance(outcome, Ambiguous) else outcome.status,
        "reason": None if isinstance(outcome, Sent) else outcome.reason,
    }


# --- leases without a settlement ----------------------------------------------


def release_expired_leases(
    conn: Connection,
    now: datetime,
    *,
    everything: bool,
    drop_ambiguous: Collection[str] = (),
) -> Counter[str]:
    """
    Release leases that expired, or with `everything` all: those of an earlier process.

    What may have arrived at the `drop_ambiguous` destinations is dropped. By destination:
    how many messages were released.
    """
    messages: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in due.select_leased(conn, _FAR if everything else now):
        messages[row.token].append(row)
    if everything:
        conn.execute(_CUT_OFF, {"now": now})
    states = {
        name: destination_state.load(conn, name)
        for name in {rows[0].destination for rows in messages.values()}
    }
    for token, rows in messages.items():
        next_states = keep_together(
            [
                after_lost_lease(
                    due.delivery(row, now),
                    expired_leases=row.crashes,
                    now=now,
                    destination=states[row.destination],
                    drop_ambiguous=row.destination in drop_ambiguous,
                )
                for row in rows
            ]
        )
        ids = [row.id for row in rows]
        conn.execute(_COUNT_EXPIRED_LEASE, {"ids": ids})
        _write_next_states(conn, token, dict(zip(ids, next_states, strict=True)), now)
    return Counter(rows[0].destination for rows in messages.values())


# --- deliveries that are not claimed any more --------------------------------------------


def _end_old(where: str, age: str, reason: str) -> Executable:
    """
    End the pending deliveries of some destinations whose `age` lies before an instant.

    The members of a message that may have arrived end together or not at all: as long
    as one of them is young enough, the message is sent again with exactly its members.
    """
    return sql(
        f"""
        UPDATE deliveries SET state = :state, reason = {reason}, settled_at = :now
        WHERE state = 'pending' AND {where} AND {age} < :before AND NOT EXISTS (
            SELECT 1 FROM deliveries AS other
            WHERE deliveries.frozen AND other.frozen
                AND other.message_id = deliveries.message_id
                AND other.state IN ('pending', 'leased')
                AND (other.{age} IS NULL OR other.{age} >= :before)
        )
        """
    )


_KILL_ORPHANS = _end_old("destination NOT IN :destinations", "born_at", ":reason")
_EXPIRE_PAUSED = _end_old(
    "destination IN (SELECT name FROM destinations WHERE gone OR paused_until > :paused_until)",
    "expires_at",
    "coalesce(reason, :reason)",
)
_GIVE_UP_SUSPENDED = _end_old(
    "destination IN (SELECT name FROM destinations WHERE gone OR suspended_since IS NOT NULL)",
    "born_at",
    ":reason",
)


def kill_orphans(
    conn: Connection, destinations: Collection[str], *, before: datetime, now: datetime
) -> int:
    """Give up what became due before an instant for other destinations than these."""
    asked = {
        "destinations": list(destinations),
        "state": State.DEAD.value,
        "reason": "the configuration has no such destination any more",
        "before": before,
        "now": now,
    }
    return conn.execute(_KILL_ORPHANS, asked).rowcount


def expire_paused(conn: Connection, now: datetime) -> int:
    """
    Expire what is too late at destinations that are paused; how many.

    Elsewhere a delivery expires when it is claimed.
    """
    asked = {
        "paused_until": now + timedelta(seconds=5),
        "state": State.EXPIRED.value,
        "reason": "too late to be of use",
        "before": now,
        "now": now,
    }
    return conn.execute(_EXPIRE_PAUSED, asked).rowcount


def give_up_suspended(conn: Connection, now: datetime) -> int:
    """Give up what has waited too long for suspended destinations; how many."""
    asked = {
        "state": State.DEAD.value,
        "reason": f"its destination has refused us for {MAX_SUSPENDED.days} days",
        "before": now - MAX_SUSPENDED,
        "now": now,
    }
    return conn.execute(_GIVE_UP_SUSPENDED, asked).rowcount
