"""Simulated time, on which the tests of the workers rely."""

import threading
from typing import Any

import anyio
import pytest
from simulated import SimulatedClock, backend

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


async def test_time_passes_at_once_while_all_wait() -> None:
    clock = SimulatedClock()

    await anyio.sleep(3600)

    assert clock.monotonic() == 3600


async def test_time_stands_while_a_thread_works() -> None:
    clock = SimulatedClock()
    ticked = threading.Event()

    async def tick() -> None:
        await anyio.sleep(10)
        ticked.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        is_ahead = await anyio.to_thread.run_sync(ticked.wait, 0.05)
        at = clock.monotonic()

    assert not is_ahead
    assert at == 0
