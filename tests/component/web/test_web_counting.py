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
from notifier.domain.pagination import EventFilter, Slice
from notifier.settings.models import WebSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


async def test_what_is_done_before_the_web_is_loaded_is_counted(tmp_path: Path) -> None:
    clock, kalshi = SimulatedClock(), Kalshi()
    parts = reading._parts(clock, kalshi)
    config = reading._config(tmp_path / "notifier.db", {})
    kalshi.lists("m1")
    async with app.build_services(config.model_copy(update={"web": WebSettings()}), parts) as loops:
        await loops.poll.once()
        await loops.build_web().tail.catch_up()

    assert parts.tally.reads == {("baseline", "complete"): 1}


async def test_what_a_webhook_was_sent_is_shown_as_a_cloudevent(tmp_path: Path) -> None:
    clock, kalshi = SimulatedClock(), Kalshi()
    config = reading._config(tmp_path / "notifier.db", {"announce_existing": True})
    hook = replace(config.destinations[0], url="webhooks://example.com/in")
    kalshi.lists("m1")
    parts = reading._parts(clock, kalshi)
    async with app.build_services(
        config.model_copy(update={"web": WebSettings(), "destinations": (hook,)}), parts
    ) as loops:
        await loops.poll.once()
        await loops.deliver.once()
        books = loops.build_web().books()
        [event] = (await books.events(EventFilter(), Slice())).rows
        story: Any = await books.explain(str(event["event_id"]), clock.now())

    [owed] = story["deliveries"]
    told = json.loads(owed["sent"]["body"])
    assert owed["sent"]["format"] == "json"
    assert told["id"] == event["event_id"]
    assert told["data"]["title"] == "Game m1"
