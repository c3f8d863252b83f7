"""The database as it is, in plain SQL: none of the store's own statements."""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from simulation.rows import Doc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A milestone."""

    doc: Doc
    is_doubted: bool
    is_gone: bool


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event."""

    id: str
    seq: int
    kind: str
    milestone_id: str
    at: datetime
    seen_at: datetime
    missed: bool
    fields: frozenset[str]
    lead: timedelta | None
    doc: Doc


@dataclass(frozen=True, kw_only=True)
class StoredDelivery:
    """A delivery."""

    event_id: str
    destination: str
    route: str
    state: str
    attempts: int
    #: The same with those that cost no try.
    tries: int
    message_id: str | None
    reason: str | None
    #: When it became due first, and when it became final.
    born_at: datetime
    settled_at: datetime | None
    #: The event whose message tells what this one would have.
    superseded_by: str | None


class Ledger:
    """One database file."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def _ask(self, text: str) -> Sequence[Any]:
        if not self._database.exists():
            return []  # dead before the first statement
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                return []  # dead within the migration
            return db.execute(text).fetchall()

    def milestones(self) -> dict[str, Stored]:
        """By id."""
        return {
            row["id"]: Stored(
                doc=_doc(row["doc"]),
                is_doubted=row["doubt"] is not None,
                is_gone=row["gone_at"] is not None,
            )
            for row in self._ask("SELECT id, doc, doubt, gone_at FROM milestones")
        }

    def timers(self) -> set[tuple[str, str, float]]:
        """Milestone, kind and lead in seconds."""
        rows = self._ask("SELECT milestone_id, kind, lead_s FROM timers")
        return {(row["milestone_id"], row["kind"], row["lead_s"]) for row in rows}

    def is_baselined(self) -> bool:
        """Whether the first full read has come to its end."""
        rows = self._ask("SELECT 1 FROM watches WHERE baselined_at IS NOT NULL")
        return bool(rows)

    def watermark(self) -> datetime | None:
        """Up to which everything has been read."""
        rows = self._ask("SELECT watermark FROM watches")
        return _instant(rows[0]["watermark"]) if rows and rows[0]["watermark"] else None

    def events(self) -> list[StoredEvent]:
        """In the order in which they were stored."""
        return [
            StoredEvent(
                id=row["id"],
                seq=row["seq"],
                kind=row["kind"],
                milestone_id=row["milestone_id"],
                at=_instant(row["at"]),
                seen_at=_instant(row["seen_at"]),
                missed=bool(row["missed"]),
                fields=frozenset(c["field"] for c in json.loads(row["changes"])),
                lead=None if row["lead_s"] is None else timedelta(seconds=row["lead_s"]),
                doc=_doc(row["doc"]),
            )
            for row in self._ask("SELECT * FROM events ORDER BY seq")
        ]

    def deliveries(self) -> list[StoredDelivery]:
        """In the order in which they were stored."""
        return [
            StoredDelivery(
                event_id=row["event_id"],
                destination=row["destination"],
                route=row["route"],
                state=row["state"],
                attempts=row["attempts"],
                tries=row["tries"],
                message_id=row["message_id"],
                reason=row["reason"],
                born_at=_instant(row["born_at"]),
                settled_at=_perhaps(row["settled_at"]),
                superseded_by=row["superseded_by"],
            )
            for row in self._ask("SELECT * FROM deliveries ORDER BY seq")
        ]

    def soundness(self) -> str:
        """What SQLite itself says of the file."""
        return str(self._ask("PRAGMA integrity_check")[0][0])


def _doc(packed: bytes) -> Doc:
    doc: Doc = json.loads(zlib.decompress(packed))
    return doc


def _instant(ticks: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ticks)


def _perhaps(ticks: int | None) -> datetime | None:
    return None if ticks is None else _instant(ticks)
