"""The quick rows of the ledger; `python -m faults`, from `tests/system`, runs all of them."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from faults import page
from faults.catalogue import ROWS
from faults.ledger import Result, Row, result

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "faults.md"
README = ROOT / "README.md"
SEEDS = (1, 2, 3)
#: They wait more than they work.
AT_ONCE = 7

Run = tuple[Row, int]

RUNS: Sequence[Run] = [
    (row, seed) for row in ROWS if row.quick for seed in (SEEDS if row.seeded else SEEDS[:1])
]


def _must_run() -> bool:
    """Where everything is judged, a row that cannot be run is no row that holds."""
    return any(os.environ.get(name) for name in ("CI", "NOTIFIER_CI"))


def _name(run: Run) -> str:
    row, seed = run
    return f"{row.id}-{seed}" if row.seeded else row.id


@pytest.fixture(scope="module")
async def results(request: pytest.FixtureRequest) -> dict[str, Result]:
    """What came of all runs that were chosen, many at once."""
    chosen: list[Run] = [
        item.callspec.params["run"]  # type: ignore[misc] # one of RUNS
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.path == request.path
        and hasattr(item, "callspec")
    ]
    found: dict[str, Result] = {}
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def tell(run: Run) -> None:
        row, seed = run
        async with limit:
            found[_name(run)] = await result(row, seeds=(seed,), quick=True)

    async with anyio.create_task_group() as tasks:
        for run in chosen:
            tasks.start_soon(partial(tell, run))
    return found


@pytest.mark.anyio
@pytest.mark.timeout(900)  # the first of them waits for all rows
@pytest.mark.parametrize("run", RUNS, ids=_name)
async def test_the_promise_holds_whatever_breaks(run: Run, results: dict[str, Result]) -> None:
    one = results[_name(run)]

    if one.skipped and not _must_run():
        pytest.skip(one.skipped)
    assert not one.skipped
    assert one.holds, page.heading() + page.line(one)
    assert one.counts is not None
    assert one.counts.faults > 0
    assert one.counts.events > 0
    assert one.counts.messages > 0


def test_the_page_shows_exactly_the_rows_that_there_are() -> None:
    assert page.rows(PAGE) == [(row.id, row.done, row.holds) for row in ROWS]


def test_the_readme_says_what_the_page_says() -> None:
    assert page.said(README) == page.sentence(PAGE)
    assert ": 0 messages were lost, 0 made up, 0 told out of order, " in " ".join(
        page.said(README).split()
    )
    assert page.broken(PAGE) == []
