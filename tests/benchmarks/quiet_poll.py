"""
A quiet poll with many milestones known against one with few.

Figure: `ratio` (CPU) <= 1.2.
"""

import time
from pathlib import Path

import anyio
from bench import POPULATION, api, folder, median, report

from notifier import app, logging, settings
from notifier.domain.poll_schedule import Plan, ReadKind
from notifier.settings.models import Settings
from notifier.storage import milestones, timers

FEW = 1000
POLLS = 100


async def quiet_polls(loops: app.Services) -> float:
    """CPU seconds of some polls that bring nothing."""
    poll = loops.poller
    begun = time.process_time()
    for _ in range(POLLS):
        watch = (await poll.db.read(milestones.watches))[0]
        plan = Plan(at=poll.clock.now(), watch=watch, kind=ReadKind.POLL)
        await poll.db.read(timers.next_start, poll.clock.now())
        await poll.ingest.read(plan)
    return time.process_time() - begun


async def measure(few: Path, many: Path) -> None:
    """Poll both by turns."""
    async with (
        app.build_services(load(few), app.Dependencies()) as small,
        app.build_services(load(many), app.Dependencies()) as large,
    ):
        for loops in (small, large):
            watch = (await loops.poller.db.read(milestones.watches))[0]
            now = loops.poller.clock.now()
            plan = Plan(at=now, watch=watch, kind=ReadKind.BASELINE)
            await loops.poller.ingest.read(plan)
        await quiet_polls(small), await quiet_polls(large)
        pairs = [(await quiet_polls(large), await quiet_polls(small)) for _ in range(5)]
    report(
        "quiet_poll",
        ratio=median([large / small for large, small in pairs]),
        target=1.2,
        ms_a_poll=median([large for large, _ in pairs]) / POLLS * 1e3,
        ms_a_poll_with_few=median([small for _, small in pairs]) / POLLS * 1e3,
        many=POPULATION,
        few=FEW,
    )


def load(path: Path) -> Settings:
    """The configuration in a folder."""
    return settings.load(path / "notifier.yaml", {}, cwd=path)


def main() -> None:
    """Run it."""
    logging.set_up(level="error", style="text")
    # Nothing on either list has been updated lately: the polls are really quiet.
    with api(FEW) as few_url, api() as many_url:
        text = "source: {{base_url: '{}', rate: 100000/s}}"
        with folder(text.format(few_url)) as few, folder(text.format(many_url)) as many:
            anyio.run(measure, few, many)


if __name__ == "__main__":
    main()
