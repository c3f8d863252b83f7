"""Simulated time: on trio's MockClock days pass in milliseconds."""

from datetime import datetime, timedelta

import anyio
import trio
from storing import NOW
from trio.testing import MockClock

from notifier.clock import SystemClock
from notifier.domain.timers import Trust


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

    def settle(self, number: int, *, follow: bool) -> None:
        raise AssertionError(f"there was no jump to settle: {number}, {follow}")

    def settled(self) -> int:
        return 0

    def trust(self) -> Trust:
        return Trust(boot="", lead=0.0, offset=timedelta(0), is_sure=True)

    def take_up(self, trust: Trust | None) -> None:
        """It has nothing to learn."""


class MachineClock(SystemClock):
    """A machine in simulated time, whose clock others set, and which may sleep."""

    def __init__(self, *, since: float | None = None, set_by: float = 0.0) -> None:
        #: On trio's clock: when the machine was at NOW.
        self._begun = trio.current_time() if since is None else since
        #: Seconds by which its wall clock was set.
        self.set_by = set_by
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
