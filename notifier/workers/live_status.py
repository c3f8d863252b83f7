"""
LOOP live: asks Kalshi's live data what has really started, where a watch wants it.

It decides nothing about events. What it learns is joined to messages and pages; what
it cannot learn is not said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from notifier.clock import Clock
from notifier.domain.live_status import AHEAD, BEHIND, Asked, Said, next_start, to_ask
from notifier.errors import NotifierError, SourceError
from notifier.storage import live_status
from notifier.storage.database import Database, Priority
from notifier.workers.rate_limiter import RateLimiter, RequestPriority

log = structlog.get_logger()

#: Between two looks at who is to be asked about, unless somebody starts before.
_EVERY_S = 5.0
#: Ids of one request; the API takes no more.
_BATCH = 100
#: Requests of one round: the rate belongs to the polls.
_REQUESTS = 10
#: Milestones that one look considers.
_CONSIDERED = 5000
#: After a request that failed; doubled each time, up to the longest.
_BACK_OFF_S = 15.0
_LONGEST_BACK_OFF_S = 300.0


class Source(Protocol):
    """What the loop needs of the API. Raises SourceError and nothing else."""

    async def live(self, milestone_ids: Sequence[str]) -> Mapping[str, Said]:
        """What is said of these, as far as there is anything; at most 100."""


@dataclass(slots=True, kw_only=True)
class LiveStatusPoller:
    """The loop of what is live."""

    source: Source
    db: Database
    clock: Clock
    rate_limiter: RateLimiter
    #: The names of those watches that want it.
    watches: Sequence[str]
    heartbeat: Callable[[str], None]
    #: When each was asked about last.
    _asked: dict[str, datetime] = field(default_factory=dict)
    _failures: int = 0
    #: Nothing is asked before; monotonic.
    _quiet_until: float = 0.0
    #: When somebody will just have started.
    _next_start: datetime | None = None

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            self.heartbeat("live")
            if self.clock.monotonic() >= self._quiet_until:
                await self.once()
            await self.clock.sleep(self._wait_s())

    def _wait_s(self) -> float:
        """Until the next look: right after a start, so that what follows it knows."""
        if self._next_start is None or self.clock.monotonic() < self._quiet_until:
            return _EVERY_S
        left_s = (self._next_start - self.clock.now()).total_seconds()
        return min(max(left_s, 0.0), _EVERY_S)

    async def once(self) -> None:
        """Ask about whoever is due. What fails is tried again later."""
        try:
            await self._round()
        except SourceError as exc:
            self._failed(exc)
        except NotifierError:
            raise
        except Exception as exc:
            # Whatever an answer makes us stumble over must not stop the starts.
            log.exception("live.broken")
            self._failed(SourceError(type(exc).__name__))

    async def _round(self) -> None:
        now = self.clock.now()
        self._next_start = None
        found = await self.db.read(
            live_status.starting,
            self.watches,
            after=now - BEHIND,
            before=now + AHEAD,
            limit=_CONSIDERED,
        )
        asked = [Asked(candidate=one, at=self._asked.get(one.milestone_id)) for one in found]
        self._asked = {one.candidate.milestone_id: one.at for one in asked if one.at is not None}
        self._next_start = next_start(asked, now)
        wanted = to_ask(asked, now, most=_BATCH * _REQUESTS)
        for first in range(0, len(wanted), _BATCH):
            await self._ask(wanted[first : first + _BATCH])

    async def _ask(self, milestone_ids: Sequence[str]) -> None:
        await self.rate_limiter.acquire(RequestPriority.LIVE)
        self.heartbeat("live")
        now = self.clock.now()
        # First of all: those whose answer is bad must not keep others waiting.
        self._asked |= dict.fromkeys(milestone_ids, now)
        heard = await self.source.live(milestone_ids)
        self._failures = 0
        if heard:
            await self.db.write(Priority.MAINTENANCE, live_status.learn, heard, now)
        log.debug("live.asked", milestones=len(milestone_ids), answers=len(heard))

    def _failed(self, exc: SourceError) -> None:
        hint: timedelta | None = getattr(exc, "retry_after", None)
        doubled = _BACK_OFF_S * 2 ** min(self._failures, 10)
        wait_s = min(doubled, _LONGEST_BACK_OFF_S)
        if hint is not None:
            wait_s = max(wait_s, hint.total_seconds())
        self._failures += 1
        self._quiet_until = self.clock.monotonic() + wait_s
        log.warning("live.failed", reason=str(exc), next_try_s=round(wait_s))
