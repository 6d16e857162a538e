"""A real receiver on loopback with real books, and an agent that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path

import aiohttp
import pytest

from agent.upstream import Judged, Upstream, enrol
from delivery import http
from meter import signature
from provider.serving import Serving, serving

_spec = util.spec_from_file_location("book", Path(__file__).parents[2] / "golden" / "book.py")
book_module = util.module_from_spec(_spec)
_spec.loader.exec_module(book_module)

#: 2026-12-05T10:00Z
START = 1_796_464_800_000


@dataclass
class Clock:
    at: int = START

    def __call__(self) -> int:
        return self.at


@dataclass
class Side:
    """One agent as it stands beside the receiver."""

    receiver: Serving
    session: aiohttp.ClientSession
    clock: Clock
    key: signature.PrivateKey
    id: str = "ams-01"
    book: object = None
    upstream: Upstream = field(default=None)

    async def enrol(self, *tenants: str, key: signature.PrivateKey | None = None) -> None:
        self.key = key or self.key
        invitation = await self.receiver.invite(self.id, tenants or ("acme", "globex"))
        found = await enrol(self.session, invitation, self.key, now=self.clock)
        assert not isinstance(found, Judged), found
        self.upstream = Upstream(self.session, self.receiver.url, self.id, found[0], self.clock)

    def new_book(self, chain: str = "c-1", continues: dict | None = None):
        return book_module.Book(self.key, chain, continues, self.id)

    async def post(self, *tokens: str) -> list[Judged]:
        return [await self.upstream.post(token) for token in tokens]

    async def stored(self) -> list[str]:
        return [row.token for row in await self.receiver.books.records(self.id)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def receiver(tmp_path, clock, database) -> AsyncIterator[Serving]:
    async with serving(tmp_path, now=clock, database=database) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with http.open_session() as opened:
        yield opened


@pytest.fixture
async def agent(receiver, session, clock) -> Side:
    """An agent that is enrolled for acme and globex, with an empty chain."""
    side = Side(receiver, session, clock, signature.new_key())
    await side.enrol()
    side.book = side.new_book()
    return side


@pytest.fixture
def book():
    """A chain that nobody has seen yet, by a key of its own."""
    return book_module.Book(signature.new_key())


@pytest.fixture
def another(receiver, session, clock):
    """Make further agents."""

    @asynccontextmanager
    async def make(agent_id: str) -> AsyncIterator[Side]:
        side = Side(receiver, session, clock, signature.new_key(), agent_id)
        await side.enrol()
        side.book = side.new_book(f"c-{agent_id}")
        yield side

    return make
