"""`notifier test`: one message through each destination, kept nowhere."""

import sys
from collections.abc import Mapping, Sequence

import anyio
from rich.table import Table

from notifier import logging
from notifier.cli import output
from notifier.cli.exit_codes import DONE, FAILED, USAGE, say
from notifier.cli.global_options import Given
from notifier.cli.hidden import hidden
from notifier.cli.where import configuration, placing
from notifier.clock import SystemClock
from notifier.domain.models import Outcome, Rendered, Sent
from notifier.domain.rules import Destination
from notifier.domain.suggestions import suggest
from notifier.kalshi.decoding import milestone
from notifier.messages.test_message import outcome_text, render_test
from notifier.senders.redaction import redact
from notifier.senders.sender import open_sender, scheme_of
from notifier.settings.models import Settings


def trial(given: Given, names: Sequence[str]) -> int:
    """Send a test message to these destinations, or to all; tell what they said."""
    config = configuration(given)
    chosen = chosen_of(config, names)
    if chosen is None:
        return USAGE
    logging.set_up(
        level=given.log_level or "warning",
        style=config.log.format.value,
        redact=logging.redacting(hidden(config), redact),
    )
    with placing(given):
        results = anyio.run(_send_all, config, chosen)
    table, all_sent = _table(chosen, results)
    output.out().print(table)
    return DONE if all_sent else FAILED


def chosen_of(config: Settings, names: Sequence[str]) -> list[Destination] | None:
    """The destinations of these names; None: some name is unknown, which is said."""
    known = {one.name: one for one in config.destinations}
    unknown = [name for name in names if name not in known]
    for name in unknown:
        advice = suggest(name, known) or f"there are {', '.join(known)}"
        say(f"notifier: {name!r} is no destination; {advice}")
    if unknown:
        return None
    return [known[name] for name in dict.fromkeys(names or known)]


# --- sending ------------------------------------------------------------------


async def _send_all(
    config: Settings, chosen: Sequence[Destination]
) -> Mapping[str, tuple[Outcome, Rendered]]:
    """What became of the message, by destination; all are asked at once."""
    clock = SystemClock()
    sender = await open_sender(
        chosen,
        output=sys.stdout,
        clock=clock,
        may_reach=config.may_reach,
    )
    results: dict[str, tuple[Outcome, Rendered]] = {}

    async def send(one: Destination) -> None:
        message = render_test(
            one,
            config.routes,
            limits=sender.limits(one.name),
            decode=milestone,
            now=clock.now(),
            external_url=config.external_url,
        )
        results[one.name] = (await sender.send(one.name, message), message)

    try:
        async with anyio.create_task_group() as tasks:
            for one in chosen:
                tasks.start_soon(send, one)
    finally:
        await sender.aclose()
    return results


# --- results ------------------------------------------------------------------


def _table(
    chosen: Sequence[Destination], results: Mapping[str, tuple[Outcome, Rendered]]
) -> tuple[Table, bool]:
    """The results, and whether all of the messages were sent."""
    table = output.table("Destination", "Service", "Result", loose=("Result",))
    for one in chosen:
        outcome, message = results[one.name]
        style = "green" if isinstance(outcome, Sent) else "bold red"
        table.add_row(
            one.name, scheme_of(one.url), output.folding(outcome_text(outcome, message), style)
        )
    return table, all(isinstance(outcome, Sent) for outcome, _ in results.values())
