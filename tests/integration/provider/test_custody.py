"""Rebuilding what is derived, and auditing everything: on both databases, with every sort of damage."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from meter import signature
from meter.signature import sha256_hex
from provider.closings import Closing
from provider.partners import Partner, Placement
from provider.storage.opening import open_storage


@pytest.fixture
async def filled(agent):
    """An agent's books with every kind of record, a refused one, and a second chain."""
    book = agent.book
    final = book.seal(kind="final")
    await agent.post(
        final,
        book.seal("globex"),
        book.seal("stranger"),
        book.seal(kind="minute-series"),
        book.correct(final, 2),
        book.change_key(signature.new_key()),
        book.seal(revision=40),
    )
    agent.key = book.key
    other = agent.new_book("c-2", book.last())
    agent.book = other
    await agent.post(other.seal(revision=41), other.seal("globex", "minute-series"))
    return agent


async def change(agent, statement: str) -> None:
    await agent.receiver.storage.database.write(lambda db: db.execute(text(statement)))


async def derived(agent) -> list:
    books = agent.receiver.books
    return [
        await books.summaries(every=True),
        await books.interims(),
        await books.series(0, 2**40),
        await books.head("ams-01"),
    ]


async def found(agent) -> list[str]:
    return list((await agent.receiver.books.audit(agent.receiver.key.public)).found)


async def test_whole_books(filled):
    """Of books that are as they were signed the audit finds nothing, and says how much it read."""
    audit = await filled.receiver.books.audit(filled.receiver.key.public)

    assert audit.found == ()
    assert (audit.agents, audit.records) == (1, 9)


async def test_rebuilding(filled):
    """Everything that is derived can be thrown away and made again, and comes out the same."""
    before = await derived(filled)
    for statement in (
        "DELETE FROM summaries",
        "DELETE FROM minute_series",
        "UPDATE chains SET last = 0, last_sha256 = NULL",
    ):
        await change(filled, statement)
    assert await found(filled) != []

    rows = await filled.receiver.books.rebuild()

    assert rows == 6
    assert await derived(filled) == before
    assert await found(filled) == []


async def test_books_of_another_derivation_are_rebuilt_at_opening(filled, tmp_path, database):
    """A build that derives otherwise than the one before makes the rows again when it opens the books."""
    before = await derived(filled)
    await change(filled, "UPDATE marks SET value = 0 WHERE name = 'derived'")
    await change(filled, "DELETE FROM summaries")

    async with open_storage(tmp_path, database):
        pass

    assert await derived(filled) == before


#: (what is done to the books, what the audit says of it)
DAMAGE = [
    ("UPDATE records SET jws = replace(jws, 'a', 'b') WHERE sequence = 2 AND chain = 'c-1'", "its hash is not that of its bytes"),
    ("UPDATE records SET sha256 = '0' || substr(sha256, 2) WHERE sequence = 2 AND chain = 'c-1'", "its hash is not that of its bytes"),
    ("UPDATE records SET receipt = 'x' WHERE sequence = 3 AND chain = 'c-1'", "its receipt proves nothing"),
    ("UPDATE records SET receipt = (SELECT r.receipt FROM records r WHERE r.sequence = 4 AND r.chain = 'c-1') WHERE sequence = 3 AND chain = 'c-1'", "its receipt speaks of something else"),
    ("UPDATE records SET status = 'refused', reason = 'x' WHERE sequence = 1 AND chain = 'c-1'", "its receipt speaks of something else"),
    ("UPDATE records SET status = 'counted', reason = NULL WHERE reason IS NOT NULL", "the derived row is missing"),
    ("DELETE FROM records WHERE sequence = 2 AND chain = 'c-1'", "number 2 of chain c-1 never came"),
    ("DELETE FROM records WHERE sequence IN (2, 3) AND chain = 'c-1'", "numbers 2 to 3 of chain c-1 never came"),
    ("UPDATE records SET taken_at = taken_at + 1 WHERE sequence = 1 AND chain = 'c-2'", "its receipt speaks of something else"),
    ("UPDATE records SET id = id || 'x' WHERE sequence = 1 AND chain = 'c-2'", "it stands elsewhere than it says itself"),
    ("UPDATE summaries SET peak_channels = 16 WHERE kind = 'final'", "acme/2026-11/final/1: peak_channels is 16 where the record says 17"),
    ("DELETE FROM summaries WHERE kind = 'correction'", "acme/2026-11/correction/2: the derived row is missing"),
    ("UPDATE minute_series SET day = '2026-11-13' WHERE tenant = 'acme'", "acme/2026-11-13: there is a derived row, and no counted record for it"),
    ("UPDATE minute_series SET channels = '[]' WHERE tenant = 'acme'", "channels is [] where the record says"),
    ("UPDATE chains SET last = 2 WHERE id = 'c-2' AND last != 2 OR id = 'c-1'", "chain c-1: its end is not that of its last record"),
    ("UPDATE agents SET chain = 'c-1'", "it is said to be on another chain than its newest"),
    ("UPDATE keys SET jwk = (SELECT jwk FROM keys ORDER BY number DESC LIMIT 1)", "signed by a key that is not known here"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "sentence"), DAMAGE)
async def test_damage_is_found(filled, statement, sentence):
    """Whatever is altered, removed or added behind the software's back is found, and named in words."""
    await change(filled, statement)

    words = await found(filled)

    assert any(sentence in one for one in words), words
    assert all(one.startswith("agent ams-01: ") for one in words)


async def test_a_receipt_of_another_receiver(filled):
    """Receipts that this receiver's key did not sign prove nothing."""
    audit = await filled.receiver.books.audit(signature.new_key().public)

    assert len(audit.found) == audit.records


async def test_missing_records_are_named_until_they_come(agent, tmp_path_factory, clock):
    """Books that lack the beginning of a chain are not whole until it has come."""
    tokens = agent.book.sealed(*["acme"] * 5)
    await change(agent, "UPDATE agents SET rejoining = 1")
    await agent.post(*tokens[3:])
    assert await found(agent) == ["agent ams-01: numbers 1 to 3 of chain c-1 never came"]

    await agent.post(*tokens[:3])

    assert await found(agent) == []
    assert sha256_hex(tokens[-1]) == (await agent.receiver.books.head("ams-01")).sha256


async def test_the_providers_own_part_is_checked(agent):
    """A partner under nobody, and a report whose bytes were altered, are found."""
    await agent.receiver.storage.partners.change(
        [Partner("north", "North", parent="nobody")],
        [Placement("ams-01", "acme", partner="gone")],
        lambda *_: [],
    )
    await agent.receiver.storage.closings.close(Closing("2026-11", 1, 1, b"figures", "0" * 64))

    words = await found(agent)

    assert "partner north: there is no partner nobody on any day" in words
    assert "tenant acme of ams-01: there is no partner gone on any day" in words
    assert "report 2026-11 revision 1: its hash is not that of its bytes" in words
