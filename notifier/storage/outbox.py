"""
Statements of delivery: what is due, claim with lease and token, settle.

Every change of a leased delivery is a compare-and-set on its token: whoever lost
the lease changes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, Protocol, assert_never

from sqlalchemy import (
    Connection,
    Row,
    Update,
    bindparam,
    case,
    delete,
    func,
    select,
    update,
)

from notifier.domain.batching import Room
from notifier.domain.claim import Finished, Waiting
from notifier.domain.commit import Claim, Leased, Settlement
from notifier.domain.models import Ended, Event, Held, Message, Sent, State
from notifier.domain.retry_policy import (
    Dead,
    Delivered,
    Dropped,
    Expired,
    Rescheduled,
    Standing,
    Tries,
    Verdict,
    abandoned,
    together,
)
from notifier.errors import StoreError
from notifier.storage import due, silences, standing, statements
from notifier.storage import schema as t
from notifier.storage.due import LEASED, PENDING
from notifier.storage.milestones import many

# All that follow are made once: it costs more to make a statement than to run it.
_MEMBER = t.deliveries.alias("ahead")
_d, _a, _to = t.deliveries.c, t.attempts.c, t.destinations.c
_FINAL = ("settled_at", "sent_at")
_LEASE = (
    update(t.deliveries)
    .where(_d.id.in_(bindparam("keys", expanding=True)), _d.state == PENDING)
    .values(
        state=State.LEASED.value,
        token=bindparam("mine"),
        message_id=bindparam("message"),
        lease_until=bindparam("until"),
        attempts=_d.attempts + 1,
        tries=_d.tries + 1,
        held=None,
    )
)
_ATTEMPT = t.attempts.insert()
#: So many events are read while the writer's turn lasts; more after it.
_LITTLE = 50
_NEWEST = (
    select(t.events.c.id)
    .where(t.events.c.milestone_id == _d.milestone_id)
    .order_by(t.events.c.seq.desc())
    .limit(1)
    .scalar_subquery()
)
_END = (
    update(t.deliveries)
    .where(_d.id == bindparam("key"), _d.state == PENDING)
    .values(
        state=bindparam("to"),
        reason=bindparam("why"),
        settled_at=bindparam("now"),
        superseded_by=case(
            (
                bindparam("to") == State.SUPERSEDED.value,
                func.coalesce(bindparam("by"), _NEWEST),
            ),
            else_=None,
        ),
    )
)
#: What was told by a message that itself gives way is told by the later one.
_HAND_ON = (
    update(t.deliveries)
    .where(
        _d.destination == bindparam("home"),
        _d.superseded_by.is_not(None),
        _d.superseded_by
        == select(_MEMBER.c.event_id).where(_MEMBER.c.id == bindparam("key")).scalar_subquery(),
    )
    .values(superseded_by=bindparam("by"))
)
_DELIVERED = (
    update(t.deliveries)
    .where(
        _d.id == bindparam("key"),
        _d.token == bindparam("mine"),
        _d.state == LEASED,
    )
    .values(
        state=State.DELIVERED.value,
        reason=None,
        lease_until=None,
        token=None,
        settled_at=bindparam("now"),
        sent_at=bindparam("now"),
    )
)
_HOLD = (
    update(t.deliveries)
    .where(_d.id == bindparam("key"), _d.state == PENDING)
    .values(due_at=bindparam("until"), held=bindparam("why"), gathered=bindparam("together"))
)
#: An attempt that nobody will end may have lasted until now.
_CUT_OFF = (
    update(t.attempts)
    .where(_a.ended_at.is_(None))
    .values(ended_at=bindparam("now", type_=t.Instant))
)
_CRASHED = update(t.deliveries).where(_d.id == bindparam("key")).values(crashes=_d.crashes + 1)
_END_ATTEMPT = (
    update(t.attempts)
    .where(
        _a.seq
        == select(func.max(_a.seq))
        .where(_a.message_id == bindparam("message"), _a.n == bindparam("number"))
        .scalar_subquery(),
        _a.outcome.is_(None),
    )
    .values(
        ended_at=bindparam("now"),
        outcome=bindparam("seen"),
        status=bindparam("said"),
        reason=bindparam("why"),
    )
)
_FORGET_SERVED = delete(t.served).where(t.served.c.message_id == bindparam("message"))


# --- claim --------------------------------------------------------------------


class Look(Protocol):
    """One look at what is due at a destination, and what follows from it."""

    @property
    def destination(self) -> str: ...
    @property
    def now(self) -> datetime: ...
    @property
    def until(self) -> datetime:
        """What is due then is looked at."""

    @property
    def since(self) -> datetime | None:
        """From when on attempts count for the rate; None: it has none."""

    @property
    def gathers(self) -> bool:
        """Whether it matters which digests gather already."""

    @property
    def free(self) -> int:
        """So many messages are leased at most."""

    @property
    def leased_until(self) -> datetime: ...
    @property
    def ready(self) -> Sequence[Message]:
        """Composed a moment ago; while there are any, nothing is looked at anew."""

    def space(self, standing: Standing, sent: Sequence[datetime]) -> Room | None:
        """How much may leave; None: nothing."""

    def claim(self, space: Room, waiting: Waiting) -> Claim:
        """What becomes of what is due; the store writes all of it."""

    def token(self) -> str:
        """A fresh lease token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one turn of delivery came to."""

    #: How many members each settled message still held.
    settled: Sequence[tuple[Settlement, int]] = ()
    leased: Sequence[Leased] = ()
    #: What each of these tells, in its order; None: too much to be read in the turn.
    events: Sequence[Sequence[Event]] | None = ()
    #: Composed, but for more free hands.
    later: Sequence[Message] = ()
    #: Something ended or was kept back.
    noted: bool = False


def exchange(
    conn: Connection,
    done: Sequence[Finished],
    judge: "Judge",
    ask: Look | None,
    *,
    limit: int,
) -> Exchange:
    """Settle what was tried, and lease what is to be tried next."""
    settled = settle_all(conn, done, judge)
    if ask is None:
        return Exchange(settled=settled)
    sent: list[datetime] = []
    if ask.since is not None:
        sent = due.attempts_since(conn, ask.destination, ask.since, ask.now)
    space = ask.space(standing.standing(conn, ask.destination), sent)
    if space is None:
        return Exchange(settled=settled)
    claim = Claim(destination=ask.destination, messages=tuple(ask.ready))
    if not ask.ready:
        claim = _look(conn, ask, space, limit=limit)
        _note(conn, claim, ask.now)
    chosen = [(one, ask.token()) for one in claim.messages[: ask.free]]
    noted = bool(claim.ended or claim.held)
    if not chosen:
        return Exchange(settled=settled, noted=noted)
    lease(conn, chosen, now=ask.now, until=ask.leased_until)
    messages = [message for message, _ in chosen]
    marks = due.served(conn, messages)
    return Exchange(
        settled=settled,
        leased=[
            Leased(
                message=message,
                token=token,
                served=marks.get(message.id, frozenset()),
            )
            for message, token in chosen
        ],
        events=due.members(conn, messages) if _is_little(messages) else None,
        later=claim.messages[ask.free :],
        noted=noted,
    )


def _is_little(messages: Sequence[Message]) -> bool:
    return sum(len(message.members) for message in messages) <= _LITTLE


def _look(conn: Connection, ask: Look, space: Room, *, limit: int) -> Claim:
    found = due.due(conn, ask.destination, ask.until, limit=limit)
    if not found:
        return Claim(destination=ask.destination)
    quiet = silences.active(conn, ask.now)
    events: dict[str, list[Event]] = {}
    if quiet:
        events = due.carried(conn, ask.destination, found)
    together: dict[str, datetime] = {}
    if ask.gathers:
        together = due.gathering(conn, ask.destination, ask.now)
        found = due.behind(conn, ask.destination, found, ask.until)
    waiting = Waiting(due=found, silences=quiet, events=events, gathering=together)
    return ask.claim(space, waiting)


def lease(
    conn: Connection,
    messages: Sequence[tuple[Message, str]],
    *,
    now: datetime,
    until: datetime,
) -> None:
    """
    Lease each message's members under its token, counting the attempt now.

    Raises:
        StoreError: one of them is not pending any more, which nobody can have done.
    """
    leased = 0
    for message, token in messages:
        asked = {
            "keys": [member.delivery_id for member in message.members],
            "mine": token,
            "message": message.id,
            "until": until,
        }
        leased += conn.execute(_LEASE, asked).rowcount
    many(
        conn,
        _ATTEMPT,
        [
            {
                "message_id": message.id,
                "destination": message.destination,
                "n": message.attempt,
                "members": len(message.members),
                "started_at": now,
            }
            for message, _ in messages
        ],
    )
    if leased != sum(len(message.members) for message, _ in messages):
        raise StoreError("a delivery was claimed twice")


def _note(conn: Connection, claim: Claim, now: datetime) -> None:
    """Write what ends without being sent, and what is kept back."""
    _end(conn, claim.destination, claim.ended, now)
    many(conn, _HOLD, [_held(one) for one in claim.held])


def _held(one: Held) -> dict[str, Any]:
    return {
        "key": one.delivery_id,
        "until": one.until,
        "why": one.reason,
        "together": one.gathered,
    }


def _end(conn: Connection, destination: str, ended: Sequence[Ended], now: datetime) -> None:
    many(
        conn,
        _HAND_ON,
        [
            {"key": one.delivery_id, "by": one.by, "home": destination}
            for one in ended
            if one.by is not None
        ],
    )
    many(
        conn,
        _END,
        [
            {
                "key": one.delivery_id,
                "to": one.state.value,
                "why": one.reason,
                "by": one.by,
                "now": now,
            }
            for one in ended
        ],
    )


def look_again(conn: Connection, now: datetime) -> None:
    """Let everything that is kept back be judged anew: other rules may hold now."""
    conn.execute(
        update(t.deliveries)
        .where(_d.state == PENDING, _d.held.is_not(None), _d.due_at > now)
        .values(due_at=now, held=None, gathered=False)
    )


# --- settle -------------------------------------------------------------------

#: Judges what was tried, as its destination stands, and how it fared lately.
Judge = Callable[[Finished, Standing, Callable[[], Tries]], Settlement]


def settle_all(
    conn: Connection, done: Sequence[Finished], judge: Judge
) -> list[tuple[Settlement, int]]:
    """
    Settle messages of one destination in turn; how many members each still held.

    Nothing else may have been written in this transaction yet.
    """
    if not done:
        return []
    destination = done[0].message.destination
    stands = standing.standing(conn, destination)
    if (plain := _plainly_sent(conn, done, judge, stands)) is not None:
        return plain
    settled: list[tuple[Settlement, int]] = []
    for one in done:
        lately = partial(standing.lately, conn, destination, one.at)
        settlement = judge(one, stands, lately)
        held = settle(conn, settlement)
        if held:
            stands = settlement.standing
        settled.append((settlement, held))
    return settled


def _plainly_sent(
    conn: Connection, done: Sequence[Finished], judge: Judge, stands: Standing
) -> list[tuple[Settlement, int]] | None:
    """
    The same for what nearly always happens, at a third of the price.

    None: something else has happened, and nothing was written.
    """
    if not all(_is_plain(one) for one in done):
        return None
    unasked = Tries(failed=0, total=0)
    settled = [judge(one, stands, lambda: unasked) for one in done]
    if any(one.standing != stands for one in settled):
        return None
    rows = [
        {"key": key, "mine": one.token, "now": one.now}
        for one in settled
        for key, _ in one.verdicts
    ]
    if many(conn, _DELIVERED, rows) != len(rows):
        conn.rollback()
        return None
    many(conn, _END_ATTEMPT, [_attempt_end(one) for one in settled])
    return [(one, 1) for one in settled]


def _is_plain(done: Finished) -> bool:
    is_sent = isinstance(done.outcome, Sent)
    return is_sent and len(done.message.members) == 1 and not done.was_served


def settle(conn: Connection, settlement: Settlement) -> int:
    """
    Write what became of a message; how many members were still leased by it.

    If none was, the lease is lost, and nothing at all is written.
    """
    alike: dict[Verdict, list[str]] = defaultdict(list)
    for key, verdict in settlement.verdicts:
        alike[verdict].append(key)
    held = 0
    for verdict, keys in alike.items():
        held += conn.execute(
            _settled(again=isinstance(verdict, Rescheduled)),
            _values(verdict, settlement.now) | {"keys": keys, "mine": settlement.token},
        ).rowcount
    if not held:
        return 0
    conn.execute(_END_ATTEMPT, _attempt_end(settlement))
    _remember_served(conn, settlement)
    if settlement.standing != settlement.before:
        standing.restand(
            conn,
            settlement.destination,
            settlement.before,
            settlement.standing,
            settlement.now,
        )
    return held


def _remember_served(conn: Connection, settlement: Settlement) -> None:
    """Who has the message, until everybody has it or nobody else will."""
    again = any(isinstance(v, Rescheduled) for _, v in settlement.verdicts)
    if again and settlement.served:
        rows = [
            {"message_id": settlement.message_id, "mark": mark}
            for mark in sorted(settlement.served)
        ]
        many(conn, statements.add_new(conn.dialect.name, t.served), rows)
    elif not again and settlement.was_served:
        conn.execute(_FORGET_SERVED, {"message": settlement.message_id})


@cache
def _settled(*, again: bool) -> Update:
    """Compare-and-set: only what the token still holds gets the verdict's values."""
    d = t.deliveries.c
    names = ["state", "reason", *_FINAL]
    values: dict[str, Any] = {"lease_until": None, "token": None}
    if again:
        names = ["state", "reason", "due_at", "form", "frozen"]
        values["attempts"] = d.attempts - bindparam("refund")
    values |= {name: bindparam(f"new_{name}", type_=d[name].type) for name in names}
    return (
        update(t.deliveries)
        .where(d.id.in_(bindparam("keys", expanding=True)))
        .where(d.token == bindparam("mine"), d.state == LEASED)
        .values(values)
    )


