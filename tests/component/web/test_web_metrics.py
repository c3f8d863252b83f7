"""The metrics, and what is shipped to be alerted by them and to look at them."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_families,
)
from prometheus_client.parser import text_string_to_metric_families as families
from starlette.applications import Starlette
from storing import HOOK, MINUTE, NOW, Shelf, inline, opened, row, stamp, stocked

from notifier.domain.metrics import Tally
from notifier.domain.models import Failed, Sent
from notifier.storage.tail import Tail
from notifier.web.metrics import metrics

pytestmark = pytest.mark.anyio
CONFIG = Path(__file__).parents[3] / "config"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool (Debian's `prometheus`) is not installed"
)
SECRETIVE = "Secret <title> {of} a game"


class Clocks:
    def now(self) -> Any:
        return NOW + MINUTE

    def monotonic(self) -> float:
        return 0.0


@asynccontextmanager
async def scraping(database: Path, tally: Tally) -> AsyncIterator[tuple[Shelf, httpx.AsyncClient]]:
    async with opened(database) as store:
        shelf = await stocked(store)
        tail = Tail(db=store, tally=tally, clock=Clocks())
        await tail.begin()
        app = Starlette(
            routes=metrics(
                tail,
                tally,
                version="1.2.3",
                skew=lambda: timedelta(seconds=-2),
                offload=inline,
            )
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://n") as c:
            yield shelf, c


async def busy(shelf: Shelf) -> None:
    """A bit of everything."""
    soon = stamp(NOW + MINUTE)
    await shelf.show(
        row("m1", title=SECRETIVE, start_date=soon),
        row("m2", title=SECRETIVE),
        row("m3"),
        read_id=int(NOW.timestamp()) * 1_000_000,
    )
    first, second, _ = await shelf.claim(now=NOW)
    await shelf.settle(first, Sent(status=200), now=NOW)
    await shelf.settle(second, Failed(reason=SECRETIVE, status=503), now=NOW)
    await shelf.ring(now=NOW + MINUTE)


@pytest.fixture
async def text(tmp_path: Path) -> str:
    async with scraping(tmp_path / "n.db", Tally()) as (shelf, client):
        await busy(shelf)
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text


def samples(text: str) -> dict[str, float]:
    """By name and labels."""
    return {
        f"{one.name}{sorted(one.labels.items())}": one.value
        for family in families(text)
        for one in family.samples
    }


async def test_the_metrics_say_what_happened(text: str) -> None:
    found = samples(text)
    to = f"('destination', '{HOOK}')"

    assert found["notifier_build_info[('version', '1.2.3')]"] == 1
    assert found["notifier_events_total[('kind', 'created')]"] == 3
    assert found["notifier_events_total[('kind', 'started')]"] == 1
    assert found[f"notifier_notifications_total[{to}, ('outcome', 'sent')]"] == 1
    failed = f"notifier_notifications_failed_total[{to}, ('reason', 'unavailable')]"
    assert found[failed] == 1
    polls = "notifier_read_runs_total[('kind', 'poll'), ('result', 'complete')]"
    assert found[polls] == 1
    assert found["notifier_milestones[]"] == 3
    assert found[f"notifier_pending[{to}]"] == 2
    assert found[f"notifier_oldest_pending_age_seconds[{to}]"] == 60
    assert found["notifier_clock_offset_seconds[]"] == -2
    assert found["notifier_config_last_reload_successful[]"] == 1
    assert found["process_resident_memory_bytes[]"] > 0


async def test_nothing_of_kalshis_is_a_label(text: str) -> None:
    values = {
        value
        for family in families(text)
        for one in family.samples
        for name, value in one.labels.items()
        if name not in {"le", "version"}
    }

    assert all(re.fullmatch(r"[a-z_]+", value) for value in values), values
    assert "ecret" not in text


async def test_openmetrics_is_spoken_to_those_who_ask_for_it(tmp_path: Path) -> None:
    async with scraping(tmp_path / "n.db", Tally()) as (shelf, client):
        await busy(shelf)
        wish = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = await client.get("/metrics", headers=wish)

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    found = open_families(answer.text)  # type: ignore[no-untyped-call]  # theirs
    names = {family.name for family in found}
    assert {"notifier_events", "notifier_pending"} <= names


async def test_a_refused_configuration_shows_until_a_good_one_comes(
    tmp_path: Path,
) -> None:
    tally = Tally()
    async with scraping(tmp_path / "n.db", tally) as (_, client):

        async def told() -> tuple[float, float]:
            found = samples((await client.get("/metrics")).text)
            return (
                found["notifier_config_last_reload_successful[]"],
                found["notifier_config_last_reload_success_timestamp_seconds[]"],
            )

        begun = (NOW + MINUTE).timestamp()
        assert await told() == (1, begun)
        tally.rejected()
        assert await told() == (0, begun)
        tally.reloaded(NOW + 9 * MINUTE)
        assert await told() == (1, begun + 8 * 60)


async def test_counters_begin_at_nothing_so_that_their_first_rise_shows(
    tmp_path: Path,
) -> None:
    async with scraping(tmp_path / "n.db", Tally()) as (_, client):
        found = samples((await client.get("/metrics")).text)

    counters = [name for name in found if "_total[" in name and "process_" not in name]
    assert len(counters) > 20
    assert all(found[name] == 0 for name in counters)


# --- what is shipped ----------------------------------------------------------


@needs_promtool
async def test_promtool_finds_nothing_to_say_about_the_metrics(text: str) -> None:
    said = _promtool("check", "metrics", given=text)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@needs_promtool
async def test_the_alerts_are_sound_and_fire_when_they_should() -> None:
    rules = CONFIG / "prometheus" / "notifier.rules.yml"
    for wish in (("check", "rules", str(rules)), ("test", "rules", str(_tests()))):
        said = _promtool(*wish)
        assert said.returncode == 0, said.stdout + said.stderr


async def test_each_alert_is_tested() -> None:
    rules = (CONFIG / "prometheus" / "notifier.rules.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    tested = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n", _tests().read_text())

    assert alerts == set(tested)


async def test_alerts_and_board_ask_for_what_exists(text: str) -> None:
    known = {one.name for family in families(text) for one in family.samples}
    known |= {"notifier_config_last_reload_successful"}
    asked = {
        name
        for expression in _expressions()
        for name in re.findall(r"\b(?:notifier|process)_[a-z_]+", expression)
    }

    assert asked
    assert asked <= known


async def test_each_metric_is_documented(text: str) -> None:
    page = (CONFIG.parent / "docs" / "metrics.md").read_text()
    shown = set(re.findall(r"^\| `(notifier_[a-z_]+)`", page, re.MULTILINE))
    known = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families(text)
        if family.name.startswith("notifier_")
    }

    assert shown == known


async def test_each_panel_of_the_board_has_a_title_and_asks_something() -> None:
    board = json.loads((CONFIG / "grafana" / "notifier.json").read_text())
    panels = board["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] and panel["targets"] for panel in panels)


def _tests() -> Path:
    return CONFIG / "prometheus" / "notifier.rules.test.yml"


def _expressions() -> Iterator[str]:
    rules = (CONFIG / "prometheus" / "notifier.rules.yml").read_text()
    yield from re.findall(r"expr: (?:>-\n)?((?:.|\n)*?)\n\s+(?:for|labels):", rules)
    board = json.loads((CONFIG / "grafana" / "notifier.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def _promtool(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
