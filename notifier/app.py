"""
The composition root: builds everything, runs the workers, reloads, and shuts down.

Only this module constructs what talks to the outside. A worker gets the values that it
needs, not the whole configuration.
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

from notifier import __version__
from notifier.clock import Clock, SystemClock
from notifier.concurrency import WakeupEvent, run_until
from notifier.domain.batching import destination_policy
from notifier.domain.incidents import OperatorPolicy
from notifier.domain.models import Limits
from notifier.domain.poll_schedule import Progress, ReadEnd, ReadKind
from notifier.domain.routing import leads
from notifier.domain.rules import Rate
from notifier.domain.timers import TimePolicy
from notifier.errors import ConfigError, StoreLocked
from notifier.kalshi.client import KalshiClient
from notifier.kalshi.signing import Signing
from notifier.metrics import Metrics
from notifier.senders.heartbeat import Heartbeat
from notifier.senders.sender import open_sender
from notifier.settings.models import Settings
from notifier.storage import destination_state, milestones, outbox, retention
from notifier.storage.backups import DailyBackups
from notifier.storage.database import Database, Priority, RunInThread, open_database
from notifier.storage.sqlite import InstanceLock, database_path
from notifier.systemd import SystemdNotifier
from notifier.web.listen import Address, ListenSocket, PortTaken
from notifier.workers import admin_socket
from notifier.workers.admin_actions import Deeds, answer, trial
from notifier.workers.dispatcher import DestinationWorker, Dispatcher, Sender
from notifier.workers.ingest import Ingest, Watcher
from notifier.workers.live_status import LiveStatusPoller
from notifier.workers.maintenance import Maintenance
from notifier.workers.monitor import Operate, Post
from notifier.workers.poller import Poller
from notifier.workers.rate_limiter import RateLimiter
from notifier.workers.readiness import Readiness
from notifier.workers.scheduler import Scheduler
from notifier.workers.watchdog import Watchdog

if TYPE_CHECKING:
    from notifier.web.server import WebService

log = structlog.get_logger()

#: At a shutdown, attempts under way are cut after this.
_SHUTDOWN_S = 20.0
#: Before a reload every attempt may come to its end.
_DRAIN_S = 32.0
#: After this the process ends, whatever still hangs: everything is committed.
_EXIT_S = 26.0
_USER_AGENT = f"milestone-notifier/{__version__}"


class OpenSender(Sender, Protocol):
    """Sends messages, until it is closed."""

    def default_rate(self, destination: str) -> Rate | None: ...
    def limits(self, destination: str) -> Limits: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Dependencies:
    """What tests replace, and what a reload keeps."""

    clock: Clock = field(default_factory=SystemClock)
    run_in_thread: RunInThread = anyio.to_thread.run_sync
    source: Callable[[Settings, Clock], KalshiClient] | None = None
    sender: Callable[[Settings], Awaitable[OpenSender]] | None = None
    #: Uniform in [0, 1).
    random: Callable[[], float] = random.random
    new_token: Callable[[], str] = secrets.token_hex
    watcher: Watcher = lambda _kind, _progress, _end: None
    #: Where the destination `terminal` writes.
    output: TextIO = field(default_factory=lambda: sys.stdout)
    systemd: SystemdNotifier = field(default_factory=SystemdNotifier)
    #: Whether commands and the web are served; a simulation has neither.
    serve_commands: bool = True
    serve_web: bool = True
    #: The socket of the web; a reload keeps it.
    listen: ListenSocket = field(default_factory=ListenSocket)
    #: A reload keeps the counters.
    metrics: Metrics = field(default_factory=Metrics)

    def address(self, settings: Settings) -> Address | None:
        """Where the web listens; None: there is no web."""
        if settings.web is None or not self.serve_web:
            return None
        host, port = settings.web.address
        return Address(host=host, port=port, is_asked_for=settings.web.listen is not None)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything that runs, built and connected."""

    db: Database
    poller: Poller
    scheduler: Scheduler
    dispatcher: Dispatcher
    maintenance: Maintenance
    monitor: Operate
    #: None: no watch has `live: true`.
    live_status: LiveStatusPoller | None
    admin: Deeds
    readiness: Readiness
    watchdog: Watchdog
    heartbeat: Heartbeat | None
    #: Imports and builds the web.
    build_web: Callable[[], "WebService"]
    external_url: str | None


# --- running ------------------------------------------------------------------


