"""The message of `notifier test`, and its outcome in words."""

from collections.abc import Callable, Sequence
from datetime import datetime

from notifier.domain.deliveries import Message
from notifier.domain.dry_run import acts, made_up
from notifier.domain.models import (
    Ambiguous,
    Kind,
    Limits,
    Milestone,
    Outcome,
    Rendered,
    Sent,
)
from notifier.domain.rules import Destination, Route
from notifier.messages.render import render


def render_test(
    destination: Destination,
    routes: Sequence[Route],
    *,
    limits: Limits,
    decode: Callable[[bytes], Milestone],
    now: datetime,
    external_url: str | None = None,
) -> Rendered:
    """Render an invented event, marked as a test, as the destination's first route would."""
    route = next(
        (route for route in routes if destination.name in route.to),
        Route(name="test", to=(destination.name,)),
    )
    kind = next((kind for kind in Kind if kind in route.match.events), Kind.CREATED)
    event = acts(made_up(now, decode), [route], [kind], now=now, decode=decode)[0]
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


def outcome_text(outcome: Outcome, message: Rendered) -> str:
    """The outcome of a test in a line, and whether the route's template failed."""
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
