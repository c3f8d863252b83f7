"""How fast the API is asked: two lanes share one rate, polls before sweeps."""

from collections.abc import Callable
from enum import IntEnum

from notifier.clock import Clock
from notifier.core.model import Rate
from notifier.turns import Gate

#: Whoever waits for the rate shows that it lives so often.
_SIGN_OF_LIFE_S = 30.0


class Lane(IntEnum):
    """Who asks the API first when both lanes want to."""

    POLL = 0
    SWEEP = 1


class Pace:
    """No sliding window of the API's sees more requests than the rate allows."""

    def __init__(
        self, rate: Rate, clock: Clock, *, pulse: Callable[[str], None]
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._pulse = pulse
        self._gate = Gate()
        self._asked: list[float] = []
        # A little longer than the unit: the way to the API is no clock.
        unit_s = rate.per.total_seconds()
        self._window_s = unit_s + min(0.05, unit_s / 10)

    async def take(self, lane: Lane) -> None:
        """Come back when a request may go; polls before sweeps."""
        async with self._gate.turn(lane):
            if len(self._asked) == self._rate.count:
                free_at = self._asked.pop(0) + self._window_s
                await self._wait_until(free_at, lane)
            self._asked.append(self._clock.monotonic())

    async def _wait_until(self, free_at: float, lane: Lane) -> None:
        wait_s = free_at - self._clock.monotonic()
        # Counted down: what rounding leaves over is too short to be slept away.
        while wait_s > 0:
            self._pulse(lane.name.lower())
            nap_s = min(wait_s, _SIGN_OF_LIFE_S)
            await self._clock.sleep(nap_s)
            wait_s -= nap_s
