"""How many requests a destination's rate allows: no sliding window sees more."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.domain.rules import Rate

#: Messages that would leave later than this become a digest instead.
SOON = timedelta(seconds=10)
UNLIMITED = 1_000_000
#: Kept between the edges of a window: the network is no clock.
_MARGIN = timedelta(milliseconds=20)


class Slots(NamedTuple):
    """What a rate allows."""

    #: Requests that may leave now, and within `SOON`.
    now: int
    soon: int
    #: How long until one may leave; zero where one may leave now.
    wait: timedelta = timedelta(0)


def window_start(rate: Rate | None, now: datetime) -> datetime | None:
    """The instant from which on requests count for a rate; None: there is no rate."""
    return None if rate is None else now - rate.per - _MARGIN


def slots(rate: Rate | None, sent: Sequence[datetime], now: datetime) -> Slots:
    """What a rate allows; `sent` holds when requests left since `window_start`."""
    if rate is None:
        return Slots(now=UNLIMITED, soon=UNLIMITED)
    # An instant further ahead was recorded before the clock was set back.
    recent = [at for at in sent if at <= now + rate.per]
    if rate.per <= SOON:
        soon = rate.count * (SOON // rate.per)
    else:
        soon = rate.count - sum(at + rate.per > now + SOON for at in recent)
    if len(recent) < rate.count:
        return Slots(now=rate.count - len(recent), soon=soon)
    wait = min(recent) + rate.per + _MARGIN - now
    return Slots(now=0, soon=soon, wait=max(wait, timedelta(milliseconds=1)))
