"""
LOOP out: claim -> compose -> send -> settle.

One dispatcher looks for destinations that have something due; each is served in a
lane of its own, so that a slow one delays nobody else. A claim counts the attempt
and fixes the message's members before anything leaves; a settlement changes only
what its lease still holds.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from notifier.clock import Clock
from notifier.core.commit import Settlement
from notifier.core.compose import Ended, Room, compose, oldest
from notifier.core.model import (
    Ambiguous,
    Due,
    Event,
    Failed,
    Limits,
    Message,
    Outcome,
    Rate,
    Rendered,
    Route,
    Sent,
)
from notifier.core.render import render
from notifier.core.settle import Dead, Rescheduled, Standing, Verdict, together
from notifier.core.settle import settle as decide
from notifier.core.settle import standing as stand
from notifier.turns import Bell

log = structlog.get_logger()

#: Deliveries that one claim looks at: the most that one digest can hold.
_AT_ONCE = 1000
LEASE = timedelta(seconds=90)
#: Messages that would leave later than this are a digest instead.
_SOON = timedelta(seconds=10)
#: Kept between the edges of a rate's window: the wire is no clock.
_MARGIN = timedelta(milliseconds=20)
_IDLE_S = 30.0
#: A destination that is gone is looked at again so rarely: a person may bring it back.
_GONE_FOR_S = 300.0
_NO_LIMIT = 1_000_000
#: `once` waits for a rate's next slot, but not for a destination that is suspended.
_LONGEST_SLOT_S = 60.0


class ClaimTurn(Protocol):
    """The writer's turn, to claim or to settle."""

    async def standing(self, destination: str) -> Standing: ...
    async def due(
        self, destination: str, now: datetime, *, limit: int
    ) -> list[Due]: ...
    async def attempts_since(
        self, destination: str, since: datetime
    ) -> list[datetime]: ...
    async def lease(
        self,
        messages: Sequence[tuple[Message, str]],
        ended: Sequence[Ended],
        *,
        now: datetime,
        until: datetime,
    ) -> list[list[Event]]: ...
    async def settle(self, settlement: Settlement) -> int: ...


class Outbox(Protocol):
    """What the loop needs of the store."""

    def claim_turn(self) -> AbstractAsyncContextManager[ClaimTurn]: ...
    async def next_due(self) -> dict[str, datetime]: ...


class Sender(Protocol):
    """What the loop needs of the far end."""

    async def send(self, destination: str, message: Rendered) -> Outcome:
        """One attempt; what was seen. Takes 30 s at most."""

    def limits(self, destination: str) -> Limits: ...