def _values(verdict: Verdict, now: datetime) -> dict[str, Any]:
    """What `_settled` is to write."""
    final = {"new_settled_at": now, "new_sent_at": None}
    match verdict:
        case Delivered():
            final |= {"new_sent_at": now}
            return final | {"new_state": State.DELIVERED.value, "new_reason": None}
        case Dead(reason=reason):
            return final | {"new_state": State.DEAD.value, "new_reason": reason}
        case Expired(reason=reason):
            return final | {"new_state": State.EXPIRED.value, "new_reason": reason}
        case Dropped(reason=reason):
            return final | {"new_state": State.DROPPED.value, "new_reason": reason}
        case Rescheduled():
            return {
                "new_state": State.PENDING.value,
                "new_reason": verdict.reason,
                "new_due_at": verdict.due_at,
                "new_form": verdict.form.value,
                "new_frozen": verdict.frozen,
                "refund": int(verdict.refunded),
            }
        case _:
            assert_never(verdict)


def _attempt_end(settlement: Settlement) -> dict[str, Any]:
    return {
        "message": settlement.message_id,
        "number": settlement.attempt,
        "now": settlement.now,
        "seen": settlement.outcome,
        "said": settlement.status,
        "why": settlement.reason,
    }


# --- leases that nobody will settle -------------------------------------------


