"""The destinations: what arrives there, and every way to misbehave."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from random import Random

import anyio

from notifier.domain.models import (
    Ambiguous,
    CloudEvent,
    Failed,
    Format,
    Limits,
    Outcome,
    Refused,
    Rendered,
    Scope,
    Sent,
)
from notifier.domain.rules import Rate
from simulation.machine import Machine, VirtualClock

#: A mood lasts so long on the average.
_MOOD_S = 150.0


class Mood(Enum):
    """How a destination behaves for a while."""

    WELL = auto()
    SLOW = auto()
    FLAKY = auto()
    DOWN = auto()
    SILENT = auto()
    THROTTLED = auto()
    CLOSED = auto()


_MOODS = (Mood.WELL, Mood.WELL, *Mood)


@dataclass
class Attempt:
    """One try as the destination sees it."""

    number: int
    destination: str
    message_id: str
    #: What it tells, in order.
    told: tuple[CloudEvent, ...]
    is_urgent: bool
    begun_at: datetime
    #: None: it never arrived.
    arrived_at: datetime | None = None
    #: None: the process died meanwhile.
    outcome: Outcome | None = None
    ended_at: datetime | None = None

    @property
    def events(self) -> tuple[str, ...]:
        """The ids of what it tells."""
        return tuple(event.id for event in self.told)

    @property
    def may_be_repeated(self) -> bool:
        """Whether nobody on the other side can know that it has arrived."""
        return self.outcome is None or isinstance(self.outcome, Ambiguous)

    @property
    def may_have_arrived(self) -> bool:
        """Whether somebody may have read it."""
        return self.arrived_at is not None or self.may_be_repeated

    def turn(self) -> tuple[datetime, int]:
        """Its place among all arrivals."""
        return self.arrived_at or self.begun_at, self.number


@dataclass
class FarEnd:
    """All destinations, as the service's sender."""

    clock: VirtualClock
    machine: Machine
    chance: Random
    rates: dict[str, Rate | None]
    #: Called with each attempt before anything else happens to it.
    begins: Callable[[Attempt, Rendered], None]
    says: Callable[[str], None]
    is_calm: bool = False
    #: The next message on its way is the last thing the process sees.
    kills: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    _moods: dict[str, tuple[Mood, datetime]] = field(default_factory=dict)

    def default_rate(self, destination: str) -> Rate | None:
        return self.rates[destination]

    def limits(self, destination: str) -> Limits:
        del destination
        return Limits(format=Format.TEXT, title=200, body=4000)

    async def aclose(self) -> None:
        pass

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        """One attempt: on its way, perhaps there, and what is seen of it here."""
        del delivered_to  # it has one recipient
        attempt = Attempt(
            number=len(self.attempts) + 1,
            destination=destination,
            message_id=message.message_id,
            told=message.events,
            is_urgent=message.urgent,
            begun_at=self.clock.now(),
        )
        self.attempts.append(attempt)
        self.begins(attempt, message)
        mood = self._mood(destination)
        outcome = self._refusal(mood, message) or self._outcome(mood)
        self.says(f"send {attempt.number} {attempt.message_id[:12]} to {destination}")
        await self._travel(mood)
        if isinstance(outcome, Sent) or (
            isinstance(outcome, Ambiguous) and self.chance.random() < 0.5
        ):
            attempt.arrived_at = self.clock.now()
            self.says(f"arrival {attempt.number}")
        await self._travel(mood)
        attempt.outcome, attempt.ended_at = outcome, self.clock.now()
        self.says(f"outcome {attempt.number} {type(outcome).__name__}")
        return outcome

    async def _travel(self, mood: Mood) -> None:
        if self.kills and self.chance.random() < 0.5:
            self.kills = False
            await anyio.sleep(self.chance.uniform(0, 0.2))
            self.machine.die()
            self.machine.check()
        slow = (5, 14) if mood is Mood.SLOW else (0.005, 0.4)
        await anyio.sleep(self.chance.uniform(*slow))
        self.machine.check()

    def _mood(self, destination: str) -> Mood:
        now = self.clock.now()
        mood, until = self._moods.get(destination, (Mood.WELL, now))
        if self.is_calm:
            return Mood.WELL
        if until <= now:
            mood = self.chance.choice(_MOODS)
            until = now + timedelta(seconds=self.chance.expovariate(1 / _MOOD_S))
            self._moods[destination] = mood, until
        return mood

    def _refusal(self, mood: Mood, message: Rendered) -> Outcome | None:
        """Some milestones are refused whenever and wherever they are named."""
        if mood is Mood.CLOSED:
            scope = Scope.DESTINATION
            return Refused(reason="403 Forbidden", scope=scope, status=403)
        bad = any(_is_poison(event, message) for event in message.events)
        if bad and not self.is_calm:
            return Refused(reason="400 Bad", scope=Scope.MESSAGE, status=400)
        return None

    def _outcome(self, mood: Mood) -> Outcome:
        match mood:
            case Mood.DOWN:
                return Failed(reason="503 Service Unavailable", status=503)
            case Mood.SILENT:
                return Ambiguous(reason="no answer in time")
            case Mood.THROTTLED:
                hint = timedelta(seconds=self.chance.randrange(1, 60))
                return Failed(reason="429", status=429, retry_after=hint)
            case Mood.FLAKY:
                return self.chance.choice(
                    (
                        Sent(status=200),
                        Failed(reason="502 Bad Gateway", status=502),
                        Ambiguous(reason="the connection broke"),
                    )
                )
            case _:
                return Sent(status=200)


def _is_poison(event: CloudEvent, message: Rendered) -> bool:
    """Whether the message has words in it that no destination takes."""
    is_bad = int(event.subject.removeprefix("m")) % 31 == 7
    return is_bad and event.title in message.title + message.body
