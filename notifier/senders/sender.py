"""
The sender: destinations by name, each with a channel of its own.

Apprise and aiohttp are loaded only when a destination needs them, and never on the
event loop.
"""

import re
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Protocol, TextIO
from urllib.parse import unquote

import anyio
import certifi

from notifier.clock import Clock, SystemClock
from notifier.domain.egress_policy import anywhere
from notifier.domain.models import Limits, Outcome, Rendered
from notifier.domain.rules import Destination, Rate
from notifier.errors import ConfigError, DestinationError
from notifier.senders import webhook
from notifier.senders.egress_guard import Egress, install
from notifier.senders.terminal import TerminalChannel

ATTEMPT_LIMIT = timedelta(seconds=30)
TERMINAL = "terminal"

_SCHEME = re.compile(r"([a-z0-9]{1,20})://", re.IGNORECASE)
#: Options of Apprise that would contradict what the notifier does itself.
_REFUSED_OPTIONS = {
    "cto": "each attempt has its own time limit",
    "optional": "a failed delivery is never taken for a success",
    "overflow": "texts are cut where the service needs it",
    "redirect": "redirects are refused",
    "retry": "failed messages are sent again by themselves",
    "rto": "each attempt has its own time limit",
    "wait": "failed messages are sent again by themselves",
}


class Channel(Protocol):
    """One destination's way out: terminal, webhook, or a plugin of Apprise."""

    @property
    def limits(self) -> Limits:
        """What the service can take."""

    @property
    def rate(self) -> Rate | None:
        """How often it may be asked when the configuration has no rate."""

    async def send(
        self, message: Rendered, *, delivered_to: frozenset[str] = frozenset()
    ) -> Outcome:
        """
        Make one attempt. An exception here is a bug: every failure is an outcome.

        Recipients whose marks are in `delivered_to` have the message and are skipped. If
        some have it after the attempt and some do not, the outcome carries the marks
        of all who have it. A channel with one recipient knows no marks.
        """

    async def aclose(self) -> None:
        """Close its connections."""


class DestinationSender:
    """Sends to destinations by name."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        self._channels = channels

    async def send(
        self,
        destination: str,
        message: Rendered,
        *,
        delivered_to: frozenset[str] = frozenset(),
    ) -> Outcome:
        """
        Make one attempt, within the attempt limit; every failure is an outcome.

        A message that some of several recipients have already goes only to the others:
        `delivered_to` is what the last outcome under this `message_id` carried, in this process
        or an earlier one. Marks of another `message_id` or URL have no effect.
        """
        return await self._channels[destination].send(message, delivered_to=delivered_to)

    def limits(self, destination: str) -> Limits:
        """What the service can take. A title of 0 means that it has none."""
        return self._channels[destination].limits

    def default_rate(self, destination: str) -> Rate | None:
        """How often the service may be asked when the configuration has no rate."""
        return self._channels[destination].rate

    async def aclose(self) -> None:
        """Close every connection. Send nothing afterwards."""
        for channel in self._channels.values():
            await channel.aclose()


async def open_sender(
    destinations: Sequence[Destination],
    *,
    output: TextIO,
    clock: Clock,
    trust: ssl.SSLContext | None = None,
    may_reach: Egress = anywhere,
    attempt_limit: timedelta = ATTEMPT_LIMIT,
) -> DestinationSender:
    """
    A sender for these destinations; close it with `aclose`.

    `output` is what `terminal://` writes to. `trust` decides which certificates are
    valid; None: those of the system's authorities and of certifi's. `may_reach` decides
    which addresses are connected to, whatever a name resolves to.

    Raises:
        ConfigError: some destinations cannot be used; it names all of them.

    """
    install()
    factory = _ChannelFactory(
        output=output,
        clock=clock,
        trust=trust,
        may_reach=may_reach,
        attempt_limit=attempt_limit,
    )
    channels, problems = await anyio.to_thread.run_sync(partial(_open, destinations, factory))
    if problems:
        raise ConfigError([f"destinations.{name}: {reason}" for name, reason in problems.items()])
    return DestinationSender(channels)


def check(destinations: Sequence[Destination]) -> dict[str, str]:
    """Why destinations cannot be used, by name, without secrets. Blocks: it may load Apprise."""
    factory = _ChannelFactory(
        output=sys.stdout,
        clock=SystemClock(),
        trust=None,
        may_reach=anywhere,
        attempt_limit=ATTEMPT_LIMIT,
    )
    return _open(destinations, factory)[1]


def scheme_of(url: str) -> str:
    """
    The URL's scheme, in lower case.

    Raises:
        DestinationError: there is none.

    """
    found = _SCHEME.match(url)
    if found is None:
        raise DestinationError("it does not begin with a scheme such as slack://")
    return found[1].lower()


def trusted_context() -> ssl.SSLContext:
    """A TLS context that trusts the authorities of the system and of certifi."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True, kw_only=True)
class _ChannelFactory:
    """Creates channels; may be used in a thread."""

    output: TextIO
    clock: Clock
    trust: ssl.SSLContext | None
    may_reach: Egress
    attempt_limit: timedelta

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """For destinations whose certificate is verified; takes 40 ms to load."""
        return self.trust or trusted_context()

    @cached_property
    def unverified(self) -> ssl.SSLContext:
        """For destinations with `verify=no`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def create(self, destination: Destination) -> Channel:
        """
        The channel of a destination; connects to nothing.

        Raises:
            DestinationError: its URL cannot be used.

        """
        url = destination.url
        scheme = scheme_of(url)
        for pair in url.partition("?")[2].split("&"):
            option = unquote(pair.partition("=")[0]).lower()
            if option in _REFUSED_OPTIONS:
                raise DestinationError(f"leave out {option}=: {_REFUSED_OPTIONS[option]}")
        if scheme == TERMINAL:
            if url.partition("://")[2].strip("/"):
                raise DestinationError("terminal:// takes nothing behind it")
            return TerminalChannel(self.output, attempt_limit=self.attempt_limit)
        if scheme in webhook.SCHEMES:
            target = webhook.parse_url(url)
            # aiohttp takes 0.1 s to load.
            from notifier.senders.webhook_channel import WebhookChannel  # noqa: PLC0415

            return WebhookChannel(
                target,
                tls=self.tls if scheme == "webhooks" and target.verify else self.unverified,
                may_reach=self.may_reach,
                attempt_limit=self.attempt_limit,
                now=self.clock.now,
            )
        # Apprise takes tens of milliseconds and megabytes.
        from notifier.senders import apprise_channel, registry  # noqa: PLC0415

        plugin = registry.load(
            scheme, destination, read_timeout_s=self.attempt_limit.total_seconds()
        )
        return apprise_channel.AppriseChannel(
            plugin,
            destination,
            tls=self.tls,
            unverified=self.unverified,
            may_reach=self.may_reach,
            attempt_limit=self.attempt_limit,
            now=self.clock.now,
        )


def _open(
    destinations: Sequence[Destination], factory: _ChannelFactory
) -> tuple[dict[str, Channel], dict[str, str]]:
    channels: dict[str, Channel] = {}
    problems: dict[str, str] = {}
    for destination in destinations:
        try:
            channels[destination.name] = factory.create(destination)
        except DestinationError as exc:
            problems[destination.name] = str(exc)
    return channels, problems
