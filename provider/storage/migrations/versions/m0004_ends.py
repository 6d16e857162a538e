"""A tenant can leave: from a day on its place has ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what says so; no place has ended yet."""
    op.add_column("placements", sa.Column("ended", _number, nullable=False, server_default="0"))
