"""
What the loops send through: destinations by name, each on its own lane.

Apprise is loaded only when a destination needs it, and never on the event loop.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import TextIO, TypeAlias

import httpx

from notifier.clock import Clock
from notifier.domain.egress_policy import anywhere
from notifier.domain.models import Destination, Limits, Outcome, Rate, Rendered
from notifier.errors import ConfigError
from notifier.senders import tls, webhook
from notifier.senders.address import check_options, scheme_of
from notifier.senders.delivered_recipients import salt_of
from notifier.senders.egress_guard import Egress, install
from notifier.senders.lane import Lane, Offload, Unusable
from notifier.senders.redaction import secrets
from notifier.senders.terminal import TerminalLane
from notifier.senders.webhook_channel import HookLane

ATTEMPT_LIMIT = timedelta(seconds=30)
TERMINAL = "terminal"


class Sender:
    """Sends to destinations by name."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = lanes

    async def send(
        self,
        destination: str,
        message: Rendered,
        *,
        served: frozenset[str] = frozenset(),
    ) -> Outcome:
        """
        Make one attempt, within the attempt limit.

        Whatever the service does is an outcome. A message that some of several
        recipients have already goes only to the others: `served` is what the last
        outcome under this `message_id` gave, in this process or an earlier one.
        Marks say nothing under another `message_id` or another URL.
        """
        return await self._lanes[destination].send(message, served=served)

    def limits(self, destination: str) -> Limits:
        """What the service can take. A title of 0 means that it has none."""
        return self._lanes[destination].limits

    def default_rate(self, destination: str) -> Rate | None:
        """How often the service may be asked when the configuration is silent."""
        return self._lanes[destination].rate

    async def aclose(self) -> None:
        """Close every connection. Send nothing afterwards."""
        for lane in self._lanes.values():
            await lane.aclose()


@dataclass(frozen=True, slots=True)
class Problem:
    """A destination that cannot be used, and why; nothing in it is secret."""

    destination: str
    what: str

    def __str__(self) -> str:
        return f"destinations.{self.destination}: {self.what}"


async def open_sender(
    destinations: Sequence[Destination],
    *,
    offload: Offload,
    output: TextIO,
    clock: Clock,
    trust: ssl.SSLContext | None = None,
    may_reach: Egress = anywhere,
    attempt_limit: timedelta = ATTEMPT_LIMIT,
) -> Sender:
    """
    A sender for these destinations; close it with `aclose`.

    `output` is what `terminal://` writes to. `trust` says whose certificates are
    good; None: the system's authorities and the well-known ones. `may_reach` says
    which addresses are connected to, whatever a name resolves to.

    Raises:
        ConfigError: some destinations cannot be used; every one is named.

    """
    install()
    desk = _Desk(
        offload=offload,
        output=output,
        clock=clock,
        may_reach=may_reach,
        attempt_limit=attempt_limit,
    )
    plans = await offload(partial(_plans, destinations, attempt_limit, trust))
    problems = [str(plan) for plan in plans if isinstance(plan, Problem)]
    if problems:
        raise ConfigError(problems)
    # Lanes are made here, on the loop: their limiters and clients belong to it.
    return Sender(
        {
            destination.name: plan(destination, desk)
            for destination, plan in zip(destinations, plans, strict=True)
            if not isinstance(plan, Problem)
        }
    )


def check(destinations: Sequence[Destination]) -> list[Problem]:
    """Every destination that cannot be used. Blocks: Apprise may be loaded."""
    plans = _plans(destinations, ATTEMPT_LIMIT, None)
    return [plan for plan in plans if isinstance(plan, Problem)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """What every lane works with."""

    offload: Offload
    output: TextIO
    clock: Clock
    may_reach: Egress
    attempt_limit: timedelta


#: A lane whose URL was found good, and whose slow parts are loaded.
_Plan: TypeAlias = Callable[[Destination, _Desk], Lane]


class _Trust:
    """Whose certificates are good; loaded when the first destination needs it."""

    def __init__(self, given: ssl.SSLContext | None) -> None:
        self._given = given

    @cached_property
    def some(self) -> ssl.SSLContext:
        return self._given or tls.trusting()

    @cached_property
    def anyone(self) -> ssl.SSLContext:
        return tls.unverified()


def _plans(
    destinations: Sequence[Destination],
    attempt_limit: timedelta,
    given: ssl.SSLContext | None,
) -> list[_Plan | Problem]:
    trust = _Trust(given)
    return [_plan(destination, attempt_limit, trust) for destination in destinations]


def _plan(destination: Destination, attempt_limit: timedelta, trust: _Trust) -> _Plan | Problem:
    try:
        scheme = scheme_of(destination.url)
        check_options(destination.url)
        if scheme == TERMINAL:
            return _terminal(destination.url)
        if scheme in webhook.SCHEMES:
            return _hook(scheme, destination.url, trust)
        return _plugin(destination, attempt_limit, trust)
    except Unusable as exc:
        return Problem(destination.name, str(exc))


def _terminal(url: str) -> _Plan:
    if url.partition("://")[2].strip("/"):
        raise Unusable("terminal:// takes nothing behind it")

    def plan(_destination: Destination, desk: _Desk) -> Lane:
        return TerminalLane(desk.output, offload=desk.offload, attempt_limit=desk.attempt_limit)

    return plan


def _hook(scheme: str, url: str, trust: _Trust) -> _Plan:
    target = webhook.parse(url)
    try:
        httpx.URL(target.url)
    except httpx.InvalidURL:
        raise Unusable("its host or path is no part of a URL") from None
    verified = scheme == "webhooks" and target.verify
    context = trust.some if verified else trust.anyone

    def plan(_destination: Destination, desk: _Desk) -> Lane:
        return HookLane(
            target,
            tls=context,
            attempt_limit=desk.attempt_limit,
            now=desk.clock.now,
            may_reach=desk.may_reach,
        )

    return plan


def _plugin(destination: Destination, attempt_limit: timedelta, trust: _Trust) -> _Plan:
    # Apprise costs tens of milliseconds and megabytes; terminals and webhooks
    # do without it.
    from notifier.senders import apprise_channel, registry  # noqa: PLC0415

    plugin = registry.load(destination, read_timeout_s=attempt_limit.total_seconds())
    verified, unverified = trust.some, trust.anyone

    def plan(destination: Destination, desk: _Desk) -> Lane:
        return apprise_channel.PluginLane(
            plugin,
            seams=apprise_channel.open_seams(
                tls=verified, unverified=unverified, may_reach=desk.may_reach
            ),
            secrets=secrets(destination.url),
            salt=salt_of(destination.url),
            concurrency=destination.concurrency,
            offload=desk.offload,
            attempt_limit=desk.attempt_limit,
            now=desk.clock.now,
        )

    return plan
