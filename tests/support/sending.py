"""Destinations, messages and senders for the tests of the senders."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import TextIO
from zoneinfo import ZoneInfo

from servers.authority import Authority

from notifier.clock import SystemClock
from notifier.domain.egress_policy import anywhere
from notifier.domain.models import CloudEvent, Format, Outcome, Rendered
from notifier.domain.rules import Destination
from notifier.senders.egress_guard import Egress
from notifier.senders.sender import DestinationSender, open_sender

LIMIT = timedelta(seconds=10)


@cache
def authority() -> Authority:
    """The authority that the tests' senders trust; its keys are made once."""
    return Authority()


def destination(
    url: str,
    *,
    name: str = "ops",
    format: Format | None = None,  # noqa: A002 - the field's name
) -> Destination:
    return Destination(name=name, url=url, format=format, zone=ZoneInfo("UTC"))


def rendered(
    message_id: str = "msg_ONE",
    *,
    title: str = "Bears at Packers",
    body: str = "Starts at 15:30, was 12:00.",
    format: Format = Format.TEXT,  # noqa: A002 - the field's name
    urgent: bool = False,
    events: tuple[CloudEvent, ...] = (),
    digest: bool = False,
) -> Rendered:
    return Rendered(
        message_id=message_id,
        title=title,
        body=body,
        format=format,
        urgent=urgent,
        events=events,
        digest=digest,
    )


@asynccontextmanager
async def opened(
    *destinations: Destination,
    attempt_limit: timedelta = LIMIT,
    output: TextIO | None = None,
    may_reach: Egress = anywhere,
) -> AsyncIterator[DestinationSender]:
    """A sender as in production, except that it trusts the tests' authority."""
    sender = await open_sender(
        destinations,
        output=output or io.StringIO(),
        clock=SystemClock(),
        trust=authority().client,
        may_reach=may_reach,
        attempt_limit=attempt_limit,
    )
    try:
        yield sender
    finally:
        await sender.aclose()


async def send_once(
    url: str,
    message: Rendered | None = None,
    *,
    delivered_to: frozenset[str] = frozenset(),
    attempt_limit: timedelta = LIMIT,
    may_reach: Egress = anywhere,
) -> Outcome:
    """The outcome of one message to one destination, by a sender of its own."""
    async with opened(destination(url), attempt_limit=attempt_limit, may_reach=may_reach) as sender:
        return await sender.send("ops", message or rendered(), delivered_to=delivered_to)
