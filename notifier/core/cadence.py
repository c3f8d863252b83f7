"""
What to read next, and when.

Polls and sweeps run side by side: a poll is never late because a sweep is long.
A poll is placed shortly before the next start, so that a start that has just been
moved is not announced at its old time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.core.commit import ReadKind, WatchRow

#: `min_updated_ts` reaches so far behind the watermark: Kalshi truncates to seconds
#: and its replicas lag.
OVERLAP = timedelta(seconds=120)
#: A poll is placed within this span before a start.
_LATEST, _EARLIEST = timedelta(seconds=5), timedelta(seconds=10)
_FIRST_STEP, _LAST_STEP = timedelta(seconds=5), timedelta(minutes=5)
#: What Kalshi refuses outright is asked again after this.
REFUSED_WAIT = timedelta(minutes=5)
#: A read of at least so many known rows that shows fewer than half is suspicious.
_FEW = 20
#: More than this share of new bad rows freezes the watermark.
_BAD_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPolicy:
    """How often to read what."""

    poll_every: timedelta
    sweep_every: timedelta
    full_read_every: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The next read of one lane."""

    at: datetime
    watch: WatchRow
    kind: ReadKind


def next_poll(
    watches: Sequence[WatchRow],
    *,
    policy: ReadPolicy,
    next_start: datetime | None,
    now: datetime,
) -> Plan | None:
    """The watch to poll next; None while no watch can be polled."""
    plans = [
        Plan(
            at=_poll_at(watch, policy, next_start, now), watch=watch, kind=ReadKind.POLL
        )
        for watch in watches
        if watch.watermark is not None and not watch.sweep_only
    ]
    return min(plans, key=lambda plan: plan.at, default=None)


def _poll_at(
    watch: WatchRow, policy: ReadPolicy, next_start: datetime | None, now: datetime
) -> datetime:
    last = watch.polled_at
    if last is None or last > now:
        return now  # a clock that was set back must not stop the reading
    regular = last + policy.poll_every
    if next_start is None or last >= next_start - _EARLIEST:
        return regular
    if now > next_start - _LATEST:
        return regular
    return min(regular, next_start - (_EARLIEST + _LATEST) / 2)


def next_sweep(
    watches: Sequence[WatchRow],
    *,
    policy: ReadPolicy,
    since: datetime,
    now: datetime,
) -> Plan:
    """
    The watch to read at length next: baselines first, then what is overdue.

    Every watch is swept once after `since`, the start of this process.
    """
    return min(
        (_sweep_plan(watch, policy, since, now) for watch in watches),
        key=lambda plan: (plan.kind is not ReadKind.BASELINE, plan.at),
    )


def _sweep_plan(
    watch: WatchRow, policy: ReadPolicy, since: datetime, now: datetime
) -> Plan:
    if watch.baselined_at is None:
        return Plan(at=now, watch=watch, kind=ReadKind.BASELINE)
    full = (watch.full_at or watch.baselined_at) + policy.full_read_every
    swept = watch.swept_at
    is_due = swept is None or swept < since or swept > now
    sweep = now if is_due or swept is None else swept + policy.sweep_every
    if full <= sweep:
        return Plan(at=full, watch=watch, kind=ReadKind.FULL)
    return Plan(at=sweep, watch=watch, kind=ReadKind.SWEEP)


def backoff(failures: int, *, hint: timedelta | None, jitter: float) -> timedelta:
    """
    How long to leave the API alone after so many failures in a row.

    `jitter` lies in [0, 1) and takes away up to half; a hint of the API is the
    least that we wait.
    """
    step: timedelta = _FIRST_STEP * 2 ** min(failures - 1, 20)
    wait = min(step, _LAST_STEP) * (1 - jitter / 2)
    return max(wait, min(hint, 2 * _LAST_STEP)) if hint is not None else wait


def watermark(*, date: datetime | None, took: timedelta) -> datetime | None:
    """The least that the server's clock can have shown when it was asked."""
    return None if date is None else date - took


def is_suspicious(*, shown: int, known: int) -> bool:
    """Whether a complete read shows too little to believe what it leaves out."""
    return shown == 0 if known < _FEW else shown * 2 < known


def is_drifting(*, bad: int, rows: int) -> bool:
    """Whether so many rows are newly unreadable that the format has changed."""
    return bad > _BAD_SHARE * (rows + bad)
