"""
`python -m faults.failing`: the service, which dies at a statement of its store.

FUSE says at which: how its SQL begins, and whether the death comes before it or
after it, while its transaction is open.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from notifier import cli

FUSE = "failing.json"


def main() -> None:
    """Be the service in the current folder."""
    plan = json.loads((Path.cwd() / FUSE).read_text("utf-8"))
    beginning, when = plan["beginning"], plan["when"]

    def met(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(beginning):
            _die()

    if beginning:
        event.listen(Engine, f"{when}_cursor_execute", met)
    sys.argv = ["notifier", "run"]
    cli.main()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
