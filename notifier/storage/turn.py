"""What each of those who write can do in their turn; each is one transaction."""

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError

from notifier.domain.auth import Note, Token
from notifier.domain.changes import Known
from notifier.domain.claim import Finished
from notifier.domain.commit import (
    AlarmCommit,
    BadRow,
    DueTimer,
    PageCommit,
    ReadEnd,
    Release,
    WatchRow,
)
from notifier.domain.incidents import DestinationView, Notice, NoticeVerdict, Open, Told
from notifier.domain.live_status import Said
from notifier.domain.models import Delivery, Event, Outcome, Silence
from notifier.domain.timers import TimePolicy, Trust
from notifier.errors import StoreBroken, StoreSlow
from notifier.storage import (
    admin,
    dead_letters,
    due,
    incidents,
    live_status,
    milestones,
    notices,
    outbox,
    retention,
    silences,
    sqlite,
    standing,
    timers,
)
from notifier.storage.milestones import Decode

T = TypeVar("T")
#: The audit's row about what was done; None: it needs none.
Noting: TypeAlias = Callable[[T], Note | None]


def _nothing(_done: object) -> None:
    """What needs no row in the audit."""


class Offload(Protocol):
    """Runs blocking work off the event loop, and comes back with its result."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run it."""


class Urgency(IntEnum):
    """Who is served first when several wait for the writer."""

    ALARM = 0
    CLAIM = 1
    #: The same for a destination that fails: it must not make the others wait.
    RETRY = 2
    PAGE = 3
    UPKEEP = 4


class Turn:
    """
    The writer's turn: until it ends nobody else writes.

    What is not committed by the end of the turn never happened.
    """

    def __init__(self, conn: Connection, offload: Offload, decode: Decode) -> None:
        self._conn = conn
        self._offload = offload
        self._decode = decode

    async def _do(self, work: Callable[[Connection], T]) -> T:
        return await self._offload(partial(guarded, self._conn, work))

    async def _commit(self, work: Callable[[Connection], T]) -> T:
        def both(conn: Connection) -> T:
            result = work(conn)
            conn.commit()
            return result

        return await self._do(both)


class PageTurn(Turn):
    """The reading loop's turn."""

    async def known(self, ids: Sequence[str], watch: WatchRow) -> dict[str, Known]:
        """The milestones with these ids as they were last committed."""
        return await self._do(partial(milestones.known, ids=ids, watch=watch, decode=self._decode))

    async def new_bad(self, bad: Sequence[BadRow]) -> list[BadRow]:
        """Those of these rows that were not known as bad before."""
        return await self._do(partial(milestones.new_bad, bad=bad)) if bad else []

    async def commit(self, page: PageCommit) -> Release | None:
        """Write a page, or a part of it; what is still to be released at its end."""
        return await self._commit(partial(milestones.commit_page, page=page))

    async def end_read(self, end: ReadEnd) -> Release | None:
        """Record the end of a read; what is still to be released."""
        return await self._commit(partial(milestones.end_read, end=end))

    async def release(self, held: Release) -> bool:
        """Let a batch of what was held back come due; whether more may be."""
        return await self._commit(partial(milestones.release, held=held))

    async def absent(
        self, watch: WatchRow, since: datetime | None, shown: frozenset[str]
    ) -> list[str]:
        """Count absences; the ids that somebody should ask for by now."""
        return await self._commit(partial(milestones.absent, watch=watch, since=since, shown=shown))

    async def remove(
        self, gone: Sequence[Event], deliveries: Sequence[Delivery], now: datetime
    ) -> None:
        """Mark milestones as gone."""
        await self._commit(partial(milestones.remove, gone=gone, deliveries=deliveries, now=now))

    async def set_sweep_only(self, watch: WatchRow) -> None:
        """Remember that a watch cannot be polled."""
        await self._commit(partial(milestones.set_sweep_only, watch=watch))

    async def suspect(self, watch: WatchRow, since: datetime | None) -> None:
        """Remember since when a watch's long reads show too little; None: enough."""
        await self._commit(partial(incidents.suspect, watch=watch.id, since=since))


