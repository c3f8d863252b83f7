"""
Commands and exit codes. stdout is data, stderr is logs and messages.

`commands` lists them with their options; each command's own module is imported inside
it, so that `--help` costs nothing.
"""

import sys


def main() -> None:
    """Run the command line; always ends with SystemExit."""
    try:
        from notifier.cli.commands import app  # noqa: PLC0415 - Ctrl-C may come as early
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="notifier")
