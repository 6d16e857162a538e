"""The first tables: what was taken. Books of the builds before Alembic are as this leaves them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "agents",
        sa.Column("id", sa.Text, primary_key=True, nullable=False),
        sa.Column("tenants", sa.Text, nullable=False),
        sa.Column("rejoining", _number, nullable=False),
        sa.Column("chain", sa.Text),
        sqlite_strict=True,
    )
    op.create_table(
        "keys",
        sa.Column("thumbprint", sa.Text, primary_key=True, nullable=False),
        sa.Column("agent", sa.Text, sa.ForeignKey("agents.id"), nullable=False),
        sa.Column("jwk", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("number", _number, nullable=False),
        sa.CheckConstraint("state IN ('active', 'superseded', 'withdrawn')"),
        sqlite_strict=True,
    )
    op.create_index("keys_agent", "keys", ["agent"])
    op.create_table(
        "invitations",
        sa.Column("token_sha256", sa.Text, primary_key=True, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("tenants", sa.Text, nullable=False),
        sa.Column("expires_at", _number, nullable=False),
        sa.Column("used_by", sa.Text),
        sa.Column("used_at", _number),
        sa.Column("answer", sa.Text),
        sqlite_strict=True,
    )
    op.create_table(
        "chains",
        sa.Column("agent", sa.Text, sa.ForeignKey("agents.id"), primary_key=True, nullable=False),
        sa.Column("id", sa.Text, primary_key=True, nullable=False),
        sa.Column("number", _number, nullable=False),
        sa.Column("starts_after", _number, nullable=False),
        sa.Column("continues", sa.Text),
        sqlite_strict=True,
    )
    op.create_table(
        "records",
        sa.Column("agent", sa.Text, primary_key=True, nullable=False),
        sa.Column("chain", sa.Text, primary_key=True, nullable=False),
        sa.Column("sequence", _number, primary_key=True, nullable=False, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("previous_sha256", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("jws", sa.Text, nullable=False),
        sa.Column("receipt", sa.Text, nullable=False),
        sa.Column("taken_at", _number, nullable=False),
        sa.CheckConstraint("status IN ('counted', 'refused')"),
        sa.UniqueConstraint("agent", "chain", "id"),
        sa.UniqueConstraint("agent", "sha256"),
        sa.ForeignKeyConstraint(["agent", "chain"], ["chains.agent", "chains.id"]),
        sqlite_strict=True,
    )
    op.create_table(
        "summaries",
        sa.Column("agent", sa.Text, primary_key=True, nullable=False),
        sa.Column("tenant", sa.Text, primary_key=True, nullable=False),
        sa.Column("period", sa.Text, primary_key=True, nullable=False),
        sa.Column("kind", sa.Text, primary_key=True, nullable=False),
        sa.Column("revision", _number, primary_key=True, nullable=False, autoincrement=False),
        sqlite_strict=True,
    )
