"""One destination's way out, and what it is made of."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio

from notifier.domain.models import Limits, Outcome, Rate, Rendered

T = TypeVar("T")


class Unusable(ValueError):
    """A destination's URL cannot be used; the text says why, and no secret."""


class Offload(Protocol):
    """How blocking work is run without holding up the event loop."""

    async def __call__(
        self, fn: Callable[[], T], /, *, limiter: anyio.CapacityLimiter | None = None
    ) -> T:
        """
        The result of `fn`, run elsewhere.

        No more than the limiter's tokens run at a time. When cancelled, it
        returns at once and leaves `fn` to end by itself.
        """


async def in_thread(fn: Callable[[], T], /, *, limiter: anyio.CapacityLimiter | None = None) -> T:
    """Run blocking work in a worker thread: `Offload` as production has it."""
    return await anyio.to_thread.run_sync(fn, abandon_on_cancel=True, limiter=limiter)


class Lane(Protocol):
    """One destination's way out."""

    @property
    def limits(self) -> Limits:
        """What the service can take."""

    @property
    def rate(self) -> Rate | None:
        """How often it may be asked when the configuration says nothing."""

    async def send(self, message: Rendered, *, served: frozenset[str] = frozenset()) -> Outcome:
        """
        Make one attempt; whatever the service does is an outcome.

        Recipients whose marks are in `served` have the message and are passed
        over; an outcome that leaves some without it gives the marks of all who
        have it. A lane of one recipient knows no marks.
        """

    async def aclose(self) -> None:
        """Close its connections."""