class AlarmTurn(Turn):
    """The alarm's turn."""

    async def due(self, now: datetime, *, limit: int) -> list[DueTimer]:
        """Timers that have come due, oldest first."""
        return await self._do(partial(timers.due, now=now, limit=limit, decode=self._decode))

    async def commit(self, alarm: AlarmCommit) -> None:
        """Take the handled timers away and store what they said."""
        await self._commit(partial(timers.commit_alarm, alarm=alarm))


class ClaimTurn(Turn):
    """The dispatcher's turn."""

    async def exchange(
        self,
        done: Sequence[Finished],
        judge: outbox.Judge,
        ask: outbox.Look | None,
        *,
        limit: int,
    ) -> outbox.Exchange:
        """Settle what was tried and lease what is next, in one transaction."""
        return await self._commit(
            partial(
                outbox.exchange,
                done=done,
                judge=judge,
                ask=ask,
                limit=limit,
                decode=self._decode,
            )
        )


class UpkeepTurn(Turn):
    """The turn of whoever keeps the house."""

    async def set_watches(self, names: Sequence[str]) -> list[WatchRow]:
        """Make exactly these the watches in force."""
        return await self._commit(partial(milestones.set_watches, names=names))

    async def set_destinations(self, fingerprints: dict[str, str], now: datetime) -> None:
        """Make these the destinations in force."""
        await self._commit(partial(standing.set_destinations, fingerprints=fingerprints, now=now))

    async def look_again(self, now: datetime) -> None:
        """Let everything that is kept back be judged anew."""
        await self._commit(partial(outbox.look_again, now=now))

    async def set_reminders(self, policy: TimePolicy, now: datetime) -> int | None:
        """Derive all reminders again if the leads differ; how many, or None."""
        return await self._commit(
            partial(retention.set_reminders, policy=policy, now=now, decode=self._decode)
        )

    async def reap(
        self, now: datetime, *, everything: bool, unrepeated: Collection[str] = ()
    ) -> int:
        """Free leases that nobody will settle; how many."""
        return await self._commit(
            partial(outbox.reap, now=now, everything=everything, unrepeated=unrepeated)
        )

    async def resume(self, destination: str, *, now: datetime, note: Noting[int] = _nothing) -> int:
        """End a destination's suspension; how many deliveries waited for it."""
        work = partial(dead_letters.resume, destination=destination, now=now)
        return await self._commit(partial(admin.noted, work=work, entry=note))

    async def put_back(
        self, keys: Sequence[int], *, now: datetime, note: Noting[int] = _nothing
    ) -> int:
        """Put those of these deliveries back that are dead still; how many."""
        work = partial(dead_letters.put_back, keys=keys, now=now)
        return await self._commit(partial(admin.noted, work=work, entry=note))

    async def silence(self, silence: Silence, *, note: Noting[None] = _nothing) -> None:
        """Put a silence into force."""
        work = partial(silences.add, silence=silence)
        await self._commit(partial(admin.noted, work=work, entry=note))

    async def expire_silence(
        self, beginning: str, *, now: datetime, note: Noting[Silence] = _nothing
    ) -> Silence:
        """End the silence whose id begins so."""
        work = partial(silences.expire, beginning=beginning, now=now)
        return await self._commit(partial(admin.noted, work=work, entry=note))

    async def let_in(self, token: Token, *, note: Noting[None] = _nothing) -> None:
        """Let a token in from now on."""
        work = partial(admin.add, token=token)
        await self._commit(partial(admin.noted, work=work, entry=note))

    async def revoke(self, name: str, *, now: datetime, note: Noting[Token] = _nothing) -> Token:
        """Let the token of this name in no more."""
        work = partial(admin.revoke, name=name, now=now)
        return await self._commit(partial(admin.noted, work=work, entry=note))

    async def note(self, entry: Note) -> None:
        """Put a row into the audit."""
        await self._commit(partial(admin.note, entry=entry))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Do something else, and commit it."""
        return await self._commit(work)

    async def bury(self, homes: Collection[str], *, before: datetime, now: datetime) -> int:
        """Give up what is owed to destinations that are no more; how many."""
        return await self._commit(partial(retention.bury, homes=homes, before=before, now=now))

    async def expire(self, now: datetime) -> int:
        """End what can only be too late where nothing is sent; how many."""
        return await self._commit(partial(retention.expire, now=now))

    async def give_up(self, now: datetime) -> int:
        """End what has waited too long for destinations that refuse us; how many."""
        return await self._commit(partial(retention.give_up, now=now))

    async def prune(self, *, events_before: datetime, deliveries_before: datetime) -> int:
        """Forget a small batch of what is finished and old; how many rows."""
        return await self._commit(
            partial(
                retention.prune,
                events_before=events_before,
                deliveries_before=deliveries_before,
            )
        )

    async def learn(self, heard: Mapping[str, Said], now: datetime) -> None:
        """Remember what live data says."""
        await self._commit(partial(live_status.learn, heard=heard, now=now))

    async def alive(self, now: datetime) -> None:
        """Note that the service is alive."""
        await self._commit(partial(incidents.alive, now=now))

    async def remember_clock(self, trust: Trust) -> None:
        """Note what the machine's clock is taken for."""
        await self._commit(partial(retention.remember_clock, trust=trust))

    async def note_backup(self, *, failed: str | None, now: datetime) -> None:
        """Note why there is no backup; None: there is one."""
        await self._commit(partial(incidents.note_backup, failed=failed, now=now))