def reap(
    conn: Connection,
    now: datetime,
    *,
    everything: bool,
    unrepeated: Collection[str] = (),
) -> int:
    """
    Free leases that ran out, or with `everything` all: those of an earlier boot.

    What may have arrived at `unrepeated` destinations is dropped. How many
    deliveries were freed.
    """
    d = t.deliveries.c
    leased = due.rows(due.LEASED)
    if not everything:
        leased = leased.where(d.lease_until < now)
    messages: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in conn.execute(leased):
        messages[row.token].append(row)
    if everything:
        conn.execute(_CUT_OFF, {"now": now})
    stands = {
        name: standing.standing(conn, name)
        for name in {rows[0].destination for rows in messages.values()}
    }
    for rows in messages.values():
        verdicts = together(
            [
                abandoned(
                    due.one(row, now),
                    crashes=row.crashes,
                    now=now,
                    standing=stands[row.destination],
                    drop_ambiguous=row.destination in unrepeated,
                )
                for row in rows
            ]
        )
        for row, verdict in zip(rows, verdicts, strict=True):
            conn.execute(_CRASHED, {"key": row.id})
            conn.execute(
                _settled(again=isinstance(verdict, Rescheduled)),
                _values(verdict, now) | {"keys": [row.id], "mine": row.token},
            )
    return sum(map(len, messages.values()))
