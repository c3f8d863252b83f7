"""How a command ends: its exit status, and what it says when it cannot go on."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec

import typer

from notifier.errors import ConfigError, NotifierError, StoreBusy

DONE = 0
FAILED = 1
USAGE = 2
#: EX_TEMPFAIL: another instance holds the store.
BUSY = 75
#: EX_CONFIG.
MISCONFIGURED = 78
INTERRUPTED = 130

P = ParamSpec("P")


def ends(command: Callable[P, int]) -> Callable[P, None]:
    """A command that ends the process with the status it returns, or failed with."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        raise typer.Exit(status_of(lambda: command(*args, **kwargs)))

    return run


def status_of(command: Callable[[], int]) -> int:
    """
    The exit status of a command; what stopped it is said on stderr.

    A bug of ours is no message: it is raised.
    """
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except (NotifierError, OSError) as exc:
        return _stopped([exc])
    except BaseExceptionGroup as group:
        if (ended := _status_of_group(list(_leaves(group)))) is None:
            raise
        return ended
    return status


def _status_of_group(leaves: list[BaseException]) -> int | None:
    """The status for what went wrong in several tasks; None: a bug is among it."""
    if all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return INTERRUPTED
    if all(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        return _unread()
    ours = [leaf for leaf in leaves if isinstance(leaf, NotifierError | OSError)]
    return _stopped(ours) if len(ours) == len(leaves) else None


def say(text: str) -> None:
    """Tell whoever started the command."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """What went wrong in the tasks of a group, and of the groups in it."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


def _stopped(reasons: list[NotifierError | OSError]) -> int:
    """Say each reason once; the status that they deserve."""
    for line in dict.fromkeys(map(_words, reasons)):
        say(line)
    return max(map(_status, reasons))


def _words(exc: NotifierError | OSError) -> str:
    """A configuration's problems are lines `file:line: ...` that editors know."""
    return str(exc) if isinstance(exc, ConfigError) else f"notifier: {exc}"


def _status(exc: NotifierError | OSError) -> int:
    match exc:
        case ConfigError():
            return MISCONFIGURED
        case StoreBusy():
            return BUSY
        case _:
            return FAILED


def _unread() -> int:
    """Whoever read our output has had enough: there is nobody to tell anything."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return DONE
