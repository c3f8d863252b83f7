"""Whether the service is well and ready, as its health pages say it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from notifier.clock import Skew
from notifier.errors import StoreError
from notifier.storage import milestones
from notifier.storage.database import Database

#: A clock that is further off tells everything at the wrong time.
_OFF = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vital:
    """Whether the service is well, as `/-/healthy` and `/-/ready` say it."""

    #: Loops that have not advanced for too long.
    stuck: Sequence[str] = ()
    #: Why it is not ready; none: it is.
    unready: Sequence[str] = ()
    #: Seconds that the machine's clock is off; None: not known.
    skew_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Vitals:
    """How the service fares, now."""

    db: Database
    skew: Skew
    stuck: Callable[[], Sequence[str]]
    #: It finishes what is under way, and takes on nothing more.
    is_stopping: bool = False

    async def __call__(self) -> Vital:
        """Asked as often as anybody likes: one short question to the store."""
        stuck = list(self.stuck())
        known = self.skew.known
        unready = [f"the {loop} loop is stuck" for loop in stuck]
        if self.is_stopping:
            unready.append("it is stopping")
        unready += await self._unread()
        if known is not None and abs(known) > _OFF:
            unready.append(f"this machine's clock is {abs(known).total_seconds():.0f} s off")
        return Vital(
            stuck=stuck,
            unready=unready,
            skew_s=None if known is None else known.total_seconds(),
        )

    async def _unread(self) -> list[str]:
        try:
            watches = await self.db.read(milestones.watches)
        except StoreError:
            return ["the store cannot be read"]
        return [
            f"the first read of {watch.name} is not complete"
            for watch in watches
            if watch.baselined_at is None
        ]
