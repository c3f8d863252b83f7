"""`notifier explain`."""

import os
from datetime import datetime
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from notifier import settings
from notifier.cli import output
from notifier.cli.exit_codes import DONE, say
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.errors import ConfigError
from notifier.messages.event_text import EventFormatter
from notifier.messages.humanize import count
from notifier.senders.terminal import plain
from notifier.settings.models import Settings
from notifier.storage.explain import RenderContext
from notifier.storage.explain import explain as explanation
from notifier.storage.rows import (
    AttemptRow,
    DeliveryRow,
    ExplainedDelivery,
    Explanation,
    RouteTraceRow,
    SentMessage,
)

#: As much of a message as is shown; a digest may have hundreds of lines.
_LINES_SHOWN = 20
_AS_TEXT = (
    "What was told is shown as plain text, whatever its service takes; a webhook was "
    "sent a CloudEvent."
)


def explain(options: Options, beginning: str, *, as_json: bool) -> int:
    """
    Print why an event went where it went.

    Raises: NoSuchEvent.
    """
    found_settings = _settings(options)
    routes = None if found_settings is None else found_settings.routes
    zones = {one.name: one.zone for one in found_settings.destinations} if found_settings else {}
    context = RenderContext(routes=routes or (), zones=zones)
    now = SystemClock().now()
    with viewing(options) as conn:
        found = explanation(conn, beginning, context, now)
    if as_json:
        write_rows([_row(found, is_routed=routes is not None)])
    else:
        _show(found)
    return DONE


def _row(found: Explanation, *, is_routed: bool) -> dict[str, object]:
    """The row of the command, which has fewer fields than that of the API."""
    routes = [{"route": one.route, "matched": one.matched, "why": one.why} for one in found.routes]
    return {
        "event": found.event,
        "routes": routes if is_routed else None,
        "deliveries": msgspec.convert(found.deliveries, list[DeliveryRow], from_attributes=True),
    }


def _settings(options: Options) -> Settings | None:
    """Return the routes and destinations of now; None, after a message, if they are wrong."""
    here = Path.cwd()
    try:
        path = settings.find(options.config, os.environ, cwd=here)
        return settings.load(path, os.environ, cwd=here, required_secrets=False)
    except ConfigError as exc:
        say(f"The routes are missing here, for the configuration is wrong:\n{exc}")
        return None


# --- for people ---------------------------------------------------------------


def _show(found: Explanation) -> None:
    event, console = found.event, output.out()
    formatter = EventFormatter(zone=output.local_zone(), now=SystemClock().now())
    title = output.foreign(str(event.milestone.get("title", "")), "bold")
    console.print(Text("  ").join([output.kind(event.kind.value), title]))
    console.print(_facts(found, formatter))
    for delivery in found.deliveries:
        console.print()
        console.print(_delivery(delivery, formatter))
    if any(row.sent for row in found.deliveries):
        console.print()
        console.print(Text(_AS_TEXT, "dim"))


def _facts(found: Explanation, formatter: EventFormatter) -> Table:
    event, facts = found.event, output.facts()
    category, kind = (event.milestone.get(key, "") for key in ("category", "type"))
    what = f"{event.milestone_id} ({category}, {kind})"
    facts.add_row("event", event.event_id)
    facts.add_row("milestone", output.foreign(what))
    facts.add_row("true at", _when(event.at, formatter))
    facts.add_row("seen", _when(event.seen_at, formatter))
    if event.missed:
        facts.add_row("missed", "too long ago to tell anybody")
    for line in formatter.changes([change.value() for change in event.changes]):
        facts.add_row("change", output.folding(line))
    for trace in found.routes:
        facts.add_row("route", _route(trace))
    if not found.deliveries:
        facts.add_row("deliveries", "none")
    return facts


def _when(when: datetime, formatter: EventFormatter) -> str:
    return f"{formatter.instant(when)} ({formatter.relative(when)})"


def _route(trace: RouteTraceRow) -> Text:
    mark = Text("yes ", "green") if trace.matched else Text("no  ", "dim")
    to = f" -> {', '.join(trace.to)}" if trace.to else ""
    words = f"{trace.route}{to}: {trace.why}"
    return output.folding("") + mark + output.folding(words)


def _delivery(delivery: ExplainedDelivery, formatter: EventFormatter) -> Table:
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


def _told(sent: SentMessage) -> Text:
    """The message, put into words once more; foreign text obeys no terminal."""
    lines = plain("\n".join(filter(None, (sent.title, sent.body)))).splitlines()
    shown = [Text(line) for line in lines[:_LINES_SHOWN]]
    if (rest := len(lines) - _LINES_SHOWN) > 0:
        shown.append(Text(f"... and {count(rest, 'more line')}", "dim"))
    return Text("\n").join(shown)


def _try(attempt: AttemptRow, formatter: EventFormatter) -> str:
    parts = (
        _when(attempt.at, formatter),
        attempt.outcome,
        "" if attempt.status is None else f"HTTP {attempt.status}",
        attempt.reason or "",
        count(attempt.members, "event") + " in it" if attempt.members > 1 else "",
    )
    return ", ".join(filter(None, parts))
