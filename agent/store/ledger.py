"""The ledger's rows: legs, merges, gaps, snapshots' verdicts and clock steps; and facts about the agent.

Plain functions over a database: who calls them chooses the transaction. Writing the
same fact again replaces it, so a commit may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agent.store.database import Database
from meter.model import (
    Cause,
    Direction,
    Gap,
    Instant,
    Known,
    Leg,
    Merge,
)
from meter.periods import MINUTE_MS
from meter.watched import Changes

E = TypeVar("E")

# The order of these tuples is what the numbers in the rows mean: append only.
_DIRECTIONS: Final = (Direction.IN, Direction.OUT, Direction.UNKNOWN)
_KNOWN: Final = (Known.SEEN, Known.SNAPSHOT, Known.GAP, Known.CALL_LOG)
#: Snapshots' verdicts are added up over five minutes, the shortest period.
_BUCKET_MS: Final = 5 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Heard:
    """What one commit states of a PBX: heard up to `at`, in its run `booted`."""

    pbx: str
    at: Instant
    booted: str | None


@dataclass(frozen=True, slots=True)
class Left:
    """One PBX as the last commit left it."""

    heard_at: Instant
    booted: str | None
    legs: tuple[Leg, ...]
    names: tuple[tuple[str, str], ...]
    gap: Gap | None


def record(db: Database, changes: Changes, heard: Iterable[Heard]) -> None:
    """Write new and changed facts, and up to when each PBX was heard."""
    words = Words(db)
    db.conn.executemany(
        "INSERT OR REPLACE INTO legs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [leg_row(words, leg) for leg in changes.legs.values()],
    )
    db.conn.executemany(
        "INSERT INTO merges VALUES (?,?,?,?)",
        [(words.number(m.pbx), m.at, m.gone, m.into) for m in changes.merges],
    )
    db.conn.executemany(
        "INSERT OR REPLACE INTO gaps VALUES (?,?,?,?,?)",
        [(g.row, words.number(g.pbx), g.start, g.end, g.cause.value) for g in changes.gaps.values()],
    )
    db.conn.executemany(
        """INSERT INTO reconciled VALUES (?,?,1,?,?,?,?) ON CONFLICT DO UPDATE SET snapshots = snapshots + 1,
           missed_starts = missed_starts + excluded.missed_starts,
           missed_hangups = missed_hangups + excluded.missed_hangups,
           missed_polls = missed_polls + excluded.missed_polls,
           ahead_ms = coalesce(excluded.ahead_ms, ahead_ms)""",
        [
            (r.pbx, r.at - r.at % _BUCKET_MS, r.missed_starts, r.missed_hangups, r.missed_polls, r.ahead_ms)
            for r in changes.reconciled
        ],
    )
    db.conn.executemany(
        """INSERT INTO pbxs VALUES (?,?,?) ON CONFLICT DO UPDATE
           SET heard_at = max(heard_at, excluded.heard_at), booted = excluded.booted""",
        [(h.pbx, h.at, h.booted) for h in heard],
    )


def left(db: Database, pbx: str) -> Left | None:
    """Return a PBX as the last commit left it; None: the ledger does not know it."""
    row = db.execute("SELECT heard_at, booted FROM pbxs WHERE name = ?", [pbx]).fetchone()
    if row is None:
        return None
    words = Words(db)
    number = words.find(pbx)
    legs = tuple(
        leg_of(words, r)
        for r in db.execute("SELECT * FROM legs WHERE pbx = ? AND ended IS NULL ORDER BY row", [number])
    )
    since = min((leg.start for leg in legs), default=row[0])
    names = tuple(
        (gone, into)
        for gone, into in db.execute(
            "SELECT gone, into_call FROM merges WHERE pbx = ? AND at >= ? ORDER BY rowid", [number, since]
        )
    )
    gap = db.execute("SELECT * FROM gaps WHERE pbx = ? AND ended IS NULL ORDER BY row", [number]).fetchone()
    return Left(row[0], row[1], legs, names, None if gap is None else _gap(words, gap))


def know(db: Database, pbx: str) -> None:
    """Write that a PBX is followed, before it was ever heard."""
    db.execute("INSERT OR IGNORE INTO pbxs VALUES (?, 0, NULL)", [pbx])


def pbxs(db: Database) -> list[str]:
    """Return every PBX that was ever followed."""
    return [row[0] for row in db.execute("SELECT name FROM pbxs ORDER BY name")]


def last_heard(db: Database) -> Instant | None:
    """Return the last instant at which any PBX was heard; None: never."""
    found: Instant | None = db.execute("SELECT max(heard_at) FROM pbxs WHERE heard_at > 0").fetchone()[0]
    return found


def last_stored(db: Database) -> Instant:
    """Return the youngest instant that anything stored tells of; 0: nothing is stored."""
    found: Instant = db.execute(
        """SELECT max(coalesce((SELECT max(heard_at) FROM pbxs), 0), coalesce((SELECT max(at) FROM terms), 0),
           coalesce((SELECT max(sealed_at) FROM records), 0))"""
    ).fetchone()[0]
    return found


def next_rows(db: Database) -> tuple[int, int]:
    """Return the next free numbers of a leg and of a gap."""
    legs, gaps = (
        db.execute(f"SELECT coalesce(max(row), 0) + 1 FROM {table}").fetchone()[0]  # noqa: S608 - two literals
        for table in ("legs", "gaps")
    )
    return legs, gaps


def legs(db: Database, tenant: str | None, start: Instant, end: Instant) -> list[Leg]:
    """Return a tenant's legs that touch `[start, end)`, in the order in which they began.

    Those of tenant None are the unassigned and the unclassified ones.
    """
    words = Words(db)
    whose = None if tenant is None else words.find(tenant)
    rows = db.execute(
        """SELECT * FROM legs WHERE tenant IS ?1 AND ended >= ?2 AND started < ?3
           UNION ALL SELECT * FROM legs WHERE tenant IS ?1 AND ended IS NULL AND started < ?3
           ORDER BY started, row""",
        [whose, start, end],
    )
    return [leg_of(words, row) for row in rows]


def gaps(db: Database, pbxs: Iterable[str], start: Instant, end: Instant) -> dict[str, list[Gap]]:
    """Return the gaps of PBXs that touch `[start, end)`, by PBX, in order."""
    words = Words(db)
    return {
        pbx: [
            _gap(words, row)
            for row in db.execute(
                """SELECT * FROM gaps WHERE pbx = ? AND started < ? AND (ended IS NULL OR ended >= ?)
                   ORDER BY started, row""",
                [words.find(pbx), end, start],
            )
        ]
        for pbx in pbxs
    }


def merges(db: Database, pbxs: Iterable[str], start: Instant, end: Instant) -> list[Merge]:
    """Return the merges of calls on PBXs in `[start, end)`, in the order in which they were seen."""
    words = Words(db)
    numbers = {words.find(pbx): pbx for pbx in pbxs}
    rows = db.execute(
        "SELECT pbx, at, gone, into_call FROM merges WHERE at >= ? AND at < ? ORDER BY rowid", [start, end]
    )
    return [Merge(numbers[pbx], at, gone, into) for pbx, at, gone, into in rows if pbx in numbers]


def reconciled(db: Database, pbxs: Iterable[str], start: Instant, end: Instant) -> tuple[int, int, int]:
    """Return how many snapshots of PBXs there were in `[start, end)`, and what they had missed."""
    names = tuple(pbxs)
    marks = ",".join("?" * len(names))
    row: tuple[int, int, int] = db.execute(
        f"""SELECT coalesce(sum(snapshots), 0), coalesce(sum(missed_starts), 0), coalesce(sum(missed_hangups), 0)
            FROM reconciled WHERE pbx IN ({marks}) AND bucket >= ? AND bucket < ?""",  # noqa: S608 - marks only
        [*names, start - start % _BUCKET_MS, end],
    ).fetchone()
    return row


def polls(db: Database, pbx: str, start: Instant, end: Instant) -> tuple[int, int, int | None]:
    """Return how many good polls of a PBX there were in `[start, end)`, how many failed, and its clock's lead.

    The lead is the largest there was, whichever way, in ms; None: it was never known.
    """
    row: tuple[int, int, int | None] = db.execute(
        """SELECT coalesce(sum(snapshots), 0), coalesce(sum(missed_polls), 0),
                  CASE WHEN max(ahead_ms) >= -min(ahead_ms) THEN max(ahead_ms) ELSE min(ahead_ms) END
           FROM reconciled WHERE pbx = ? AND bucket >= ? AND bucket < ?""",
        [pbx, start - start % _BUCKET_MS, end],
    ).fetchone()
    return row


def step(db: Database, taken: Iterable[tuple[Instant, int, int]]) -> None:
    """Write steps of the wall clock: when, how far (forward > 0), how much time it repeated."""
    db.conn.executemany("INSERT INTO clock_steps VALUES (?,?,?)", list(taken))


def steps(db: Database, start: Instant, end: Instant) -> tuple[int, int, int]:
    """Return the clock steps in `[start, end)`: how many, the largest and the repeated time in ms."""
    row: tuple[int, int, int] = db.execute(
        """SELECT count(*), coalesce(max(abs(step_ms)), 0), coalesce(sum(repeated_ms), 0)
           FROM clock_steps WHERE at >= ? AND at < ?""",
        [start, end],
    ).fetchone()
    return row


def fact(db: Database, key: str) -> str | None:
    """Return a fact about this agent itself, or None."""
    row = db.execute("SELECT value FROM facts WHERE key = ?", [key]).fetchone()
    return None if row is None else str(row[0])


def keep_fact(db: Database, key: str, value: str) -> None:
    """Keep a fact about this agent itself."""
    db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", [key, value])


# --- rows ----------------------------------------------------------------------------


class Words:
    """The numbers of names, within one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._numbers: dict[str, int] = {}
        self._texts: dict[int, str] = {}

    def number(self, text: str) -> int:
        """Return a name's number; it gets one if it has none yet."""
        known = self._numbers.get(text)
        if known is None:
            row = self._db.execute("SELECT id FROM words WHERE text = ?", [text]).fetchone()
            if row is None:
                row = self._db.execute("INSERT INTO words (text) VALUES (?) RETURNING id", [text]).fetchone()
            known = self._numbers[text] = row[0]
        return known

    def find(self, text: str) -> int:
        """Return a name's number; one that no row has, if it was never written."""
        row = self._db.execute("SELECT id FROM words WHERE text = ?", [text]).fetchone()
        return -1 if row is None else int(row[0])

    def text(self, number: int) -> str:
        """Return the name that has a number."""
        known = self._texts.get(number)
        if known is None:
            row = self._db.execute("SELECT text FROM words WHERE id = ?", [number]).fetchone()
            known = self._texts[number] = row[0]
        return known


