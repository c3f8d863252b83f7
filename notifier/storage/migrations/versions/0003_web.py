"""What the web remembers: who may come in, what they did, and what is live."""

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what the web remembers."""
    op.create_table(
        "tokens",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("used_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "live",
        sa.Column("milestone_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("milestone_id"),
    )
    _index_for_people()
    _find_by_words()


def _index_for_people() -> None:
    """Lists and counts that people look at touch nothing else."""
    op.drop_index("milestones_start", "milestones")
    started = ["start_at", "watches", "gone_at", "category", "type"]
    op.create_index("milestones_start", "milestones", started)
    op.drop_index("events_seen", "events")
    op.create_index("events_seen", "events", ["seen_at", "kind"])
    op.create_index("events_kind", "events", ["kind", "seq"])
    op.create_index("deliveries_destination", "deliveries", ["destination", "seq"])
    op.create_index("deliveries_route", "deliveries", ["route", "seq"])
    unsent = sa.text("state = 'expired' OR state = 'superseded' OR state = 'dropped'")
    op.create_index(
        "deliveries_unsent",
        "deliveries",
        ["state", "seq"],
        sqlite_where=unsent,
        postgresql_where=unsent,
    )
    sent = sa.text("sent_at IS NOT NULL")
    op.create_index(
        "deliveries_sent",
        "deliveries",
        ["destination", "sent_at"],
        sqlite_where=sent,
        postgresql_where=sent,
    )


def _find_by_words() -> None:
    """Milestones that are known already can be found by their words as well."""
    op.add_column(
        "milestones",
        sa.Column("search", sa.Text(), nullable=False, server_default=sa.text("''")),
    )
    conn = op.get_bind()
    put = sa.text("UPDATE milestones SET search = :words WHERE id = :id")
    last = ""
    while rows := _some(conn, last):
        conn.execute(put, [{"id": row.id, "words": _words(row)} for row in rows])
        last = rows[-1].id


def _some(conn: sa.Connection, last: str) -> list[sa.Row[Any]]:
    asked = "SELECT id, title, doc FROM milestones WHERE id > :last ORDER BY id"
    rows = conn.execute(sa.text(f"{asked} LIMIT 1000"), {"last": last})
    return list(rows)


def _words(row: sa.Row[Any]) -> str:
    """The parts of title and tickers, each once, in small letters."""
    doc = json.loads(zlib.decompress(row.doc))
    text = " ".join((row.title, *_tickers(doc))).casefold()
    return " ".join(dict.fromkeys(filter(None, re.split(r"[\s-]+", text))))


def _tickers(doc: dict[str, Any]) -> Iterator[str]:
    for key in ("primary_event_tickers", "related_event_tickers"):
        for ticker in doc.get(key) or ():
            if isinstance(ticker, str):
                yield ticker
