"""The terminal of `notifier demo`: messages and webhooks as they arrive, in colours."""

import io
import threading
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from notifier.cli import output
from notifier.demo.receiver import Arrival
from notifier.domain.models import Kind
from notifier.senders.terminal import plain

#: How the titles of each kind begin; any other title is an update's.
_BEGINNINGS = {
    "New: ": Kind.CREATED,
    "In ": Kind.UPCOMING,
    "Starting ": Kind.UPCOMING,
    "Started": Kind.STARTED,
    "Ended: ": Kind.ENDED,
    "Removed: ": Kind.REMOVED,
}


class DemoConsole(io.StringIO):
    """
    The stream of the built-in terminal destination: each write is one message.

    A webhook is shown below the message of the same event, whichever arrives first.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._lock = threading.Lock()
        #: Titles whose webhook has not come yet, and the other way round.
        self._titles: list[str] = []
        self._early: list[Arrival] = []

    def write(self, text: str) -> int:
        """Show a message."""
        title, _, body = text.rstrip().partition("\n")
        with self._lock:
            self._console.print()
            self._console.print(Text(title, _style(title)), soft_wrap=True)
            self._console.print(_body(body), soft_wrap=True)
            mate = next((one for one in self._early if _is_about(one, title)), None)
            if mate is None:
                self._titles.append(title)
            else:
                self._early.remove(mate)
                self._show(mate)
        return len(text)

    def show_webhook(self, arrival: Arrival) -> None:
        """Show an arrival."""
        with self._lock:
            mate = next((one for one in self._titles if _is_about(arrival, one)), None)
            if mate is None:
                self._early.append(arrival)
            else:
                self._titles.remove(mate)
                self._show(arrival)

    def _show(self, arrival: Arrival) -> None:
        types = ", ".join(str(event.get("type")) for event in arrival.events)
        signature = "signature ok" if arrival.is_genuine else "SIGNATURE WRONG"
        line = f"webhook <- {types} ({signature})"
        self._console.print(Text(plain(line), "dim"), soft_wrap=True)


def _style(title: str) -> str:
    beginnings = (kind for words, kind in _BEGINNINGS.items() if title.startswith(words))
    return f"bold {output.KIND_STYLES[next(beginnings, Kind.UPDATED)]}"


def _body(body: str) -> Text:
    """The lines below the title, with links in the background."""
    return Text("\n").join(
        Text(line, "dim" if line.startswith("https://") else "") for line in body.splitlines()
    )


def _is_about(arrival: Arrival, title: str) -> bool:
    return any(_title(event) in title for event in arrival.events)


def _title(event: Mapping[str, Any]) -> str:
    data = event.get("data")
    return str(data.get("title")) if isinstance(data, dict) else ""
