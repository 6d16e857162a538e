"""The books on SQLite: durable, strict, all or nothing, and one at a time across processes."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace

import pytest

from agent.upstream import Verdict
from meter import signature
from provider.books import Again, BooksUnusable, Taken
from provider.receiving import receive
from provider.sqlite_books import FILE, open_books


async def test_the_file_is_set_up_for_invoices(tmp_path):
    """WAL, full synchronisation, foreign keys, and only STRICT tables of ours."""
    async with open_books(tmp_path / FILE) as books:
        pragmas = await books._run(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        )
        tables = await books._run(
            lambda db: db.execute(
                "SELECT name, strict FROM pragma_table_list WHERE schema = 'main'"
            ).fetchall()
        )

    assert pragmas == ["wal", 2, 1]
    loose = {name for name, strict in tables if not strict and not name.startswith("sqlite_")}
    assert loose == {"_sqlite_migrations"}


async def test_opening_again_changes_nothing(tmp_path):
    """The tables are made once; what is in them stays."""

    async def schema() -> list[tuple]:
        async with open_books(tmp_path / FILE) as books:
            return await books._run(
                lambda db: db.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
            )

    assert await schema() == await schema()


async def test_what_is_no_database_is_not_touched(tmp_path):
    """A file of another sort is refused and left as it is."""
    (tmp_path / FILE).write_bytes(b"not a database, but somebody's file" * 100)

    with pytest.raises(BooksUnusable):
        async with open_books(tmp_path / FILE):
            pass

    assert (tmp_path / FILE).read_bytes().startswith(b"not a database")


async def test_a_rule_that_fails_changes_nothing(agent):
    """If anything breaks between judging and the end of writing, neither record nor receipt is there."""
    token = agent.book.seal()
    books = agent.receiver.books
    arrivals = []

    class Overheard:
        """The books, with an ear at `take`."""

        key = books.key

        async def take(self, arrival, rule):
            arrivals.append((arrival, rule))
            return await books.take(arrival, rule)

    await receive(token, Overheard(), receiver=agent.receiver.key, now=1)
    (arrival, _) = arrivals[0]
    second = replace(arrival, sha256="0" * 64, place=replace(arrival.place, sequence=2, id="acme/2"))

    with pytest.raises(BooksUnusable):
        # Its receipt can't be stored: a STRICT column takes no list.
        await books.take(second, lambda page: Taken(receipt=["no text"]))
    with pytest.raises(ZeroDivisionError):
        await books.take(second, lambda page: 1 // 0)

    assert await agent.stored() == [token]
    assert isinstance(await books.take(arrival, lambda page: Again(page.receipt)), Again)


async def test_a_failure_is_answered_as_passing(agent, tmp_path):
    """While the books can't be written the agent is told to come again, and then the record is counted."""
    token = agent.book.seal()
    await agent.receiver.books._run(lambda db: db.execute("PRAGMA query_only = ON"))

    assert (await agent.upstream.post(token)).verdict is Verdict.TRY_AGAIN

    await agent.receiver.books._run(lambda db: db.execute("PRAGMA query_only = OFF"))
    assert (await agent.upstream.post(token)).verdict is Verdict.COUNTED


async def test_two_processes_on_one_file(agent, tmp_path):
    """An import beside a serving receiver waits its turn: every record is there once, all receipts agree."""
    tokens = agent.book.sealed(*["acme"] * 25)

    async with open_books(tmp_path / FILE) as other:

        async def take(books) -> list[str]:
            bodies = []
            for token in tokens:
                reply = await receive(token, books, receiver=agent.receiver.key, now=1)
                while not reply.taken:
                    reply = await receive(token, books, receiver=agent.receiver.key, now=1)
                bodies.append(reply.body)
            return bodies

        one, two = await asyncio.wait_for(asyncio.gather(take(agent.receiver.books), take(other)), 60)

    assert one == two
    assert await agent.stored() == tokens


async def test_a_record_is_there_when_its_receipt_is(agent, tmp_path):
    """A second reader of the file sees a record as soon as its sender has the receipt."""
    answer = await agent.upstream.post(agent.book.seal())

    with sqlite3.connect(tmp_path / FILE) as reader:
        rows = reader.execute("SELECT jws, receipt FROM records").fetchall()
    reader.close()

    assert rows == [(agent.book.tokens[0], answer.receipt_jws)]


async def test_signed_bytes_are_what_is_kept(agent):
    """What the books give back verifies with the agent's key: not one byte was touched."""
    name = "Café de Ünïcode 🏨"
    await agent.post(agent.book.seal(edit=lambda record: record["data"]["tenant"].update(name=name)))

    (token,) = await agent.stored()

    assert name.encode() in signature.verify(token, [agent.key.public], signature.TYP_RECORD)
