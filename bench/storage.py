"""What the state directory costs: bytes a leg, bytes a month and tenant, and how long retention holds up a commit.

    python -m bench.storage [--tenants 500] [--legs 1000000]

One tenant's month is lived through by a real agent whose clock is moved by hand, with an interim
an hour and a receipt for each. The large ledger is written row by row in the agent's own tables:
fourteen months of legs, and thirty-six days of interims of that size, so that retention has a month
of legs and a day of interims to let go of, as if it had not run for so long.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from sqlite_utils import Database

from agent import app
from agent.clock import Clock
from agent.schedule import KEEP_INTERIMS_MS, KEEP_MS
from agent.store import ledger, records, retention
from agent.store.database import NAME, Store
from agent.store.ledger import Heard
from bench.figures import Figure, Scale
from config.load import load
from meter import messages, signature
from meter.events import LegChanged, LegEnded, LegStarted, Sighting, Snapshot
from meter.model import Direction, Instant, Known, Leg
from meter.periods import DAY_MS, HOUR_MS
from meter.watched import Changes

#: 2026-10-31T23:00:00Z: in Amsterdam November begins.
BEGIN: Final = 1_793_487_600_000
TRUNK: Final = "PJSIP/trunk-kpn"
OFFICE_HOURS: Final = range(8, 18)
#: Legs of a large ledger that are written at once.
BATCH: Final = 5_000
_CONFIG: Final = """\
[agent]
id = "bench-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret = "not asked for"
trunks = ["PJSIP/trunk-*"]
extensions = "[1-9][0-9]{{2}}"

[[tenant]]
id = "acme"
name = "ACME B.V."
default = true
capacity = 8
packages = [4, 8, 16]

[upstream]
url = "http://127.0.0.1:9"
interim = "1h"
"""


class HandClock(Clock):
    """A clock that is moved by hand."""

    def __init__(self, at: Instant) -> None:
        self.at = at
        super().__init__()

    def wall(self) -> Instant:
        """Return where it was moved to."""
        return self.at

    def boot(self) -> int:
        """Return the same, as time since a start."""
        return self.at - BEGIN + HOUR_MS


def in_use(file: Path) -> int:
    """Return the bytes of a database's pages that hold something."""
    db = sqlite3.connect(file)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    used = [
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    ]
    db.close()
    return int((used[0] - used[1]) * used[2])


# --- a month of one tenant -----------------------------------------------------------------


async def month(folder: Path, calls_an_hour: int, hours: int = 30 * 24) -> tuple[int, int, int, int]:
    """Live through a month; return (legs, bytes at its end, the same after the interims' time, an interim's size)."""
    file = folder / "config.toml"
    file.write_text(_CONFIG.format(state=folder / "state"))
    file.chmod(0o600)
    clock = HandClock(BEGIN)
    receiver = signature.new_key()
    number = 0
    async with app.agent(load(file), clock) as parts:
        parts.closing.position_known = True
        path = parts.store.path
        for hour in range(hours + 1):
            parts.sampling.take("pbx1", [Snapshot(clock.at, clock.at, (), "run 1")])
            if hour % 24 in OFFICE_HOURS:
                for call in range(calls_an_hour):
                    number += 1
                    leg = f"{clock.at // 1000}.{number}"
                    sighting = Sighting(leg, leg, TRUNK, Direction.IN if call % 2 else Direction.OUT)
                    parts.sampling.take("pbx1", [LegStarted(clock.at, sighting)])
                    pass_by(clock, parts, 7_000)
                    parts.sampling.take("pbx1", [LegChanged(clock.at, leg, leg, answered=True)])
                    pass_by(clock, parts, 20_000)
                    parts.sampling.take("pbx1", [LegEnded(clock.at, leg, leg)])
            pass_by(clock, parts, BEGIN + (hour + 1) * HOUR_MS + 1_000 - clock.at)
            parts.sampling.take("pbx1", [Snapshot(clock.at, clock.at, (), "run 1")])
            await parts.sampling.commit()
            await parts.closing.seal_due()
            await parts.store.write(lambda db: receipted(db, receiver, clock.at))
        size = await parts.store.read(
            lambda db: db.execute("SELECT avg(length(jws)) FROM records WHERE kind = 'interim'").fetchone()[0]
        )
        full = in_use(path)
        later = clock.at + KEEP_INTERIMS_MS + DAY_MS
        while await parts.store.write(
            lambda db: retention.let_go(
                db, facts_before=later - KEEP_MS, interims_before=later - KEEP_INTERIMS_MS
            )
        ):
            pass
        return number, full, in_use(path), round(size)


def pass_by(clock: HandClock, parts: app.Agent, ms: int) -> None:
    """Let time pass as the heartbeat sees it: a clock that jumps is an agent that stood still."""
    end = clock.at + ms
    while clock.at < end:
        clock.at = min(clock.at + 1_900, end)
        parts.sampling.mind_time()


