"""
The tables. SQLAlchemy Core, so that the same statements serve PostgreSQL.

Instants are whole microseconds since 1970 in UTC, spans are seconds, Kalshi's rows
are kept as the bytes that came, compressed.
"""

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


def ticks(when: datetime) -> int:
    """Microseconds since 1970."""
    return (when - _EPOCH) // _TICK


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as whole microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> int | None:
        """From datetime to number."""
        del dialect
        return None if value is None else ticks(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From number to datetime."""
        del dialect
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Packed(TypeDecorator[bytes]):
    """Bytes, kept compressed."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """From bytes to fewer bytes."""
        del dialect
        return None if value is None else zlib.compress(value, 6)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        """From fewer bytes back to all."""
        del dialect
        return None if value is None else zlib.decompress(value)


metadata = MetaData()
#: SQLite numbers rows by itself only in a column declared as INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

watches = Table(
    "watches",
    metadata,
    # The bit of this watch in `milestones.watches`.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("baselined_at", Instant),
    Column("watermark", Instant),
    Column("polled_at", Instant),
    Column("swept_at", Instant),
    Column("full_at", Instant),
    # The filter cannot be polled: sweeps alone must do.
    Column("sweep_only", Boolean, nullable=False, server_default=text("0")),
    # Since when its long reads have shown far too little to be believed.
    Column("suspected_at", Instant),
)

reads = Table(
    "reads",
    metadata,
    # Its first request, in microseconds since 1970.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("watch", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    Column("touched", Integer, nullable=False),
    Column("bad", Integer, nullable=False),
    # Why it was not completed.
    Column("error", Text),
)

milestones = Table(
    "milestones",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    # A bit for each watch that has seen it; none: dormant.
    Column("watches", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("category", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("start_at", Instant, nullable=False),
    Column("end_at", Instant),
    Column("doc", Packed, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("gone_at", Instant),
    # The start and the end that were announced last; missed ones were not.
    Column("fired_start", Instant),
    Column("fired_end", Instant),
    # Older bytes, seen once and not believed yet, and the read that saw them.
    Column("doubt", LargeBinary),
    Column("doubt_read", BigInteger),
    # Complete reads in a row that ought to have shown it and did not.
    Column("absences", Integer, nullable=False, server_default=text("0")),
    # What people look for it by: the parts of its title and tickers.
    Column("search", Text, nullable=False, server_default=text("''")),
    # Answers "which rows of this page are new?" without touching the rows.
    Index("milestones_known", "id", "fingerprint", "watches", "gone_at", "doubt"),
    # Counts and lists the milestones of a window and a sort without touching others.
    Index("milestones_start", "start_at", "watches", "gone_at", "category", "type"),
    # Says that nobody is absent without looking at everybody.
    Index(
        "milestones_absent",
        "id",
        sqlite_where=text("absences > 0"),
        postgresql_where=text("absences > 0"),
    ),
)

timers = Table(
    "timers",
    metadata,
    Column("milestone_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("lead_s", Float, nullable=False),
    Column("fire_at", Instant, nullable=False),
    PrimaryKeyConstraint("milestone_id", "kind", "lead_s"),
    Index("timers_fire", "fire_at"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("milestone_id", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("missed", Boolean, nullable=False),
    Column("changes", JSON, nullable=False),
    Column("lead_s", Float),
    Column("again_from", Instant),
    Column("doc", Packed, nullable=False),
    Index("events_milestone", "milestone_id", "seq"),
    # Counts what happened lately without touching the rows.
    Index("events_seen", "seen_at", "kind"),
    Index("events_kind", "kind", "seq"),
)

#: Spelled so that SQLite sees that each of them alone is within.
_UNSENT = "state = 'expired' OR state = 'superseded' OR state = 'dropped'"

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", _Serial, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("milestone_id", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("born_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # The same with those that cost no try.
    Column("tries", Integer, nullable=False, server_default=text("0")),
    # Leases that ended without a settlement.
    Column("crashes", Integer, nullable=False, server_default=text("0")),
    Column("form", Text, nullable=False, server_default=text("'rich'")),
    Column("message_id", Text),
    # An attempt of this message may have arrived: its members stay together.
    Column("frozen", Boolean, nullable=False, server_default=text("0")),
    Column("token", Text),
    Column("lease_until", Instant),
    Column("sent_at", Instant),
    Column("settled_at", Instant),
    Column("reason", Text),
    Column("superseded_by", Text),
    # Born with so many others that they go as a digest, whatever the route says.
    Column("storm", Boolean, nullable=False, server_default=text("0")),
    # The read of several pages at whose end it becomes due.
    Column("read_id", BigInteger),
    # Why it is kept back until it is due: quiet hours, or a digest that gathers.
    Column("held", Text),
    # Kept back to go as a digest with whatever else was, even if that is little.
    Column("gathered", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("event_id", "destination"),
    Index(
        "deliveries_due",
        "destination",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "deliveries_open",
        "destination",
        "milestone_id",
        sqlite_where=text("state IN ('pending', 'leased')"),
        postgresql_where=text("state IN ('pending', 'leased')"),
    ),
    Index(
        "deliveries_leased",
        "lease_until",
        sqlite_where=text("state = 'leased'"),
        postgresql_where=text("state = 'leased'"),
    ),
    Index("deliveries_message", "message_id"),
    # What a read has held back until its end.
    Index(
        "deliveries_read",
        "read_id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index("deliveries_settled", "settled_at"),
    Index(
        "deliveries_dead",
        "destination",
        "settled_at",
        sqlite_where=text("state = 'dead'"),
        postgresql_where=text("state = 'dead'"),
    ),
    # What a message tells beside its own event.
    Index(
        "deliveries_superseded",
        "superseded_by",
        "destination",
        sqlite_where=text("superseded_by IS NOT NULL"),
        postgresql_where=text("superseded_by IS NOT NULL"),
    ),
    # Lists for people, newest first.
    Index("deliveries_destination", "destination", "seq"),
    Index("deliveries_route", "route", "seq"),
    Index(
        "deliveries_unsent",
        "state",
        "seq",
        sqlite_where=text(_UNSENT),
        postgresql_where=text(_UNSENT),
    ),
    Index(
        "deliveries_sent",
        "destination",
        "sent_at",
        sqlite_where=text("sent_at IS NOT NULL"),
        postgresql_where=text("sent_at IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("seq", _Serial, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("n", Integer, nullable=False),
    Column("members", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    # sent | failed | ambiguous | refused; null while under way or cut off.
    Column("outcome", Text),
    Column("status", Integer),
    Column("reason", Text),
    Index("attempts_destination", "destination", "started_at"),
    Index("attempts_message", "message_id"),
)

destinations = Table(
    "destinations",
    metadata,
    Column("name", Text, primary_key=True),
    # Of the URL: another one ends a suspension. Never the URL itself.
    Column("fingerprint", Text, nullable=False),
    Column("paused_until", Instant),
    Column("suspended_since", Instant),
    Column("probes", Integer, nullable=False, server_default=text("0")),
    Column("gone", Boolean, nullable=False, server_default=text("0")),
    Column("reason", Text),
    # Tries in a row that failed for the time being, and since when its breaker is
    # open because of them.
    Column("failures", Integer, nullable=False, server_default=text("0")),
    Column("open_since", Instant),
)

served = Table(
    "served",
    metadata,
    # Who of several recipients has a message that the others still lack.
    Column("message_id", Text, nullable=False),
    Column("mark", Text, nullable=False),
    PrimaryKeyConstraint("message_id", "mark"),
)

silences = Table(
    "silences",
    metadata,
    Column("id", Text, primary_key=True),
    # Key -> patterns, as a route's `match` has them.
    Column("match", JSON, nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    # A person ended it before its time.
    Column("expired_at", Instant),
)

conditions = Table(
    "conditions",
    metadata,
    # What is wrong with the service itself, each told once until it is over.
    Column("key", Text, primary_key=True),
    Column("since", Instant, nullable=False),
    Column("words", Text, nullable=False),
)

notices = Table(
    "notices",
    metadata,
    Column("seq", _Serial, primary_key=True),
    # The condition that it is about.
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("destination", Text, nullable=False),
    # Since when its condition lasts, or lasted.
    Column("since", Instant, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    # pending | delivered | superseded | dead
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("born_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("reason", Text),
    Index(
        "notices_due",
        "due_at",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("fingerprint", LargeBinary, primary_key=True),
    Column("milestone_id", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    # Counts what was seen lately without touching the rows.
    Index("quarantine_seen", "last_seen_at", "milestone_id"),
)

tokens = Table(
    "tokens",
    metadata,
    # SHA-256 of what its holder shows; the token itself is kept nowhere.
    Column("hash", Text, primary_key=True),
    # session | api | feed
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    # api: read | write; feed: a route's name or *; session: nothing.
    Column("scope", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
)

audit = Table(
    "audit",
    metadata,
    # What people had done, and who came in.
    Column("seq", _Serial, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSON, nullable=False),
)

live = Table(
    "live",
    metadata,
    # What is known of milestones that are under way, beside Kalshi's list.
    Column("milestone_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    # Kalshi's own for it.
    Column("word", Text, nullable=False, server_default=text("''")),
    Column("since", Instant, nullable=False),
    Column("checked_at", Instant, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", JSON, nullable=False),
)

#: Alembic's own, apart from ours: which revision the schema is at.
version = Table("alembic_version", MetaData(), Column("version_num", Text, primary_key=True))
