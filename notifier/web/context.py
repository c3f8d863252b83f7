"""What the pages and the API of one service work with."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.web.reader import StoreReader
from notifier.workers.admin_actions import Deeds
from notifier.workers.readiness import HealthReport


@dataclass(frozen=True, kw_only=True)
class WebContext:
    """What the pages and the API of one service work with."""

    reader: StoreReader
    admin: Deeds
    readiness: Callable[[], Awaitable[HealthReport]]
    #: The corrected clock.
    now: Callable[[], datetime]
    #: The time zone of readers whose own is not known.
    zone: str = "UTC"
    #: The address of the web for people, if it is known.
    external_url: str | None = None
    version: str = ""
    #: Names, in the order of the configuration.
    destinations: Sequence[str] = ()
    routes: Sequence[str] = ()
