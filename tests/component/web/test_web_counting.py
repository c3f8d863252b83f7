"""What the parts of the web know of the service that they are built for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import reading
from reading import Kalshi
from simulated import SimulatedClock, backend

from notifier import app
from notifier.domain.pagination import EventFilter
from notifier.settings.models import WebSettings
from notifier.storage import queries

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


async def test_workers_count_what_they_do(tmp_path: Path) -> None:
    clock, kalshi = SimulatedClock(), Kalshi()
    parts = reading._parts(clock, kalshi)
    config = reading._config(tmp_path / "notifier.db", {"announce_existing": True})
    kalshi.lists("m1")
    async with app.build_services(config, parts) as services:
        await services.poller.once()
        await services.scheduler.fire_due()
        await services.dispatcher.once()
    value = parts.metrics.registry.get_sample_value

    assert value("notifier_read_runs_total", {"kind": "baseline", "result": "complete"}) == 1
    assert value("notifier_events_total", {"kind": "created"}) == 1
    [destination] = [one.name for one in config.destinations]
    sent = {"destination": destination, "outcome": "sent"}
    assert value("notifier_notifications_total", sent) == 1
    latency = {"destination": destination}
    assert value("notifier_notification_latency_seconds_count", latency) == 1


async def test_what_a_webhook_was_sent_is_shown_as_a_cloudevent(tmp_path: Path) -> None:
    clock, kalshi = SimulatedClock(), Kalshi()
    config = reading._config(tmp_path / "notifier.db", {"announce_existing": True})
    hook = replace(config.destinations[0], url="webhooks://example.com/in")
    kalshi.lists("m1")
    parts = reading._parts(clock, kalshi)
    async with app.build_services(
        config.model_copy(update={"web": WebSettings(), "destinations": (hook,)}), parts
    ) as loops:
        await loops.poller.once()
        await loops.dispatcher.once()
        reader = loops.build_web().reader()
        [event] = (await reader.read(queries.events, EventFilter())).rows
        found = await reader.explain(event.event_id)

    assert found is not None
    sent = found.deliveries[0].sent
    assert sent is not None
    told = json.loads(sent.body)
    assert sent.format == "json"
    assert told["id"] == event.event_id
    assert told["data"]["title"] == "Game m1"
