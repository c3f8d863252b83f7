"""What feeds are handed."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from notifier.domain.calendar import MOST_ENTRIES, Listed
from notifier.domain.models import Event, Kind, Route
from notifier.web.feeds.copy import Offload

T = TypeVar("T")
#: A start and an id: where a milestone stands in a calendar.
Place: TypeAlias = tuple[datetime, str]


class Mark(Protocol):
    """How far the store has come: equal marks, nothing new to show."""

    @property
    def seq(self) -> int:
        """The number of the newest event."""

    @property
    def baselines(self) -> tuple[tuple[str, datetime | None], ...]:
        """The watches, and when the first read of each was complete."""


class Shelf(Protocol):
    """What feeds need of the store; `make` runs off the event loop."""

    async def mark(self) -> Mark: ...

    async def sorts(self, since: datetime, until: datetime) -> list[tuple[str, str]]:
        """The categories and types of what starts between two instants."""
        ...

    async def after(
        self,
        place: Place,
        until: datetime,
        make: Callable[[Listed], T],
        *,
        sorts: Collection[tuple[str, str]] | None,
        limit: int,
    ) -> list[tuple[Place, T]]:
        """What starts after a place and before an instant, soonest first."""
        ...

    async def before(
        self,
        place: Place,
        since: datetime,
        make: Callable[[Listed], T],
        *,
        sorts: Collection[tuple[str, str]] | None,
        limit: int,
    ) -> list[tuple[Place, T]]:
        """What starts before a place, but not before an instant, latest first."""
        ...

    async def these(self, ids: Sequence[str], make: Callable[[Listed], T]) -> list[tuple[Place, T]]:
        """Those with these ids, in no order."""
        ...

    async def changed(self, seq: int, *, most: int) -> list[str]:
        """The milestones to which something happened since an event."""
        ...

    async def events(
        self,
        make: Callable[[Event], T],
        *,
        above: int,
        below: int,
        kinds: Iterable[Kind],
        limit: int,
    ) -> list[tuple[int, T]]:
        """Events of these kinds between two numbers, newest first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Desk:
    """All that feeds are made with."""

    shelf: Shelf
    #: In the order of the configuration.
    routes: Sequence[Route]
    now: Callable[[], datetime]
    zone: ZoneInfo
    external_url: str | None
    #: Runs what takes long.
    offload: Offload
    #: Entries of a calendar.
    most: int = MOST_ENTRIES

    def rule(self, name: str) -> Route | None:
        """The route of that name."""
        return next((rule for rule in self.routes if rule.name == name), None)
