"""A line that stays at the bottom of a terminal while others write above it."""

import io
import os
import threading
from typing import TextIO

_CLEAR = "\r\x1b[2K"


class Footer:
    """
    The line. Whoever writes to the same terminal does so `above` it.

    Threads may write at the same time.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._text = ""
        self._lock = threading.Lock()

    def show(self, text: str) -> None:
        """Let the line say this; nothing takes it away."""
        with self._lock:
            self._text = text
            self._put(_CLEAR + self._cut())

    def above(self, stream: TextIO) -> TextIO:
        """The stream to write to instead; a flush puts the line back."""
        return _Above(self, stream)

    def write_above(self, stream: TextIO, text: str) -> int:
        """Write where the line is; it comes back with `draw`."""
        with self._lock:
            if self._text:
                self._put(_CLEAR)
            return stream.write(text)

    def draw(self, stream: TextIO) -> None:
        """Put the line back under what the stream was given."""
        with self._lock:
            stream.flush()
            if self._text:
                self._put(_CLEAR + self._cut())

    def _put(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()

    def _cut(self) -> str:
        """As much of the text as the terminal shows in one line."""
        try:
            width = os.get_terminal_size(self._terminal.fileno()).columns
        except OSError:
            width = 80
        return self._text[: max(width - 1, 0)]


class _Above(io.StringIO):
    """Passes on what is written to it; the rest of it is never used."""

    def __init__(self, footer: Footer, stream: TextIO) -> None:
        super().__init__()
        self._footer = footer
        self._stream = stream

    def write(self, text: str) -> int:
        return self._footer.write_above(self._stream, text)

    def flush(self) -> None:
        self._footer.draw(self._stream)

    def isatty(self) -> bool:
        return self._stream.isatty()
