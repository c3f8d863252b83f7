"""
`python -m faults.cuts SEED LIVES`, in an empty folder: a store whose power is cut.

Life after life does what the loops do, with the store's own statements, on a disk
that loses what was not synced. After each cut SQLite as the service has it opens what
is left: it must be sound, and hold exactly what was acknowledged, or that and the
whole of the commit that was under way. A line of JSON says what was found.
"""

import json
import logging
import sqlite3
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

import anyio
from storing import (
    DAY,
    EVERYTHING,
    HOOK,
    HOUR,
    MINUTE,
    NOW,
    Shelf,
    inline,
    row,
    stamp,
)

from faults import dbapi
from faults.acknowledged import Acknowledged, judge
from faults.unsynced import NAME, Disk, PowerCut
from notifier.domain.models import Failed, Sent
from notifier.domain.poll_schedule import ReadKind
from notifier.storage import destination_state, milestones, retention, sqlite
from notifier.storage.database import Database, Priority, open_database

_LONGEST = 60


@dataclass(kw_only=True)
class World:
    """What goes on whatever becomes of the store."""

    database: Path
    chance: Random
    now: datetime = NOW
    seen: Acknowledged = field(default_factory=Acknowledged)
    open: list[dbapi.Connection] = field(default_factory=list)
    tokens: "count[int]" = field(default_factory=count)
    reads: "count[int]" = field(default_factory=lambda: count(1))
    milestones: int = 0
    sent: int = 0
    cuts: int = 0
    lost: int = 0
    broken: list[str] = field(default_factory=list)

    def connect(self, uri: str, checkpoint_every: int) -> dbapi.Connection:
        """What the store's own connecting is replaced with."""
        conn = dbapi.Connection(uri, vfs=NAME, witness=self.seen)
        conn.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_every}")
        self.open.append(conn)
        return conn


async def _live(world: World) -> None:
    """One life, up to its power cut."""
    chance = world.chance
    fuse = int(chance.lognormvariate(4.5, 1.2))
    disk = Disk(chance, fuse=1 + fuse)
    pages = chance.choice((4, 30, 1000))
    sqlite._connect = lambda uri: partial(world.connect, uri, pages)  # type: ignore[assignment,return-value] # its like
    with suppress(PowerCut):
        store = open_database(world.database, run_in_thread=inline)
        await _work(world, store)
        store.close()
        disk.cut()
    for conn in world.open:
        with suppress(PowerCut, sqlite3.Error):
            conn.close()
    world.open.clear()
    world.cuts += 1
    disk.close()


async def _work(world: World, store: Database) -> None:
    async with store.turn(Priority.MAINTENANCE) as turn:
        [watch] = await turn.write(milestones.set_watches, [EVERYTHING])
    async with store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(destination_state.set_destinations, {HOOK: "fingerprint"}, world.now)
    shelf = Shelf(store=store, watch=watch, tokens=world.tokens, reads=world.reads)
    await shelf.release_leases(now=world.now)
    if watch.baselined_at is None:
        await shelf.show(kind=ReadKind.BASELINE, now=NOW - DAY)
    for _ in range(_LONGEST):
        world.now += MINUTE
        act = world.chance.choice((_show, _show, _ring, _send, _send, _prune))
        await act(world, shelf)


async def _show(world: World, shelf: Shelf) -> None:
    """A page with a few milestones, new ones and known ones, some of them long."""
    chance = world.chance
    world.milestones += chance.random() < 0.5
    keys = {chance.randint(0, world.milestones) for _ in range(chance.randint(1, 4))}
    rows = [
        row(
            f"m{key}",
            title=f"Game {chance.getrandbits(32):08x}",
            notification_message="It begins. " * chance.choice((1, 1, 500)),
            start_date=stamp(world.now + chance.randint(1, 20) * MINUTE),
            last_updated_ts=stamp(world.now),
        )
        for key in sorted(keys)
    ]
    await shelf.show(*rows, now=world.now)


async def _ring(world: World, shelf: Shelf) -> None:
    await shelf.ring(now=world.now)


async def _send(world: World, shelf: Shelf) -> None:
    for lease in await shelf.claim(now=world.now, over=3):
        fails = world.chance.random() < 0.2
        world.sent += not fails
        await shelf.settle(lease, Failed(reason="500") if fails else Sent(), now=world.now)


async def _prune(world: World, shelf: Shelf) -> None:
    async with shelf.store.turn(Priority.MAINTENANCE) as turn:
        await turn.write(
            retention.prune, events_before=world.now - HOUR, deliveries_before=world.now - HOUR
        )


def _judge(world: World) -> bool:
    """Whether there is anything to go on with."""
    verdict = judge(world.database, world.seen)
    world.lost += verdict.lost
    where = f"cut {world.cuts}"
    world.broken += [f"{where}: {text}" for text in verdict.broken]
    return not verdict.broken


async def _run(seed: int, lives: int, folder: Path) -> World:
    world = World(database=folder / "notifier.db", chance=Random(seed))
    for _ in range(lives):
        await _live(world)
        if not _judge(world):
            break
    return world


def main() -> None:
    """Live, and say what became of it."""
    logging.disable()  # the pool says that the disk is off
    seed, lives = map(int, sys.argv[1:3])
    world = anyio.run(_run, seed, lives, Path.cwd())
    told = {
        "faults": world.cuts,
        "events": _events(world.database),
        "messages": world.sent,
        "lost": world.lost,
        "broken": world.broken,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def _events(database: Path) -> int:
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as conn:
        return int(conn.execute("SELECT max(seq) FROM events").fetchone()[0] or 0)
    return 0


if __name__ == "__main__":
    main()
