"""Every row of the judging table of spec/upstream.md, over a real connection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from email.utils import parsedate_to_datetime

from agent.upstream import Position, Standing, Step, Verdict, compare
from meter import signature
from meter.signature import sha256_hex
from provider.serving import serving


def verdicts(answers) -> list[Verdict]:
    return [answer.verdict for answer in answers]


async def test_a_chain_is_counted(agent):
    """Records in order are counted, kept byte for byte, and each has its receipt."""
    tokens = agent.book.sealed("acme", "globex", "acme")

    answers = await agent.post(*tokens)

    assert verdicts(answers) == [Verdict.COUNTED] * 3
    assert {answer.step for answer in answers} == {Step.GO_ON}
    assert [answer.receipt.sequence for answer in answers] == [1, 2, 3]
    assert await agent.stored() == tokens
    assert [row.receipt for row in await agent.receiver.books.records("ams-01")] == [
        answer.receipt_jws for answer in answers
    ]


async def test_the_same_bytes_again(agent, clock):
    """The very same bytes get the receipt of then, and stand in the books once."""
    tokens = agent.book.sealed("acme", "acme")
    first = await agent.post(*tokens)
    clock.at += 3_600_000

    again = await agent.post(*tokens)

    assert [answer.receipt_jws for answer in again] == [answer.receipt_jws for answer in first]
    assert len(await agent.stored()) == 2


async def test_a_conflict(agent):
    """Other bytes for a number or an id that is taken are a conflict: stop sealing, overwrite nothing."""
    agent.book.sealed("acme", "acme")
    await agent.post(*agent.book.tokens)
    copy = agent.new_book()
    same_number = copy.seal(edit=lambda record: record.update(time="2026-11-09T00:00:00.000Z"))
    same_id = agent.book.seal(revision=1)

    for token in (same_number, same_id):
        (answer,) = await agent.post(token)

        assert (answer.verdict, answer.step) == (Verdict.CONFLICT, Step.STOP_SEALING)
        assert "chain new" in answer.hint
    assert await agent.stored() == agent.book.tokens[:2]


async def test_a_wrong_number(agent):
    """A number out of turn is answered with the one that is expected, and from there it goes on."""
    tokens = agent.book.sealed("acme", "acme", "acme", "acme")
    await agent.post(tokens[0])

    (answer,) = await agent.post(tokens[3])

    assert (answer.verdict, answer.step) == (Verdict.SEQUENCE, Step.SEND_FROM)
    assert (answer.expected, answer.last_sha256) == (2, sha256_hex(tokens[0]))
    assert verdicts(await agent.post(*tokens[answer.expected - 1 :])) == [Verdict.COUNTED] * 3


async def test_a_fork(agent):
    """The next number after another record than ours is a fork."""
    await agent.post(agent.book.seal())
    copy = agent.new_book()
    copy.seal(edit=lambda record: record.update(time="2026-11-09T00:00:00.000Z"))

    (answer,) = await agent.post(copy.seal())

    assert (answer.verdict, answer.step) == (Verdict.FORK, Step.STOP_SEALING)


async def test_content_that_cant_be_counted(agent):
    """A tenant that is not enrolled, a wrong form and an unknown kind take their places and are refused."""
    agent.book.seal("stranger")
    agent.book.seal(edit=lambda record: record["data"]["levels"].pop("calls"))
    agent.book.seal(edit=lambda record: record.update(type="pbx-meter.later.v1"))
    agent.book.seal()

    answers = await agent.post(*agent.book.tokens)

    assert verdicts(answers) == [Verdict.REFUSED] * 3 + [Verdict.COUNTED]
    assert [answer.step for answer in answers] == [Step.GO_ON] * 4
    assert "stranger" in answers[0].receipt.reason
    rows = await agent.receiver.books.records("ams-01")
    assert [row.status for row in rows] == ["refused", "refused", "refused", "counted"]
    assert [row.token for row in rows] == agent.book.tokens


async def test_a_refused_final_is_replaced(agent):
    """After its tenant was enrolled, a correction replaces a final that was refused, and it counts."""
    final = agent.book.seal("later-on", "final")
    await agent.post(final)
    await agent.enrol("acme", "later-on")

    (answer,) = await agent.post(agent.book.correct(final, 2, "later-on"))

    assert answer.verdict is Verdict.COUNTED
    (row,) = await agent.receiver.books.summaries(tenant="later-on")
    assert (row.state, row.revision, row.peak_channels) == ("corrected", 2, 17)


async def test_an_unknown_key(agent):
    """A record by a key that nobody enrolled is a key problem; nothing is burnt."""
    stranger = agent.new_book()
    stranger.key = signature.new_key()

    (answer,) = await agent.post(stranger.seal())

    assert (answer.verdict, answer.step) == (Verdict.KEY_TROUBLE, Step.RETRY_SLOWLY)
    assert answer.not_before_s == 600
    assert await agent.stored() == []


async def test_a_withdrawn_key(agent):
    """After a key was withdrawn not even what was taken before is answered, until a new key is enrolled."""
    token = agent.book.seal()
    await agent.post(token)
    assert await agent.receiver.books.withdraw("ams-01") == [agent.key.public.thumbprint]

    answers = await agent.post(token, agent.book.seal())
    assert verdicts(answers) == [Verdict.KEY_TROUBLE] * 2
    assert (await agent.upstream.position(agent.key)).verdict is Verdict.KEY_TROUBLE

    await agent.enrol(key=signature.new_key())
    fresh = agent.new_book("c-2", {"chain": "c-1", "sequence": 1, "sha256": sha256_hex(token)})
    assert verdicts(await agent.post(fresh.seal(revision=9))) == [Verdict.COUNTED]


async def test_another_agents_record(agent, another):
    """A good key does not speak for another agent."""
    async with another("bru-02") as other:
        forged = agent.new_book("c-bru-02")
        forged.agent = "bru-02"

        (answer,) = await agent.post(forged.seal())

        assert answer.verdict is Verdict.KEY_TROUBLE
        assert await other.stored() == []
        assert verdicts(await other.post(other.book.seal())) == [Verdict.COUNTED]


async def test_a_key_change(agent):
    """From the record after a key change on the new key signs, and the old one no more."""
    new = signature.new_key()
    old = agent.key
    before = agent.book.seal()
    change = agent.book.change_key(new)
    after = agent.book.seal()

    assert verdicts(await agent.post(before, change, after)) == [Verdict.COUNTED] * 3
    assert verdicts(await agent.post(before)) == [Verdict.COUNTED]  # the receipt of then
    agent.book.key = old
    assert verdicts(await agent.post(agent.book.seal())) == [Verdict.KEY_TROUBLE]
    agents = await agent.receiver.books.agents()
    assert agents[0].keys == ((new.public.thumbprint, "active"), (old.public.thumbprint, "superseded"))


async def test_a_key_change_without_consent(agent):
    """A key change whose proof is not the new key's is refused, and the old key goes on signing."""
    agent.book.seal()
    agent.book.change_key(signature.new_key())
    agent.book.tokens.pop()
    agent.book.key = agent.key
    thief = signature.new_key()

    def claim(record: dict) -> None:
        data = record["data"]
        record |= {"type": "pbx-meter.key-change.v1", "subject": "ams-01", "id": "ams-01/key-change/1"}
        data |= {"tenant_sequence": None, "tenant_previous_sha256": None, "kind": "key-change", "number": 1}
        data |= {"old_key": agent.key.public.thumbprint, "new_key": thief.public.jwk, "proof": "a.b.c"}

    agent.book.seal(edit=claim)
    agent.book.seal()

    answers = await agent.post(*agent.book.tokens)

    assert verdicts(answers) == [Verdict.COUNTED, Verdict.REFUSED, Verdict.COUNTED]


