"""
THE composition root: builds everything, runs the loops in one task group, and takes
it all down again in reverse.

Nobody else calls a constructor of an edge, and nothing below sees the `Config`.
"""

import gc
import hashlib
import os
import random
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TextIO

import anyio
import structlog
from anyio.abc import TaskStatus

from notifier import __version__, control
from notifier.alarm import Alarm
from notifier.clock import Clock, Skew, SystemClock
from notifier.config import ApiKey, Config, Updates
from notifier.core.cadence import ReadPolicy
from notifier.core.claim import Way
from notifier.core.commit import Progress, ReadEnd, ReadKind
from notifier.core.diff import DiffPolicy
from notifier.core.hold import Manner
from notifier.core.model import Destination, Json, Rate, Route, Silence
from notifier.core.operate import OperatorPolicy
from notifier.core.route import leads
from notifier.core.silence import made, phrase, spelt
from notifier.core.timing import TimePolicy
from notifier.deliver import Deliver, Lane, Sender
from notifier.errors import ConfigError, StoreLocked
from notifier.health import Pulse
from notifier.maintain import Maintain
from notifier.operate import Exchange, Operate, Post
from notifier.pace import Pace
from notifier.poll import Poll
from notifier.read import DiffRules, Reader, Source
from notifier.sender.heartbeat import Heartbeat
from notifier.sender.lane import in_thread
from notifier.sender.sender import open_sender
from notifier.source.client import KalshiClient
from notifier.source.sign import Signing
from notifier.source.wire import fingerprint, milestone
from notifier.store.daily import DailyBackups
from notifier.store.files import InstanceLock, database_path
from notifier.store.store import Offload, Store, open_store
from notifier.systemd import Supervisor
from notifier.turns import Bell, unless

log = structlog.get_logger()

#: Sends under way at a shutdown are cut after this.
_DRAIN_S = 20.0
#: Before a change of the configuration every attempt may come to its end.
_EASE_S = 32.0
#: After this the process ends, whatever still hangs: what matters is committed.
_LAST_S = 26.0
_USER_AGENT = f"milestone-notifier/{__version__}"

#: Called after each page of a read; with the last one comes the read's end.
Watcher = Callable[[ReadKind, Progress, ReadEnd | None], None]


class OpenSource(Source, Exchange, Protocol):
    """The API, until it is closed."""

    async def aclose(self) -> None: ...


