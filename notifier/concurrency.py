"""A lock with priorities, and an event that wakes one waiting task."""

import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

#: Every so many passes the longest wait counts more than the priority.
_OLDEST_EVERY = 8


class PriorityLock:
    """
    A lock that goes to the lowest priority number first, then to the longest wait.

    Every eighth time it goes to the longest wait of all, so that no task starves.
    Handing it over is safe against cancellation of either task.
    """

    def __init__(self) -> None:
        self._is_held = False
        self._handovers = 0
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, anyio.Event]] = []

    @asynccontextmanager
    async def hold(self, priority: int) -> AsyncIterator[None]:
        """Wait for the lock and hold it for the length of the block."""
        if self._is_held:
            await self._wait(priority)
        self._is_held = True
        try:
            yield
        finally:
            self._hand_over()

    async def _wait(self, priority: int) -> None:
        mine = (priority, next(self._order), anyio.Event())
        heapq.heappush(self._waiting, mine)
        try:
            await mine[2].wait()
        except BaseException:
            if mine[2].is_set():
                self._hand_over()
            else:
                self._waiting.remove(mine)
                heapq.heapify(self._waiting)
            raise

    def _hand_over(self) -> None:
        if not self._waiting:
            self._is_held = False
            return
        self._handovers += 1
        if self._handovers % _OLDEST_EVERY:
            heapq.heappop(self._waiting)[2].set()
            return
        oldest = min(self._waiting, key=lambda waiting: waiting[1])
        self._waiting.remove(oldest)
        heapq.heapify(self._waiting)
        oldest[2].set()


class WakeupEvent:
    """Wakes a waiting task; set while no task waits, it wakes the next one at once."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiting task."""
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Wait, at most so many seconds; whether it was set. Resets itself."""
        with anyio.move_on_after(max(0.0, seconds)):
            await self._event.wait()
        was_set = self._event.is_set()
        if was_set:
            self._event = anyio.Event()
        return was_set


async def run_until(event: anyio.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Run the work, but cancel it as soon as the event is set."""

    async def cancel() -> None:
        await event.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        await work()
        tasks.cancel_scope.cancel()
