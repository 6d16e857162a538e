"""What a month costs at its end: closing it for every tenant, and folding it again from the ledger.

The ledger is written row by row in the agent's own tables, the month up to its last hour; the agent starts on
it, lives through midnight, and seals when the grace is over. Recomputing is what `pbx-meter recompute` does.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog

from agent import app, desk
from agent.configured import plan_of
from agent.store import ledger, records
from agent.store.database import Database
from agent.store.ledger import Heard
from bench.figures import Figure, Scale
from bench.installation import PBX, HandClock, configured
from config.load import load
from meter import signature
from meter.events import Snapshot
from meter.model import Direction, Known, Leg
from meter.periods import DAY_MS, HOUR_MS, MINUTE_MS
from meter.watched import Changes

#: 2026-10-31T23:00:00Z and 2026-11-30T23:00:00Z: in Amsterdam November begins and ends.
BEGIN: Final = 1_793_487_600_000
END: Final = BEGIN + 30 * DAY_MS
TENANTS: Final = 500
CLOSED_LEGS: Final = 100_000
RECOMPUTED_LEGS: Final = 1_000_000
RECOMPUTED_TENANTS: Final = 20
WHY: Final = (
    "By the profile all of it is the fold itself, in Python: three instants a leg, at each of which three levels, their minutes "
    "and hours are brought up to date (about 1 µs a call, 45 calls a leg). It was a third more before; what is left "
    "needs another design: folding each day once and keeping it, as settled facts are kept while the agent runs."
)
_BATCH: Final = 5_000


def legs(number: int, tenants: int) -> Iterator[Leg]:
    """Yield answered legs of three minutes, spread evenly over the month and the tenants."""
    step = (30 * DAY_MS - HOUR_MS) / number
    for row in range(1, number + 1):
        at, whose = round(BEGIN + row * step), row * 7919 % tenants
        leg, trunk = f"{at // 1000}.{row}", f"PJSIP/trunk-{whose}"
        way = Direction.OUT if row % 3 == 0 else Direction.IN
        yield Leg(row, PBX, leg, trunk, trunk, way, leg, f"tenant-{whose}", at, Known.SEEN,
                  at + 7_000, Known.SEEN, at + 180_000, Known.SEEN)  # fmt: skip


def fill(db: Database, number: int, tenants: int) -> None:
    """Write the legs, and up to when the PBX was heard."""
    batch: dict[int, Leg] = {}
    for leg in legs(number, tenants):
        batch[leg.row] = leg
        if len(batch) == _BATCH or leg.row == number:
            with db.atomic():
                ledger.record(db, Changes(legs=batch), (Heard(PBX, max(leg.start, BEGIN), "run 1"),))
            batch = {}
    with db.atomic():
        ledger.record(db, Changes(), (Heard(PBX, END - 10 * MINUTE_MS, "run 1"),))


def sealed_until_yesterday(db: Database, tenants: int) -> None:
    """Write each tenant's minute-series of the day before the last: those before it were sealed too."""
    with db.atomic():
        chain = records.begin_chain(db, "c-bench", None).number
        for number in range(tenants):
            jws = f"series of tenant-{number}"
            records.seal(
                db,
                records.Sealed(
                    chain, number + 1, f"tenant-{number}/2026-11-29/minute-series/1", "minute-series",
                    f"tenant-{number}", 1, "2026-11-29", END - 2 * DAY_MS, 1, END - DAY_MS,
                    signature.sha256_hex(jws), jws, "counted", None, "receipt",
                ),
            )  # fmt: skip


async def begun(folder: Path, tenants: int, number: int, *, series: bool) -> Path:
    """Let an agent agree with its tenants at the month's first instant, and fill the month; return its configuration."""
    file = configured(folder, [f"PJSIP/trunk-{n}" for n in range(tenants)])
    async with app.agent(load(file), HandClock(BEGIN)) as parts:
        parts.sampling.take(PBX, [Snapshot(BEGIN, BEGIN, (), "run 1")])
        await parts.sampling.commit()
        await parts.store.write(lambda db: _filled(db, number, tenants, series=series))
    return file


def _filled(db: Database, number: int, tenants: int, *, series: bool) -> None:
    fill(db, number, tenants)
    if series:
        sealed_until_yesterday(db, tenants)


async def closed(tenants: int, number: int) -> tuple[float, float, int]:
    """Return the seconds of the start on such a ledger, those of closing its month, and how many records that made."""
    with tempfile.TemporaryDirectory() as name:
        file = await begun(Path(name), tenants, number, series=True)
        clock = HandClock(END - 5 * MINUTE_MS)
        began = time.perf_counter()
        async with app.agent(load(file), clock) as parts:
            started = time.perf_counter() - began
            for at in (clock.at, END + 5 * MINUTE_MS, END + 11 * MINUTE_MS):
                while clock.at < at:
                    clock.at = min(clock.at + 1_900, at)  # a clock that jumps is an agent that stood still
                    parts.sampling.mind_time()
                parts.sampling.take(PBX, [Snapshot(clock.at, clock.at, (), "run 1")])
                await parts.sampling.commit()
                began = time.perf_counter()
                count = await parts.closing.seal_due()
                took = time.perf_counter() - began
            assert parts.closing.held is None, parts.closing.held
    return started, took, count


async def recomputed(tenants: int, number: int) -> float:
    """Return the seconds in which a month of so many legs is folded again, all its tenants together."""
    with tempfile.TemporaryDirectory() as name:
        file = await begun(Path(name), tenants, number, series=False)
        config = load(file)
        async with app.agent(config, HandClock(END - 5 * MINUTE_MS)) as parts:
            began = time.perf_counter()
            found = await parts.store.read(
                lambda db: desk.recompute_each(
                    db, plan_of(config), [f"tenant-{n}" for n in range(tenants)], "2026-11"
                )
            )
            took = time.perf_counter() - began
    counted = sum(one.content["traffic"][way]["legs"] for one in found.values() for way in ("in", "out"))
    assert counted == number, (counted, number)
    return took


def measure(scale: Scale) -> list[Figure]:
    """Return what closing and recomputing take."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    tenants, number = scale.of(TENANTS, 2), scale.of(CLOSED_LEGS, 20)
    started, took, count = asyncio.run(closed(tenants, number))
    again, whose = scale.of(RECOMPUTED_LEGS, 100), min(RECOMPUTED_TENANTS, tenants)
    folded = asyncio.run(recomputed(whose, again))
    return [
        Figure("start on that month's ledger", started, "s", f"{number:,} legs, {tenants} tenants"),
        Figure(
            f"closing a month for {tenants} tenants",
            took,
            "s",
            f"{count:,} records, finals and the last day's minute-series, each with its own commit",
            ("<=", 5),
            WHY,
        ),
        Figure(
            f"recomputing a month of {again:,} legs",
            folded,
            "s",
            f"of {whose} tenants, one after the other",
            ("<=", 20),
            WHY,
        ),
    ]
