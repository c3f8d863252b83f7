"""The rate limit of requests to Kalshi's API, with priorities: polls, live data, sweeps."""

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from notifier.clock import Clock
from notifier.concurrency import PriorityLock
from notifier.domain.rules import Rate

#: A request that waits calls the watchdog's heartbeat so often.
_HEARTBEAT_EVERY_S = 30.0
#: Shorter waits are rounding errors.
_NEGLIGIBLE_S = 1e-6


class RequestPriority(IntEnum):
    """The order in which waiting requests are made."""

    POLL = 0
    LIVE = 1
    SWEEP = 2


class RateLimiter:
    """Keeps any sliding window of the API from seeing more requests than the rate allows."""

    def __init__(self, rate: Rate, clock: Clock, *, heartbeat: Callable[[str], None]) -> None:
        self._rate = rate
        self._clock = clock
        self._heartbeat = heartbeat
        self._lock = PriorityLock()
        #: When the latest requests were made, as many as one window may see.
        self._requests: deque[float] = deque(maxlen=rate.count)
        # A little longer than the unit, because the delay to the API varies.
        unit_s = rate.per.total_seconds()
        self._window_s = unit_s + min(0.05, unit_s / 10)

    async def acquire(self, priority: RequestPriority) -> None:
        """Wait until a request may be made, and count it."""
        while True:
            async with self._lock.hold(priority):
                # A poll waits while it holds the lock. Others wait without it, so that
                # a poll can overtake them.
                if priority is RequestPriority.POLL:
                    await self._wait(priority)
                if self._wait_s() <= _NEGLIGIBLE_S:
                    self._requests.append(self._clock.monotonic())
                    return
            await self._wait(priority)

    def _wait_s(self) -> float:
        if len(self._requests) < self._rate.count:
            return 0.0
        return self._requests[0] + self._window_s - self._clock.monotonic()

    async def _wait(self, priority: RequestPriority) -> None:
        while (wait_s := self._wait_s()) > _NEGLIGIBLE_S:
            self._heartbeat(priority.name.lower())
            await self._clock.sleep(min(wait_s, _HEARTBEAT_EVERY_S))
