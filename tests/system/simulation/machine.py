"""Virtual time, and a process that may die before or after any statement."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

import anyio
import anyio.lowlevel
import trio
from sqlalchemy import Engine, event

from notifier.domain.clock_offset import ANSWERS, OffsetBounds, agreed_offset

T = TypeVar("T")

#: In the first night clocks in Europe are set back.
BIRTH = datetime(2026, 10, 24, 18, tzinfo=UTC)


class Crash(BaseException):
    """The process is dead: nothing of it runs any more."""


class VirtualClock:
    """Trio's clock as wall clock; never wrong, so that there is one truth."""

    def __init__(self) -> None:
        self._seen: list[OffsetBounds] = []

    def now(self) -> datetime:
        return BIRTH + timedelta(seconds=trio.current_time())

    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds))

    def observe(self, bounds: OffsetBounds) -> bool:
        self._seen = [*self._seen, bounds][-ANSWERS:]
        if (offset := agreed_offset(self._seen)) is not None:
            raise AssertionError(f"the clock is right, and would be moved by {offset}")
        return False

    def no_answer(self) -> None:
        """It is right."""

    def doubt(self) -> None:
        """It is believed."""

    def skew(self) -> None:
        """No answer is asked."""


class Machine:
    """Runs the store's statements until it dies."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        #: On trio's clock; None while it lives.
        self.died_at: float | None = 0.0
        self._fuse: int | None = None

    def boot(self, *, fuse: int | None = None) -> None:
        """Live again; with a fuse, for so many statements."""
        self.died_at = None
        self._fuse = fuse

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
        self.burn()
        result = work()
        self.burn()
        return result

    @contextmanager
    def wired(self) -> Iterator[None]:
        """As long as it lasts, no statement of any database is out of reach."""

        def before(*_: object) -> None:
            self.burn()

        event.listen(Engine, "before_cursor_execute", before)
        event.listen(Engine, "commit", before)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", before)
            event.remove(Engine, "commit", before)

    def burn(self) -> None:
        """Here it may die, if that is its fate."""
        self.check()
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse == 0:
                self.die()
                self.check()