@dataclass(slots=True, kw_only=True)
class Lane:
    """One destination's way out."""

    name: str
    zone: ZoneInfo
    rate: Rate | None
    concurrency: int
    #: By route: more than so many due together are a digest; None: never.
    over: Mapping[str, int | None]
    over_else: int | None = None
    busy: bool = False
    #: Nothing can leave before: its rate, or the service itself, says so. Monotonic.
    quiet_until: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A message of ours to send, and what it tells."""

    message: Message
    token: str
    events: Sequence[Event]


@dataclass(slots=True, kw_only=True)
class Deliver:
    """The delivering loop."""

    store: Outbox
    sender: Sender
    clock: Clock
    lanes: Mapping[str, Lane]
    routes: Mapping[str, Route]
    bell: Bell
    #: A fresh lease token.
    token: Callable[[], str]
    #: Uniform in [0, 1).
    chance: Callable[[], float]
    pulse: Callable[[str], None]
    #: A start that moves by no more is not announced again.
    started_again_after: timedelta = timedelta(minutes=15)
    _closing: bool = field(default=False)

    async def run(self) -> None:
        """Deliver until `close`; ends when the last message is settled."""
        async with anyio.create_task_group() as tasks:
            while not self._closing:
                self.pulse("deliver")
                wait = await self._dispatch(tasks)
                await self.bell.wait(wait)

    def close(self) -> None:
        """Claim nothing more; what is under way is finished."""
        self._closing = True
        self.bell.ring()

    def wake(self, destination: str) -> None:
        """A person says that a destination can be sent to again."""
        if (lane := self.lanes.get(destination)) is not None:
            lane.quiet_until = self.clock.monotonic()
        self.bell.ring()

    async def once(self) -> bool:
        """Try each due delivery once; whether all of them were delivered."""
        until = self.clock.now()
        done = True
        for lane in self.lanes.values():
            done &= await self._drain(lane, until)
        waiting = await self.store.next_due()
        return done and all(
            due_at > until for name, due_at in waiting.items() if name in self.lanes
        )

    async def _dispatch(self, tasks: TaskGroup) -> float:
        """Serve whoever has something due; seconds until somebody will."""
        now = self.clock.now()
        waits = [_IDLE_S]
        for name, due_at in (await self.store.next_due()).items():
            lane = self.lanes.get(name)
            if lane is None or lane.busy:
                continue
            wait = max((due_at - now).total_seconds(), self._quiet(lane))
            if wait <= 0:
                lane.busy = True
                tasks.start_soon(self._serve, lane)
            else:
                waits.append(wait)
        return min(waits)

    async def _serve(self, lane: Lane) -> None:
        """Send what is due until nothing may go any more."""
        try:
            while not self._closing and (claimed := await self._claim(lane)):
                await self._send_all(lane, claimed)
        finally:
            lane.busy = False
            self.bell.ring()

    async def _drain(self, lane: Lane, until: datetime) -> bool:
        """Send what was due at `until`, as fast as the lane's rate allows."""
        done = True
        while True:
            if claimed := await self._claim(lane, until=until):
                done &= await self._send_all(lane, claimed)
                continue
            quiet = self._quiet(lane)
            if not 0 < quiet <= _LONGEST_SLOT_S:
                return done
            await self.clock.sleep(quiet)

    def _quiet(self, lane: Lane) -> float:
        """Seconds for which nothing may leave."""
        return lane.quiet_until - self.clock.monotonic()

    def _silence(self, lane: Lane, seconds: float) -> None:
        lane.quiet_until = self.clock.monotonic() + seconds

    # --- claim ---

    async def _claim(
        self, lane: Lane, *, until: datetime | None = None
    ) -> list[Claimed]:
        """Fix the next messages and make them ours; those due at `until` at most."""
        now = self.clock.now()
        async with self.store.claim_turn() as turn:
            standing = await turn.standing(lane.name)
            if rest := _rest(standing, now):
                self._silence(lane, rest)
                return []
            sent = await self._recent(turn, lane, now)
            now_free, soon_free = _free(lane, sent, now)
            if not now_free:
                self._silence(lane, _next_slot(lane, sent, now))
                return []
            due = await turn.due(lane.name, until or now, limit=_AT_ONCE)
            is_probe = standing.suspended_since is not None
            room = Room(
                now=1 if is_probe else now_free,
                soon=soon_free,
                over=lane.over,
                over_else=lane.over_else,
            )
            if is_probe:
                due = oldest(due)

            composed = compose(
                due,
                destination=lane.name,
                room=room,
                now=now,
                started_again_after=self.started_again_after,
            )

            if not composed.messages and not composed.ended:
                return []
            owned = [(message, self.token()) for message in composed.messages]
            events = await turn.lease(owned, composed.ended, now=now, until=now + LEASE)
        return [
            Claimed(message=message, token=token, events=told)
            for (message, token), told in zip(owned, events, strict=True)
        ]

    async def _recent(
        self, turn: ClaimTurn, lane: Lane, now: datetime
    ) -> list[datetime]:
        if lane.rate is None:
            return []
        since = now - lane.rate.per - _MARGIN
        sent = await turn.attempts_since(lane.name, since)
        # What lies further ahead was noted before the clock was set back.
        return [at for at in sent if at <= now + lane.rate.per]

    # --- send ---

    async def _send_all(self, lane: Lane, claimed: Sequence[Claimed]) -> bool:
        if len(claimed) == 1:
            return await self._send(lane, claimed[0])
        done: list[bool] = []

        async def send(one: Claimed) -> None:
            done.append(await self._send(lane, one))

        async with anyio.create_task_group() as tasks:
            for one in claimed:
                tasks.start_soon(send, one)
        return all(done)

    async def _send(self, lane: Lane, claimed: Claimed) -> bool:
        message = claimed.message
        started = self.clock.monotonic()
        outcome = await self._try(lane, claimed)
        with anyio.CancelScope(shield=True):
            settlement, held = await self._settle(claimed, outcome)
        level, what = _loudness(outcome, settlement)
        log.log(
            level,
            what,
            destination=lane.name,
            message_id=message.id,
            deliveries=len(message.members),
            attempt=message.attempt,
            outcome=settlement.outcome,
            reason=settlement.reason,
            took_s=round(self.clock.monotonic() - started, 3),
        )
        if held < len(message.members):
            log.warning("lease.lost", message_id=message.id, destination=lane.name)
        return isinstance(outcome, Sent)

    async def _try(self, lane: Lane, claimed: Claimed) -> Outcome:
        rendered: Rendered | None = None
        try:
            rendered = self._render(lane, claimed)
            return await self.sender.send(lane.name, rendered)
        except Exception as exc:
            # One message that we cannot put into words or send must not stop others.
            log.exception("message.broken", message_id=claimed.message.id)
            reason = f"a bug of this program: {type(exc).__name__}"
            if rendered is None:
                return Failed(reason=reason)
            return Ambiguous(reason=reason)

    def _render(self, lane: Lane, claimed: Claimed) -> Rendered:
        rendered = render(
            claimed.message,
            claimed.events,
            routes=self.routes,
            limits=self.sender.limits(lane.name),
            zone=lane.zone,
            now=self.clock.now(),
        )
        if rendered.template_error is not None:
            log.error(
                "template.failed",
                route=claimed.message.route,
                reason=rendered.template_error,
            )
        return rendered

    # --- settle ---

    async def _settle(
        self, claimed: Claimed, outcome: Outcome
    ) -> tuple[Settlement, int]:
        message, now = claimed.message, self.clock.now()
        jitter = 2 * self.chance() - 1
        verdicts = together(
            [
                decide(
                    replace(member, attempts=member.attempts + 1, form=message.form),
                    outcome,
                    attempt=message.attempt,
                    in_digest=len(message.members) > 1,
                    now=now,
                    jitter=jitter,
                )
                for member in message.members
            ]
        )
        async with self.store.claim_turn() as turn:
            before = await turn.standing(message.destination)
            settlement = Settlement(
                message_id=message.id,
                attempt=message.attempt,
                token=claimed.token,
                destination=message.destination,
                verdicts=tuple(
                    (member.delivery_id, verdict)
                    for member, verdict in zip(message.members, verdicts, strict=True)
                ),
                standing=stand(before, outcome, now=now, due_at=_due_again(verdicts)),
                outcome=type(outcome).__name__.lower(),
                status=None if isinstance(outcome, Ambiguous) else outcome.status,
                reason=None if isinstance(outcome, Sent) else outcome.reason,
                now=now,
            )
            held = await turn.settle(settlement)
        return settlement, held


