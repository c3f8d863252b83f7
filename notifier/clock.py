"""Time as a dependency: the only module that reads the machine's clocks."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the loops need of time. Instants are aware and in UTC."""

    def now(self) -> datetime:
        """Wall-clock time, corrected by what `correct` was told."""

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds; at once if they are not positive."""

    def correct(self, offset: timedelta) -> None:
        """Move the wall clock by `offset`, on top of what it was moved before."""


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """Wall-clock time, corrected by what `correct` was told."""
        return datetime.fromtimestamp(time.time(), UTC) + self._offset

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds; at once if they are not positive."""
        await anyio.sleep(max(0.0, seconds))

    def correct(self, offset: timedelta) -> None:
        """Move the wall clock by `offset`, on top of what it was moved before."""
        self._offset += offset


@dataclass(slots=True)
class Skew:
    """How far this machine's clock is off, as far as this process has found out."""

    #: Positive: it is slow. None: nothing is known yet.
    known: timedelta | None = None

    def note(self, correction: timedelta) -> None:
        """Enough was seen to say so: the clock was corrected by that, or is right."""
        self.known = (self.known or timedelta(0)) + correction
