"""A store as large as those of busy people, made in seconds."""

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from servers.population import population
from sqlalchemy import Connection
from storing import EVERYTHING, NOW, inline

from notifier.demo.fake_api import Document
from notifier.domain.models import Kind, delivery_id, event_id, message_id
from notifier.domain.search import indexed
from notifier.storage.database import open_database

#: Documents that are made; the others say the same of other milestones.
_VARIETY = 2000
_TICKS = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=NOW.tzinfo)
_KINDS = (
    *(Kind.UPDATED,) * 5,
    *(Kind.CREATED, Kind.CREATED, Kind.STARTED, Kind.UPCOMING, Kind.ENDED),
)
#: Some happen hardly ever.
_RARE = 1000


@dataclass(frozen=True, kw_only=True)
class Plenty:
    """How much of everything."""

    milestones: int = 137_200
    events: int = 100_000
    destinations: Sequence[str] = ("ops", "desk", "hook")
    route: str = "all"
    #: From its first event to `now`.
    span: timedelta = timedelta(days=20)
    now: datetime = NOW
    #: Of a thousand deliveries so many wait, and so many are dead.
    pending: int = 2
    dead: int = 2


def fill(database: Path, plenty: Plenty) -> None:
    """Make such a store; its newest event was seen just now."""
    open_database(database, run_in_thread=inline).close()
    docs = list(population(min(_VARIETY, plenty.milestones), seed=7, now=plenty.now))
    packed = _Packed(docs)
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        conn.execute("PRAGMA synchronous = OFF")
        conn.execute("BEGIN")
        put = _Put(conn)
        now = _us(plenty.now)
        watch = {"id": 0, "name": EVERYTHING, "baselined_at": now, "watermark": now}
        put("watches", [watch | {"polled_at": now}])
        put("destinations", _destinations(plenty))
        put("milestones", _milestones(plenty, docs, packed))
        put("timers", _timers(plenty, docs))
        put("events", _events(plenty, packed))
        put("deliveries", _deliveries(plenty))
        put("attempts", _attempts(plenty))
        conn.execute("COMMIT")


@contextmanager
def counted(conn: Connection) -> Iterator[list[None]]:
    """A mark for each thousand steps that SQLite takes."""
    raw = conn.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    steps: list[None] = []
    raw.set_progress_handler(lambda: steps.append(None), 1000)
    try:
        yield steps
    finally:
        raw.set_progress_handler(None, 0)


class _Packed:
    """Documents as the store keeps them, each with the id of its milestone."""

    def __init__(self, docs: Sequence[Document]) -> None:
        self._cut = [msgspec.json.encode(doc).partition(str(doc["id"]).encode()) for doc in docs]

    def of(self, number: int) -> bytes:
        """That of a milestone, by its number."""
        before, _, after = self._cut[number % len(self._cut)]
        return zlib.compress(before + name_of(number).encode() + after, 1)


