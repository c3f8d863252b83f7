"""
The web's parts, built and connected: books, doors, pages, API, feeds, metrics.

Apart from `app`, because it is loaded only for those who want the web, and while the
loops run already.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

import anyio
import msgspec
import structlog

from notifier import __version__
from notifier.clock import Clock, Skew
from notifier.domain.models import Limits, Rate, Rendered
from notifier.senders.sender import scheme_of
from notifier.settings import Config, Web
from notifier.storage.database import Database, RunInThread
from notifier.storage.tail import Tail
from notifier.web.listen import Front
from notifier.web.ports import Ports
from notifier.workers.admin_actions import Deeds
from notifier.workers.readiness import Readiness

if TYPE_CHECKING:
    from notifier.storage.books import Books

log = structlog.get_logger()


class Limiting(Protocol):
    """What is known of the far ends."""

    def default_rate(self, destination: str) -> Rate | None: ...
    def limits(self, destination: str) -> Limits: ...


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Answers people where the web listens, if it does."""

    config: Config
    db: Database
    sender: Limiting
    deeds: Deeds
    vitals: Readiness
    clock: Clock
    front: Front
    #: It counts since before the loops began.
    tail: Tail
    skew: Skew
    seal: bytes
    token: Callable[[], str]
    run_in_thread: RunInThread

    async def run(self) -> None:
        """Until it is cancelled. Whatever is wrong with it, messages go out."""
        if self.config.web is None or self.front.place is None:
            return
        try:
            await anyio.to_thread.run_sync(import_module, "notifier.web.open")
            await self._attend(self.config.web)
        except Exception as exc:
            log.exception("web.broken", reason=type(exc).__name__)
            self.front.close()

    def address(self) -> str | None:
        """Where people find the dashboard; None: nowhere."""
        place = self.front.place
        if place is None:
            return None
        known = self.config.external_url
        return place.url if known is None else f"{known.rstrip('/')}/"

    async def _attend(self, web: Web) -> None:
        # Loaded only now, see above.
        from notifier.web.api import api  # noqa: PLC0415
        from notifier.web.feeds import Feeds  # noqa: PLC0415
        from notifier.web.metrics import metrics  # noqa: PLC0415
        from notifier.web.open import Access, attend  # noqa: PLC0415

        books = self._books()
        self.deeds.changed = books.forget
        ports = self._ports(books)
        access = Access(
            password=web.password,
            db=self.db,
            fresh=self.token,
            secret=self.seal,
            offload=self.run_in_thread,
            sleep=self.clock.sleep,
            hosts=web.hosts,
            proxies=web.trusted_proxies,
        )
        documents = Feeds(
            db=self.db,
            rules=self.config.routes,
            now=self.clock.now,
            zone=self.config.zone,
            external_url=self.config.external_url,
        )
        more = [
            *api(ports),
            *documents.routes(),
            *metrics(
                self.tail,
                self.tail.tally,
                version=__version__,
                skew=lambda: self.skew.known,
                offload=self.run_in_thread,
            ),
        ]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(books.keep, self.clock.sleep)
            await attend(self.front, ports, access, more=more)
            tasks.cancel_scope.cancel()

    def _books(self) -> "Books":
        from notifier.senders.webhook import SCHEMES, encode_body  # noqa: PLC0415 - see above
        from notifier.storage.books import Books  # noqa: PLC0415 - likewise

        def posted(message: Rendered, now: datetime) -> str:
            return msgspec.json.format(encode_body(message, now=now), indent=2).decode()

        config = self.config
        return Books(
            self.db,
            routes=config.routes,
            destinations=config.destinations,
            rates={
                one.name: one.rate or self.sender.default_rate(one.name)
                for one in config.destinations
            },
            now=self.clock.now,
            limits={one.name: self.sender.limits(one.name) for one in config.destinations},
            external_url=config.external_url,
            monotonic=self.clock.monotonic,
            programs={
                one.name: posted for one in config.destinations if scheme_of(one.url) in SCHEMES
            },
        )

    def _ports(self, books: "Books") -> Ports:
        config = self.config
        return Ports(
            books=books,
            deeds=self.deeds,
            vitals=self.vitals,
            now=self.clock.now,
            zone=config.zone.key,
            external_url=config.external_url,
            version=__version__,
            destinations=[one.name for one in config.destinations],
            routes=[one.name for one in config.routes],
        )
