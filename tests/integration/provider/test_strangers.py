"""What a stranger can do to a receiver: cost it little, and learn nothing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OctKey

from agent.upstream import Verdict
from meter import messages, signature
from meter.signature import TYP_POSITION, TYP_RECEIPT, TYP_RECORD
from provider.serving import serving


def segment(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def forged(agent, payload: bytes, **changes: object) -> str:
    """A token with this header whose signature by the agent's own key is good."""
    header = {"alg": "EdDSA", "kid": agent.key.public.thumbprint, "typ": TYP_RECORD} | changes
    signed = f"{segment(json.dumps(header).encode())}.{segment(payload)}"
    return f"{signed}.{segment(signature.sign_bytes(signed.encode(), agent.key))}"


async def post(agent, body: object, **headers: str) -> tuple[int, dict]:
    async with agent.session.post(f"{agent.receiver.url}/v1/summaries", data=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.read())


async def test_algorithms_and_headers(agent):
    """No other algorithm, sort, or member of the header gets past the door, even with a good signature."""
    payload = signature.verify(agent.book.seal(), [agent.key.public], TYP_RECORD)
    kid = agent.key.public.thumbprint
    header = {"kid": kid, "typ": TYP_RECORD}
    shared = OctKey.import_key({"kty": "oct", "k": segment(agent.key.public.raw)})
    tokens = [
        forged(agent, payload, alg="none"),
        forged(agent, payload, alg="HS256"),
        forged(agent, payload, alg="ES256"),
        forged(agent, payload, typ=TYP_RECEIPT),
        forged(agent, payload, typ=TYP_POSITION),
        forged(agent, payload, crit=["b64"], b64=False),
        forged(agent, payload, crit=["x"], x=1),
        forged(agent, payload, jwk=agent.key.public.jwk),
        jws.serialize_compact({"alg": "HS256"} | header, payload, shared),
        jws.serialize_compact({"alg": "ES256"} | header, payload, ECKey.generate_key("P-256")),
        f"{segment(json.dumps({'alg': 'none'} | header).encode())}.{segment(payload)}.",
    ]

    for token in tokens:
        assert (await post(agent, token))[0] == 422
    assert await agent.stored() == []
    assert (await agent.upstream.post(forged(agent, payload, alg="Ed25519"))).verdict is Verdict.COUNTED


async def test_nobody_learns_which_keys_exist(agent):
    """An unknown key, a known one with a wrong signature and a withdrawn one get the same bytes."""
    token = agent.book.seal()
    head, payload, tail = token.split(".")
    stranger = agent.new_book()
    stranger.key = signature.new_key()
    wrong = f"{head}.{payload}.{('B' if tail[0] == 'A' else 'A') + tail[1:]}"

    answers = [await post(agent, each) for each in (stranger.seal(), wrong)]
    await agent.receiver.books.withdraw("ams-01")
    answers.append(await post(agent, token))

    assert answers == [(401, {"error": "key"})] * 3


async def test_nobody_learns_which_agents_exist(agent, another, clock):
    """A position is given to the agent's own key only; everybody else gets one answer, known agent or not."""
    url = agent.receiver.url
    stranger = signature.new_key()

    def bearer(
        agent_id: str, key: signature.PrivateKey = agent.key, audience: str = url, now: int = clock.at
    ) -> str:
        return "Bearer " + messages.seal_bearer(agent_id, audience=audience, now=now, key=key)

    async def ask(agent_id: str, authorization: str) -> tuple[int, bytes]:
        headers = {"Authorization": authorization}
        async with agent.session.get(f"{url}/v1/agents/{agent_id}/position", headers=headers) as answer:
            return answer.status, await answer.read()

    async with another("bru-02"):
        refused = [
            await ask("ams-01", ""),
            await ask("ams-01", "Basic eDp4"),
            await ask("ams-01", "Bearer x"),
            await ask("ams-01", bearer("ams-01", stranger)),
            await ask("nobody", bearer("nobody", stranger)),
            await ask("bru-02", bearer("bru-02")),
            await ask("bru-02", bearer("ams-01")),
            await ask("ams-01", bearer("bru-02")),
            await ask("ams-01", bearer("ams-01", audience="https://elsewhere.example")),
            await ask("ams-01", bearer("ams-01", now=clock.at - 3_600_000)),
            await ask("ams-01", bearer("ams-01", now=clock.at + 3_600_000)),
            await ask("ams-01", bearer("ams-01").replace("Bearer", "Basic")),
        ]

        assert refused == [(401, b'{"error": "key"}')] * len(refused)
        assert (await ask("ams-01", bearer("ams-01")))[0] == 200


