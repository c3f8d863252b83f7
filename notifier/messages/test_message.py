"""A message marked as a test, as a destination's own route would put it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from notifier.domain.deliveries import Message
from notifier.domain.models import (
    Ambiguous,
    Event,
    Json,
    Kind,
    Limits,
    Milestone,
    Outcome,
    Rendered,
    Sent,
    event_id,
)
from notifier.domain.rules import Destination, Route
from notifier.messages.render import render

_ID = "00000000-0000-4000-8000-000000000000"


def sample(
    destination: Destination,
    routes: Sequence[Route],
    *,
    limits: Limits,
    decode: Callable[[bytes], Milestone],
    now: datetime,
    external_url: str | None = None,
) -> Rendered:
    """The sample as the first route to the destination would put it."""
    route = next(
        (route for route in routes if destination.name in route.to),
        Route(name="test", to=(destination.name,)),
    )
    event = _event(_kind(route), now, decode)
    return render(
        Message.of_event(event, destination=destination.name, route=route.name),
        [event],
        routes={route.name: route},
        limits=limits,
        zone=destination.zone,
        now=now,
        test=True,
        external_url=external_url,
    )


def said(outcome: Outcome, message: Rendered) -> str:
    """What became of it, for people."""
    words = _words(outcome)
    if message.template_error is not None:
        words += f"; but the template failed: {message.template_error}"
    return words


def _words(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return "sent"
        case Ambiguous(reason=reason):
            return f"no answer, it may have arrived: {reason}"
        case _:
            return outcome.reason


def _kind(route: Route) -> Kind:
    """A kind that the route takes."""
    return next((kind for kind in Kind if kind in route.match.events), Kind.CREATED)


def _event(kind: Kind, now: datetime, decode: Callable[[bytes], Milestone]) -> Event:
    """Something that happens to a milestone of our own; its id is always another."""
    start = now if kind is Kind.STARTED else now + timedelta(hours=1)
    doc: dict[str, Json] = {
        "id": _ID,
        "category": "Test",
        "type": "test",
        "title": "This is what a milestone looks like",
        "notification_message": "It works: messages arrive here.",
        "start_date": _stamp(start),
        "end_date": _stamp(now) if kind is Kind.ENDED else None,
        "last_updated_ts": _stamp(now),
        "primary_event_tickers": [],
        "related_event_tickers": [],
        "details": {},
    }
    return Event(
        id=event_id(_ID, kind, f"test {now.isoformat()}"),
        kind=kind,
        milestone=decode(msgspec.json.encode(doc)),
        at=start if kind is Kind.STARTED else now,
        seen_at=now,
        lead=timedelta(hours=1) if kind is Kind.UPCOMING else None,
    )


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
