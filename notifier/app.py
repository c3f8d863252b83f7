"""
THE composition root: builds everything, runs the loops in one task group, and takes
it all down again in reverse.

Nobody else calls a constructor of an edge, and nothing below sees the `Settings`.
"""

import gc
import hashlib
import os
import random
import secrets
import signal
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

import anyio
import structlog
from anyio.abc import TaskStatus

from notifier import __version__, policies
from notifier.clock import Clock, SystemClock
from notifier.concurrency import WakeupEvent, run_until
from notifier.domain.commit import Progress, ReadEnd, ReadKind
from notifier.domain.incidents import OperatorPolicy
from notifier.domain.models import Limits
from notifier.domain.routing import leads
from notifier.domain.rules import Destination, Rate
from notifier.domain.timers import TimePolicy
from notifier.errors import ConfigError, StoreLocked
from notifier.kalshi.client import KalshiClient
from notifier.kalshi.decoding import fingerprint, milestone
from notifier.kalshi.signing import Signing
from notifier.metrics import Metrics
from notifier.senders.heartbeat import Heartbeat
from notifier.senders.sender import open_sender
from notifier.settings.models import ApiKeySettings, Settings
from notifier.storage import destination_state, milestones, outbox, retention
from notifier.storage.backups import DailyBackups
from notifier.storage.database import Database, Priority, RunInThread, open_database
from notifier.storage.sqlite import InstanceLock, database_path
from notifier.systemd import SystemdNotifier
from notifier.web.listen import Address, ListenSocket, PortTaken
from notifier.workers import admin_socket
from notifier.workers.admin_actions import Deeds, answer
from notifier.workers.dispatcher import Dispatcher, Sender
from notifier.workers.ingest import Ingest, Source
from notifier.workers.live_status import LiveStatusPoller
from notifier.workers.live_status import Source as LiveSource
from notifier.workers.maintenance import Maintenance
from notifier.workers.monitor import Exchange, Operate
from notifier.workers.poller import Poller
from notifier.workers.rate_limiter import RateLimiter
from notifier.workers.readiness import Readiness
from notifier.workers.scheduler import Scheduler
from notifier.workers.watchdog import Watchdog

if TYPE_CHECKING:
    from notifier.web.server import WebService

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


class OpenSource(Source, Exchange, LiveSource, Protocol):
    """The API, until it is closed."""

    async def aclose(self) -> None: ...


class OpenSender(Sender, Protocol):
    """The far ends, until they are closed."""

    def default_rate(self, destination: str) -> Rate | None: ...
    def limits(self, destination: str) -> Limits: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What a simulation replaces."""

    clock: Clock = field(default_factory=SystemClock)
    #: Runs the store's statements.
    run_in_thread: RunInThread = anyio.to_thread.run_sync
    source: Callable[[Settings, Clock], OpenSource] | None = None
    sender: Callable[[Settings], Awaitable[OpenSender]] | None = None
    chance: Callable[[], float] = random.random
    token: Callable[[], str] = secrets.token_hex
    watcher: Watcher = lambda _kind, _progress, _end: None
    output: TextIO = field(default_factory=lambda: sys.stdout)
    #: Who started the service, and how it is told of its state.
    systemd: SystemdNotifier = field(default_factory=SystemdNotifier)
    #: The socket for commands; a simulation has none.
    serve_commands: bool = True
    #: Whether there is a web; a simulation has none.
    serve_web: bool = True
    #: The socket of the web, kept over a reload.
    listen: ListenSocket = field(default_factory=ListenSocket)
    #: What metrics have counted: a reload must not begin anew.
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that runs, built and connected."""

    poll: Poller
    alarm: Scheduler
    deliver: Dispatcher
    maintain: Maintenance
    operate: Operate
    #: None: no watch wants live data.
    live: LiveStatusPoller | None
    db: Database
    #: What people have done by commands and the web.
    deeds: Deeds
    readiness: Readiness
    #: Imports and builds the web.
    build_web: Callable[[], "WebService"]
    external_url: str | None
    watchdog: Watchdog
    heartbeat: Heartbeat | None


