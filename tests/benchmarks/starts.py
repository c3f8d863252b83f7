"""
Starts while the API is down: how late each is at the sink.

Figures: spread over a minute `p99_ms` <= 100; all at one instant: `messages` == 1
within 200 ms.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
from bench import folder, median, quantile, report, service
from servers import webhook_sink as sink
from servers.api_faults import Status
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier.clock import SystemClock
from notifier.demo.fake_api import base_url, milestone
from notifier.demo.receiver import destination_url

STARTS = 1000
AHEAD = timedelta(seconds=15)


async def late_ms(
    start_of: Callable[[datetime, int], datetime],
) -> tuple[list[float], int]:
    """Milliseconds that each start was late, and the messages that told them."""
    clock = SystemClock()
    begin = (datetime.now(UTC) + AHEAD).replace(microsecond=0)
    starts = {str(UUID(int=n + 1)): start_of(begin, n) for n in range(STARTS)}
    docs = [
        milestone(milestone_id=key, title=f"Game {key}", start=at, tickers=["KXA-1"])
        for key, at in starts.items()
    ]
    api = FaultyApi(clock, docs)
    hook = sink.WebhookSink(clock=clock)
    async with serving(api.answer) as port, serving(hook.answer) as out:
        text = (
            f"source: {{base_url: '{base_url(port)}', rate: 100/s}}\n"
            f"destinations: {{hook: {{url: '{destination_url(out)}'}}}}\n"
        )
        with folder(text) as path, service(path, log="error"):
            await clock.sleep((AHEAD / 2).total_seconds())
            api.plan(Status(status=503), times=None)
            last = max(starts.values()) - clock.now()
            with anyio.move_on_after(last.total_seconds() + 5):
                while sum(len(a.events) for a in hook.arrivals) < STARTS:
                    await hook.wait_for(len(hook.arrivals) + 1)
    late = [
        (arrival.at - starts[event["subject"]]).total_seconds() * 1e3
        for arrival in hook.arrivals
        for event in arrival.events
    ]
    assert len(late) == STARTS, f"{len(late)} of {STARTS} starts arrived"
    return late, len(hook.arrivals)


async def main() -> None:
    """Once spread over a minute, once all together."""
    # Kalshi's starts have whole seconds: about seventeen share each of them.
    spread, spread_messages = await late_ms(
        lambda begin, n: begin + timedelta(seconds=n * 60 // STARTS)
    )
    together, messages = await late_ms(lambda begin, _: begin)
    report(
        "starts",
        p50_ms=median(spread),
        p99_ms=quantile(spread, 0.99),
        spread_messages=spread_messages,
        together_ms=max(together),
        messages=messages,
        target={"p99_ms": 100, "together_ms": 200, "messages": 1},
    )


if __name__ == "__main__":
    anyio.run(main)
