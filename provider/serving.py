"""A whole receiver in one block: key, books, doors. For `serve`, the demo and tests.

async with serving(folder) as receiver:
line = (await receiver.invite("ams-01", ["acme"])).line()
...  # it listens at receiver.url
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext

from aiohttp import web

from meter.messages import Invitation
from meter.model import Instant
from meter.signature import PrivateKey
from provider import clock, enrolment, keys
from provider.app import AT_ONCE, BODY_S, Receiver
from provider.books import Books
from provider.storage.opening import Storage, open_storage


@dataclass(frozen=True, slots=True)
class Serving:
    """A receiver that listens.

    Attributes:
        url: Where agents reach it.
        host: Where it is bound.
        port: The port it got.
        books: What it keeps.
        key: Its key.
        now: Its clock.
        storage: Everything that is kept.
    """

    url: str
    host: str
    port: int
    books: Books
    key: PrivateKey
    now: Callable[[], Instant]
    storage: Storage

    async def invite(self, agent: str, tenants: Sequence[str], *, days: int = 7) -> Invitation:
        """Make an invitation for an agent."""
        return await enrolment.invite(
            self.books,
            agent=agent,
            tenants=tenants,
            url=self.url,
            receiver=self.key,
            now=self.now(),
            days=days,
        )


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    url: str | None = None,
    tls: SSLContext | None = None,
    now: Callable[[], Instant] = clock.now,
    database: str | None = None,
    at_once: int = AT_ONCE,
    body_s: float = BODY_S,
) -> AsyncIterator[Serving]:
    """Serve until the end of the block.

    Args:
        folder: Holds the key, and the books unless they are in another database; must exist.
        host: Where to listen.
        port: Where to listen; 0: a free one.
        url: Where agents reach it, if that is another address (a proxy, a name).
        tls: Certificate and key; None: plain HTTP.
        now: The clock.
        database: A PostgreSQL that any number of receivers share; None: the file in the folder.
        at_once: How many requests are served at once.
        body_s: How long a body may take.

    Raises:
        KeyTrouble: The key can't be used (`provider.keys`).
        OSError: The port can't be had.
        BooksUnusable: The books can't be opened.
    """
    key = await asyncio.to_thread(keys.load_or_make, folder)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as bound:
        got = bound.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        url = (url or f"{'https' if tls else 'http'}://{shown}:{got}").rstrip("/")
        async with open_storage(folder, database) as storage:
            receiver = Receiver(storage.books, key, url, now, at_once=at_once, body_s=body_s)
            runner = web.AppRunner(
                receiver.app(),
                auto_decompress=False,  # a few bytes can unpack to any number of them
                access_log=None,
                keepalive_timeout=75,
                lingering_time=2,
                shutdown_timeout=5,
            )
            try:
                await runner.setup()
                await web.SockSite(runner, bound, ssl_context=tls).start()
                yield Serving(url, host, got, storage.books, key, now, storage)
            finally:
                await runner.cleanup()
