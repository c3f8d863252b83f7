"""
LOOP out: claim -> compose -> send -> settle.

One dispatcher looks for destinations that have something due; each is served in a
lane of its own, so that a slow one delays nobody else. A claim counts the attempt
and fixes the message's members before anything leaves; a settlement changes only
what its lease still holds. Both are one transaction: what is tried next is claimed
as what was tried is settled.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain import claim as claims
from notifier.domain.batching import Room
from notifier.domain.claim import Finished, Wait, Waiting, Way
from notifier.domain.commit import Claim, Leased, Settlement
from notifier.domain.models import (
    Ambiguous,
    Event,
    Failed,
    Limits,
    Message,
    Outcome,
    Rendered,
    Sent,
)
from notifier.domain.retry_policy import Dead, Standing
from notifier.domain.rules import Route
from notifier.messages.render import render
from notifier.storage import due, outbox
from notifier.storage.database import Database, Priority

log = structlog.get_logger()

#: Deliveries that one claim looks at: the most that one digest can hold.
_AT_ONCE = 500
LEASE = timedelta(seconds=90)
_IDLE_S = 30.0
#: What was composed is composed anew after so long: things may have changed.
_READY_S = 1.0
#: What takes longer than this may take long: nothing is sent after it for now.
_BRISK_S = 1.0
#: `once` waits for a rate's next slot, but not for a destination that does not work.
_LONGEST_SLOT_S = 60.0


class Sender(Protocol):
    """What the loop needs of the far end."""

    async def send(self, destination: str, message: Rendered, *, served: frozenset[str]) -> Outcome:
        """
        One attempt; what was seen. Takes 30 s at most.

        `served` marks those of several recipients who have the message already.
        """

    def limits(self, destination: str) -> Limits: ...


@dataclass(slots=True, kw_only=True)
class Lane:
    """One destination's way out, and what is under way on it."""

    way: Way
    #: For the times in its messages.
    zone: ZoneInfo
    busy: bool = False
    #: Nothing can leave before: its rate, or the destination itself, says so.
    #: Monotonic.
    quiet_until: float = 0.0
    #: The leases of what is under way.
    tokens: set[str] = field(default_factory=set)
    finished: list[Finished] = field(default_factory=list)
    #: Something has finished, or there is something new to claim.
    wakeup: WakeupEvent = field(default_factory=WakeupEvent)
    #: Composed but not leased yet, for want of free hands; good until.
    ready: deque[Message] = field(default_factory=deque)
    ready_until: float = 0.0
    #: Claims that something came of: first tries and retries take turns.
    claims: int = 0
    #: It does not work: what goes to it only probes.
    is_probed: bool = False
    #: Whatever `once` tried was delivered.
    all_sent: bool = True
    #: What was under way is the last; set once it has ended.
    left: anyio.Event | None = None
    #: Its last try failed: it lets the others go first.
    failing: bool = False

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.way.name

    @property
    def free(self) -> int:
        """How many more may be under way."""
        return self.way.concurrency - len(self.tokens)


@dataclass(slots=True, kw_only=True)
class Look:
    """One look at what is due for a lane, as the store runs it."""

    way: Way
    now: datetime
    until: datetime
    free: int
    ready: Sequence[Message]
    retries_first: bool
    started_again_after: timedelta
    token: Callable[[], str]
    #: Found on looking: nothing may leave for so long.
    wait: timedelta = timedelta(0)
    #: Found on looking: the destination does not work.
    is_probed: bool = False

    @property
    def destination(self) -> str:
        """Whose deliveries are looked at."""
        return self.way.name

    @property
    def since(self) -> datetime | None:
        """From when on attempts count for the rate."""
        return claims.since(self.way, self.now)

    @property
    def gathers(self) -> bool:
        """Whether it matters which digests gather already."""
        return self.way.gathers

    @property
    def leased_until(self) -> datetime:
        """When the leases run out."""
        return self.now + LEASE

    def space(self, standing: Standing, sent: Sequence[datetime]) -> Room | None:
        """How much may leave now; None: nothing, and `wait` says for how long."""
        self.is_probed = standing.is_probed
        found = claims.room(
            self.way, standing, sent, now=self.now, retries_first=self.retries_first
        )
        if isinstance(found, Wait):
            self.wait = found.span
            return None
        if found.probe is not None and self.free < self.way.concurrency:
            return None  # one probe is under way already
        self.free = min(self.free, found.now)
        return found

    def claim(self, space: Room, waiting: Waiting) -> Claim:
        """What becomes of what is due."""
        return claims.claim(
            self.way,
            space,
            waiting,
            now=self.now,
            started_again_after=self.started_again_after,
        )


