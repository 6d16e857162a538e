"""The books on SQLite and on PostgreSQL: durable, strict, all or nothing, and one at a time across processes."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text

from agent.upstream import Verdict
from meter import signature
from meter.schema import canonical_bytes
from provider.books import Again, BooksUnusable, KeyEnded, Taken
from provider.receiving import receive
from provider.statements import Audit
from provider.storage import taking
from provider.storage.database import FILE
from provider.storage.opening import open_storage
from provider.storage.tables import metadata

AT = 1_796_464_800_000
#: Books that the code before Alembic filled: interims, a final, a correction, a refusal, a change of key.
EARLIER = Path(__file__).parents[2] / "golden" / "books-before-alembic.sql"
RECEIVER = signature.public_key("{" + EARLIER.read_text().partition("\n")[0].partition("{")[2])


class Ear:
    """Where the books would be: what comes is heard, and goes no further."""

    def __init__(self, books) -> None:
        self.key, self.heard = books.key, []

    async def take(self, arrival, rule):
        self.heard.append((arrival, rule))
        return KeyEnded()


async def heard(agent, token: str):
    """Return a record and the rule as they come to the books, without taking it."""
    ear = Ear(agent.receiver.books)
    await receive(token, ear, receiver=agent.receiver.key, now=AT)
    return ear.heard[0]


async def taken(books, tokens, receiver) -> list[str]:
    """Post records in order until each is taken; return the receipts."""
    bodies = []
    for token in tokens:
        reply = await receive(token, books, receiver=receiver, now=AT)
        while not reply.taken:
            reply = await receive(token, books, receiver=receiver, now=AT)
        bodies.append(reply.body)
    return bodies


async def test_the_file_is_set_up_for_invoices(tmp_path):
    """On SQLite: WAL, full synchronisation, foreign keys, and only STRICT tables of ours."""
    async with open_storage(tmp_path) as storage:
        pragmas, tables = await storage.database.read(
            lambda db: (
                [
                    db.exec_driver_sql(f"PRAGMA {name}").scalar()
                    for name in ("journal_mode", "synchronous", "foreign_keys")
                ],
                db.exec_driver_sql(
                    "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'"
                ).fetchall(),
            )
        )

    assert pragmas == ["wal", 2, 1]
    loose = {name for name, strict in tables if not strict and not name.startswith("sqlite_")}
    assert loose == {"alembic_version"}


async def test_the_server_must_have_it_on_disk(postgres, postgres_url, tmp_path):
    """On PostgreSQL a database that is set to answer before its disk has a commit is told otherwise."""
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")

    async with open_storage(tmp_path, postgres_url) as storage:
        set_to = await storage.database.write(
            lambda db: db.exec_driver_sql("SHOW synchronous_commit").scalar()
        )

    assert set_to == "on"


async def test_opening_again_changes_nothing(tmp_path, database):
    """The tables are made once; what is in them stays."""

    async def columns() -> list:
        async with open_storage(tmp_path, database) as storage:
            return await storage.database.read(
                lambda db: [(name, inspect(db).get_columns(name)) for name in inspect(db).get_table_names()]
            )

    assert repr(await columns()) == repr(await columns())


async def test_many_open_at_once(tmp_path, database):
    """Processes that start together on empty books make the tables once, and all of them can use them."""

    async def use() -> int:
        async with open_storage(tmp_path, database) as storage:
            return len(await storage.books.agents())

    assert await asyncio.wait_for(asyncio.gather(*(use() for _ in range(5))), 60) == [0] * 5


async def test_what_is_no_database_is_not_touched(tmp_path):
    """A file of another sort is refused and left as it is."""
    (tmp_path / FILE).write_bytes(b"not a database, but somebody's file" * 100)

    with pytest.raises(BooksUnusable):
        async with open_storage(tmp_path):
            pass

    assert (tmp_path / FILE).read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(
    "address",
    ["x", "mysql://somebody@127.0.0.1/books", "postgresql://somebody:s3cret@127.0.0.1:1/books"],
)
async def test_an_address_that_is_none(tmp_path, address):
    """What is no PostgreSQL, or one that nobody answers at, is refused without quoting its password."""
    with pytest.raises(BooksUnusable) as refused:
        async with open_storage(tmp_path, address):
            pass

    assert "s3cret" not in str(refused.value)


async def test_books_of_a_newer_build_are_refused(tmp_path, database):
    """A build that does not know the tables' state changes nothing and says what to do."""
    async with open_storage(tmp_path, database) as storage:
        await storage.database.write(
            lambda db: db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        )

    with pytest.raises(BooksUnusable, match="newer build"):
        async with open_storage(tmp_path, database):
            pass


