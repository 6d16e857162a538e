"""Enrolment over a real connection: once per token, and silence for everybody else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from agent.upstream import Judged, Verdict, enrol
from meter import messages, signature
from provider.storage.tables import metadata

DAY_MS = 86_400_000


async def ask(receiver, session, token: str) -> tuple[int, bytes]:
    async with session.post(f"{receiver.url}/v1/agents", data=token) as answer:
        return answer.status, await answer.read()


async def test_an_agent_enrols(receiver, session, clock):
    """An invited agent learns the receiver's key, which is the one its invitation names, and its tenants."""
    key = signature.new_key()
    line = (await receiver.invite("ams-01", ["acme", "globex"])).line()

    pinned, word = await enrol(session, messages.read_invitation(line), key, now=clock)

    assert pinned == receiver.key.public
    assert (word.agent, word.key, word.tenants) == ("ams-01", key.public.thumbprint, ("acme", "globex"))
    assert (await receiver.books.key(key.public.thumbprint)).agent == "ams-01"


async def test_the_same_again_is_the_same(receiver, session, clock):
    """The same token, agent and key get the same 201, byte for byte, even after the token has expired."""
    token = messages.seal_enrolment(await receiver.invite("ams-01", ["acme"]), signature.new_key())
    first = await ask(receiver, session, token)
    clock.at += 30 * DAY_MS

    assert first[0] == 201
    assert await ask(receiver, session, token) == first


async def test_everything_else_is_one_answer(receiver, session, clock):
    """Unknown, used, expired, for another agent, receiver or key: the same 403, so nothing is learnt."""
    key = signature.new_key()
    invitation = await receiver.invite("ams-01", ["acme"])
    assert (await ask(receiver, session, messages.seal_enrolment(invitation, key)))[0] == 201
    fresh = await receiver.invite("ams-02", ["acme"])
    old = await receiver.invite("ams-03", ["acme"], days=1)
    clock.at += DAY_MS
    wrong = [
        (invitation, signature.new_key()),  # used by another key
        (replace(fresh, token="x" * 32), signature.new_key()),  # unknown token
        (replace(fresh, token="x" * 32, agent="ams-01"), key),  # unknown token, known agent and key
        (replace(fresh, agent="ams-01"), signature.new_key()),  # for another agent
        (replace(fresh, url="https://elsewhere.example"), signature.new_key()),  # another audience
        (fresh, key),  # a key that is another agent's
        (old, signature.new_key()),  # expired
    ]

    answers = [await ask(receiver, session, messages.seal_enrolment(*each)) for each in wrong]

    assert answers == [(403, b'{"error": "enrolment"}')] * len(wrong)
    assert (await ask(receiver, session, messages.seal_enrolment(fresh, signature.new_key())))[0] == 201


async def test_a_withdrawn_key_does_not_come_back(receiver, session):
    """A token that a withdrawn key used, or a fresh one, does not make it good again."""
    key = signature.new_key()
    used = messages.seal_enrolment(await receiver.invite("ams-01", ["acme"]), key)
    assert (await ask(receiver, session, used))[0] == 201
    await receiver.books.withdraw("ams-01", key.public.thumbprint)

    fresh = messages.seal_enrolment(await receiver.invite("ams-01", ["acme"]), key)

    assert (await ask(receiver, session, used))[0] == 403
    assert (await ask(receiver, session, fresh))[0] == 403


async def test_the_agent_hears_what_is_wrong(receiver, session, clock):
    """A refused invitation and a receiver with another key are values with a hint, not tracebacks."""
    invitation = await receiver.invite("ams-01", ["acme"])
    key = signature.new_key()

    impostor = await enrol(session, replace(invitation, receiver="k" * 43), key, now=clock)
    refused = await enrol(session, replace(invitation, token="x" * 32), key, now=clock)

    assert isinstance(impostor, Judged)
    assert (impostor.verdict, refused.verdict) == (Verdict.KEY_TROUBLE, Verdict.REFUSED)
    assert impostor.hint
    assert refused.hint


async def test_the_token_is_not_stored(receiver, tmp_path):
    """The books hold the hash of a token, not the token."""
    invitation = await receiver.invite("ams-01", ["acme"])

    rows = await receiver.storage.database.read(
        lambda db: [tuple(row) for table in metadata.sorted_tables for row in db.execute(select(table))]
    )
    files = b"".join(file.read_bytes() for file in tmp_path.iterdir())

    assert "ams-01" in repr(rows)
    assert invitation.token not in repr(rows)
    assert invitation.token.encode() not in files


async def test_keys_of_a_known_agent(agent):
    """After a fresh token both keys are good until the new one has signed: what was sealed before still arrives."""
    first = agent.book.seal()
    old, new = agent.key, signature.new_key()
    await agent.enrol(key=new)
    assert (await agent.upstream.post(first)).verdict is Verdict.COUNTED

    agent.book.key = new
    assert (await agent.upstream.post(agent.book.seal())).verdict is Verdict.COUNTED
    agent.book.key = old
    assert (await agent.upstream.post(agent.book.seal())).verdict is Verdict.KEY_TROUBLE


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "{}", "x" * 9000])
async def test_what_is_no_request_is_refused(receiver, session, token):
    """Anything that is no enrolment is refused before the books are asked."""
    status, _ = await ask(receiver, session, token)

    assert status in (403, 413, 422)
