"""Killed at random moments under call load, its provider there and not: the figures stand all the same."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from meter import chain, signature
from meter.model import Cause
from provider.serving import Serving, serving
from tests.asterisk import agents, proxy
from tests.asterisk.agents import Kept
from tests.asterisk.calls import mix
from tests.asterisk.configuration import free_port
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.proxy import Line, wall
from tests.asterisk.test_journey import Mailbox, meter
from tests.asterisk.wire import Wire

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(600)]

#: A killed agent loses at most so much of what it knew.
LOSS_MS = 2_000


class Provider:
    """A provider that is there now and then."""

    def __init__(self, books: Path, port: int) -> None:
        self.books, self.port = books, port
        self.wanted = asyncio.Event()
        self.unwanted = asyncio.Event()
        self.receiver: Serving | None = None

    async def come_and_go(self) -> None:
        """Serve while it is wanted."""
        while True:
            await self.wanted.wait()
            async with serving(self.books, port=self.port) as self.receiver:
                await self.unwanted.wait()
            self.receiver = None

    def want(self, *, up: bool) -> None:
        """Bring it up or down."""
        on, off = (self.wanted, self.unwanted) if up else (self.unwanted, self.wanted)
        off.clear()
        on.set()


@asynccontextmanager
async def surroundings(tmp_path: Path) -> AsyncIterator[tuple[Provider, Mailbox, int]]:
    """A provider that isn't there yet, and a mailbox with its port."""
    box = Mailbox()
    sink = Controller(box, hostname="127.0.0.1", port=free_port("127.0.0.1"))
    sink.start()
    books = tmp_path / "books"
    books.mkdir()
    provider = Provider(books, free_port("127.0.0.1"))
    serving_now = asyncio.get_running_loop().create_task(provider.come_and_go())
    try:
        yield provider, box, sink.port
    finally:
        serving_now.cancel()
        await asyncio.gather(serving_now, return_exceptions=True)
        sink.stop()