class OperatorTurn(Turn):
    """The turn of whoever tells the operator what is wrong."""

    async def wake(self, *, to: Sequence[str], now: datetime) -> Open | None:
        """Begin a life; the downtime before it that is still to be told."""
        return await self._commit(partial(incidents.wake, to=to, now=now))

    async def told(self, keys: Collection[str]) -> list[Told]:
        """To whom the beginning of these conditions was told, or is to be."""
        return await self._do(partial(notices.told, keys=keys))

    async def record(
        self,
        *,
        raised: Mapping[str, tuple[datetime, str]],
        cleared: Collection[str],
        notices: Sequence[Notice],
        now: datetime,
    ) -> None:
        """Remember what became wrong and what is over, and owe the notices."""
        await self._commit(
            partial(
                incidents.record,
                raised=raised,
                cleared=cleared,
                notices=notices,
                now=now,
            )
        )

    async def standing(self, destination: str, *, now: datetime) -> DestinationView:
        """How a destination stands just now."""
        return await self._do(partial(notices.standing, name=destination, now=now))

    async def attempts_since(self, destination: str, since: datetime) -> list[datetime]:
        """When requests may have reached a destination after an instant."""
        return await self._do(partial(due.attempts_since, destination=destination, since=since))

    async def take(
        self, destination: str, *, now: datetime, drop_ambiguous: bool = False
    ) -> Notice | None:
        """The next notice of a destination, its attempt counted and noted."""
        return await self._commit(
            partial(
                notices.take,
                name=destination,
                now=now,
                drop_ambiguous=drop_ambiguous,
            )
        )

    async def settle(
        self,
        notice: Notice,
        verdict: NoticeVerdict,
        *,
        outcome: Outcome,
        now: datetime,
    ) -> None:
        """Write what became of a notice's attempt, and how its destination stands."""
        await self._commit(
            partial(
                notices.settle,
                notice=notice,
                verdict=verdict,
                outcome=outcome,
                now=now,
            )
        )


def guarded(conn: Connection, work: Callable[[Connection], T]) -> T:
    """Do it; what goes wrong is one of our errors."""
    with translated():
        return work(conn)


@contextmanager
def translated() -> Iterator[None]:
    """What the database says, in our errors."""
    try:
        yield
    except (OperationalError, sqlite3.Error) as exc:
        if sqlite.is_given_up(exc):
            raise StoreSlow("looking that up takes too long") from exc
        raise StoreBroken(f"the database failed: {getattr(exc, 'orig', exc)}") from exc
    except DBAPIError as exc:
        raise StoreBroken(f"the database refused: {exc.orig}") from exc
