"""Sealed records: their chain, their numbers, their receipts. A sealed record never changes.

A record without a receipt waits to be shipped: its row is its own outbox row, so both
are written in one transaction because they are one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.store.database import Database
from meter.model import Instant
from meter.signature import sha256_hex


@dataclass(frozen=True, slots=True)
class Chain:
    """A numbered chain of records.

    Attributes:
        number: Which one of this agent's, from 1.
        id: Its id in records.
        continues: Where the former chain ended at the receiver: {chain, sequence, sha256}, or None.
        halted: Why nothing is sealed any more, with the next thing to type; None: all is well.
    """

    number: int
    id: str
    continues: dict[str, Any] | None
    halted: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where the next record of a chain is to stand."""

    sequence: int
    previous_sha256: str | None


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed record.

    Attributes:
        chain, sequence: Its place; the chain's number among this agent's.
        id, kind, tenant, period, period_start, revision: What it states.
        tenant_sequence: Its place among the tenant's records; None: of no tenant.
        sealed_at: When.
        sha256: Over the JWS.
        jws: The record itself; None: let go after its time.
        status, why: `counted` or `refused` with its reason, as the receipt says; None: no receipt yet.
        receipt: The receipt's JWS.
    """

    chain: int
    sequence: int
    id: str
    kind: str
    tenant: str | None
    tenant_sequence: int | None
    period: str | None
    period_start: Instant | None
    revision: int
    sealed_at: Instant
    sha256: str
    jws: str | None = field(repr=False)
    status: str | None = None
    why: str | None = None
    receipt: str | None = field(default=None, repr=False)


def chain(db: Database) -> Chain | None:
    """Return the chain that is sealed in; None: none was begun."""
    row = db.execute("SELECT number, id, continues, halted FROM chains ORDER BY number DESC").fetchone()
    return None if row is None else Chain(row[0], row[1], json.loads(row[2]) if row[2] else None, row[3])


def chains(db: Database) -> list[Chain]:
    """Return every chain of this agent, in order."""
    return [
        Chain(row[0], row[1], json.loads(row[2]) if row[2] else None, row[3])
        for row in db.execute("SELECT number, id, continues, halted FROM chains ORDER BY number")
    ]


def new_chain_id() -> str:
    """Return an id that no other chain has."""
    return f"c-{secrets.token_hex(8)}"


def begin_chain(db: Database, id_: str, continues: dict[str, Any] | None) -> Chain:
    """Begin a new chain; the former one takes no more records."""
    db.execute(
        "INSERT INTO chains (id, continues) VALUES (?, ?)",
        [id_, None if continues is None else json.dumps(continues)],
    )
    begun = chain(db)
    if begun is None:
        msg = "a chain that was just begun is there"
        raise AssertionError(msg)
    return begun


def halt(db: Database, why: str | None) -> None:
    """Seal nothing more in the present chain and say why; None: go on. Without a chain one begins, halted."""
    if why is not None and chain(db) is None:
        begin_chain(db, new_chain_id(), None)
    db.execute("UPDATE chains SET halted = ? WHERE number = (SELECT max(number) FROM chains)", [why])


def head(db: Database, number: int) -> Head:
    """Return where the next record of a chain is to stand."""
    row = db.execute(
        "SELECT sequence, sha256 FROM records WHERE chain = ? ORDER BY sequence DESC LIMIT 1", [number]
    ).fetchone()
    return Head(1, None) if row is None else Head(row[0] + 1, row[1])


def tenant_head(db: Database, number: int, tenant: str) -> Head:
    """Return where a tenant's next record is to stand among its own in a chain."""
    row = db.execute(
        """SELECT tenant_sequence, sha256 FROM records WHERE chain = ? AND tenant = ?
           ORDER BY tenant_sequence DESC LIMIT 1""",
        [number, tenant],
    ).fetchone()
    return Head(1, None) if row is None else Head(row[0] + 1, row[1])


def seal(db: Database, record: Sealed) -> None:
    """Write a sealed record. Its place and its id must be free."""
    db.execute(
        "INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [
            record.chain,
            record.sequence,
            record.id,
            record.kind,
            record.tenant,
            record.tenant_sequence,
            record.period,
            record.period_start,
            record.revision,
            record.sealed_at,
            record.sha256,
            record.jws,
            record.status,
            record.why,
            record.receipt,
        ],
    )


def waiting(db: Database, number: int, sequence: int, most: int) -> list[Sealed]:
    """Return a chain's records from a sequence on, in order."""
    rows = db.execute(
        "SELECT * FROM records WHERE chain = ? AND sequence >= ? ORDER BY sequence LIMIT ?",
        [number, sequence, most],
    )
    return [Sealed(*row) for row in rows]


