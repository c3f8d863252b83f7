"""
LOOP tell: conditions -> notices -> send.

Every few seconds it looks at how the service fares, and stores what became wrong or
right again together with what the operator is to be told. Notices are sent beside the
deliveries, within each destination's rate, and never to one that is broken.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import anyio
import structlog
from anyio.abc import TaskGroup

from notifier.clock import Clock, Skew
from notifier.core.model import Ambiguous, Failed, Limits, Outcome, Rate, Rendered, Sent
from notifier.core.notice import (
    Found,
    Reader,
    Words,
    back,
    notice_id,
    one_line,
    over,
    raised,
    rendered,
)
from notifier.core.operate import (
    Changes,
    Condition,
    DestinationView,
    Notice,
    NoticeKind,
    NoticeVerdict,
    Open,
    OperatorPolicy,
    Told,
    Trouble,
    View,
    can_be_sent_to,
    changes,
    conditions,
    counts_since,
    ending,
    has_room,
    is_caught_up,
    recipients,
    settle_notice,
)
from notifier.errors import NotifierError

log = structlog.get_logger()

_EVERY_S = 5.0
#: Kalshi is asked what it says of itself for no longer than this.
_ASK_S = 10.0


class OperatorTurn(Protocol):
    """The writer's turn, for what is wrong and for notices."""

    async def wake(self, *, to: Sequence[str], now: datetime) -> Open | None: ...
    async def told(self, keys: Collection[str]) -> list[Told]: ...
    async def record(
        self,
        *,
        raised: Mapping[str, tuple[datetime, str]],
        cleared: Collection[str],
        notices: Sequence[Notice],
        now: datetime,
    ) -> None: ...
    async def standing(self, destination: str, *, now: datetime) -> DestinationView: ...
    async def attempts_since(
        self, destination: str, since: datetime
    ) -> list[datetime]: ...
    async def take(self, destination: str, *, now: datetime) -> Notice | None: ...
    async def settle(
        self,
        notice: Notice,
        verdict: NoticeVerdict,
        *,
        outcome: str,
        status: int | None,
        now: datetime,
    ) -> None: ...


class OperatorStore(Protocol):
    """What the loop needs of the store."""

    def operator_turn(self) -> AbstractAsyncContextManager[OperatorTurn]: ...
    async def view(
        self, *, names: Collection[str], now: datetime, bad_for: timedelta
    ) -> View: ...
    async def found(self, *, since: datetime, now: datetime) -> Found: ...


class Exchange(Protocol):
    """What the loop needs of Kalshi."""

    async def exchange_status(self) -> str:
        """What it says of itself: active, maintenance, or unknown."""


