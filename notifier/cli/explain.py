"""`notifier explain`."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from notifier import settings
from notifier.cli import output
from notifier.cli.exit_codes import DONE, say
from notifier.cli.global_options import Given
from notifier.cli.lists import write_rows
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.domain.models import Json, RouteTrace
from notifier.errors import ConfigError
from notifier.messages.event_text import EventFormatter
from notifier.messages.humanize import count
from notifier.senders.terminal import plain
from notifier.settings.models import Settings
from notifier.storage.explain import Desk, Story, story

#: As much of a message as is shown; a digest may have hundreds of lines.
_LINES_SHOWN = 20
_AS_TEXT = (
    "What was told is shown as plain text, whatever its service takes; a webhook was "
    "sent a CloudEvent."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    at: datetime
    outcome: str
    status: int | None
    reason: str | None
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sent:
    title: str
    body: str
    note: str | None


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
    sent: _Sent | None


def explain(given: Given, beginning: str, *, as_json: bool) -> int:
    """
    Print why an event went where it went.

    Raises: NoSuchEvent.
    """
    found_settings = _settings(given)
    routes = None if found_settings is None else found_settings.routes
    zones = {one.name: one.zone for one in found_settings.destinations} if found_settings else {}
    desk = Desk(routes=routes or (), zones=zones)
    now = SystemClock().now()
    with viewing(given) as conn:
        found = story(conn, beginning, desk, now=now)
    if as_json:
        write_rows([_row(found, is_routed=routes is not None)])
    else:
        _tell(found)
    return DONE


def _row(found: Story, *, is_routed: bool) -> dict[str, Json]:
    """The row of the contract."""
    routes: Json = [
        {"route": trace.route, "matched": trace.matched, "why": trace.why} for trace in found.traces
    ]
    owed: list[Json] = [
        {key: value for key, value in row.items() if key not in {"tries", "sent"}}
        for row in found.deliveries
    ]
    return {
        "event": found.row,
        "routes": routes if is_routed else None,
        "deliveries": owed,
    }


def _settings(given: Given) -> Settings | None:
    """Return the routes and destinations of now; None, after a message, if they are wrong."""
    here = Path.cwd()
    try:
        path = settings.find(given.config, os.environ, cwd=here)
        return settings.load(path, os.environ, cwd=here, required_secrets=False)
    except ConfigError as exc:
        say(f"The routes are missing here, for the configuration is wrong:\n{exc}")
        return None


# --- for people ---------------------------------------------------------------


def _tell(found: Story) -> None:
    event, console = found.event, output.out()
    formatter = EventFormatter(zone=output.local_zone(), now=SystemClock().now())
    title = output.foreign(event.milestone.title, "bold")
    console.print(Text("  ").join([output.kind(event.kind.value), title]))
    console.print(_facts(found, formatter))
    for delivery in msgspec.convert(found.deliveries, list[_Delivery]):
        console.print()
        console.print(_delivery(delivery, formatter))
    if any(row["sent"] for row in found.deliveries):
        console.print()
        console.print(Text(_AS_TEXT, "dim"))


def _facts(found: Story, formatter: EventFormatter) -> Table:
    event, facts = found.event, output.facts()
    milestone = event.milestone
    what = f"{milestone.id} ({milestone.category}, {milestone.type})"
    facts.add_row("event", event.id)
    facts.add_row("milestone", output.foreign(what))
    facts.add_row("true at", _when(event.at, formatter))
    facts.add_row("seen", _when(event.seen_at, formatter))
    if event.missed:
        facts.add_row("missed", "too long ago to tell anybody")
    for line in formatter.changes(event.changes):
        facts.add_row("change", output.folding(line))
    for trace in found.traces:
        facts.add_row("route", _route(trace))
    if not found.deliveries:
        facts.add_row("deliveries", "none")
    return facts


def _when(when: datetime, formatter: EventFormatter) -> str:
    return f"{formatter.instant(when)} ({formatter.relative(when)})"


def _route(trace: RouteTrace) -> Text:
    mark = Text("yes ", "green") if trace.matched else Text("no  ", "dim")
    to = f" -> {', '.join(trace.to)}" if trace.to else ""
    words = f"{trace.route}{to}: {trace.why}"
    return output.folding("") + mark + output.folding(words)


def _delivery(delivery: _Delivery, formatter: EventFormatter) -> Table:
    facts = output.facts()
    heading = Text(" ").join([Text(delivery.destination), output.state(delivery.state)])
    due = f", due {formatter.relative(delivery.due_at)}" if delivery.due_at else ""
    facts.add_row("to", heading + Text(due))
    facts.add_row("by route", delivery.route)
    facts.add_row("delivery", delivery.delivery_id)
    if delivery.message_id is not None:
        facts.add_row("message", delivery.message_id)
    if delivery.reason is not None:
        facts.add_row("reason", output.folding(delivery.reason))
    for attempt in delivery.tries:
        facts.add_row("tried", output.folding(_try(attempt, formatter)))
    if (sent := delivery.sent) is not None:
        facts.add_row("told", _told(sent))
        if sent.note is not None:
            facts.add_row("", output.folding(f"({sent.note})", "dim"))
    return facts


def _told(sent: _Sent) -> Text:
    """The message, put into words once more; foreign text obeys no terminal."""
    lines = plain("\n".join(filter(None, (sent.title, sent.body)))).splitlines()
    shown = [Text(line) for line in lines[:_LINES_SHOWN]]
    if (rest := len(lines) - _LINES_SHOWN) > 0:
        shown.append(Text(f"... and {count(rest, 'more line')}", "dim"))
    return Text("\n").join(shown)


def _try(attempt: _Try, formatter: EventFormatter) -> str:
    parts = (
        _when(attempt.at, formatter),
        attempt.outcome,
        "" if attempt.status is None else f"HTTP {attempt.status}",
        attempt.reason or "",
        count(attempt.members, "event") + " in it" if attempt.members > 1 else "",
    )
    return ", ".join(filter(None, parts))
