"""How fast Kalshi is asked, in simulated time."""

from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
from simulated import SimulatedClock, backend
from storing import MINUTE, SECOND

from notifier.domain.rules import Rate
from notifier.workers.rate_limiter import RateLimiter, RequestPriority

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


class _Asking:
    """Who was let through, and when."""

    def __init__(self, count: int, per: timedelta) -> None:
        self.clock = SimulatedClock()
        self.let_through: list[tuple[float, RequestPriority]] = []
        self.signs_of_life: list[float] = []
        rate = Rate(count=count, per=per)
        self._pace = RateLimiter(rate, self.clock, heartbeat=self._heartbeat)

    def _heartbeat(self, loop: str) -> None:
        del loop
        self.signs_of_life.append(self.clock.monotonic())

    async def ask(self, lane: RequestPriority, times: int = 1, *, after: float = 0.0) -> None:
        await anyio.sleep(after)
        for _ in range(times):
            await self._pace.acquire(lane)
            self.let_through.append((self.clock.monotonic(), lane))

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.let_through]


@pytest.mark.parametrize(("count", "per"), [(2, SECOND), (1, SECOND), (10, MINUTE)], ids=str)
async def test_no_window_wherever_it_begins_sees_more_requests_than_the_rate(
    count: int, per: timedelta
) -> None:
    asking = _Asking(count, per)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asking.ask, RequestPriority.SWEEP, 60)
        for at in (0.3, 7.77, 20.0):
            tasks.start_soon(partial(asking.ask, RequestPriority.POLL, 3, after=at))

    windows = zip(asking.times, asking.times[count:], strict=False)
    assert all(later - first > per / SECOND for first, later in windows)
    assert asking.times[-1] == pytest.approx(68 // count * (per / SECOND), rel=0.06)


async def test_as_many_as_the_rate_allows_go_at_once() -> None:
    asking = _Asking(5, SECOND)

    await asking.ask(RequestPriority.SWEEP, 5)

    assert asking.times == [0.0] * 5


async def test_a_poll_goes_before_the_pages_of_a_sweep_that_have_waited_longer() -> None:
    asking = _Asking(1, MINUTE)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(asking.ask, RequestPriority.SWEEP, 4)
        tasks.start_soon(partial(asking.ask, RequestPriority.POLL, 2, after=10))

    assert [lane.name for _, lane in asking.let_through] == [
        *("SWEEP", "POLL", "POLL", "SWEEP", "SWEEP", "SWEEP")
    ]
    gaps = [after - before for before, after in pairwise(asking.times)]
    assert gaps == pytest.approx([60] * 5, abs=0.1)


async def test_whoever_waits_long_shows_that_it_lives() -> None:
    asking = _Asking(1, 5 * MINUTE)

    await asking.ask(RequestPriority.SWEEP, 2)

    signs = [0.0, *asking.signs_of_life, asking.times[-1]]
    assert max(after - before for before, after in pairwise(signs)) <= 30


async def test_who_gives_up_waiting_costs_nobody_a_request() -> None:
    asking = _Asking(1, MINUTE)

    await asking.ask(RequestPriority.SWEEP)
    with anyio.move_on_after(5):
        await asking.ask(RequestPriority.POLL)
    await asking.ask(RequestPriority.POLL)

    assert asking.times == pytest.approx([0, 60], abs=0.1)
