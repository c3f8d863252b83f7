"""How things look on a terminal, and in plain text where nobody looks."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.core.model import Kind, State
from notifier.core.words import MONTHS, on_the_wall, relative
from notifier.sender.terminal import plain

KIND_STYLES = {
    Kind.CREATED: "green",
    Kind.UPDATED: "yellow",
    Kind.UPCOMING: "cyan",
    Kind.STARTED: "bold magenta",
    Kind.ENDED: "blue",
    Kind.REMOVED: "red",
}
STATE_STYLES = {
    State.PENDING: "yellow",
    State.LEASED: "cyan",
    State.DELIVERED: "green",
    State.EXPIRED: "dim",
    State.SUPERSEDED: "dim",
    State.DROPPED: "dim",
    State.DEAD: "bold red",
}
#: In a file or a pipe there is no edge to wrap at.
_UNSEEN_WIDTH = 160
#: As much of an id as tells it from the others; `explain` takes that much.
_SHORT = len("evt_") + 8


def out() -> Console:
    """Standard output for people."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNSEEN_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def err() -> Console:
    """Standard error for people."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def table(*columns: str, title: str | None = None) -> Table:
    """A table without lines; cells are cut, never wrapped."""
    made = Table(
        box=None,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in columns:
        made.add_column(column, no_wrap=True, overflow="ellipsis")
    return made


def foreign(value: object, style: str = "") -> Text:
    """A text that others wrote, in one line, with nothing a terminal would obey."""
    return Text(" ".join(plain(str(value)).split()), style=style)


def kind(value: object) -> Text:
    """A kind of event in its colour."""
    return Text(str(value), style=KIND_STYLES[Kind(str(value))])


def state(value: object) -> Text:
    """A delivery's state in its colour."""
    return Text(str(value), style=STATE_STYLES[State(str(value))])


def short(identifier: object) -> str:
    """The beginning of an id."""
    return str(identifier)[:_SHORT]


# --- time ---------------------------------------------------------------------


def local_zone() -> ZoneInfo:
    """The zone of whoever looks: TZ, else this machine's, else UTC."""
    for name in (os.environ.get("TZ", "").lstrip(":"), _machine_zone()):
        try:
            if name:
                return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def _machine_zone() -> str:
    try:
        return str(Path("/etc/localtime").readlink()).partition("zoneinfo/")[2]
    except OSError:
        return ""


def instant(stamp: object) -> datetime | None:
    """The instant that a row spells; None: it has none."""
    return datetime.fromisoformat(stamp) if isinstance(stamp, str) else None


def clock(stamp: object, zone: ZoneInfo) -> str:
    """`22 Nov 18:00:05`, as the clocks of that zone show it."""
    when = instant(stamp)
    if when is None:
        return ""
    wall = on_the_wall(when, zone)
    day = f"{wall.day:2} {MONTHS[wall.month - 1]}"
    return f"{day} {wall:%H:%M:%S}" if wall.year == _this_year(zone) else f"{day} {wall.year}"


def _this_year(zone: ZoneInfo) -> int:
    return datetime.now(zone).year


def ago(stamp: object, *, now: datetime) -> str:
    """`12 min ago`, `in 3 h`, `never`."""
    when = instant(stamp)
    return "never" if when is None else relative(when, now=now)


def columns_are(console: Console, names: Sequence[str]) -> bool:
    """Whether there is room for so many columns."""
    return console.width >= 20 * len(names)
