"""What each correction laid over the ledger, kept with the record that it made. Append only, as records are."""

from __future__ import annotations

import json
from dataclasses import asdict

from agent.store.database import Database
from agent.store.records import Sealed
from meter.amendment import Amendment
from meter.model import Direction, Known, Leg


def keep(db: Database, record: Sealed, amendment: Amendment) -> None:
    """Keep what a record was made with, in the transaction that seals it."""
    place = (record.chain, record.sequence)
    db.conn.executemany(
        "INSERT INTO corrected_legs VALUES (?,?,?,?,?)",
        [
            *((*place, leg.row, json.dumps(asdict(leg)), leg.end) for leg in amendment.legs),
            *((*place, row, None, record.sealed_at) for row in amendment.dropped),
        ],
    )
    db.conn.executemany(
        "INSERT INTO corrected_gaps VALUES (?,?,?,?,?)", [(*place, *stretch) for stretch in amendment.filled]
    )


def of(db: Database, record: Sealed) -> Amendment:
    """Return what a record was made with; nothing for one that is no correction."""
    place = [record.chain, record.sequence]
    legs = db.execute(
        "SELECT row, leg FROM corrected_legs WHERE chain = ? AND sequence = ? ORDER BY row", place
    ).fetchall()
    filled = db.execute(
        "SELECT pbx, started, ended FROM corrected_gaps WHERE chain = ? AND sequence = ? ORDER BY pbx, started",
        place,
    ).fetchall()
    return Amendment(
        legs=tuple(_leg(text) for _, text in legs if text is not None),
        dropped=tuple(row for row, text in legs if text is None),
        filled=tuple((pbx, start, end) for pbx, start, end in filled),
    )


def _leg(text: str) -> Leg:
    said = json.loads(text)
    for name in ("start_known", "answer_known", "end_known"):
        said[name] = None if said[name] is None else Known(said[name])
    return Leg(**said | {"direction": Direction(said["direction"])})
