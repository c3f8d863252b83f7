"""Simulated time: on trio's MockClock days pass in milliseconds."""

from datetime import datetime, timedelta

import anyio
import trio
from storing import NOW
from trio.testing import MockClock


def backend() -> tuple[str, dict[str, MockClock]]:
    """What `anyio_backend` returns for a test in simulated time."""
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class SimulatedClock:
    """NOW plus what trio's clock says; its wall clock can be set."""

    def __init__(self) -> None:
        self._begun = trio.current_time()
        self._set_by = timedelta(0)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic()) + self._set_by

    def monotonic(self) -> float:
        return trio.current_time() - self._begun

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    def correct(self, offset: timedelta) -> None:
        self._set_by += offset