@dataclass(slots=True, kw_only=True)
class Deliver:
    """The delivering loop."""

    db: Database
    sender: Sender
    clock: Clock
    lanes: Mapping[str, Lane]
    routes: Mapping[str, Route]
    wakeup: WakeupEvent
    #: A fresh lease token.
    token: Callable[[], str]
    #: Uniform in [0, 1).
    chance: Callable[[], float]
    heartbeat: Callable[[str], None]
    #: A start that moves by no more is not announced again.
    started_again_after: timedelta = timedelta(minutes=15)
    #: Where links in messages lead; None: to Kalshi.
    external_url: str | None = None
    _closing: bool = field(default=False)

    async def run(self) -> None:
        """Deliver until `close`; ends when the last message is settled."""
        async with anyio.create_task_group() as tasks:
            while not self._closing:
                self.heartbeat("deliver")
                wait = await self._dispatch(tasks)
                await self.wakeup.wait(wait)

    async def ease(self, longest_s: float) -> None:
        """
        Let whoever takes long come to an end, within a time; the others go on.

        Before a change of the configuration: a destination that hangs must not hold
        up those that do not.
        """
        begun = {name: set(lane.tokens) for name, lane in self.lanes.items()}
        if not any(begun.values()):
            return
        await self.clock.sleep(_BRISK_S)
        slow = [one for name, one in self.lanes.items() if one.tokens & begun[name]]
        for lane in slow:
            lane.left = anyio.Event()
        with anyio.move_on_after(longest_s):
            for lane in slow:
                if lane.left is not None:
                    await lane.left.wait()

    def close(self) -> None:
        """Claim nothing more; what is under way is finished."""
        self._closing = True
        self.wakeup.set()

    def wake(self, destination: str) -> None:
        """A person says that a destination can be sent to again."""
        if (lane := self.lanes.get(destination)) is not None:
            lane.quiet_until = self.clock.monotonic()
        self.wakeup.set()

    async def once(self) -> bool:
        """Try each due delivery once; whether all of them were delivered."""
        until = self.clock.now()
        for lane in self.lanes.values():
            await self._drain(lane, until)
        waiting = await self.db.read(due.next_due, list(self.lanes))
        return all(lane.all_sent for lane in self.lanes.values()) and all(
            due_at > until for due_at in waiting.values()
        )

    async def _dispatch(self, tasks: TaskGroup) -> float:
        """Serve whoever has something due; seconds until somebody will."""
        idle = [name for name, lane in self.lanes.items() if not lane.busy and lane.left is None]
        for lane in self.lanes.values():
            self._tell(lane)
        now = self.clock.now()
        waits = [_IDLE_S]
        for name, due_at in (await self.db.read(due.next_due, idle)).items():
            lane = self.lanes[name]
            wait = max((due_at - now).total_seconds(), self._quiet(lane))
            if wait <= 0:
                lane.busy = True
                tasks.start_soon(self._run_lane, lane)
            else:
                waits.append(wait)
        return min(waits)

    def _tell(self, lane: Lane) -> None:
        """Something may have changed for a lane that is under way."""
        lane.ready_until = 0.0
        if lane.busy and lane.free > 0:
            lane.wakeup.set()

    async def _run_lane(self, lane: Lane) -> None:
        try:
            await self._serve(lane)
        finally:
            lane.busy = False
            if lane.left is not None:
                lane.left.set()
            self.wakeup.set()

    async def _drain(self, lane: Lane, until: datetime) -> None:
        """Send what was due at `until`, as fast as the lane's rate allows."""
        while True:
            await self._serve(lane, until=until)
            quiet = self._quiet(lane)
            if lane.is_probed or not 0 < quiet <= _LONGEST_SLOT_S:
                return
            await self.clock.sleep(quiet)

    async def _serve(self, lane: Lane, *, until: datetime | None = None) -> None:
        """Send what is due until nothing may go any more."""
        try:
            async with anyio.create_task_group() as sends:
                while True:
                    for leased, events in await self._exchange(lane, until):
                        lane.tokens.add(leased.token)
                        sends.start_soon(self._send, lane, leased, events)
                    if not lane.tokens and not lane.finished:
                        return
                    if not lane.finished:
                        wait = await self._until_next(lane)
                        await lane.wakeup.wait(wait)
        finally:
            lane.tokens.clear()
            if lane.finished:
                with anyio.CancelScope(shield=True):
                    await self._exchange(lane, until, claim=False)

    async def _until_next(self, lane: Lane) -> float:
        """Seconds until something may leave beside what is under way."""
        if not self._may_claim(lane):
            return self._quiet(lane) or _IDLE_S
        due_at = (await self.db.read(due.next_due, [lane.name])).get(lane.name)
        wait = 0.0 if due_at is None else (due_at - self.clock.now()).total_seconds()
        # What is due already and did not leave waits for what is under way.
        return min(wait, _IDLE_S) if wait > 0 else _IDLE_S

    def _quiet(self, lane: Lane) -> float:
        """Seconds for which nothing may leave."""
        return max(0.0, lane.quiet_until - self.clock.monotonic())

    # --- settle and claim ---

    async def _exchange(
        self, lane: Lane, until: datetime | None, *, claim: bool = True
    ) -> Sequence[tuple[Leased, Sequence[Event]]]:
        """Settle what has finished, and lease what goes next, with what it tells."""
        while lane.finished or (claim and self._may_claim(lane)):
            priority = Priority.RETRY if lane.failing else Priority.CLAIM
            async with self.db.turn(priority) as turn:
                done = list(lane.finished)
                may_claim = claim and self._may_claim(lane)
                ask = self._look(lane, until) if may_claim else None
                judge = partial(claims.judge, lane.way)
                got = await turn.write(outbox.exchange, done, judge, ask, limit=_AT_ONCE)
                # Not before: whoever is cut off here settles them at the end.
                del lane.finished[: len(done)]
            for settled, one in zip(got.settled, done, strict=True):
                self._report(lane, one, *settled)
            if ask is None:
                return ()
            lane.ready = deque(got.later)
            lane.claims += bool(got.leased)
            lane.is_probed = ask.is_probed
            if ask.wait > timedelta(0):
                lane.quiet_until = self.clock.monotonic() + ask.wait.total_seconds()
            # What ended or is kept back may have made room for something else.
            if got.leased or not got.noted:
                return await self._told(got)
        return ()

    async def _told(self, got: outbox.Exchange) -> list[tuple[Leased, Sequence[Event]]]:
        """The leased messages, each with its events."""
        events = got.events
        if events is None:
            events = await self.db.read(due.members, [one.message for one in got.leased])
        return list(zip(got.leased, events, strict=True))

    def _may_claim(self, lane: Lane) -> bool:
        """Whether anything can leave now."""
        is_open = not self._closing and lane.left is None
        return is_open and lane.free > 0 and not self._quiet(lane)

    def _look(self, lane: Lane, until: datetime | None) -> Look:
        """What to ask the store for."""
        now, tick = self.clock.now(), self.clock.monotonic()
        ready: Sequence[Message] = ()
        if lane.way.rate is None and tick < lane.ready_until:
            ready = lane.ready
        if not ready:
            lane.ready_until = tick + _READY_S
        return Look(
            way=lane.way,
            now=now,
            until=until or now,
            free=lane.free,
            ready=tuple(ready),
            retries_first=lane.claims % 2 == 0,
            started_again_after=self.started_again_after,
            token=self.token,
        )

    # --- send ---

    async def _send(self, lane: Lane, leased: Leased, events: Sequence[Event]) -> None:
        started = self.clock.monotonic()
        outcome = await self._try(lane, leased, events)
        lane.failing = not isinstance(outcome, Sent)
        took = timedelta(seconds=self.clock.monotonic() - started)
        lane.finished.append(
            Finished(
                message=leased.message,
                token=leased.token,
                outcome=outcome,
                at=self.clock.now(),
                took=took,
                jitter=2 * self.chance() - 1,
                was_served=leased.served,
            )
        )
        lane.tokens.discard(leased.token)
        lane.wakeup.set()

    async def _try(self, lane: Lane, leased: Leased, events: Sequence[Event]) -> Outcome:
        rendered: Rendered | None = None
        try:
            rendered = self._render(lane, leased, events)
            return await self.sender.send(lane.name, rendered, served=leased.served)
        except Exception as exc:
            # One message that we cannot put into words or send must not stop others.
            log.exception("message.broken", message_id=leased.message.id)
            reason = f"a bug of this program: {type(exc).__name__}"
            if rendered is None:
                return Failed(reason=reason)
            return Ambiguous(reason=reason, served=leased.served)

    def _render(self, lane: Lane, leased: Leased, events: Sequence[Event]) -> Rendered:
        rendered = render(
            leased.message,
            events,
            routes=self.routes,
            limits=self.sender.limits(lane.name),
            zone=lane.zone,
            now=self.clock.now(),
            external_url=self.external_url,
        )
        if rendered.template_error is not None:
            log.error(
                "template.failed",
                route=leased.message.route,
                reason=rendered.template_error,
            )
        return rendered

    # --- tell ---

    def _report(self, lane: Lane, done: Finished, settlement: Settlement, held: int) -> None:
        """Say in the log what became of a message, and of its destination."""
        message = done.message
        lane.all_sent &= isinstance(done.outcome, Sent)
        level, what = _loudness(done.outcome, settlement)
        log.log(
            level,
            what,
            destination=lane.name,
            message_id=message.id,
            deliveries=len(message.members),
            attempt=message.attempt,
            outcome=settlement.outcome,
            reason=settlement.reason,
            took_s=round(done.took.total_seconds(), 3),
        )
        if held < len(message.members):
            log.warning("lease.lost", message_id=message.id, destination=lane.name)
        before, after = settlement.before, settlement.standing
        if before.open_since is None and after.open_since is not None:
            log.warning("breaker.opened", destination=lane.name, reason=after.reason)
        if before.is_probed and not after.is_probed and before.open_since is not None:
            log.info("breaker.closed", destination=lane.name)


def _loudness(outcome: Outcome, settlement: Settlement) -> tuple[int, str]:
    """A failure that is tried again is a warning; one that needs a person, an error."""
    if isinstance(outcome, Sent):
        return logging.INFO, "message.sent"
    final = any(isinstance(v, Dead) for _, v in settlement.verdicts)
    if final or settlement.standing.suspended_since is not None:
        return logging.ERROR, "message.failed"
    return logging.WARNING, "message.failed"
