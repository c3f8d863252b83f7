"""Whether the service is healthy and ready, as `/-/healthy` and `/-/ready` report it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from notifier.errors import StoreError
from notifier.storage import milestones
from notifier.storage.database import Database

#: With a clock that is further off, all times in messages are wrong.
_MAX_SKEW = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The state of the service at one moment."""

    #: Workers that have made no progress for too long.
    stalled: Sequence[str] = ()
    #: Why the service is not ready; empty if it is.
    unready: Sequence[str] = ()
    #: Seconds that the machine's clock is off; None: not known.
    skew_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Readiness:
    """Reports the state of the service; costs one short query."""

    db: Database
    skew: Callable[[], timedelta | None]
    stalled: Callable[[], Sequence[str]]
    #: The service finishes what is under way and takes on nothing more.
    is_stopping: bool = False

    async def __call__(self) -> HealthReport:
        """Report the state now."""
        stalled = list(self.stalled())
        skew = self.skew()
        unready = [f"the {worker} loop is stuck" for worker in stalled]
        if self.is_stopping:
            unready.append("it is stopping")
        try:
            unready += [
                f"the first read of {watch.name} is not complete"
                for watch in await self.db.read(milestones.watches)
                if watch.baselined_at is None
            ]
        except StoreError:
            unready.append("the store cannot be read")
        if skew is not None and abs(skew) > _MAX_SKEW:
            unready.append(f"this machine's clock is {abs(skew).total_seconds():.0f} s off")
        return HealthReport(
            stalled=stalled,
            unready=unready,
            skew_s=None if skew is None else skew.total_seconds(),
        )
