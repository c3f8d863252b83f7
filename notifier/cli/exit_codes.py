"""Exit statuses of commands, and the messages that go with them."""

import os
import sys
from collections.abc import Callable, Iterator

from notifier.errors import ConfigError, NotifierError, StoreBusy

DONE = 0
FAILED = 1
USAGE = 2
#: EX_TEMPFAIL: another instance holds the store.
BUSY = 75
#: EX_CONFIG.
MISCONFIGURED = 78
INTERRUPTED = 130


def exit_status(command: Callable[[], int]) -> int:
    """
    Run a command; its exit status. What stopped it is printed to stderr.

    An exception that is no error of ours or of the system is a bug, and is raised.
    """
    try:
        status = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return _closed_pipe()
    except (NotifierError, OSError) as exc:
        return _stopped([exc])
    except BaseExceptionGroup as group:
        if (ended := _group_status(list(_leaves(group)))) is None:
            raise
        return ended
    return status


def _group_status(leaves: list[BaseException]) -> int | None:
    """The status for the failures of several tasks; None: a bug is among them."""
    if all(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return INTERRUPTED
    if all(isinstance(leaf, BrokenPipeError) for leaf in leaves):
        return _closed_pipe()
    ours = [leaf for leaf in leaves if isinstance(leaf, NotifierError | OSError)]
    return _stopped(ours) if len(ours) == len(leaves) else None


def say(text: str) -> None:
    """Print a message to stderr."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions of a group and of the groups in it."""
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


def _stopped(reasons: list[NotifierError | OSError]) -> int:
    """Print each reason once; the status for them."""
    for line in dict.fromkeys(map(_words, reasons)):
        say(line)
    return max(map(_status, reasons))


def _words(exc: NotifierError | OSError) -> str:
    """Problems of a configuration are lines `file:line: ...`, as editors expect them."""
    return str(exc) if isinstance(exc, ConfigError) else f"notifier: {exc}"


def _status(exc: NotifierError | OSError) -> int:
    match exc:
        case ConfigError():
            return MISCONFIGURED
        case StoreBusy():
            return BUSY
        case _:
            return FAILED


def _closed_pipe() -> int:
    """The reader of stdout closed it: nothing more can be printed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return DONE
