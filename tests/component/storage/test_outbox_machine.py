"""State machine: every claim, outcome, lost lease and crash keeps the conservation law."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from storing import (
    DAY,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Claimed,
    ask,
    opened,
    stamp,
    stocked,
)
from storing import row as shown

from notifier.domain.models import (
    URGENT,
    Ambiguous,
    Failed,
    Outcome,
    Refused,
    Scope,
    Sent,
    State,
)
from notifier.domain.retry_policy import RETRY_SCHEDULE
from notifier.storage import outbox
from notifier.storage.database import Database, Priority

T = TypeVar("T")

#: In memory where there is such a folder: the disk is not what is examined here.
_MEMORY = Path("/dev/shm")
_ALL = ("m1", "m2", "m3")
_KEYS = st.sampled_from(_ALL)
_STEPS = st.sampled_from([SECOND, 40 * SECOND, 2 * MINUTE, HOUR, 13 * HOUR, DAY])
_OUTCOMES: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        *[Sent(), Sent(), Failed(reason="503"), Ambiguous(reason="reset")],
        Ambiguous(reason="no answer"),
        Failed(reason="429", status=429, retry_after=30 * SECOND),
        Refused(reason="HTTP 400", scope=Scope.MESSAGE),
        Refused(reason="HTTP 403", scope=Scope.DESTINATION),
    ]
)
_FINAL = {"delivered", "expired", "superseded", "dropped", "dead"}
_URGENT = {kind.value for kind in URGENT}
_COLUMNS = (
    "id, milestone_id, kind, seq, state, token, message_id, frozen, held, attempts, "
    "tries, reason, settled_at"
)


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A delivery as it is stored."""

    id: str
    milestone_id: str
    kind: str
    seq: int
    state: str
    token: str | None
    message_id: str | None
    frozen: int
    held: str | None
    attempts: int
    tries: int
    reason: str | None
    settled_at: int | None


