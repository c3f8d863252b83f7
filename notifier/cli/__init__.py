"""
Commands and exit codes. stdout is data, stderr is logs and messages.

* commands   what there is to type; each command's own module is imported inside it,
             so that `--help` costs nothing
* ending     exit codes, and what is said when a command cannot go on
* typed      options that several commands have; groups: what has commands of its own
* given      what was typed before and after the command's name
* where      from there to the configuration, and to the store that is read
* screen     how it looks on a terminal
"""

import sys


def main() -> None:
    """Do what the command line says; leaves by SystemExit."""
    try:
        from notifier.cli.commands import app  # noqa: PLC0415 - Ctrl-C may come as early
    except KeyboardInterrupt:
        sys.exit(130)
    app(prog_name="notifier")
