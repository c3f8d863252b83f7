"""Time as a dependency: the only module that reads the machine's clocks."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import anyio
import structlog

from notifier.domain.clock_offset import ANSWERS, OffsetBounds, agreed_offset, offset_after_jump

log = structlog.get_logger()

#: A wall clock that has moved further than the time that passed has jumped. Time synchronisation
#: never moves it so far between two looks, and less is within the whole seconds of `Date`.
JUMP_S = 1.0
#: An answer can confirm the machine's clock for so long; then the machine is believed.
MAX_DOUBT_S = 60.0
#: A larger correction is a warning.
_WARN_OFFSET = timedelta(seconds=5)
#: The two clocks are read at one moment unless the process is stopped between them.
_ONE_MOMENT_S = 0.1
#: Unlike Python's own monotonic clock it counts the time that a machine sleeps.
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What the workers need of time. Instants are aware and in UTC."""

    def now(self) -> datetime:
        """Wall-clock time, corrected by what the API's answers prove."""

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at once if they are not positive."""

    def observe(self, bounds: OffsetBounds) -> bool:
        """Learn from an answer of the API; whether that moved the time or ended a doubt."""

    def no_answer(self) -> None:
        """Learn that a read failed: a new process believes the machine's clock then."""

    def doubt(self) -> int | None:
        """The number of the jump that no answer has confirmed; None: the clock is believed."""

    def skew(self) -> timedelta | None:
        """How far the machine's clock is off (positive: slow); None: no answer has said."""


class SystemClock:
    """
    The machine's clocks.

    A jump of the wall clock is in doubt until the next answer of the API, or for a minute; the
    wall clock of a new process is in doubt until its first read has answered or failed. Until
    then `now` goes on from where it was and starts are held: a start that is announced too early
    cannot be taken back. A machine that slept has not jumped. If no answer comes the machine is
    believed, without the correction of before. Any thread may ask.
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
        self._is_confirmed = False
        self._seen: list[OffsetBounds] = []
        self._jumps = 0
        wall_s, steady_s = self._both()
        #: By how much the wall clock is ahead of the steady one, as `now` takes it.
        self._lead = wall_s - steady_s
        self._doubt: _Doubt | None = _Doubt(number=0, lead=self._lead, since=steady_s)

    def now(self) -> datetime:
        """Wall-clock time, corrected by what the API's answers prove."""
        with self._lock:
            return datetime.fromtimestamp(self._read(), UTC) + self._offset

    def monotonic(self) -> float:
        """Time in seconds that never jumps; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds; at once if they are not positive."""
        await anyio.sleep(max(0.0, seconds))

    def doubt(self) -> int | None:
        """The number of the jump that no answer has confirmed; None: the clock is believed."""
        with self._lock:
            self._read()
            return None if self._doubt is None else self._doubt.number

    def no_answer(self) -> None:
        """Learn that a read failed: a new process believes the machine's clock then."""
        with self._lock:
            if self._doubt is not None and self._doubt.number == 0:
                self._doubt = None

    def skew(self) -> timedelta | None:
        """How far the machine's clock is off (positive: slow); None: no answer has said."""
        with self._lock:
            self._read()
            return self._offset if self._is_confirmed else None

    def observe(self, bounds: OffsetBounds) -> bool:
        """
        Learn from an answer of the API; whether that moved the time or ended a doubt.

        One answer decides on a clock in doubt; five that agree correct a confirmed one.
        """
        with self._lock:
            self._read()
            doubt, jump = self._doubt, timedelta(0)
            if doubt is None and self._is_confirmed:
                self._seen = [*self._seen, bounds][-ANSWERS:]
                correction = agreed_offset(self._seen)
                if correction is None:
                    return False
            else:
                jump_s = 0.0 if doubt is None else doubt.lead - self._lead
                jump = timedelta(seconds=jump_s)
                correction = offset_after_jump(jump, bounds)
                self._lead += jump_s
                self._is_confirmed = True
                if doubt is not None:
                    self._settle(doubt, jump_s, followed=correction == jump, by="answer")
            self._offset += correction - jump
            self._seen = []
            if correction not in {timedelta(0), jump}:
                is_far = abs(correction) > _WARN_OFFSET
                offset_s = round(correction.total_seconds(), 3)
                (log.warning if is_far else log.info)("clock.corrected", offset_s=offset_s)
            return bool(correction) or doubt is not None

    def _read(self) -> float:
        """The wall clock, as far as it is followed."""
        wall, steady = self._both()
        lead, doubt = wall - steady, self._doubt
        jump_s = lead - self._lead
        has_jumped = abs(jump_s) > JUMP_S
        if has_jumped and (doubt is None or abs(lead - doubt.lead) > JUMP_S):
            self._jumps += 1
            self._doubt = _Doubt(number=self._jumps, lead=lead, since=steady)
            log.warning("clock.jumped", jump_s=round(jump_s, 3))
        elif doubt is not None and steady - doubt.since >= MAX_DOUBT_S:
            self._offset, self._is_confirmed, self._seen = timedelta(0), False, []
            self._lead = lead
            self._settle(doubt, jump_s, followed=True, by="silence")
        elif not has_jumped:
            if doubt is not None and abs(doubt.lead - self._lead) > JUMP_S:
                self._settle(doubt, doubt.lead - self._lead, followed=False, by="itself")
            self._lead = lead
        return steady + self._lead

    def _settle(self, doubt: "_Doubt", jump_s: float, *, followed: bool, by: str) -> None:
        self._doubt = None
        if doubt.number:
            log.info("clock.settled", jump_s=round(jump_s, 3), followed=followed, by=by)

    def _both(self) -> tuple[float, float]:
        """What the wall clock and the steady one show at one moment."""
        while True:
            before, wall, steady = self._steady(), self._wall(), self._steady()
            if steady - before <= _ONE_MOMENT_S:
                return wall, steady


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    """A jump that no answer has confirmed; number 0 is the start of the process."""

    number: int
    #: By how much the wall clock is ahead of the steady one since then.
    lead: float
    #: On the steady clock.
    since: float
