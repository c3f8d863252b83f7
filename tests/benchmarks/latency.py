"""
From the API's answer being given to the webhook's request being there.

Figures: `p50_ms` <= 10, `p99_ms` <= 50. The floor is a bare webhook client: what one
request costs on this machine in the same minute.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import httpx
from bench import folder, median, quantile, report, service
from servers import webhook_sink as sink
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier.clock import SystemClock
from notifier.demo.fake_api import Document, base_url, milestone
from notifier.demo.receiver import destination_url

SAMPLES = 300


async def floor(port: int) -> list[float]:
    """Milliseconds of bare requests to the same sink."""
    clock = SystemClock()
    took = []
    async with httpx.AsyncClient() as client:
        for _ in range(SAMPLES):
            begun = clock.monotonic()
            await client.post(f"http://127.0.0.1:{port}/", content=b"{}" * 400)
            took.append((clock.monotonic() - begun) * 1e3)
    return took


def news(number: int) -> Document:
    """One more milestone, far ahead."""
    return milestone(
        milestone_id=str(UUID(int=number + 1)),
        title=f"Game {number}",
        start=datetime.now(UTC) + timedelta(days=9),
        tickers=[f"KXNFLGAME-{number}"],
    )


async def main() -> None:
    """Let one thing after the other happen."""
    clock = SystemClock()
    api = FaultyApi(clock, [news(10**6)], record=True)
    hook = sink.WebhookSink(clock=clock)
    async with serving(api.answer) as port, serving(hook.answer) as out:
        text = (
            f"source: {{base_url: '{base_url(port)}', rate: 1000/s, "
            f"poll_every: 50ms}}\n"
            f"destinations: {{hook: {{url: '{destination_url(out)}'}}}}\n"
        )
        with folder(text) as path, service(path), anyio.fail_after(90):
            while api.requests < 10:
                await clock.sleep(0.1)
            took = [await one(api, hook, number) for number in range(SAMPLES)]
        report(
            "latency",
            p50_ms=median(took),
            p99_ms=quantile(took, 0.99),
            target={"p50_ms": 10, "p99_ms": 50},
            floor_p50_ms=median(await floor(out)),
            samples=SAMPLES,
        )


async def one(api: FaultyApi, hook: sink.WebhookSink, number: int) -> float:
    """Milliseconds from the answer that shows it to the request that tells it."""
    api.served.clear()
    doc = news(number)
    api.add(doc)
    await hook.wait_for(number + 1)
    name = str(doc["id"]).encode()
    shown = next(answer.at for answer in api.served if name in answer.body)
    return (hook.arrivals[-1].at - shown).total_seconds() * 1e3


if __name__ == "__main__":
    anyio.run(main)
