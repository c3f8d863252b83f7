"""The metrics, and what is shipped to be alerted by them and to look at them."""

import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_families,
)
from prometheus_client.parser import text_string_to_metric_families as families
from starlette.applications import Starlette
from storing import HOOK, MINUTE, NOW, SECOND, Shelf, opened, row, stamp, stocked

from notifier.domain.models import (
    Ambiguous,
    Event,
    Failed,
    Kind,
    Refused,
    Scope,
    Sent,
    State,
)
from notifier.metrics import Metrics
from notifier.web.prometheus import metrics_route

pytestmark = pytest.mark.anyio
CONFIG = Path(__file__).parents[3] / "config"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool (Debian's `prometheus`) is not installed"
)
SECRETIVE = "Secret <title> {of} a game"


@asynccontextmanager
async def scraping(
    database: Path, metrics: Metrics
) -> AsyncIterator[tuple[Shelf, httpx.AsyncClient]]:
    async with opened(database) as store:
        shelf = await stocked(store)
        metrics.started("1.2.3", [HOOK], NOW)
        route = metrics_route(
            store,
            metrics,
            now=lambda: NOW + MINUTE,
            clock_offset=lambda: timedelta(seconds=-2),
        )
        transport = httpx.ASGITransport(Starlette(routes=[route]))
        async with httpx.AsyncClient(transport=transport, base_url="http://n") as c:
            yield shelf, c


async def busy(shelf: Shelf, metrics: Metrics) -> None:
    """A bit of everything."""
    soon = stamp(NOW + MINUTE)
    steps = await shelf.show(
        row("m1", title=SECRETIVE, start_date=soon), row("m2", title=SECRETIVE), row("m3")
    )
    events = [step.event for step in steps if step.event is not None]
    metrics.count_events(events)
    metrics.count_read("poll", timedelta(seconds=2))
    metrics.count_read("sweep", None)
    metrics.count_attempt(HOOK, Sent(status=200), events[:1], at=NOW + 3 * SECOND)
    metrics.count_attempt(HOOK, Failed(reason=SECRETIVE, status=503), events[1:2], at=NOW)


@pytest.fixture
async def text(tmp_path: Path) -> str:
    metrics = Metrics()
    async with scraping(tmp_path / "n.db", metrics) as (shelf, client):
        await busy(shelf, metrics)
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
    latency = f"notifier_notification_latency_seconds_sum[{to}]"
    assert found[latency] == 3
    failed_sweeps = "notifier_read_runs_total[('kind', 'sweep'), ('result', 'failed')]"
    assert found[failed_sweeps] == 1
    assert found[f"notifier_notifications_total[{to}, ('outcome', 'sent')]"] == 1
    failed = f"notifier_notifications_failed_total[{to}, ('reason', 'unavailable')]"
    assert found[failed] == 1
    polls = "notifier_read_runs_total[('kind', 'poll'), ('result', 'complete')]"
    assert found[polls] == 1
    assert found["notifier_milestones[]"] == 3
    assert found[f"notifier_pending[{to}]"] == 3
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
    metrics = Metrics()
    async with scraping(tmp_path / "n.db", metrics) as (shelf, client):
        await busy(shelf, metrics)
        wish = {"accept": "application/openmetrics-text; version=1.0.0"}
        answer = await client.get("/metrics", headers=wish)

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    found = open_families(answer.text)  # type: ignore[no-untyped-call]  # theirs
    names = {family.name for family in found}
    assert {"notifier_events", "notifier_pending"} <= names


async def test_a_refused_configuration_shows_until_a_good_one_comes(
    tmp_path: Path,
) -> None:
    metrics = Metrics()
    async with scraping(tmp_path / "n.db", metrics) as (_, client):

        async def told() -> tuple[float, float]:
            found = samples((await client.get("/metrics")).text)
            return (
                found["notifier_config_last_reload_successful[]"],
                found["notifier_config_last_reload_success_timestamp_seconds[]"],
            )

        begun = NOW.timestamp()
        assert await told() == (1, begun)
        metrics.reload_rejected()
        assert await told() == (0, begun)
        metrics.started("1.2.3", [HOOK], NOW + 9 * MINUTE)
        assert await told() == (1, begun + 9 * 60)


async def test_counters_begin_at_nothing_so_that_their_first_rise_shows(
    tmp_path: Path,
) -> None:
    async with scraping(tmp_path / "n.db", Metrics()) as (_, client):
        found = samples((await client.get("/metrics")).text)

    counters = [name for name in found if "_total[" in name and "process_" not in name]
    assert len(counters) > 20
    assert all(found[name] == 0 for name in counters)


@pytest.mark.parametrize(
    ("outcome", "reason", "repeats"),
    [
        (Failed(reason="x", status=503), "unavailable", 0),
        (Failed(reason="x", status=429), "rate_limited", 0),
        (Failed(reason="x"), "unreachable", 0),
        (Refused(reason="x", scope=Scope.MESSAGE, status=400), "refused", 0),
        (Ambiguous(reason="x"), "no_answer", 1),
    ],
)
def test_a_failure_is_counted_by_the_class_of_its_reason(
    outcome: Failed | Refused | Ambiguous, reason: str, repeats: int
) -> None:
    metrics = Metrics()
    metrics.started("1", [HOOK], NOW)

    metrics.count_attempt(HOOK, outcome, (), at=NOW)

    value = metrics.registry.get_sample_value
    failed = {"destination": HOOK, "reason": reason}
    assert value("notifier_notifications_failed_total", failed) == 1
    assert value("notifier_repeats_possible_total", {"destination": HOOK}) == repeats


def test_an_attempt_that_was_cut_off_may_be_repeated() -> None:
    metrics = Metrics()
    metrics.count_cut_off(HOOK, 2)

    value = metrics.registry.get_sample_value
    assert value("notifier_notifications_total", {"destination": HOOK, "outcome": "cut_off"}) == 2
    assert value("notifier_repeats_possible_total", {"destination": HOOK}) == 2


@pytest.mark.parametrize(
    ("state", "reason", "series"),
    [
        (State.DROPPED, "silenced: rain", "silence"),
        (State.EXPIRED, "quiet hours until 07:00", "quiet"),
        (State.DROPPED, "quiet hours until 07:00", "quiet"),
        (State.EXPIRED, "too late to be of use", "expired"),
        (State.SUPERSEDED, "the start has moved", "superseded"),
        (State.DROPPED, "it may have arrived", "dropped"),
    ],
)
def test_what_ends_unsent_is_counted_by_why(state: State, reason: str, series: str) -> None:
    metrics = Metrics()
    metrics.count_unsent(state, reason)
    metrics.count_unsent(State.DEAD, "gave up")

    value = metrics.registry.get_sample_value
    assert value("notifier_notifications_suppressed_total", {"reason": series}) == 1
    assert value("notifier_dead_lettered_total") == 1


def test_the_lateness_of_a_start_is_never_negative() -> None:
    event = Event(id="e", kind=Kind.STARTED, milestone=row("m1").milestone, at=NOW, seen_at=NOW)
    metrics = Metrics()
    metrics.count_attempt(HOOK, Sent(), [event], at=NOW + 2 * SECOND)
    metrics.count_attempt(HOOK, Sent(), [event], at=NOW - MINUTE)

    value = metrics.registry.get_sample_value
    assert value("notifier_start_lateness_seconds_sum") == 2
    assert value("notifier_start_lateness_seconds_count") == 2


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
