"""
What Kalshi's live data says of a milestone: which to ask about, and what it means.

The list's start is a plan. Live data knows whether it came to pass; what it says is
worth something only while it is fresh, or once a milestone has finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

#: Who starts later than this is not asked about yet.
AHEAD = timedelta(minutes=15)
#: Who started longer ago is not asked about any more.
BEHIND = timedelta(hours=6)
#: Around a start, until it has come to pass, a status is asked for more often.
_NEAR_AHEAD = timedelta(minutes=2)
_NEAR_BEHIND = timedelta(minutes=30)
_OFTEN = timedelta(seconds=30)
_SELDOM = timedelta(minutes=2)
#: So soon after a start it is asked whether it came to pass; before, nobody knows.
_JUST_AFTER = timedelta(seconds=1)
#: What was said longer ago may not hold any more. Longer than `_SELDOM`.
_FRESH = timedelta(seconds=150)
#: Characters of a word of theirs that are kept.
_LONGEST_WORD = 60


class Status(StrEnum):
    """What their words come to."""

    NOT_STARTED = "not_started"
    LIVE = "live"
    FINISHED = "finished"
    #: Postponed, suspended, cancelled...: their word says which.
    DELAYED = "delayed"
    #: A word that nobody here knows.
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
class Said:
    """What one answer says of one milestone."""

    status: Status
    #: Their own word for it.
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveData:
    """What is known of one milestone from live data."""

    status: Status
    word: str
    #: When the status was first seen.
    since: datetime
    #: When it was seen last.
    checked_at: datetime

    def holds(self, *, start: datetime, now: datetime) -> bool:
        """Whether it can be told as true of a milestone with this start."""
        if self.status is Status.FINISHED and start <= self.since <= now:
            return True
        # Up to its start everything has not started yet.
        is_early = self.checked_at < start + _JUST_AFTER and start <= now
        if self.status is Status.NOT_STARTED and is_early:
            return False
        return abs(now - self.checked_at) <= _FRESH

    @property
    def is_held_up(self) -> bool:
        """Whether it says that what was to start has not."""
        return self.status in {Status.NOT_STARTED, Status.DELAYED}

    @property
    def words(self) -> str:
        """What it says, to be put behind "it"; empty: nothing that we understand."""
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


def said(words: Sequence[str]) -> Said | None:
    """
    What words for one thing mean: the first that is known, else the first.

    None: there are none.
    """
    words = [word.strip()[:_LONGEST_WORD] for word in words if word.strip()]
    for word in words:
        if (status := _WORDS.get(_plain(word))) is not None:
            return Said(status=status, word=word)
    return Said(status=Status.UNKNOWN, word=words[0]) if words else None


def _plain(word: str) -> str:
    return " ".join(word.lower().replace("_", " ").replace("-", " ").split())


def learned(before: LiveData | None, heard: Said, now: datetime) -> LiveData:
    """What is known after an answer."""
    is_same = before is not None and before.status is heard.status
    return LiveData(
        status=heard.status,
        word=heard.word,
        since=before.since if before is not None and is_same else now,
        checked_at=now,
    )


# --- whom to ask about --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A milestone that starts soon, or has started not long ago."""

    milestone_id: str
    start: datetime
    known: LiveData | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A candidate, and when it was asked about last; None: never."""

    candidate: Candidate
    at: datetime | None


def to_ask(asked: Sequence[Asked], now: datetime, *, most: int) -> list[str]:
    """
    The ids to ask about now, at most so many.

    Those that have started since they were asked about come first, then those near
    their start, then whoever has waited longest.
    """
    due = [one for one in asked if _is_due(one, now)]
    due.sort(key=lambda one: _rank(one, now))
    return [one.candidate.milestone_id for one in due[:most]]


def next_start(asked: Sequence[Asked], now: datetime) -> datetime | None:
    """When to ask about the one that starts next, right after it has."""
    starts = (one.candidate.start + _JUST_AFTER for one in asked)
    return min((at for at in starts if at > now), default=None)


def _is_due(one: Asked, now: datetime) -> bool:
    every = _every(one.candidate, now)
    if every is None:
        return False
    # Asked in the future: the clock was set back since.
    return one.at is None or _has_started(one, now) or abs(now - one.at) >= every


def _has_started(one: Asked, now: datetime) -> bool:
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
    """Whether its start is about to come to pass, or ought to have."""
    if candidate.known is not None and candidate.known.status is Status.LIVE:
        return False
    return candidate.start - _NEAR_AHEAD <= now <= candidate.start + _NEAR_BEHIND


def _rank(one: Asked, now: datetime) -> tuple[bool, bool, bool, timedelta, str]:
    waited = timedelta(0) if one.at is None else now - one.at
    return (
        not _has_started(one, now),
        not _is_near(one.candidate, now),
        one.at is not None,
        -waited,
        one.candidate.milestone_id,
    )
