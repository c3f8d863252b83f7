"""What a seed decides beforehand: when the process lives, and how it dies."""

import math
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: The last lives: everything is well, and all that is owed goes out.
CALM = 5 * MINUTE


class Death(Enum):
    """How a life ends."""

    #: At any moment.
    KILLED = auto()
    #: At a statement.
    AT_STATEMENT = auto()
    #: While a message is on its way.
    IN_SEND = auto()
    #: As it should.
    STOPPED = auto()


@dataclass(frozen=True, kw_only=True)
class Life:
    """The process from one boot to its end, in seconds since the beginning."""

    boots_at: float
    ends_at: float
    death: Death
    fuse: int
    #: Nothing goes wrong any more.
    calm: bool = False


def lives(chance: Random, *, days: float, uptime: float) -> list[Life]:
    """Lives that fill the days; the process is up for about `uptime` seconds."""
    lengths: list[float] = []
    while sum(lengths) < uptime:
        lengths.append(_length(chance))
    longest = 2 * days * 24 * HOUR / len(lengths)
    found: list[Life] = []
    now = 0.0
    for length in lengths:
        found.append(_life(chance, now, length))
        now += length + _gap(chance, longest)
    return [*found, *_calm(now, uptime)]


def _life(chance: Random, now: float, length: float) -> Life:
    return Life(
        boots_at=now,
        ends_at=now + length,
        death=chance.choice(list(Death)),
        fuse=chance.choice((chance.randrange(1, 60), chance.randrange(1, 3000))),
    )


def _length(chance: Random) -> float:
    short, usual, long = (1, 20), (20, 1.5 * MINUTE), (MINUTE, 5 * MINUTE)
    return chance.uniform(*chance.choice((short, usual, usual, long)))


def _gap(chance: Random, longest: float) -> float:
    """At once, soon, or after hours."""
    few, some, many = (0.1, 5), (5, 15 * MINUTE), (MINUTE, 2 * longest)
    return chance.uniform(*chance.choice((few, some, many, many)))


def _calm(now: float, uptime: float) -> list[Life]:
    """One long life to see everything, and short ones until every retry is due."""
    calm = [(now, CALM)]
    # The longer the trouble was, the more there is to send.
    short = MINUTE + uptime / 8
    for length in (40.0, 40.0, 40.0, short):
        begun, before = calm[-1]
        calm.append((begun + before + 25 * HOUR, length))
    # The last one begins in an evening, like the first: nobody sleeps then.
    calm[-1] = (math.ceil(calm[-1][0] / DAY) * DAY, short)
    return [
        Life(
            boots_at=begun,
            ends_at=begun + length,
            death=Death.STOPPED,
            fuse=0,
            calm=True,
        )
        for begun, length in calm
    ]
