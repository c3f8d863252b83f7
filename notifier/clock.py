"""Time as a dependency: the only module that reads the machine's clocks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import anyio
import structlog

from notifier.domain.timers import Trust, is_repair

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
_BOOT = Path("/proc/sys/kernel/random/boot_id")


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
        """
        Move the wall clock by `offset`, on top of what it was moved before.

        It is borne out from then on, also if it was right and is moved by nothing.
        """

    def jump(self) -> Jump | None:
        """What the machine's clock did and `now` has not followed yet."""

    def settle(self, number: int, *, follow: bool) -> None:
        """
        End that: let `now` follow the jump, or be corrected for it for good.

        Nothing happens if that jump is over; there may be another.
        """

    def settled(self) -> int:
        """How often what the machine's clock is taken for was settled anew."""

    def trust(self) -> Trust:
        """What the machine's clock is taken for."""

    def take_up(self, trust: Trust | None) -> None:
        """Go on from what an earlier process took it for; once, at the start."""


class SystemClock:
    """
    The machine's clocks.

    A jump of the wall clock is not followed until `settle` says so, or for a minute:
    starts would be told before their time, and what was told cannot be taken back.
    Until then `now` goes on from where it was. A machine that slept has not jumped.
    A correction that was learnt is one of the clock as it was: when a jump undoes it,
    that clock was repaired, and when one is followed for want of answers, it is void.
    Any thread may ask.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = lambda: time.clock_gettime(_STEADY),
        boot: str | None = None,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._boot = _this_boot() if boot is None else boot
        self._lock = threading.Lock()
        self._offset = timedelta(0)
        #: By how much the wall clock is ahead of the steady one, as `now` takes it.
        wall_s, steady_s = self._both()
        self._lead = wall_s - steady_s
        self._doubted: _Doubted | None = None
        self._jumps = 0
        self._settled = 0
        self._is_sure = False
        self._is_taken_up = False

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
            self._is_sure = True

    def jump(self) -> Jump | None:
        """What the machine's clock did and `now` has not followed yet."""
        with self._lock:
            self._look()
            if self._doubted is None:
                return None
            by = timedelta(seconds=self._doubted.lead - self._lead)
            return Jump(by=by, number=self._jumps)

    def settle(self, number: int, *, follow: bool) -> None:
        """End that: let `now` follow the jump, or be corrected for it for good."""
        with self._lock:
            doubted = self._doubted
            if doubted is None or number != self._jumps:
                return
            if not follow:
                self._offset -= timedelta(seconds=doubted.lead - self._lead)
            self._is_sure = True
            self._end(doubted.lead, follow=follow, by="answer")

    def settled(self) -> int:
        """How often what the machine's clock is taken for was settled anew."""
        with self._lock:
            self._look()
            return self._settled

    def trust(self) -> Trust:
        """What the machine's clock is taken for."""
        with self._lock:
            self._look()
            return Trust(
                boot=self._boot,
                lead=self._lead,
                offset=self._offset,
                is_sure=self._is_sure,
            )

    def take_up(self, trust: Trust | None) -> None:
        """
        Go on from what an earlier process took it for; once, at the start.

        If the wall clock was set since then, that is a jump like any other.
        """
        with self._lock:
            if self._is_taken_up:
                return
            self._is_taken_up = True
            if trust is None or not trust.holds_for(self._boot):
                return
            self._lead, self._offset = trust.lead, trust.offset
            self._is_sure = trust.is_sure
            self._settled += 1
            self._look()

    def _look(self) -> float:
        """The wall clock, as far as it is followed."""
        wall, steady = self._both()
        lead, doubted = wall - steady, self._doubted
        if abs(lead - self._lead) <= JUMP_S:
            if doubted is not None:
                self._say_end(doubted.lead, follow=False, by="itself")
                self._doubted = None
            self._lead = lead
        elif is_repair(timedelta(seconds=lead - self._lead), self._offset):
            self._offset -= timedelta(seconds=lead - self._lead)
            self._end(lead, follow=False, by="repair")
        elif doubted is None or abs(lead - doubted.lead) > JUMP_S:
            self._begin(lead, steady)
        elif steady - doubted.since >= BELIEVED_AFTER_S:
            self._offset, self._is_sure = timedelta(0), False
            self._end(lead, follow=True, by="silence")
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

    def _end(self, lead: float, *, follow: bool, by: str) -> None:
        self._say_end(lead, follow=follow, by=by)
        self._doubted = None
        self._lead = lead
        self._settled += 1

    def _say_end(self, lead: float, *, follow: bool, by: str) -> None:
        jump_s = round(lead - self._lead, 3)
        log.info("clock.settled", jump_s=jump_s, followed=follow, by=by)


def _this_boot() -> str:
    """What tells this run of the machine from the others, if the system says so."""
    try:
        return _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


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
    _settled: int = 0

    def note(self, correction: timedelta) -> None:
        """Enough was seen to say so: the clock was corrected by that, or is right."""
        self.known = (self.known or timedelta(0)) + correction

    def hear(self, clock: Clock) -> None:
        """Take over what was settled since; what nobody has borne out is not known."""
        settled = clock.settled()
        if settled != self._settled:
            self._settled = settled
            trust = clock.trust()
            self.known = trust.offset if trust.is_sure else None
