"""Whether the service is well and ready, as its health pages say it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from notifier.clock import Skew
from notifier.domain.commit import WatchRow
from notifier.errors import StoreError
from notifier.web.ports import Vital

#: A clock that is further off tells everything at the wrong time.
_OFF = timedelta(seconds=60)


class Watched(Protocol):
    """What it needs of the store."""

    async def watches(self) -> list[WatchRow]:
        """The watches in force."""
        ...


@dataclass(slots=True, kw_only=True)
class Vitals:
    """How the service fares, now."""

    store: Watched
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
            watches = await self.store.watches()
        except StoreError:
            return ["the store cannot be read"]
        return [
            f"the first read of {watch.name} is not complete"
            for watch in watches
            if watch.baselined_at is None
        ]
