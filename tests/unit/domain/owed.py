"""Deliveries that are due, built and drawn."""

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from strategies import DAY, HOUR, MINUTE, NOON, SECOND

from notifier.domain.batching import Composed, Room, Rules, compose
from notifier.domain.deferral import Manner
from notifier.domain.models import URGENT, Due, Form, Kind, message_id

HOOK = "hook"


def due(
    seq: int = 1,
    kind: Kind = Kind.UPDATED,
    *,
    milestone: str | None = None,
    route: str = "games",
    at: datetime = NOON,
    born_at: datetime = NOON,
    expires_at: datetime | None = None,
    attempts: int = 0,
    form: Form = Form.RICH,
    frozen_in: str | None = None,
    lead: timedelta | None = None,
    start: datetime | None = None,
    over: bool = False,
) -> Due:
    """One delivery, of a milestone of its own, whose news still holds."""
    return Due(
        delivery_id=f"dlv_{seq}",
        event_id=f"evt_{seq}",
        kind=kind,
        milestone_id=milestone or f"m{seq}",
        route=route,
        seq=seq,
        born_at=born_at,
        expires_at=expires_at,
        attempts=attempts,
        tries=attempts,
        form=form,
        frozen_in=frozen_in,
        at=at,
        lead=lead,
        start=start or at + (lead or timedelta(0)),
        over=over,
    )


def started(seq: int = 1, at: datetime = NOON, **more: bool) -> Due:
    """The announcement of a start, good for half an hour."""
    return due(
        seq,
        Kind.STARTED,
        at=at,
        expires_at=at + 30 * MINUTE,
        over=more.get("over", False),
    )


OVER: Mapping[str, int | None] = {"games": 3, "all": 5, "quiet": None}
PLENTY = 1_000_000
ZONE = ZoneInfo("UTC")
_ELSE = Manner(over=None, zone=ZONE)


def composed_of(
    owed: Sequence[Due],
    *,
    now: datetime = NOON,
    room: int = PLENTY,
    soon: int = PLENTY,
    over: Mapping[str, int | None] = OVER,
    rules: Rules | None = None,
) -> Composed:
    """With more room than anybody needs, unless the test says otherwise."""
    limits = Room(now=room, soon=soon, manners=manners(over), manner_else=_ELSE)
    return compose(owed, destination=HOOK, room=limits, now=now, rules=rules)


def manners(over: Mapping[str, int | None] = OVER) -> dict[str, Manner]:
    """Routes that differ in what they take for too much."""
    return {name: Manner(over=limit, zone=ZONE) for name, limit in over.items()}


# --- drawn --------------------------------------------------------------------

_INSTANTS = st.sampled_from(
    [NOON - HOUR, NOON - MINUTE, NOON, NOON + SECOND, NOON + 15 * MINUTE, NOON + DAY]
)
_FREE = st.builds(
    due,
    kind=st.sampled_from(Kind),
    milestone=st.sampled_from(["a", "b", "c", "d"]),
    route=st.sampled_from(["games", "all", "quiet", "gone"]),
    at=_INSTANTS,
    start=_INSTANTS,
    expires_at=st.none() | _INSTANTS,
    form=st.sampled_from(Form),
    lead=st.sampled_from([None, MINUTE]),
    over=st.booleans(),
)
#: Several deliveries that went in one message before; None: in none yet.
_TOGETHER = st.sampled_from([None, None, 1, 2])


@st.composite
def backlogs(draw: st.DrawFn) -> list[Due]:
    """What may be due to one destination, in any state that the store can hold."""
    drawn = draw(st.lists(st.tuples(_FREE, _TOGETHER), max_size=14))
    groups: dict[tuple[int, bool], list[int]] = {}
    for seq, (one, group) in enumerate(drawn):
        if group is not None:
            groups.setdefault((group, one.kind in URGENT), []).append(seq)
    frozen = {
        seq: message_id(HOOK, [f"evt_{seq}" for seq in members])
        for members in groups.values()
        for seq in members
    }
    found = [
        _renumbered(one, seq, frozen.get(seq))
        for (one, _), seq in zip(drawn, itertools.count(), strict=False)
    ]
    return draw(st.permutations(found))


def _renumbered(one: Due, seq: int, frozen_in: str | None) -> Due:
    return due(
        seq,
        one.kind,
        milestone=one.milestone_id,
        route=one.route,
        at=one.at,
        start=one.start,
        expires_at=one.expires_at,
        form=one.form,
        lead=one.lead if one.kind is Kind.UPCOMING else None,
        over=one.over,
        frozen_in=frozen_in,
    )
