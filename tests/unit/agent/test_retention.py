"""What is over its time goes in small pieces, and nobody who writes waits for more than one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from sqlite_utils import Database

from agent import schedule
from agent.clock import Clock
from agent.schedule import KEEP_MS
from agent.store import ledger, readings, records, retention, told
from agent.store.database import Store
from agent.store.migrations import SCHEMA
from meter.model import Direction, Known, Leg, Merge, Reading
from meter.watched import Changes
from tests.unit.agent.test_store import sealed

BEFORE = 1_000_000


def fresh() -> Database:
    db = Database(sqlite3.connect(":memory:"), strict=True)
    SCHEMA.apply(db)
    return db


def leg(row: int, start: int, end: int | None) -> Leg:
    known = None if end is None else Known.SEEN
    return Leg(row, "pbx1", f"1.{row}", "PJSIP/kpn", "PJSIP/kpn", Direction.IN, f"1.{row}", f"tenant-{row % 3}", start,
               Known.SEEN, None, None, end, known)  # fmt: skip


def old(db: Database, number: int) -> None:
    """Write legs of which every hundredth lasts, and two younger ones."""
    legs = {n: leg(n, n * 10, None if n % 100 == 0 else n * 10 + 5) for n in range(1, number + 1)}
    legs |= {number + 1: leg(number + 1, BEFORE - 5, BEFORE), number + 2: leg(number + 2, BEFORE, BEFORE + 5)}
    ledger.record(db, Changes(legs=legs), ())


def pieces(db: Database, most: int) -> list[int]:
    """Let go until nothing is left to, and return how many legs there were after each piece."""
    counts, more = [], True
    while more:
        more = retention.let_go(db, facts_before=BEFORE, interims_before=BEFORE, most=most)
        counts.append(db["legs"].count)
        assert len(counts) < 50
    return counts


def test_a_piece_is_no_larger_than_it_may_be() -> None:
    """Each piece takes so many rows at most; at the end what was over is gone, and what lasted or is younger is there."""
    db = fresh()
    old(db, 450)

    counts = pieces(db, 100)

    assert counts == [352, 252, 152, 52, 6]
    left = [row[0] for row in db.execute("SELECT row FROM legs ORDER BY row")]
    assert left == [100, 200, 300, 400, 451, 452]


def test_a_piece_is_shared_by_all_that_goes() -> None:
    """Merges, readings and records' texts go too, each when the piece has room left; then there is nothing more to do."""
    db = fresh()
    old(db, 30)
    ledger.record(db, Changes(merges=[Merge("pbx1", at, "a", "b") for at in (1, 2, BEFORE)]), ())
    readings.read(db, [Reading("pbx1", "acme", at, 1, "pjsip", 0, 0, None) for at in (1, 2, BEFORE)])
    number = records.begin_chain(db, "c-1", None).number
    for n, kind in enumerate(("final", "interim", "minute-series", "final"), 1):
        records.seal(db, sealed(number, n, kind=kind, period_start=n))
        if n < 4:
            records.receipted(db, number, n, "receipt", "counted", None)

    pieces(db, 7)

    assert [db[table].count for table in ("merges", "readings")] == [1, 1]
    assert [one.jws is None for one in records.every(db)] == [True, True, True, False]
    assert not retention.let_go(db, facts_before=BEFORE, interims_before=BEFORE)


async def test_without_a_provider_texts_go_as_if_they_had_receipts(tmp_path: Path) -> None:
    """Interims after 35 days and the rest after 13 months; once an agent is enrolled, what has no receipt stays whole."""
    store = Store(tmp_path)
    await store.open()
    clock = Steady(KEEP_MS + 10)

    def seal(db: Database) -> None:
        number = records.begin_chain(db, "c-1", None).number
        ages = (("final", 1), ("interim", 1), ("final", 100), ("interim", KEEP_MS))
        for n, (kind, at) in enumerate(ages, 1):
            records.seal(db, replace(sealed(number, n, kind=kind, period_start=n), sealed_at=at))

    await store.write(seal)
    retain = retention_of(store, clock)
    await store.write(lambda db: ledger.keep_fact(db, "receiver", "{}"))
    await retain()
    enrolled = await store.read(lambda db: [one.jws is None for one in records.every(db)])
    await store.write(lambda db: db.execute("DELETE FROM facts WHERE key = 'receiver'"))
    await retain()
    alone = await store.read(lambda db: [one.jws is None for one in records.every(db)])
    await store.close()

    assert enrolled == [False, False, False, False]
    assert alone == [True, True, False, False]


class Steady(Clock):
    """A clock that stands."""

    def __init__(self, at: int) -> None:
        self.at = at

    def now(self) -> int:
        return self.at


def retention_of(store: Store, clock: Clock) -> Callable[[], Awaitable[None]]:
    """Return the job that lets go, as the agent has it."""

    async def nothing() -> None: ...

    jobs = schedule.scheduler(
        seal_due=nothing, read_extensions=nothing, read_calls=nothing, look_for_troubles=nothing,
        store=store, clock=clock, every_s=1,
    )  # fmt: skip
    found: Callable[[], Awaitable[None]] = jobs.get_jobs()[-1].func
    return found


def test_a_leg_takes_along_what_call_records_told_of_it() -> None:
    """With a polled leg goes the note that a told leg is the same; the told leg goes when its own time is over."""
    db = fresh()
    old(db, 2)
    told.tell(db, [leg(-1, 10, 15), leg(-2, 20, 25)], {1: -1, 2: -2}, BEFORE - 1)
    told.tell(db, [leg(-3, 30, 35)], {}, BEFORE)

    pieces(db, 100)

    assert db["seen_as"].count == 0
    assert [row[0] for row in db.execute("SELECT row FROM told_legs")] == [-3]


async def test_who_writes_waits_for_one_piece(tmp_path: Path) -> None:
    """A commit that comes while a large ledger is let go of is done long before that is over."""
    store = Store(tmp_path)
    await store.open()
    await store.write(lambda db: old(db, 2_000))

    def piece(db: Database) -> bool:
        return retention.let_go(db, facts_before=BEFORE, interims_before=BEFORE, most=50)

    async def retain() -> None:
        while await store.write(piece):
            pass

    async with asyncio.timeout(20), asyncio.TaskGroup() as both:
        both.create_task(retain())
        both.create_task(store.write(lambda db: ledger.keep_fact(db, "legs", str(db["legs"].count))))
    counted = await store.read(lambda db: ledger.fact(db, "legs"))
    left = await store.read(lambda db: db["legs"].count)
    await store.close()

    assert left == 22
    assert int(counted or 0) >= 2_002 - 2 * 50