async def test_a_huge_body_is_not_read(agent):
    """More than a mebibyte is refused, announced or not, and the receiver goes on."""
    start = agent.book.seal().encode()

    async def endless():
        yield start
        for _ in range(40):
            yield b"A" * 65536

    assert await post(agent, io.BytesIO(start + b"A" * 1024 * 1024)) == (413, {"error": "size"})
    assert await post(agent, endless()) == (413, {"error": "size"})
    assert (await agent.upstream.post(agent.book.tokens[0])).verdict is Verdict.COUNTED


async def test_the_header_is_looked_at_first(agent):
    """A body that begins like no record is refused after its first bytes, not at its end."""
    host, port = agent.receiver.host, agent.receiver.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /v1/summaries HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + b"A" * 600)

    answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10)

    assert b" 422 " in answer
    writer.close()
    await writer.wait_closed()


async def test_a_slow_body_is_cut(tmp_path):
    """A body that does not come in time is answered 408 and its connection closed."""
    async with serving(tmp_path, body_s=0.2) as receiver:
        reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
        writer.write(b"POST /v1/summaries HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc")

        answer = await asyncio.wait_for(reader.read(), 10)

        assert b" 408 " in answer.partition(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()


async def test_only_so_many_at_once(tmp_path):
    """When all places are taken the next is told when to come back, and gets in once one is free."""
    async with serving(tmp_path, at_once=2, body_s=30) as receiver:
        request = b"POST /v1/summaries HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        held = [await asyncio.open_connection(receiver.host, receiver.port) for _ in range(2)]
        for _, writer in held:
            writer.write(request)

        async def knock() -> bytes:
            reader, writer = await asyncio.open_connection(receiver.host, receiver.port)
            writer.write(request + b"not a jws")
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return head

        async with asyncio.timeout(10):
            while b" 503 " not in (answer := await knock()):
                pass
        assert b"Retry-After: 2" in answer

        held[0][1].write(b"not a jws")
        await asyncio.wait_for(held[0][0].readuntil(b"\r\n\r\n"), 10)
        assert b" 422 " in await asyncio.wait_for(knock(), 10)
        for _, writer in held:
            writer.close()
            await writer.wait_closed()


async def test_a_packed_body_is_not_unpacked(agent):
    """A compressed body is refused as it is: a few bytes could unpack to any number of them."""
    token = agent.book.seal().encode()

    for body in (gzip.compress(token), token):  # whatever it holds, it is not looked into
        status, said = await post(agent, body, **{"Content-Encoding": "gzip"})
        assert (status, "a compressed body" in str(said)) == (422, True)
    assert await agent.stored() == []


@pytest.mark.parametrize("body", [b"", b".", b"..", b"\xff\xfe", b"{}", b"a.b.c", b"\x00" * 2000])
async def test_what_is_no_record(agent, body):
    """Any other bytes are refused before anything is parsed further."""
    assert (await post(agent, body))[0] == 422


async def test_a_signed_riddle(agent):
    """A good signature over what has no place in a chain takes no place and is not understood."""
    payloads = [b"{}", b"[1]", b"\xff", b"[" * 100_000, b'{"id":"x","data":{"sequence":1.5}}', b"1" * 9000]

    for payload in payloads:
        token = signature.sign(payload, agent.key, TYP_RECORD)
        assert (await agent.upstream.post(token)).verdict is Verdict.NOT_UNDERSTOOD
    assert await agent.stored() == []


async def test_a_record_that_is_too_large_takes_its_place(agent):
    """Between 256 KiB and 1 MiB a signed record is no bug in between: it is refused in its place."""
    large = agent.book.seal(edit=lambda record: record.update(later="x" * 300_000))

    answer = await agent.upstream.post(large)

    assert answer.verdict is Verdict.REFUSED
    assert "256 KiB" in answer.receipt.reason
