"""Time as a dependency: the only module that reads the machine's clocks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio
import structlog

log = structlog.get_logger()

#: A wall clock that has moved further than the time that passed was set. Nothing that
#: keeps it in step moves it so far between two looks, which are a second apart, and
#: less cannot be told from the whole seconds of an answer's `Date`.
JUMP_S = 1.0
#: Whoever could say whether a jump was right has so long for it.
BELIEVED_AFTER_S = 60.0
#: The two clocks are read at one moment, unless somebody stops us between them.
_ONE_MOMENT_S = 0.1
#: Unlike Python's own monotonic clock it counts the time that a machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """The machine's clock was set, and nobody knows yet whether that was right."""

    by: timedelta
    #: Tells one from another, within a process.
    number: int


class Clock(Protocol):
    """What the loops need of time. Instants are aware and in UTC."""

    def now(self) -> datetime:
        """Wall-clock time, corrected by what `correct` was told."""

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds; at once if they are not positive."""

    def correct(self, offset: timedelta) -> None:
        """Move the wall clock by `offset`, on top of what it was moved before."""

    def jump(self) -> Jump | None:
        """What the machine's clock did and `now` has not followed yet."""

    def settle(self, *, follow: bool) -> None:
        """End that: let `now` follow the jump, or be corrected for it for good."""


class SystemClock:
    """
    The machine's clocks.

    A jump of the wall clock is not followed until `settle` says so, or for a minute:
    starts would be told before their time, and what was told cannot be taken back.
    Until then `now` goes on from where it was. A machine that slept has not jumped.
    Any thread may ask.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(_STEADY),
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._offset = timedelta(0)
        #: By how much the wall clock is ahead of the steady one, as `now` takes it.
        wall_s, steady_s = self._both()
        self._lead = wall_s - steady_s
        self._doubted: _Doubted | None = None
        self._jumps = 0

    def now(self) -> datetime:
        """Wall-clock time, corrected by what `correct` was told."""
        with self._lock:
            return datetime.fromtimestamp(self._look(), UTC) + self._offset

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds; at once if they are not positive."""
        await anyio.sleep(max(0.0, seconds))

    def correct(self, offset: timedelta) -> None:
        """Move the wall clock by `offset`, on top of what it was moved before."""
        with self._lock:
            self._offset += offset

    def jump(self) -> Jump | None:
        """What the machine's clock did and `now` has not followed yet."""
        with self._lock:
            self._look()
            if self._doubted is None:
                return None
            by = timedelta(seconds=self._doubted.lead - self._lead)
            return Jump(by=by, number=self._jumps)

    def settle(self, *, follow: bool) -> None:
        """End that: let `now` follow the jump, or be corrected for it for good."""
        with self._lock:
            doubted = self._doubted
            if doubted is None:
                return
            if not follow:
                self._offset -= timedelta(seconds=doubted.lead - self._lead)
            self._end(doubted, follow=follow, by="answer")
            self._lead = doubted.lead

    def _look(self) -> float:
        """The wall clock, as far as it is followed."""
        wall, steady = self._both()
        lead, doubted = wall - steady, self._doubted
        if abs(lead - self._lead) <= JUMP_S:
            if doubted is not None:
                self._end(doubted, follow=False, by="itself")
            self._lead = lead
        elif doubted is None or abs(lead - doubted.lead) > JUMP_S:
            self._begin(lead, steady)
        elif steady - doubted.since >= BELIEVED_AFTER_S:
            self._end(doubted, follow=True, by="silence")
            self._lead = lead
        return wall - (lead - self._lead)

    def _both(self) -> tuple[float, float]:
        """What the wall clock and the steady one show at one moment."""
        while True:
            before, wall, steady = self._steady(), self._wall(), self._steady()
            if steady - before <= _ONE_MOMENT_S:
                return wall, steady

    def _begin(self, lead: float, steady: float) -> None:
        self._doubted = _Doubted(lead=lead, since=steady)
        self._jumps += 1
        log.warning("clock.jumped", jump_s=round(lead - self._lead, 3))

    def _end(self, doubted: "_Doubted", *, follow: bool, by: str) -> None:
        self._doubted = None
        jump_s = round(doubted.lead - self._lead, 3)
        log.info("clock.settled", jump_s=jump_s, followed=follow, by=by)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubted:
    """A jump that was seen."""

    #: By how much the wall clock is ahead of the steady one since then.
    lead: float
    #: On the steady clock.
    since: float


@dataclass(slots=True)
class Skew:
    """How far this machine's clock is off, as far as this process has found out."""

    #: Positive: it is slow. None: nothing is known yet.
    known: timedelta | None = None

    def note(self, correction: timedelta) -> None:
        """Enough was seen to say so: the clock was corrected by that, or is right."""
        self.known = (self.known or timedelta(0)) + correction
