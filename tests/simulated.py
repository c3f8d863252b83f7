"""Simulated time: on trio's MockClock days pass in milliseconds."""

from datetime import datetime, timedelta

import anyio
import trio
from storing import NOW
from trio.testing import MockClock

from notifier.clock import SystemClock


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

    def jump(self) -> None:
        """It never does by itself."""

    def settle(self, *, follow: bool) -> None:
        raise AssertionError(f"there was no jump to settle: {follow}")


class MachineClock(SystemClock):
    """A machine in simulated time, whose clock others set, and which may sleep."""

    def __init__(self) -> None:
        self._begun = trio.current_time()
        #: Seconds by which its wall clock was set.
        self.set_by = 0.0
        #: Seconds that it slept: no monotonic clock counts them.
        self.slept = 0.0
        super().__init__(
            wall=lambda: NOW.timestamp() + self.up() + self.set_by,
            steady=self.up,
        )

    def up(self) -> float:
        """Seconds since its birth, asleep or not."""
        return self.monotonic() + self.slept

    def monotonic(self) -> float:
        return trio.current_time() - self._begun
