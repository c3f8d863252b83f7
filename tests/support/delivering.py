"""The delivering loop on a stage: simulated time, a stub sender, a real store."""

import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
from simulated import SimulatedClock
from storing import (
    GRACE,
    HOOK,
    NOW,
    UTC_ZONE,
    Shelf,
    ask,
    opened,
    row,
    stamp,
    stocked,
)

from notifier.concurrency import WakeupEvent
from notifier.domain.batching import BatchingPolicy, DestinationPolicy
from notifier.domain.changes import removed
from notifier.domain.models import Failed, Format, Limits, Outcome, Rendered, Sent
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Route, Silence
from notifier.domain.silences import create_silence
from notifier.settings.models import RetentionSettings
from notifier.storage import admin, destination_state, milestones, outbox
from notifier.storage.database import Priority
from notifier.workers.dispatcher import DestinationWorker, Dispatcher
from notifier.workers.maintenance import Maintenance

DESK = "desk"
BOTH = (Route(name="all", to=(HOOK, DESK)),)
UNAVAILABLE = Failed(reason="503", status=503)
Answer = Callable[[Rendered], Outcome]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One attempt as the far end saw it."""

    at: datetime
    destination: str
    message: Rendered
    #: Who had it before, as the sender was told.
    delivered_to: frozenset[str]

    @property
    def milestones(self) -> list[str]:
        return [event.subject for event in self.message.events]


@dataclass
class StubSender:
    """Far ends that do as they are told."""

    clock: SimulatedClock
    #: What a destination answers; everything is taken where nothing is said.
    answers: dict[str, Answer] = field(default_factory=dict)
    #: Seconds that an attempt takes there, or for a milestone's message alone.
    takes: dict[str, float] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        self.requests.append(
            Request(
                at=self.clock.now(),
                destination=destination,
                message=message,
                delivered_to=delivered_to,
            )
        )
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        first = message.events[0].subject
        try:
            await anyio.sleep(self.takes.get(first, self.takes.get(destination, 0)))
        finally:
            self.under_way -= 1
        return self.answers.get(destination, take)(message)

    def limits(self, destination: str) -> Limits:
        del destination
        return Limits(format=Format.TEXT, title=250, body=30_000)

    def to(self, destination: str) -> list[Request]:
        return [one for one in self.requests if one.destination == destination]


def take(message: Rendered) -> Outcome:
    del message
    return Sent(status=204)


def unless(milestone_id: str, outcome: Outcome) -> Answer:
    """Everything is taken, but for what tells of one milestone."""

    def answer(message: Rendered) -> Outcome:
        return outcome if message.events[0].subject == milestone_id else Sent()

    return answer


def always(outcome: Outcome) -> Answer:
    return lambda _message: outcome


def in_turn(*outcomes: Outcome) -> Answer:
    """These outcomes, and then the last of them for ever."""
    left = itertools.chain(outcomes, itertools.repeat(outcomes[-1]))
    return lambda _message: next(left)


class Scene:
    """A store, a stub sender, and the delivering loop of one process after another."""

    def __init__(self, shelf: Shelf, database: Path, workers: Sequence[DestinationWorker]) -> None:
        self.shelf = shelf
        self.database = database
        self.clock = SimulatedClock()
        self.sender = StubSender(self.clock)
        self.wakeup = WakeupEvent()
        self.pulses = 0
        #: Ends the process that runs, whatever it is doing.
        self.kill: Callable[[], None] = lambda: None
        self.workers = workers
        self._tokens = itertools.count()

    def boot(self) -> Dispatcher:
        """The loop as a new process has it: it remembers nothing."""
        return Dispatcher(
            db=self.shelf.store,
            sender=self.sender,
            clock=self.clock,
            workers={
                one.name: DestinationWorker(policy=one.policy, zone=one.zone)
                for one in self.workers
            },
            routes={rule.name: rule for rule in self.shelf.routes},
            wakeup=self.wakeup,
            new_token=lambda: f"token-{next(self._tokens)}",
            random=lambda: 0.5,
            heartbeat=self._pulse,
        )

    def set_clock(self, when: datetime) -> None:
        """Let it be another time."""
        self.clock.correct(when - self.clock.now())

    async def reload(self, *workers: DestinationWorker) -> None:
        """Let another configuration take over, as the next process has it."""
        self.workers = workers
        async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(outbox.requeue_deferred, self.clock.now())

    async def release_leases(self, *, drop_ambiguous: Collection[str] = ()) -> int:
        """What a process does at its start about the one before it."""
        async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
            released = await turn.write(
                outbox.release_expired_leases,
                self.clock.now(),
                everything=True,
                drop_ambiguous=drop_ambiguous,
            )
            return released.total()

    async def silence(self, until: datetime, **keys: list[str]) -> Silence:
        """A person's wish to hear nothing of these."""
        wish = create_silence(keys, why="too noisy", created_at=self.clock.now(), until=until)
        async with self.shelf.store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(admin.add_silence, wish)
        return wish

    def maintain(self) -> Maintenance:
        return Maintenance(
            db=self.shelf.store,
            clock=self.clock,
            retention=RetentionSettings(),
            dispatcher_wakeup=self.wakeup,
            heartbeat=lambda _loop: None,
        )

    def _pulse(self, _loop: str) -> None:
        self.pulses += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        """A process, until it is killed."""
        deliver = self.boot()
        async with anyio.create_task_group() as tasks:
            self.kill = tasks.cancel_scope.cancel
            tasks.start_soon(deliver.run)
            yield deliver
            self.kill()

    async def show(self, *milestone_ids: str, **fields: Any) -> None:
        """Let a read bring these milestones as they are now."""
        rows = [
            row(key, last_updated_ts=stamp(self.clock.now()), **fields) for key in milestone_ids
        ]
        await self.shelf.show(*rows, now=self.clock.now())
        self.wakeup.set()

    async def remove(self, milestone_id: str) -> None:
        """Let Kalshi list it no longer."""
        now, shelf = self.clock.now(), self.shelf
        async with shelf.store.turn(Priority.PAGE) as turn:
            known = await turn.write(milestones.stored, [milestone_id], shelf.watch)
            [gone] = [removed(one, now=now) for one in known.values()]
            traces = route(gone, shelf.routes)
            owed = deliveries(gone, traces, due_at=now, now=now, started_grace=GRACE)
            await turn.write(milestones.remove, [gone], owed, now)
        self.wakeup.set()

    async def start(self) -> None:
        """Fire the starts that are due."""
        await self.shelf.ring(now=self.clock.now())
        self.wakeup.set()

    def offsets(self, destination: str = HOOK, *, of: str | None = None) -> list[float]:
        """Seconds from NOW of each attempt, or of those that tell of a milestone."""
        return [
            round((one.at - NOW).total_seconds(), 3)
            for one in self.sender.to(destination)
            if of is None or of in one.milestones
        ]

    def told(self, destination: str = HOOK) -> list[list[str]]:
        """The milestones of each attempt."""
        return [one.milestones for one in self.sender.to(destination)]

    def states(self, column: str = "state") -> list[Any]:
        return [value for (value,) in self.rows(column)]

    def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """Of every delivery, oldest first."""
        return ask(self.database, f"SELECT {columns} FROM deliveries ORDER BY seq")

    def event_ids(self, milestone_id: str = "m1") -> list[str]:
        """The milestone's events, oldest first."""
        text = "SELECT id FROM events WHERE milestone_id = ? ORDER BY seq"
        return [key for (key,) in ask(self.database, text, milestone_id)]


def worker(
    name: str = HOOK,
    *,
    over: int | None = None,
    batching: BatchingPolicy | None = None,
    by_route: Mapping[str, BatchingPolicy] | None = None,
    **policy: Any,
) -> DestinationWorker:
    """What serves a destination; `batching` serves every route that has none of its own."""
    default = batching or BatchingPolicy(over=over, zone=UTC_ZONE)
    return DestinationWorker(
        policy=DestinationPolicy(name=name, batching=by_route or {}, default=default, **policy),
        zone=UTC_ZONE,
    )


@asynccontextmanager
async def staged(
    database: Path, *workers: DestinationWorker, routes: tuple[Route, ...] = (), **parts: Any
) -> AsyncIterator[Scene]:
    async with opened(database, **parts) as store:
        shelf = await stocked(store, **({"routes": routes} if routes else {}))
        async with store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(destination_state.set_destinations, {HOOK: "1", DESK: "2"}, NOW)
        yield Scene(shelf, database, workers or (worker(),))


def busiest(offsets: list[float], window: float) -> int:
    """The most requests that any sliding window of that length sees."""
    return max(sum(at <= t < at + window for t in offsets) for at in offsets)
