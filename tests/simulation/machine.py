"""Virtual time, and a process that may die before or after any statement."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

import anyio
import anyio.lowlevel
import trio

T = TypeVar("T")

BIRTH = datetime(2026, 11, 22, 18, tzinfo=UTC)


class Crash(BaseException):
    """The process is dead: nothing of it runs any more."""


class VirtualClock:
    """Trio's clock as wall clock; never wrong, so that there is one truth."""

    def now(self) -> datetime:
        return BIRTH + timedelta(seconds=trio.current_time())

    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    def correct(self, offset: timedelta) -> None:
        raise AssertionError(f"the clock was right, and was moved by {offset}")


class Machine:
    """Runs the store's statements until it dies."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        #: On trio's clock; None while it lives.
        self.died_at: float | None = 0.0
        self._fuse: int | None = None
        self._too_late = False

    def boot(self, *, fuse: int | None = None) -> None:
        """Live again; with a fuse, for so many statements."""
        self.died_at = None
        self._fuse = fuse
        #: Half of the deaths come when the statement has been executed.
        self._too_late = self._chance.random() < 0.5

    def die(self) -> None:
        """From now on nothing has any effect."""
        if self.died_at is None:
            self.died_at = trio.current_time()

    def check(self) -> None:
        """Raise Crash if it is dead. Whatever the process does comes through here."""
        if self.died_at is not None:
            raise Crash

    async def offload(self, work: Callable[[], T], /) -> T:
        """What `anyio.to_thread.run_sync` is in real life."""
        self.check()
        if self._chance.random() < 0.3:
            await anyio.lowlevel.checkpoint()
            self.check()
        burns = self._burns()
        if burns and not self._too_late:
            self.die()
        self.check()
        result = work()
        if burns:
            self.die()
        self.check()
        return result

    def _burns(self) -> bool:
        if self._fuse is None:
            return False
        self._fuse -= 1
        return self._fuse == 0
