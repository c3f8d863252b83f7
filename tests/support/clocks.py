"""Clocks that tests set or move; those of simulated time stand in `simulated`."""

from datetime import datetime, timedelta

from storing import NOW

from notifier.clock import SystemClock


class SetClock(SystemClock):
    """A wall clock that stands where a test sets it; to sleep takes real time."""

    def __init__(self, at: datetime = NOW) -> None:
        super().__init__()
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, **span: float) -> None:
        self.at += timedelta(**span)


class DrivenClock(SetClock):
    """Time that passes only as a test moves it, and by sleeping."""

    def monotonic(self) -> float:
        return (self.at - NOW).total_seconds()

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.advance(seconds=seconds)
