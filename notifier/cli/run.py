"""`notifier run`."""

import os
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import TextIO

import anyio
import structlog

from notifier import app, logging, settings
from notifier.cli.baseline import Baseline
from notifier.cli.exit_codes import DONE, FAILED, say
from notifier.cli.hidden import hidden
from notifier.cli.options import Options
from notifier.cli.progress_line import Footer
from notifier.cli.where import configuration, placing, unusable
from notifier.errors import ConfigError
from notifier.senders.redaction import redact
from notifier.settings.models import Settings
from notifier.storage.sqlite import SOUND_SQLITE, database_path
from notifier.systemd import SystemdNotifier

log = structlog.get_logger()


def run(options: Options, *, once: bool) -> int:
    """Be the service, or make one round of its work."""
    found = configuration(options)
    footer = Footer(sys.stderr) if _is_terminal(sys.stderr) else None
    _set_up_logs(options, found, footer)
    _say_what_is_odd(found)
    parts = app.Dependencies(
        watcher=Baseline(database_path(found.store), footer),
        output=_above(footer, sys.stdout),
        systemd=SystemdNotifier.from_environment(os.environ, pid=os.getpid()),
    )
    with placing(options):
        if once:
            return DONE if anyio.run(app.once, found, parts) else FAILED
        load = partial(_again, options, footer)
        anyio.run(partial(app.run, found, parts, load=load))
    return DONE


def _again(options: Options, footer: Footer | None) -> Settings:
    """
    The configuration as it is now.

    Raises:
        ConfigError: it cannot be used; every problem is named.
    """
    found = configuration(options)
    if wrong := unusable(options):
        raise ConfigError(wrong)
    _set_up_logs(options, found, footer)
    return found


def _is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it, on something that can take a line back."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _above(footer: Footer | None, stream: TextIO) -> TextIO:
    """Where to write so that the footer stays whole."""
    return footer.above(stream) if footer and stream.isatty() else stream


def _set_up_logs(options: Options, found: Settings, footer: Footer | None) -> None:
    """Log as the configuration says, with none of its secrets."""
    logging.set_up(
        level=options.log_level or found.log.level.value,
        style=found.log.format.value,
        redact=logging.redactor(hidden(found), redact),
        stream=_above(footer, sys.stderr),
    )


def _say_what_is_odd(found: Settings) -> None:
    """What whoever starts the service may not expect."""
    if found.path is None:
        _say_there_is_no_file(found)
    if sqlite3.sqlite_version_info < SOUND_SQLITE:
        log.warning(
            "sqlite.outdated",
            version=sqlite3.sqlite_version,
            wanted=".".join(map(str, SOUND_SQLITE)),
            reason="a bug in it can, very rarely, damage the database",
        )


def _say_there_is_no_file(found: Settings) -> None:
    looked = [str(path) for path in settings.usual_paths(os.environ, Path.cwd())]
    database = database_path(found.store)
    if not sys.stderr.isatty():
        log.warning("config.missing", looked_for=looked, database=str(database))
        return
    say("No configuration found; looked for")
    for path in looked:
        say(f"  {path}")
    say(f"So everything is watched and told here. The database is {database}.")
    say("`notifier init` writes a configuration to begin with.")
