"""
How fast the API is asked: three lanes share one rate.

Polls go before questions for what is live, and these before sweeps.
"""

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from notifier.clock import Clock
from notifier.concurrency import Gate
from notifier.domain.models import Rate

#: Whoever waits for the rate shows that it lives so often.
_SIGN_OF_LIFE_S = 30.0
#: What rounding leaves over is too short to be slept away.
_NOTHING_S = 1e-6


class Lane(IntEnum):
    """Who asks the API first when several want to."""

    POLL = 0
    LIVE = 1
    SWEEP = 2


class Pace:
    """No sliding window of the API's sees more requests than the rate allows."""

    def __init__(self, rate: Rate, clock: Clock, *, pulse: Callable[[str], None]) -> None:
        self._rate = rate
        self._clock = clock
        self._pulse = pulse
        self._gate = Gate()
        #: The latest requests, as many as one window may see.
        self._asked: deque[float] = deque(maxlen=rate.count)
        # A little longer than the unit: the way to the API is no clock.
        unit_s = rate.per.total_seconds()
        self._window_s = unit_s + min(0.05, unit_s / 10)

    async def take(self, lane: Lane) -> None:
        """Come back when a request may go; the lowest lane first."""
        while True:
            async with self._gate.turn(lane):
                # A poll waits within, others without: there a poll can pass them.
                if lane is Lane.POLL:
                    await self._wait(lane)
                if self._wait_s() <= _NOTHING_S:
                    self._asked.append(self._clock.monotonic())
                    return
            await self._wait(lane)

    def _wait_s(self) -> float:
        """Seconds until the next request may go."""
        if len(self._asked) < self._rate.count:
            return 0.0
        return self._asked[0] + self._window_s - self._clock.monotonic()

    async def _wait(self, lane: Lane) -> None:
        while (wait_s := self._wait_s()) > _NOTHING_S:
            self._pulse(lane.name.lower())
            await self._clock.sleep(min(wait_s, _SIGN_OF_LIFE_S))
