"""The folder in which it is done: a copy of the package and of the tests."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.db*")


@contextmanager
def copied() -> Iterator[Path]:
    """A folder with both in it, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="tooth-") as folder:
        for name in ("notifier", "tests"):
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=_LEFT_OUT)
        yield Path(folder)
