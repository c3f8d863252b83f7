"""
Live status: which milestones to ask Kalshi's live data about, and what an answer means.

The start in the list is a plan; live data says whether the milestone has started. A
status is used only while it is fresh, or once the milestone has finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: A milestone that starts later than this is not asked about yet.
AHEAD = timedelta(minutes=15)
#: A milestone that started longer ago is not asked about any more.
BEHIND = timedelta(hours=6)
#: Near its start, until it is live, a milestone is asked about more often.
_NEAR_AHEAD = timedelta(minutes=2)
_NEAR_BEHIND = timedelta(minutes=30)
_OFTEN = timedelta(seconds=30)
_SELDOM = timedelta(minutes=2)
#: So soon after its start a milestone is asked about; an earlier answer says nothing.
_JUST_AFTER = timedelta(seconds=1)
#: An older status may not hold any more. Longer than `_SELDOM`.
_FRESH = timedelta(seconds=150)
#: Characters of a status word of Kalshi that are kept.
_MAX_WORD = 60


class Status(StrEnum):
    """The meaning of a status word of Kalshi."""

    NOT_STARTED = "not_started"
    LIVE = "live"
    FINISHED = "finished"
    #: Postponed, suspended, cancelled...: the word says which.
    DELAYED = "delayed"
    #: An unknown word.
    UNKNOWN = "unknown"


_WORDS = {
    **dict.fromkeys(
        ("not started", "scheduled", "created", "upcoming", "pregame", "pre game"),
        Status.NOT_STARTED,
    ),
    **dict.fromkeys(
        ("live", "inprogress", "in progress", "started", "ongoing", "halftime"),
        Status.LIVE,
    ),
    **dict.fromkeys(
        ("finished", "closed", "complete", "completed", "ended", "final"),
        Status.FINISHED,
    ),
    **dict.fromkeys(
        (
            *("delayed", "postponed", "rescheduled", "suspended", "interrupted"),
            *("cancelled", "canceled", "abandoned"),
        ),
        Status.DELAYED,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveAnswer:
    """The status of one milestone in one answer."""

    status: Status
    #: Kalshi's word for it.
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveData:
    """The live status of one milestone."""

    status: Status
    word: str
    #: When the status was first seen.
    since: datetime
    #: When it was seen last.
    checked_at: datetime

    def holds(self, *, start: datetime, now: datetime) -> bool:
        """Whether the status is true of a milestone with this start."""
        if self.status is Status.FINISHED and start <= self.since <= now:
            return True
        # Before its start every milestone has not started yet.
        is_early = self.checked_at < start + _JUST_AFTER and start <= now
        if self.status is Status.NOT_STARTED and is_early:
            return False
        return abs(now - self.checked_at) <= _FRESH

    @property
    def is_held_up(self) -> bool:
        """Whether a milestone that should have started has not."""
        return self.status in {Status.NOT_STARTED, Status.DELAYED}

    @property
    def words(self) -> str:
        """The status in words, to follow "it"; empty: unknown."""
        match self.status:
            case Status.NOT_STARTED:
                return "has not started yet"
            case Status.LIVE:
                return "is live"
            case Status.FINISHED:
                return "has finished"
            case Status.DELAYED:
                return f"is {_plain(self.word)}"
            case Status.UNKNOWN:
                return ""


def parse_status(words: Sequence[str]) -> LiveAnswer | None:
    """
    The status that some words for one milestone mean: the first known one, else the first.

    None: there are no words.
    """
    words = [word.strip()[:_MAX_WORD] for word in words if word.strip()]
    for word in words:
        if (status := _WORDS.get(_plain(word))) is not None:
            return LiveAnswer(status=status, word=word)
    return LiveAnswer(status=Status.UNKNOWN, word=words[0]) if words else None


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("_", " ").replace("-", " ").split())


def updated_status(before: LiveData | None, heard: LiveAnswer, now: datetime) -> LiveData:
    """The live status after an answer."""
    is_same = before is not None and before.status is heard.status
    return LiveData(
        status=heard.status,
        word=heard.word,
        since=before.since if before is not None and is_same else now,
        checked_at=now,
    )


# --- which milestones to ask about --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A milestone that starts soon or has started recently."""

    milestone_id: str
    start: datetime
    known: LiveData | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledCandidate:
    """A candidate, and when it was asked about last; None: never."""

    candidate: Candidate
    at: datetime | None


def ids_to_ask(asked: Sequence[PolledCandidate], now: datetime, *, most: int) -> list[str]:
    """
    The ids to ask about now, at most so many.

    First those that have started since they were asked about, then those near their
    start, then those that have waited longest.
    """
    due = [one for one in asked if _is_due(one, now)]
    due.sort(key=lambda one: _rank(one, now))
    return [one.candidate.milestone_id for one in due[:most]]


def next_start(asked: Sequence[PolledCandidate], now: datetime) -> datetime | None:
    """When to ask about the one that starts next, right after it has."""
    starts = (one.candidate.start + _JUST_AFTER for one in asked)
    return min((at for at in starts if at > now), default=None)


def _is_due(one: PolledCandidate, now: datetime) -> bool:
    every = _every(one.candidate, now)
    if every is None:
        return False
    # The difference may be negative, if the clock was set back.
    return one.at is None or _has_started(one, now) or abs(now - one.at) >= every


def _has_started(one: PolledCandidate, now: datetime) -> bool:
    """Whether its start has come since it was asked about."""
    return one.at is not None and one.at < one.candidate.start + _JUST_AFTER <= now


def _every(candidate: Candidate, now: datetime) -> timedelta | None:
    """How often a milestone is asked about; None: it is not."""
    if not candidate.start - AHEAD <= now <= candidate.start + BEHIND:
        return None
    known = candidate.known
    # Finished before its start: its start has moved since.
    if known is not None and known.status is Status.FINISHED and candidate.start <= known.since:
        return None
    return _OFTEN if _is_near(candidate, now) else _SELDOM


def _is_near(candidate: Candidate, now: datetime) -> bool:
    """Whether it is about to start, or should have started."""
    if candidate.known is not None and candidate.known.status is Status.LIVE:
        return False
    return candidate.start - _NEAR_AHEAD <= now <= candidate.start + _NEAR_BEHIND


def _rank(one: PolledCandidate, now: datetime) -> tuple[bool, bool, bool, timedelta, str]:
    waited = timedelta(0) if one.at is None else now - one.at
    return (
        not _has_started(one, now),
        not _is_near(one.candidate, now),
        one.at is not None,
        -waited,
        one.candidate.milestone_id,
    )
