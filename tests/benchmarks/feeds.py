"""
A calendar of 4,000 entries out of a large store, over real HTTP.

Figures: `cold_ms`, the first request; `warm_p50_ms`, when nothing is new; and
`changed_p50_ms`, when something is. Beside them the memory with the web, without and
with its calendar, `rss_before_mb` and `rss_mb`; and `floor_p50_ms`, a page that asks
nothing of the store.
"""

import sys
from pathlib import Path
from time import perf_counter

import anyio
import httpx
from bench import POPULATION, folder, median, report, rss_mb, service
from pages import PATHS, _configuration, _free_port, _plenty, _ready, news
from servers import webhook_sink as sink
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier.clock import SystemClock
from notifier.domain.calendar import MAX_ENTRIES

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from plenty import fill

SAMPLES = 20


async def main() -> None:
    """One process: cold, then warm."""
    clock = SystemClock()
    api = FaultyApi(clock, [news(10**6)])
    hook = sink.WebhookSink(clock=clock)
    web = _free_port()
    url = f"http://127.0.0.1:{web}"
    async with serving(api.answer) as port, serving(hook.answer) as out:
        with folder(_configuration(port, out, web)) as path:
            await anyio.to_thread.run_sync(fill, path / "notifier.db", _plenty())
            with anyio.fail_after(300):
                with service(path, log="error") as process:
                    await _ready(url, api)
                    rss_before = rss_mb(process.pid)
                    cold = await took_ms(url, "/feeds/all.ics", 1)
                    warm = await took_ms(url, "/feeds/all.ics", SAMPLES)
                    floor = await took_ms(url, PATHS["floor"], SAMPLES)
                    changed = []
                    for number in range(SAMPLES):
                        api.add(news(number))
                        await clock.sleep(0.5)
                        changed += await took_ms(url, "/feeds/all.ics", 1)
                    rss, peak = rss_mb(process.pid), rss_mb(process.pid, peak=True)
    report(
        "feeds",
        cold_ms=cold[0],
        warm_p50_ms=median(warm),
        changed_p50_ms=median(changed),
        floor_p50_ms=median(floor),
        rss_mb=rss,
        rss_before_mb=rss_before,
        peak_mb=peak,
        target={"warm_p50_ms": 200},
        entries=MAX_ENTRIES,
        milestones=POPULATION,
    )


async def took_ms(url: str, path: str, times: int) -> list[float]:
    """Milliseconds of each request, to the last byte."""
    found = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for _ in range(times):
            begun = perf_counter()
            answer = await client.get(path)
            found.append((perf_counter() - begun) * 1e3)
            answer.raise_for_status()
            if path.endswith(".ics"):
                lines = answer.text.splitlines()
                uids = {line for line in lines if line.startswith("UID:")}
                assert len(uids) == MAX_ENTRIES
    return found


if __name__ == "__main__":
    anyio.run(main)
