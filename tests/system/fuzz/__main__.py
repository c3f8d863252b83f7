"""`python -m fuzz`: other inputs each time, for as long as you like."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    """Try until the time is over; 1 at the first input that breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("-k", default="", help="only tests with this in their name")
    options = parser.parse_args()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", options.k, str(FOLDER)]
    command += ["--hypothesis-profile=deep", "--timeout=0"]
    deadline = time.monotonic() + 60 * options.minutes
    rounds = 0
    while (left := deadline - time.monotonic()) > 0:
        try:
            done = subprocess.run(command, cwd=FOLDER.parents[2], timeout=left, check=False)
        except subprocess.TimeoutExpired:
            break
        if done.returncode:
            return done.returncode
        rounds += 1
    sys.stdout.write(f"{rounds} whole rounds of 2,000 examples a test, nothing found\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
