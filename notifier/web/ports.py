"""What the pages and the API of one service work with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.storage.books import Books
from notifier.workers.admin_actions import Deeds
from notifier.workers.readiness import HealthReport


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What the pages and the API of one service work with."""

    books: Books
    deeds: Deeds
    vitals: Callable[[], Awaitable[HealthReport]]
    #: The corrected clock.
    now: Callable[[], datetime]
    #: For times where the reader's own zone is not known.
    zone: str = "UTC"
    #: How people reach it, if that is known.
    external_url: str | None = None
    version: str = ""
    #: Names, in the order of the configuration.
    destinations: Sequence[str] = ()
    routes: Sequence[str] = ()
