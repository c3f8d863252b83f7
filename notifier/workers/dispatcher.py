"""
The dispatcher: claim, render, send, settle.

One loop looks for destinations that have something due; each is served by a worker of
its own, so that a slow one delays no other. A claim counts the attempt and fixes the
message's members before anything leaves; a settlement changes only what its lease still
holds. What is attempted next is claimed in the transaction that settles the last.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.batching import DestinationPolicy
from notifier.domain.models import Ambiguous, Failed, Limits, Outcome, Rendered, Sent, State
from notifier.domain.outgoing import Lease, Message
from notifier.domain.retry_policy import AttemptResult, Settlement
from notifier.domain.rules import Route
from notifier.messages.render import render
from notifier.metrics import Metrics
from notifier.storage import due, message_events, outbox
from notifier.storage.database import Database, Priority
from notifier.storage.outbox import ClaimRequest

log = structlog.get_logger()

#: Without anything due the loop looks again after so long.
_IDLE_S = 30.0
#: Messages that were planned are planned anew after so long: things may have changed.
_PLANNED_S = 1.0
#: An attempt that takes longer than this may take long: nothing is sent after it for now.
_BRISK_S = 1.0
#: `once` waits for the next slot of a rate, but not for a destination that fails.
_LONGEST_SLOT_S = 60.0


class Sender(Protocol):
    """What the dispatcher needs of the senders."""

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        """
        Make one attempt and return what was seen; takes 30 s at most.

        `delivered_to` marks those of several recipients who have the message already.
        """

    def limits(self, destination: str) -> Limits: ...


@dataclass(slots=True, kw_only=True)
class DestinationWorker:
    """What serves one destination, and what is under way there."""

    policy: DestinationPolicy
    #: For the times in its messages.
    zone: ZoneInfo
    busy: bool = False
    #: Nothing can leave before, for its rate or its state. Monotonic.
    paused_until: float = 0.0
    #: The leases of what is under way.
    tokens: set[str] = field(default_factory=set)
    finished: list[AttemptResult] = field(default_factory=list)
    #: Something has finished, or there is something new to claim.
    wakeup: WakeupEvent = field(default_factory=WakeupEvent)
    #: Planned but not leased yet, for want of free slots; valid until then.
    planned: Sequence[Message] = ()
    planned_until: float = 0.0
    #: Claims that leased something: first attempts and retries take turns.
    claims: int = 0
    #: The destination does not work: an attempt only probes it.
    half_open: bool = False
    #: Every message of `once` was delivered.
    all_sent: bool = True
    #: Nothing more is claimed; set once what was under way has ended.
    drained: anyio.Event | None = None
    #: Its last attempt failed: its writes wait for those of the others.
    failing: bool = False

    @property
    def name(self) -> str:
        """The destination's name."""
        return self.policy.name

    @property
    def free(self) -> int:
        """How many more messages may be under way."""
        return self.policy.concurrency - len(self.tokens)


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Sends what is due, until it is closed."""

    db: Database
    sender: Sender
    clock: Clock
    workers: Mapping[str, DestinationWorker]
    routes: Mapping[str, Route]
    wakeup: WakeupEvent
    new_token: Callable[[], str]
    #: Uniform in [0, 1).
    random: Callable[[], float]
    heartbeat: Callable[[str], None]
    metrics: Metrics = field(default_factory=Metrics)
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
                await self.wakeup.wait(await self._dispatch(tasks))

    async def drain(self, longest_s: float) -> None:
        """
        Let slow attempts come to an end, within a time; quick destinations go on.

        Before a change of the configuration: a destination that hangs must not hold
        up those that do not.
        """
        begun = {name: set(worker.tokens) for name, worker in self.workers.items()}
        if not any(begun.values()):
            return
        await self.clock.sleep(_BRISK_S)
        slow = [worker for name, worker in self.workers.items() if worker.tokens & begun[name]]
        ends = [anyio.Event() for _ in slow]
        for worker, end in zip(slow, ends, strict=True):
            worker.drained = end
        with anyio.move_on_after(longest_s):
            for end in ends:
                await end.wait()

    def close(self) -> None:
        """Claim nothing more; what is under way is finished."""
        self._closing = True
        self.wakeup.set()

    def wake(self, destination: str) -> None:
        """Claim for a destination that a person has resumed."""
        if (worker := self.workers.get(destination)) is not None:
            worker.paused_until = self.clock.monotonic()
        self.wakeup.set()

    async def once(self) -> bool:
        """Attempt each due delivery once; whether all of them were delivered."""
        until = self.clock.now()
        for worker in self.workers.values():
            while True:
                await self._serve(worker, until=until)
                pause = self._pause(worker)
                if worker.half_open or not 0 < pause <= _LONGEST_SLOT_S:
                    break
                await self.clock.sleep(pause)
        waiting = await self.db.read(due.next_due, list(self.workers))
        return all(worker.all_sent for worker in self.workers.values()) and all(
            due_at > until for due_at in waiting.values()
        )

    # --- dispatch ---

    async def _dispatch(self, tasks: TaskGroup) -> float:
        """Start a worker for each destination that has something due; seconds until the next."""
        idle = []
        for name, worker in self.workers.items():
            worker.planned_until = 0.0  # something new may have come
            if not worker.busy and worker.drained is None:
                idle.append(name)
            elif worker.busy and worker.free > 0:
                worker.wakeup.set()
        now = self.clock.now()
        waits = [_IDLE_S]
        for name, due_at in (await self.db.read(due.next_due, idle)).items():
            worker = self.workers[name]
            wait = max((due_at - now).total_seconds(), self._pause(worker))
            if wait <= 0:
                worker.busy = True
                tasks.start_soon(self._run_worker, worker)
            else:
                waits.append(wait)
        return min(waits)

    async def _run_worker(self, worker: DestinationWorker) -> None:
        try:
            await self._serve(worker)
        finally:
            worker.busy = False
            if worker.drained is not None:
                worker.drained.set()
            self.wakeup.set()

    async def _serve(self, worker: DestinationWorker, *, until: datetime | None = None) -> None:
        """Send what is due until nothing may leave any more."""
        try:
            async with anyio.create_task_group() as sends:
                while True:
                    for lease in await self._settle_and_claim(worker, until):
                        worker.tokens.add(lease.token)
                        sends.start_soon(self._send, worker, lease)
                    if not worker.tokens and not worker.finished:
                        return
                    if not worker.finished:
                        await worker.wakeup.wait(await self._until_next(worker))
        finally:
            worker.tokens.clear()
            if worker.finished:
                with anyio.CancelScope(shield=True):
                    await self._settle_and_claim(worker, until, claim=False)

    async def _until_next(self, worker: DestinationWorker) -> float:
        """Seconds until something may leave beside what is under way."""
        if not self._may_claim(worker):
            return self._pause(worker) or _IDLE_S
        due_at = (await self.db.read(due.next_due, [worker.name])).get(worker.name)
        wait = 0.0 if due_at is None else (due_at - self.clock.now()).total_seconds()
        # What is due already and did not leave waits for what is under way.
        return min(wait, _IDLE_S) if wait > 0 else _IDLE_S

    def _pause(self, worker: DestinationWorker) -> float:
        """Seconds for which nothing may leave."""
        return max(0.0, worker.paused_until - self.clock.monotonic())

    def _may_claim(self, worker: DestinationWorker) -> bool:
        is_open = not self._closing and worker.drained is None
        return is_open and worker.free > 0 and not self._pause(worker)

    # --- settle and claim ---

    async def _settle_and_claim(
        self, worker: DestinationWorker, until: datetime | None, *, claim: bool = True
    ) -> Sequence[Lease]:
        """Settle what has finished, and lease what is sent next."""
        while worker.finished or (claim and self._may_claim(worker)):
            priority = Priority.RETRY if worker.failing else Priority.CLAIM
            async with self.db.turn(priority) as turn:
                # What finishes while the turn is waited for is settled with it.
                results = list(worker.finished)
                may_claim = claim and self._may_claim(worker)
                request = self._request(worker, until) if may_claim else None
                done = await turn.write(outbox.settle_and_claim, worker.policy, results, request)
                # Not before: a worker that is cut off here settles them at its end.
                del worker.finished[: len(results)]
            for settlement in done.settled:
                self._report(worker, settlement)
            for one in done.suppressed:
                self.metrics.count_unsent(one.state, one.reason)
            if request is None:
                return ()
            worker.planned = done.planned
            worker.claims += bool(done.leases)
            worker.half_open = done.half_open
            if done.wait > timedelta(0):
                worker.paused_until = self.clock.monotonic() + done.wait.total_seconds()
            # What was suppressed or deferred may have made room for something else.
            if done.leases or not done.changed:
                return await self._with_events(done.leases)
        return ()

    def _request(self, worker: DestinationWorker, until: datetime | None) -> ClaimRequest:
        now, tick = self.clock.now(), self.clock.monotonic()
        planned: Sequence[Message] = ()
        if worker.policy.rate is None and tick < worker.planned_until:
            planned = worker.planned
        if not planned:
            worker.planned_until = tick + _PLANNED_S
        return ClaimRequest(
            now=now,
            until=until or now,
            free=worker.free,
            planned=planned,
            retries_first=worker.claims % 2 == 0,
            started_again_after=self.started_again_after,
            new_token=self.new_token,
        )

    async def _with_events(self, leases: Sequence[Lease]) -> Sequence[Lease]:
        """The leases with the events of their messages, where a claim did not read them."""
        if not leases or leases[0].events:
            return leases
        messages = [lease.message for lease in leases]
        events = await self.db.read(message_events.events_of_messages, messages)
        return [replace(lease, events=one) for lease, one in zip(leases, events, strict=True)]

    # --- send ---

    async def _send(self, worker: DestinationWorker, lease: Lease) -> None:
        started = self.clock.monotonic()
        outcome = await self._attempt(worker, lease)
        worker.failing = not isinstance(outcome, Sent)
        worker.finished.append(
            AttemptResult(
                lease=lease,
                outcome=outcome,
                at=self.clock.now(),
                took=timedelta(seconds=self.clock.monotonic() - started),
                jitter=2 * self.random() - 1,
            )
        )
        worker.tokens.discard(lease.token)
        worker.wakeup.set()

    async def _attempt(self, worker: DestinationWorker, lease: Lease) -> Outcome:
        """Render and send; a message that breaks this program must not stop others."""
        message = lease.message
        rendered: Rendered | None = None
        try:
            rendered = render(
                message,
                lease.events,
                routes=self.routes,
                limits=self.sender.limits(worker.name),
                zone=worker.zone,
                now=self.clock.now(),
                external_url=self.external_url,
            )
            if rendered.template_error is not None:
                log.error("template.failed", route=message.route, reason=rendered.template_error)
            return await self.sender.send(worker.name, rendered, delivered_to=lease.delivered_to)
        except Exception as exc:
            log.exception("message.broken", message_id=message.id)
            reason = f"a bug of this program: {type(exc).__name__}"
            if rendered is None:
                return Failed(reason=reason)
            return Ambiguous(reason=reason, delivered_to=lease.delivered_to)

    def _report(self, worker: DestinationWorker, settlement: Settlement) -> None:
        """Log what became of a message, and of its destination."""
        result = settlement.result
        message, outcome = result.lease.message, result.outcome
        before, after = settlement.before, settlement.after
        worker.all_sent &= isinstance(outcome, Sent)
        # A failure that is retried is a warning; one that needs a person, an error.
        level, event = logging.WARNING, "message.failed"
        if isinstance(outcome, Sent):
            level, event = logging.INFO, "message.sent"
        elif after.suspended_since is not None or any(
            one.state is State.DEAD for one in settlement.next_states
        ):
            level, event = logging.ERROR, "message.failed"
        log.log(
            level,
            event,
            destination=worker.name,
            message_id=message.id,
            deliveries=len(message.members),
            attempt=message.attempt,
            outcome=type(outcome).__name__.lower(),
            reason=None if isinstance(outcome, Sent) else outcome.reason,
            took_s=round(result.took.total_seconds(), 3),
        )
        if settlement.lost:
            log.warning("lease.lost", message_id=message.id, destination=worker.name)
        else:
            self.metrics.count_attempt(worker.name, outcome, result.lease.events, at=result.at)
            for one in settlement.next_states:
                if one.state not in {State.PENDING, State.DELIVERED}:
                    self.metrics.count_unsent(one.state, one.reason)
        if before.open_since is None and after.open_since is not None:
            log.warning("breaker.opened", destination=worker.name, reason=after.reason)
        if before.open_since is not None and not after.half_open:
            log.info("breaker.closed", destination=worker.name)
