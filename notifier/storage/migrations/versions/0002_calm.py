"""What calm delivery remembers, silences, and the operator's notices."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_OFF = sa.text("0")


def upgrade() -> None:
    """Add what calm delivery remembers."""
    op.add_column("watches", sa.Column("suspected_at", sa.BigInteger()))
    op.add_column("deliveries", sa.Column("held", sa.Text()))
    op.add_column(
        "deliveries",
        sa.Column("gathered", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "deliveries",
        sa.Column("tries", sa.Integer(), nullable=False, server_default=_OFF),
    )
    op.execute("UPDATE deliveries SET tries = attempts")
    op.create_index(
        "deliveries_read",
        "deliveries",
        ["read_id"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "deliveries_superseded",
        "deliveries",
        ["superseded_by", "destination"],
        sqlite_where=sa.text("superseded_by IS NOT NULL"),
        postgresql_where=sa.text("superseded_by IS NOT NULL"),
    )
    op.create_index(
        "deliveries_dead",
        "deliveries",
        ["destination", "settled_at"],
        sqlite_where=sa.text("state = 'dead'"),
        postgresql_where=sa.text("state = 'dead'"),
    )
    op.create_index("quarantine_seen", "quarantine", ["last_seen_at", "milestone_id"])
    op.add_column(
        "destinations",
        sa.Column("failures", sa.Integer(), nullable=False, server_default=_OFF),
    )
    op.add_column("destinations", sa.Column("open_since", sa.BigInteger()))
    op.create_table(
        "served",
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "mark"),
    )
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("match", sa.JSON(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("expired_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
    _create_operator()


def _create_operator() -> None:
    op.create_table(
        "conditions",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "notices",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=_OFF),
        sa.Column("born_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger()),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index(
        "notices_due",
        "notices",
        ["due_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