async def test_a_new_chain(agent):
    """A new chain that names our last record goes on where the old one ended; the old one is closed."""
    old = agent.book
    await agent.post(*old.sealed("acme", "acme"))
    new = agent.new_book("c-2", old.last())

    assert verdicts(await agent.post(*new.sealed("acme", "globex"))) == [Verdict.COUNTED] * 2
    assert verdicts(await agent.post(old.seal())) == [Verdict.FORK]
    assert await agent.upstream.position(agent.key) == Position("c-2", 2, sha256_hex(new.tokens[1]))


async def test_a_second_final_is_refused(agent):
    """A restored copy that closes a month again in a new chain gets its final refused, not counted twice."""
    old = agent.book
    await agent.post(old.seal(kind="final"))
    new = agent.new_book("c-2", old.last())

    (answer,) = await agent.post(new.seal(kind="final"))

    assert answer.verdict is Verdict.REFUSED
    assert "counted already" in answer.receipt.reason
    (row,) = await agent.receiver.books.summaries()
    assert row.sha256 == sha256_hex(old.tokens[0])


async def test_positions(agent):
    """The receiver says how far its books go, and the agent concludes whether it may seal."""
    tokens = agent.book.sealed("acme", "acme")
    assert await agent.upstream.position(agent.key) == Position(None)
    await agent.post(*tokens)

    position = await agent.upstream.position(agent.key)

    def standing(**changes: object) -> Standing:
        own = {"chain": "c-1", "last_sequence": 2, "continues": None}
        hashes = {1: sha256_hex(tokens[0]), 2: sha256_hex(tokens[1])}
        return compare(position, **(own | {"sha256_at": hashes.get} | changes))

    assert position == Position("c-1", 2, sha256_hex(tokens[1]))
    assert standing() is Standing.AGREED
    assert standing(last_sequence=5) is Standing.AGREED
    assert standing(last_sequence=1) is Standing.AHEAD
    assert standing(sha256_at={2: "0" * 64}.get) is Standing.FORKED
    assert standing(chain="c-2") is Standing.FORKED
    assert standing(chain="c-2", continues=("c-1", 2, sha256_hex(tokens[1]))) is Standing.AGREED


