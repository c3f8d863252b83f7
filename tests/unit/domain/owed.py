"""Deliveries that are due, built and drawn."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.batching import (
    BatchingPolicy,
    Capacity,
    ClaimContext,
    DeliveryPlan,
    DestinationPolicy,
    plan,
)
from notifier.domain.models import URGENT, Kind, message_id
from notifier.domain.outgoing import PendingDelivery, RenderLevel

HOOK = "hook"
ZONE = ZoneInfo("UTC")
PLENTY = 1_000_000
PLAIN = BatchingPolicy(over=None, zone=ZONE)
#: Routes that differ in how many deliveries make a digest.
OVER: Mapping[str, int | None] = {"games": 3, "all": 5, "quiet": None}


def due(
    seq: int = 1,
    kind: Kind = Kind.UPDATED,
    *,
    milestone: str | None = None,
    attempts: int = 0,
    at: datetime = NOON,
    lead: timedelta | None = None,
    start: datetime | None = None,
    **more: Any,
) -> PendingDelivery:
    """One delivery, of a milestone of its own, whose news still holds."""
    fields: dict[str, Any] = {
        "route": "games",
        "created_at": NOON,
        "expires_at": None,
        "attempts_counted": attempts,
        "attempts_total": attempts,
        "level": RenderLevel.RICH,
        "frozen_in": None,
        "over": False,
    }
    return PendingDelivery(
        delivery_id=f"dlv_{seq}",
        event_id=f"evt_{seq}",
        kind=kind,
        milestone_id=milestone or f"m{seq}",
        seq=seq,
        at=at,
        lead=lead,
        start=start or at + (lead or timedelta(0)),
        **(fields | more),
    )


def started(seq: int = 1, at: datetime = NOON, **more: Any) -> PendingDelivery:
    """The announcement of a start, good for half an hour."""
    return due(seq, Kind.STARTED, at=at, expires_at=at + 30 * MINUTE, **more)


def policy(
    default: BatchingPolicy = PLAIN, routes: Mapping[str, BatchingPolicy] | None = None, **more: Any
) -> DestinationPolicy:
    return DestinationPolicy(name=HOOK, batching=routes or {}, default=default, **more)


LIMITS = policy(
    routes={name: BatchingPolicy(over=limit, zone=ZONE) for name, limit in OVER.items()}
)


def planned(
    owed: Sequence[PendingDelivery],
    how: DestinationPolicy | BatchingPolicy = LIMITS,
    *,
    now: datetime = NOON,
    room: int = PLENTY,
    soon: int = PLENTY,
    probe: Any = None,
    **context: Any,
) -> DeliveryPlan:
    """With more room than anything needs, unless the test says otherwise."""
    return plan(
        owed,
        how if isinstance(how, DestinationPolicy) else policy(how),
        Capacity(now=room, soon=soon, probe=probe),
        ClaimContext(now=now, **context),
    )


def members(found: DeliveryPlan) -> list[list[int]]:
    """The members of each message, by their order of creation."""
    return [[one.seq for one in message.members] for message in found.messages]


# --- drawn --------------------------------------------------------------------

_INSTANTS = st.sampled_from(
    [NOON - HOUR, NOON - MINUTE, NOON, NOON + SECOND, NOON + 15 * MINUTE, NOON + DAY]
)
_FREE = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(Kind),
        "milestone": st.sampled_from(["a", "b", "c", "d"]),
        "route": st.sampled_from(["games", "all", "quiet", "gone"]),
        "at": _INSTANTS,
        "start": _INSTANTS,
        "expires_at": st.none() | _INSTANTS,
        "level": st.sampled_from(RenderLevel),
        "over": st.booleans(),
    }
)
#: Several deliveries that went in one message before; None: in none yet.
_TOGETHER = st.sampled_from([None, None, 1, 2])


@st.composite
def backlogs(draw: st.DrawFn) -> list[PendingDelivery]:
    """What may be due to one destination, in any state that the outbox can hold."""
    drawn = draw(st.lists(st.tuples(_FREE, _TOGETHER), max_size=14))
    groups: dict[tuple[int, bool], list[int]] = {}
    for seq, (fields, group) in enumerate(drawn):
        if group is not None:
            groups.setdefault((group, fields["kind"] in URGENT), []).append(seq)
    frozen = {
        seq: message_id(HOOK, [f"evt_{seq}" for seq in group])
        for group in groups.values()
        for seq in group
    }
    found = [
        due(
            seq,
            lead=draw(st.sampled_from([None, MINUTE])) if fields["kind"] is Kind.UPCOMING else None,
            frozen_in=frozen.get(seq),
            **fields,
        )
        for seq, (fields, _) in enumerate(drawn)
    ]
    return draw(st.permutations(found))
