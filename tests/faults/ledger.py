"""A row of the ledger, what is counted, and how rows are run."""

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
    #: Under way when the fault struck, and requests whose answer never came.
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
    #: None: it was not run.
    counts: Counts | None
    seconds: float
    runs: int
    #: Why it was not run.
    skipped: str = ""

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong."""
        return self.counts is None or self.counts.holds


async def result(row: Row, *, seeds: Sequence[int], quick: bool) -> Result:
    """Run a row, once for each seed if chance decides it, one after another."""
    begun = time.perf_counter()
    counts: Counts | None = None
    runs = 0
    try:
        for seed in seeds if row.seeded else seeds[:1]:
            async with _folder(row) as folder:
                one = await row.run(Stage(folder=folder, seed=seed, quick=quick))
            counts = one if counts is None else counts + one
            runs += 1
    except Unavailable as exc:
        return Result(row=row, counts=None, seconds=0, runs=0, skipped=str(exc))
    seconds = time.perf_counter() - begun
    return Result(row=row, counts=counts, seconds=seconds, runs=runs)


@asynccontextmanager
async def _folder(row: Row) -> AsyncIterator[Path]:
    """A folder of its own; it stays where the row fails, and says where."""
    folder = Path(tempfile.mkdtemp(prefix=f"fault-{row.id}-"))
    try:
        yield folder
    except BaseException as exc:
        exc.add_note(f"row {row.id}; its files are in {folder}")
        raise
    await anyio.to_thread.run_sync(shutil.rmtree, folder)