def first_without_receipt(db: Database, number: int) -> int:
    """Return the sequence of a chain's first record without a receipt; that of the next one if all have theirs."""
    row = db.execute(
        "SELECT min(sequence) FROM records INDEXED BY records_waiting WHERE chain = ? AND receipt IS NULL",
        [number],
    ).fetchone()
    return int(row[0]) if row[0] is not None else head(db, number).sequence


def receipted(db: Database, number: int, sequence: int, receipt: str, status: str, why: str | None) -> None:
    """Keep a record's receipt."""
    db.execute(
        "UPDATE records SET receipt = ?, status = ?, why = ? WHERE chain = ? AND sequence = ?",
        [receipt, status, why, number, sequence],
    )


def newest(db: Database, tenant: str, kinds: tuple[str, ...], period_start: Instant) -> Sealed | None:
    """Return the newest revision of a kind that a tenant's period has; None: none."""
    marks = ",".join("?" * len(kinds))
    row = db.execute(
        f"""SELECT * FROM records WHERE tenant = ? AND kind IN ({marks}) AND period_start = ?
            ORDER BY chain DESC, revision DESC LIMIT 1""",  # noqa: S608 - marks only
        [tenant, *kinds, period_start],
    ).fetchone()
    return None if row is None else Sealed(*row)


def last_of(db: Database, tenant: str, kind: str) -> Sealed | None:
    """Return a tenant's record of a kind with the youngest period that stands (agreements.unclosed); None: none."""
    row = db.execute(
        """SELECT * FROM records WHERE tenant = ? AND kind = ?
           AND (chain = (SELECT max(number) FROM chains) OR status = 'counted')
           ORDER BY period_start DESC, chain DESC, revision DESC LIMIT 1""",
        [tenant, kind],
    ).fetchone()
    return None if row is None else Sealed(*row)


def every(db: Database, *, since: int = 1, number: int | None = None) -> Iterator[Sealed]:
    """Yield the records of a chain (by its number; default: the present one) from a sequence on, in order."""
    if number is None:
        present = chain(db)
        if present is None:
            return
        number = present.number
    for row in db.execute(
        "SELECT * FROM records WHERE chain = ? AND sequence >= ? ORDER BY sequence", [number, since]
    ):
        yield Sealed(*row)


def torn(db: Database) -> str | None:
    """Return the id of a record that is to be sent or followed and is not what its hash says; None: all are."""
    rows = db.execute(
        """SELECT id, sha256, jws FROM records WHERE receipt IS NULL AND jws IS NOT NULL
           UNION ALL SELECT * FROM (SELECT id, sha256, jws FROM records ORDER BY chain DESC, sequence DESC LIMIT 1)
           WHERE jws IS NOT NULL"""
    )
    return next((id_ for id_, sha256, jws in rows if sha256_hex(jws) != sha256), None)


def unmended(db: Database) -> list[Sealed]:
    """Return the present chain's refused summaries that no later one makes up for, in order.

    A later correction makes up for a final; for an interim the next one that was judged, or the final.
    """
    rows = db.execute(
        """SELECT * FROM records r WHERE chain = (SELECT max(number) FROM chains) AND status = 'refused'
           AND kind IN ('interim', 'final', 'correction') AND NOT EXISTS (
             SELECT 1 FROM records later WHERE later.chain = r.chain AND later.tenant = r.tenant
             AND later.sequence > r.sequence AND CASE r.kind
               WHEN 'interim' THEN later.kind IN ('interim', 'final') AND later.status IS NOT NULL
               ELSE later.kind = 'correction' AND later.period_start = r.period_start END)
           ORDER BY sequence"""
    )
    return [Sealed(*row) for row in rows]


def hashes(db: Database, number: int) -> dict[int, str]:
    """Return the SHA-256 of every record of a chain, by its sequence; they are kept for good."""
    return dict(db.execute("SELECT sequence, sha256 FROM records WHERE chain = ?", [number]).fetchall())


def counts(db: Database) -> dict[str, int]:
    """Return how many records of the present chain are sealed, receipted and refused."""
    present = chain(db)
    number = present.number if present else 0
    # Each by an index, since this is asked all the time; a chain has no holes.
    first, last, waiting, refused = db.execute(
        """SELECT (SELECT min(sequence) FROM records WHERE chain = ?1), (SELECT max(sequence) FROM records WHERE chain = ?1),
           (SELECT count(*) FROM records INDEXED BY records_waiting WHERE chain = ?1 AND receipt IS NULL),
           (SELECT count(*) FROM records INDEXED BY records_refused WHERE chain = ?1 AND status = 'refused')""",
        [number],
    ).fetchone()
    sealed = 0 if first is None else last - first + 1
    return {"sealed": sealed, "receipted": sealed - waiting, "refused": refused}