def receipted(db: Database, receiver: signature.PrivateKey, at: Instant) -> None:
    """Give each record that waits its receipt, as the provider would."""
    present = records.chain(db)
    if present is None:
        return
    first = records.first_without_receipt(db, present.number)
    for one in records.waiting(db, present.number, first, 1_000):
        receipt = messages.Receipt(
            "bench-01", present.id, one.id, one.sequence, one.sha256, "counted", None, at
        )
        records.receipted(
            db, one.chain, one.sequence, messages.seal_receipt(receipt, receiver), "counted", None
        )


# --- a large ledger --------------------------------------------------------------------------


def legs(number: int, tenants: int, end: Instant) -> Iterator[Leg]:
    """Yield ended legs of the fourteen months before an instant, in order."""
    step = 14 * 30.5 * DAY_MS / number
    begin = end - number * step
    for row in range(1, number + 1):
        at = round(begin + row * step)
        leg = f"{at // 1000}.{row}"
        out = row % 3 == 0
        call = f"{at // 1000 - 2}.{row - 1}" if out else leg
        way = Direction.OUT if out else Direction.IN
        over = min(at + 180_000, end)
        yield Leg(row, "pbx1", leg, TRUNK, TRUNK, way, call, f"tenant-{row * 7919 % tenants}", at, Known.SEEN,
                  min(at + 7_000, over), Known.SEEN, over, Known.SEEN)  # fmt: skip


def fill(db: Database, number: int, tenants: int, end: Instant) -> None:
    """Write the legs."""
    batch: dict[int, Leg] = {}
    for leg in legs(number, tenants, end):
        batch[leg.row] = leg
        if len(batch) == BATCH:
            with db.atomic():
                ledger.record(db, Changes(legs=batch), (Heard("pbx1", leg.start, "run 1"),))
            batch = {}
    with db.atomic():
        ledger.record(db, Changes(legs=batch), (Heard("pbx1", end, "run 1"),))


def fill_records(db: Database, tenants: int, end: Instant, interim_bytes: int) -> int:
    """Write thirty-six days of receipted interims; return how many."""
    body, receipt = "j" * interim_bytes, "r" * 500
    sequence = 0
    with db.atomic():
        chain = records.begin_chain(db, "c-bench", None).number
    for hour in range(36 * 24):
        at = end - 36 * DAY_MS + hour * HOUR_MS
        with db.atomic():
            for tenant in range(tenants):
                sequence += 1
                one = records.Sealed(
                    chain, sequence, f"tenant-{tenant}/{hour}/interim", "interim", f"tenant-{tenant}", hour + 1,
                    "2026-11", BEGIN, hour + 1, at, f"{sequence:064x}", body, "counted", None, receipt,
                )  # fmt: skip
                records.seal(db, one)
    return sequence


async def commits(store: Store, end: Instant, stop: asyncio.Event, first_row: int) -> list[float]:
    """Commit three legs again and again, as the sampling loop does; return how long each took, in ms."""
    took, row = [], first_row
    while not stop.is_set():
        new = {
            row + n: Leg(row + n, "pbx1", f"{end}.{row + n}", TRUNK, TRUNK, Direction.IN, f"{end}.{row + n}",
                         "tenant-1", end, Known.SEEN, None, None, None, None)
            for n in range(3)
        }  # fmt: skip
        row += 3
        changes = Changes(legs=new)
        began = time.perf_counter()
        await store.write(
            lambda db, changes=changes: ledger.record(db, changes, (Heard("pbx1", end, "run 1"),))
        )
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.02)
    return took


async def held_up(store: Store, end: Instant, first_row: int) -> None:
    """Print how long a commit takes while nothing else happens, and while retention does its work."""
    stop = asyncio.Event()
    alone = asyncio.create_task(commits(store, end, stop, first_row))  # noqa: TID251 - measured beside what follows
    await asyncio.sleep(5)
    stop.set()
    print(f"  a commit alone:                    {told(await alone)}")
    stop = asyncio.Event()
    beside = asyncio.create_task(commits(store, end, stop, first_row + 1_000_000))  # noqa: TID251 - likewise
    pieces, longest, began = 0, 0.0, time.perf_counter()
    while True:
        at = time.perf_counter()
        more = await store.write(
            lambda db: retention.let_go(
                db, facts_before=end - KEEP_MS, interims_before=end - KEEP_INTERIMS_MS
            )
        )
        longest = max(longest, (time.perf_counter() - at) * 1000)
        pieces += 1
        if not more:
            break
    took = time.perf_counter() - began
    stop.set()
    print(f"  a commit while retention works:    {told(await beside)}")
    print(
        f"  retention: {pieces} pieces of {retention.PIECE} rows in {took:.1f} s, the longest {longest:.1f} ms"
    )
    at = time.perf_counter()
    await store.write(
        lambda db: retention.let_go(db, facts_before=end - KEEP_MS, interims_before=end - KEEP_INTERIMS_MS)
    )
    print(f"  retention when nothing is due:     {(time.perf_counter() - at) * 1000:.1f} ms")


