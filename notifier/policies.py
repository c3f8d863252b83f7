"""What the configuration comes to for each loop."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from notifier.clock import Clock
from notifier.domain.batching import BatchingPolicy, DestinationPolicy
from notifier.domain.changes import DiffPolicy
from notifier.domain.models import Limits, Outcome, Rendered
from notifier.domain.poll_schedule import ReadPolicy
from notifier.domain.rules import Destination, Rate, Route
from notifier.domain.timers import TimePolicy
from notifier.messages.test_message import sample_message
from notifier.settings.models import Settings, Updates
from notifier.web.listen import Address
from notifier.workers.admin_actions import Trial
from notifier.workers.dispatcher import DestinationWorker
from notifier.workers.ingest import DiffRules
from notifier.workers.monitor import Post


class Rates(Protocol):
    """What is known of the far ends."""

    def default_rate(self, destination: str) -> Rate | None:
        """How often the service may be asked when the configuration is silent."""
        ...


class Far(Rates, Protocol):
    """... and what they can take."""

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome: ...
    def limits(self, destination: str) -> Limits: ...


def read_policy(config: Settings) -> ReadPolicy:
    """How often is read."""
    return ReadPolicy(
        poll_every=config.source.poll_every,
        sweep_every=config.source.sweep_every,
        full_read_every=config.source.full_read_every,
    )


def diff_rules(config: Settings, time: TimePolicy) -> DiffRules:
    """What counts as news."""
    source = config.source
    touched = source.updates is Updates.TIMESTAMP
    return DiffRules(
        diff=DiffPolicy(time=time, touched_is_updated=touched),
        look_back=source.look_back,
        started_grace=source.started_grace,
        ignore_tickers=source.ignore_tickers,
        announce_existing=source.announce_existing,
    )


def unrepeated(destinations: Sequence[Destination]) -> frozenset[str]:
    """Where what may have arrived is not sent again."""
    return frozenset(one.name for one in destinations if one.drop_ambiguous)


def destination_policy(
    destination: Destination, config: Settings, sender: Rates
) -> DestinationPolicy:
    """How a destination is served."""
    return DestinationPolicy(
        name=destination.name,
        batching={route.name: _batching(destination, route) for route in config.routes},
        default=_batching(destination, None),
        rate=destination.rate or sender.default_rate(destination.name),
        concurrency=destination.concurrency,
        drop_ambiguous=destination.drop_ambiguous,
    )


def worker(destination: Destination, config: Settings, sender: Rates) -> DestinationWorker:
    """What serves a destination."""
    policy = destination_policy(destination, config, sender)
    return DestinationWorker(policy=policy, zone=destination.zone)


def post(destination: Destination, sender: Rates) -> Post:
    """How a destination's operator is told."""
    return Post(
        zone=destination.zone,
        rate=destination.rate or sender.default_rate(destination.name),
        drop_ambiguous=destination.drop_ambiguous,
    )


def _batching(destination: Destination, route: Route | None) -> BatchingPolicy:
    """How a route's events become messages: the route's own keys go before the destination's."""
    digest, quiet = destination.digest, destination.quiet
    if route is not None:
        digest, quiet = route.digest or digest, route.quiet or quiet
    return BatchingPolicy(
        over=digest.over,
        zone=destination.zone,
        window=digest.window,
        at=digest.at,
        quiet=quiet,
    )


def trial(config: Settings, sender: Far, clock: Clock) -> Trial:
    """How a test goes out."""
    known = {one.name: one for one in config.destinations}

    def message(name: str) -> Rendered:
        return sample_message(
            known[name],
            config.routes,
            limits=sender.limits(name),
            now=clock.now(),
            external_url=config.external_url,
        )

    send = partial(sender.send, delivered_to=frozenset())
    return Trial(destinations=tuple(known), message=message, send=send)


def address(config: Settings) -> Address | None:
    """The address of the web; None if the web is off."""
    web = config.web
    if web is None:
        return None
    host, port = web.address
    return Address(host=host, port=port, is_asked_for=web.listen is not None)
