"""`notifier explain`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from notifier import config
from notifier.cli import screen
from notifier.cli.ending import DONE, say
from notifier.cli.given import Given
from notifier.cli.lists import write_rows
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.core.model import Event, Json, RouteTrace
from notifier.core.news import Teller
from notifier.core.route import route
from notifier.core.words import count
from notifier.errors import ConfigError, NotifierError
from notifier.source.wire import milestone
from notifier.store import look

#: Of several ids that begin alike, so many are named.
_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    at: datetime
    outcome: str
    status: int | None
    reason: str | None
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delivery:
    delivery_id: str
    destination: str
    route: str
    state: str
    message_id: str | None
    due_at: datetime | None
    reason: str | None
    tries: list[_Try]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """All there is to say about one event."""

    event: Event
    row: Mapping[str, Json]
    #: None: the configuration does not say.
    traces: Sequence[RouteTrace] | None
    deliveries: Sequence[Mapping[str, Json]]

    def as_json(self) -> dict[str, Json]:
        """The row of the contract."""
        routes: Json = None
        if self.traces is not None:
            routes = [
                {"route": trace.route, "matched": trace.matched, "why": trace.why}
                for trace in self.traces
            ]
        owed: list[Json] = [
            {key: value for key, value in row.items() if key != "tries"}
            for row in self.deliveries
        ]
        return {"event": self.row, "routes": routes, "deliveries": owed}


class NoSuchEvent(NotifierError):
    """No event, or more than one, has an id that begins so."""


def explain(given: Given, beginning: str, *, as_json: bool) -> int:
    """
    Print why an event went where it went.

    Raises: NoSuchEvent.
    """
    with viewing(given) as conn:
        event, row, deliveries = _found(conn, beginning)
    story = _Story(
        event=event, row=row, traces=_traces(given, event), deliveries=deliveries
    )
    if as_json:
        write_rows([story.as_json()])
    else:
        _tell(story)
    return DONE


def _found(
    conn: Connection, beginning: str
) -> tuple[Event, dict[str, Json], list[dict[str, Json]]]:
    ids = look.event_ids(conn, beginning, limit=_NAMED + 1) if beginning else []
    if len(ids) > 1 and beginning not in ids:
        named = ", ".join(ids[:_NAMED]) + (" ..." if ids[_NAMED:] else "")
        raise NoSuchEvent(f"{beginning} is the beginning of {named}")
    found = None
    if ids:
        event_id = beginning if beginning in ids else ids[0]
        now = SystemClock().now()
        found = look.event_with_deliveries(conn, event_id, decode=milestone, now=now)
    if found is None:
        raise NoSuchEvent(
            f"there is no event {beginning!r}; `notifier events` lists them"
        )
    return found


def _traces(given: Given, event: Event) -> Sequence[RouteTrace] | None:
    """What the routes say, as they are configured now."""
    here = Path.cwd()
    try:
        path = config.find(given.config, os.environ, cwd=here)
        return route(event, config.load_routes(path, os.environ, cwd=here))
    except ConfigError as exc:
        say(f"The routes are missing here, for the configuration is wrong:\n{exc}")
        return None


# --- for people ---------------------------------------------------------------


def _tell(story: _Story) -> None:
    event, console = story.event, screen.out()
    teller = Teller(zone=screen.local_zone(), now=SystemClock().now())
    title = screen.foreign(event.milestone.title, "bold")
    console.print(Text("  ").join([screen.kind(event.kind.value), title]))
    console.print(_facts(story, teller))
    for delivery in msgspec.convert(story.deliveries, list[_Delivery]):
        console.print()
        console.print(_delivery(delivery, teller))


def _facts(story: _Story, teller: Teller) -> Table:
    event, facts = story.event, screen.facts()
    milestone = event.milestone
    what = f"{milestone.id} ({milestone.category}, {milestone.type})"
    facts.add_row("event", event.id)
    facts.add_row("milestone", screen.foreign(what))
    facts.add_row("true at", _when(event.at, teller))
    facts.add_row("seen", _when(event.seen_at, teller))
    if event.missed:
        facts.add_row("missed", "too long ago to tell anybody")
    for line in teller.changes(event.changes):
        facts.add_row("change", screen.folding(line))
    for trace in story.traces or ():
        facts.add_row("route", _route(trace))
    if not story.deliveries:
        facts.add_row("deliveries", "none")
    return facts


def _when(when: datetime, teller: Teller) -> str:
    return f"{teller.instant(when)} ({teller.relative(when)})"


def _route(trace: RouteTrace) -> Text:
    mark = Text("yes ", "green") if trace.matched else Text("no  ", "dim")
    to = f" -> {', '.join(trace.to)}" if trace.to else ""
    words = f"{trace.route}{to}: {trace.why}"
    return screen.folding("") + mark + screen.folding(words)


def _delivery(delivery: _Delivery, teller: Teller) -> Table:
    facts = screen.facts()
    heading = Text(" ").join([Text(delivery.destination), screen.state(delivery.state)])
    due = f", due {teller.relative(delivery.due_at)}" if delivery.due_at else ""
    facts.add_row("to", heading + Text(due))
    facts.add_row("by route", delivery.route)
    facts.add_row("delivery", delivery.delivery_id)
    if delivery.message_id is not None:
        facts.add_row("message", delivery.message_id)
    if delivery.reason is not None:
        facts.add_row("reason", screen.folding(delivery.reason))
    for attempt in delivery.tries:
        facts.add_row("tried", screen.folding(_try(attempt, teller)))
    return facts


def _try(attempt: _Try, teller: Teller) -> str:
    parts = (
        _when(attempt.at, teller),
        attempt.outcome,
        "" if attempt.status is None else f"HTTP {attempt.status}",
        attempt.reason or "",
        count(attempt.members, "event") + " in it" if attempt.members > 1 else "",
    )
    return ", ".join(filter(None, parts))
