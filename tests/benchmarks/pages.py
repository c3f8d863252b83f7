"""
The first page of a large store, and what it costs the others.

Figures: `page_p99_ms` <= 50 with 137,200 milestones and 100,000 events, as somebody on
the same machine sees it, and `ratio` <= 1.1, of the p50s from the API's answer to the
webhook's request while pages are read, to the same without readers, by turns.
The floor, `floor_p50_ms`, is a page that asks nothing of the store.
"""

import itertools
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import anyio
import httpx
from bench import POPULATION, folder, median, quantile, report, service
from servers import webhook_sink as sink
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier.clock import SystemClock
from notifier.demo.fake_api import Document, base_url, milestone
from notifier.demo.receiver import destination_url

# The builder of large stores stands with the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from plenty import Plenty, fill

EVENTS = int(os.environ.get("BENCH_EVENTS", "100000"))
SAMPLES = int(os.environ.get("BENCH_SAMPLES", "150"))
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
#: Between two pages of the one who reads; people are slower.
PAUSE_S = 0.1
HOOKS = ("hook", "desk", "ops")
PATHS = {"page": "/", "overview": "/api/v1/overview", "floor": "/-/healthy"}


async def main() -> None:
    """By turns with and without somebody who reads."""
    clock = SystemClock()
    api = FaultyApi(clock, [news(10**6)], record=True)
    hook = sink.WebhookSink(clock=clock)
    web = _free_port()
    url = f"http://127.0.0.1:{web}"
    times: list[dict[str, list[float]]] = []
    alone, beside = [], []
    async with serving(api.answer) as port, serving(hook.answer) as out:
        with folder(_configuration(port, out, web)) as path:
            await anyio.to_thread.run_sync(fill, path / "notifier.db", _plenty())
            with service(path, log="error"), anyio.fail_after(600):
                await _ready(url, api)
                # The one that the API had from the beginning.
                await hook.wait_for(1)
                for turn in range(0, 2 * RUNS, 2):
                    alone.append(await took_ms(api, hook, turn * SAMPLES))
                    with reading(url, times):
                        beside.append(await took_ms(api, hook, (turn + 1) * SAMPLES))
    pages = {name: [ms for one in times for ms in one[name]] for name in PATHS}
    report(
        "pages",
        page_p50_ms=median(pages["page"]),
        page_p99_ms=quantile(pages["page"], 0.99),
        overview_p50_ms=median(pages["overview"]),
        overview_p99_ms=quantile(pages["overview"], 0.99),
        floor_p50_ms=median(pages["floor"]),
        ratio=median([median(b) / median(a) for a, b in zip(alone, beside, strict=True)]),
        target={"page_p99_ms": 50, "ratio": 1.1},
        told_p50_ms=median([median(run) for run in beside]),
        told_p99_ms=median([quantile(run, 0.99) for run in beside]),
        alone_p50_ms=median([median(run) for run in alone]),
        alone_p99_ms=median([quantile(run, 0.99) for run in alone]),
        read=len(pages["page"]),
        samples=SAMPLES,
        milestones=POPULATION,
        events=EVENTS,
    )


def _plenty() -> Plenty:
    return Plenty(
        milestones=POPULATION,
        events=EVENTS,
        destinations=HOOKS,
        now=datetime.now(UTC),
        pending=0,
    )


def _configuration(port: int, out: int, web: int) -> str:
    hooks = ", ".join(f"{name}: {{url: '{destination_url(out)}'}}" for name in HOOKS)
    return (
        f"source: {{base_url: '{base_url(port)}', rate: 1000/s, poll_every: 50ms, "
        "sweep_every: 24h, full_read_every: 24h}\n"
        f"destinations: {{{hooks}}}\n"
        "routes: [{name: all, match: {events: [created]}, to: [hook]}]\n"
        f"web: {{listen: '127.0.0.1:{web}'}}\n"
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _ready(url: str, api: FaultyApi) -> None:
    """Until it polls, answers, and has shown its first page once."""
    while api.requests < 10:
        await SystemClock().sleep(0.1)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        for path in PATHS.values():
            (await client.get(path)).raise_for_status()


# --- what is told -------------------------------------------------------------


def news(number: int) -> Document:
    """One more milestone, far ahead."""
    return milestone(
        milestone_id=str(UUID(int=number + 1)),
        title=f"Game {number}",
        start=datetime.now(UTC) + timedelta(days=9),
        tickers=[f"KXNFLGAME-{number}"],
    )


async def took_ms(api: FaultyApi, hook: sink.WebhookSink, first: int) -> list[float]:
    """Milliseconds from each answer that shows one to the request that tells it."""
    return [await _one(api, hook, first + number) for number in range(SAMPLES)]


async def _one(api: FaultyApi, hook: sink.WebhookSink, number: int) -> float:
    api.served.clear()
    before, doc = len(hook.arrivals), news(number)
    api.add(doc)
    await hook.wait_for(before + 1)
    name = str(doc["id"]).encode()
    shown = next(answer.at for answer in api.served if name in answer.body)
    return (hook.arrivals[-1].at - shown).total_seconds() * 1e3


# --- who reads ----------------------------------------------------------------


@contextmanager
def reading(url: str, times: list[dict[str, list[float]]]) -> Iterator[None]:
    """Somebody reads, in a process of its own, until the block ends."""
    command = [sys.executable, __file__, "reader", url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        said, _ = process.communicate("")
        times.append(json.loads(said))


def read(url: str) -> None:
    """Page after page until told to stop; then print what each took."""
    clock = SystemClock()
    took: dict[str, list[float]] = {name: [] for name in PATHS}
    pages = itertools.cycle(PATHS.items())
    with httpx.Client(base_url=url, timeout=30) as client:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        # Its input ends when it is told to stop.
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            name, path = next(pages)
            begun = clock.monotonic()
            client.get(path).raise_for_status()
            took[name].append((clock.monotonic() - begun) * 1e3)
    sys.stdout.write(json.dumps(took))


if __name__ == "__main__":
    if sys.argv[1:2] == ["reader"]:
        read(sys.argv[2])
    else:
        anyio.run(main)
