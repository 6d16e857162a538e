"""Several `serve` processes on one database, killed in mid-stream: whole processes, real sockets, both databases."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import util
from pathlib import Path

import aiohttp

from meter import messages, signature
from provider import clock, enrolment, keys
from provider.storage.opening import open_storage

ROOT = Path(__file__).parents[3]
_spec = util.spec_from_file_location("book", ROOT / "tests" / "golden" / "book.py")
book_module = util.module_from_spec(_spec)
_spec.loader.exec_module(book_module)
URL = "http://127.0.0.1:1"


class Served:
    """A `serve` process. `url`: where it is reached."""

    def __init__(self, process, url: str) -> None:
        self.process, self.url = process, url

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def served(data: Path, database: str | None):
    words = ["--data", str(data), *(["--database", database] if database else []), "serve", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from provider.cli import main; main()", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        yield Served(process, line.split()[-1])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()


async def enrolled(storage, receiver, agent: str):
    """Make an agent known, and return its book."""
    key = signature.new_key()
    line = await enrolment.invite(
        storage.books, agent=agent, tenants=["acme", "globex"], url=URL, receiver=receiver, now=clock.now()
    )
    asks = messages.seal_enrolment(line, key)
    assert await enrolment.enrol(asks, storage.books, audience=URL, receiver=receiver, now=clock.now())
    return book_module.Book(key, agent=agent)


class Sender:
    """An agent that sends its chain in order to whichever server answers, and keeps its receipts."""

    def __init__(self, session, servers: list[Served], tokens: list[str], receiver, told=None) -> None:
        self.session, self.servers, self.tokens, self.receiver = session, servers, tokens, receiver
        self.receipts: list[str] = []
        self.told = told or asyncio.Queue()  # something for each receipt

    async def post(self, token: str, url: str) -> tuple[int, str]:
        headers = {"Content-Type": "application/jose"}
        try:
            async with self.session.post(f"{url}/v1/summaries", data=token, headers=headers) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return 0, ""

    async def send(self, turn: int) -> None:
        for number, token in enumerate(self.tokens, 1):
            status = 0
            while status not in (200, 201):
                turn += 1
                status, body = await self.post(token, self.servers[turn % len(self.servers)].url)
                assert status in (0, 200, 201, 500, 503), body
            receipt = messages.read_receipt(body, self.receiver.public)
            assert (receipt.sequence, receipt.status) == (number, "counted")
            self.receipts.append(body)
            self.told.put_nowait(number)


async def test_killed_in_mid_stream(tmp_path, database):
    """While one of two servers is killed and comes back, agents send to both: nothing that has a receipt is missing, nothing is double, all is in order."""
    receiver = keys.load_or_make(tmp_path)
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(tmp_path, database))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        )
        servers = [await stack.enter_async_context(served(tmp_path, database)) for _ in range(2)]
        books = [await enrolled(storage, receiver, f"a-{number}") for number in range(5)]
        told: asyncio.Queue[int] = asyncio.Queue()
        senders = [
            Sender(session, servers, book.sealed(*["acme", "globex"] * 12), receiver, told) for book in books
        ]
        sending = asyncio.gather(*(sender.send(turn) for turn, sender in enumerate(senders)))
        for receipts in (20, 40):
            async with asyncio.timeout(60):
                for _ in range(receipts):
                    await told.get()
            await servers[0].kill()
            servers[0] = await stack.enter_async_context(served(tmp_path, database))
        await asyncio.wait_for(sending, 90)

        audit = await storage.books.audit(receiver.public)
        kept = {book.agent: await storage.books.records(book.agent) for book in books}

    assert audit.found == ()
    for book, sender in zip(books, senders, strict=True):
        assert [row.token for row in kept[book.agent]] == book.tokens
        assert [row.receipt for row in kept[book.agent]] == sender.receipts


async def test_the_same_records_at_two_servers(tmp_path, database):
    """Two copies of one sender, each at its own server, get the same receipts, and each record is there once."""
    receiver = keys.load_or_make(tmp_path)
    async with AsyncExitStack() as stack:
        storage = await stack.enter_async_context(open_storage(tmp_path, database))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        )
        servers = [await stack.enter_async_context(served(tmp_path, database)) for _ in range(2)]
        book = await enrolled(storage, receiver, "ams-01")
        tokens = book.sealed(*["acme"] * 20)
        senders = [Sender(session, [server], tokens, receiver) for server in servers]

        await asyncio.wait_for(asyncio.gather(*(sender.send(0) for sender in senders)), 90)

        kept = await storage.books.records("ams-01")
    assert senders[0].receipts == senders[1].receipts == [row.receipt for row in kept]
    assert [row.token for row in kept] == tokens
