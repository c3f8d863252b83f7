"""
How `story` wants its destinations treated, read once more from the clock on the wall.

Quiet hours at one destination, no repeats at another, and what may die at all.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.models import Failed, Refused
from simulation.books import URGENT, Books
from simulation.far_end import Attempt
from simulation.ledger import StoredDelivery

#: Sleeps from 22:00 to 07:00, and at noon of a working day.
QUIET = "mail"
QUIET_ZONE = ZoneInfo("Europe/Paris")
#: Never gets again what may have arrived.
ONCE = "once"
#: Gathers what comes by a route, for so long.
GATHERS = "chat"
GATHERED_FOR = timedelta(seconds=20)
MOST_TRIES = 13
OLDEST = timedelta(hours=72)
#: The most that a service's hint makes anyone wait.
LONGEST_HINT = timedelta(hours=1)
SATURDAY = 5


def is_quiet(now: datetime) -> bool:
    """Whether they sleep, by the clock on their wall."""
    wall = now.astimezone(QUIET_ZONE)
    if wall.time() >= time(22) or wall.time() < time(7):
        return True
    return wall.weekday() < SATURDAY and time(12) <= wall.time() < time(14)


def complaints(books: Books, attempts: Sequence[Attempt]) -> Iterator[str]:
    """Everything that is wrong."""
    yield from _of_quiet_hours(books, attempts)
    yield from _of_held(books)
    yield from _of_gathering(books, attempts)
    yield from _of_repeats(books)
    for one in books.owed.values():
        yield from _of_end(books, one)


# --- quiet hours --------------------------------------------------------------


def _of_quiet_hours(books: Books, attempts: Sequence[Attempt]) -> Iterator[str]:
    """Only starts leave in quiet hours, or what may have arrived with one."""
    begun: set[str] = set()
    for attempt in attempts:
        is_again, kinds = attempt.message_id in begun, _kinds(books, attempt)
        begun.add(attempt.message_id)
        if attempt.destination != QUIET or not is_quiet(attempt.begun_at):
            continue
        if "started" not in kinds or (kinds != {"started"} and not is_again):
            yield f"attempt {attempt.number} disturbs {QUIET} with {sorted(kinds)}"


def _kinds(books: Books, attempt: Attempt) -> set[str]:
    return {books.kind(event_id) for event_id in attempt.events}


def _of_held(books: Books) -> Iterator[str]:
    """What sleep made useless says so, and only that."""
    for one in books.owed.values():
        if not (one.reason or "").startswith("quiet hours"):
            continue
        kind, at = books.kind(one.event_id), one.settled_at
        is_asleep = at is not None and is_quiet(at)
        if (one.destination, kind, one.state) != (QUIET, "upcoming", "expired"):
            yield f"{books.name(one)} is {one.state}: {one.reason}"
        elif not is_asleep:
            yield f"{books.name(one)} ended at {at}, when nobody slept: {one.reason}"


def _of_gathering(books: Books, attempts: Sequence[Attempt]) -> Iterator[str]:
    """News leave for the first time after something has waited for others to join."""
    waiting = [
        one
        for one in books.owed.values()
        if one.destination == GATHERS and books.kind(one.event_id) not in URGENT
    ]
    known: set[str] = set()
    for attempt in attempts:
        is_first, is_news = known.isdisjoint(attempt.events), not attempt.is_urgent
        known.update(attempt.events)
        if attempt.destination != GATHERS or not (is_first and is_news):
            continue
        begun = attempt.begun_at
        if not any(
            books.events[one.event_id].seen_at <= begun - GATHERED_FOR
            and (one.settled_at is None or one.settled_at >= begun)
            for one in waiting
        ):
            yield f"attempt {attempt.number} to {GATHERS} waited for nothing"


# --- no repeats ---------------------------------------------------------------


def _of_repeats(books: Books) -> Iterator[str]:
    """Where nothing may come twice, nothing follows what may have arrived."""
    for (event_id, destination), attempts in books.tried.items():
        if destination != ONCE:
            continue
        arrivals = [one.number for one in attempts if one.arrived_at is not None]
        if len(arrivals) > 1:
            yield f"{event_id} arrived at {ONCE} more than once: {arrivals}"
        for attempt in attempts[:-1]:
            if attempt.may_have_arrived:
                yield f"{event_id} is sent to {ONCE} again after {attempt.number}"


# --- ends ---------------------------------------------------------------------


def _of_end(books: Books, one: StoredDelivery) -> Iterator[str]:
    """What ends unsent does so for the reasons that it may."""
    kind, name = books.kind(one.event_id), books.name(one)
    if one.state == "expired" and kind not in URGENT:
        yield f"{name} is expired: {one.reason}"
    if one.state == "dropped":
        is_said = (one.reason or "").startswith("it may have arrived")
        if one.destination != ONCE or not is_said or not one.attempts:
            yield f"{name} is dropped: {one.reason}"
    if one.state == "dead":
        yield from _of_death(books, one)
    if one.attempts > MOST_TRIES:
        yield f"{name} was tried {one.attempts} times"


def _of_death(books: Books, one: StoredDelivery) -> Iterator[str]:
    """It was refused by itself, or all its tries or its time were used up."""
    tries = books.tries(one)
    last = tries[-1].outcome if tries else None
    if isinstance(last, Refused) or one.attempts >= MOST_TRIES:
        return
    has_hint = isinstance(last, Failed) and last.retry_after is not None
    spared = LONGEST_HINT if has_hint else timedelta(0)
    if one.settled_at is None or one.settled_at < one.born_at + OLDEST - spared:
        yield f"{books.name(one)} died too early: {one.attempts} tries, {one.reason}"
