"""
From an event's commit to an open page, over real HTTP.

Figures: `stream_p99_ms` <= 400, from the commit to whoever listens to the stream, and
`row_p99_ms` <= 500, to the row that an open page shows then, as it asks for it.
"""

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import httpx
from bench import POPULATION, folder, median, quantile, report, service
from pages import EVENTS, _configuration, _free_port, _plenty, _ready, news
from servers import webhook_sink as sink
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier.clock import SystemClock

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from plenty import fill

SAMPLES = 60
#: An odd while, so that looks and news do not keep step.
_BETWEEN_S = 0.317


async def main() -> None:
    """One listens, and asks for the row whenever there is one."""
    clock = SystemClock()
    api = FaultyApi(clock, [news(10**6)])
    hook = sink.WebhookSink(clock=clock)
    web = _free_port()
    url = f"http://127.0.0.1:{web}"
    told: list[float] = []
    shown: list[float] = []
    async with serving(api.answer) as port, serving(hook.answer) as out:
        with folder(_configuration(port, out, web)) as path:
            await anyio.to_thread.run_sync(fill, path / "notifier.db", _plenty())
            with service(path, log="error"), anyio.fail_after(300):
                await _ready(url, api)
                await hook.wait_for(1)
                async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                    events = listening(client)
                    await anext(events)
                    for number in range(SAMPLES):
                        api.add(news(number))
                        key, row = await anext(events)
                        told.append(_since_ms(row["seen_at"]))
                        page = await client.get(f"/events/newer?after={key - 1}")
                        assert row["event_id"] in page.text
                        shown.append(_since_ms(row["seen_at"]))
                        await clock.sleep(_BETWEEN_S)
    report(
        "live_page",
        stream_p50_ms=median(told),
        stream_p99_ms=quantile(told, 0.99),
        row_p50_ms=median(shown),
        row_p99_ms=quantile(shown, 0.99),
        target={"stream_p99_ms": 400, "row_p99_ms": 500},
        samples=SAMPLES,
        milestones=POPULATION,
        events=EVENTS,
    )


async def listening(
    client: httpx.AsyncClient,
) -> AsyncIterator[tuple[int, dict[str, str]]]:
    """The events with their numbers; first an empty one: it listens."""
    key = 0
    async with client.stream("GET", "/api/v1/stream", timeout=None) as answer:
        yield 0, {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                key = int(value)
            elif name == "data":
                yield key, json.loads(value)


def _since_ms(seen_at: str) -> float:
    """From when the event was seen, just before its commit."""
    seen = datetime.fromisoformat(seen_at)
    return (datetime.now(UTC) - seen).total_seconds() * 1e3


if __name__ == "__main__":
    anyio.run(main)
