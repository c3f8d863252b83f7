"""Where `notifier demo` plays: messages and webhooks as they come, in colours."""

import io
import threading
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from notifier.cli import output
from notifier.demo.sink import Arrival
from notifier.domain.models import Kind
from notifier.senders.terminal import plain

#: How titles begin; the others tell of an update.
_BEGINNINGS = {
    "New: ": Kind.CREATED,
    "In ": Kind.UPCOMING,
    "Starting ": Kind.UPCOMING,
    "Started": Kind.STARTED,
    "Ended: ": Kind.ENDED,
    "Removed: ": Kind.REMOVED,
}


class Stage(io.StringIO):
    """
    What the built-in terminal destination writes to, one message at a time.

    A webhook is shown under the message that tells the same, whichever came first.
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
            mate = next((one for one in self._early if _tells(one, title)), None)
            if mate is None:
                self._titles.append(title)
            else:
                self._early.remove(mate)
                self._show(mate)
        return len(text)

    def arrived(self, arrival: Arrival) -> None:
        """Show what came by webhook."""
        with self._lock:
            mate = next((one for one in self._titles if _tells(arrival, one)), None)
            if mate is None:
                self._early.append(arrival)
            else:
                self._titles.remove(mate)
                self._show(arrival)

    def _show(self, arrival: Arrival) -> None:
        types = ", ".join(str(event.get("type")) for event in arrival.events)
        sealed = "signature ok" if arrival.genuine else "SIGNATURE WRONG"
        line = f"webhook <- {types} ({sealed})"
        self._console.print(Text(plain(line), "dim"), soft_wrap=True)


def _style(title: str) -> str:
    beginnings = (kind for words, kind in _BEGINNINGS.items() if title.startswith(words))
    return f"bold {output.KIND_STYLES[next(beginnings, Kind.UPDATED)]}"


def _body(body: str) -> Text:
    """The lines below the title, with links in the background."""
    return Text("\n").join(
        Text(line, "dim" if line.startswith("https://") else "") for line in body.splitlines()
    )


def _tells(arrival: Arrival, title: str) -> bool:
    return any(_title(event) in title for event in arrival.events)


def _title(event: Mapping[str, Any]) -> str:
    data = event.get("data")
    return str(data.get("title")) if isinstance(data, dict) else ""
