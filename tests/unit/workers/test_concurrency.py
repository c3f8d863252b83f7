"""Who goes next, and who wakes up, on both event loops."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from notifier.concurrency import PriorityLock, WakeupEvent

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class _Crowd:
    """Tasks that wait at one gate, and in which order they came in."""

    def __init__(self) -> None:
        self.gate = PriorityLock()
        self.served: list[str] = []
        self.inside = 0

    async def visit(self, name: str, priority: int) -> None:
        async with self.gate.hold(priority):
            self.inside += 1
            assert self.inside == 1
            try:
                await checkpoint()
                self.served.append(name)
            finally:
                self.inside -= 1


async def _settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await checkpoint()


async def test_the_most_urgent_goes_first_and_then_who_waited_longest() -> None:
    crowd = _Crowd()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks, crowd.gate.hold(9):
            for name, priority in (("a", 2), ("b", 1), ("c", 2), ("d", 0), ("e", 1)):
                tasks.start_soon(crowd.visit, name, priority)
                await _settle()

    assert crowd.served == ["d", "b", "e", "a", "c"]


async def test_whoever_waits_longest_is_served_in_the_end_whatever_is_urgent() -> None:
    crowd = _Crowd()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks, crowd.gate.hold(9):
            tasks.start_soon(crowd.visit, "patient", 5)
            await _settle()
            for n in range(20):
                tasks.start_soon(crowd.visit, str(n), 1)

    assert crowd.served.index("patient") < 10


async def test_only_one_is_inside_however_many_come() -> None:
    crowd = _Crowd()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(crowd.visit, str(n), n % 3)

    assert sorted(crowd.served, key=int) == [str(n) for n in range(50)]


async def test_who_gives_up_waiting_is_not_waited_for() -> None:
    crowd = _Crowd()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks, crowd.gate.hold(0):
            impatient = anyio.CancelScope()

            async def give_up() -> None:
                with impatient:
                    await crowd.visit("impatient", 0)

            tasks.start_soon(give_up)
            await _settle()
            tasks.start_soon(crowd.visit, "patient", 1)
            await _settle()
            impatient.cancel()
            await _settle()

    assert crowd.served == ["patient"]


@pytest.mark.parametrize("handed_over_first", [True, False])
async def test_who_is_cancelled_just_as_the_turn_is_theirs_passes_it_on(
    handed_over_first: bool,
) -> None:
    crowd = _Crowd()
    doomed = anyio.CancelScope()

    async def die() -> None:
        with doomed:
            await crowd.visit("doomed", 0)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            async with crowd.gate.hold(0):
                tasks.start_soon(die)
                await _settle()
                tasks.start_soon(crowd.visit, "next", 1)
                await _settle()
                if not handed_over_first:
                    doomed.cancel()
            # The turn has been handed over, but nobody has run since.
            doomed.cancel()

    assert crowd.served == ["next"]


async def test_who_fails_inside_passes_the_turn_on() -> None:
    crowd = _Crowd()

    async def fail() -> None:
        async with crowd.gate.hold(0):
            raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            await fail()
    with anyio.fail_after(10):
        await crowd.visit("next", 1)

    assert crowd.served == ["next"]


async def test_a_bell_wakes_who_waits() -> None:
    wakeup = WakeupEvent()
    heard: list[bool] = []

    async def listen() -> None:
        heard.append(await wakeup.wait(60))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await _settle()
            wakeup.set()

    assert heard == [True]


async def test_a_bell_that_rang_while_nobody_waited_is_heard_once() -> None:
    wakeup = WakeupEvent()
    wakeup.set()
    wakeup.set()

    with anyio.fail_after(10):
        first = await wakeup.wait(60)
        second = await wakeup.wait(0)

    assert (first, second) == (True, False)


async def test_a_bell_that_rings_as_its_listener_gives_up_is_heard_by_the_next() -> None:
    wakeup = WakeupEvent()
    scope = anyio.CancelScope()

    async def listen() -> None:
        with scope:
            await wakeup.wait(60)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await _settle()
            scope.cancel()
            wakeup.set()
        heard = await wakeup.wait(60)

    assert heard


async def test_a_bell_that_does_not_ring_lets_go_in_time() -> None:
    with anyio.fail_after(10):
        assert await WakeupEvent().wait(0.001) is False
        assert await WakeupEvent().wait(-1) is False