class OpenSender(Sender, Protocol):
    """The far ends, until they are closed."""

    def default_rate(self, destination: str) -> Rate | None: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a simulation replaces."""

    clock: Clock = field(default_factory=SystemClock)
    #: Runs the store's statements.
    offload: Offload = anyio.to_thread.run_sync
    source: Callable[[Config, Clock], OpenSource] | None = None
    sender: Callable[[Config], Awaitable[OpenSender]] | None = None
    chance: Callable[[], float] = random.random
    token: Callable[[], str] = secrets.token_hex
    watcher: Watcher = lambda _kind, _progress, _end: None
    output: TextIO = field(default_factory=lambda: sys.stdout)
    #: Who started the service, and how it is told of its state.
    supervisor: Supervisor = field(default_factory=Supervisor)
    #: The socket for commands; a simulation has none.
    serve_commands: bool = True
    #: What is known of the machine's clock: a reload must not forget it.
    skew: Skew = field(default_factory=Skew)


@dataclass(frozen=True, kw_only=True)
class Loops:
    """Everything that runs, built and connected."""

    poll: Poll
    alarm: Alarm
    deliver: Deliver
    maintain: Maintain
    operate: Operate
    #: For what commands have done.
    store: Store
    pulse: Pulse
    heartbeat: Heartbeat | None


async def run(
    config: Config,
    parts: Parts | None = None,
    *,
    again: Callable[[], Config] | None = None,
) -> None:
    """
    Be the service until SIGTERM or SIGINT.

    On SIGHUP `again` reads the configuration anew; it may block. A good one takes
    over once what is under way is finished, a bad one is told in the log.

    Raises:
        NotifierError: it cannot go on; what was committed is safe.
    """
    parts = parts or Parts()
    wishes = _Wishes(config=config)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch_signals, wishes, again, parts.supervisor)
            while not wishes.stop:
                wishes.turn = anyio.Event()
                async with built(wishes.config, parts, lambda: wishes.stop) as loops:
                    # What is loaded stays: looking through it again delays starts.
                    gc.collect()
                    gc.freeze()
                    database = database_path(wishes.config.store)
                    await serve(loops, wishes.turn, database, parts, last=wishes.last)
            tasks.cancel_scope.cancel()
    except* StoreLocked:
        pass  # It was told, and the next start does what could not be written.
    log.info("app.stopped")


async def once(config: Config, parts: Parts | None = None) -> bool:
    """
    One round: read, fire what is due, try each due delivery once.

    Whether the API was read and every due delivery was delivered.
    """
    async with built(config, parts or Parts()) as loops:
        was_read = await loops.poll.once()
        await loops.alarm.fire_due()
        was_told = await loops.deliver.once()
        await loops.operate.once()
        await loops.maintain.remember_clock()
        if loops.heartbeat is not None:
            await loops.heartbeat.once()
        return was_told and was_read


async def serve(
    loops: Loops,
    stop: anyio.Event,
    database: Path,
    parts: Parts,
    *,
    last: anyio.Event | None = None,
) -> None:
    """
    Run the loops until `stop`; then finish what is under way, within 20 s.

    With `last` that stop may be no more than a pause, until it is set: then nobody
    but those who have something under way waits for its end.
    """
    async with anyio.create_task_group() as out:
        out.start_soon(loops.deliver.run)
        async with anyio.create_task_group() as others:
            others.start_soon(loops.alarm.run)
            others.start_soon(loops.poll.polls)
            others.start_soon(loops.poll.sweeps)
            others.start_soon(loops.maintain.run)
            others.start_soon(loops.operate.run)
            if parts.serve_commands:
                answer = partial(_answer, loops, parts.clock)
                others.start_soon(control.serve, database, answer)
            if loops.heartbeat is not None:
                others.start_soon(loops.heartbeat.run)
            others.start_soon(parts.supervisor.feed, loops.pulse.stuck, parts.clock)
            parts.supervisor.ready(f"running; destinations: {len(loops.deliver.lanes)}")
            await stop.wait()
            if last is not None and not last.is_set():
                await unless(last, partial(loops.deliver.ease, _EASE_S))
            # First of all: what is claimed from now on would have to be cut.
            loops.deliver.close()
            out.cancel_scope.deadline = anyio.current_time() + _DRAIN_S
            others.cancel_scope.cancel()


@dataclass(kw_only=True)
class _Wishes:
    """What whoever sends signals wants of the service."""

    config: Config
    stop: bool = False
    #: The loops are to end: for good, or to begin again with another configuration.
    turn: anyio.Event = field(default_factory=anyio.Event)
    #: They are to end for good.
    last: anyio.Event = field(default_factory=anyio.Event)


async def _watch_signals(
    wishes: _Wishes,
    again: Callable[[], Config] | None,
    supervisor: Supervisor,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                await _reload(wishes, again)
                continue
            if wishes.stop:
                os._exit(128 + number)
            log.info("app.stopping", signal=signal.Signals(number).name)
            _end_without_fail()
            supervisor.stopping()
            wishes.stop = True
            wishes.last.set()
            wishes.turn.set()


def _end_without_fail() -> None:
    """A thread that hangs in a name look-up must not outlast the drain."""
    last = threading.Timer(_LAST_S, os._exit, [0])
    last.daemon = True
    last.start()


async def _reload(wishes: _Wishes, again: Callable[[], Config] | None) -> None:
    """Let a good new configuration take over; stay with the old one otherwise."""
    if again is None:
        return
    try:
        fresh = await anyio.to_thread.run_sync(again)
    except ConfigError as exc:
        log.error("config.rejected", problems=list(exc.problems))  # noqa: TRY400 - the problems say it all
        return
    if fresh.store != wishes.config.store:
        log.error("config.rejected", problems=["store: cannot change while running"])
        return
    log.info("config.reloaded", path=str(fresh.path))
    wishes.config = fresh
    wishes.turn.set()


async def _answer(
    loops: Loops, clock: Clock, question: Mapping[str, Json]
) -> Mapping[str, Json]:
    """What a command wants to know, or to have done."""
    match question:
        case {"ask": "health"}:
            return _health(loops.pulse)
        case {"ask": "resume", "destination": str(destination)}:
            async with loops.store.upkeep_turn() as turn:
                waiting = await turn.resume(destination, now=clock.now())
            loops.deliver.wake(destination)
            return {"waiting": waiting}
        case {"ask": "redrive", "ids": list(ids), "dry_run": bool(dry_run)}:
            only = question.get("destination")
            async with loops.store.upkeep_turn() as turn:
                rows = await turn.redrive(
                    ids=[str(one) for one in ids],
                    destination=None if only is None else str(only),
                    now=clock.now(),
                    dry_run=dry_run,
                )
            loops.deliver.bell.ring()
            return {"deliveries": rows}
        case {"ask": "silence", "match": dict(keys), "until": str(until)}:
            silence = made(
                keys,
                why=str(question.get("why", "")),
                created_at=clock.now(),
                until=datetime.fromisoformat(until),
            )
            return await _silence(loops, silence)
        case {"ask": "expire", "silence": str(beginning)}:
            return await _expire(loops, beginning, clock.now())
        case _:
            return {"error": "this service does not know that question"}


async def _silence(loops: Loops, silence: Silence) -> Mapping[str, Json]:
    async with loops.store.upkeep_turn() as turn:
        await turn.silence(silence)
    loops.deliver.bell.ring()
    log.info("silence.added", id=silence.id, match=phrase(spelt(silence)))
    return {"id": silence.id}


async def _expire(loops: Loops, beginning: str, now: datetime) -> Mapping[str, Json]:
    async with loops.store.upkeep_turn() as turn:
        silence = await turn.expire_silence(beginning, now=now)
    loops.deliver.bell.ring()
    log.info("silence.expired", id=silence.id)
    return {"id": silence.id}


def _health(pulse: Pulse) -> Mapping[str, Json]:
    ages = pulse.ages()
    stuck = pulse.stuck()
    return {
        "ok": not stuck,
        "stuck": stuck,
        "loops": {loop: round(age, 1) for loop, age in ages.items()},
        "pid": os.getpid(),
    }


# --- building -----------------------------------------------------------------


@asynccontextmanager
async def built(
    config: Config, parts: Parts, stopping: Callable[[], bool] = lambda: False
) -> AsyncIterator[Loops]:
    """Everything, connected; each resource registers its end where it begins."""
    async with AsyncExitStack() as ends:
        clock, pulse = parts.clock, Pulse(parts.clock, patience=config.source.timeout)
        alarm_bell, outbox_bell = Bell(), Bell()
        database = database_path(config.store)

        lock = InstanceLock(database)
        lock.take()
        ends.callback(lock.release)
        opening = partial(open_store, database, decode=milestone, stopping=stopping)
        store = await parts.offload(partial(opening, offload=parts.offload))
        ends.callback(store.close)

        time = TimePolicy(
            started_grace=config.source.started_grace,
            ended_grace=config.source.ended_grace,
            started_again_after=config.source.started_again_after,
            leads=leads(config.routes),
        )
        clock.take_up(await store.clock())
        parts.skew.hear(clock)
        await _settle_in(store, config, time, clock)

        source = (parts.source or _source)(config, clock)
        ends.push_async_callback(source.aclose)
        sender = await (parts.sender or partial(_sender, parts))(config)
        ends.push_async_callback(sender.aclose)

        heartbeat = _heartbeat(config, clock)
        if heartbeat is not None:
            ends.push_async_callback(heartbeat.aclose)

        yield Loops(
            poll=Poll(
                reader=Reader(
                    source=source,
                    store=store,
                    clock=clock,
                    pace=Pace(config.source.rate, clock, pulse=pulse),
                    decode=milestone,
                    fingerprint=fingerprint,
                    watches={watch.name: watch for watch in config.source.watch},
                    routes=config.routes,
                    rules=_diff_rules(config, time),
                    alarm=alarm_bell,
                    outbox=outbox_bell,
                    watcher=_watching(parts.watcher, heartbeat),
                    pulse=pulse,
                    skew=parts.skew,
                ),
                store=store,
                clock=clock,
                policy=_read_policy(config),
                chance=parts.chance,
                pulse=pulse,
            ),
            alarm=Alarm(
                store=store,
                clock=clock,
                routes=config.routes,
                policy=time,
                bell=alarm_bell,
                outbox=outbox_bell,
                pulse=pulse,
            ),
            deliver=Deliver(
                store=store,
                sender=sender,
                clock=clock,
                lanes={d.name: _lane(d, config, sender) for d in config.destinations},
                routes={route.name: route for route in config.routes},
                bell=outbox_bell,
                token=parts.token,
                chance=parts.chance,
                pulse=pulse,
                started_again_after=time.started_again_after,
            ),
            maintain=Maintain(
                store=store,
                clock=clock,
                keep_events=config.retention.events,
                keep_deliveries=config.retention.deliveries,
                outbox=outbox_bell,
                destinations=[one.name for one in config.destinations],
                unrepeated=_unrepeated(config.destinations),
                pulse=pulse,
                back_up=DailyBackups(database, offload=parts.offload).write,
            ),
            operate=Operate(
                store=store,
                source=source,
                sender=sender,
                clock=clock,
                posts={one.name: _post(one, sender) for one in config.destinations},
                policy=OperatorPolicy(
                    to=config.operator,
                    poll_every=config.source.poll_every,
                    full_read_every=config.source.full_read_every,
                ),
                skew=parts.skew,
                pulse=pulse,
            ),
            store=store,
            pulse=pulse,
            heartbeat=heartbeat,
        )


async def _settle_in(
    store: Store, config: Config, time: TimePolicy, clock: Clock
) -> None:
    """Make the store agree with the configuration, and free what a crash left."""
    now = clock.now()
    async with store.upkeep_turn() as turn:
        await turn.set_watches([watch.name for watch in config.source.watch])
    async with store.upkeep_turn() as turn:
        await turn.set_destinations(
            {one.name: _url_fingerprint(one) for one in config.destinations}, now
        )
    async with store.upkeep_turn() as turn:
        await turn.set_reminders(time, now)
    async with store.upkeep_turn() as turn:
        freed = await turn.reap(
            now, everything=True, unrepeated=_unrepeated(config.destinations)
        )
    async with store.upkeep_turn() as turn:
        await turn.look_again(now)
    log.info(
        "app.started",
        watches=len(config.source.watch),
        destinations=len(config.destinations),
        routes=len(config.routes),
        leases_freed=freed,
    )


def _unrepeated(destinations: Sequence[Destination]) -> frozenset[str]:
    """Where what may have arrived is not sent again."""
    return frozenset(one.name for one in destinations if one.drop_ambiguous)


def _url_fingerprint(destination: Destination) -> str:
    return hashlib.sha256(destination.url.encode()).hexdigest()


def _read_policy(config: Config) -> ReadPolicy:
    return ReadPolicy(
        poll_every=config.source.poll_every,
        sweep_every=config.source.sweep_every,
        full_read_every=config.source.full_read_every,
    )


def _diff_rules(config: Config, time: TimePolicy) -> DiffRules:
    source = config.source
    touched = source.updates is Updates.TIMESTAMP
    return DiffRules(
        diff=DiffPolicy(time=time, touched_is_updated=touched),
        look_back=source.look_back,
        started_grace=source.started_grace,
        ignore_tickers=source.ignore_tickers,
        announce_existing=source.announce_existing,
    )


def _lane(destination: Destination, config: Config, sender: OpenSender) -> Lane:
    return Lane(
        way=Way(
            name=destination.name,
            manners={
                route.name: _manner(destination, route) for route in config.routes
            },
            manner_else=_manner(destination, None),
            rate=destination.rate or sender.default_rate(destination.name),
            concurrency=destination.concurrency,
            drop_ambiguous=destination.drop_ambiguous,
        ),
        zone=destination.zone,
    )


def _post(destination: Destination, sender: OpenSender) -> Post:
    return Post(
        zone=destination.zone,
        rate=destination.rate or sender.default_rate(destination.name),
        drop_ambiguous=destination.drop_ambiguous,
    )


def _manner(destination: Destination, route: Route | None) -> Manner:
    """How a route's events go to a destination: as the route says, if it does."""
    digest, quiet = destination.digest, destination.quiet
    if route is not None:
        digest, quiet = route.digest or digest, route.quiet or quiet
    return Manner(
        over=digest.over,
        zone=destination.zone,
        window=digest.window,
        at=digest.at,
        quiet=quiet,
    )


