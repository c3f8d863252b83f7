"""The guards under which everything here is tried."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MEBIBYTE = 1024 * 1024
#: Nothing here takes a second; whoever reaches this hangs.
PATIENCE_S = 20


class Hung(BaseException):
    """No `except Exception` stops it."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Hung


@contextmanager
def guarded() -> Iterator[None]:
    """Fail, rather than hang."""
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """A MemoryError when the process needs more than it has by now; and never hang."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + mebibytes * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        with guarded():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
