"""From what was typed to the configuration, and to the store that is read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from notifier import settings
from notifier.cli.options import Options
from notifier.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from notifier.settings.models import Settings

_SQLITE = "sqlite:///"


def configuration(options: Options) -> "Settings":
    """
    The whole configuration, secrets and all.

    Raises: ConfigError with every problem in it.
    """
    here = Path.cwd()
    path = settings.find(options.config, os.environ, cwd=here)
    return settings.load(path, os.environ, cwd=here)


def unusable(options: Options) -> list[str]:
    """
    What only sending can tell of the destinations, each with its place.

    What `configuration` complains of is left to it. Blocks: Apprise may be loaded.
    """
    from notifier.senders import sender  # noqa: PLC0415 - health checks are quick

    here = Path.cwd()
    path = settings.find(options.config, os.environ, cwd=here)
    try:
        destinations = settings.load_destinations(path, os.environ, cwd=here)
    except ConfigError:
        return []
    lines = []
    for name, reason in sender.check(destinations).items():
        place = settings.place_of(("destinations", name, "url"), path, os.environ, cwd=here)
        lines.append(f"{place}: destinations.{name}: {reason}")
    return lines


@contextmanager
def placing(options: Options) -> Iterator[None]:
    """Say where the destinations stand that turn out to be unusable."""
    try:
        yield
    except ConfigError as exc:
        raise ConfigError(unusable(options) or exc.problems) from None


def database(options: Options) -> Path:
    """
    The store's file; nothing else of the configuration is looked at.

    Raises: ConfigError.
    """
    here = Path.cwd()
    path = settings.find(options.config, os.environ, cwd=here)
    url = settings.load_store(path, os.environ, cwd=here)
    return Path(url.removeprefix(_SQLITE))


def existing(path: Path) -> Path:
    """
    The same file, which is there.

    Raises: StoreError, saying what to do.
    """
    if not path.exists():
        raise StoreError(
            f"there is no database {path}: nothing has run here yet; `notifier run` "
            "makes it, --config or NOTIFIER_STORE names another one"
        )
    return path