def told(took: list[float]) -> str:
    """Return a distribution in words."""
    ranked = sorted(took)
    return (
        f"{ranked[len(ranked) // 2]:6.1f} ms in the middle, {ranked[int(len(ranked) * 0.99)]:6.1f} ms the slowest "
        f"hundredth, {ranked[-1]:6.1f} ms at most ({len(ranked)} commits)"
    )


async def large(folder: Path, number: int, tenants: int, interim_bytes: int) -> None:
    """Print what a large ledger takes, and what retention does to it."""
    end = BEGIN
    store = Store(folder)
    await store.open()
    path = folder / NAME
    empty = in_use(path)
    await store.write(lambda db: db.execute("PRAGMA optimize"))
    db = Database(sqlite3.connect(path), strict=True)
    db.execute("PRAGMA journal_mode=WAL")
    fill(db, number, tenants, end)
    with_legs = in_use(path)
    print(
        f"  {number:,} legs of {tenants} tenants: {(with_legs - empty) / number:.1f} bytes each, indexes included"
    )
    sealed = fill_records(db, tenants, end, interim_bytes)
    db.close()
    print(f"  {sealed:,} interims of 36 days: {(in_use(path) - with_legs) / 1e6:,.0f} MB")
    before = path.stat().st_size
    began = time.perf_counter()
    await store.examine()
    print(
        f"  the look through all of it at the start: {time.perf_counter() - began:.1f} s for {before / 1e6:,.0f} MB"
    )
    began = time.perf_counter()
    await store.read(records.counts)
    print(f"  counting the records, as each status does: {(time.perf_counter() - began) * 1000:.1f} ms")
    await held_up(store, end, number + 1)
    await store.close()
    print(
        f"  the file: {before / 1e6:,.0f} MB before, {path.stat().st_size / 1e6:,.0f} MB after, of which {in_use(path) / 1e6:,.0f} MB hold something"
    )


async def figures(given: argparse.Namespace) -> None:
    """Print all of it."""
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        number, full, kept, size = await month(Path(folder), given.calls)
    by_leg = 80 * number
    print(f"One tenant's month, an interim an hour, {number:,} legs:")
    print(f"  beside the legs (80 bytes each): {(full - by_leg) / 1e6:.2f} MB; an interim is {size:,} bytes")
    print(f"  once its interims' 35 days are over: {(kept - by_leg) / 1e6:.2f} MB")
    print("A large ledger:")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        await large(Path(folder), given.legs, given.tenants, size)


def leg_bytes(number: int, tenants: int) -> float:
    """Return what one leg takes in the ledger, its indexes included."""

    async def filled(folder: Path) -> float:
        store = Store(folder)
        await store.open()
        empty = in_use(folder / NAME)
        await store.write(lambda db: fill(db, number, tenants, BEGIN))
        await store.close()
        return (in_use(folder / NAME) - empty) / number

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(filled(Path(folder)))


def measure(scale: Scale) -> list[Figure]:
    """Return what a leg takes, and a tenant's month beside its legs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    legs_, tenants = scale.of(200_000, 2_000), scale.of(100, 2)
    with tempfile.TemporaryDirectory() as folder:
        number, full, kept, _ = asyncio.run(month(Path(folder), scale.of(8), scale.of(30 * 24, 24)))
    each = leg_bytes(legs_, tenants)
    beside = (full - each * number) / 1e6
    return [
        Figure("a leg in the ledger", each, "bytes", f"{legs_:,} legs, indexes included", ("<=", 120)),
        Figure(
            "a tenant's month beside its legs",
            beside,
            "MB",
            f"an interim an hour with its receipt, {number:,} legs",
            ("<=", 5),
        ),
        Figure("the same once its interims were let go", (kept - each * number) / 1e6, "MB", "after 35 days"),
    ]


def main() -> None:
    """Read the command line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    wanted = argparse.ArgumentParser(description="What the state directory costs.")
    wanted.add_argument("--tenants", type=int, default=20)
    wanted.add_argument("--legs", type=int, default=100_000)
    wanted.add_argument("--calls", type=int, default=2, help="an office hour, in the tenant's month")
    wanted.add_argument("--folder", type=Path, help="where to write; it is emptied at the end")
    asyncio.run(figures(wanted.parse_args()))


if __name__ == "__main__":
    main()
