"""`python -m teeth`, from the folder `tests/system`: pull every tooth, or some of them."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import anyio

from teeth.bite import Bite, bite, judge_unchanged, write
from teeth.catalogue import TEETH, Tooth


def main() -> int:
    """Try the teeth that were asked for; 1 if any of them does not bite."""
    asked = _asked()
    chosen = [one for one in TEETH if not asked.tooth or one.name in asked.tooth]
    begun = time.perf_counter()
    results = anyio.run(_run, chosen, asked.at_once)
    took = time.perf_counter() - begun
    blunt = [one.tooth.name for one in results if not one.bites]
    sys.stdout.write(f"\n{len(results)} teeth in {took:.0f} s; ")
    sys.stdout.write(f"do not bite: {', '.join(blunt) or 'none'}\n")
    if asked.write is not None:
        write(asked.write, TEETH, results)
    return 1 if blunt else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m teeth")
    parser.add_argument(
        "--tooth", action="append", choices=[one.name for one in TEETH], metavar="NAME"
    )
    parser.add_argument("--at-once", type=int, default=2, help="so many teeth")
    parser.add_argument("--write", type=Path, help="the page whose table to renew")
    return parser.parse_args()


async def _run(teeth: Sequence[Tooth], at_once: int) -> list[Bite]:
    """Some at once; in order at the end."""
    results: dict[str, Bite] = {}
    limit = anyio.CapacityLimiter(at_once)
    before = await judge_unchanged({tooth.judge for tooth in teeth}, limit)

    async def tell(tooth: Tooth) -> None:
        async with limit:
            one = await bite(tooth, before[tooth.judge])
        mark = "bites" if one.bites else "DOES NOT BITE"
        name, judge = tooth.name, tooth.judge.name
        sys.stdout.write(f"{name:<22} {judge:<20} {one.seconds:>6.0f} s  {mark}: {one.said}\n")
        sys.stdout.flush()
        results[tooth.name] = one

    async with anyio.create_task_group() as tasks:
        for tooth in teeth:
            tasks.start_soon(tell, tooth)
    return [results[tooth.name] for tooth in teeth]


if __name__ == "__main__":
    sys.exit(main())
