"""What polled PBXs' own call records tell: kept beside what the polls saw, never in its place.

Both stay, so that either can set the peak and the record can state the difference. A leg
is told once and for all, when its call has ended: telling it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from agent.store.database import Database
from agent.store.ledger import Words, leg_of, leg_row
from meter.model import Instant, Leg
from meter.periods import HOUR_MS
from meter.presence import FOREVER
from meter.telling import TOLD_BELOW

#: A stretch of one PBX's time of which everything that ended in it is told: (source, start, end).
Stretch = tuple[str, Instant, Instant]

#: One id, told with starts further apart than this, names two legs.
SAME_MS: Final = HOUR_MS

_COLUMNS = (
    "row, pbx, leg, endpoint, trunk, direction, call, tenant,"
    " started, start_known, answered, answer_known, ended, end_known"
)


def is_known(db: Database, pbx: str, leg: str, start: Instant) -> bool:
    """Return whether a leg of a PBX was told already, by the PBX's own id of it and about the time it began.

    A PBX that was set up anew may count its calls from 1 again.
    """
    row = db.execute(
        "SELECT 1 FROM told_legs WHERE pbx = ? AND leg = ? AND abs(started - ?) < ?",
        [Words(db).find(pbx), leg, start, SAME_MS],
    ).fetchone()
    return row is not None


def next_row(db: Database) -> int:
    """Return the next free row of a told leg, which is below zero: told legs are numbered downwards."""
    found: int = db.execute("SELECT coalesce(min(row), ?) - 1 FROM told_legs", [TOLD_BELOW]).fetchone()[0]
    return found


def untold(db: Database, pbx: str, start: Instant, end: Instant) -> list[Leg]:
    """Return a PBX's ended legs that touch `[start, end)` and that no call record told of."""
    words = Words(db)
    rows = db.execute(
        """SELECT * FROM legs WHERE pbx = ? AND ended >= ? AND started < ?
           AND row NOT IN (SELECT leg FROM seen_as) ORDER BY started, row""",
        [words.find(pbx), start, end],
    )
    return [leg_of(words, row) for row in rows]


def tell(db: Database, told: Iterable[Leg], seen_as: dict[int, int], at: Instant) -> None:
    """Keep told legs, and which of the polled ones they are, as told at an instant."""
    words = Words(db)
    db.conn.executemany(
        "INSERT INTO told_legs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [(*leg_row(words, leg), at) for leg in told],
    )
    db.conn.executemany(
        "INSERT INTO seen_as VALUES (?,?,?)", [(leg, row, at) for leg, row in seen_as.items()]
    )


def cover(db: Database, pbx: str, source: str, start: Instant, end: Instant) -> None:
    """Keep that everything which ended in `[start, end)` is told; it grows what was told up to `start`."""
    row = db.execute(
        "SELECT started FROM told WHERE pbx = ? AND source = ? AND ended >= ? ORDER BY started DESC LIMIT 1",
        [pbx, source, start],
    ).fetchone()
    if row is None:
        db.execute("INSERT OR REPLACE INTO told VALUES (?,?,?,?)", [pbx, source, start, end])
    else:
        db.execute("UPDATE told SET ended = max(ended, ?) WHERE pbx = ? AND started = ?", [end, pbx, row[0]])


def covered(db: Database, pbx: str, start: Instant, end: Instant) -> list[Stretch]:
    """Return the stretches within `[start, end)` of which everything is told, in order."""
    rows = db.execute(
        "SELECT source, started, ended FROM told WHERE pbx = ? AND started < ? AND ended > ? ORDER BY started",
        [pbx, end, start],
    )
    return [(source, max(first, start), min(last, end)) for source, first, last in rows]


def told_until(db: Database, pbx: str) -> Instant | None:
    """Return up to when a PBX's call records told everything; None: they never told anything."""
    found: Instant | None = db.execute("SELECT max(ended) FROM told WHERE pbx = ?", [pbx]).fetchone()[0]
    return found


def told_at(db: Database, tenant: str, start: Instant, end: Instant) -> Instant | None:
    """Return when the last leg of a tenant that touches `[start, end)` was told; None: none was."""
    found: Instant | None = db.execute(
        "SELECT max(told_at) FROM told_legs WHERE tenant = ? AND ended >= ? AND started < ?",
        [Words(db).find(tenant), start, end],
    ).fetchone()[0]
    return found


def still_up(db: Database, pbxs: Collection[str], before: Instant) -> bool:
    """Return whether a leg of these PBXs that began before an instant is still up: its record is yet to come."""
    words = Words(db)
    return any(
        db.execute(
            "SELECT 1 FROM legs WHERE pbx = ? AND ended IS NULL AND started < ? LIMIT 1",
            [words.find(pbx), before],
        ).fetchone()
        for pbx in pbxs
    )


def laid_over(
    db: Database,
    polled: Sequence[Leg],
    pbxs: Collection[str],
    tenant: str | None,
    span: tuple[Instant, Instant],
    known_at: Instant | None = None,
) -> list[Leg]:
    """Return a tenant's legs with what call records tell of some PBXs laid over what polls saw of them.

    Args:
        db: The database.
        polled: The ledger's legs of the tenant that touch the span.
        pbxs: The PBXs whose call records count.
        tenant: Whose; None: the unassigned and the unclassified ones.
        span: The time, `[start, end)`.
        known_at: Take what was told before then; None: all.
    """
    if not pbxs:
        return list(polled)
    words = Words(db)
    whose = None if tenant is None else words.find(tenant)
    until = FOREVER if known_at is None else known_at
    rows = [leg.row for leg in polled if leg.pbx in pbxs]
    told_of = set()
    if rows:
        told_of = {
            row[0]
            for row in db.execute(
                "SELECT leg FROM seen_as WHERE leg BETWEEN ? AND ? AND told_at < ?",
                [min(rows), max(rows), until],
            )
        }
    told = [
        leg_of(words, row)
        for row in db.execute(
            f"""SELECT {_COLUMNS} FROM told_legs
                WHERE tenant IS ? AND ended >= ? AND started < ? AND told_at < ?""",  # noqa: S608 - a constant
            [whose, span[0], span[1], until],
        )
    ]
    left = [leg for leg in polled if leg.pbx not in pbxs or leg.row not in told_of]
    return sorted(
        [*left, *(leg for leg in told if leg.pbx in pbxs)], key=lambda leg: (leg.start, -leg.row, leg.row)
    )
