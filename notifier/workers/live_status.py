"""
The live-status poller: asks Kalshi's live data which milestones have really started.

It decides nothing about events: what it learns is shown in messages and pages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from notifier.clock import Clock
from notifier.domain.live_status import (
    AHEAD,
    BEHIND,
    LiveAnswer,
    PolledCandidate,
    ids_to_ask,
    next_start,
)
from notifier.errors import NotifierError, SourceError
from notifier.storage import live_status
from notifier.storage.database import Database, Priority
from notifier.workers.rate_limiter import RateLimiter, RequestPriority

log = structlog.get_logger()

#: Between two rounds, unless a milestone starts before.
_EVERY_S = 5.0
#: Ids of one request; the API takes no more.
_IDS_PER_REQUEST = 100
#: Requests of one round: the rate belongs to the polls.
_REQUESTS_PER_ROUND = 10
#: Milestones that one round considers.
_MAX_CANDIDATES = 5000
#: After a request that failed; doubled each time, up to the longest.
_BACKOFF_S = 15.0
_MAX_BACKOFF_S = 300.0


class LiveSource(Protocol):
    """The API's live data."""

    async def live(self, milestone_ids: Sequence[str]) -> Mapping[str, LiveAnswer]:
        """The status of at most 100 milestones, as far as there is any; or SourceError."""


@dataclass(slots=True, kw_only=True)
class LiveStatusPoller:
    """Polls the live status of milestones about to start and under way."""

    source: LiveSource
    db: Database
    clock: Clock
    rate_limiter: RateLimiter
    #: The names of the watches with `live: true`.
    watches: Sequence[str]
    heartbeat: Callable[[str], None]
    #: By milestone: when it was asked about last.
    _asked: dict[str, datetime] = field(default_factory=dict)
    _failures: int = 0
    #: No request is made before; monotonic.
    _quiet_until: float = 0.0
    _next_start: datetime | None = None

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            self.heartbeat("live")
            if self.clock.monotonic() >= self._quiet_until:
                await self.once()
            wait_s = _EVERY_S
            if self._next_start is not None and self.clock.monotonic() >= self._quiet_until:
                # Right after a start, so that messages about it know its status.
                left_s = (self._next_start - self.clock.now()).total_seconds()
                wait_s = min(max(left_s, 0.0), _EVERY_S)
            await self.clock.sleep(wait_s)

    async def once(self) -> None:
        """Make one round. After a failure the next one waits."""
        try:
            await self._round()
        except SourceError as exc:
            self._back_off(exc)
        except NotifierError:
            raise
        except Exception as exc:
            # An answer that this code cannot handle must not stop the service.
            log.exception("live.broken")
            self._back_off(SourceError(type(exc).__name__))

    async def _round(self) -> None:
        now = self.clock.now()
        self._next_start = None
        candidates = await self.db.read(
            live_status.starting,
            self.watches,
            after=now - BEHIND,
            before=now + AHEAD,
            limit=_MAX_CANDIDATES,
        )
        asked = [
            PolledCandidate(candidate=one, at=self._asked.get(one.milestone_id))
            for one in candidates
        ]
        self._asked = {one.candidate.milestone_id: one.at for one in asked if one.at is not None}
        self._next_start = next_start(asked, now)
        wanted = ids_to_ask(asked, now, most=_IDS_PER_REQUEST * _REQUESTS_PER_ROUND)
        for first in range(0, len(wanted), _IDS_PER_REQUEST):
            await self._ask(wanted[first : first + _IDS_PER_REQUEST])

    async def _ask(self, milestone_ids: Sequence[str]) -> None:
        await self.rate_limiter.acquire(RequestPriority.LIVE)
        self.heartbeat("live")
        now = self.clock.now()
        # Before the request: those whose answer is bad must not keep others waiting.
        self._asked |= dict.fromkeys(milestone_ids, now)
        answers = await self.source.live(milestone_ids)
        self._failures = 0
        if answers:
            await self.db.write(Priority.MAINTENANCE, live_status.learn, answers, now)
        log.debug("live.asked", milestones=len(milestone_ids), answers=len(answers))

    def _back_off(self, exc: SourceError) -> None:
        wait_s = min(_BACKOFF_S * 2 ** min(self._failures, 10), _MAX_BACKOFF_S)
        hint: timedelta | None = getattr(exc, "retry_after", None)
        if hint is not None:
            wait_s = max(wait_s, hint.total_seconds())
        self._failures += 1
        self._quiet_until = self.clock.monotonic() + wait_s
        log.warning("live.failed", reason=str(exc), next_try_s=round(wait_s))