def rows(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return rows of the agent's database as they are on disk."""
    with closing(sqlite3.connect(f"file:{home / 'state' / 'meter.db'}?mode=ro", uri=True, timeout=5)) as db:
        return db.execute(sql).fetchall()


def gaps_add_up(found: Kept, killed: list[int], line: Line) -> list[str]:
    """Hold the gaps against the kills: each from at most 2 s before a kill to the first list of channels after it."""
    gaps = [gap for gap in found.gaps if gap.cause is not Cause.NOT_INSTALLED]
    assert {gap.cause for gap in gaps} == {Cause.AGENT_DOWN}, gaps
    lost, real = [], 0
    covered = 0
    for at in killed:
        (gap,) = [gap for gap in gaps if gap.start <= at + agents.SLACK_MS and at < (gap.end or 0)]
        first = min(listed for listed in line.listed_ms if listed > at)
        if gap.end > covered:  # the first kill of this gap: those that follow came before it was committed
            lost.append(at - gap.start)
            covered = gap.end or 0
            real += covered - at
        assert any(abs(covered - listed) <= agents.TOLD_MS for listed in line.listed_ms), (
            gap,
            line.listed_ms,
        )
        assert covered >= first - agents.TOLD_MS
    assert len(lost) == len(gaps), "a gap without a kill"
    assert all(-agents.SLACK_MS <= ms <= LOSS_MS for ms in lost), lost
    stated = sum((gap.end or 0) - gap.start for gap in gaps)
    assert stated == real + sum(lost)
    before = f"lost before a kill: at most {max(lost)} ms, {sum(lost) // len(lost)} ms on average"
    return [f"{len(killed)} kills, {len(gaps)} gaps of {stated} ms; not watching for {real} ms; {before}"]


@pytest.mark.parametrize(
    ("size", "kills", "longest_s"), [(20, 4, 1.0), pytest.param(700, 42, 2.5, marks=pytest.mark.soak)]
)
async def test_killed_at_random_moments(
    asterisk_instance: Instance,
    asterisk_network: Network,
    wire: Wire,
    tmp_path: Path,
    size: int,
    kills: int,
    longest_s: float,
) -> None:
    """Killed again and again at random moments, the agent states the wire's peaks wherever it watched, and where it did not.

    The gaps add up to the time in which it did not watch, no sealed record is missing or there twice,
    each notice has one Message-ID, and the provider's books end equal to the sealed records.
    """
    draw = random.Random(size)
    home, log = tmp_path / "agent", tmp_path / "agent.log"
    async with (
        surroundings(tmp_path) as (provider, box, smtp_port),
        proxy.standing(asterisk_instance.host, asterisk_instance.ami_port) as line,
    ):
        file = agents.configured(
            asterisk_instance,
            home,
            period="month",
            capacity=1,
            smtp_port=smtp_port,
            upstream=f"http://127.0.0.1:{provider.port}",
            line=line,
            repeat="2s",
        )
        provider.want(up=True)
        await until(lambda: provider.receiver is not None, within_s=5)
        assert provider.receiver is not None
        code, said = await meter(
            file, "enrol", (await provider.receiver.invite("test-01", ["acme", "globex"])).line()
        )
        assert code == 0, said
        scripts = mix(seed=5000 + size, trunk_legs=size, per_s=3, longest_ms=3_000)
        one = await agents.process(file, log)
        killed: list[int] = []
        try:
            await until(lambda: agents.observes(home), within_s=20)
            async with asterisk_network.place(scripts) as placed:
                await until(lambda: bool(rows(home, "SELECT 1 FROM notices")), within_s=20)
                for left in reversed(range(kills)):
                    provider.want(up=left == 0 or draw.random() < 0.5)
                    if draw.random() < 0.8:  # else it may be killed while it starts
                        await until(lambda: agents.observes(home, killed[-1] if killed else 0), within_s=60)
                    await asyncio.sleep(draw.uniform(0.05, longest_s))  # the moment is to be a random one
                    one.kill()
                    killed.append(wall())
                    await one.wait()
                    one = await agents.process(file, log)
                await placed.finished()
            await until(lambda: agents.observes(home, killed[-1]), within_s=60)
            await until(lambda: all(leg.end for leg in agents.kept(home).legs), within_s=10)
            await until(lambda: not rows(home, "SELECT 1 FROM outbox WHERE state = 'waiting'"), within_s=30)
            await until(lambda: not rows(home, "SELECT 1 FROM records WHERE receipt IS NULL"), within_s=30)
        finally:
            await agents.ended(one, signal.SIGKILL)
        code, said = await meter(file, "export")
        assert code == 0, said
        sealed = said.split()
        booked = [record.token for record in await provider.receiver.books.records("test-01")]
        receipted = len(rows(home, "SELECT 1 FROM records WHERE receipt IS NOT NULL"))
        assert booked[:receipted] == sealed[:receipted]
        assert len(booked) <= len(sealed) <= receipted + 2, "the last kill may have met one on its way"
        code, shown = await meter(file, "keys", "show")
        verdict = chain.examine(sealed, [signature.public_key(shown.splitlines()[0])])
        assert verdict.good, verdict.lines
        code, recomputed = await meter(file, "recompute", "--json")
        assert code == 0, recomputed
    found = agents.kept(home)
    last = [gap for gap in found.gaps if gap.start > killed[-1] + LOSS_MS]
    content = {tenant: figures["content"] for tenant, figures in json.loads(recomputed).items()}
    lines = agents.compare_watched(
        placed, wire.legs(), content, found, agents.TOLD_MS
    )  # it starts all the time: it reads late
    lines.append(agents.compare_legs(wire.legs(), found))
    lines += gaps_add_up(Kept(tuple(gap for gap in found.gaps if gap not in last), found.legs), killed, line)
    notices = rows(home, "SELECT id FROM notices")
    ids = {mail["Message-ID"] for mail in box.mails}
    lines.append(
        f"{len(sealed)} records sealed, {len(booked)} in the books; {len(notices)} notices, {len(box.mails)} mails"
    )
    print(f"\nAsterisk {asterisk_instance.version}:", *lines, sep="\n  ")
    assert len(ids) == len(notices) > 0
