"""What was told to whom, and what is remembered of running episodes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from agent.store.database import Database
from meter.model import Instant
from meter.notices import Notice


def remember(db: Database, tenant: str, watch: str) -> None:
    """Keep what is remembered of a tenant's episode."""
    db.execute("INSERT OR REPLACE INTO watches VALUES (?,?)", [tenant, watch])


def remembered(db: Database) -> dict[str, str]:
    """Return what is remembered of each tenant."""
    return dict(db.execute("SELECT tenant, watch FROM watches").fetchall())


def write(db: Database, told: Iterable[Notice]) -> None:
    """Keep notices."""
    db.conn.executemany(
        "INSERT OR IGNORE INTO notices VALUES (?,?,?,?)",
        [(n.id, n.tenant, n.at, json.dumps(asdict(n))) for n in told],
    )


def last_over(db: Database, tenant: str, period: str) -> Instant | None:
    """Return when a tenant's last over notice of a period was; None: it had none."""
    found: Instant | None = db.execute(
        """SELECT max(at) FROM notices WHERE tenant = ? AND json_extract(notice, '$.period') = ?
           AND json_extract(notice, '$.kind') = 'over'""",
        [tenant, period],
    ).fetchone()[0]
    return found


def numbers(db: Database) -> dict[tuple[str, str], int]:
    """Return how many notices each (tenant, period) has had."""
    rows = db.execute("SELECT tenant, json_extract(notice, '$.period'), count(*) FROM notices GROUP BY 1, 2")
    return {(tenant, period): count for tenant, period, count in rows}