async def test_the_own_clock_is_off(agent, clock, session):
    """An agent whose clock is a year off asks with the time of the receiver's answers, and learns its position."""
    token = agent.book.seal()
    await agent.post(token)
    date = (await session.get(agent.receiver.url)).headers["Date"]
    clock.at = int(parsedate_to_datetime(date).timestamp() * 1000)

    lost = replace(agent.upstream, now=lambda: clock.at - 365 * 86_400_000)

    assert await lost.position(agent.key) == Position("c-1", 1, sha256_hex(token))


async def test_lost_books(agent, tmp_path_factory, clock):
    """A receiver that lost its books carries on after a fresh token, names what is missing, and takes it later."""
    tokens = agent.book.sealed("acme", "acme", "acme", "acme", "acme")
    await agent.post(*tokens[:3])
    folder = tmp_path_factory.mktemp("restored")
    async with serving(folder, now=clock) as empty:
        agent.receiver = empty
        agent.upstream = replace(agent.upstream, url=empty.url, receiver=empty.key.public)
        assert verdicts(await agent.post(tokens[3])) == [Verdict.KEY_TROUBLE]
        await agent.enrol()
        assert verdicts(await agent.post(*tokens[3:])) == [Verdict.COUNTED] * 2
        (row,) = await empty.books.agents()
        assert row.missing == (("c-1", 1, 3),)

        assert verdicts(await agent.post(tokens[0], tokens[2], tokens[1])) == [Verdict.COUNTED] * 3

        (row,) = await empty.books.agents()
        assert row.missing == ()
        assert await agent.stored() == tokens


async def test_two_senders_of_one_agent(agent):
    """Two processes that send the same chain at once leave every record in the books once, in order."""
    tokens = agent.book.sealed(*["acme", "globex"] * 15)

    async def send() -> list[Verdict]:
        given = []
        for token in tokens:
            answer = await agent.upstream.post(token)
            while answer.verdict is Verdict.SEQUENCE:
                answer = await agent.upstream.post(tokens[answer.expected - 1])
                if answer.verdict is Verdict.COUNTED and answer.receipt.sha256 != sha256_hex(token):
                    answer = await agent.upstream.post(token)
            given.append((answer.verdict, answer.receipt_jws))
        return given

    one, two = await asyncio.wait_for(asyncio.gather(send(), send()), 60)

    assert one == two
    assert {verdict for verdict, _ in one} == {Verdict.COUNTED}
    assert await agent.stored() == tokens


