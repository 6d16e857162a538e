"""What is let go after its time, a piece in a transaction: whoever writes meanwhile waits for one piece.

Rules of this file:
- a piece reads what it lets go of and little more: years are not looked through for a day;
- pages that become free are written again by what comes, so the file stops growing after
  its time; it is never made smaller, which would hold everybody up;
- a record's text goes, its hash and its receipt stay; what has no receipt stays whole,
  as long as there is a provider who owes one.
"""

from __future__ import annotations

from typing import Any, Final

from agent.store.database import Database
from meter.model import Instant

#: How many rows one piece lets go of. `python -m bench.storage` says how long that takes.
PIECE: Final = 200

#: Tables whose rows come in the order of time: key, table, order, an instant that only grows, when it was over.
_IN_ORDER: Final = (
    ("row", "legs", "row", "started", "ended"),
    ("row", "told_legs", "row DESC", "told_at", "told_at"),
    ("rowid", "readings", "rowid", "at", "at"),
)
#: Those that are small, or have an index by time.
_FACTS: Final = (
    "DELETE FROM merges WHERE rowid IN (SELECT rowid FROM merges WHERE at < ? LIMIT ?)",
    "DELETE FROM gaps WHERE row IN (SELECT row FROM gaps WHERE ended < ? LIMIT ?)",
    """DELETE FROM reconciled WHERE (pbx, bucket) IN (
        SELECT r.pbx, r.bucket FROM pbxs CROSS JOIN reconciled r ON r.pbx = pbxs.name WHERE r.bucket < ? LIMIT ?)""",
    "DELETE FROM told WHERE (pbx, started) IN (SELECT pbx, started FROM told WHERE ended < ? LIMIT ?)",
    "DELETE FROM clock_steps WHERE rowid IN (SELECT rowid FROM clock_steps WHERE at < ? LIMIT ?)",
    """DELETE FROM corrected_legs WHERE (chain, sequence, row) IN (
        SELECT chain, sequence, row FROM corrected_legs WHERE ended < ? LIMIT ?)""",
    """DELETE FROM corrected_gaps WHERE (chain, sequence, pbx, started) IN (
        SELECT chain, sequence, pbx, started FROM corrected_gaps WHERE ended < ? LIMIT ?)""",
)
_DELIVERED: Final = """DELETE FROM outbox WHERE row IN (
    SELECT row FROM outbox WHERE state = 'delivered' AND settled_at < ? ORDER BY row LIMIT ?)"""
_TEXTS: Final = """UPDATE records SET jws = NULL WHERE (chain, sequence) IN (
    SELECT chain, sequence FROM records INDEXED BY {index}
    WHERE kind = ? AND sealed_at < ? AND {which} LIMIT ?)"""
#: Each kind of record that has a text, found by one look into the index each.
_KINDS: Final = """WITH RECURSIVE kinds (kind) AS (
    SELECT min(kind) FROM records WHERE {which}
    UNION ALL SELECT (SELECT min(kind) FROM records r WHERE r.kind > kinds.kind AND {which})
    FROM kinds WHERE kind IS NOT NULL
) SELECT kind FROM kinds WHERE kind IS NOT NULL"""
#: Records that have a text, by what is said of their receipt: an index, and what it holds.
_RECEIVED: Final = {"index": "records_kept", "which": "jws IS NOT NULL AND receipt IS NOT NULL"}
_UNRECEIVED: Final = {"index": "records_unreceived", "which": "jws IS NOT NULL AND receipt IS NULL"}


def let_go(
    db: Database, *, facts_before: Instant, interims_before: Instant, owed: bool = True, most: int = PIECE
) -> bool:
    """Let go of one piece of what is over its time, and return whether there is more.

    Args:
        db: The database, in a write transaction.
        facts_before: Facts that ended before then go, and the texts of all records.
        interims_before: The texts of interims go, and rows of the outbox that were delivered.
        owed: A provider owes receipts: the text of a record without one stays until he gave it.
        most: How many rows the piece has.
    """
    left = most
    for key, table, order, grows, over in _IN_ORDER:
        rows = _oldest(db, f"SELECT {key}, {grows}, {over} FROM {table} ORDER BY {order}", facts_before, left)  # noqa: S608 - constants
        db.conn.executemany(f"DELETE FROM {table} WHERE {key} = ?", rows)  # noqa: S608 - constants
        if table == "legs":
            db.conn.executemany("DELETE FROM seen_as WHERE leg = ?", rows)
        left -= len(rows)
    texts = [
        (_TEXTS.format(**these), row[0])
        for these in ((_RECEIVED,) if owed else (_RECEIVED, _UNRECEIVED))
        for row in db.execute(_KINDS.format(**these))
    ]
    due: list[tuple[str, list[Any]]] = [
        *((sql, [facts_before]) for sql in _FACTS),
        (_DELIVERED, [interims_before]),
        *((sql, [kind, interims_before if kind == "interim" else facts_before]) for sql, kind in texts),
    ]
    for sql, given in due:
        if left <= 0:
            return True
        left -= db.execute(sql, [*given, left]).rowcount
    return left <= 0


def _oldest(db: Database, sql: str, before: Instant, most: int) -> list[tuple[int]]:
    """Return the keys of the first rows that were over before an instant.

    Rows are asked for in the order in which they came: the first that came at that instant or
    later ends the search. What still lasted then is passed over, which is little.
    """
    found: list[tuple[int]] = []
    rows = db.execute(sql)
    for key, came, over in rows:
        if came >= before or len(found) == most:
            break
        if over is not None and over < before:
            found.append((key,))
    rows.close()
    return found
