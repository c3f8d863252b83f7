"""How the service seems to those who ask while its configuration changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import reading
from reading import Kalshi, StubSender
from simulated import SimulatedClock, backend

from notifier import app
from notifier.domain.models import Outcome, Rendered, Sent
from notifier.settings.models import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@dataclass
class Slow(StubSender):
    """A far end that takes its time."""

    begun: anyio.Event = field(default_factory=anyio.Event)

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del destination, message, delivered_to
        self.begun.set()
        await anyio.sleep(15)
        return Sent(status=204)


async def test_it_stays_ready_while_a_reload_waits_and_not_when_it_stops(
    tmp_path: Path,
) -> None:
    kalshi, sender, clock = Kalshi(), Slow(), SimulatedClock()

    async def open_sender(_config: Settings) -> Slow:
        return sender

    parts = replace(reading._parts(clock, kalshi), sender=open_sender)
    database, heard = tmp_path / "notifier.db", list[Sequence[str]]()
    turn, last = anyio.Event(), anyio.Event()
    config = reading._config(database, {})
    async with app.build_services(config, parts) as loops, anyio.create_task_group() as tasks:
        tasks.start_soon(partial(app.serve, loops, turn, database, parts, last=last))
        await anyio.sleep(60)
        kalshi.lists("m1")
        await sender.begun.wait()
        heard.append((await loops.readiness()).unready)
        turn.set()
        await anyio.sleep(10)
        heard.append((await loops.readiness()).unready)
        last.set()
        await anyio.sleep(1)
        heard.append((await loops.readiness()).unready)

    assert heard == [[], [], ["it is stopping"]]