@dataclass(kw_only=True)
class ReloadState:
    """What the signals received so far ask for."""

    settings: Settings
    is_stopping: bool = False
    #: Set when the workers end, to stop or to start again with other settings.
    restart: anyio.Event = field(default_factory=anyio.Event)
    #: Set when the service stops.
    stop: anyio.Event = field(default_factory=anyio.Event)


async def run(
    settings: Settings,
    dependencies: Dependencies | None = None,
    *,
    load: Callable[[], Settings] | None = None,
) -> None:
    """
    Run the service until SIGTERM or SIGINT.

    On SIGHUP `load` reads the configuration again; it may block. A valid one takes over
    when the attempts under way have ended; the problems of an invalid one are logged.

    Raises:
        NotifierError: the service cannot go on; what was committed is safe.
    """
    dependencies = dependencies or Dependencies()
    state = ReloadState(settings=settings)
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch_signals, state, load, dependencies)
            while not state.is_stopping:
                state.restart = anyio.Event()
                async with build_services(
                    state.settings, dependencies, lambda: state.is_stopping
                ) as services:
                    dependencies.listen.move(dependencies.address(state.settings))
                    # Collecting what is loaded again and again would delay starts.
                    gc.collect()
                    gc.freeze()
                    database = database_path(state.settings.store)
                    await serve(services, state.restart, database, dependencies, last=state.stop)
            tasks.cancel_scope.cancel()
    except* StoreLocked:
        pass  # It was logged, and the next start writes what could not be written.
    log.info("app.stopped")


async def once(settings: Settings, dependencies: Dependencies | None = None) -> bool:
    """
    One round: read, fire due timers, attempt each due delivery once.

    Whether the API was read and every due delivery was delivered.
    """
    async with build_services(settings, dependencies or Dependencies()) as services:
        was_read = await services.poller.once()
        if services.live_status is not None:
            await services.live_status.once()
        await services.scheduler.fire_due()
        was_delivered = await services.dispatcher.once()
        await services.monitor.once()
        if services.heartbeat is not None:
            await services.heartbeat.once()
        return was_delivered and was_read


async def serve(
    services: Services,
    stop: anyio.Event,
    database: Path,
    dependencies: Dependencies,
    *,
    last: anyio.Event | None = None,
) -> None:
    """
    Run the workers until `stop`, then end the attempts under way, within 20 s.

    With `last`, which is set when the service stops, `stop` may also mean a reload: then
    slow attempts are waited for while the other destinations go on.
    """
    async with anyio.create_task_group() as dispatching:
        dispatching.start_soon(services.dispatcher.run)
        async with anyio.create_task_group() as others:
            others.start_soon(services.scheduler.run)
            others.start_soon(services.poller.polls)
            others.start_soon(services.poller.sweeps)
            others.start_soon(services.maintenance.run)
            others.start_soon(services.monitor.run)
            if services.live_status is not None:
                others.start_soon(services.live_status.run)
            if dependencies.serve_commands:
                url = partial(_dashboard_url, dependencies.listen, services.external_url)
                answer_command = partial(answer, services.admin, services.watchdog, where=url)
                others.start_soon(admin_socket.serve, database, answer_command)
            others.start_soon(_run_web, dependencies.listen, services.build_web)
            if services.heartbeat is not None:
                others.start_soon(services.heartbeat.run)
            systemd = dependencies.systemd
            others.start_soon(systemd.feed_watchdog, services.watchdog.stalled, dependencies.clock)
            systemd.ready(f"running; destinations: {len(services.dispatcher.workers)}")
            await stop.wait()
            if last is not None and not last.is_set():
                await run_until(last, partial(services.dispatcher.drain, _DRAIN_S))
            # During a reload the service stays ready.
            services.readiness.is_stopping = last is None or last.is_set()
            # First of all, because what is claimed from now on would have to be cut.
            services.dispatcher.close()
            dispatching.cancel_scope.deadline = anyio.current_time() + _SHUTDOWN_S
            others.cancel_scope.cancel()


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


# --- signals ------------------------------------------------------------------


