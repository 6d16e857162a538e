from __future__ import annotations

import asyncio
import base64
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from delivery import http
from delivery.courier import Delivered, Outcome, Parcel, Refused, TryAgain
from delivery.webhook import WebhookCourier, public_key_line

NOW = 1_794_475_867_412  # 2026-11-12T09:31:07.412Z
BODY = '{"type":"pbx-meter.notice.v1","data":{"tenant":"Caffè"}}'.encode()
PARCEL = Parcel("ams-01/acme/2026-11/notice/3", "webhook", "desk", BODY)

Check = Callable[[Outcome], Outcome]
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]
Listening = Callable[[Any], AbstractAsyncContextManager[int]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with http.open_session() as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Give a function that starts a real web server with one answer, and returns its address with secrets in it."""
    runners = []

    async def start(answer: Answering, tls: ssl.SSLContext | None = None) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", answer)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        scheme = "https" if tls else "http"
        return f"{scheme}://us3r-name:s3cret-pass@{host}:{port}/t0ken-path?key=k3y-query"

    yield start
    for runner in runners:
        await runner.cleanup()


def courier(session: aiohttp.ClientSession, url: str, **fields: Any) -> WebhookCourier:
    key = Ed25519PrivateKey.generate()
    return WebhookCourier(session, {"desk": url}, key.sign, lambda: NOW, **fields)


def answering(status: int, **headers: str) -> Answering:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(
            status=status, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )

    return answer


def verified(headers: dict[str, str], body: bytes, key_line: str, *, now_s: int) -> Any:
    """Verify as the Standard Webhooks document tells receivers to, knowing nothing of our code."""
    assert abs(now_s - int(headers["webhook-timestamp"])) <= 300
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key_line.removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for version, signature in (entry.split(",") for entry in headers["webhook-signature"].split(" ")):
        if version == "v1a":
            key.verify(base64.b64decode(signature, validate=True), signed)
            return json.loads(body)
    raise InvalidSignature


async def test_a_receiver_can_verify_what_arrives(
    session: aiohttp.ClientSession, receiver: Callable[..., Awaitable[str]], leaks_nothing: Check
) -> None:
    """The three headers, the exact bytes, a signature that the public key confirms and any change breaks."""
    seen: list[tuple[dict[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(({name.lower(): text for name, text in request.headers.items()}, await request.read()))
        return web.Response(status=204)

    key = Ed25519PrivateKey.generate()
    line = public_key_line(key.public_key().public_bytes_raw())
    sent = WebhookCourier(session, {"desk": await receiver(answer)}, key.sign, lambda: NOW)
    assert leaks_nothing(await sent.carry(PARCEL)) == Delivered()
    [(headers, body)] = seen
    assert body == BODY
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == PARCEL.id
    assert headers["webhook-timestamp"] == str(NOW // 1000)
    assert verified(headers, body, line, now_s=NOW // 1000)["data"]["tenant"] == "Caffè"
    for changed in (body + b" ", body.replace(b"notice", b"Notice")):
        with pytest.raises(InvalidSignature):
            verified(headers, changed, line, now_s=NOW // 1000)
    with pytest.raises(InvalidSignature):
        verified({**headers, "webhook-id": "other"}, body, line, now_s=NOW // 1000)


async def test_a_second_attempt_has_the_same_id_and_its_own_time(
    session: aiohttp.ClientSession, receiver: Callable[..., Awaitable[str]]
) -> None:
    """The receiver knows a repetition by the id, and a replay by the time."""
    seen: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers["webhook-id"], request.headers["webhook-timestamp"]))
        return web.Response(status=503 if len(seen) == 1 else 200)

    times = iter((NOW, NOW + 300_000))
    key = Ed25519PrivateKey.generate()
    sent = WebhookCourier(session, {"desk": await receiver(answer)}, key.sign, lambda: next(times))
    assert isinstance(await sent.carry(PARCEL), TryAgain)
    assert isinstance(await sent.carry(PARCEL), Delivered)
    assert seen[0][0] == seen[1][0]
    assert int(seen[1][1]) - int(seen[0][1]) == 300


@pytest.mark.parametrize(
    ("status", "end"),
    [(200, Delivered), (202, Delivered), (204, Delivered), (400, Refused), (401, Refused), (404, Refused), (410, Refused),
     (408, TryAgain), (425, TryAgain), (429, TryAgain), (500, TryAgain), (503, TryAgain)],
)  # fmt: skip
async def test_the_table_holds_on_the_wire(
    session: aiohttp.ClientSession,
    receiver: Callable[..., Awaitable[str]],
    leaks_nothing: Check,
    status: int,
    end: type[Outcome],
) -> None:
    """A real answer has the outcome that the table gives its status."""
    url = await receiver(answering(status))
    assert isinstance(leaks_nothing(await courier(session, url).carry(PARCEL)), end)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    session: aiohttp.ClientSession, receiver: Callable[..., Awaitable[str]], leaks_nothing: Check, status: int
) -> None:
    """The signed notice goes where it was configured to go and nowhere else."""
    reached = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response()

    target = await receiver(elsewhere)
    url = await receiver(answering(status, Location=target))
    end = leaks_nothing(await courier(session, url).carry(PARCEL))
    assert isinstance(end, Refused)
    assert "redirects are not followed" in end.hint
    assert not reached


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry_After": "90"}, 90),
        ({"Retry_After": "Thu, 12 Nov 2026 10:00:00 GMT", "Date": "Thu, 12 Nov 2026 09:58:00 GMT"}, 120),
        ({"Retry_After": "tomorrow"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_obeyed(
    session: aiohttp.ClientSession,
    receiver: Callable[..., Awaitable[str]],
    headers: dict[str, str],
    wait_s: float | None,
) -> None:
    """Seconds as they are; a date by the receiver's own clock, so that ours may be off."""
    end = await courier(session, await receiver(answering(429, **headers))).carry(PARCEL)
    assert isinstance(end, TryAgain)
    assert end.not_before_s == wait_s


async def test_a_receiver_that_is_down_is_tried_again(
    session: aiohttp.ClientSession, listening: Listening, leaks_nothing: Check
) -> None:
    """Nobody listens: the system's words, no address beyond host and port."""

    async def nothing(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...

    async with listening(nothing) as port:
        pass
    url = f"http://us3r-name:s3cret-pass@127.0.0.1:{port}/t0ken-path?key=k3y-query"
    end = leaks_nothing(await courier(session, url).carry(PARCEL))
    assert end == TryAgain(f"127.0.0.1:{port} can't be reached (Connection refused)")


async def test_a_receiver_that_hangs_is_left_in_time(
    session: aiohttp.ClientSession, listening: Listening, leaks_nothing: Check
) -> None:
    """An attempt ends at its bound, whatever the other side does."""

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    async with listening(silent) as port:
        url = f"http://127.0.0.1:{port}/t0ken-path?k3y-query"
        end = leaks_nothing(await courier(session, url, timeout_s=0.2).carry(PARCEL))
    assert end == TryAgain(f"127.0.0.1:{port} did not answer within 0.2 s")


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", b"\x00\xff t0ken-path garbage\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"t0ken-path" * 10_000],
)  # fmt: skip
async def test_an_answer_that_breaks_is_tried_again(
    session: aiohttp.ClientSession, listening: Listening, leaks_nothing: Check, said: bytes
) -> None:
    """Cut, half or garbled: the repetition is recognised by its id, so it is sent again."""

    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BODY))
        writer.write(said)
        await writer.drain()

    async with listening(broken) as port:
        url = f"http://us3r-name:s3cret-pass@127.0.0.1:{port}/t0ken-path?k3y-query"
        assert isinstance(leaks_nothing(await courier(session, url).carry(PARCEL)), TryAgain)


