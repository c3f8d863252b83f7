"""The guards under which everything here is tried."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

MEBIBYTE = 1024 * 1024
#: Seconds of the processor: nothing here takes one; what takes so many hangs.
PATIENCE_S = 20


class Hung(BaseException):
    """No `except Exception` stops it."""


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise Hung


@contextmanager
def guarded() -> Iterator[None]:
    """Fail, rather than hang."""
    before = signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


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
