"""`notifier test`: one message through each destination, kept nowhere."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import anyio
import msgspec
from rich.table import Table

from notifier import logs
from notifier.cli import screen
from notifier.cli.ending import DONE, FAILED, USAGE, say
from notifier.cli.given import Given
from notifier.cli.hidden import hidden
from notifier.cli.where import configuration, placing
from notifier.clock import Clock, SystemClock
from notifier.config import Config
from notifier.config.values import nearest
from notifier.core.model import (
    Ambiguous,
    Destination,
    Due,
    Event,
    Form,
    Json,
    Kind,
    Message,
    Outcome,
    Rendered,
    Route,
    Sent,
    delivery_id,
    event_id,
    message_id,
)
from notifier.core.render import render
from notifier.sender.address import scheme_of
from notifier.sender.lane import in_thread
from notifier.sender.redact import redact
from notifier.sender.sender import Sender, open_sender
from notifier.source.wire import milestone
from notifier.store.look import stamp

_ID = "00000000-0000-4000-8000-000000000000"


def trial(given: Given, names: Sequence[str]) -> int:
    """Send a test message to these destinations, or to all; tell what they said."""
    config = configuration(given)
    chosen = _chosen(config, names)
    if chosen is None:
        return USAGE
    logs.set_up(
        level=given.log_level or "warning",
        style=config.log.format.value,
        redact=logs.redacting(hidden(config), redact),
    )
    with placing(given):
        results = anyio.run(_send_all, config, chosen)
    table, all_sent = _table(chosen, results)
    screen.out().print(table)
    return DONE if all_sent else FAILED


def _chosen(config: Config, names: Sequence[str]) -> list[Destination] | None:
    """The destinations of these names; None: some name is unknown, which is said."""
    known = {one.name: one for one in config.destinations}
    unknown = [name for name in names if name not in known]
    for name in unknown:
        advice = nearest(name, known) or f"there are {', '.join(known)}"
        say(f"notifier: {name!r} is no destination; {advice}")
    if unknown:
        return None
    return [known[name] for name in dict.fromkeys(names or known)]


# --- sending ------------------------------------------------------------------


async def _send_all(
    config: Config, chosen: Sequence[Destination]
) -> Mapping[str, tuple[Outcome, Rendered]]:
    """What became of the message, by destination; all are asked at once."""
    clock = SystemClock()
    sender = await open_sender(
        chosen,
        offload=in_thread,
        output=sys.stdout,
        clock=clock,
        may_reach=config.may_reach,
    )
    results: dict[str, tuple[Outcome, Rendered]] = {}

    async def send(one: Destination) -> None:
        message = _message(config, one, sender, clock)
        results[one.name] = (await sender.send(one.name, message), message)

    try:
        async with anyio.create_task_group() as tasks:
            for one in chosen:
                tasks.start_soon(send, one)
    finally:
        await sender.aclose()
    return results


def _message(
    config: Config, destination: Destination, sender: Sender, clock: Clock
) -> Rendered:
    """The sample as the first route to the destination would put it."""
    now = clock.now()
    route = next(
        (route for route in config.routes if destination.name in route.to),
        Route(name="test", to=(destination.name,)),
    )
    event = _event(_kind(route), now)
    return render(
        Message(
            id=message_id(destination.name, [event.id]),
            destination=destination.name,
            members=(_due(event, destination, route),),
            form=Form.RICH,
        ),
        [event],
        routes={route.name: route},
        limits=sender.limits(destination.name),
        zone=destination.zone,
        now=now,
        test=True,
    )


def _kind(route: Route) -> Kind:
    """A kind that the route takes."""
    return next((kind for kind in Kind if kind in route.match.events), Kind.CREATED)


def _event(kind: Kind, now: datetime) -> Event:
    """Something that happens to a milestone of our own; its id is always another."""
    start = now if kind is Kind.STARTED else now + timedelta(hours=1)
    doc: dict[str, Json] = {
        "id": _ID,
        "category": "Test",
        "type": "test",
        "title": "This is what a milestone looks like",
        "notification_message": "It works: messages arrive here.",
        "start_date": stamp(start),
        "end_date": stamp(now) if kind is Kind.ENDED else None,
        "last_updated_ts": stamp(now),
        "primary_event_tickers": [],
        "related_event_tickers": [],
        "details": {},
    }
    return Event(
        id=event_id(_ID, kind, f"test {now.isoformat()}"),
        kind=kind,
        milestone=milestone(msgspec.json.encode(doc)),
        at=start if kind is Kind.STARTED else now,
        seen_at=now,
        lead=timedelta(hours=1) if kind is Kind.UPCOMING else None,
    )


def _due(event: Event, destination: Destination, route: Route) -> Due:
    return Due(
        delivery_id=delivery_id(event.id, destination.name),
        event_id=event.id,
        kind=event.kind,
        milestone_id=event.milestone.id,
        route=route.name,
        seq=0,
        born_at=event.seen_at,
        expires_at=None,
        attempts=0,
        form=Form.RICH,
        frozen_in=None,
        at=event.at,
        lead=event.lead,
        start=event.milestone.start,
        over=False,
    )


# --- results ------------------------------------------------------------------


def _table(
    chosen: Sequence[Destination], results: Mapping[str, tuple[Outcome, Rendered]]
) -> tuple[Table, bool]:
    """The results, and whether all of the messages were sent."""
    table = screen.table("Destination", "Service", "Result", loose=("Result",))
    for one in chosen:
        outcome, message = results[one.name]
        words = _words(outcome)
        if message.template_error is not None:
            words += f"; but the template failed: {message.template_error}"
        style = "green" if isinstance(outcome, Sent) else "bold red"
        table.add_row(one.name, scheme_of(one.url), screen.folding(words, style))
    return table, all(isinstance(outcome, Sent) for outcome, _ in results.values())


def _words(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return "sent"
        case Ambiguous(reason=reason):
            return f"no answer, it may have arrived: {reason}"
        case _:
            return outcome.reason
