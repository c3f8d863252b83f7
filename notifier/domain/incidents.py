"""
What is wrong with the service itself, and who is told of it.

    (what the store shows, now) -> conditions
    (those that are open, those that hold now) -> raised, cleared

A condition is told once when it is raised and once when it is over, to every
destination of the operator but the one that it is about. `core.notice` has the words.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.domain.circuit_breaker import MAX_RETRY_AFTER
from notifier.domain.models import Ambiguous, Failed, Outcome, Sent
from notifier.domain.retry_policy import MAX_AGE, RETRY_SCHEDULE
from notifier.domain.rules import Rate

#: Kalshi counts as down when nothing was read for so long, or for four polls, and
#: so many reads in a row have failed.
_PATIENCE, _POLLS = timedelta(seconds=30), 4
FAILED_READS = 3
#: A breaker that has been open for less is no matter for a person.
_OPEN_FOR = timedelta(minutes=5)
#: A destination that failed works again once nothing has failed for so long.
_STEADY = timedelta(minutes=1)
#: Tries of a notice in vain after which its destination counts as failing.
_UNSAID = 3
#: A row that is seen by full reads alone is seen this long after one, at the latest.
_FULL_READ_TAKES = timedelta(hours=1)
_SKEW = timedelta(seconds=5)
#: Dead letters are told for so long.
DEAD_FOR = timedelta(hours=24)
#: Being away for less is no downtime.
AWAY = timedelta(minutes=5)
#: A downtime is told so long after the start at the latest, whatever was read.
CATCH_UP_WITHIN_S = 120.0
#: What is over before it could be told is told all the same if it lasted longer.
_WORTH_TELLING = timedelta(hours=1)
_REFUSED = ("401 ", "403 ")
#: Kept between the edges of a rate's window: the wire is no clock.
_MARGIN = timedelta(milliseconds=20)


class Trouble(StrEnum):
    """What can be wrong."""

    SOURCE = "source"
    SUSPENDED = "suspended"
    GONE = "gone"
    FAILING = "failing"
    QUARANTINE = "quarantine"
    SUSPICIOUS = "suspicious"
    CLOCK = "clock"
    DEAD = "dead"
    BACKUP = "backup"
    #: The service was away; over as soon as it is told.
    CATCH_UP = "catchup"


#: Troubles of one destination: `name` says of which.
OF_DESTINATIONS = frozenset({Trouble.SUSPENDED, Trouble.GONE, Trouble.FAILING, Trouble.DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is wrong."""

    trouble: Trouble
    since: datetime
    #: The destination or the watch that it is about; empty: the service as a whole.
    name: str = ""
    reason: str = ""
    #: What waits, is put aside, or was given up; of watches, all there are.
    count: int = 0
    #: The watches that cannot be read.
    watches: tuple[str, ...] = ()
    skew: timedelta = timedelta(0)

    @property
    def key(self) -> str:
        """`source`, `suspended:ops`: there is one of a key at a time."""
        return f"{self.trouble.value}:{self.name}" if self.name else self.trouble.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A condition that has been raised and is not over yet, as it is remembered."""

    key: str
    since: datetime
    words: str = ""
    #: When it ended, if that is known: it is called over only some time later.
    until: datetime | None = None

    @property
    def trouble(self) -> Trouble:
        """What is wrong."""
        return Trouble(self.key.partition(":")[0])

    @property
    def name(self) -> str:
        """The destination or the watch that it is about, if any."""
        return self.key.partition(":")[2]


# --- what the store shows -----------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchView:
    """How a watch is read."""

    name: str
    #: When its last complete read began.
    read_at: datetime | None = None
    #: Reads that have failed since, `FAILED_READS` at most; when the first of them
    #: failed, and why the last.
    failed: int = 0
    failed_since: datetime | None = None
    error: str = ""
    #: While Kalshi counts as down: the first complete read after the last that failed.
    good_since: datetime | None = None
    suspected_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationView:
    """How a destination stands."""

    name: str
    paused_until: datetime | None = None
    suspended_since: datetime | None = None
    gone: bool = False
    open_since: datetime | None = None
    reason: str = ""
    #: Pending deliveries.
    waiting: int = 0
    #: Deliveries that died lately: how many, since when, why the last.
    died: int = 0
    died_since: datetime | None = None
    died_of: str = ""
    #: Dead deliveries of any age.
    dead: int = 0
    #: Tries of a notice that has not been taken, since when it waits, and why.
    unsaid: int = 0
    unsaid_since: datetime | None = None
    unsaid_reason: str = ""
    #: It has answered since it was called failing, and since when nothing has failed
    #: any more; only then do they matter.
    has_answered: bool = True
    steady_since: datetime | None = None

    @property
    def is_broken(self) -> bool:
        """Whether nothing is to be sent to it but to see whether it works again."""
        return self.gone or not (self.suspended_since is self.open_since is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadView:
    """Milestones that cannot be read."""

    count: int
    since: datetime
    milestone_id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the store shows of the service's own health."""

    watches: tuple[WatchView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()
    bad: BadView | None = None
    #: Since when there is no daily backup, and why.
    backup: tuple[datetime, str] | None = None
    open: tuple[Open, ...] = ()
    #: Destinations with a notice that is due.
    owed: frozenset[str] = frozenset()

    def is_open(self, key: str) -> bool:
        """Whether that condition has been raised and is not over."""
        return any(one.key == key for one in self.open)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorPolicy:
    """What the configuration says about being told."""

    #: Who is told.
    to: tuple[str, ...]
    poll_every: timedelta
    full_read_every: timedelta

    @property
    def patience(self) -> timedelta:
        """For so long Kalshi is not read before it is down, and is before it is up."""
        return max(_PATIENCE, _POLLS * self.poll_every)

    @property
    def bad_for(self) -> timedelta:
        """A row that has not been seen for so long can be read again, or is gone."""
        return self.full_read_every + _FULL_READ_TAKES


# --- what is wrong ------------------------------------------------------------


def conditions(
    view: View,
    *,
    now: datetime,
    policy: OperatorPolicy,
    begun: datetime | None,
    skew: timedelta | None,
) -> tuple[Condition, ...]:
    """
    Everything that is wrong now.

    `begun` is when this process began: nobody has read before. None: it only makes
    one round. `skew` is None while nothing is known of the clock.
    """
    return (
        *_source(view, now=now, policy=policy, begun=begun),
        *(
            found
            for one in view.destinations
            for found in _destination(view, one, now=now, begun=begun)
        ),
        *_quarantine(view.bad),
        *_suspicious(view.watches),
        *_clock(view, skew, now),
        *_backup(view.backup),
    )


def _source(
    view: View, *, now: datetime, policy: OperatorPolicy, begun: datetime | None
) -> tuple[Condition, ...]:
    patience = policy.patience
    if view.is_open(Trouble.SOURCE.value):
        down = [one for one in view.watches if _is_shaky(one, now, patience)]
    else:
        down = [one for one in view.watches if _is_down(one, now, patience, begun)]
    if not down:
        return ()
    return (
        Condition(
            trouble=Trouble.SOURCE,
            since=min(watch.failed_since or now for watch in down),
            reason=down[0].error,
            count=len(view.watches),
            watches=tuple(watch.name for watch in down),
        ),
    )


def is_refused(error: str) -> bool:
    """Whether Kalshi will not have us: that does not heal by itself."""
    return f"{error} ".startswith(_REFUSED)


def _is_shaky(watch: WatchView, now: datetime, patience: timedelta) -> bool:
    """Whether Kalshi, once down, has not been read well for long enough."""
    if watch.failed:
        return True
    return watch.good_since is not None and now - watch.good_since < patience


def _is_down(watch: WatchView, now: datetime, patience: timedelta, begun: datetime | None) -> bool:
    if watch.failed and is_refused(watch.error):
        return True
    known = [at for at in (watch.read_at, begun) if at is not None]
    quiet_since = max(known, default=watch.failed_since or now)
    return watch.failed >= FAILED_READS and now - quiet_since >= patience


def _destination(
    view: View, one: DestinationView, *, now: datetime, begun: datetime | None
) -> tuple[Condition, ...]:
    found: list[Condition] = []
    standing = _standing(view, one, now=now, begun=begun)
    if standing is not None:
        trouble, since, reason = standing
        found.append(
            Condition(
                trouble=trouble,
                since=since,
                name=one.name,
                reason=reason,
                count=one.waiting,
            )
        )
    if one.died:
        found.append(
            Condition(
                trouble=Trouble.DEAD,
                since=one.died_since or now,
                name=one.name,
                reason=one.died_of,
                count=one.died,
            )
        )
    return tuple(found)


def _standing(
    view: View, one: DestinationView, *, now: datetime, begun: datetime | None
) -> tuple[Trouble, datetime, str] | None:
    """The worst of what keeps messages from it."""
    if one.gone:
        return Trouble.GONE, one.suspended_since or now, one.reason
    if one.suspended_since is not None:
        return Trouble.SUSPENDED, one.suspended_since, one.reason
    is_told = view.is_open(f"{Trouble.FAILING.value}:{one.name}")
    if one.open_since is not None:
        # While nobody ran nobody tried: after a downtime it has its five minutes.
        tried_since = max(one.open_since, begun or one.open_since)
        if is_told or now - tried_since > _OPEN_FOR:
            return Trouble.FAILING, one.open_since, one.reason
    if one.unsaid >= _UNSAID:
        return Trouble.FAILING, one.unsaid_since or now, one.unsaid_reason
    if is_told and one.has_answered and _is_unsteady(one, now):
        return Trouble.FAILING, one.steady_since or now, one.reason
    return None


def _is_unsteady(one: DestinationView, now: datetime) -> bool:
    return one.steady_since is not None and now - one.steady_since < _STEADY


def _quarantine(bad: BadView | None) -> tuple[Condition, ...]:
    if bad is None:
        return ()
    return (
        Condition(
            trouble=Trouble.QUARANTINE,
            since=bad.since,
            reason=f"{bad.milestone_id}: {bad.error}",
            count=bad.count,
        ),
    )


def _suspicious(watches: Sequence[WatchView]) -> tuple[Condition, ...]:
    return tuple(
        Condition(trouble=Trouble.SUSPICIOUS, since=watch.suspected_at, name=watch.name)
        for watch in watches
        if watch.suspected_at is not None
    )


def _clock(view: View, skew: timedelta | None, now: datetime) -> tuple[Condition, ...]:
    if skew is None and view.is_open(Trouble.CLOCK.value):
        return (Condition(trouble=Trouble.CLOCK, since=now),)
    if skew is None or abs(skew) <= _SKEW:
        return ()
    return (Condition(trouble=Trouble.CLOCK, since=now, skew=skew),)


def _backup(failed: tuple[datetime, str] | None) -> tuple[Condition, ...]:
    if failed is None:
        return ()
    return (Condition(trouble=Trouble.BACKUP, since=failed[0], reason=failed[1]),)


# --- what has changed ---------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What became wrong, and what is over."""

    raised: tuple[Condition, ...]
    cleared: tuple[Open, ...]
    #: Over as well, but not so that it concerns anybody.
    lapsed: tuple[Open, ...]

    def __bool__(self) -> bool:
        return bool(self.raised or self.cleared or self.lapsed)


def changes(view: View, found: Collection[Condition]) -> Changes:
    """What is to be told, given what has been told and what holds now."""
    keys = {one.key for one in found}
    over = [one for one in view.open if one.key not in keys and one.trouble is not Trouble.CATCH_UP]
    lapsed = tuple(one for one in over if _lapses(one, view, keys))
    return Changes(
        raised=tuple(one for one in found if not view.is_open(one.key)),
        cleared=tuple(
            replace(one, until=_ended_at(one, view)) for one in over if one not in lapsed
        ),
        lapsed=lapsed,
    )


def _ended_at(one: Open, view: View) -> datetime | None:
    """When it really ended: what was waited since to be sure is none of it."""
    known: list[datetime | None] = []
    if one.trouble is Trouble.SOURCE:
        known = [watch.good_since for watch in view.watches]
    elif one.trouble is Trouble.FAILING:
        named = [each for each in view.destinations if each.name == one.name]
        known = [each.steady_since for each in named]
    return max((at for at in known if at is not None), default=None)


def _lapses(one: Open, view: View, found: Collection[str]) -> bool:
    """Whether it ended only because it turned into another, grew old or left."""
    if one.trouble is Trouble.SUSPICIOUS:
        return all(watch.name != one.name for watch in view.watches)
    if one.trouble not in OF_DESTINATIONS:
        return False
    named = [each for each in view.destinations if each.name == one.name]
    if not named or one.trouble is Trouble.DEAD:
        return not named or named[0].dead > 0
    if one.trouble is Trouble.FAILING and not named[0].has_answered:
        return True  # what was to be tried there has merely been given up
    return any(
        f"{other.value}:{one.name}" in found
        for other in (Trouble.SUSPENDED, Trouble.GONE, Trouble.FAILING)
    )


# --- who is told --------------------------------------------------------------


class NoticeKind(StrEnum):
    """What a notice says of its condition."""

    RAISED = "raised"
    CLEARED = "cleared"
    #: It was, and is over: both at once, because the first could not be told.
    OVER = "over"
    #: The service is back after a downtime.
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far a destination has been told that a condition was raised."""

    key: str
    destination: str
    since: datetime
    state: str
    #: An attempt got no answer, or was cut off.
    may_have_arrived: bool = False


def recipients(to: Sequence[str], one: Condition | Open) -> tuple[str, ...]:
    """Whom to tell: never the destination that it is about."""
    about = one.name if one.trouble in OF_DESTINATIONS else None
    return tuple(name for name in to if name != about)


def ending(one: Open, told: Told | None, *, now: datetime) -> NoticeKind | None:
    """
    How the end of a condition is told to a destination; None: not at all.

    Whoever has not heard of it, because the destination could not be reached, hears
    of both in one notice if it lasted for more than an hour, or if an attempt to
    tell it may have arrived.
    """
    if told is None or told.since != one.since:
        return None
    if told.state == "delivered":
        return NoticeKind.CLEARED
    if told.may_have_arrived or (one.until or now) - one.since > _WORTH_TELLING:
        return NoticeKind.OVER
    return None


# --- a downtime ---------------------------------------------------------------


def is_caught_up(watches: Sequence[WatchView], *, begun: datetime, running_s: float) -> bool:
    """Whether it is time to say what a downtime has left behind."""
    return running_s >= CATCH_UP_WITHIN_S or all(
        watch.read_at is not None and watch.read_at >= begun for watch in watches
    )


# --- sending ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A word to the operator, owed to one destination."""

    key: str
    kind: NoticeKind
    destination: str
    since: datetime
    title: str
    #: Plain lines; the markup is added when it is sent.
    body: str
    born_at: datetime
    #: Tries so far.
    attempts: int = 0
    seq: int = 0


def can_be_sent_to(one: DestinationView, *, now: datetime) -> bool:
    """
    Whether a notice may go to a destination as it stands.

    One that seems to be down gets none; but where no delivery is due that would
    probe it, a notice is the probe.
    """
    if one.gone or (one.paused_until is not None and one.paused_until > now):
        return False
    return not one.is_broken or not one.waiting


def counts_since(rate: Rate, now: datetime) -> datetime:
    """From when on a destination's attempts count for its rate."""
    return now - rate.per - _MARGIN


def has_room(rate: Rate, sent: Sequence[datetime], now: datetime) -> bool:
    """Whether its rate lets one more leave; `sent`: when others left."""
    # What lies further ahead was noted before the clock was set back.
    return sum(at <= now + rate.per for at in sent) < rate.count


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeVerdict:
    """What becomes of a notice after an attempt."""

    state: str
    reason: str | None = None
    #: Only of one that goes on waiting.
    due_at: datetime | None = None


def settle_notice(
    notice: Notice, outcome: Outcome, *, now: datetime, drop_ambiguous: bool = False
) -> NoticeVerdict:
    """
    Decide about a notice whose attempt is the `notice.attempts`-th.

    Whatever was wrong, it is tried again for 72 h: nobody else tells the operator.
    With `drop_ambiguous` what may have arrived does not go again.
    """
    if isinstance(outcome, Sent):
        return NoticeVerdict(state="delivered")
    if drop_ambiguous and isinstance(outcome, Ambiguous) and outcome.unsure:
        return unrepeated(outcome.reason)
    due_at = now + wait_after(notice.attempts)
    if isinstance(outcome, Failed) and outcome.retry_after is not None:
        due_at = max(due_at, now + min(outcome.retry_after, MAX_RETRY_AFTER))
    if due_at > notice.born_at + MAX_AGE:
        return NoticeVerdict(state="dead", reason=outcome.reason)
    return NoticeVerdict(state="pending", reason=outcome.reason, due_at=due_at)


def unrepeated(reason: str) -> NoticeVerdict:
    """It may have arrived, at a destination to which such a one does not go again."""
    return NoticeVerdict(state="dead", reason=f"it may have arrived: {reason}")


def wait_after(attempts: int) -> timedelta:
    """How long a notice waits after so many tries."""
    return RETRY_SCHEDULE[min(max(attempts, 1), len(RETRY_SCHEDULE)) - 1]
