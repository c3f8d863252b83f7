"""
10,000 milestones created in one read, and told.

Figures: `blocked_ms` <= 60, the longest that a claim waits for the writer, and how
often it was more; `growth_mb` <= 60, of memory at its peak. `while_delivering_ms` is
the same wait while the digests of them leave. The floor, `idle_blocked_ms`, is the
longest wait while nothing happens.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from bench import api, folder, report, rss_mb
from counter import counter
from inside import deliver, read

from notifier import app, logging, settings
from notifier.clock import SystemClock
from notifier.domain.poll_schedule import ReadKind
from notifier.storage.database import Database, Priority

CREATED = int(os.environ.get("BENCH_CREATED", "10000"))
LONGEST_MS = 60
EVERY_S = 0.002


@dataclass
class Waits:
    """How long somebody with a claim's urgency had to wait for the writer."""

    store: Database
    ms: list[float] = field(default_factory=list)

    async def keep_asking(self) -> None:
        """Until cancelled."""
        clock = SystemClock()
        while True:
            begun = clock.monotonic()
            async with self.store.turn(Priority.CLAIM):
                self.ms.append((clock.monotonic() - begun) * 1e3)
            await clock.sleep(EVERY_S)

    def taken(self) -> list[float]:
        """Those since the last time."""
        ms, self.ms = self.ms, []
        return ms


async def main() -> None:
    """Wait, read, deliver."""
    logging.set_up(level="error", style="text")
    with api(CREATED) as source, counter() as url:
        # Announced, the first read is one that brings them all as created.
        text = (
            f"source: {{base_url: '{source}', rate: 10000/s, announce_existing: true}}"
            f"\ndestinations: {{hook: {{url: '{url.replace('http', 'webhook')}'}}}}\n"
        )
        with folder(text) as path:
            config = settings.load(path / "notifier.yaml", {}, cwd=path)
            async with app.build_services(config, app.Dependencies()) as loops:
                await measure(loops, path / "notifier.db")


async def measure(loops: app.Services, database: Path) -> None:
    """What the claims beside it waited, and what it took of memory."""
    waits = Waits(loops.db)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waits.keep_asking)
        await anyio.sleep(1)
        idle = waits.taken()
        with growing() as growth:
            await read(loops, ReadKind.BASELINE)
            while_reading = waits.taken()
            await deliver(loops, database)
            while_delivering = waits.taken()
        tasks.cancel_scope.cancel()
    report(
        "created",
        blocked_ms=max(while_reading),
        growth_mb=growth[0],
        target={"blocked_ms": LONGEST_MS, "growth_mb": 60},
        blocked_too_long=sum(wait > LONGEST_MS for wait in while_reading),
        while_delivering_ms=max(while_delivering),
        idle_blocked_ms=max(idle),
        created=CREATED,
    )


@contextmanager
def growing() -> Iterator[list[float]]:
    """MB by which this process grew in the block, at its peak."""
    pid, growth = os.getpid(), list[float]()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = rss_mb(pid)
    yield growth
    growth.append(rss_mb(pid, peak=True) - before)


if __name__ == "__main__":
    anyio.run(main)
