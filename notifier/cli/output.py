"""How things look on a terminal, and in plain text where nobody looks."""

import os
import sys
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.domain.models import Kind, State
from notifier.messages.humanize import MONTHS, on_the_wall
from notifier.senders.terminal import plain

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
#: In a file or a pipe there is no edge to cut at.
_UNSEEN_WIDTH = 200
#: As much of an id as tells it from the others; `explain` takes that much.
_SHORT = len("evt_") + 8


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to whoever ends the command: in a task, no exit helps."""
        raise BrokenPipeError


def out() -> Console:
    """Standard output for people."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _UNSEEN_WIDTH
    return _Console(highlight=False, markup=False, emoji=False, width=width)


def table(*columns: str, loose: Collection[str] = (), title: str | None = None) -> Table:
    """A table without lines. `loose` columns give room first."""
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
        # What rich may not wrap it does not cut either, before all else is cut.
        made.add_column(column, no_wrap=column not in loose, overflow="ellipsis")
    return made


def facts() -> Table:
    """Names at the left, what is to be said of them at the right; wraps."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column()
    return made


def foreign(text: str, style: str = "") -> Text:
    """A text that others wrote, in one line, with nothing a terminal would obey."""
    words = " ".join(plain(text).split())
    return Text(words, style=style, no_wrap=True, overflow="ellipsis")


def folding(text: str, style: str = "") -> Text:
    """The same in as many lines as it needs where room is short."""
    words = " ".join(plain(text).split())
    return Text(words, style=style, no_wrap=False, overflow="fold")


def kind(word: str) -> Text:
    """A kind of event in its colour."""
    return Text(word, style=KIND_STYLES[Kind(word)])


def state(word: str) -> Text:
    """A delivery's state in its colour."""
    return Text(word, style=STATE_STYLES[State(word)])


def short(identifier: str) -> str:
    """The beginning of an id."""
    return identifier[:_SHORT]


# --- time ---------------------------------------------------------------------


def local_zone() -> ZoneInfo:
    """The zone of whoever looks: TZ, else this machine's, else UTC."""
    for name in (os.environ.get("TZ", "").lstrip(":"), _machine_zone(), "UTC"):
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


def clock(when: datetime | None, *, zone: ZoneInfo, now: datetime) -> str:
    """`22 Nov 18:00:05` on that zone's clocks; the year instead, if it is another."""
    if when is None:
        return ""
    wall = on_the_wall(when, zone)
    day = f"{wall.day:2} {MONTHS[wall.month - 1]}"
    is_this_year = wall.year == on_the_wall(now, zone).year
    return f"{day} {wall:%H:%M:%S}" if is_this_year else f"{day} {wall.year}"
