"""The whole service, with an operator: an outage and a downtime, in simulated time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
import reading
from reading import Kalshi, StubSender
from servers.api_faults import Status
from simulated import SimulatedClock, backend
from storing import HOOK, HOUR, MINUTE, stamp

from notifier import app
from notifier.domain.models import Outcome, Rendered, Sent
from notifier.domain.rules import Destination, Rate
from notifier.settings.models import OperatorSettings, Settings

pytestmark = pytest.mark.anyio

OPS = "ops"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
async def kalshi() -> Kalshi:
    return Kalshi()


@dataclass
class Sender(StubSender):
    """Far ends that take everything and remember it."""

    taken: list[tuple[str, Rendered]] = field(default_factory=list)

    async def send(
        self, destination: str, message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del delivered_to
        self.taken.append((destination, message))
        return Sent(status=204)

    def default_rate(self, destination: str) -> Rate | None:
        del destination
        return Rate(count=10, per=MINUTE)

    def to(self, destination: str) -> list[str]:
        return [m.title for name, m in self.taken if name == destination]


@asynccontextmanager
async def _service(database: Path, kalshi: Kalshi, sender: Sender) -> AsyncIterator[None]:
    """The service from its start to a stop; one who operates it gets no milestones."""

    async def open_sender(_config: Settings) -> Sender:
        return sender

    clock = SimulatedClock()
    clock.correct(kalshi.clock.now() - clock.now())
    parts = replace(reading._parts(clock, kalshi), sender=open_sender)
    config = reading._config(database, {})
    ops = Destination(name=OPS, url="json://ops", zone=config.timezone)
    update = {"destinations": (*config.destinations, ops), "operator": OperatorSettings(to=(OPS,))}
    config = config.model_copy(update=update)
    stop = anyio.Event()
    async with app.build_services(config, parts) as loops, anyio.create_task_group() as tasks:
        tasks.start_soon(app.serve, loops, stop, database, parts)
        yield
        stop.set()


#: Two simulated hours of a whole service take long on a busy machine.
@pytest.mark.timeout(240)
async def test_an_outage_is_told_once_and_starts_go_out_meanwhile(
    tmp_path: Path, kalshi: Kalshi
) -> None:
    sender, database = Sender(), tmp_path / "notifier.db"
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + HOUR))
    async with _service(database, kalshi, sender):
        await anyio.sleep(1800)
        assert sender.taken == []

        kalshi.api.plan(Status(status=503), times=None)
        await anyio.sleep(2 * 3600)
        assert sender.to(OPS) == ["Kalshi cannot be read"]
        assert len(sender.to(HOOK)) == 1

        kalshi.api.heal()
        kalshi.lists("m2")
        await anyio.sleep(1800)

    assert sender.to(OPS) == ["Kalshi cannot be read", "Kalshi answers again"]
    [body] = [m.body for _, m in sender.taken if m.title == "Kalshi answers again"]
    assert "Found meanwhile: 1 created; 1 start was announced on time." in body


async def test_a_downtime_is_told_after_the_first_poll(tmp_path: Path, kalshi: Kalshi) -> None:
    sender, database = Sender(), tmp_path / "notifier.db"
    kalshi.lists("m1", start_date=stamp(kalshi.clock.now() + HOUR), title="Game one")
    async with _service(database, kalshi, sender):
        await anyio.sleep(1800)
    await anyio.sleep(3 * 3600)
    kalshi.lists("m2")
    async with _service(database, kalshi, sender):
        await anyio.sleep(60)

    assert sender.to(OPS) == ["Back after 3 h"]
    [body] = [m.body for name, m in sender.taken if name == OPS]
    assert body.split("\n") == [
        "Back after 3 h. Found: 1 change (1 created).",
        "1 start is over and was not announced: Game one.",
        "1 delivery goes out now.",
    ]


async def test_restarts_within_minutes_tell_nobody(tmp_path: Path, kalshi: Kalshi) -> None:
    sender, database = Sender(), tmp_path / "notifier.db"
    kalshi.lists("m1")
    for _ in range(3):
        async with _service(database, kalshi, sender):
            await anyio.sleep(120)
        await anyio.sleep(60)

    assert sender.to(OPS) == []
