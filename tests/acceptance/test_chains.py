"""What an operator does with keys, chains and files while records go on being counted."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
import pytest_asyncio

from agent import desk
from agent.configured import plan_of
from agent.store.database import Store
from config.load import load
from meter import chain, signature
from meter.periods import period_of
from tests.acceptance.around import until
from tests.acceptance.harness import AS_TRIED, KPN2, Site, site
from tests.acceptance.truth import ring, talk

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Give a running agent that was invited for one of its two tenants only; periods last 5 minutes."""
    async with site(tmp_path_factory.mktemp("shop"), AS_TRIED, ahead_ms=0) as it:
        it.begin_period()
        await it.serve()
        await it.enrol("acme")
        await it.run()
        talk(it, count=2)
        ring(it, KPN2)
        await it.level(1, "globex")
        yield it


def kid(row: tuple) -> str:
    return signature.read_header(row[4], signature.TYP_RECORD).kid


async def receipted(site: Site, *, after: int, within_s: float = 15) -> list[tuple]:
    """Wait until two records of each tenant after a place in the chain have their receipts; return all records."""

    def found() -> list[tuple] | None:
        rows = site.sealed()
        fresh = [row[2].split("/")[0] for row in rows[after:] if row[-1]]
        return rows if min(fresh.count("acme"), fresh.count("globex")) >= 2 else None

    return await until(found, within_s=within_s, what="fresh receipts")


async def test_a_record_that_cant_be_counted(shop):
    """A refused record takes its place, the others go on; after a fresh invitation `chain replace` makes up for it."""
    period = period_of(shop.now(), "5min", None)
    await receipted(shop, after=0)
    await shop.kill()
    shop.forward(period.end - shop.now())
    await shop.run()
    final = f"globex/{period.name}/final/1"
    rows = await until(
        lambda: (found := shop.sealed()) and any(r[2] == final and r[-1] for r in found) and found,
        within_s=15,
    )
    status = {row[2]: row[5] for row in rows if row[-1]}
    assert {state for id_, state in status.items() if id_.startswith("globex/")} == {"refused"}
    assert {state for id_, state in status.items() if id_.startswith("acme/")} == {"counted"}
    assert (await shop.status())["records"]["refused"] >= 2
    listed, _ = await asyncio.gather(shop.meter("summaries", "--json"), shop.enrol("acme", "globex"))
    (why,) = [row["why"] for row in listed.rows if row["id"] == final]
    assert "not enrolled: globex" in why

    said = await shop.meter("chain", "replace", final)
    assert said.code == 0, said.err
    rows = await until(
        lambda: next(([r] for r in shop.sealed() if r[2].endswith("/correction/2") and r[-1]), None),
        within_s=15,
    )
    assert (rows[0][2], rows[0][5]) == (f"globex/{period.name}/correction/2", "counted")
    books, needless = await asyncio.gather(
        shop.provider("summaries", "--tenant", "globex", "--json"),
        shop.meter("chain", "replace", final.replace("globex", "acme")),
    )
    (row,) = [row for row in books.rows if row["period"] == period.name]
    assert (row["state"], row["revision"], row["peak_channels"]) == ("corrected", 2, 1)
    assert needless.code == 1  # that one was counted


async def test_changing_the_key(shop):
    """`keys change` beside a running agent: the next record is signed by the new key, and the provider goes on counting."""
    old = json.loads((shop.state / "signing-key.json").read_text())["x"]
    said = await shop.meter("keys", "change")
    assert said.code == 0, said.err
    new = said.out.split()[-1]

    changed = next(row for row in shop.sealed() if "/key-change/" in row[2])
    rows = await receipted(shop, after=changed[1])

    assert json.loads((shop.state / "signing-key.json").read_text())["x"] != old
    assert not (shop.state / "signing-key-pending.json").exists()
    assert {kid(row) for row in rows[changed[1] :]} == {new}
    assert new not in {kid(row) for row in rows[: changed[1]]}
    assert {row[5] for row in rows[changed[1] - 1 :] if row[-1]} == {"counted"}
    assert shop.taken() == [row for row in shop.sealed() if row[-1]][: len(shop.taken())]