async def test_certificates_are_checked_and_a_private_authority_can_be_trusted(
    session: aiohttp.ClientSession,
    receiver: Callable[..., Awaitable[str]],
    leaks_nothing: Check,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """The same receiver is refused by the system's trust and taken by the configured one."""
    url = await receiver(answering(200), server_tls)
    end = leaks_nothing(await courier(session, url).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert "certificate that is not trusted (self-signed certificate" in end.why
    assert isinstance(leaks_nothing(await courier(session, url, tls=client_tls).carry(PARCEL)), Delivered)


@pytest.mark.parametrize(
    "url",
    ["http://192.0.2.1/t0ken-path", "http://us3r-name:s3cret-pass@hooks.example/", "ftp://127.0.0.1/t0ken-path",
     "t0ken-path", "", "https://:s3cret-pass@/", "https://127.0.0.1:t0ken-path/", "http://127.0.0.1.hooks.example/"],
)  # fmt: skip
async def test_plain_http_and_odd_addresses_leave_nothing(
    session: aiohttp.ClientSession, leaks_nothing: Check, url: str
) -> None:
    """Before a byte leaves it is said that the address is not used; mending the configuration mends it."""
    end = leaks_nothing(await courier(session, url).carry(PARCEL))
    assert isinstance(end, TryAgain)
    assert "only https" in end.why


async def test_a_webhook_that_is_gone_from_the_configuration_is_refused(
    session: aiohttp.ClientSession, leaks_nothing: Check
) -> None:
    """Its row is parked and shown, and says what to do."""
    end = leaks_nothing(
        await courier(session, "https://hooks.example").carry(Parcel("1", "webhook", "t0ken-path", b""))
    )
    assert isinstance(end, Refused)
    assert end.hint


async def test_a_long_answer_is_cut_off(
    session: aiohttp.ClientSession, receiver: Callable[..., Awaitable[str]]
) -> None:
    """A body without end costs neither memory nor the delivery; a packed one is not unpacked."""
    written = []

    async def endless(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)
            written.append(65_536)

    url = await receiver(endless)
    answer = await http.exchange(session, url, now=lambda: NOW, body=BODY, limit_bytes=100_000)
    assert isinstance(answer, http.Answer)
    assert (answer.status, answer.body) == (200, None)
    assert sum(written) < 50_000_000
    assert isinstance(await courier(session, url).carry(PARCEL), Delivered)


async def test_an_exchange_gives_what_a_receipt_needs(
    session: aiohttp.ClientSession, receiver: Callable[..., Awaitable[str]]
) -> None:
    """Whole body untouched, the other side's clock, any method and headers: what the upstream courier builds on."""
    packed = gzip.compress(b"receipt")

    async def answer(request: web.Request) -> web.Response:
        assert request.method == "GET"
        assert request.headers["Authorization"] == "Bearer x"
        assert request.headers["Accept-Encoding"] == "identity"
        headers = {"Date": "Thu, 12 Nov 2026 09:58:00 GMT", "Content-Encoding": "gzip", "Set-Cookie": "a=b"}
        assert "Cookie" not in request.headers
        return web.Response(status=409, body=packed, headers=headers)

    url = (await receiver(answer)).replace("us3r-name:s3cret-pass@", "")
    for _ in range(2):
        got = await http.exchange(
            session, url, now=lambda: NOW, method="GET", headers={"Authorization": "Bearer x"}
        )
        assert got == http.Answer(409, packed, None, 1_794_477_480_000)
