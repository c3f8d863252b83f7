"""Who goes next, and who is to wake up: a gate with priorities, and a bell."""

import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

#: So often the longest wait counts more than the priority.
_OLDEST_EVERY = 8


class Gate:
    """
    Lets one task in at a time: the lowest priority first, then the longest wait.

    Every eighth turn goes to whoever has waited longest, so that nobody waits for
    ever. Passing it on is safe against cancellation on either side.
    """

    def __init__(self) -> None:
        self._busy = False
        self._passed = 0
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, anyio.Event]] = []

    @asynccontextmanager
    async def turn(self, priority: int) -> AsyncIterator[None]:
        """Wait for the turn, and hold it for the length of the block."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._pass_on()

    async def _enter(self, priority: int) -> None:
        if not self._busy:
            self._busy = True
            return
        mine = (priority, next(self._order), anyio.Event())
        heapq.heappush(self._waiting, mine)
        try:
            await mine[2].wait()
        except BaseException:
            if mine[2].is_set():
                self._pass_on()
            else:
                self._waiting.remove(mine)
                heapq.heapify(self._waiting)
            raise

    def _pass_on(self) -> None:
        if not self._waiting:
            self._busy = False
            return
        self._passed += 1
        if self._passed % _OLDEST_EVERY:
            heapq.heappop(self._waiting)[2].set()
            return
        oldest = min(self._waiting, key=lambda one: one[1])
        self._waiting.remove(oldest)
        heapq.heapify(self._waiting)
        oldest[2].set()


class Bell:
    """Wakes whoever waits; rung while nobody waits, it is heard by the next."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Wake the waiting task."""
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Whether it rang within that many seconds; hearing it silences it."""
        with anyio.move_on_after(max(0.0, seconds)):
            await self._rung.wait()
        heard = self._rung.is_set()
        if heard:
            self._rung = anyio.Event()
        return heard


async def unless(event: anyio.Event, wait: Callable[[], Awaitable[None]]) -> None:
    """Wait, but no longer than until the event."""

    async def end() -> None:
        await event.wait()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end)
        await wait()
        tasks.cancel_scope.cancel()