async def test_a_rule_that_fails_changes_nothing(agent):
    """If anything breaks between judging and the end of writing, neither record nor receipt is there."""
    token = agent.book.seal()
    books = agent.receiver.books
    arrival, rule = await heard(agent, token)
    await books.take(arrival, rule)
    second = replace(arrival, sha256="0" * 64, place=replace(arrival.place, sequence=2, id="acme/2"))

    with pytest.raises(BooksUnusable):
        # Its receipt can't be stored: no column takes a list of such things.
        await books.take(second, lambda page: Taken(receipt=[object()]))
    with pytest.raises(ZeroDivisionError):
        await books.take(second, lambda page: 1 // 0)

    assert await agent.stored() == [token]
    assert isinstance(await books.take(arrival, lambda page: Again(page.receipt)), Again)


async def test_what_breaks_spoils_nothing_beside_it(agent, another):
    """Of records that are written together one that can't be stored fails alone; the others get their receipts."""
    books = agent.receiver.books
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(another(f"bru-{number}")) for number in range(6)]
        given = [await heard(one, one.book.seal()) for one in others]
        arrival, rule = given[3]
        given[3] = arrival, lambda page: replace(rule(page), receipt=[object()])  # no column takes that
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(books.take(*one) for one in given), return_exceptions=True), 30
        )

        spoilt = [number == 3 for number in range(6)]
        assert [isinstance(outcome, BooksUnusable) for outcome in outcomes] == spoilt
        assert [await one.stored() == [] for one in others] == spoilt


async def test_what_is_no_key_hinders_nobody(another, receiver):
    """A key change that brings in what is no key is refused with a receipt; those taken with it are counted."""
    async with AsyncExitStack() as stack:
        bad, well = [await stack.enter_async_context(another(f"b-{number:02}")) for number in range(2)]
        record = json.loads(signature.unverified_payload(bad.book.change_key(bad.key), signature.TYP_RECORD))
        record["data"]["new_key"]["x"] = (
            "A" * 42 + "B"
        )  # bits where none can be: no other text says the same key
        token = signature.sign(canonical_bytes(record), bad.key, signature.TYP_RECORD)
        given = [await heard(bad, token), await heard(well, well.book.seal())]

        outcomes = await receiver.storage.database.write(taking.take, given)

        assert [type(outcome) for outcome in outcomes] == [Taken, Taken]
        assert [outcome.reason is None for outcome in outcomes] == [False, True]
        assert await bad.stored() == [token]
        bad.book.tokens[-1] = token
        (verdict,) = await bad.post(bad.book.seal())
        assert verdict.verdict is Verdict.COUNTED


async def test_an_agents_records_wait_for_each_other(agent):
    """Records of one agent that are given at once are judged one after another, each after the one before was written."""
    tokens = agent.book.sealed(*["acme"] * 12)

    given = [await heard(agent, token) for token in tokens]

    rulings = await asyncio.wait_for(asyncio.gather(*(agent.receiver.books.take(*one) for one in given)), 30)

    assert {type(ruling) for ruling in rulings} == {Taken}
    assert await agent.stored() == tokens


async def test_a_read_is_one_state_of_the_books(agent, tmp_path, database):
    """Whoever reads sees the books as they were at one instant, whatever other processes write meanwhile."""
    tokens = agent.book.sealed("acme", "globex")
    await agent.post(tokens[0])
    loop = asyncio.get_running_loop()

    def read(connection) -> list[tuple[int, int]]:
        def state() -> tuple[int, int]:
            asked = ("SELECT count(*) FROM records", "SELECT last FROM chains")
            return tuple(connection.exec_driver_sql(one).scalar() for one in asked)

        before = state()
        asyncio.run_coroutine_threadsafe(agent.post(tokens[1]), loop).result(30)
        return [before, state()]

    async with open_storage(tmp_path, database) as other:
        assert await other.database.read(read) == [(1, 1), (1, 1)]
        assert await other.books.audit(agent.receiver.key.public) == Audit(1, 2, ())


async def test_nothing_is_written_by_a_read(postgres_url, tmp_path):
    """What would change the books in a read is refused by PostgreSQL itself."""
    async with open_storage(tmp_path, postgres_url) as storage:
        with pytest.raises(BooksUnusable, match="read-only"):
            await storage.database.read(lambda db: db.exec_driver_sql("DELETE FROM marks"))


