"""What the fleet is looked at by: planned ends of keys, contradictions, what was found and told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True, nullable=False)


def upgrade() -> None:
    """Make the tables; what is derived is made again from the records at the next opening."""
    op.add_column("keys", sa.Column("ends_at", _number))
    op.add_column("chains", sa.Column("held", _number, nullable=False, server_default="0"))
    op.add_column("summaries", sa.Column("uninstalled_ms", _number, nullable=False, server_default="0"))
    op.create_index("summaries_newest", "summaries", ["agent", "tenant", "as_of"])
    op.create_table(
        "contradictions",
        _key("agent"),
        _key("error"),
        sa.Column("kid", sa.Text, nullable=False),
        *(sa.Column(name, _number, nullable=False) for name in ("first_at", "last_at", "times")),
        sa.CheckConstraint("error IN ('conflict', 'fork')"),
        sqlite_strict=True,
    )
    op.create_table(
        "findings",
        *(_key(name) for name in ("kind", "agent", "tenant")),
        sa.Column("name", sa.Text, nullable=False),
        *(sa.Column(name, _number, nullable=False) for name in ("since", "seen_at")),
        *(sa.Column(name, _number) for name in ("told_at", "gone_at")),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO marks (name, value) VALUES ('fleet', 0)")