def _free(lane: Lane, sent: Sequence[datetime], now: datetime) -> tuple[int, int]:
    """How many messages may leave now, and how many within ten seconds."""
    rate = lane.rate
    if rate is None:
        return lane.concurrency, _NO_LIMIT
    free = rate.count - len(sent)
    if rate.per <= _SOON:
        soon = rate.count * (_SOON // rate.per)
    else:
        soon = rate.count - sum(at + rate.per > now + _SOON for at in sent)
    return min(lane.concurrency, free), soon


def _rest(standing: Standing, now: datetime) -> float:
    """Seconds for which a destination is to be left alone."""
    if standing.gone:
        return _GONE_FOR_S
    until = standing.paused_until
    return 0.0 if until is None else max(0.0, (until - now).total_seconds())


def _next_slot(lane: Lane, sent: Sequence[datetime], now: datetime) -> float:
    """Seconds until the oldest attempt leaves the window of the lane's rate."""
    if lane.rate is None:
        return 0.0
    return (min(sent) + lane.rate.per + _MARGIN - now).total_seconds()


def _due_again(verdicts: Sequence[Verdict]) -> datetime | None:
    again = (v.due_at for v in verdicts if isinstance(v, Rescheduled))
    return max(again, default=None)


def _loudness(outcome: Outcome, settlement: Settlement) -> tuple[int, str]:
    """A failure that is tried again is a warning; one that needs a person, an error."""
    if isinstance(outcome, Sent):
        return logging.INFO, "message.sent"
    final = any(isinstance(v, Dead) for _, v in settlement.verdicts)
    if final or settlement.standing.suspended_since is not None:
        return logging.ERROR, "message.failed"
    return logging.WARNING, "message.failed"
