"""Extension readings, and the extensions of the last good reading of each source."""

from __future__ import annotations

from collections.abc import Iterable

from agent.store.database import Database
from meter.model import Instant, Reading


def read(db: Database, readings: Iterable[Reading]) -> None:
    """Write extension readings."""
    db.conn.executemany(
        "INSERT INTO readings VALUES (?,?,?,?,?,?,?,?)",
        [(r.pbx, r.tenant, r.at, r.count, r.source, r.created, r.removed, r.pbx_own_count) for r in readings],
    )


def readings(db: Database, tenant: str | None, start: Instant, end: Instant) -> list[Reading]:
    """Return a tenant's readings in `[start, end)`, and before them each PBX's last good one."""
    earlier = db.execute(
        """SELECT pbx, tenant, max(at), count, source, 0, 0, pbx_own_count FROM readings
           WHERE tenant IS ? AND at < ? AND count IS NOT NULL GROUP BY pbx""",
        [tenant, start],
    )
    within = db.execute(
        "SELECT * FROM readings WHERE tenant IS ? AND at >= ? AND at < ? ORDER BY at, rowid",
        [tenant, start, end],
    )
    return [Reading(*row) for row in (*earlier, *within)]


def users_now(db: Database, tenant: str, pbxs: Iterable[str]) -> int | None:
    """Return how many users a tenant has by the last good reading of each PBX; None if one was never read."""
    total = 0
    for pbx in pbxs:
        row = db.execute(
            """SELECT count FROM readings WHERE tenant = ? AND pbx = ? AND count IS NOT NULL
               ORDER BY at DESC LIMIT 1""",
            [tenant, pbx],
        ).fetchone()
        if row is None:
            return None
        total += row[0]
    return total


def unread_since(db: Database, pbx: str) -> Instant | None:
    """Return when a PBX's readings began to fail without a good one since; None: the last one was good."""
    found: Instant | None = db.execute(
        """SELECT min(at) FROM readings WHERE pbx = :pbx AND at > coalesce(
             (SELECT max(at) FROM readings WHERE pbx = :pbx AND count IS NOT NULL), -1)""",
        {"pbx": pbx},
    ).fetchone()[0]
    return found


def extensions(db: Database, pbx: str, source: str) -> dict[str, str | None]:
    """Return the extensions of a PBX at its last good reading of a source, each with its tenant."""
    return dict(
        db.execute(
            "SELECT number, tenant FROM extensions WHERE pbx = ? AND source = ?", [pbx, source]
        ).fetchall()
    )


def replace_extensions(db: Database, pbx: str, source: str, numbers: dict[str, str | None]) -> None:
    """Keep these extensions as the last good reading of a source."""
    db.execute("DELETE FROM extensions WHERE pbx = ? AND source = ?", [pbx, source])
    db.conn.executemany(
        "INSERT INTO extensions VALUES (?,?,?,?)",
        [(pbx, source, number, tenant) for number, tenant in numbers.items()],
    )
