"""An agent beside a provider that can be ill: a clock moved by hand between them, and a door that has moods."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agent import app, keys, upstream
from agent.store import ledger
from config.load import load
from config.model import Config
from delivery import http
from meter import signature
from meter.periods import HOUR_MS
from provider.serving import Serving, serving
from tests.acceptance.around import until
from tests.unit.agent.conftest import START, HandClock, Office

CONFIG = """\
[agent]
id = "ams-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"
period = "{period}"
grace = "{grace}"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
port = {port}
username = "meter"
secret = "only-for-simulations"
trunks = ["PJSIP/trunk-kpn", "PJSIP/pbx1-kpn"]
extensions = "1[0-9]{{2}}"

[[tenant]]
id = "acme"
default = true
capacity = 2
"""

Rows = list[tuple[Any, ...]]


def rows(file: Path, sql: str, *given: object) -> Rows:
    """Return rows of a database as they are on disk now."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)) as db:
        return db.execute(sql, given).fetchall()


def sealed(state: Path) -> Rows:
    """Return (sequence, id, sha256, status) of every record of an agent."""
    sql = "SELECT sequence, id, sha256, status FROM records ORDER BY chain, sequence"
    return rows(state / "meter.db", sql)


def booked(books: Path) -> Rows:
    """Return the same of every record in a provider's books."""
    sql = (
        "SELECT sequence, r.id, sha256, status FROM records r"
        " JOIN chains c ON c.agent = r.agent AND c.id = r.chain ORDER BY c.number, sequence"
    )
    return rows(books / "books.db", sql)


class Door:
    """What stands between agent and provider: a line that is cut, slow, or answers for the provider.

    Attributes:
        behind: The provider's own address; None: nothing is there.
        mood: Answers instead of the provider, if it returns something.
        loses_answers: The provider takes what it is given, and its answer never arrives.
        asked: The paths that were asked for, in order.
    """

    def __init__(self) -> None:
        self.behind: str | None = None
        self.mood: Callable[[web.Request], web.Response | None] = lambda _: None
        self.loses_answers = False
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.url = ""

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(request.path)
        await self.open.wait()
        answer = self.mood(request)
        if answer is not None:
            return answer
        headers = {k: v for k, v in request.headers.items() if k in {"Authorization", "Content-Type"}}
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    request.method, f"{self.behind}{request.path}", data=body, headers=headers
                ) as found,
            ):
                content = await found.read()
        except aiohttp.ClientError:
            return web.Response(status=502)
        if self.loses_answers:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=found.status, body=content)


@dataclass
class Agency:
    """One agent that runs beside a provider, its time moved by hand."""

    parts: app.Agent
    config: Config
    clock: HandClock
    door: Door

    @property
    def state(self) -> Path:
        return self.config.agent.state_dir

    @property
    def office(self) -> Office:
        return Office(self.parts, self.clock)

    async def hour(self, count: int = 1) -> None:
        """Let hours pass; whatever is due in each is sealed."""
        for _ in range(count):
            self.clock.advance(HOUR_MS)
            self.parts.sampling.mind_time()
            await self.parts.sampling.commit()
            await self.parts.closing.seal_due()

    async def arrive(self, *, step_ms: int = 60_000, longest_ms: int = HOUR_MS) -> None:
        """Let minutes pass until every record has its receipt; fail if it takes longer than promised."""
        began = self.clock.boot()

        def arrived() -> bool:
            if all(row[-1] for row in sealed(self.state)):
                return True
            if self.clock.boot() - began < longest_ms:
                self.clock.advance(step_ms)
            self.ring()
            return False

        await until(arrived, what=f"receipts; {self.parts.shipping.trouble}")

    def ring(self) -> None:
        assert self.parts.shipping is not None
        self.parts.shipping.bell.ring()

    async def trouble(self) -> list[str]:
        """Return what `pbx-meter status` shows as trouble."""
        found: list[str] = (await self.parts.status.read(self.clock.now()))["trouble"]
        return found

    async def says(self, *words: str) -> list[str]:
        """Wait until its operator is told, in one line, something that holds these words."""
        found: list[str] = []
        for _ in range(500):
            found = await self.trouble()
            if any(all(word in line for word in words) for line in found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"nothing with {words} in {found}")

    async def enrol(self, provider: Serving, tenants: Sequence[str] = ("acme",)) -> None:
        """Do what `pbx-meter enrol` does with a fresh invitation."""
        invitation = await provider.invite(self.config.agent.id, tenants)
        async with http.open_session() as session:
            found = await upstream.enrol(session, invitation, keys.load(self.state), now=self.clock.wall)
        assert not isinstance(found, upstream.Judged), found
        await self.parts.store.write(lambda db: ledger.keep_fact(db, "receiver", found[0].json()))
        self.ring()


Provide = Callable[..., Any]


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    it = Door()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", it.pass_on)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield it
    it.open.set()
    await runner.cleanup()


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    return folder


@pytest.fixture
def provide(books: Path, clock: HandClock, door: Door) -> Provide:
    """Let the provider run behind the door."""

    @asynccontextmanager
    async def run() -> AsyncIterator[Serving]:
        async with serving(books, url=door.url, now=clock.wall) as it:
            door.behind = f"http://127.0.0.1:{it.port}"
            yield it

    return run


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Config]:
    """Write a configuration and read it."""

    def write(
        *,
        state: Path | None = None,
        period: str = "month",
        grace: str = "10m",
        port: int = 5038,
        url: str | None = None,
        rest: str = "",
    ) -> Config:
        file = tmp_path / f"{(state or tmp_path / 'state').name}.toml"
        text = CONFIG.format(state=state or tmp_path / "state", period=period, grace=grace, port=port)
        file.write_text(text + (f'\n[upstream]\nurl = "{url}"\n' if url else "") + rest)
        return load(file)

    return write


@pytest.fixture
def running(clock: HandClock, door: Door, write_config: Callable[..., Config]) -> Provide:
    """Let an agent ship its records; everything else of it is turned by hand."""

    @asynccontextmanager
    async def run(state: Path | None = None, rest: str = "") -> AsyncIterator[Agency]:
        config = write_config(state=state, url=door.url, rest=rest)
        async with app.agent(config, clock) as parts, asyncio.TaskGroup() as loops:
            parts.closing._synchronised = lambda: True
            assert parts.shipping is not None
            shipping = loops.create_task(parts.shipping.run())
            yield Agency(parts, config, clock, door)
            shipping.cancel()

    return run


@pytest.fixture
def thumbprint() -> Callable[[Path], str]:
    return lambda state: signature.private_key((state / keys.KEY_FILE).read_text()).public.thumbprint
