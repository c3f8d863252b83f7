"""
Starts, reminders and ends: which moments of a milestone become timers, and what a
timer that has come due says.

A start is announced once. Moved later by more than `started_again_after` it is
announced again, saying so; moved earlier it says nothing more. A start that has
moved into the past, or that passed while nobody watched, is told late within
`started_grace` and recorded as missed after it. What was missed was never announced:
a new start of such a milestone is its first.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notifier.domain.models import Event, Kind, Milestone, Timer, TimerKind, event_id

#: Kalshi writes 2000-01-01 and 2000-01-02 where it has no date yet.
_PLACEHOLDERS_END = datetime(2001, 1, 1, tzinfo=UTC)
#: No alarm rings to the microsecond: what is later by no more is on time.
_SLACK = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePolicy:
    """How late is too late, and which reminders there are."""

    started_grace: timedelta = timedelta(minutes=30)
    ended_grace: timedelta = timedelta(hours=24)
    started_again_after: timedelta = timedelta(minutes=15)
    leads: tuple[timedelta, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAnnounced:
    """The start and the end that were announced last; missed ones were not."""

    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerChanges:
    """The timers that replace those of the kinds which moved."""

    timers: tuple[Timer, ...] = ()
    #: The start moved: start and reminder timers are replaced.
    restart: bool = False
    #: The end moved: the end timer is replaced.
    reend: bool = False


def is_placeholder(instant: datetime) -> bool:
    """Whether an instant stands for "no date yet": nothing happens then."""
    return instant < _PLACEHOLDERS_END


def rearm(
    milestone: Milestone,
    *,
    before: Milestone | None,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> TimerChanges:
    """
    The timers of a milestone that is new (`before` is None) or has changed.

    What has not moved keeps its timers: one that is due but not yet handled must
    not be lost to an update of the title.
    """
    restart = before is None or before.start != milestone.start
    reend = before is None or before.end != milestone.end
    timers: list[Timer] = []
    if restart:
        timers += _start(milestone, before, fired, policy, now)
        timers += reminders(milestone, fired=fired, policy=policy, now=now)
    if reend:
        timers += _end(milestone, before, fired, policy, now)
    return TimerChanges(timers=tuple(timers), restart=restart, reend=reend)


def _start(
    milestone: Milestone,
    before: Milestone | None,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> list[Timer]:
    start = milestone.start
    if not _will_be_told(start, fired.start, policy):
        return []
    if start <= now and not _is_late_start(start, before, policy, now):
        return []
    return [Timer(milestone_id=milestone.id, kind=TimerKind.START, fire_at=start)]


def _is_late_start(
    start: datetime, before: Milestone | None, policy: TimePolicy, now: datetime
) -> bool:
    """Whether a past start is news: told late, or missed if it was still ahead."""
    if before is None:
        return False
    return before.start > now or now - start <= policy.started_grace


def _will_be_told(instant: datetime, told: datetime | None, policy: TimePolicy) -> bool:
    if is_placeholder(instant):
        return False
    return told is None or instant - told > policy.started_again_after


def reminders(
    milestone: Milestone, *, fired: LastAnnounced, policy: TimePolicy, now: datetime
) -> list[Timer]:
    """The reminders that still make sense: late by a tenth of the lead at most."""
    if milestone.start <= now or not _will_be_told(milestone.start, fired.start, policy):
        return []
    return [
        Timer(
            milestone_id=milestone.id,
            kind=TimerKind.REMIND,
            fire_at=milestone.start - lead,
            lead=lead,
        )
        for lead in policy.leads
        if not _is_stale(milestone.start - lead, lead, now)
    ]


def _is_stale(fire_at: datetime, lead: timedelta, now: datetime) -> bool:
    return now - fire_at > lead / 10


def _end(
    milestone: Milestone,
    before: Milestone | None,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> list[Timer]:
    end = milestone.end
    if end is None or not _will_be_told(end, fired.end, policy):
        return []
    if end <= now and not _is_late_end(end, before, fired, policy, now):
        return []
    return [Timer(milestone_id=milestone.id, kind=TimerKind.END, fire_at=end)]


def _is_late_end(
    end: datetime,
    before: Milestone | None,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> bool:
    """Whether a past end is news; the correction of one that was told is not."""
    if before is None or now - end > policy.ended_grace:
        return False
    return fired.end is None or before.end is None or before.end > now


def ends_by_now(armed: TimerChanges, *, now: datetime) -> bool:
    """Whether the milestone has just turned out to have ended already."""
    return any(t.kind is TimerKind.END and t.fire_at <= now for t in armed.timers)


def fire(
    timer: Timer,
    milestone: Milestone,
    *,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> Event | None:
    """What a due timer says; None where it no longer holds or comes too late."""
    match timer.kind:
        case TimerKind.START:
            return _started(timer, milestone, fired, policy, now)
        case TimerKind.REMIND:
            return _upcoming(timer, milestone, now)
        case TimerKind.END:
            return _ended(timer, milestone, fired, policy, now)


def _started(
    timer: Timer,
    milestone: Milestone,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> Event | None:
    if timer.fire_at != milestone.start:
        return None
    if not _will_be_told(timer.fire_at, fired.start, policy):
        return None
    return Event(
        id=event_id(milestone.id, Kind.STARTED, _second(timer.fire_at)),
        kind=Kind.STARTED,
        milestone=milestone,
        at=timer.fire_at,
        seen_at=now,
        missed=now - timer.fire_at > max(policy.started_grace, _SLACK),
        again_from=fired.start,
    )


def _upcoming(timer: Timer, milestone: Milestone, now: datetime) -> Event | None:
    if timer.fire_at + timer.lead != milestone.start or milestone.start <= now:
        return None
    if _is_stale(timer.fire_at, timer.lead, now):
        return None
    disc = f"{_second(milestone.start)}|{timer.lead.total_seconds()}"
    return Event(
        id=event_id(milestone.id, Kind.UPCOMING, disc),
        kind=Kind.UPCOMING,
        milestone=milestone,
        at=timer.fire_at,
        seen_at=now,
        lead=timer.lead,
    )


def _ended(
    timer: Timer,
    milestone: Milestone,
    fired: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> Event | None:
    if timer.fire_at != milestone.end:
        return None
    if not _will_be_told(timer.fire_at, fired.end, policy):
        return None
    return Event(
        id=event_id(milestone.id, Kind.ENDED, _second(timer.fire_at)),
        kind=Kind.ENDED,
        milestone=milestone,
        at=timer.fire_at,
        seen_at=now,
        missed=now - timer.fire_at > max(policy.ended_grace, _SLACK),
    )


def _second(instant: datetime) -> str:
    return str(int(instant.timestamp()))
