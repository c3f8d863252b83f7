"""Finds workers that have stalled: each reports progress, and long silence counts as stalled."""

from datetime import timedelta

from notifier.clock import Clock

#: Longer than any wait of a healthy worker: one attempt, one slow answer.
STALLED_S = 120.0


class Watchdog:
    """Remembers when each worker last made progress."""

    def __init__(self, clock: Clock, *, timeout: timedelta = timedelta(0)) -> None:
        """`timeout`: how long one answer of the API may take."""
        self._clock = clock
        self._stalled_s = max(STALLED_S, 2 * timeout.total_seconds())
        self._last: dict[str, float] = {}

    def heartbeat(self, worker: str) -> None:
        """Note that a worker makes progress."""
        self._last[worker] = self._clock.monotonic()

    def ages(self) -> dict[str, float]:
        """By worker: seconds since its last progress."""
        now = self._clock.monotonic()
        return {worker: now - last for worker, last in self._last.items()}

    def stalled(self) -> list[str]:
        """The workers that have made no progress for too long."""
        return sorted(worker for worker, age in self.ages().items() if age > self._stalled_s)
