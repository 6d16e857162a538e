"""The tables of the books, as queries name them. What makes them are the migrations.

Instants are milliseconds of UTC, days are local ones as `2026-11-01`, flags are 0 and 1.

- `agents` to `records` are what was taken: they are written once, and the rest follows.
- `summaries`, `minute_series` and the ends of `chains` are derived from counted records
  (`provider.storage.deriving`) and can be made again from them.
- `partners` to `findings` are what the provider himself wrote and did.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
)

#: SQLite's strict tables know one integer; PostgreSQL's would end at 2,147,483,647.
NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

metadata: Final = MetaData()

#: A row as a query gives it.
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def _text(name: str, *, null: bool = False, key: bool = False) -> Column[str]:
    return Column(name, Text, nullable=null, primary_key=key)


def _number(name: str, *, null: bool = False, key: bool = False) -> Column[int]:
    return Column(name, NUMBER, nullable=null, primary_key=key, autoincrement=False)


marks: Final = Table(
    "marks",  # what the books remember of themselves: rows that are locked, versions of what is derived
    metadata,
    _text("name", key=True),
    _number("value"),
    sqlite_strict=True,
)

agents: Final = Table(
    "agents",
    metadata,
    _text("id", key=True),
    _text("tenants"),  # JSON array of the ids that it may report
    _number("rejoining"),  # 1: enrolled by a fresh token, nothing taken since
    _text("chain", null=True),  # the chain it is on
    sqlite_strict=True,
)

keys: Final = Table(
    "keys",
    metadata,
    _text("thumbprint", key=True),
    Column("agent", Text, ForeignKey(agents.c.id), nullable=False),
    _text("jwk"),
    _text("state"),
    _number("number"),  # grows with every key of the agent made known or known afresh
    _number("ends_at", null=True),  # withdrawn from that instant on, whatever the state says
    Index("keys_agent", "agent"),
    sqlite_strict=True,
)

invitations: Final = Table(
    "invitations",
    metadata,
    _text("token_sha256", key=True),
    _text("agent"),
    _text("tenants"),
    _number("expires_at"),
    _text("used_by", null=True),
    _number("used_at", null=True),
    _text("answer", null=True),
    sqlite_strict=True,
)

chains: Final = Table(
    "chains",
    metadata,
    Column("agent", Text, ForeignKey(agents.c.id), primary_key=True),
    _text("id", key=True),
    _number("number"),  # 1 for the agent's first chain
    _number("starts_after"),  # 0, or the number before the first that came
    _text("continues", null=True),  # JSON [chain, sequence, sha256] as its first record names it
    _number("last"),  # derived: the highest number taken, and its hash
    _text("last_sha256", null=True),
    _number("held"),  # derived: how many of its numbers have come
    sqlite_strict=True,
)

records: Final = Table(
    "records",
    metadata,
    _text("agent", key=True),
    _text("chain", key=True),
    _number("sequence", key=True),
    _text("id"),
    _text("sha256"),
    _text("previous_sha256", null=True),
    _text("status"),
    _text("reason", null=True),
    _text("jws"),  # byte for byte
    _text("receipt"),
    _number("taken_at"),
    ForeignKeyConstraint(["agent", "chain"], [chains.c.agent, chains.c.id]),
    UniqueConstraint("agent", "chain", "id"),
    UniqueConstraint("agent", "sha256"),
    sqlite_strict=True,
)

#: Of each level: the peak, when, how long, how it is known, whether it may have been higher.
_PEAKS: Final = [
    column
    for level in ("channels", "calls", "answered")
    for column in (
        _number(f"peak_{level}", null=True),
        _number(f"peak_{level}_at", null=True),
        _number(f"peak_{level}_ms", null=True),
        _text(f"peak_{level}_source", null=True),
        _number(f"peak_{level}_lower_bound"),
    )
]
_TRAFFIC: Final = [
    _number(f"{direction}_{figure}", null=True)
    for direction in ("in", "out", "unknown")
    for figure in ("legs", "answered", "answered_ms", "billable_s")
]

summaries: Final = Table(
    "summaries",  # of every counted final and correction, and of the newest interim of each period
    metadata,
    _text("agent", key=True),
    _text("tenant", key=True),
    _text("period", key=True),
    _text("kind", key=True),
    _number("revision", key=True),
    _text("id"),
    _text("sha256"),
    _number("chain"),  # the number of the chain among the agent's
    _number("sequence"),
    _text("name"),
    _number("start"),
    _number("end"),
    _text("timezone"),
    _number("as_of"),
    _number("next_by", null=True),
    _text("version"),
    _text("basis"),
    _number("capacity", null=True),
    _number("package", null=True),
    _number("overruns", null=True),
    _number("over_ms", null=True),
    *_PEAKS,
    _number("users", null=True),
    _number("users_max", null=True),
    _number("failed_reads"),
    *_TRAFFIC,
    _number("expected_ms"),
    _number("observed_ms"),
    _number("gaps"),
    _number("synchronised", null=True),
    _number("unclassified", null=True),
    _number("unassigned", null=True),
    _number("uninstalled_ms"),  # of what was not observed, the time before the installation
    _number("taken_at"),
    Index("summaries_period", "period"),
    Index("summaries_newest", "agent", "tenant", "as_of"),
    sqlite_strict=True,
)

minute_series: Final = Table(
    "minute_series",  # of the newest counted series of each day; the runs as the record holds them, JSON
    metadata,
    _text("agent", key=True),
    _text("tenant", key=True),
    _text("day", key=True),
    _number("revision"),
    _text("sha256"),
    _number("chain"),
    _number("sequence"),
    _number("start"),
    _number("end"),
    _text("timezone"),
    _text("channels"),
    _text("calls"),
    _text("answered"),
    Index("minute_series_start", "start"),
    sqlite_strict=True,
)

partners: Final = Table(
    "partners",  # a partner as he is from a day on
    metadata,
    _text("id", key=True),
    _text("since", key=True),
    _text("name"),
    _text("parent", null=True),
    _text("language"),
    _text("email"),  # JSON array
    _text("brand"),
    _text("colour"),
    _text("sender", null=True),
    _text("reply_to", null=True),
    _text("footer"),
    _text("logo_type", null=True),
    Column("logo", LargeBinary, nullable=True),
    sqlite_strict=True,
)

placements: Final = Table(
    "placements",  # under whom a tenant hangs from a day on, and what its contract says
    metadata,
    _text("agent", key=True),
    _text("tenant", key=True),
    _text("since", key=True),
    _text("partner", null=True),
    _text("customer", null=True),
    _number("capacity", null=True),
    _text("packages"),  # JSON array
    _text("basis", null=True),
    Column("ended", NUMBER, nullable=False, server_default="0"),  # 1: no longer there from that day on
    sqlite_strict=True,
)

closings: Final = Table(
    "closings",  # the revisions of a period's report; only approval changes a row
    metadata,
    _text("period", key=True),
    _number("revision", key=True),
    _text("state"),
    _number("made_at"),
    _number("approved_at", null=True),
    _text("approved_by", null=True),
    Column("document", LargeBinary, nullable=False),
    _text("sha256"),
    sqlite_strict=True,
)

mails: Final = Table(
    "mails",  # what has to leave
    metadata,
    _text("id", key=True),
    _text("kind"),
    _text("target"),
    Column("body", LargeBinary, nullable=True),  # null: delivered
    _text("state"),
    _number("made_at"),
    _number("due_at"),
    _number("attempts"),
    _text("said", null=True),
    _number("settled_at", null=True),
    Index("mails_due", "state", "due_at"),
    sqlite_strict=True,
)

contradictions: Final = Table(
    "contradictions",  # well signed records that contradict the books, at most one row of each error an agent
    metadata,
    _text("agent", key=True),
    _text("error", key=True),
    _text("kid"),  # of the last one
    _number("first_at"),
    _number("last_at"),
    _number("times"),
    sqlite_strict=True,
)

findings: Final = Table(
    "findings",  # what is remembered of the troubles of the fleet
    metadata,
    _text("kind", key=True),
    _text("agent", key=True),
    _text("tenant", key=True),  # empty: of the agent
    _text("name"),
    _number("since"),
    _number("seen_at"),
    _number("told_at", null=True),
    _number("gone_at", null=True),
    sqlite_strict=True,
)
