"""The outbox: mail and webhooks that must leave, as rows.

A row is written in the same transaction as what it tells of, and stays until it was
delivered or parked. Nothing here sends anything. Signed records are not in here:
their own rows are their outbox (agent.store.records).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.store.database import Database
from meter.model import Instant


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row that is due.

    Attributes:
        row: Its number.
        id: Unchanged over all attempts.
        lane: `mail` or `webhook`.
        target: An address, or a webhook's id.
        body: What to carry.
        attempts: How often it was tried already.
        made_at: When it was written.
    """

    row: int
    id: str
    lane: str
    target: str = field(repr=False)
    body: bytes = field(repr=False)
    attempts: int
    made_at: Instant


@dataclass(frozen=True, slots=True)
class Parked:
    """A row that will not be tried again unless somebody says so."""

    id: str
    lane: str
    why: str
    hint: str
    settled_at: Instant


def enqueue(db: Database, rows: Iterable[tuple[str, str, str, bytes]], at: Instant) -> None:
    """Write rows of (id, lane, target, body), due at once. A known id is left as it is."""
    db.conn.executemany(
        "INSERT OR IGNORE INTO outbox (id, lane, target, body, made_at, due_at) VALUES (?,?,?,?,?,?)",
        [(id_, lane, target, body, at, at) for id_, lane, target, body in rows],
    )


def due(db: Database, lane: str, now: Instant, most: int) -> list[Waiting]:
    """Return the rows of a lane that are due, the longest due first."""
    rows = db.execute(
        """SELECT row, id, lane, target, body, attempts, made_at FROM outbox
           WHERE state = 'waiting' AND lane = ? AND due_at <= ? ORDER BY due_at, row LIMIT ?""",
        [lane, now, most],
    )
    return [Waiting(*row) for row in rows]


def next_due(db: Database, lane: str, after: Instant) -> Instant | None:
    """Return when the next row of a lane is due that is not due yet; None: none waits."""
    found: Instant | None = db.execute(
        "SELECT min(due_at) FROM outbox WHERE state = 'waiting' AND lane = ? AND due_at > ?", [lane, after]
    ).fetchone()[0]
    return found


def delivered(db: Database, row: int, at: Instant) -> None:
    """Settle a row: the other side has it. Its body is let go, that it left is remembered."""
    db.execute(
        """UPDATE outbox SET state = 'delivered', body = NULL, target = '', attempts = attempts + 1,
           settled_at = ?, why = NULL WHERE row = ?""",
        [at, row],
    )


def again(db: Database, row: int, due_at: Instant, why: str) -> None:
    """Put a row off."""
    db.execute(
        "UPDATE outbox SET attempts = attempts + 1, due_at = ?, why = ? WHERE row = ?", [due_at, why, row]
    )


def park(db: Database, row: int, at: Instant, why: str, hint: str) -> None:
    """Set a row aside: it will never be taken as it is. It is shown, and kept."""
    db.execute(
        """UPDATE outbox SET state = 'parked', attempts = attempts + 1, settled_at = ?, why = ?, hint = ?
           WHERE row = ?""",
        [at, why, hint, row],
    )


def counts(db: Database) -> dict[str, int]:
    """Return how many rows wait and how many are parked."""
    found = dict(db.execute("SELECT state, count(*) FROM outbox GROUP BY state").fetchall())
    return {state: found.get(state, 0) for state in ("waiting", "parked")}


def parked(db: Database) -> list[Parked]:
    """Return the parked rows, the youngest first, at most 100 of each lane."""
    rows = db.execute(
        """SELECT id, lane, why, hint, settled_at FROM (
             SELECT id, lane, coalesce(why, '') AS why, coalesce(hint, '') AS hint, settled_at,
               row_number() OVER (PARTITION BY lane ORDER BY settled_at DESC) AS place
             FROM outbox WHERE state = 'parked')
           WHERE place <= 100 ORDER BY settled_at DESC"""
    )
    return [Parked(*row) for row in rows]


def retry(db: Database, now: Instant) -> int:
    """Let every parked row wait again, from the start of its plan; return how many."""
    return db.execute(
        "UPDATE outbox SET state = 'waiting', attempts = 0, due_at = ? WHERE state = 'parked'", [now]
    ).rowcount
