"""Simulated time: on trio's MockClock days pass in milliseconds."""

import time
from datetime import datetime, timedelta

import anyio
import trio
from anyio import to_thread
from storing import NOW
from trio.testing import MockClock

from notifier.clock import SystemClock
from notifier.domain.clock_offset import OffsetBounds


def backend() -> tuple[str, dict[str, MockClock]]:
    """
    What `anyio_backend` returns for a test in simulated time.

    trio's clock jumps as soon as all tasks wait, also while one of them waits for a thread:
    on a busy machine leases ran out meanwhile. This clock stands while a thread works.
    """
    clock = MockClock(autojump_threshold=0)
    jump = clock._autojump

    def jump_unless_busy() -> None:
        if to_thread.current_default_thread_limiter().borrowed_tokens:
            time.sleep(0.001)
        else:
            jump()

    clock._autojump = jump_unless_busy  # type: ignore[method-assign]
    return "trio", {"clock": clock}


class SimulatedClock:
    """NOW plus what trio's clock says; its wall clock can be set."""

    def __init__(self) -> None:
        self._begun = trio.current_time()
        self._set_by = timedelta(0)
        #: How far the machine's clock is said to be off.
        self.off: timedelta | None = None

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.monotonic()) + self._set_by

    def monotonic(self) -> float:
        return trio.current_time() - self._begun

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    def observe(self, bounds: OffsetBounds) -> bool:
        del bounds
        return False

    def no_answer(self) -> None:
        """It is right."""

    def doubt(self) -> None:
        """It is believed."""

    def skew(self) -> timedelta | None:
        return self.off

    def correct(self, offset: timedelta) -> None:
        """Set it, as a test wants it."""
        self._set_by += offset


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

    def correct(self, offset: timedelta) -> None:
        """Let an answer say that it is off by that."""
        self.observe(OffsetBounds(low=offset, high=offset))

    def up(self) -> float:
        """Seconds since its birth, asleep or not."""
        return self.monotonic() + self.slept

    def monotonic(self) -> float:
        return trio.current_time() - self._begun
