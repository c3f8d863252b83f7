"""From what was typed to the configuration, and to the store that is read."""

import os
from pathlib import Path

from notifier import config
from notifier.cli.given import Given
from notifier.config import Config
from notifier.errors import StoreError

_SQLITE = "sqlite:///"


def configuration(given: Given) -> Config:
    """
    The whole configuration, secrets and all.

    Raises: ConfigError with every problem in it.
    """
    here = Path.cwd()
    path = config.find(given.config, os.environ, cwd=here)
    return config.load(path, os.environ, cwd=here)


def database(given: Given) -> Path:
    """
    The store's file; nothing else of the configuration is looked at.

    Raises: ConfigError.
    """
    here = Path.cwd()
    path = config.find(given.config, os.environ, cwd=here)
    url = config.load_store(path, os.environ, cwd=here)
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
