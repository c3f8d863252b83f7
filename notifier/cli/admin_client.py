"""How a command writes: through the running service, else as the only one there is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from notifier.domain.models import Json
from notifier.errors import StoreError
from notifier.storage import sqlite
from notifier.workers import admin_socket
from notifier.workers.admin_socket import NotRunning

T = TypeVar("T")


def tell(store: Path, question: Mapping[str, Json]) -> Mapping[str, Json] | None:
    """
    The running service's answer; None: no service runs.

    Raises: StoreError when the service says why not.
    """
    try:
        said = admin_socket.ask(store, question)
    except NotRunning:
        return None
    if "error" in said:
        raise StoreError(str(said["error"]))
    return said


def write(store: Path, work: Callable[[Connection], T]) -> T:
    """
    Do it here, as the only one who writes.

    Raises: StoreBusy when somebody else does.
    """
    lock = sqlite.InstanceLock(store)
    lock.take()
    try:
        engine = sqlite.writer(store)
        try:
            sqlite.migrate(engine, store)
            with engine.begin() as conn:
                return work(conn)
        finally:
            engine.dispose()
    finally:
        lock.release()