async def test_a_failure_is_answered_as_passing(agent):
    """While the books can't be written the agent is told to come again, and then the record is counted."""
    token = agent.book.seal()
    database = agent.receiver.storage.database
    await database.write(lambda db: db.execute(text("ALTER TABLE records RENAME TO gone")))

    assert (await agent.upstream.post(token)).verdict is Verdict.TRY_AGAIN

    await database.write(lambda db: db.execute(text("ALTER TABLE gone RENAME TO records")))
    assert (await agent.upstream.post(token)).verdict is Verdict.COUNTED


async def test_who_gives_up_waiting_stops_nothing(agent, another):
    """A sender that goes away while its record waits leaves the others' answers as they are."""
    books, key = agent.receiver.books, agent.receiver.key
    async with another("bru-02") as other:
        tokens = [agent.book.seal(), other.book.seal()]
        posts = [asyncio.ensure_future(receive(token, books, receiver=key, now=AT)) for token in tokens]  # noqa: TID251  # to be cancelled
        await asyncio.wait(posts, timeout=0)
        posts[0].cancel()
        done = await asyncio.wait_for(asyncio.gather(*posts, return_exceptions=True), 30)

        assert isinstance(done[0], asyncio.CancelledError)
        assert done[1].status == 201
        assert (await receive(tokens[0], books, receiver=key, now=AT)).taken


async def test_two_processes_on_one_database(agent, tmp_path, database):
    """Two that take the same records at once wait for each other: every record is there once, all receipts agree."""
    tokens = agent.book.sealed(*["acme"] * 25)
    key = agent.receiver.key

    async with open_storage(tmp_path, database) as other:
        one, two = await asyncio.wait_for(
            asyncio.gather(taken(agent.receiver.books, tokens, key), taken(other.books, tokens, key)), 60
        )

    assert one == two
    assert await agent.stored() == tokens


async def test_many_agents_at_two_processes(agent, another, tmp_path, database):
    """Records of many agents that arrive at two processes at once, in any order of agents, block nobody for ever and are counted once."""
    key = agent.receiver.key
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(another(f"a-{number}")) for number in range(8)]
        other = await stack.enter_async_context(open_storage(tmp_path, database))
        chains = [side.book.sealed(*["acme"] * 6) for side in sides]
        given = await asyncio.wait_for(
            asyncio.gather(
                *(taken(agent.receiver.books, chain, key) for chain in chains),
                *(taken(other.books, chain, key) for chain in reversed(chains)),
            ),
            60,
        )

        assert given[:8] == given[8:][::-1]
        assert [await side.stored() for side in sides] == chains


async def test_a_record_is_there_when_its_receipt_is(agent, tmp_path, database):
    """A second reader sees a record as soon as its sender has the receipt."""
    answer = await agent.upstream.post(agent.book.seal())

    async with open_storage(tmp_path, database) as reader:
        rows = [(row.token, row.receipt) for row in await reader.books.records("ams-01")]

    assert rows == [(agent.book.tokens[0], answer.receipt_jws)]


async def test_signed_bytes_are_what_is_kept(agent):
    """What the books give back verifies with the agent's key: not one byte was touched."""
    name = "Café de Ünïcode 🏨"
    await agent.post(agent.book.seal(edit=lambda record: record["data"]["tenant"].update(name=name)))

    (token,) = await agent.stored()
    (row,) = await agent.receiver.books.summaries()

    assert name.encode() in signature.verify(token, [agent.key.public], signature.TYP_RECORD)
    assert row.name == name


async def test_what_is_signed_can_be_had_by_its_hash(agent):
    """The bytes of many records are given by agent and hash; what is not here is left out."""
    tokens = agent.book.sealed(*["acme"] * 3)
    await agent.post(*tokens)
    asked = [("ams-01", signature.sha256_hex(token)) for token in tokens[1:]]

    found = await agent.receiver.books.signed([*asked, ("ams-01", "0" * 64), ("bru-02", asked[0][1])])

    assert found == dict(zip(asked, tokens[1:], strict=True))


