"""A message marked as a test, as the first route to a destination would write it."""

from collections.abc import Sequence
from datetime import datetime

from notifier.domain.models import Ambiguous, Event, Kind, Limits, Outcome, Rendered, Sent
from notifier.domain.outgoing import Message
from notifier.domain.rules import Destination, Route
from notifier.domain.sample import sample_event, sample_milestone
from notifier.messages.render import render


def sample_message(
    destination: Destination,
    routes: Sequence[Route],
    *,
    limits: Limits,
    now: datetime,
    external_url: str | None = None,
) -> Rendered:
    """A test message about a made-up milestone, of a kind that the route takes."""
    route = next(
        (route for route in routes if destination.name in route.to),
        Route(name="test", to=(destination.name,)),
    )
    kind = next((kind for kind in Kind if kind in route.match.events), Kind.CREATED)
    return render_test(
        sample_event(sample_milestone(now), kind, now=now),
        destination,
        [route],
        route=route.name,
        limits=limits,
        now=now,
        external_url=external_url,
    )


def render_test(
    event: Event,
    destination: Destination,
    routes: Sequence[Route],
    *,
    route: str,
    limits: Limits,
    now: datetime,
    external_url: str | None = None,
) -> Rendered:
    """An event as this route would write it, marked as a test."""
    return render(
        Message.of_event(event, destination=destination.name, route=route),
        [event],
        routes={one.name: one for one in routes},
        limits=limits,
        zone=destination.zone,
        now=now,
        test=True,
        external_url=external_url,
    )


def outcome_text(outcome: Outcome, message: Rendered) -> str:
    """The outcome in words."""
    match outcome:
        case Sent():
            text = "sent"
        case Ambiguous(reason=reason):
            text = f"no answer, it may have arrived: {reason}"
        case _:
            text = outcome.reason
    if message.template_error is not None:
        text += f"; but the template failed: {message.template_error}"
    return text
