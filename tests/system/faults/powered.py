"""
`python -m faults.powered`: the service, on a disk that loses what was not synced.

Its power is cut at the write that POWER tells, and what it acknowledges is noted in
NOTES; a SIGKILL from outside loses all that was not synced.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from random import Random

from faults import dbapi
from faults.acknowledged import NOTES, POWER
from faults.unsynced import NAME, Disk
from notifier import cli
from notifier.storage import sqlite


class _Notes:
    """What is written here outlives the process, as only a disk loses what it has."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def trying(self, content: str) -> None:
        os.write(self._file, f"trying {content}\n".encode())

    def done(self) -> None:
        os.write(self._file, b"done\n")


def main() -> None:
    """Be the service in the current folder."""
    here = Path.cwd()
    plan = json.loads((here / POWER).read_text("utf-8"))
    # By its name: it is there as long as the process lives.
    _disk = Disk(
        Random(plan["seed"]),
        fuse=plan["fuse"],
        at_cut=partial(os.kill, os.getpid(), signal.SIGKILL),
    )
    connection = partial(dbapi.Connection, vfs=NAME, witness=_Notes(here / NOTES))
    sqlite._connect = lambda uri: partial(connection, uri)  # type: ignore[assignment,return-value] # its like
    sys.argv = ["notifier", "run"]
    cli.main()


if __name__ == "__main__":
    main()
