"""The guards under which everything here is tried."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings

MEBIBYTE = 1024 * 1024
#: Nothing here takes a second; whoever reaches this hangs.
PATIENCE_S = 20
#: How many times as many examples: `python -m fuzz` sets it.
TIMES = "FUZZ_TIMES"


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


def examples(count: int) -> Callable[[Any], Any]:
    """So many, always the same; or many times as many, always others."""
    times = int(os.environ.get(TIMES, "0"))
    return settings(
        max_examples=count * max(times, 1),
        derandomize=not times,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
