"""
The poll schedule: which read comes next, and when.

Polls and sweeps run side by side: a poll is never late because a sweep is long. A poll
is placed shortly before the next start, so that a start that has just been moved is not
announced at its old time.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

#: `min_updated_ts` reaches so far behind the watermark: Kalshi truncates to seconds
#: and its replicas lag.
OVERLAP = timedelta(seconds=120)
#: A poll is placed within this span before a start.
_LATEST, _EARLIEST = timedelta(seconds=5), timedelta(seconds=10)
_FIRST_STEP, _LAST_STEP = timedelta(seconds=5), timedelta(minutes=5)
#: No hint of the API makes us wait longer.
_MAX_HINT = timedelta(hours=1)
#: After a refused request (401, 403) the next one waits so long.
REFUSED_WAIT = timedelta(minutes=5)
#: A read of at least so many known rows that shows fewer than half is suspicious.
_FEW = 20
#: More than this share of new bad rows freezes the watermark.
_BAD_SHARE = 0.05
_NEVER = datetime.min.replace(tzinfo=UTC)

#: By the name of a watch: when its last read failed, if it did.
Failed: TypeAlias = Mapping[str, datetime]
_NONE_FAILED: Failed = MappingProxyType({})


class ReadKind(StrEnum):
    """How much of the list one read asks for."""

    #: The first full read of a watch; it announces nothing.
    BASELINE = "baseline"
    FULL = "full"
    POLL = "poll"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRow:
    """A watch as it is stored."""

    #: The number of its bit in a milestone's set of watches.
    id: int
    name: str
    baselined_at: datetime | None = None
    watermark: datetime | None = None
    polled_at: datetime | None = None
    swept_at: datetime | None = None
    full_at: datetime | None = None
    #: The API refuses to poll it.
    sweep_only: bool = False
    #: Since when its long reads have shown far too little to be believed.
    suspected_at: datetime | None = None

    @property
    def bit(self) -> int:
        """Its bit in a milestone's set of watches."""
        return 1 << self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a read has come to so far."""

    pages: int = 0
    rows: int = 0
    events: int = 0
    touched: int = 0
    #: Unreadable rows that were not in quarantine before.
    bad: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadEnd:
    """How a read ended."""

    id: int
    watch: WatchRow
    kind: ReadKind
    started_at: datetime
    ended_at: datetime
    progress: Progress
    #: The new watermark; None leaves it where it is.
    watermark: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """How often to read what."""

    poll_every: timedelta
    sweep_every: timedelta
    full_read_every: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A read to make next."""

    at: datetime
    watch: WatchRow
    kind: ReadKind


def next_poll(
    watches: Sequence[WatchRow],
    *,
    policy: ReadPolicy,
    next_start: datetime | None,
    now: datetime,
    polled: Collection[str],
    failed: Failed = _NONE_FAILED,
) -> Plan | None:
    """
    The watch to poll next; None while no watch can be polled.

    `next_start` is the first one that is `uncovered`; a watch that is not among
    `polled`, those that this process has polled, is due at once.
    """
    plans = [
        Plan(
            at=_poll_at(watch, policy, next_start, now) if watch.name in polled else now,
            watch=watch,
            kind=ReadKind.POLL,
        )
        for watch in watches
        if can_be_polled(watch)
    ]
    return min(plans, key=lambda plan: _place(plan, failed, now), default=None)


def can_be_polled(watch: WatchRow) -> bool:
    """Whether polls show what a watch does not know yet."""
    return watch.baselined_at is not None and not watch.sweep_only


def uncovered(watches: Sequence[WatchRow], *, now: datetime) -> datetime:
    """Until this instant no start needs another poll before it, or can still get one."""
    polled = [w.polled_at for w in watches if can_be_polled(w) and w.polled_at]
    covered = [at + _EARLIEST for at in polled if at <= now]
    return max(now + _LATEST, min(covered, default=now))


def _place(plan: Plan, failed: Failed, now: datetime) -> tuple[datetime, datetime, bool, datetime]:
    """Of those due, the one that failed longest ago goes first, so that none blocks the rest."""
    failed_at = failed.get(plan.watch.name, _NEVER)
    return max(plan.at, now), failed_at, plan.kind is not ReadKind.BASELINE, plan.at


def _after(last: datetime | None, every: timedelta, now: datetime) -> datetime:
    """The next time of a regular read; a clock that was set back must not stop it."""
    return now if last is None or last > now else last + every


def _poll_at(
    watch: WatchRow, policy: ReadPolicy, next_start: datetime | None, now: datetime
) -> datetime:
    last = watch.polled_at
    regular = _after(last, policy.poll_every, now)
    if next_start is None or now > next_start - _LATEST:
        return regular
    if last is not None and last >= next_start - _EARLIEST:
        return regular
    return min(regular, next_start - (_EARLIEST + _LATEST) / 2)


def next_sweep(
    watches: Sequence[WatchRow],
    *,
    policy: ReadPolicy,
    now: datetime,
    swept: Collection[str],
    failed: Failed = _NONE_FAILED,
) -> Plan:
    """
    The watch to read at length next: baselines first, then what is overdue.

    A watch that is not among `swept`, those that this process has swept, is due at
    once. Instants do not tell which these are, because a clock may be set back.
    """
    return min(
        (_sweep_plan(watch, policy, now, is_first=watch.name not in swept) for watch in watches),
        key=lambda plan: _place(plan, failed, now),
    )


def _sweep_plan(watch: WatchRow, policy: ReadPolicy, now: datetime, *, is_first: bool) -> Plan:
    if watch.baselined_at is None:
        return Plan(at=now, watch=watch, kind=ReadKind.BASELINE)
    read_at = watch.full_at or watch.baselined_at
    full = _after(read_at, policy.full_read_every, now)
    sweep = _after(None if is_first else watch.swept_at, policy.sweep_every, now)
    if full <= sweep:
        return Plan(at=full, watch=watch, kind=ReadKind.FULL)
    return Plan(at=sweep, watch=watch, kind=ReadKind.SWEEP)


def backoff(failures: int, *, hint: timedelta | None, jitter: float) -> timedelta:
    """
    How long to leave the API alone after so many failures in a row.

    `jitter` lies in [0, 1) and takes away up to half; a hint of the API is the minimum.
    """
    step: timedelta = _FIRST_STEP * 2 ** min(max(failures, 1) - 1, 20)
    wait = min(step, _LAST_STEP) * (1 - jitter / 2)
    return wait if hint is None else max(wait, min(hint, _MAX_HINT))


def watermark(*, date: datetime | None, took: timedelta) -> datetime | None:
    """The earliest time that the server's clock can have shown when it was asked."""
    return None if date is None else date - took


def is_suspicious(*, shown: int, known: int) -> bool:
    """Whether a complete read shows too little to believe what it leaves out."""
    return shown * 2 < known if known >= _FEW else shown == 0 < known


def is_drifting(*, bad: int, rows: int) -> bool:
    """Whether so many rows are newly unreadable that the format has changed."""
    return bad > _BAD_SHARE * (rows + bad)
