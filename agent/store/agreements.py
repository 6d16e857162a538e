"""The terms agreed with the tenants, and the bounds of their billing periods."""

from __future__ import annotations

import json

from agent.store.database import Database
from meter.model import Instant, Level, Terms
from meter.periods import Period


def terms(db: Database, tenant: str) -> list[Terms]:
    """Return everything that was ever agreed with a tenant, in order."""
    rows = db.execute("SELECT * FROM terms WHERE tenant = ? ORDER BY at, rowid", [tenant])
    return [
        Terms(
            tenant=row[0],
            at=row[1],
            lines=row[2],
            basis=Level(row[3]),
            pbxs=tuple(json.loads(row[4])),
            user_pbxs=tuple(json.loads(row[5])),
            packages=tuple(json.loads(row[6])),
            name=row[7],
            timezone=row[8],
            period=row[9],
        )
        for row in rows
    ]


def agree(db: Database, new: Terms) -> None:
    """Write terms that hold from an instant on."""
    db.execute(
        "INSERT INTO terms VALUES (?,?,?,?,?,?,?,?,?,?)",
        [
            new.tenant,
            new.at,
            new.lines,
            new.basis.value,
            json.dumps(new.pbxs),
            json.dumps(new.user_pbxs),
            json.dumps(new.packages),
            new.name,
            new.timezone,
            new.period,
        ],
    )


def tenants(db: Database) -> list[str]:
    """Return every tenant that was ever configured, in the order in which they came."""
    return [row[0] for row in db.execute("SELECT tenant FROM terms GROUP BY tenant ORDER BY min(rowid)")]


def open_period(db: Database, tenant: str, period: Period) -> None:
    """Fix the bounds of a period."""
    db.execute(
        "INSERT OR IGNORE INTO periods VALUES (?,?,?,?)", [tenant, period.name, period.start, period.end]
    )


def last_period(db: Database, tenant: str) -> Period | None:
    """Return a tenant's youngest period."""
    row = db.execute(
        "SELECT name, started, ended FROM periods WHERE tenant = ? ORDER BY started DESC LIMIT 1", [tenant]
    ).fetchone()
    return None if row is None else Period(*row)


def periods(db: Database, tenant: str) -> list[Period]:
    """Return every period of a tenant, in order."""
    rows = db.execute("SELECT name, started, ended FROM periods WHERE tenant = ? ORDER BY started", [tenant])
    return [Period(*row) for row in rows]


def unclosed(db: Database, tenant: str, ended_before: Instant) -> list[Period]:
    """Return a tenant's periods that ended by an instant and have no summary that stands, in order.

    A summary stands if it is in the present chain, or was counted: what a former chain
    never delivered is sealed again in the new one.
    """
    rows = db.execute(
        """SELECT name, started, ended FROM periods AS p WHERE tenant = ?1 AND ended <= ?2
           AND NOT EXISTS (
             SELECT 1 FROM records AS r WHERE r.tenant = p.tenant AND r.kind IN ('final', 'correction')
             AND r.period_start = p.started
             AND (r.chain = (SELECT max(number) FROM chains) OR r.status = 'counted'))
           ORDER BY started""",
        [tenant, ended_before],
    )
    return [Period(*row) for row in rows]
