"""
One destination's latency beside eight that hang, against the same without them.

Figure: `ratio` of the p99s, from the commit of an event to its request at the sink,
<= 1.2, the median of a few turns. The eight take each request and never answer, and
are owed thousands of deliveries from the start.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import anyio
from bench import folder, median, quantile, report, service
from servers import webhook_sink as sink
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response, serving

from notifier.clock import SystemClock
from notifier.demo.fake_api import Document, base_url, milestone, timestamp
from notifier.demo.receiver import destination_url
from notifier.storage.database import reading

#: They take longer than an answer is waited for: its settlement is in the run.
SAMPLES = 300
BACKLOG = 3000
HANGING = 8
PAUSE_S = 0.05
RUNS = 3
#: Microseconds since 1970, as the store keeps instants.
_BORN = "SELECT event_id, born_at FROM deliveries WHERE destination = 'ninth'"


async def main() -> None:
    """By turns with and without the eight."""
    turns = [(await took_ms(hanging=HANGING), await took_ms(hanging=0)) for _ in range(RUNS)]
    p99s = [(quantile(beside, 0.99), quantile(alone, 0.99)) for beside, alone in turns]
    report(
        "isolation",
        ratio=median([beside / alone for beside, alone in p99s]),
        target=1.2,
        p50_ms=median([median(beside) for beside, _ in turns]),
        p99_ms=median([beside for beside, _ in p99s]),
        alone_p50_ms=median([median(alone) for _, alone in turns]),
        alone_p99_ms=median([alone for _, alone in p99s]),
        hanging=HANGING,
        backlog=BACKLOG,
        samples=SAMPLES,
    )


async def took_ms(*, hanging: int) -> list[float]:
    """Milliseconds from each event's commit to its request."""
    clock = SystemClock()
    before = timestamp(clock.now() - timedelta(hours=1))
    old = [news(10**6 + n) | {"last_updated_ts": before} for n in range(BACKLOG)]
    api = FaultyApi(clock, old)
    hook = sink.WebhookSink(clock=clock)
    async with (
        serving(api.answer) as port,
        serving(hook.answer) as out,
        serving(never) as nowhere,
    ):
        lines = [f"  ninth: {{url: '{destination_url(out)}'}}"]
        lines += [
            f"  hung{number}: {{url: '{destination_url(nowhere)}'}}" for number in range(hanging)
        ]
        text = (
            f"source: {{base_url: '{base_url(port)}', rate: 1000/s, "
            f"poll_every: {round(PAUSE_S * 1e3)}ms, announce_existing: true}}\n"
            "destinations:\n" + "\n".join(lines) + "\n"
        )
        with folder(text) as path, anyio.fail_after(180):
            with service(path, log="error") as process:
                while sum(len(arrival.events) for arrival in hook.arrivals) < BACKLOG:
                    await hook.wait_for(len(hook.arrivals) + 1)
                first = len(hook.arrivals)
                for number in range(SAMPLES):
                    api.add(news(number))
                    await hook.wait_for(first + number + 1)
                    await clock.sleep(PAUSE_S * (number % 7) / 7)
                # It would wait for the answers of the eight.
                process.kill()
            born = births(path / "notifier.db")
    return [
        arrival.at.timestamp() * 1e3 - born[str(event["id"])] / 1e3
        for arrival in hook.arrivals[first:]
        for event in arrival.events
    ]


def births(database: Path) -> dict[str, int]:
    """By event: when it was committed."""
    with reading(database) as conn:
        return {row[0]: row[1] for row in conn.exec_driver_sql(_BORN)}


async def never(_request: Request) -> Response:
    """No answer."""
    await anyio.sleep_forever()
    raise AssertionError


def news(number: int) -> Document:
    """One more milestone, far ahead."""
    return milestone(
        milestone_id=str(UUID(int=number + 1)),
        title=f"Game {number}",
        start=datetime.now(UTC) + timedelta(days=9),
        tickers=[f"KXNFLGAME-{number}"],
    )


if __name__ == "__main__":
    anyio.run(main)