class Deliveries(RuleBasedStateMachine):
    """Beside the store a plain account of who holds what, and of what was tried."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.open = AsyncExitStack()
        self.folder = TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.database = Path(self.folder.name) / "notifier.db"
        self.now = NOW
        self.owed = 0
        self.number = 0
        #: Everything that was ever claimed, and the tokens that still hold.
        self.leases: list[Claimed] = []
        self.live: set[str] = set()
        #: How often each was claimed.
        self.claimed = Counter[str]()
        self.sent: set[str] = set()
        #: What may have arrived, by delivery: its message and all of its members.
        self.doubtful: dict[str, tuple[str, frozenset[str]]] = {}

    # --- what happens ---

    @initialize(once=st.booleans())
    def opens(self, once: bool) -> None:
        #: Whether what may have arrived is not sent again.
        self.once = once
        self.shelf = self._do(stocked(self._opened()))
        for key in _ALL:
            self.changes(key)

    @rule(key=_KEYS)
    def changes(self, key: str) -> None:
        self.number += 1
        self._show(key, title=f"Title {self.number}")

    @rule(key=_KEYS, span=_STEPS)
    def starts_soon(self, key: str, span: timedelta) -> None:
        self._show(key, start_date=stamp(self.now + span))

    @rule(span=_STEPS)
    def waits(self, span: timedelta) -> None:
        self.now += span
        events = self._do(self.shelf.ring(now=self.now))
        self.owed += sum(not event.missed for event in events)

    @rule(over=st.sampled_from([None, 1]), room=st.sampled_from([1, 2, 100]))
    def claims(self, over: int | None, room: int) -> None:
        self._claim(over, room)

    @rule(over=st.sampled_from([None, 1]), outcomes=st.lists(_OUTCOMES, min_size=1))
    def claims_and_is_answered(self, over: int | None, outcomes: list[Outcome]) -> None:
        for lease, outcome in zip(self._claim(over, 100), outcomes, strict=False):
            self._answer(lease, outcome)

    @precondition(lambda self: self.live)
    @rule(outcome=_OUTCOMES)
    def is_answered_at_last(self, outcome: Outcome) -> None:
        self._answer(self._oldest(), outcome)

    @rule(outcome=_OUTCOMES)
    def is_answered_when_others_have_it(self, outcome: Outcome) -> None:
        self._claim(None, 100)
        if self.live:
            lease = self._oldest()
            self.loses_leases_that_ran_out()
            self._claim(None, 100)
            self._answer(lease, outcome)

    def _oldest(self) -> Claimed:
        return next(one for one in self.leases if one.token in self.live)

    def _claim(self, over: int | None, room: int) -> list[Claimed]:
        before = self._rows()
        found = self._do(self.shelf.claim(now=self.now, over=over, room=room))
        for lease in found:
            self._is_mine_alone(lease, before)
            self._is_as_before(lease)
            self._overtakes_nothing(lease, before)
            self.claimed.update(_members(lease))
            self.live.add(lease.token)
        self.leases += found
        return found

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=_OUTCOMES)
    def answers(self, data: st.DataObject, outcome: Outcome) -> None:
        """Also to those who have lost their lease, or have settled it already."""
        self._answer(data.draw(st.sampled_from(self.leases[-6:])), outcome)

    def _answer(self, lease: Claimed, outcome: Outcome) -> None:
        before = self._dump()
        held = self._do(self.shelf.settle(lease, outcome, now=self.now, drop_ambiguous=self.once))
        if lease.token not in self.live:
            assert held == 0
            assert self._dump() == before
            return
        assert held == len(lease.message.members)
        self.live.remove(lease.token)
        if isinstance(outcome, Sent):
            self.sent |= _members(lease)
        self._may_have_arrived(lease, is_doubtful=isinstance(outcome, Ambiguous))

    @rule()
    def loses_leases_that_ran_out(self) -> None:
        self.now += 2 * MINUTE
        self._reap(everything=False)

    @rule()
    def dies_and_starts_again(self) -> None:
        self._do(self.open.aclose())
        self.shelf.store = self._opened()
        self._reap(everything=True)
        assert not self.live

    @rule()
    def keeps_the_house(self) -> None:
        async def keep() -> None:
            async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
                await turn.write(outbox.expire_paused, self.now)
            async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
                await turn.write(outbox.give_up_suspended, self.now)

        self._do(keep())

    # --- what must hold ---

    @invariant()
    def everything_owed_is_in_exactly_one_state(self) -> None:
        states = Counter(one.state for one in self._rows().values())
        assert states.total() == self.owed
        assert set(states) <= {state.value for state in State}

    @invariant()
    def what_ended_says_why_and_stays_as_it_is(self) -> None:
        for one in self._rows().values():
            is_final = one.state in _FINAL
            assert is_final == (one.settled_at is not None)
            assert not is_final or one.state == "delivered" or one.reason
            assert (one.state == "delivered") == (one.id in self.sent)

    @invariant()
    def only_who_holds_a_lease_has_its_token(self) -> None:
        rows = self._rows().values()
        assert {one.token for one in rows if one.token} == self.live
        assert all((one.state == "leased") == (one.token in self.live) for one in rows)

    @invariant()
    def every_try_is_counted_before_anything_leaves(self) -> None:
        for one in self._rows().values():
            assert one.tries == self.claimed[one.id]
            assert one.attempts <= one.tries
            assert one.kind in _URGENT or one.attempts <= len(RETRY_SCHEDULE) + 1

    @invariant()
    def what_may_have_arrived_lives_and_dies_together(self) -> None:
        rows = self._rows()
        for one in rows.values():
            if one.frozen and one.state in {"pending", "leased"}:
                _, members = self.doubtful[one.id]
                assert {rows[key].state for key in members} == {one.state}

    # --- checks of a claim ---

    def _is_mine_alone(self, lease: Claimed, before: dict[str, _Row]) -> None:
        for key in _members(lease):
            assert key not in self.sent, "sent again"
            assert before[key].state == "pending"

    def _is_as_before(self, lease: Claimed) -> None:
        """What may have arrived goes again whole and as it was, or not at all."""
        members = _members(lease)
        for key in members & self.doubtful.keys():
            assert not self.once
            assert self.doubtful[key] == (lease.message.id, members)

    def _overtakes_nothing(self, lease: Claimed, before: dict[str, _Row]) -> None:
        members = _members(lease)
        for one in (before[key] for key in members if before[key].kind not in _URGENT):
            for other in self._rows().values():
                is_earlier = other.seq < one.seq and other.kind not in _URGENT
                if other.milestone_id == one.milestone_id and is_earlier:
                    is_open = other.state in {"pending", "leased"}
                    assert not is_open or other.id in members or other.held

    # --- the account ---

    def _show(self, key: str, **fields: Any) -> None:
        steps = self._do(
            self.shelf.show(shown(key, **fields, last_updated_ts=stamp(self.now)), now=self.now)
        )
        self.owed += sum(step.event is not None for step in steps)

    def _reap(self, *, everything: bool) -> None:
        async def release_leases() -> None:
            async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
                await turn.write(
                    outbox.release_expired_leases,
                    self.now,
                    everything=everything,
                    drop_ambiguous={HOOK} if self.once else (),
                )

        self._do(release_leases())
        held = {one.token for one in self._rows().values()}
        for lease in self.leases:
            if lease.token in self.live - held:
                self._may_have_arrived(lease, is_doubtful=True)
        self.live &= {token for token in held if token is not None}

    def _may_have_arrived(self, lease: Claimed, *, is_doubtful: bool) -> None:
        rows, members = self._rows(), _members(lease)
        for key in members:
            if is_doubtful:
                assert rows[key].state != "pending" or rows[key].frozen
                self.doubtful[key] = lease.message.id, members
            elif not rows[key].frozen:
                # Refused as it was, it goes in another form.
                self.doubtful.pop(key, None)

    # --- the store ---

    def _opened(self) -> Database:
        return self._do(self.open.enter_async_context(opened(self.database)))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _rows(self) -> dict[str, _Row]:
        names = _COLUMNS.split(", ")
        found = ask(self.database, f"SELECT {_COLUMNS} FROM deliveries")
        return {one[0]: _Row(**dict(zip(names, one, strict=True))) for one in found}

    def _dump(self) -> list[Any]:
        tables = ("deliveries", "attempts", "destinations")
        return [ask(self.database, f"SELECT * FROM {name}") for name in tables]

    def teardown(self) -> None:
        self._do(self.open.aclose())
        self.runner.close()
        self.folder.cleanup()


def _members(lease: Claimed) -> frozenset[str]:
    return frozenset(member.delivery_id for member in lease.message.members)


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(stateful_step_count=30)
