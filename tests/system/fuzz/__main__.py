"""`python -m fuzz`: other inputs each time, for as long as you like."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from fuzz.bounds import TIMES


def main() -> int:
    """Try until the time is over; 1 at the first input that breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--times", type=int, default=10, help="examples, each round")
    parser.add_argument("-k", default="", help="only tests with this in their name")
    asked = parser.parse_args()
    here = Path(__file__).parent
    environ = {**os.environ, TIMES: str(asked.times)}
    until = time.monotonic() + 60 * asked.minutes
    rounds = 0
    while time.monotonic() < until:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", asked.k, str(here)]
        if code := subprocess.run(
            command, cwd=here.parents[2], env=environ, check=False
        ).returncode:
            return code
        rounds += 1
    sys.stdout.write(f"{rounds} rounds, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
