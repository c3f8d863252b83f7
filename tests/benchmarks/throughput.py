"""
Durable single messages to one local webhook, and events in digests.

Figures: `singles_s` >= 800 and `ratio` to Alertmanager in the same run >= 0.5;
`batched_events_s` >= 5,000. Measured from the moment when all deliveries are pending
until all are settled. The floor is a bare httpx client with as many requests at a
time, and no store. Alertmanager is timed from its first request to its last, and writes
nothing down before it sends; where its binary, `prometheus-alertmanager`, is not
installed, there is no `ratio`.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import anyio
import httpx
from bench import folder, median, report
from counter import counted, counter
from inside import deliver, read
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier import app, logging, settings
from notifier.clock import SystemClock
from notifier.demo.fake_api import Document, base_url, milestone
from notifier.domain.poll_schedule import ReadKind

SINGLES = int(os.environ.get("BENCH_SINGLES", "2000"))
EVENTS = int(os.environ.get("BENCH_EVENTS", "10000"))
CONCURRENCY = 16
RUNS = 3
ALERTMANAGER = "prometheus-alertmanager"

_ROUTES = """
receivers:
  - name: counter
    webhook_configs: [{{url: '{url}', send_resolved: false}}]
route: {{receiver: counter, group_by: ['...'], group_wait: 0s}}
"""


def main() -> None:
    """By turns."""
    with Path(os.devnull).open("w") as nowhere:
        # The service writes a line for each message: that is part of its work.
        logging.set_up(level="info", style="json", stream=nowhere)
        singles, floors, alerts = [], [], []
        for _ in range(RUNS):
            singles.append(anyio.run(ours, SINGLES, "off"))
            floors.append(anyio.run(floor))
            if shutil.which(ALERTMANAGER):
                alerts.append(alertmanager())
        digests = [anyio.run(ours, EVENTS, "{over: 10}") for _ in range(RUNS)]
    mine = median([run["per_s"] for run in singles])
    figures: dict[str, object] = {}
    if alerts:
        figures = {"ratio": mine / median(alerts), "alertmanager_s": median(alerts)}
    report(
        "throughput",
        singles_s=mine,
        **figures,
        batched_events_s=median([run["per_s"] for run in digests]),
        target={"singles_s": 800, "ratio": 0.5, "batched_events_s": 5000},
        cpu_us_a_single=median([run["cpu_us"] for run in singles]),
        cpu_us_a_batched_event=median([run["cpu_us"] for run in digests]),
        digests=digests[0]["requests"],
        floor_s=median([run["per_s"] for run in floors]),
        floor_cpu_us=median([run["cpu_us"] for run in floors]),
        singles=SINGLES,
        events=EVENTS,
        concurrency=CONCURRENCY,
    )


def figures_of(number: int, *, wall: float, cpu: float, requests: int) -> dict[str, float]:
    """How many a second, and what each cost this process."""
    return {
        "per_s": number / wall,
        "cpu_us": cpu / number * 1e6,
        "requests": requests,
    }


# --- the service --------------------------------------------------------------


async def ours(events: int, digest: str) -> Mapping[str, float]:
    """Change so many milestones at once, and deliver what there is to say."""
    clock = SystemClock()
    docs = [game(number) for number in range(events)]
    api = FaultyApi(clock, docs)
    with counter() as url:
        async with serving(api.answer) as port:
            text = (
                f"source: {{base_url: '{base_url(port)}', rate: 10000/s}}\n"
                f"destinations:\n  hook: {{url: '{url.replace('http', 'webhook')}', "
                f"concurrency: {CONCURRENCY}, digest: {digest}}}\n"
            )
            with folder(text) as path:
                config = settings.load(path / "notifier.yaml", {}, cwd=path)
                async with app.build_services(config, app.Dependencies()) as loops:
                    await read(loops, ReadKind.BASELINE)
                    for doc in docs:
                        api.update(str(doc["id"]), title=f"{doc['title']}, late")
                    await read(loops, ReadKind.FULL)
                    wall, cpu = await deliver(loops, path / "notifier.db")
        requests, _ = counted(url)
    return figures_of(events, wall=wall, cpu=cpu, requests=requests)


def game(number: int) -> Document:
    """A milestone far ahead."""
    return milestone(
        milestone_id=str(UUID(int=number + 1)),
        title=f"Game {number}",
        start=datetime.now(UTC) + timedelta(days=9),
        tickers=[f"KXNFLGAME-{number}"],
    )


# --- what it is compared with -------------------------------------------------


async def floor() -> Mapping[str, float]:
    """As many bare requests."""
    body = b"{}" * 400
    left = iter(range(SINGLES))
    with counter() as url:
        async with httpx.AsyncClient() as client:

            async def post() -> None:
                for _ in left:
                    await client.post(url, content=body)

            wall, cpu = time.perf_counter(), time.process_time()
            async with anyio.create_task_group() as tasks:
                for _ in range(CONCURRENCY):
                    tasks.start_soon(post)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        requests, _ = counted(url)
    return figures_of(SINGLES, wall=wall, cpu=cpu, requests=requests)


def alertmanager() -> float:
    """Alerts that Alertmanager tells one by one: a second, from first to last."""
    alerts = [
        {
            "labels": {"alertname": "updated", "milestone": str(UUID(int=number + 1))},
            "annotations": {"title": f"Game {number}, late", "text": "{}" * 300},
        }
        for number in range(SINGLES)
    ]
    with counter() as url, running_alertmanager(url) as api:
        httpx.post(api, json=alerts, timeout=30).raise_for_status()
        requests, took = 0, 0.0
        while requests < SINGLES:
            time.sleep(0.2)
            requests, took = counted(url)
    return requests / took


@contextmanager
def running_alertmanager(url: str) -> Iterator[str]:
    """Alertmanager with the counter as its receiver: its API."""
    listen = f"127.0.0.1:{free_port()}"
    with folder("") as path:
        (path / "routes.yml").write_text(_ROUTES.format(url=url))
        command = [
            ALERTMANAGER,
            f"--settings.file={path / 'routes.yml'}",
            f"--storage.path={path}",
            f"--web.listen-address={listen}",
            "--cluster.listen-address=",
            "--log.level=error",
        ]
        with subprocess.Popen(command, stdout=sys.stderr) as process:
            try:
                wait_for(f"http://{listen}/-/ready")
                yield f"http://{listen}/api/v2/alerts"
            finally:
                process.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(url: str) -> None:
    """Come back when it answers."""
    for _ in range(100):
        try:
            httpx.get(url).raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