async def run(
    config: Settings,
    parts: Dependencies | None = None,
    *,
    again: Callable[[], Settings] | None = None,
) -> None:
    """
    Be the service until SIGTERM or SIGINT.

    On SIGHUP `again` reads the configuration anew; it may block. A good one takes
    over once what is under way is finished, a bad one is told in the log.

    Raises:
        NotifierError: it cannot go on; what was committed is safe.
    """
    parts = parts or Dependencies()
    wishes = ReloadState(config=config)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch_signals, wishes, again, parts)
            while not wishes.stop:
                wishes.turn = anyio.Event()
                async with build_services(wishes.config, parts, lambda: wishes.stop) as loops:
                    parts.listen.move(_address(wishes.config, parts))
                    # What is loaded stays: looking through it again delays starts.
                    gc.collect()
                    gc.freeze()
                    database = database_path(wishes.config.store)
                    await serve(loops, wishes.turn, database, parts, last=wishes.last)
            tasks.cancel_scope.cancel()
    except* StoreLocked:
        pass  # It was told, and the next start does what could not be written.
    log.info("app.stopped")


async def once(config: Settings, parts: Dependencies | None = None) -> bool:
    """
    One round: read, fire what is due, try each due delivery once.

    Whether the API was read and every due delivery was delivered.
    """
    async with build_services(config, parts or Dependencies()) as loops:
        was_read = await loops.poll.once()
        if loops.live is not None:
            await loops.live.once()
        await loops.alarm.fire_due()
        was_told = await loops.deliver.once()
        await loops.operate.once()
        if loops.heartbeat is not None:
            await loops.heartbeat.once()
        return was_told and was_read


