"""
`python -m faults.services NAME`: the service in the current folder, with one thing changed.

What a row tells such a service stands in a file of that folder.
"""

import json
import os
import resource
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
from sqlalchemy import Engine, event

from faults.acknowledged import NOTES, POWER
from notifier import app, cli, logging, settings
from notifier.clock import Clock, SystemClock
from notifier.domain import poll_schedule
from notifier.domain.models import Event, Rendered
from notifier.domain.outgoing import Message
from notifier.messages.render import render
from notifier.storage import sqlite
from notifier.workers import dispatcher

#: At which statement `failing` dies: {"beginning": of the SQL, "when": before or after}.
FUSE = "failing.json"
#: Seconds by which the wall clock of `jumping` is off.
OFFSET = "clock.offset"
#: Seconds for which the machine of `slept` has slept.
SLEPT = "clock.slept"
#: The certificate that `trusting` trusts as well.
AUTHORITY = "authority.pem"
#: How soon `impatient` asks again when it was refused, in place of minutes.
WAIT = timedelta(seconds=2)
#: A message about a milestone of this title kills `poisoned`.
POISON = "Poison"
#: For `rebound` and `trusting` these names mean this machine, and a forbidden address.
NAME, FORBIDDEN = "rebound.example", "metadata.example"
#: What root has, and `unprivileged` has not.
_CAPABILITIES = "-dac_override,-dac_read_search"


def _run() -> None:
    sys.argv = ["notifier", "run"]
    cli.main()


def _run_with(clock: Clock) -> None:
    here = Path.cwd()
    found = settings.load(here / "notifier.yaml", os.environ, cwd=here)
    logging.set_up(level="info", style="json")
    anyio.run(app.run, found, app.Dependencies(clock=clock))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def failing() -> None:
    """It dies at a statement of its store."""
    plan = json.loads(Path(FUSE).read_text("utf-8"))

    def die_at_it(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().startswith(plan["beginning"]):
            _die()

    if plan["beginning"]:
        event.listen(Engine, f"{plan['when']}_cursor_execute", die_at_it)
    _run()


def impatient() -> None:
    """It soon asks an API again that refused it."""
    vars(poll_schedule)["REFUSED_WAIT"] = WAIT
    _run()


def jumping() -> None:
    """Its wall clock jumps."""
    _run_with(SystemClock(wall=lambda: time.time() + float(Path(OFFSET).read_text() or 0)))


class _SleptClock(SystemClock):
    """It is later, and no clock was set."""

    def now(self) -> datetime:
        file = Path(SLEPT)
        return super().now() + timedelta(seconds=float(file.read_text()) if file.exists() else 0)


def slept() -> None:
    """Its machine slept."""
    _run_with(_SleptClock())


def poisoned() -> None:
    """One message kills it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def render_or_die(message: Message, events: Sequence[Event], **more: Any) -> Rendered:
        if any(one.milestone.title == POISON for one in events):
            os.abort()
        return render(message, events, **more)

    vars(dispatcher)["render"] = render_or_die
    _run()


class _Notes:
    """What is written here outlives the process, as only a disk loses what it has."""

    def __init__(self) -> None:
        self._file = os.open(NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def trying(self, content: str) -> None:
        os.write(self._file, f"trying {content}\n".encode())

    def done(self) -> None:
        os.write(self._file, b"done\n")


def powered() -> None:
    """Its disk loses what was not synced, at a SIGKILL or at the write that POWER names."""
    from faults import dbapi  # noqa: PLC0415 - the others do without apsw
    from faults.unsynced import NAME as DISK  # noqa: PLC0415 - likewise
    from faults.unsynced import Disk  # noqa: PLC0415 - likewise

    plan = json.loads(Path(POWER).read_text("utf-8"))
    # By its name: it is there as long as the process lives.
    _disk = Disk(Random(plan["seed"]), fuse=plan["fuse"], at_cut=_die)
    connection = partial(dbapi.Connection, vfs=DISK, witness=_Notes())
    sqlite._connect = lambda uri: partial(connection, uri)  # type: ignore[assignment,return-value] # its like
    _run()


def rebound() -> None:
    """Names lead to odd places."""
    look_up = socket.getaddrinfo
    places = {NAME: "127.0.0.1", FORBIDDEN: "169.254.169.254"}

    def look_up_oddly(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return look_up(places.get(name, host), *more, **named)

    socket.getaddrinfo = look_up_oddly
    _run()


def trusting() -> None:
    """It trusts one more authority."""
    os.environ["SSL_CERT_FILE"] = str(Path.cwd() / AUTHORITY)
    os.environ["NO_PROXY"] = "*"
    rebound()


def unprivileged() -> None:
    """Modes of files hold for it, though root started it."""
    less = ["--bounding-set", _CAPABILITIES, "--inh-caps", _CAPABILITIES]
    os.execvp("setpriv", ["setpriv", *less, "--", sys.executable, "-m", "notifier", "run"])


def is_unprivileged_possible() -> bool:
    """Whether `unprivileged` can be started, and we see what it does not."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


SERVICES: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        *(failing, impatient, jumping, slept, poisoned, powered),
        *(rebound, trusting, unprivileged),
    )
}

if __name__ == "__main__":
    SERVICES[sys.argv[1]]()
