"""`python -m faults.slept`: the service on a machine that slept, as a file tells."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import anyio

from notifier import app, logging, settings
from notifier.clock import SystemClock

#: Seconds for which the machine has slept.
SLEPT = "clock.slept"


class SleptClock(SystemClock):
    """The machine's clocks after it slept: it is later, and no clock was set."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def now(self) -> datetime:
        """Later than it would be."""
        slept = float(self._file.read_text("utf-8")) if self._file.exists() else 0
        return super().now() + timedelta(seconds=slept)


def main() -> None:
    """Be the service in the current folder."""
    here = Path.cwd()
    found = settings.load(here / "notifier.yaml", os.environ, cwd=here)
    logging.set_up(level="info", style="json")
    anyio.run(app.run, found, app.Dependencies(clock=SleptClock(here / SLEPT)))


if __name__ == "__main__":
    main()