def _place(among: tuple[E, ...], value: E | None) -> int | None:
    return None if value is None else among.index(value)


def leg_row(words: Words, leg: Leg) -> tuple[Any, ...]:
    """Return a leg as a row of `legs`."""
    return (
        leg.row,
        words.number(leg.pbx),
        leg.leg,
        None if leg.endpoint == leg.trunk else leg.endpoint,
        None if leg.trunk is None else words.number(leg.trunk),
        _DIRECTIONS.index(leg.direction),
        None if leg.call == leg.leg else leg.call,
        None if leg.tenant is None else words.number(leg.tenant),
        leg.start,
        _KNOWN.index(leg.start_known),
        leg.answer,
        _place(_KNOWN, leg.answer_known),
        leg.end,
        _place(_KNOWN, leg.end_known),
    )


def leg_of(words: Words, row: tuple[Any, ...]) -> Leg:
    """Return the leg that a row of `legs` keeps."""
    number, pbx, leg, endpoint, trunk, direction, call, tenant = row[:8]
    start, start_known, answer, answer_known, end, end_known = row[8:]
    rule = None if trunk is None else words.text(trunk)
    return Leg(
        row=number,
        pbx=words.text(pbx),
        leg=leg,
        endpoint=endpoint if endpoint is not None else str(rule),
        trunk=rule,
        direction=_DIRECTIONS[direction],
        call=leg if call is None else call,
        tenant=None if tenant is None else words.text(tenant),
        start=start,
        start_known=_KNOWN[start_known],
        answer=answer,
        answer_known=None if answer_known is None else _KNOWN[answer_known],
        end=end,
        end_known=None if end_known is None else _KNOWN[end_known],
    )


def _gap(words: Words, row: tuple[Any, ...]) -> Gap:
    number, pbx, start, end, cause = row
    return Gap(number, words.text(pbx), start, end, Cause(cause))