async def test_minute_series_are_read_by_time(agent):
    """A day's series is found by any time that touches it, and for the tenants that are asked for."""
    await agent.post(agent.book.seal(kind="minute-series"), agent.book.seal("globex", "minute-series"))
    books = agent.receiver.books
    rows = await books.series(0, AT)
    start, end = rows[0].start, rows[0].end

    assert [(row.tenant, row.day) for row in rows] == [("acme", "2026-11-12"), ("globex", "2026-11-12")]
    assert rows[0].runs("channels") == [[631, 0], [1, 17], [2, None], [806, 1]]
    assert await books.series(end, AT) == await books.series(0, start) == []
    assert [row.tenant for row in await books.series(end - 1, end, of=[("ams-01", "globex")])] == ["globex"]
    assert await books.series(0, AT, of=[]) == []


async def test_books_before_alembic_are_brought_over(tmp_path):
    """Books of the first builds open, keep every byte, and show what they did."""
    with sqlite3.connect(tmp_path / FILE) as old:
        old.executescript(EARLIER.read_text())
        before = old.execute("SELECT * FROM records ORDER BY chain, sequence").fetchall()
        shown = old.execute(
            "SELECT tenant, kind, revision, peak_channels FROM summaries ORDER BY 1, 2"
        ).fetchall()
    old.close()

    async with open_storage(tmp_path) as storage:
        now = await storage.database.read(
            lambda db: db.exec_driver_sql("SELECT * FROM records ORDER BY chain, sequence").fetchall()
        )
        kept = await storage.database.read(
            lambda db: db.exec_driver_sql(
                "SELECT tenant, kind, revision, peak_channels FROM summaries ORDER BY 1, 2"
            ).fetchall()
        )
        audit = await storage.books.audit(RECEIVER)
        (row,) = await storage.books.agents()

    assert list(map(tuple, now)) == before
    assert list(map(tuple, kept)) == shown
    assert audit.found == ()
    assert (row.head.sequence, row.counted, row.refused) == (9, 8, 1)


def differences(db) -> list:
    """Return what of the tables that are there is not as queries think; who is part of a key is never null anyway."""
    found = compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), metadata)
    flat = [one for each in found for one in (each if isinstance(each, list) else [each])]
    keys = {(table.name, column.name) for table in metadata.tables.values() for column in table.primary_key}
    return [one for one in flat if not (one[0] == "modify_nullable" and one[2:4] in keys)]


async def test_the_tables_are_what_queries_think(tmp_path, database):
    """What the migrations make and what the queries name are the same tables, columns, kinds and keys."""
    async with open_storage(tmp_path, database) as storage:
        assert await storage.database.read(differences) == []


async def test_books_that_were_brought_over_have_the_same_tables(tmp_path):
    """Nothing of the earlier build is left, and nothing of this one is missing."""
    with sqlite3.connect(tmp_path / FILE) as old:
        old.executescript(EARLIER.read_text())
    old.close()

    async with open_storage(tmp_path) as storage:
        assert await storage.database.read(differences) == []


@pytest.mark.parametrize("database", [None])  # what PostgreSQL does depends on how much is there
async def test_no_table_is_read_whole(tmp_path, agent, another, database):
    """On SQLite, taking and looking up several at once searches an index for each: what it costs does not grow with the books."""
    asked = []
    async with open_storage(tmp_path) as storage, another("bru-02") as other:
        engine = storage.database._engine

        def remember(_connection, _cursor, statement, parameters, _context, many) -> None:
            asked.append((statement, parameters[0] if many else parameters))

        event.listen(engine, "before_cursor_execute", remember)
        chains = [
            [side.book.seal(kind=kind) for kind in ("interim", "final", "minute-series", "interim")]
            for side in (agent, other)
        ]
        for tokens in (*chains, chains[0]):
            await taken(storage.books, tokens, agent.receiver.key)
        both = [await heard(side, side.book.seal()) for side in (agent, other)]
        await asyncio.gather(*(storage.books.take(*one) for one in both))
        hashes = [("ams-01", signature.sha256_hex(token)) for token in chains[0]]
        assert len(await storage.books.signed(hashes)) == 4
        assert await storage.books.series(0, AT, of=[("ams-01", "acme"), ("bru-02", "acme")])
        event.remove(engine, "before_cursor_execute", remember)
        plans = await storage.database.read(
            lambda db: {
                step[3]: statement
                for statement, parameters in asked
                if not statement.startswith(("BEGIN", "INSERT"))
                for step in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
            }
        )

    assert any(step.startswith("SEARCH records") for step in plans)
    whole = {
        step: statement for step, statement in plans.items() if re.match(r"SCAN (?!\d|CONSTANT|\()", step)
    }
    assert whole == {}
