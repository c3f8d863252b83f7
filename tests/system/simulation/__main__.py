"""`python -m simulation`: as many seeds as you like."""

import argparse
import sys
import time

from simulation.story import tell


def main() -> int:
    """Tell the stories; 1 if any of them went wrong."""
    parser = argparse.ArgumentParser(prog="python -m simulation")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--days", type=float, default=10)
    parser.add_argument("--uptime", type=float, default=10.0, help="minutes in all")
    parser.add_argument("--trace", action="store_true", help="print it in any case")
    asked = parser.parse_args()
    failed = []
    for seed in range(asked.first, asked.first + asked.seeds):
        begun = time.perf_counter()
        ending = tell(seed, days=asked.days, uptime=60 * asked.uptime)
        took = time.perf_counter() - begun
        if asked.trace or ending.complaints:
            sys.stdout.write("\n".join([*ending.trace, ""]))
        sys.stdout.write(f"seed {seed}: {took:.1f} s {ending.counts}\n")
        for complaint in ending.complaints:
            sys.stdout.write(f"  {complaint}\n")
        sys.stdout.flush()
        failed += [seed] if ending.complaints else []
    sys.stdout.write(f"failed: {failed or 'none'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
