from datetime import UTC, datetime
from pathlib import Path

import pytest
from clocks import DrivenClock
from ruamel.yaml import YAML

from notifier.demo import scenario
from notifier.demo.fake_api import FakeApi
from notifier.domain.models import Milestone
from notifier.kalshi.decoding import milestone

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 18, 20, tzinfo=UTC)


def everyone(world: FakeApi) -> dict[str, Milestone]:
    return {name: milestone(world.raw(name) or b"") for name in world}


async def test_the_scenario_has_an_event_of_every_kind() -> None:
    clock = DrivenClock(NOW)
    world = FakeApi(clock, scenario.opening(clock.now()))
    before = everyone(world)

    await scenario.play(world, clock)

    after = everyone(world)
    common = before.keys() & after.keys()
    end = NOW + scenario.LENGTH
    started = [m for m in after.values() if NOW < m.start <= end]
    assert len(before) == 40
    assert clock.now() == end
    assert len(after.keys() - before.keys()) == 2, "created"
    assert len(before.keys() - after.keys()) == 1, "removed"
    assert sum(before[k].title != after[k].title for k in common) == 1, "updated"
    assert sum(before[k].start != after[k].start for k in common) == 1, "rescheduled"
    assert sum(before[k].status != after[k].status for k in common) == 1, "postponed"
    assert sum(before[k].end != after[k].end for k in common) == 1, "ended"
    assert len(started) == 2, "started, and reminded of"


async def test_only_the_cast_of_the_baseline_changes() -> None:
    clock = DrivenClock(NOW)
    world = FakeApi(clock, scenario.opening(clock.now()))
    before = {name: world.raw(name) for name in world}

    await scenario.play(world, clock)

    changed = [name for name, raw in before.items() if world.raw(name) != raw]
    assert len(changed) == 5


def test_the_configuration_names_the_fake_api_and_the_receiver(tmp_path: Path) -> None:
    database = tmp_path / 'a ${b} "c"' / "demo.db"

    config = YAML(typ="safe").load(scenario.configuration(8001, 8002, database))

    assert config["source"]["base_url"] == "http://127.0.0.1:8001/trade-api/v2"
    sink = config["destinations"]["webhook"]["url"]
    assert sink.startswith("webhook://127.0.0.1:8002/hook?secret=whsec_")
    assert config["destinations"]["terminal"]["url"] == "terminal://"
    assert config["routes"][0]["to"] == ["terminal", "webhook"]
    assert config["store"] == f"sqlite:///{database}".replace("${", "$${")
