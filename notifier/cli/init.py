"""`notifier init`."""

import os
import shlex
import sys
from pathlib import Path

from notifier import settings
from notifier.cli.exit_codes import DONE, FAILED, say


def init(file: Path) -> int:
    """Write a configuration to begin with; nothing that is there is touched."""
    if str(file) == "-":
        say("notifier: init writes a file; name it, such as notifier.yaml")
        return FAILED
    try:
        # It may come to hold secrets.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        say(f"notifier: {file} is there already, and stays as it is")
        return FAILED
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(settings.init_text())
    is_found = file.resolve() == Path.cwd() / settings.NAME
    named = "" if is_found else f" --config {shlex.quote(str(file))}"
    sys.stdout.write(
        f"Wrote {file}: everything is watched and told on the terminal. Edit it, then\n"
        f"`notifier check{named}` says whether it is right, "
        f"`notifier run{named}` starts.\n"
    )
    return DONE
