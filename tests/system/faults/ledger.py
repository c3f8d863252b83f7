"""A row of the ledger, what is counted, and how rows are run."""

import shutil
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio


class Unavailable(Exception):
    """This machine lacks what the row needs; the text says what."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What was counted at the end of a row, or of several runs of it."""

    #: How often the fault struck.
    faults: int
    events: int
    #: Messages that were taken at the far end, repeats included.
    messages: int
    lost: int
    spurious: int
    #: Messages that overtook an earlier one of their milestone.
    order: int
    repeats: int
    #: Arrivals in doubt: under way when the fault struck, or their answer never came.
    allowed: int
    #: What else must hold and did not.
    broken: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        kept = self.lost == self.spurious == self.order == 0
        return kept and self.repeats <= self.allowed and not self.broken

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            faults=self.faults + other.faults,
            events=self.events + other.events,
            messages=self.messages + other.messages,
            lost=self.lost + other.lost,
            spurious=self.spurious + other.spurious,
            order=self.order + other.order,
            repeats=self.repeats + other.repeats,
            allowed=self.allowed + other.allowed,
            broken=self.broken + other.broken,
        )


NOTHING = Counts(
    faults=0,
    events=0,
    messages=0,
    lost=0,
    spurious=0,
    order=0,
    repeats=0,
    allowed=0,
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a run is given."""

    folder: Path
    seed: int
    #: A short run: fewer kills, fewer places.
    quick: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One fault: what is done, and what must hold."""

    id: str
    #: Its numbers in the matrix of faults that the ledger follows.
    matrix: str
    done: str
    holds: str
    run: Callable[[Stage], Awaitable[Counts]]
    #: Runs with the tests.
    quick: bool = False
    #: Chance decides: it is run with several seeds.
    seeded: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a row."""

    row: Row
    #: One of each seed; none: it was not run.
    runs: tuple[Counts, ...]
    seconds: float
    #: Why it was not run.
    skipped: str = ""

    @property
    def counts(self) -> Counts | None:
        """What all runs come to; None: it was not run."""
        return sum(self.runs, NOTHING) if self.runs else None

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong: each seed is judged by itself."""
        return all(one.holds for one in self.runs)


async def result(row: Row, *, seeds: Sequence[int], quick: bool) -> Result:
    """Run a row, once for each seed if chance decides it, one after another."""
    begun = time.perf_counter()
    runs: list[Counts] = []
    chosen = seeds if row.seeded else seeds[:1]
    try:
        for seed in chosen:
            runs += [await _run(row, seed=seed, quick=quick)]
    except Unavailable as exc:
        return Result(row=row, runs=(), seconds=0, skipped=str(exc))
    return Result(row=row, runs=tuple(runs), seconds=time.perf_counter() - begun)


async def _run(row: Row, *, seed: int, quick: bool) -> Counts:
    """
    One run in a folder of its own.

    The folder stays where something was broken, and is named.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{row.id}-"))
    try:
        counts = await row.run(Stage(folder=folder, seed=seed, quick=quick))
    except Unavailable:
        await anyio.to_thread.run_sync(shutil.rmtree, folder)
        raise
    except Exception as exc:  # noqa: BLE001 - whatever it is, the row is broken
        said = "".join(traceback.format_exception(exc)).rstrip().splitlines()
        return replace(NOTHING, broken=(*said, f"seed {seed}: {folder}"))
    if not counts.faults:
        counts = replace(counts, broken=(*counts.broken, "nothing struck"))
    if counts.holds:
        await anyio.to_thread.run_sync(shutil.rmtree, folder)
        return counts
    return replace(counts, broken=(*counts.broken, f"seed {seed}: {folder}"))
