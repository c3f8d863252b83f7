"""`python -m faults`, from the folder `tests/system`: run the ledger, or some rows of it."""

import argparse
import sys
import time
from pathlib import Path

import anyio

from faults import page
from faults.catalogue import ROWS
from faults.ledger import Result, Row, result


def main() -> int:
    """Run the rows that were asked for; 1 if any of them broke a promise."""
    asked = _asked()
    chosen = [row for row in ROWS if not asked.row or row.id in asked.row]
    chosen = [row for row in chosen if row.quick or asked.row or not asked.quick]
    begun = time.perf_counter()
    sys.stdout.write(page.heading())
    results = anyio.run(_run, chosen, asked)
    took = time.perf_counter() - begun
    failed = [one.row.id for one in results if not one.holds]
    alone = sum(one.seconds for one in results)
    sys.stdout.write(f"\n{len(results)} rows in {took:.0f} s, each by itself ")
    sys.stdout.write(f"{alone:.0f} s together; ")
    sys.stdout.write(f"broken: {', '.join(failed) or 'none'}\n")
    if asked.write is not None:
        page.write(asked.write, ROWS, results)
        if asked.readme is not None:
            page.write_sentence(asked.readme, asked.write)
    return 1 if failed else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults")
    parser.add_argument("--row", action="append", choices=[row.id for row in ROWS], metavar="ID")
    parser.add_argument("--quick", action="store_true", help="what the tests run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--at-once", type=int, default=3, help="so many rows")
    parser.add_argument("--write", type=Path, help="write the page anew")
    parser.add_argument("--readme", type=Path, help="with --write: its figures, too")
    return parser.parse_args()


async def _run(rows: list[Row], asked: argparse.Namespace) -> list[Result]:
    """Some at once, as most of them wait most of the time; in order at the end."""
    results: dict[str, Result] = {}
    limit = anyio.CapacityLimiter(asked.at_once)
    seeds = range(asked.first, asked.first + asked.seeds)

    async def tell(row: Row) -> None:
        async with limit:
            one = await result(row, seeds=seeds, quick=asked.quick)
        sys.stdout.write(page.line(one))
        sys.stdout.flush()
        results[row.id] = one

    async with anyio.create_task_group() as tasks:
        for row in rows:
            tasks.start_soon(tell, row)
    return [results[row.id] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
