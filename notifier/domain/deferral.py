"""
What is kept back for now: by quiet hours, or to gather a digest.

Decided anew each time that a delivery comes due, so another configuration counts at
once. Starts and reminders are kept back by quiet hours alone, and expire at once if
those last longer than they are of use.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.models import URGENT, Due, Ended, Held, State
from notifier.domain.quiet_hours import next_time, quiet_until
from notifier.domain.rules import QuietPolicy, Then
from notifier.messages.humanize import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How the events of one route go to one destination."""

    #: More than so many due together are a digest; None: never.
    over: int | None
    #: For times of the day, and for the words.
    zone: ZoneInfo
    window: timedelta | None = None
    at: time | None = None
    quiet: QuietPolicy | None = None


FAR = datetime.max.replace(tzinfo=UTC)
#: The manner in which a delivery goes.
Mannered = Callable[[Due], Manner]


def hold(
    waiting: Sequence[Due],
    manner: Mannered,
    *,
    gathering: Mapping[str, datetime],
    now: datetime,
) -> Iterator[Held | Ended]:
    """
    Those of the waiting deliveries that do not go now.

    None goes with a digest while an earlier one of its milestone gathers for a later.
    `gathering` says by route when the digest that gathers already will go.
    """
    kept: set[str] = set()
    for group in _inseparable(waiting):
        for verdict in _quiet(group, manner(group[0]), now):
            kept.add(verdict.delivery_id)
            yield verdict
    rest = [one for one in waiting if one.delivery_id not in kept]
    for one in rest:
        if until := _behind(one, manner(one), now):
            kept.add(one.delivery_id)
            yield _gathered(one, until, manner(one), now)
    rest = [one for one in rest if one.delivery_id not in kept]
    yield from _gather(joined(rest, manner, now), manner, gathering, now)


def joined(waiting: Sequence[Due], manner: Mannered, now: datetime) -> list[Due]:
    """The same; what comes as a digest leaves takes its place in it."""
    leaving = {one.route for one in waiting if one.gathered or _has_waited(one, manner(one), now)}
    return [
        replace(one, gathered=True)
        if one.route in leaving and one.kind not in URGENT and one.frozen_in is None
        else one
        for one in waiting
    ]


def _has_waited(one: Due, how: Manner, now: datetime) -> bool:
    """Whether its window is over, however often the process began anew in it."""
    if how.window is None or how.at is not None or one.kind in URGENT:
        return False
    is_fresh = one.attempts == 0 and one.frozen_in is None
    return is_fresh and one.born_at + how.window <= now


def _inseparable(waiting: Sequence[Due]) -> Iterable[list[Due]]:
    """What may have arrived together stays together."""
    groups: dict[str, list[Due]] = {}
    for one in waiting:
        groups.setdefault(one.frozen_in or one.delivery_id, []).append(one)
    return groups.values()


def _quiet(group: Sequence[Due], manner: Manner, now: datetime) -> Iterator[Held | Ended]:
    policy = manner.quiet
    if policy is None or any(one.kind in policy.let_pass for one in group):
        return
    until = quiet_until(policy, manner.zone, now)
    if until is None:
        return
    words = f"quiet hours until {_moment(until, policy.zone or manner.zone, now)}"
    is_frozen = group[0].frozen_in is not None
    for one in group:
        if one.expires_at is not None and one.expires_at <= until and not is_frozen:
            reason = f"{words}: too late to be of use by then"
            yield _ended(one, State.EXPIRED, reason)
        elif policy.then is Then.DROP and not is_frozen:
            yield _ended(one, State.DROPPED, words)
        else:
            yield _held(one, until, words, gathered=policy.then is Then.DIGEST)


def _behind(one: Due, manner: Manner, now: datetime) -> datetime | None:
    """Until when it waits for earlier ones of its milestone, which gather."""
    if one.kind in URGENT or one.attempts or one.frozen_in is not None:
        return None
    policy = manner.quiet
    asleep = None if policy is None else quiet_until(policy, manner.zone, now)
    # What quiet hours keep back does not keep back what they let pass.
    return max((until for until in one.behind if until != asleep), default=None)


def _gather(
    rest: Sequence[Due],
    manner: Mannered,
    gathering: Mapping[str, datetime],
    now: datetime,
) -> Iterator[Held]:
    """What waits for others, unless it has waited already or failed since."""
    for one in rest:
        how = manner(one)
        is_fresh = one.attempts == 0 and one.frozen_in is None and not one.gathered
        if one.kind in URGENT or not is_fresh:
            continue
        if how.at is not None:
            until = next_time(how.at, how.zone, now)
        elif how.window is not None:
            until = min(gathering.get(one.route, FAR), one.born_at + how.window)
        else:
            continue
        if until > now:
            yield _gathered(one, until, how, now)


def _gathered(one: Due, until: datetime, how: Manner, now: datetime) -> Held:
    words = f"gathered for a digest at {_moment(until, how.zone, now)}"
    return _held(one, until, words, gathered=True)


def _moment(when: datetime, zone: ZoneInfo, now: datetime) -> str:
    return moment(when, zone=zone, now=now)


def _held(one: Due, until: datetime, words: str, *, gathered: bool) -> Held:
    return Held(
        delivery_id=one.delivery_id,
        until=until,
        reason=words,
        gathered=gathered or one.gathered,
    )


def _ended(one: Due, state: State, words: str) -> Ended:
    return Ended(delivery_id=one.delivery_id, state=state, reason=words)
