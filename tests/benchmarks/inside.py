"""The service's loops run within a benchmark, one step at a time."""

import gc
import time
from pathlib import Path

import anyio

from notifier import app
from notifier.domain.poll_schedule import Plan, ReadKind
from notifier.storage import milestones
from notifier.storage.database import reading

_OPEN = "SELECT 1 FROM deliveries WHERE state IN ('pending', 'leased') LIMIT 1"


async def read(loops: app.Services, kind: ReadKind) -> None:
    """One read, to its end."""
    poll = loops.poller
    watch = (await poll.db.read(milestones.watches))[0]
    await poll.ingest.read(Plan(at=poll.clock.now(), watch=watch, kind=kind))


async def deliver(loops: app.Services, database: Path) -> tuple[float, float]:
    """Wall and CPU seconds until nothing is owed any more."""
    gc.collect()
    gc.freeze()  # as the service does when it starts
    with reading(database) as conn:
        wall, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loops.dispatcher.run)
            while conn.exec_driver_sql(_OPEN).scalar():
                await loops.dispatcher.clock.sleep(0.02)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            loops.dispatcher.close()
    return wall, cpu
