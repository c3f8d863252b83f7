"""`notifier events` and `notifier deliveries`."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from rich.table import Table
from rich.text import Text

from notifier.cli import output
from notifier.cli.exit_codes import DONE, say
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.clock import SystemClock
from notifier.messages.humanize import on_the_wall, zone_name
from notifier.storage import queries
from notifier.storage.rows import DeliveryRow, EventRow

T = TypeVar("T")
#: A person who asks for no number is shown so many.
_SHOWN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which rows, and how."""

    as_json: bool
    limit: int | None
    since: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether nobody said how many."""
        return not self.as_json and self.limit is None and self.since is None

    @property
    def most(self) -> int | None:
        """How many rows to look for; one more than is shown tells of the others."""
        return _SHOWN + 1 if self.is_open else self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wall:
    """The clock on the wall of whoever reads the table."""

    zone: ZoneInfo
    now: datetime

    @property
    def name(self) -> str:
        """What that clock is called now: `CET`."""
        return zone_name(on_the_wall(self.now, self.zone))

    def __call__(self, when: datetime | None) -> str:
        return output.clock(when, zone=self.zone, now=self.now)


def list_events(options: Options, asked: Asked) -> int:
    """Print what happened."""
    with viewing(options) as conn:
        rows = queries.iter_events(conn, since=asked.since, limit=asked.most)
        if asked.as_json:
            write_rows(rows)
        else:
            _show(list(rows), asked, what="events", lay_out=_events)
    return DONE


def list_deliveries(options: Options, asked: Asked, *, dead: bool) -> int:
    """Print what was owed."""
    now = SystemClock().now()
    with viewing(options) as conn:
        rows = queries.iter_deliveries(conn, now, dead=dead, since=asked.since, limit=asked.most)
        if asked.as_json:
            write_rows(rows)
        else:
            what = "dead letters" if dead else "deliveries"
            lay_out = _dead if dead else _deliveries
            _show(list(rows), asked, what=what, lay_out=lay_out)
    return DONE


def write_rows(rows: Iterable[object]) -> None:
    """One JSON object a line, in UTF-8 whatever the locale says."""
    encode = msgspec.json.Encoder().encode
    for row in rows:
        sys.stdout.buffer.write(encode(row) + b"\n")
    sys.stdout.buffer.flush()


# --- for people ---------------------------------------------------------------


def _show(
    found: Sequence[T],
    asked: Asked,
    *,
    what: str,
    lay_out: Callable[[Sequence[T], _Wall], Table],
) -> None:
    shown = found[-_SHOWN:] if asked.is_open else found
    if not shown:
        say(f"No {what}.")
        return
    wall = _Wall(zone=output.local_zone(), now=SystemClock().now())
    output.out().print(lay_out(shown, wall))
    if len(shown) < len(found):
        say(f"The newest {_SHOWN}; --limit or --since shows more, --json all.")


def _events(rows: Sequence[EventRow], wall: _Wall) -> Table:
    table = output.table(
        *(f"Seen ({wall.name})", "Kind", "Milestone", "What changed", "Event"),
        loose=("Milestone", "What changed"),
    )
    for event in rows:
        changed = ", ".join(change.field for change in event.changes)
        table.add_row(
            wall(event.seen_at),
            output.kind(event.kind),
            output.foreign(str(event.milestone.get("title", ""))),
            Text("missed", style="dim") if event.missed else output.foreign(changed),
            Text(output.short(event.event_id), style="dim"),
        )
    return table


def _deliveries(rows: Sequence[DeliveryRow], wall: _Wall) -> Table:
    table = output.table(
        *(f"Sent or due {wall.name}", "Kind", "Destination", "State", "Tries"),
        *("Reason", "Event"),
        loose=("Destination", "Reason"),
    )
    for delivery in rows:
        table.add_row(
            wall(delivery.sent_at or delivery.due_at),
            output.kind(delivery.kind),
            output.foreign(delivery.destination),
            output.state(delivery.state),
            str(delivery.attempts),
            output.folding(delivery.reason or ""),
            Text(output.short(delivery.event_id), style="dim"),
        )
    return table


def _dead(rows: Sequence[DeliveryRow], _wall: _Wall) -> Table:
    """With the ids that `redrive` takes."""
    table = output.table(
        *("Delivery", "Kind", "Destination", "Tries", "Reason", "Event"),
        loose=("Destination", "Reason"),
    )
    for delivery in rows:
        table.add_row(
            output.short(delivery.delivery_id),
            output.kind(delivery.kind),
            output.foreign(delivery.destination),
            str(delivery.attempts),
            output.folding(delivery.reason or ""),
            Text(output.short(delivery.event_id), style="dim"),
        )
    return table
