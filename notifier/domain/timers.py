"""
Starts, reminders and ends: which of them become timers, and the events of due timers.

A start is announced once. If it moves later by more than `started_again_after`, it is
announced again; if it moves earlier, it is not. A start that has moved into the past, or
that passed while the service was down, is announced late within `started_grace` and
recorded as missed after it. A missed start was not announced: a new start of such a
milestone is its first.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notifier.domain.models import Event, Kind, Milestone, Timer, TimerKind, event_id

#: Kalshi writes 2000-01-01 and 2000-01-02 where it has no date yet.
_PLACEHOLDERS_END = datetime(2001, 1, 1, tzinfo=UTC)
#: An event that comes later than its instant by no more is on time.
_ON_TIME = timedelta(seconds=5)


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

    added: tuple[Timer, ...] = ()
    #: The start moved: start and reminder timers are replaced.
    replaces_start: bool = False
    #: The end moved: the end timer is replaced.
    replaces_end: bool = False


def is_placeholder(instant: datetime) -> bool:
    """Whether an instant stands for "no date yet": nothing happens then."""
    return instant < _PLACEHOLDERS_END


def rearm(
    milestone: Milestone,
    *,
    before: Milestone | None,
    announced: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> TimerChanges:
    """
    The timers of a milestone that is new (`before` is None) or has changed.

    An instant that has not moved keeps its timer: one that is due but not yet handled
    must not be lost to an update of the title.

    A past start is announced late within `started_grace`, and recorded as missed if it
    was still ahead before. A past end is announced late within `ended_grace`, but the
    correction of an end that was announced is not.
    """
    replaces_start = before is None or before.start != milestone.start
    replaces_end = before is None or before.end != milestone.end
    start, end = milestone.start, milestone.end
    timers: list[Timer] = []
    if replaces_start and _is_announced_again(start, announced.start, policy):
        is_late_start = before is not None and (
            before.start > now or now - start <= policy.started_grace
        )
        if start > now or is_late_start:
            timers.append(Timer(milestone_id=milestone.id, kind=TimerKind.START, fire_at=start))
        timers += reminders(milestone, announced=announced, policy=policy, now=now)
    if replaces_end and end is not None and _is_announced_again(end, announced.end, policy):
        is_late_end = (
            before is not None
            and now - end <= policy.ended_grace
            and (announced.end is None or before.end is None or before.end > now)
        )
        if end > now or is_late_end:
            timers.append(Timer(milestone_id=milestone.id, kind=TimerKind.END, fire_at=end))
    return TimerChanges(
        added=tuple(timers), replaces_start=replaces_start, replaces_end=replaces_end
    )


def _is_announced_again(instant: datetime, last: datetime | None, policy: TimePolicy) -> bool:
    if is_placeholder(instant):
        return False
    return last is None or instant - last > policy.started_again_after


def reminders(
    milestone: Milestone, *, announced: LastAnnounced, policy: TimePolicy, now: datetime
) -> list[Timer]:
    """The reminders that are still useful: late by a tenth of the lead at most."""
    start = milestone.start
    if start <= now or not _is_announced_again(start, announced.start, policy):
        return []
    return [
        Timer(milestone_id=milestone.id, kind=TimerKind.REMIND, fire_at=start - lead, lead=lead)
        for lead in policy.leads
        if not _is_stale(start - lead, lead, now)
    ]


def _is_stale(fire_at: datetime, lead: timedelta, now: datetime) -> bool:
    return now - fire_at > lead / 10


def ends_by_now(changes: TimerChanges, *, now: datetime) -> bool:
    """Whether the milestone has just turned out to have ended already."""
    return any(timer.kind is TimerKind.END and timer.fire_at <= now for timer in changes.added)


def fire(
    timer: Timer,
    milestone: Milestone,
    *,
    announced: LastAnnounced,
    policy: TimePolicy,
    now: datetime,
) -> Event | None:
    """The event of a due timer; None if the timer no longer holds or comes too late."""
    at = timer.fire_at
    if timer.kind is TimerKind.REMIND:
        start = milestone.start
        if at + timer.lead != start or start <= now or _is_stale(at, timer.lead, now):
            return None
        discriminator = f"{_seconds(start)}|{timer.lead.total_seconds()}"
        return Event(
            id=event_id(milestone.id, Kind.UPCOMING, discriminator),
            kind=Kind.UPCOMING,
            milestone=milestone,
            at=at,
            seen_at=now,
            lead=timer.lead,
        )
    is_start = timer.kind is TimerKind.START
    kind = Kind.STARTED if is_start else Kind.ENDED
    instant = milestone.start if is_start else milestone.end
    last = announced.start if is_start else announced.end
    grace = policy.started_grace if is_start else policy.ended_grace
    if at != instant or not _is_announced_again(at, last, policy):
        return None
    return Event(
        id=event_id(milestone.id, kind, _seconds(at)),
        kind=kind,
        milestone=milestone,
        at=at,
        seen_at=now,
        missed=now - at > max(grace, _ON_TIME),
        again_from=announced.start if is_start else None,
    )


def _seconds(instant: datetime) -> str:
    return str(int(instant.timestamp()))
