"""One milestone through reads and alarms, with the clock in our hand."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from strategies import NOON, Doc, committed, doc, read, reading, stamp

from notifier.domain.changes import RowChange, StoredMilestone
from notifier.domain.models import Event, Kind, Timer, TimerKind
from notifier.domain.timers import LastAnnounced, TimePolicy, fire


@dataclass
class Life:
    """What the store and the loops make of one milestone, in memory."""

    policy: TimePolicy = field(default_factory=TimePolicy)
    now: datetime = NOON
    fields: Doc = field(default_factory=doc)
    known: StoredMilestone | None = None
    timers: dict[tuple[TimerKind, timedelta], Timer] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    reads: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def shows(self, start: datetime | None = None, end: datetime | None = None) -> RowChange:
        """Kalshi shows it; None leaves its start or its end as it was."""
        if start is not None:
            self.fields |= {"start_date": stamp(start)}
        if end is not None:
            self.fields |= {"end_date": stamp(end)}
        return self._read()

    def shows_no_end(self) -> RowChange:
        """Kalshi shows it without an end."""
        self.fields |= {"end_date": None}
        return self._read()

    def vanishes(self) -> None:
        """Kalshi says that there is no such milestone."""
        assert self.known is not None
        self.known = replace(self.known, is_removed=True)
        self.timers.clear()

    def wait(self, span: timedelta) -> list[Event]:
        """Time passes while the alarm is at work; what it said."""
        until, said = self.now + span, len(self.events)
        while self.timers and (at := self._next_fire()) <= until:
            self.now = max(self.now, at)
            self._fire_due()
        self.now = until
        return self.events[said:]

    def sleep(self, span: timedelta) -> list[Event]:
        """The service is down so long; what it said when it came back."""
        said = len(self.events)
        self.now += span
        self._fire_due()
        return self.events[said:]

    def _read(self) -> RowChange:
        reads = reading(next(self.reads), now=self.now, time=self.policy)
        step = read(self.known, self.fields, reads)
        self.known = committed(self.known, step)
        self._replace_timers(step)
        if step.event is not None:
            self.events.append(step.event)
        return step

    def _replace_timers(self, step: RowChange) -> None:
        for kind, lead in list(self.timers):
            is_end = kind is TimerKind.END
            if step.timers.replaces_end if is_end else step.timers.replaces_start:
                del self.timers[kind, lead]
        self.timers |= {(timer.kind, timer.lead): timer for timer in step.timers.added}

    def _next_fire(self) -> datetime:
        return min(timer.fire_at for timer in self.timers.values())

    def _fire_due(self) -> None:
        due = [timer for timer in self.timers.values() if timer.fire_at <= self.now]
        for timer in sorted(due, key=lambda timer: timer.fire_at):
            del self.timers[timer.kind, timer.lead]
            self._fire(timer)

    def _fire(self, timer: Timer) -> None:
        assert self.known is not None
        event = fire(
            timer,
            self.known.milestone,
            announced=self.known.announced,
            policy=self.policy,
            now=self.now,
        )
        if event is None:
            return
        self.events.append(event)
        if not event.missed:
            self.known = replace(self.known, announced=_fired(self.known.announced, event))


def _fired(before: LastAnnounced, event: Event) -> LastAnnounced:
    match event.kind:
        case Kind.STARTED:
            return replace(before, start=event.at)
        case Kind.ENDED:
            return replace(before, end=event.at)
        case _:
            return before


def first_seen(start: datetime, *, policy: TimePolicy | None = None) -> Life:
    """A milestone that has just been read for the first time."""
    life = Life(policy=policy or TimePolicy())
    life.shows(start=start)
    life.events.clear()
    return life


def announced(start: datetime) -> Life:
    """One whose start has just been announced on time."""
    life = first_seen(start)
    (event,) = life.wait(start - life.now)
    assert (event.kind, event.at) == (Kind.STARTED, start)
    life.events.clear()
    return life


def kinds(events: list[Event]) -> list[Kind]:
    """What they say, in order."""
    return [event.kind for event in events]
