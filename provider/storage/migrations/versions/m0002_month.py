"""What a month is closed from: derived figures whole, minute-series, partners, contracts, closings, mails."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True, nullable=False)


def _texts(*names: str, null: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=null) for name in names]


def _numbers(*names: str, null: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, _number, nullable=null) for name in names]


def _number_key(name: str) -> sa.Column[int]:
    return sa.Column(name, _number, primary_key=True, nullable=False, autoincrement=False)


def _peaks() -> list[sa.Column[int] | sa.Column[str]]:
    columns: list[sa.Column[int] | sa.Column[str]] = []
    for level in ("channels", "calls", "answered"):
        columns += _numbers(f"peak_{level}", f"peak_{level}_at", f"peak_{level}_ms", null=True)
        columns += _texts(f"peak_{level}_source", null=True)
        columns += _numbers(f"peak_{level}_lower_bound")
    return columns


def _traffic() -> list[sa.Column[int]]:
    figures = ("legs", "answered", "answered_ms", "billable_s")
    return _numbers(*(f"{way}_{figure}" for way in ("in", "out", "unknown") for figure in figures), null=True)


def upgrade() -> None:
    """Make the tables; what is derived is made again from the records at the next opening."""
    op.create_table("marks", _key("name"), *_numbers("value"), sqlite_strict=True)
    op.execute("INSERT INTO marks (name, value) VALUES ('derived', 0), ('partners', 0), ('post', 0)")
    op.add_column("chains", sa.Column("last", _number, nullable=False, server_default="0"))
    op.add_column("chains", sa.Column("last_sha256", sa.Text))
    op.drop_table("summaries")
    _derived()
    _provider()


def _derived() -> None:
    op.create_table(
        "summaries",
        *(_key(name) for name in ("agent", "tenant", "period", "kind")),
        _number_key("revision"),
        *_texts("id", "sha256"),
        *_numbers("chain", "sequence"),
        *_texts("name"),
        *_numbers("start", "end"),
        *_texts("timezone"),
        *_numbers("as_of"),
        *_numbers("next_by", null=True),
        *_texts("version", "basis"),
        *_numbers("capacity", "package", "overruns", "over_ms", null=True),
        *_peaks(),
        *_numbers("users", "users_max", null=True),
        *_numbers("failed_reads"),
        *_traffic(),
        *_numbers("expected_ms", "observed_ms", "gaps"),
        *_numbers("synchronised", "unclassified", "unassigned", null=True),
        *_numbers("taken_at"),
        sqlite_strict=True,
    )
    op.create_index("summaries_period", "summaries", ["period"])
    op.create_table(
        "minute_series",
        *(_key(name) for name in ("agent", "tenant", "day")),
        *_numbers("revision"),
        *_texts("sha256"),
        *_numbers("chain", "sequence", "start", "end"),
        *_texts("timezone", "channels", "calls", "answered"),
        sqlite_strict=True,
    )
    op.create_index("minute_series_start", "minute_series", ["start"])


def _provider() -> None:
    op.create_table(
        "partners",
        *(_key(name) for name in ("id", "since")),
        *_texts("name"),
        *_texts("parent", null=True),
        *_texts("language", "email", "brand", "colour"),
        *_texts("sender", "reply_to", null=True),
        *_texts("footer"),
        *_texts("logo_type", null=True),
        sa.Column("logo", sa.LargeBinary),
        sqlite_strict=True,
    )
    op.create_table(
        "placements",
        *(_key(name) for name in ("agent", "tenant", "since")),
        *_texts("partner", "customer", null=True),
        *_numbers("capacity", null=True),
        *_texts("packages"),
        *_texts("basis", null=True),
        sqlite_strict=True,
    )
    op.create_table(
        "closings",
        _key("period"),
        _number_key("revision"),
        *_texts("state"),
        *_numbers("made_at"),
        *_numbers("approved_at", null=True),
        *_texts("approved_by", null=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
        *_texts("sha256"),
        sa.CheckConstraint("state IN ('draft', 'approved')"),
        sqlite_strict=True,
    )
    op.create_table(
        "mails",
        _key("id"),
        *_texts("kind", "target"),
        sa.Column("body", sa.LargeBinary),
        *_texts("state"),
        *_numbers("made_at", "due_at", "attempts"),
        *_texts("said", null=True),
        *_numbers("settled_at", null=True),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'parked')"),
        sqlite_strict=True,
    )
    op.create_index("mails_due", "mails", ["state", "due_at"])
