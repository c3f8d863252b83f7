"""
A full read of unchanged milestones against a bare reader that decodes the same pages.

Figure: `ratio` (CPU) <= 1.3.
"""

import time
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
from bench import POPULATION, api, folder, median, report

from notifier import app, logging, settings
from notifier.domain.poll_schedule import Plan, ReadKind
from notifier.storage import milestones


class Typed(msgspec.Struct):
    """A milestone as the floor decodes it."""

    id: str
    category: str
    type: str
    start_date: str
    title: str
    notification_message: str
    details: dict[str, Any]
    primary_event_tickers: list[str]
    related_event_tickers: list[str]
    last_updated_ts: str
    end_date: str | None = None
    source_id: str | None = None
    source_ids: dict[str, str] | None = None


class Listing(msgspec.Struct):
    """One page as the floor decodes it."""

    milestones: list[Typed]
    cursor: str | None = None


async def bare(url: str) -> float:
    """CPU seconds of the floor."""
    begun = time.process_time()
    async with httpx.AsyncClient(base_url=url) as client:
        cursor: str | None = ""
        while True:
            params = {"limit": "500"} | ({"cursor": cursor} if cursor else {})
            answer = await client.get("/milestones", params=params)
            cursor = msgspec.json.decode(answer.content, type=Listing).cursor
            if not cursor:
                return time.process_time() - begun


async def ours(loops: app.Services, kind: ReadKind) -> float:
    """CPU seconds of one read."""
    poll = loops.poller
    watch = (await poll.db.read(milestones.watches))[0]
    begun = time.process_time()
    await poll.ingest.read(Plan(at=poll.clock.now(), watch=watch, kind=kind))
    return time.process_time() - begun


async def main() -> None:
    """Read by turns."""
    with api() as url, folder(f"source: {{base_url: '{url}', rate: 1000/s}}") as path:
        config = settings.load(path / "notifier.yaml", {}, cwd=Path(path))
        logging.set_up(level="error", style="text")
        async with app.build_services(config, app.Dependencies()) as loops:
            first = await ours(loops, ReadKind.BASELINE)
            await ours(loops, ReadKind.FULL)
            pairs = [(await ours(loops, ReadKind.FULL), await bare(url)) for _ in "123"]
    report(
        "full_read",
        ratio=median([mine / floor for mine, floor in pairs]),
        target=1.3,
        us_a_row=median([mine for mine, _ in pairs]) / POPULATION * 1e6,
        floor_us_a_row=median([floor for _, floor in pairs]) / POPULATION * 1e6,
        baseline_us_a_row=first / POPULATION * 1e6,
        milestones=POPULATION,
    )


if __name__ == "__main__":
    anyio.run(main)
