"""`python -m faults.jumping`: the service, whose clock jumps as a file tells it."""

import os
import time
from pathlib import Path

import anyio

from notifier import app, logging, settings
from notifier.clock import SystemClock

#: Seconds by which the clock is off.
OFFSET = "clock.offset"


class JumpingClock(SystemClock):
    """The machine's clocks, the one on the wall off by what the file says."""

    def __init__(self, file: Path) -> None:
        super().__init__(wall=lambda: time.time() + float(file.read_text("utf-8") or 0))


def main() -> None:
    """Be the service in the current folder."""
    here = Path.cwd()
    found = settings.load(here / "notifier.yaml", os.environ, cwd=here)
    logging.set_up(level="info", style="json")
    anyio.run(app.run, found, app.Dependencies(clock=JumpingClock(here / OFFSET)))


if __name__ == "__main__":
    main()
