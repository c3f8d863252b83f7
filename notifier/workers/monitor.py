"""
LOOP tell: conditions -> notices -> send.

Every few seconds it looks at how the service fares, and stores what became wrong or
right again together with what the operator is to be told. Notices are sent beside the
deliveries, within each destination's rate, and never to one that is broken.
"""

import math
from collections.abc import (
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskGroup

from notifier.clock import Clock
from notifier.domain.incidents import (
    Changes,
    Condition,
    Notice,
    NoticeKind,
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
from notifier.domain.models import Ambiguous, Failed, Limits, Outcome, Rendered, Sent
from notifier.domain.rules import Rate
from notifier.errors import NotifierError
from notifier.messages.incident_text import (
    Found,
    Reader,
    Words,
    as_it_is,
    back,
    notice_id,
    one_line,
    over,
    raised,
    rendered,
)
from notifier.storage import destination_state, incidents, notices
from notifier.storage.database import Connection, Database, Priority

log = structlog.get_logger()

_EVERY_S = 5.0
#: At a stop a notice that is on its way may take so long to arrive.
_LAST_S = 18.0
#: Kalshi is asked what it says of itself for no longer than this.
_ASK_S = 10.0


class Exchange(Protocol):
    """What the loop needs of Kalshi."""

    async def exchange_status(self) -> str:
        """What it says of itself: active, maintenance, or unknown."""


class Sender(Protocol):
    """What the loop needs of the far end."""

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        """One attempt; what was seen. Takes 30 s at most."""

    def limits(self, destination: str) -> Limits: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What a notice must know of a destination."""

    zone: ZoneInfo
    rate: Rate | None
    #: What may have arrived there does not go again.
    drop_ambiguous: bool = False


#: What is wrong just now, by key.
Wrong: TypeAlias = Mapping[str, Condition]


@dataclass(slots=True, kw_only=True)
class Operate:
    """The telling loop."""

    db: Database
    source: Exchange
    sender: Sender
    clock: Clock
    #: Every destination in force, the operator's and the others.
    posts: Mapping[str, Post]
    policy: OperatorPolicy
    heartbeat: Callable[[str], None]
    _begun: datetime | None = None
    _begun_s: float = 0.0
    _downtime: Open | None = None
    _busy: set[str] = field(default_factory=set)
    _under_way: set[anyio.CancelScope] = field(default_factory=set)
    _last: float = math.inf

    async def run(self) -> None:
        """
        Look and tell until it is cancelled; what is not told waits for the next start.

        A notice that is on its way then is finished, within 18 s.
        """
        await self._wake()
        async with anyio.create_task_group() as tasks:
            try:
                while True:
                    self.heartbeat("operate")
                    await self._guarded(self._round, tasks)
                    await self.clock.sleep(_EVERY_S)
            finally:
                self._last = anyio.current_time() + _LAST_S
                for scope in self._under_way:
                    scope.deadline = self._last

    async def once(self) -> None:
        """One look, and one try of each notice that is due."""
        view, wrong = await self._look()
        for name in sorted(view.owed & self.posts.keys()):
            while await self._tell_next(name, wrong):
                pass

    async def _wake(self) -> None:
        now = self.clock.now()
        self._begun, self._begun_s = now, self.clock.monotonic()
        self._downtime = await self.db.write(
            Priority.CLAIM, incidents.wake, to=self.policy.to, now=now
        )
        if self._downtime is not None:
            away = now - self._downtime.since
            log.info("service.resumed", away_s=round(away.total_seconds()))

    async def _round(self, tasks: TaskGroup) -> None:
        view, wrong = await self._look()
        for name in sorted((view.owed & self.posts.keys()) - self._busy):
            self._busy.add(name)
            tasks.start_soon(self._serve, name, wrong)

    async def _serve(self, name: str, wrong: Wrong) -> None:
        try:
            await self._guarded(self._tell, name, wrong)
        finally:
            self._busy.discard(name)

    async def _guarded(self, work: Callable[..., Awaitable[None]], *args: object) -> None:
        """Whatever this loop stumbles over must not stop the others."""
        try:
            await work(*args)
        except NotifierError:
            raise
        except Exception:
            log.exception("operator.broken")

    # --- look ---

    async def _look(self) -> tuple[View, Wrong]:
        """Store what became wrong, or right again; what it all looks like then."""
        now = self.clock.now()
        view = await self._view(now)
        found = conditions(
            view,
            now=now,
            policy=self.policy,
            begun=self._begun,
            skew=self.clock.skew(),
        )
        changed = changes(view, found)
        if changed:
            await self._record(changed, now)
        told = await self._tell_downtime(view, now)
        view = await self._view(now) if changed or told else view
        return view, {one.key: one for one in found}

    async def _view(self, now: datetime) -> View:
        return await self.db.read(
            incidents.view, names=list(self.posts), now=now, bad_for=self.policy.bad_for
        )

    async def _record(self, changed: Changes, now: datetime) -> None:
        exchange = await self._ask_kalshi(changed.raised)
        tales = {
            one.key: await self.db.read(incidents.found, since=one.since, now=now)
            for one in changed.cleared
            if one.trouble is Trouble.SOURCE
        }
        gone = (*changed.cleared, *changed.lapsed)

        def record(conn: Connection) -> None:
            # As far as each destination has been told when this is committed.
            heard = {
                (told.key, told.destination): told
                for told in notices.told(conn, [one.key for one in changed.cleared])
            }
            incidents.record(
                conn,
                raised={one.key: (one.since, one_line(one)) for one in changed.raised},
                cleared=[one.key for one in gone],
                notices=[
                    *self._begun_notices(changed.raised, exchange, now),
                    *self._over_notices(changed.cleared, heard, tales, now),
                ],
                now=now,
            )

        await self.db.write(Priority.CLAIM, record)
        for raised_one in changed.raised:
            self._log_raised(raised_one)
        for over_one in gone:
            lasted = (over_one.until or now) - over_one.since
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
        owed = []
        for one in found:
            for name in recipients(self.policy.to, one):
                kind = ending(one, heard.get((one.key, name)), now=now)
                if kind is None:
                    continue
                reader, tale = self._reader(name, now), tales.get(one.key)
                words = over(one, kind, reader, found=tale)
                owed.append(self._notice(name, one.key, kind, words, since=one.since, now=now))
        return owed

    def _log_raised(self, one: Condition) -> None:
        told = recipients(self.policy.to, one)
        log.warning("condition.raised", condition=one.key, words=one_line(one), told=list(told))
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
            found=await self.db.read(incidents.found, since=started, now=now),
            has_read=is_caught_up(view.watches, begun=begun, running_s=0.0),
        )
        await self.db.write(
            Priority.CLAIM,
            incidents.record,
            raised={},
            cleared=[one.key],
            notices=[
                self._notice(name, one.key, NoticeKind.BACK, words, since=one.since, now=now)
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

    async def _tell(self, name: str, wrong: Wrong) -> None:
        """Send what is due to a destination, as far as it may be sent to."""
        is_sent = True
        while is_sent:
            is_sent = False
            # Here a stop ends it: between two notices.
            await anyio.lowlevel.checkpoint()
            with self._finished():
                is_sent = await self._tell_next(name, wrong)

    @contextmanager
    def _finished(self) -> Iterator[None]:
        """What is begun here is not cut off by a stop, or only some time later."""
        scope = anyio.CancelScope(shield=True, deadline=self._last)
        self._under_way.add(scope)
        try:
            with scope:
                yield
        finally:
            self._under_way.discard(scope)

    async def _tell_next(self, name: str, wrong: Wrong) -> bool:
        """Send the next notice, if one may go; whether it did and arrived."""
        notice = await self._claim(name)
        if notice is None:
            return False
        reader = self._reader(name, self.clock.now())
        outcome = await self._send(as_it_is(notice, wrong.get(notice.key), reader))
        await self._settle(notice, outcome)
        return isinstance(outcome, Sent)

    async def _claim(self, name: str) -> Notice | None:
        """The next notice, its attempt counted before anything leaves."""
        now, post = self.clock.now(), self.posts[name]
        rate = post.rate

        def take(conn: Connection) -> Notice | None:
            if not can_be_sent_to(notices.standing(conn, name, now=now), now=now):
                return None
            if rate is not None:
                sent = destination_state.attempts_since(conn, name, counts_since(rate, now))
                if not has_room(rate, sent, now):
                    return None
            return notices.take(conn, name, now=now, drop_ambiguous=post.drop_ambiguous)

        return await self.db.write(Priority.CLAIM, take)

    async def _send(self, notice: Notice) -> Outcome:
        message: Rendered | None = None
        try:
            # What was not taken with its markup may be taken without.
            message = rendered(
                notice,
                self.sender.limits(notice.destination),
                plain=notice.attempts > 1,
            )
            return await self.sender.send(notice.destination, message, delivered_to=frozenset())
        except Exception as exc:
            log.exception("notice.broken", condition=notice.key)
            reason = f"a bug of this program: {type(exc).__name__}"
            if message is None:
                return Failed(reason=reason)
            return Ambiguous(reason=reason)

    async def _settle(self, notice: Notice, outcome: Outcome) -> None:
        now = self.clock.now()
        drops = self.posts[notice.destination].drop_ambiguous
        verdict = settle_notice(notice, outcome, now=now, drop_ambiguous=drops)
        await self.db.write(
            Priority.CLAIM, notices.settle, notice, verdict, outcome=outcome, now=now
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