async def test_a_change_of_key_that_was_killed(shop):
    """A change of key that was killed as soon as its record was sealed is finished by whoever seals next."""
    config = load(shop.config)
    store = Store(shop.state)
    await store.open()
    now = shop.now()
    new = await store.write(lambda db: desk.change_key(db, plan_of(config), shop.state, now))
    await store.close()

    changed = [row for row in shop.sealed() if "/key-change/" in row[2]][-1]
    rows = await receipted(shop, after=changed[1])

    assert {kid(row) for row in rows[changed[1] :]} == {new.thumbprint}
    assert {row[5] for row in rows[changed[1] - 1 :] if row[-1]} == {"counted"}
    assert new.json() in (await shop.meter("keys", "show")).out


async def test_records_that_travel_by_file(shop):
    """What `export` wrote the provider imports as if it had been posted, and its receipts are imported here."""
    await shop.stop_serving()
    before = len(shop.sealed())
    await until(lambda: len(shop.sealed()) >= before + 4, what="records that wait")
    waiting = next(row[1] for row in shop.sealed() if row[-1] is None)

    file = shop.folder / "by-file.jws"
    assert (await shop.meter("export", "--since", str(waiting), "--output", str(file))).code == 0
    carried = len(file.read_text().split())
    taken = await shop.provider("import", str(file), "--json")
    assert (taken.code, taken.json["taken"], taken.json["not_taken"]) == (0, carried, [])
    kept = await shop.meter("import", taken.json["receipts"])
    assert (kept.code, kept.out) == (0, f"{carried} receipts kept\n")

    rows = shop.sealed()[: waiting - 1 + carried]
    assert all(row[-1] for row in rows)
    assert shop.taken() == rows
    # The line is back: the agent goes on behind them.
    await asyncio.gather(shop.serve(), shop.agent.stop())
    await shop.run()
    await receipted(shop, after=len(rows))


async def test_a_restored_copy(shop):
    """An agent on yesterday's state notices it at its start, seals nothing, says so, and goes on after `chain new`."""
    yesterday = shop.folder / "yesterday"
    yesterday.mkdir(mode=0o700)
    shutil.copy2(shop.state / "signing-key.json", yesterday)
    with (
        closing(sqlite3.connect(yesterday / "meter.db")) as copy,
        closing(sqlite3.connect(shop.state / "meter.db")) as db,
    ):
        db.backup(copy)
    await receipted(shop, after=len(shop.sealed()))
    await shop.agent.stop()
    books = shop.taken()

    shutil.rmtree(shop.state)
    yesterday.rename(shop.state)
    sealed = shop.sealed()
    assert len(sealed) < len(books)
    await shop.run()
    halted = await shop.shows(lambda s: any("chain new" in each for each in s["trouble"]), what="trouble")
    assert any("restored copy" in each for each in halted["trouble"])
    assert halted["tenants"]["acme"]["levels"]["channels"]["now"] == 2  # it goes on metering
    looked_at = shop.now()
    await until(
        lambda: shop.now() > looked_at + 1500
    )  # six looks at what is due, with an interim each second
    assert shop.sealed() == sealed
    assert shop.taken() == books

    said = await shop.meter("chain", "new")
    assert said.code == 0, said.err
    assert f"after the receiver's record {books[-1][1]}" in said.out
    await shop.agent.stop()
    await shop.run()
    rows = await receipted(shop, after=len(sealed), within_s=20)
    fresh = [row for row in rows if row[0] != sealed[-1][0]]
    assert len({row[0] for row in fresh}) == 1
    assert {row[5] for row in fresh if row[-1]} == {"counted"}
    assert (await shop.status())["trouble"] == []
    await shop.agent.stop()
    whole = shop.taken()
    assert whole[: len(books)] == books
    assert whole[len(books) :] == [row for row in shop.sealed() if row[0] != sealed[-1][0] and row[-1]]
    key = signature.private_key((shop.state / "signing-key.json").read_text()).public
    assert chain.examine([row[4] for row in shop.sealed() if row[0] != sealed[-1][0]], [key]).good
