"""Where the store is: `sqlite:///notifier.db` -> an absolute URL."""

import re
from pathlib import Path

from notifier.settings.values import Unreadable

SQLITE = "sqlite:///"


def store_url(value: str) -> str:
    """The URL of a store that is, or will be, understood."""
    if re.match(r"postgresql(\+\w+)?://.", value):
        return value
    if not value.startswith(SQLITE):
        raise Unreadable("is not a store such as sqlite:///notifier.db")
    path = value.removeprefix(SQLITE)
    if path in {"", "/", ":memory:"} or path.endswith("/"):
        raise Unreadable("must name a file: sqlite:///notifier.db")
    if re.search(r"[?#\x00-\x1f]", path):
        raise Unreadable("must be a path alone, without options after a ? or #")
    if path.startswith("~"):
        raise Unreadable("must spell the path out; ~ is not expanded")
    return value


def absolute(value: str, *, folder: Path) -> str:
    """The same store, wherever the program is started from."""
    if not value.startswith(SQLITE):
        return value
    return f"{SQLITE}{folder / value.removeprefix(SQLITE)}"
