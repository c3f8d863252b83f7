"""The destination `terminal://`: messages on the standard output."""

import re
from datetime import timedelta
from functools import partial
from typing import TextIO

import anyio

from notifier.domain.models import Ambiguous, Failed, Format, Limits, Outcome, Rendered, Sent

_ESCAPES = re.compile(
    r"""
      (?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?         # colours, cursor
    | (?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])      # titles, links, device strings
      [^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?
    | \x1b[ -/]*[0-~]?                          # the rest
    """,
    re.VERBOSE,
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class TerminalChannel:
    """Writes each message as a title, a text and an empty line."""

    limits = Limits(format=Format.TEXT, title=1_000, body=100_000)
    rate = None

    def __init__(self, output: TextIO, *, attempt_limit: timedelta) -> None:
        self._output = output
        self._limiter = anyio.CapacityLimiter(1)
        self._limit_s = attempt_limit.total_seconds()

    async def send(
        self,
        message: Rendered,
        *,
        delivered_to: frozenset[str] = frozenset(),  # noqa: ARG002 - it has one recipient
    ) -> Outcome:
        """Write it. A closed output fails; one that is not read in time is ambiguous."""
        text = readable(message)
        with anyio.move_on_after(self._limit_s):
            try:
                await anyio.to_thread.run_sync(
                    partial(self._write, text), abandon_on_cancel=True, limiter=self._limiter
                )
            except (OSError, ValueError) as exc:
                return Failed(reason=f"the output is closed ({type(exc).__name__})")
            return Sent()
        return Ambiguous(reason="timed out while writing")

    async def aclose(self) -> None:
        """Leave the output open: it belongs to the caller."""

    def _write(self, text: str) -> None:
        encoding = getattr(self._output, "encoding", None) or "utf-8"
        self._output.write(text.encode(encoding, "replace").decode(encoding))
        self._output.flush()


def readable(message: Rendered) -> str:
    """The message as lines, without anything that controls a terminal."""
    title = " ".join(plain(message.title).split())
    lines = [line for line in (title, plain(message.body).rstrip()) if line]
    return "\n".join(lines) + "\n\n"


def plain(text: str) -> str:
    """The text without escape sequences and control characters, except tab and newline."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROLS.sub("", _ESCAPES.sub("", unified))
