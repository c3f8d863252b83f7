"""Whether the loops advance: each says so, and silence is what counts as stuck."""

from collections.abc import Mapping
from datetime import timedelta

from notifier.clock import Clock

#: Longer than any wait that a healthy loop makes: one attempt, one slow answer.
STUCK_S = 120.0


class Pulse:
    """Remembers when each loop last had something to show for itself."""

    def __init__(self, clock: Clock, *, patience: timedelta = timedelta(0)) -> None:
        """`patience`: how long one answer may take."""
        self._clock = clock
        self._stuck_s = max(STUCK_S, 2 * patience.total_seconds())
        self._beats: dict[str, float] = {}

    def __call__(self, loop: str) -> None:
        """A loop advances."""
        self._beats[loop] = self._clock.monotonic()

    def ages(self) -> Mapping[str, float]:
        """By loop: seconds since it last advanced."""
        now = self._clock.monotonic()
        return {loop: now - beat for loop, beat in self._beats.items()}

    def stuck(self) -> list[str]:
        """The loops that have not advanced for too long."""
        return sorted(loop for loop, age in self.ages().items() if age > self._stuck_s)