def _source(config: Config, clock: Clock) -> OpenSource:
    return KalshiClient(
        base_url=config.source.base_url,
        timeout=config.source.timeout,
        clock=clock,
        user_agent=_USER_AGENT,
        auth=_signing(config.source.api_key, clock),
    )


def _signing(key: ApiKey | None, clock: Clock) -> Signing | None:
    if key is None:
        return None
    return Signing(key_id=key.id, private_key=key.private_key, clock=clock)


def _heartbeat(config: Config, clock: Clock) -> Heartbeat | None:
    if config.heartbeat_url is None:
        return None
    return Heartbeat(
        config.heartbeat_url,
        clock=clock,
        user_agent=_USER_AGENT,
        may_reach=config.may_reach,
    )


def _watching(watcher: Watcher, heartbeat: Heartbeat | None) -> Watcher:
    """Tell a read's watcher, and let each complete read be a sign of life."""
    if heartbeat is None:
        return watcher

    def both(kind: ReadKind, progress: Progress, end: ReadEnd | None) -> None:
        watcher(kind, progress, end)
        if end is not None:
            heartbeat.beat()

    return both


async def _sender(parts: Parts, config: Config) -> OpenSender:
    return await open_sender(
        config.destinations,
        offload=in_thread,
        output=parts.output,
        clock=parts.clock,
        may_reach=config.may_reach,
    )