async def serve(
    loops: Services,
    stop: anyio.Event,
    database: Path,
    parts: Dependencies,
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
            if loops.live is not None:
                others.start_soon(loops.live.run)
            if parts.serve_commands:
                where = partial(_dashboard_url, parts.listen, loops.external_url)
                answered = partial(answer, loops.deeds, loops.watchdog, where=where)
                others.start_soon(admin_socket.serve, database, answered)
            others.start_soon(_run_web, parts.listen, loops.build_web)
            if loops.heartbeat is not None:
                others.start_soon(loops.heartbeat.run)
            others.start_soon(parts.systemd.feed_watchdog, loops.watchdog.stalled, parts.clock)
            parts.systemd.ready(f"running; destinations: {len(loops.deliver.workers)}")
            await stop.wait()
            if last is not None and not last.is_set():
                await run_until(last, partial(loops.deliver.drain, _EASE_S))
            # Before another configuration takes over it is as ready as ever.
            loops.readiness.is_stopping = last is None or last.is_set()
            # First of all: what is claimed from now on would have to be cut.
            loops.deliver.close()
            out.cancel_scope.deadline = anyio.current_time() + _DRAIN_S
            others.cancel_scope.cancel()


@dataclass(kw_only=True)
class ReloadState:
    """What whoever sends signals wants of the service."""

    config: Settings
    stop: bool = False
    #: The loops are to end: for good, or to begin again with another configuration.
    turn: anyio.Event = field(default_factory=anyio.Event)
    #: They are to end for good.
    last: anyio.Event = field(default_factory=anyio.Event)


async def _watch_signals(
    wishes: ReloadState,
    again: Callable[[], Settings] | None,
    parts: Dependencies,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                await _reload(wishes, again, parts)
                continue
            if wishes.stop:
                os._exit(128 + number)
            log.info("app.stopping", signal=signal.Signals(number).name)
            _end_without_fail()
            parts.systemd.stopping()
            parts.listen.close()
            wishes.stop = True
            wishes.last.set()
            wishes.turn.set()


def _end_without_fail() -> None:
    """A thread that hangs in a name look-up must not outlast the drain."""
    last = threading.Timer(_LAST_S, os._exit, [0])
    last.daemon = True
    last.start()


async def _reload(
    wishes: ReloadState, again: Callable[[], Settings] | None, parts: Dependencies
) -> None:
    """Let a good new configuration take over; stay with the old one otherwise."""
    if again is None:
        return
    try:
        fresh = await anyio.to_thread.run_sync(again)
    except ConfigError as exc:
        _reject(parts, exc.problems)
        return
    if fresh.store != wishes.config.store:
        _reject(parts, ["store: cannot change while running"])
        return
    try:
        parts.listen.move(_address(fresh, parts))
    except PortTaken as exc:
        _reject(parts, [str(exc)])
        return
    log.info("config.reloaded", path=str(fresh.path))
    wishes.config = fresh
    wishes.turn.set()


def _reject(parts: Dependencies, problems: Sequence[str]) -> None:
    """Say what is wrong with the new configuration; metrics know of it."""
    parts.metrics.reload_rejected()
    log.error("config.rejected", problems=list(problems))


# --- building -----------------------------------------------------------------


@asynccontextmanager
async def build_services(
    config: Settings, parts: Dependencies, stopping: Callable[[], bool] = lambda: False
) -> AsyncIterator[Services]:
    """Everything, connected; each resource registers its end where it begins."""
    async with AsyncExitStack() as ends:
        clock, watchdog = parts.clock, Watchdog(parts.clock, timeout=config.source.timeout)
        scheduler_wakeup, dispatcher_wakeup = WakeupEvent(), WakeupEvent()
        database = database_path(config.store)

        lock = InstanceLock(database)
        lock.take()
        ends.callback(lock.release)
        opening = partial(open_database, database, stopping=stopping)
        db = await parts.run_in_thread(partial(opening, run_in_thread=parts.run_in_thread))
        ends.callback(db.close)

        time = TimePolicy(
            started_grace=config.source.started_grace,
            ended_grace=config.source.ended_grace,
            started_again_after=config.source.started_again_after,
            leads=leads(config.routes),
        )
        destinations = [one.name for one in config.destinations]
        parts.metrics.started(__version__, destinations, clock.now())
        for name, attempts in (await _settle_in(db, config, time, clock)).items():
            parts.metrics.count_cut_off(name, attempts)

        source = (parts.source or _source)(config, clock)
        ends.push_async_callback(source.aclose)
        sender = await (parts.sender or partial(_sender, parts))(config)
        ends.push_async_callback(sender.aclose)

        heartbeat = _heartbeat(config, clock)
        if heartbeat is not None:
            ends.push_async_callback(heartbeat.aclose)

        deliver = Dispatcher(
            db=db,
            sender=sender,
            clock=clock,
            workers={d.name: policies.worker(d, config, sender) for d in config.destinations},
            routes={route.name: route for route in config.routes},
            wakeup=dispatcher_wakeup,
            new_token=parts.token,
            random=parts.chance,
            heartbeat=watchdog.heartbeat,
            metrics=parts.metrics,
            started_again_after=time.started_again_after,
            external_url=config.external_url,
        )
        rate_limiter = RateLimiter(config.source.rate, clock, heartbeat=watchdog.heartbeat)
        live = LiveStatusPoller(
            source=source,
            db=db,
            clock=clock,
            rate_limiter=rate_limiter,
            watches=[watch.name for watch in config.source.watch if watch.live],
            heartbeat=watchdog.heartbeat,
        )
        readiness = Readiness(db=db, skew=clock.skew, stalled=watchdog.stalled)
        deeds = Deeds(
            db=db,
            clock=clock,
            wake=deliver.wake,
            look=dispatcher_wakeup.set,
            trial=policies.trial(config, sender, clock),
        )

        def build_web() -> "WebService":
            from notifier.web.server import WebService  # noqa: PLC0415 - see its docstring

            return WebService(
                config=config,
                db=db,
                sender=sender,
                deeds=deeds,
                readiness=readiness,
                clock=clock,
                metrics=parts.metrics,
                new_token=parts.token,
                run_in_thread=parts.run_in_thread,
            )

        yield Services(
            poll=Poller(
                reader=Ingest(
                    source=source,
                    db=db,
                    clock=clock,
                    rate_limiter=rate_limiter,
                    decode=milestone,
                    fingerprint=fingerprint,
                    watches={watch.name: watch for watch in config.source.watches},
                    routes=config.routes,
                    rules=policies.diff_rules(config, time),
                    scheduler_wakeup=scheduler_wakeup,
                    dispatcher_wakeup=dispatcher_wakeup,
                    watcher=_watching(parts.watcher, heartbeat),
                    heartbeat=watchdog.heartbeat,
                    metrics=parts.metrics,
                ),
                db=db,
                clock=clock,
                policy=policies.read_policy(config),
                chance=parts.chance,
                heartbeat=watchdog.heartbeat,
            ),
            alarm=Scheduler(
                db=db,
                clock=clock,
                routes=config.routes,
                policy=time,
                wakeup=scheduler_wakeup,
                dispatcher_wakeup=dispatcher_wakeup,
                heartbeat=watchdog.heartbeat,
                metrics=parts.metrics,
            ),
            deliver=deliver,
            maintain=Maintenance(
                db=db,
                clock=clock,
                keep_events=config.retention.events,
                keep_deliveries=config.retention.deliveries,
                dispatcher_wakeup=dispatcher_wakeup,
                destinations=[one.name for one in config.destinations],
                unrepeated=policies.unrepeated(config.destinations),
                heartbeat=watchdog.heartbeat,
                metrics=parts.metrics,
                back_up=DailyBackups(database, run_in_thread=parts.run_in_thread).write,
            ),
            operate=Operate(
                db=db,
                source=source,
                sender=sender,
                clock=clock,
                posts={one.name: policies.post(one, sender) for one in config.destinations},
                policy=OperatorPolicy(
                    to=config.operator.to,
                    poll_every=config.source.poll_every,
                    full_read_every=config.source.full_read_every,
                ),
                heartbeat=watchdog.heartbeat,
            ),
            live=live if live.watches else None,
            db=db,
            watchdog=watchdog,
            heartbeat=heartbeat,
            deeds=deeds,
            readiness=readiness,
            external_url=config.external_url,
            build_web=build_web,
        )


def _address(config: Settings, parts: Dependencies) -> Address | None:
    return policies.address(config) if parts.serve_web else None


async def _run_web(listen: ListenSocket, build_web: Callable[[], "WebService"]) -> None:
    """Import and run the web where it listens; if it fails, messages are still sent."""
    if listen.address is None:
        return
    try:
        await anyio.to_thread.run_sync(import_module, "notifier.web.server")
        await build_web().run(listen)
    except Exception as exc:
        log.exception("web.broken", reason=type(exc).__name__)
        listen.close()


def _dashboard_url(listen: ListenSocket, external_url: str | None) -> str | None:
    """The URL of the dashboard for people; None if there is no dashboard."""
    if listen.address is None:
        return None
    return listen.address.url if external_url is None else f"{external_url.rstrip('/')}/"


async def _settle_in(
    db: Database, config: Settings, time: TimePolicy, clock: Clock
) -> Counter[str]:
    """Make the store agree with the configuration, and free what a crash left."""
    now = clock.now()
    await db.write(
        Priority.MAINTENANCE,
        milestones.set_watches,
        [watch.name for watch in config.source.watches],
    )
    await db.write(
        Priority.MAINTENANCE,
        destination_state.set_destinations,
        {one.name: _url_fingerprint(one) for one in config.destinations},
        now,
    )
    await db.write(Priority.MAINTENANCE, retention.set_reminders, time, now)
    freed = await db.write(
        Priority.MAINTENANCE,
        outbox.release_expired_leases,
        now,
        everything=True,
        drop_ambiguous=policies.unrepeated(config.destinations),
    )
    await db.write(Priority.MAINTENANCE, outbox.requeue_deferred, now)
    log.info(
        "app.started",
        watches=len(config.source.watches),
        destinations=len(config.destinations),
        routes=len(config.routes),
        leases_freed=freed.total(),
    )
    return freed


def _url_fingerprint(destination: Destination) -> str:
    return hashlib.sha256(destination.url.encode()).hexdigest()


def _source(config: Settings, clock: Clock) -> OpenSource:
    return KalshiClient(
        base_url=config.source.base_url,
        timeout=config.source.timeout,
        clock=clock,
        user_agent=_USER_AGENT,
        auth=_signing(config.source.api_key, clock),
    )


def _signing(key: ApiKeySettings | None, clock: Clock) -> Signing | None:
    if key is None:
        return None
    return Signing(key_id=key.id, private_key=key.private_key, clock=clock)


def _heartbeat(config: Settings, clock: Clock) -> Heartbeat | None:
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


async def _sender(parts: Dependencies, config: Settings) -> OpenSender:
    return await open_sender(
        config.destinations,
        output=parts.output,
        clock=parts.clock,
        may_reach=config.may_reach,
    )
