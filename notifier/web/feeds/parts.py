"""What feeds are handed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

from notifier.domain.calendar import MOST_ENTRIES
from notifier.domain.models import Route
from notifier.storage.feed import Feeds
from notifier.web.feeds.copy import Offload

T = TypeVar("T")
#: A start and an id: where a milestone stands in a calendar.
Place: TypeAlias = tuple[datetime, str]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """All that feeds are made with."""

    shelf: Feeds
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