class _Put:
    """Rows into a table, as fast as it goes."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def __call__(self, table: str, rows: Iterator[dict[str, Any]] | Any) -> None:
        left = iter(rows)
        while some := list(islice(left, 5000)):
            names = list(some[0])
            marks = ", ".join("?" * len(names))
            self._conn.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                [tuple(row.values()) for row in some],
            )


def name_of(number: int) -> str:
    """The id of a milestone, by its number."""
    digits = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"
    parts = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]
    return "-".join(parts)


def fact_of(plenty: Plenty, number: int) -> tuple[str, Kind]:
    """The id and the kind of an event, by its number."""
    kind = Kind.REMOVED if number % _RARE == 1 else _KINDS[number % len(_KINDS)]
    return event_id(_whose(plenty, number), kind, str(number)), kind


def _whose(plenty: Plenty, number: int) -> str:
    return name_of(_number(plenty, number))


def _number(plenty: Plenty, number: int) -> int:
    """The milestone of an event."""
    return number * 7919 % plenty.milestones


def _seen(plenty: Plenty, number: int) -> int:
    """Evenly from the beginning to now."""
    share = (plenty.events - 1 - number) / max(1, plenty.events)
    return _us(plenty.now - share * plenty.span)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // _TICKS


def _destinations(plenty: Plenty) -> Iterator[dict[str, Any]]:
    for name in plenty.destinations:
        yield {"name": name, "fingerprint": "x"}


def _milestones(
    plenty: Plenty, docs: Sequence[Document], packed: _Packed
) -> Iterator[dict[str, Any]]:
    now = _us(plenty.now)
    for number in range(plenty.milestones):
        doc = docs[number % len(docs)]
        title = str(doc["title"])
        tickers = doc["related_event_tickers"]
        assert isinstance(tickers, Sequence)
        yield {
            "id": name_of(number),
            "fingerprint": number.to_bytes(16, "big"),
            "watches": 1,
            "version": 1,
            "generation": 0,
            "category": doc["category"],
            "type": doc["type"],
            "title": title,
            "start_at": _us(datetime.fromisoformat(str(doc["start_date"]))),
            "doc": packed.of(number),
            "first_seen_at": now,
            "changed_at": now,
            "search": indexed((title, *map(str, tickers))),
        }


def _timers(plenty: Plenty, docs: Sequence[Document]) -> Iterator[dict[str, Any]]:
    now = _us(plenty.now)
    starts = [_us(datetime.fromisoformat(str(doc["start_date"]))) for doc in docs]
    for number in range(plenty.milestones):
        fire_at = starts[number % len(docs)]
        if fire_at > now:
            key = {"milestone_id": name_of(number), "kind": "start", "lead_s": 0.0}
            yield key | {"fire_at": fire_at}


def _events(plenty: Plenty, packed: _Packed) -> Iterator[dict[str, Any]]:
    changes = '[{"field": "title", "before": "Old", "after": "New"}]'
    for number in range(plenty.events):
        key, kind = fact_of(plenty, number)
        at = _seen(plenty, number)
        yield {
            "id": key,
            "kind": kind.value,
            "milestone_id": _whose(plenty, number),
            "at": at,
            "seen_at": at,
            "missed": 0,
            "changes": changes if kind is Kind.UPDATED else "[]",
            "doc": packed.of(_number(plenty, number)),
        }


def _deliveries(plenty: Plenty) -> Iterator[dict[str, Any]]:
    for number in range(plenty.events):
        key, kind = fact_of(plenty, number)
        seen = _seen(plenty, number)
        for destination in plenty.destinations:
            state = _state(plenty, number)
            sent = seen + 5000 + number % 1000 * 100
            yield {
                "id": delivery_id(key, destination),
                "event_id": key,
                "kind": kind.value,
                "milestone_id": _whose(plenty, number),
                "destination": destination,
                "route": plenty.route,
                "state": state,
                "born_at": seen,
                "due_at": seen,
                "attempts": 1,
                "message_id": message_id(destination, [key]),
                "sent_at": sent if state == "delivered" else None,
                "settled_at": None if state == "pending" else sent,
                "reason": None if state == "delivered" else "503",
            }


def _state(plenty: Plenty, number: int) -> str:
    left = number % 1000
    if left < plenty.pending:
        return "pending"
    return "dead" if left < plenty.pending + plenty.dead else "delivered"


def _attempts(plenty: Plenty) -> Iterator[dict[str, Any]]:
    for number in range(plenty.events):
        key, _ = fact_of(plenty, number)
        seen = _seen(plenty, number)
        is_sent = _state(plenty, number) == "delivered"
        for destination in plenty.destinations:
            yield {
                "message_id": message_id(destination, [key]),
                "destination": destination,
                "n": 1,
                "members": 1,
                "started_at": seen + 4000,
                "ended_at": seen + 5000,
                "outcome": "sent" if is_sent else "failed",
                "status": 200 if is_sent else 503,
                "reason": None if is_sent else "503",
            }
