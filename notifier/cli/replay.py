"""`notifier replay`: what these routes would have sent, without sending anything."""

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from notifier import settings
from notifier.cli.exit_codes import DONE
from notifier.cli.global_options import Given
from notifier.cli.lists import write_rows
from notifier.cli.replay_report import Recount, show
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.domain.models import URGENT, Delivery, Event, Json
from notifier.domain.preview import Rehearsal, owed
from notifier.domain.routing import leads
from notifier.domain.rules import Rate
from notifier.domain.timers import TimePolicy
from notifier.policies import destination_policy
from notifier.settings.models import Settings
from notifier.storage import preview as store
from notifier.storage.queries import stamp
from notifier.workers.ingest import HELD

#: Events that are held against what was owed in fact, at once.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replayed:
    """One event, and what would have been owed for it."""

    event: Event
    #: Nobody had this reminder: it is not among the stored events.
    unheard: bool
    due_at: datetime
    owed: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """What is replayed, by which rules, until when."""

    conn: Connection
    plan: Settings
    since: datetime
    now: datetime

    @property
    def policy(self) -> TimePolicy:
        """How late is too late."""
        source = self.plan.source
        return TimePolicy(
            started_grace=source.started_grace,
            started_again_after=source.started_again_after,
        )

    def walk(self) -> Iterator[_Replayed]:
        """Every event that could have been told, oldest first."""
        reads = store.reads(self.conn, self.since)
        for event, unheard in self._events():
            due_at = event.seen_at
            if event.kind not in URGENT:
                due_at = reads.due_at(event.seen_at, longest=HELD)
            yield _Replayed(
                event=event,
                unheard=unheard,
                due_at=due_at,
                owed=owed(event, self.plan.routes, policy=self.policy, due_at=due_at),
            )

    def _events(self) -> Iterator[tuple[Event, bool]]:
        """Each with whether it is a reminder that nobody had."""
        told = store.events(self.conn, self.since)
        unheard = (self._unheard(lead) for lead in leads(self.plan.routes))
        streams = [
            ((event, False) for event in told if not event.missed),
            *(((event, True) for event in one) for one in unheard),
        ]
        return heapq.merge(*streams, key=lambda pair: pair[0].seen_at)

    def _unheard(self, lead: timedelta) -> Iterator[Event]:
        return store.unheard(
            self.conn,
            lead,
            since=self.since,
            until=self.now,
            policy=self.policy,
        )


def replay(given: Given, *, since: datetime, routes: Path | None, as_json: bool) -> int:
    """
    Print what routes would have sent: those of a file, or the present ones.

    Raises: ConfigError with every problem in the file.
    """
    with _stage(given, since, routes) as stage:
        if as_json:
            write_rows(_row(d, one) for one in stage.walk() for d in one.owed)
        else:
            show(_recounted(stage, compared=routes is not None))
    return DONE


@contextmanager
def _stage(given: Given, since: datetime, routes: Path | None) -> Iterator[_Stage]:
    here = Path.cwd()
    path = settings.find(given.config, os.environ, cwd=here)
    plan = settings.load(path, os.environ, cwd=here, required_secrets=False, routes=routes)
    now = SystemClock().now()
    with viewing(given) as conn:
        yield _Stage(conn=conn, plan=plan, since=since, now=now)


def _row(delivery: Delivery, one: _Replayed) -> dict[str, Json]:
    return {
        "event_id": delivery.event_id,
        "kind": delivery.kind.value,
        "milestone_id": delivery.milestone_id,
        "route": delivery.route,
        "destination": delivery.destination,
        "at": stamp(one.event.at),
    }


# --- for people ---------------------------------------------------------------


class _NoRates:
    """Services whose own rates are not known: their URLs are secrets."""

    def default_rate(self, destination: str) -> Rate | None:
        """None."""
        del destination
        return None


def _recounted(stage: _Stage, *, compared: bool) -> Recount:
    """Everything counted."""
    plan, conn = stage.plan, stage.conn
    rehearsal = Rehearsal(
        [destination_policy(one, plan, _NoRates()) for one in plan.destinations],
        policy=stage.policy,
        hushes=store.hushes(conn, stage.since, stage.now),
        living=store.living(conn),
    )
    recount = Recount(
        now=stage.now,
        since=stage.since,
        oldest=store.oldest(conn),
        destinations=[one.name for one in plan.destinations],
        #: What was owed is known for so long.
        compared_since=max(stage.since, stage.now - plan.retention.deliveries)
        if compared
        else None,
    )
    walk = stage.walk()
    while part := list(islice(walk, _AT_ONCE)):
        in_fact = _in_fact(conn, part) if compared else {}
        for one in part:
            event = one.event
            recount.add(
                event,
                [delivery.destination for delivery in one.owed],
                in_fact=in_fact.get(event.id, frozenset()),
                unheard=one.unheard,
            )
            for fate in rehearsal.take(event, one.owed, due_at=one.due_at):
                recount.note(fate)
    for fate in rehearsal.finish(stage.now):
        recount.note(fate)
    recount.waiting.update(rehearsal.waiting)
    return recount


def _in_fact(conn: Connection, part: Sequence[_Replayed]) -> dict[str, frozenset[str]]:
    return store.owed_in_fact(conn, [one.event.id for one in part])
