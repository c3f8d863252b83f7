"""`notifier test`: one message through each destination, kept nowhere."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import anyio
import msgspec
from rich.table import Table
from rich.text import Text

from notifier import logs
from notifier.cli import screen
from notifier.cli.ending import DONE, FAILED, USAGE, say
from notifier.cli.given import Given
from notifier.cli.where import configuration
from notifier.clock import Clock, SystemClock
from notifier.config import Config
from notifier.config.values import nearest
from notifier.core.model import (
    Ambiguous,
    Destination,
    Due,
    Event,
    Form,
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
from notifier.sender.redact import redact, secrets
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
    hidden = frozenset[str]().union(*(secrets(one.url) for one in chosen))
    logs.set_up(
        level=given.log_level or "warning",
        style=config.log.format.value,
        redact=logs.redacting(hidden, redact),
    )
    results = anyio.run(_send_all, config, chosen)
    table, all_sent = _table(chosen, results)
    screen.out().print(table)
    return DONE if all_sent else FAILED
