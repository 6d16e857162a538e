"""Which troubles the operator was told of, so that a restart neither repeats nor forgets."""

from __future__ import annotations

from collections.abc import Iterable

from agent.store.database import Database
from meter.troubles import Case, Key, Kind


def keep(db: Database, cases: Iterable[Case]) -> None:
    """Keep what was told, and what was told to be over; nothing else is remembered any more."""
    db.execute("DELETE FROM troubles")
    db.conn.executemany(
        "INSERT INTO troubles VALUES (?,?,?,?,?,?)",
        [
            (c.kind.value, c.subject, c.since, c.told_at, c.over_at, c.calm_ms)
            for c in cases
            if c.told_at is not None or c.over_at is not None
        ],
    )


def kept(db: Database) -> dict[Key, Case]:
    """Return what was kept. A trouble that was told stands until it is known to be gone."""
    rows = db.execute("SELECT kind, subject, since, told_at, over_at, calm_ms FROM troubles")
    return {
        (Kind(kind), subject): Case(
            Kind(kind), subject, since, told_at, told_at, over_at=over_at, calm_ms=calm_ms
        )
        for kind, subject, since, told_at, over_at, calm_ms in rows
    }
