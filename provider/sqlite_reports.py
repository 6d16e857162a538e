"""What the books on SQLite say when they are read: plain queries, nothing is written."""

from __future__ import annotations

import json
from typing import Any

from sqlite_utils import Database

from provider.books import AgentRow, Head, KeyState, RecordRow, SummaryRow


def select(db: Database, sql: str, *args: Any) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    return list(db.query(sql, args))


def first(db: Database, sql: str, *args: Any) -> dict[str, Any] | None:
    """Return the first row of a query, or None."""
    rows = select(db, sql, *args)
    return rows[0] if rows else None


def head(db: Database, agent: str) -> Head | None:
    """See `Books.head`."""
    row = first(
        db,
        "SELECT r.chain, r.sequence, r.sha256 FROM agents a"
        " JOIN records r ON r.agent = a.id AND r.chain = a.chain"
        " WHERE a.id = ? ORDER BY r.sequence DESC LIMIT 1",
        agent,
    )
    return Head(**row) if row else None


def agents(db: Database) -> list[AgentRow]:
    """See `Books.agents`."""
    return [
        AgentRow(
            agent=row["id"],
            tenants=tuple(json.loads(row["tenants"])),
            keys=tuple(
                (key["thumbprint"], KeyState(key["state"]))
                for key in select(
                    db, "SELECT thumbprint, state FROM keys WHERE agent = ? ORDER BY number DESC", row["id"]
                )
            ),
            head=head(db, row["id"]),
            missing=missing(db, row["id"]),
            counted=row["counted"],
            refused=row["refused"],
            taken_at=row["taken_at"],
        )
        for row in select(
            db,
            "SELECT a.id, a.tenants, count(*) FILTER (WHERE r.status = 'counted') AS counted,"
            " count(*) FILTER (WHERE r.status = 'refused') AS refused, max(r.taken_at) AS taken_at"
            " FROM agents a LEFT JOIN records r ON r.agent = a.id GROUP BY a.id ORDER BY a.id",
        )
    ]


def missing(db: Database, agent: str) -> tuple[tuple[str, int, int], ...]:
    """Return the numbers that never came, as inclusive ranges."""
    rows = select(
        db,
        "SELECT chain, before + 1 AS first, sequence - 1 AS last FROM (SELECT chain, sequence,"
        " lag(sequence, 1, 0) OVER (PARTITION BY chain ORDER BY sequence) AS before FROM records"
        " WHERE agent = ?) WHERE sequence > before + 1 ORDER BY chain, first",
        agent,
    )
    return tuple((row["chain"], row["first"], row["last"]) for row in rows)


def summaries(db: Database, agent: str | None, tenant: str | None, every: bool = False) -> list[SummaryRow]:
    """See `Books.summaries`."""
    rows = select(
        db,
        "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY agent, tenant, period"
        " ORDER BY kind = 'interim', revision DESC) AS place FROM summaries)"
        " WHERE (place = 1 OR (? AND kind != 'interim'))"
        " AND agent = coalesce(?, agent) AND tenant = coalesce(?, tenant)"
        " ORDER BY agent, tenant, period, revision DESC",
        *(every, agent, tenant),
    )
    states = {"interim": "open", "final": "final", "correction": "corrected"}
    for row in rows:
        row["state"] = states[row.pop("kind")]
        del row["place"]
    return [SummaryRow(**row) for row in rows]


def records(db: Database, agent: str) -> list[RecordRow]:
    """See `Books.records`."""
    rows = select(
        db,
        "SELECT r.chain, r.sequence, r.id, r.sha256, r.status, r.reason, r.jws AS token, r.receipt"
        " FROM records r JOIN chains c ON c.agent = r.agent AND c.id = r.chain"
        " WHERE r.agent = ? ORDER BY c.number, r.sequence",
        agent,
    )
    return [RecordRow(**row) for row in rows]