class Sender(Protocol):
    """What the loop needs of the far end."""

    async def send(
        self, destination: str, message: Rendered, *, served: frozenset[str]
    ) -> Outcome:
        """One attempt; what was seen. Takes 30 s at most."""

    def limits(self, destination: str) -> Limits: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What a notice must know of a destination."""

    zone: ZoneInfo
    rate: Rate | None


@dataclass(slots=True, kw_only=True)
class Operate:
    """The telling loop."""

    store: OperatorStore
    source: Exchange
    sender: Sender
    clock: Clock
    #: Every destination in force, the operator's and the others.
    posts: Mapping[str, Post]
    policy: OperatorPolicy
    skew: Skew
    pulse: Callable[[str], None]
    _begun: datetime | None = None
    _begun_s: float = 0.0
    _downtime: Open | None = None
    _busy: set[str] = field(default_factory=set)

    async def run(self) -> None:
        """Look and tell for ever; what is not told when it ends waits for the next."""
        await self._wake()
        async with anyio.create_task_group() as tasks:
            while True:
                self.pulse("operate")
                await self._guarded(self._round, tasks)
                await self.clock.sleep(_EVERY_S)

    async def once(self) -> None:
        """One look, and one try of each notice that is due."""
        view = await self._look()
        for name in sorted(view.owed & self.posts.keys()):
            await self._tell(name)

    async def _wake(self) -> None:
        now = self.clock.now()
        self._begun, self._begun_s = now, self.clock.monotonic()
        async with self.store.operator_turn() as turn:
            self._downtime = await turn.wake(to=self.policy.to, now=now)
        if self._downtime is not None:
            away = now - self._downtime.since
            log.info("service.resumed", away_s=round(away.total_seconds()))

    async def _round(self, tasks: TaskGroup) -> None:
        view = await self._look()
        for name in sorted((view.owed & self.posts.keys()) - self._busy):
            self._busy.add(name)
            tasks.start_soon(self._serve, name)

    async def _serve(self, name: str) -> None:
        try:
            await self._guarded(self._tell, name)
        finally:
            self._busy.discard(name)

    async def _guarded(
        self, work: Callable[..., Awaitable[None]], *args: object
    ) -> None:
        """Whatever this loop stumbles over must not stop the others."""
        try:
            await work(*args)
        except NotifierError:
            raise
        except Exception:
            log.exception("operator.broken")

    # --- look ---

    async def _look(self) -> View:
        """Store what became wrong, or right again; what it all looks like then."""
        now = self.clock.now()
        view = await self._view(now)
        found = conditions(
            view,
            now=now,
            policy=self.policy,
            begun=self._begun,
            skew=self.skew.known,
        )
        changed = changes(view, found)
        if changed:
            await self._record(changed, now)
        told = await self._tell_downtime(view, now)
        return await self._view(now) if changed or told else view

    async def _view(self, now: datetime) -> View:
        return await self.store.view(
            names=list(self.posts), now=now, bad_for=self.policy.bad_for
        )

    async def _record(self, changed: Changes, now: datetime) -> None:
        exchange = await self._ask_kalshi(changed.raised)
        tales = {
            one.key: await self.store.found(since=one.since, now=now)
            for one in changed.cleared
            if one.trouble is Trouble.SOURCE
        }
        gone = (*changed.cleared, *changed.lapsed)
        async with self.store.operator_turn() as turn:
            # As far as each destination has been told when this is committed.
            heard = {
                (told.key, told.destination): told
                for told in await turn.told([one.key for one in changed.cleared])
            }
            notices = [
                *self._begun_notices(changed.raised, exchange, now),
                *self._over_notices(changed.cleared, heard, tales, now),
            ]
            await turn.record(
                raised={one.key: (one.since, one_line(one)) for one in changed.raised},
                cleared=[one.key for one in gone],
                notices=notices,
                now=now,
            )
        for raised_one in changed.raised:
            self._log_raised(raised_one)
        for over_one in gone:
            lasted = now - over_one.since
            log.info(
                "condition.cleared",
                condition=over_one.key,
                lasted_s=round(lasted.total_seconds()),
            )

    def _begun_notices(
        self, found: Sequence[Condition], exchange: str, now: datetime
    ) -> list[Notice]:
        return [
            self._notice(
                name,
                one.key,
                NoticeKind.RAISED,
                raised(one, self._reader(name, now), exchange=exchange),
                since=one.since,
                now=now,
            )
            for one in found
            for name in recipients(self.policy.to, one)
        ]

    def _over_notices(
        self,
        found: Sequence[Open],
        heard: Mapping[tuple[str, str], Told],
        tales: Mapping[str, Found],
        now: datetime,
    ) -> list[Notice]:
        notices = []
        for one in found:
            for name in recipients(self.policy.to, one):
                kind = ending(one, heard.get((one.key, name)), now=now)
                if kind is None:
                    continue
                reader, tale = self._reader(name, now), tales.get(one.key)
                words = over(one, kind, reader, found=tale)
                notices.append(
                    self._notice(name, one.key, kind, words, since=one.since, now=now)
                )
        return notices

    def _log_raised(self, one: Condition) -> None:
        told = recipients(self.policy.to, one)
        log.warning(
            "condition.raised", condition=one.key, words=one_line(one), told=list(told)
        )
        if not told:
            log.error("operator.untold", condition=one.key, words=one_line(one))

    async def _ask_kalshi(self, found: Sequence[Condition]) -> str:
        """What Kalshi says of itself, if it is a matter of Kalshi."""
        if all(one.trouble is not Trouble.SOURCE for one in found):
            return ""
        with anyio.move_on_after(_ASK_S):
            try:
                return await self.source.exchange_status()
            except NotifierError:
                return ""
        return ""

    async def _tell_downtime(self, view: View, now: datetime) -> bool:
        """Say what a downtime has left behind, once that can be known."""
        one, begun = self._downtime, self._begun
        if one is None or begun is None:
            return False
        running_s = self.clock.monotonic() - self._begun_s
        if not is_caught_up(view.watches, begun=begun, running_s=running_s):
            return False
        started = datetime.fromisoformat(one.name)
        words = back(
            away=started - one.since,
            found=await self.store.found(since=started, now=now),
            has_read=is_caught_up(view.watches, begun=begun, running_s=0.0),
        )
        async with self.store.operator_turn() as turn:
            await turn.record(
                raised={},
                cleared=[one.key],
                notices=[
                    self._notice(
                        name, one.key, NoticeKind.BACK, words, since=one.since, now=now
                    )
                    for name in self.policy.to
                ],
                now=now,
            )
        self._downtime = None
        return True

    def _reader(self, name: str, now: datetime) -> Reader:
        return Reader(zone=self.posts[name].zone, now=now)

    def _notice(
        self,
        name: str,
        key: str,
        kind: NoticeKind,
        words: Words,
        *,
        since: datetime,
        now: datetime,
    ) -> Notice:
        return Notice(
            key=key,
            kind=kind,
            destination=name,
            since=since,
            title=words.title,
            body=words.body,
            born_at=now,
        )

    # --- tell ---

    async def _tell(self, name: str) -> None:
        """Send what is due to a destination, as far as it may be sent to."""
        while (notice := await self._claim(name)) is not None:
            outcome = await self._send(notice)
            await self._settle(notice, outcome)
            if not isinstance(outcome, Sent):
                return

    async def _claim(self, name: str) -> Notice | None:
        """The next notice, its attempt counted before anything leaves."""
        now, rate = self.clock.now(), self.posts[name].rate
        async with self.store.operator_turn() as turn:
            if not can_be_sent_to(await turn.standing(name, now=now), now=now):
                return None
            if rate is not None:
                sent = await turn.attempts_since(name, counts_since(rate, now))
                if not has_room(rate, sent, now):
                    return None
            return await turn.take(name, now=now)

    async def _send(self, notice: Notice) -> Outcome:
        message: Rendered | None = None
        try:
            # What was not taken with its markup may be taken without.
            message = rendered(
                notice,
                self.sender.limits(notice.destination),
                plain=notice.attempts > 1,
            )
            return await self.sender.send(
                notice.destination, message, served=frozenset()
            )
        except Exception as exc:
            log.exception("notice.broken", condition=notice.key)
            reason = f"a bug of this program: {type(exc).__name__}"
            if message is None:
                return Failed(reason=reason)
            return Ambiguous(reason=reason)

    async def _settle(self, notice: Notice, outcome: Outcome) -> None:
        now = self.clock.now()
        verdict = settle_notice(notice, outcome, now=now)
        async with self.store.operator_turn() as turn:
            await turn.settle(
                notice,
                verdict,
                outcome=type(outcome).__name__.lower(),
                status=None if isinstance(outcome, Ambiguous) else outcome.status,
                now=now,
            )
        facts = {
            "condition": notice.key,
            "kind": notice.kind.value,
            "destination": notice.destination,
            "message_id": notice_id(notice),
            "attempt": notice.attempts,
        }
        if isinstance(outcome, Sent):
            log.info("notice.sent", **facts)
        else:
            is_final = verdict.due_at is None
            (log.error if is_final else log.warning)(
                "notice.failed", reason=outcome.reason, **facts
            )