async def test_two_copies_of_one_agent(agent):
    """Of two copies that seal different records, exactly one gets each number; the other hears of it."""
    copy = agent.new_book()
    mine = agent.book.sealed(*["acme"] * 5)
    for _ in mine:
        copy.seal(edit=lambda record: record.update(time="2026-11-09T00:00:00.000Z"))

    async def send(tokens: list[str]) -> list[Verdict]:
        return verdicts(await agent.post(*tokens))

    answers = await asyncio.wait_for(asyncio.gather(send(mine), send(copy.tokens)), 60)

    won, lost = answers if answers[0][0] is Verdict.COUNTED else reversed(answers)
    assert won == [Verdict.COUNTED] * 5
    assert set(lost) <= {Verdict.CONFLICT, Verdict.FORK, Verdict.SEQUENCE}
    assert await agent.stored() == (mine if won is answers[0] else copy.tokens)


async def test_the_newest_statement(agent):
    """Summaries show the newest interim until there is a final, and corrections after it; what was replaced is kept and shown beside it."""
    book, books = agent.book, agent.receiver.books
    await agent.post(book.seal(), book.seal("globex"), book.seal())
    assert [(row.tenant, row.state, row.revision) for row in await books.summaries()] == [
        ("acme", "open", 2),
        ("globex", "open", 1),
    ]
    assert (await books.summaries())[0].peak_channels is None

    final = book.seal(kind="final")
    await agent.post(final, book.seal(kind="minute-series"), book.seal(revision=77))
    (row,) = await books.summaries(tenant="acme")
    assert (row.state, row.revision, row.peak_channels, row.peak_calls, row.peak_answered) == (
        "final",
        1,
        17,
        16,
        14,
    )
    assert (row.users, row.capacity, row.expected_ms - row.observed_ms) == (42, 16, 120_000)

    await agent.post(book.correct(final, 2))
    (row,) = await books.summaries(tenant="acme", agent="ams-01")
    assert (row.state, row.revision) == ("corrected", 2)
    assert await books.summaries(agent="nobody") == []
    both = await books.summaries(tenant="acme", every=True)
    assert [(row.state, row.revision) for row in both] == [("corrected", 2), ("final", 1)]


async def test_an_interim_that_comes_late(agent, tmp_path_factory, clock):
    """Of two interims that come in the wrong order, as after lost books, the one that knows more stands, and the other is named until it comes; a final stands before any."""
    book = agent.book

    def earlier(record: dict) -> None:
        record["data"]["as_of"] = record["data"]["period"]["start"]

    tokens = [book.seal(edit=earlier), book.seal(), book.seal(kind="final"), book.seal(revision=77)]
    async with serving(tmp_path_factory.mktemp("restored"), now=clock) as empty:
        agent.receiver = empty
        await agent.enrol()
        assert verdicts(await agent.post(tokens[1])) == [Verdict.COUNTED]
        (newest,) = await empty.books.summaries()
        assert (await empty.books.agents())[0].missing == (("c-1", 1, 1),)

        assert verdicts(await agent.post(tokens[0])) == [Verdict.COUNTED]
        assert (await empty.books.agents())[0].missing == ()
        assert await empty.books.summaries() == [newest]

        assert verdicts(await agent.post(*tokens[2:])) == [Verdict.COUNTED] * 2
        assert [(row.state, row.revision) for row in await empty.books.summaries()] == [("final", 1)]


async def test_a_receipt_that_is_not_the_receivers(agent):
    """A receipt that the pinned key did not sign is no receipt."""
    agent.upstream = replace(agent.upstream, receiver=signature.new_key().public)

    (answer,) = await agent.post(agent.book.seal())

    assert (answer.verdict, answer.step) == (Verdict.KEY_TROUBLE, Step.RETRY_SLOWLY)
    assert answer.receipt_jws is None
