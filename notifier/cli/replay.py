"""`notifier replay`: what routes would have sent, without sending anything."""

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from notifier import settings
from notifier.cli.exit_codes import DONE
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.replay_report import ReplayReport, print_report
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.domain.batching import destination_policy
from notifier.domain.models import URGENT, Delivery, Event
from notifier.domain.preview import MessageCounter, owed
from notifier.domain.routing import leads
from notifier.domain.timers import TimePolicy
from notifier.settings.models import Settings
from notifier.storage import preview
from notifier.workers.ingest import MAX_HOLD

#: Events that are compared with past deliveries at a time.
_BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReplayedEvent:
    event: Event
    #: A reminder that no route had: it is not stored.
    is_missing: bool
    due_at: datetime
    owed: tuple[Delivery, ...]


def replay(options: Options, *, since: datetime, routes: Path | None, as_json: bool) -> int:
    """
    Print what routes would have sent: those of a file, or the present ones.

    Raises:
        ConfigError: with every problem in the file.

    """
    here = Path.cwd()
    path = settings.find(options.config, os.environ, cwd=here)
    config = settings.load(path, os.environ, cwd=here, required_secrets=False, routes=routes)
    now = SystemClock().now()
    with viewing(options) as conn:
        events = _replayed(conn, config, since, now)
        if as_json:
            write_rows(_row(delivery, one) for one in events for delivery in one.owed)
        else:
            print_report(_report(conn, config, events, since, now, is_compared=routes is not None))
    return DONE


def _replayed(
    conn: Connection, config: Settings, since: datetime, now: datetime
) -> Iterator[_ReplayedEvent]:
    """Every event that could have been sent, oldest first."""
    policy = TimePolicy(
        started_grace=config.source.started_grace,
        started_again_after=config.source.started_again_after,
    )
    missing = (
        preview.missing_reminders(conn, lead, since=since, until=now, policy=policy)
        for lead in leads(config.routes)
    )
    streams = [
        ((event, False) for event in preview.events(conn, since) if not event.missed),
        *(((event, True) for event in stream) for stream in missing),
    ]
    reads = preview.reads(conn, since)
    for event, is_missing in heapq.merge(*streams, key=lambda pair: pair[0].seen_at):
        due_at = event.seen_at
        if event.kind not in URGENT:
            due_at = reads.due_at(event.seen_at, longest=MAX_HOLD)
        yield _ReplayedEvent(
            event=event,
            is_missing=is_missing,
            due_at=due_at,
            owed=owed(event, config.routes, policy=policy, due_at=due_at),
        )


def _row(delivery: Delivery, one: _ReplayedEvent) -> dict[str, object]:
    return {
        "event_id": delivery.event_id,
        "kind": delivery.kind.value,
        "milestone_id": delivery.milestone_id,
        "route": delivery.route,
        "destination": delivery.destination,
        "at": one.event.at,
    }


def _report(
    conn: Connection,
    config: Settings,
    events: Iterator[_ReplayedEvent],
    since: datetime,
    now: datetime,
    *,
    is_compared: bool,
) -> ReplayReport:
    counter = MessageCounter(
        # Without the services' default rates, because their URLs may not be readable here.
        destination_policy(one, config.routes, one.rate)
        for one in config.destinations
    )
    report = ReplayReport(
        now=now,
        since=since,
        oldest=preview.oldest(conn),
        destinations=[one.name for one in config.destinations],
        # Past deliveries are kept for so long.
        compared_since=max(since, now - config.retention.deliveries) if is_compared else None,
    )
    while batch := list(islice(events, _BATCH)):
        past = preview.past_deliveries(conn, [one.event.id for one in batch]) if is_compared else {}
        for one in batch:
            report.add(
                one.event,
                [delivery.destination for delivery in one.owed],
                past=past.get(one.event.id, frozenset()),
                is_missing=one.is_missing,
            )
            for delivery in one.owed:
                counter.add(delivery, one.due_at)
    for destination, at, messages in counter.messages(now):
        report.add_messages(destination, at, messages)
    report.waiting = counter.waiting(now)
    return report
