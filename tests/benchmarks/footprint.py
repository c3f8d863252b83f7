"""
Memory, database and start-up with all milestones known.

Figures: `rss_mb` <= 150, `db_mb` <= 160, `help_s` <= 0.3, `first_request_s` <= 1,
`restart_s` <= 2; beside them what an empty interpreter takes to start.
"""

import subprocess
import sys
import time
from pathlib import Path

import anyio
from bench import POPULATION, api, folder, median, report, rss_mb, service
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response, serving

from notifier.clock import SystemClock
from notifier.demo.fake_api import base_url
from notifier.errors import StoreError
from notifier.storage.database import reading

RUNS = 5


def took(command: list[str]) -> float:
    """Median seconds of a command."""
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return median(times)


async def first_request_s() -> float:
    """Seconds from the start of the process to its first request; a fresh store."""
    clock = SystemClock()
    stand_in = FaultyApi(clock)
    asked = anyio.Event()

    async def answer(request: Request) -> Response:
        asked.set()
        return await stand_in.answer(request)

    async with serving(answer) as port:
        with folder(f"source: {{base_url: '{base_url(port)}'}}") as path:
            begun = time.perf_counter()
            with service(path, log="error"):
                with anyio.fail_after(30):
                    await asked.wait()
                return time.perf_counter() - begun


def main() -> None:
    """Read everything, look, start again."""
    with api() as url, folder(f"source: {{base_url: '{url}', rate: 1000/s}}") as path:
        database = path / "notifier.db"
        with service(path) as process:
            while not baselined(database):
                time.sleep(0.5)
            time.sleep(3)  # the first sweep after it
            rss, peak = rss_mb(process.pid), rss_mb(process.pid, peak=True)
        begun = time.perf_counter()
        with service(path) as process:
            first = polls(database)
            while polls(database) == first:
                time.sleep(0.02)
            restart = time.perf_counter() - begun
        size = database.stat().st_size / 1e6
    report(
        "footprint",
        rss_mb=rss,
        peak_mb=peak,
        db_mb=size,
        help_s=took([sys.executable, "-m", "notifier", "--help"]),
        empty_python_s=took([sys.executable, "-c", "pass"]),
        first_request_s=median([anyio.run(first_request_s) for _ in range(RUNS)]),
        restart_s=restart,
        target={
            "rss_mb": 150,
            "db_mb": 160,
            "help_s": 0.3,
            "first_request_s": 1,
            "restart_s": 2,
        },
        milestones=POPULATION,
    )


def baselined(database: Path) -> bool:
    """Whether the first full read is complete."""
    try:
        return _scalar(database, "SELECT max(baselined_at) FROM watches") is not None
    except StoreError:
        return False  # not there yet


def polls(database: Path) -> object:
    """When the watch was polled last."""
    return _scalar(database, "SELECT max(polled_at) FROM watches")


def _scalar(database: Path, statement: str) -> object:
    with reading(database) as conn:
        found: object = conn.exec_driver_sql(statement).scalar()
        return found


if __name__ == "__main__":
    main()