async def _watch_signals(
    state: ReloadState,
    load: Callable[[], Settings] | None,
    dependencies: Dependencies,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async for number in signals:
            if number == signal.SIGHUP:
                if load is not None:
                    await reload_config(state, load, dependencies)
                continue
            if state.is_stopping:
                os._exit(128 + number)
            log.info("app.stopping", signal=signal.Signals(number).name)
            # A thread that hangs in a name look-up must not outlast the shutdown.
            exit_timer = threading.Timer(_EXIT_S, os._exit, [0])
            exit_timer.daemon = True
            exit_timer.start()
            dependencies.systemd.stopping()
            dependencies.listen.close()
            state.is_stopping = True
            state.stop.set()
            state.restart.set()


async def reload_config(
    state: ReloadState, load: Callable[[], Settings], dependencies: Dependencies
) -> None:
    """Let a valid new configuration take over; keep the old one otherwise."""
    settings, problems = await _load_valid(state, load, dependencies)
    if settings is None:
        dependencies.metrics.reload_rejected()
        log.error("config.rejected", problems=list(problems))
        return
    log.info("config.reloaded", path=str(settings.path))
    state.settings = settings
    state.restart.set()


async def _load_valid(
    state: ReloadState, load: Callable[[], Settings], dependencies: Dependencies
) -> tuple[Settings | None, Sequence[str]]:
    """The new settings, whose web has a port already; or what is wrong with them."""
    try:
        settings = await anyio.to_thread.run_sync(load)
        if settings.store != state.settings.store:
            return None, ["store: cannot change while running"]
        dependencies.listen.move(dependencies.address(settings))
    except ConfigError as exc:
        return None, exc.problems
    except PortTaken as exc:
        return None, [str(exc)]
    return settings, ()


# --- building -----------------------------------------------------------------


@asynccontextmanager
async def build_services(
    settings: Settings, dependencies: Dependencies, stopping: Callable[[], bool] = lambda: False
) -> AsyncIterator[Services]:
    """Build and connect everything; close all of it at the end, in reverse order."""
    clock, run_in_thread = dependencies.clock, dependencies.run_in_thread
    metrics = dependencies.metrics
    reads, destinations, routes = settings.source, settings.destinations, settings.routes
    watchdog = Watchdog(clock, timeout=reads.timeout)
    scheduler_wakeup, dispatcher_wakeup = WakeupEvent(), WakeupEvent()
    time = reads.time_policy(leads(routes))
    async with AsyncExitStack() as exits:
        database = database_path(settings.store)
        lock = InstanceLock(database)
        lock.take()
        exits.callback(lock.release)
        opening = partial(open_database, database, stopping=stopping, run_in_thread=run_in_thread)
        db = await run_in_thread(opening)
        exits.callback(db.close)
        metrics.started(__version__, [one.name for one in destinations], clock.now())
        released = await _prepare_database(db, settings, time, clock)
        for name, attempts in released.items():
            metrics.count_cut_off(name, attempts)

        source = (dependencies.source or _source)(settings, clock)
        exits.push_async_callback(source.aclose)
        if dependencies.sender is not None:
            sender = await dependencies.sender(settings)
        else:
            sender = await open_sender(
                destinations,
                output=dependencies.output,
                clock=clock,
                may_reach=settings.may_reach,
            )
        exits.push_async_callback(sender.aclose)
        rates = {one.name: one.rate or sender.default_rate(one.name) for one in destinations}

        heartbeat = None
        if settings.heartbeat_url is not None:
            heartbeat = Heartbeat(
                settings.heartbeat_url,
                clock=clock,
                user_agent=_USER_AGENT,
                may_reach=settings.may_reach,
            )
            exits.push_async_callback(heartbeat.aclose)

        def watch(kind: ReadKind, progress: Progress, end: ReadEnd | None) -> None:
            dependencies.watcher(kind, progress, end)
            if end is not None and heartbeat is not None:
                heartbeat.beat()

        dispatcher = Dispatcher(
            db=db,
            sender=sender,
            clock=clock,
            workers={
                one.name: DestinationWorker(
                    policy=destination_policy(one, routes, rates[one.name]), zone=one.zone
                )
                for one in destinations
            },
            routes={route.name: route for route in routes},
            wakeup=dispatcher_wakeup,
            new_token=dependencies.new_token,
            random=dependencies.random,
            heartbeat=watchdog.heartbeat,
            metrics=metrics,
            started_again_after=time.started_again_after,
            external_url=settings.external_url,
        )
        rate_limiter = RateLimiter(reads.rate, clock, heartbeat=watchdog.heartbeat)
        ingest = Ingest(
            source=source,
            db=db,
            clock=clock,
            rate_limiter=rate_limiter,
            routes=routes,
            settings=reads,
            time=time,
            scheduler_wakeup=scheduler_wakeup,
            dispatcher_wakeup=dispatcher_wakeup,
            watcher=watch,
            heartbeat=watchdog.heartbeat,
            metrics=metrics,
        )
        poller = Poller(
            ingest=ingest,
            db=db,
            clock=clock,
            policy=reads.read_policy,
            random=dependencies.random,
            heartbeat=watchdog.heartbeat,
        )
        scheduler = Scheduler(
            db=db,
            clock=clock,
            routes=routes,
            policy=time,
            wakeup=scheduler_wakeup,
            dispatcher_wakeup=dispatcher_wakeup,
            heartbeat=watchdog.heartbeat,
            metrics=metrics,
        )
        maintenance = Maintenance(
            db=db,
            clock=clock,
            retention=settings.retention,
            dispatcher_wakeup=dispatcher_wakeup,
            destinations=[one.name for one in destinations],
            unrepeated=_unrepeated(settings),
            heartbeat=watchdog.heartbeat,
            metrics=metrics,
            back_up=DailyBackups(database, run_in_thread=run_in_thread).write,
        )
        monitor = Operate(
            db=db,
            source=source,
            sender=sender,
            clock=clock,
            posts={
                one.name: Post(
                    zone=one.zone, rate=rates[one.name], drop_ambiguous=one.drop_ambiguous
                )
                for one in destinations
            },
            policy=OperatorPolicy(
                to=settings.operator.to,
                poll_every=reads.poll_every,
                full_read_every=reads.full_read_every,
            ),
            heartbeat=watchdog.heartbeat,
        )
        live_status = None
        if live := [watch.name for watch in reads.watches if watch.live]:
            live_status = LiveStatusPoller(
                source=source,
                db=db,
                clock=clock,
                rate_limiter=rate_limiter,
                watches=live,
                heartbeat=watchdog.heartbeat,
            )
        readiness = Readiness(db=db, skew=clock.skew, stalled=watchdog.stalled)
        admin = Deeds(
            db=db,
            clock=clock,
            wake=dispatcher.wake,
            look=dispatcher_wakeup.set,
            trial=trial(destinations, routes, sender, clock, settings.external_url),
        )

        def build_web() -> "WebService":
            from notifier.web.server import WebService  # noqa: PLC0415 - see its docstring

            return WebService(
                config=settings,
                db=db,
                sender=sender,
                deeds=admin,
                readiness=readiness,
                clock=clock,
                metrics=metrics,
                new_token=dependencies.new_token,
                run_in_thread=run_in_thread,
            )

        yield Services(
            db=db,
            poller=poller,
            scheduler=scheduler,
            dispatcher=dispatcher,
            maintenance=maintenance,
            monitor=monitor,
            live_status=live_status,
            admin=admin,
            readiness=readiness,
            watchdog=watchdog,
            heartbeat=heartbeat,
            build_web=build_web,
            external_url=settings.external_url,
        )


async def _prepare_database(
    db: Database, settings: Settings, time: TimePolicy, clock: Clock
) -> Counter[str]:
    """
    Make the database agree with the configuration, and release the leases of a crash.

    By destination: how many attempts the crash had cut off.
    """
    maintain, now = Priority.MAINTENANCE, clock.now()
    names = [watch.name for watch in settings.source.watches]
    await db.write(maintain, milestones.set_watches, names)
    # A changed URL ends a suspension; the URL itself is not stored.
    fingerprints = {
        one.name: hashlib.sha256(one.url.encode()).hexdigest() for one in settings.destinations
    }
    await db.write(maintain, destination_state.set_destinations, fingerprints, now)
    await db.write(maintain, retention.set_reminders, time, now)
    released = await db.write(
        maintain,
        outbox.release_expired_leases,
        now,
        everything=True,
        drop_ambiguous=_unrepeated(settings),
    )
    await db.write(maintain, outbox.requeue_deferred, now)
    log.info(
        "app.started",
        watches=len(names),
        destinations=len(settings.destinations),
        routes=len(settings.routes),
        leases_freed=released.total(),
    )
    return released


def _unrepeated(settings: Settings) -> frozenset[str]:
    """Destinations where a message that may have arrived is not sent again."""
    return frozenset(one.name for one in settings.destinations if one.drop_ambiguous)


def _source(settings: Settings, clock: Clock) -> KalshiClient:
    key = settings.source.api_key
    auth = None
    if key is not None:
        auth = Signing(key_id=key.id, private_key=key.private_key, clock=clock)
    return KalshiClient(
        base_url=settings.source.base_url,
        timeout=settings.source.timeout,
        clock=clock,
        user_agent=_USER_AGENT,
        auth=auth,
    )
