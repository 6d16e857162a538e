"""Whatever becomes of the provider: every record is counted once, and whoever can act is told what to do."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from agent import app, desk, keys, upstream
from agent.store import ledger
from delivery import http
from meter.periods import HOUR_MS
from tests.acceptance.around import until
from tests.integration.agent.conftest import booked, sealed

MINUTE_MS = 60_000


def backup(file: Path, to: Path) -> None:
    with closing(sqlite3.connect(to)) as copy, closing(sqlite3.connect(file)) as db:
        db.backup(copy)


def each_once(state: Path, books: Path) -> None:
    """The books hold exactly the sealed records, each once, without a hole."""
    assert booked(books) == sealed(state)
    assert [row[0] for row in sealed(state)] == list(range(1, len(sealed(state)) + 1))


async def test_down_for_days(running, provide, books):
    """Through three days without a provider everything is sealed; a quarter of an hour after he is back he has it all, once."""
    async with running() as agent:
        async with provide() as provider:
            await agent.enrol(provider)
            await agent.hour()
            await agent.arrive()
        before, asked = len(sealed(agent.state)), len(agent.door.asked)
        await agent.hour(72)
        told = await agent.says("upstream:", "answered 502")

        assert told
        assert len(sealed(agent.state)) >= before + 72
        assert len(agent.door.asked) - asked <= 73  # no more than one attempt whenever time passed
        assert all(seconds <= 600 * 1.2 for seconds in agent.clock.slept)
        async with provide():
            await agent.arrive(longest_ms=15 * MINUTE_MS)
            each_once(agent.state, books)
            assert {row[3] for row in booked(books)} == {"counted"}
            assert await agent.trouble() == []


async def test_slow(running, provide, books):
    """While the provider takes his time the agent meters, commits, seals and shows itself; nothing waits for him."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour()
        await agent.arrive()
        agent.door.open.clear()
        await agent.hour()
        await until(lambda: agent.door.asked[-1] == "/v1/summaries")
        agent.office.snapshot()
        agent.office.call()
        await agent.hour(3)

        shown = await agent.parts.status.read(agent.clock.now())

        assert shown["outbox"]["waiting"] >= 4
        assert agent.parts.sampling.disk is None
        agent.door.open.set()
        await agent.arrive()
        each_once(agent.state, books)


async def test_lost_answers(running, provide, books):
    """A record that was counted while its answer was lost is sent again, gets the receipt of then, and counts once."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour()
        await agent.arrive()
        agent.door.loses_answers = True
        await agent.hour()
        count = len(sealed(agent.state))
        await until(lambda: len(booked(books)) > 1)
        await agent.says("upstream:", "cut the connection")
        assert sealed(agent.state)[-1][3] is None
        agent.door.loses_answers = False

        await agent.arrive()

        assert len(sealed(agent.state)) == count
        each_once(agent.state, books)
        assert await agent.trouble() == []


PASSING = [
    (408, {}),
    (425, {}),
    (429, {"Retry-After": "1800"}),
    (500, {}),
    (502, {}),
    (503, {"Retry-After": "5"}),
]
SLOWLY = [(401, "keys show"), (403, "[upstream] url"), (404, "[upstream] url"), (413, "[upstream] url"), (422, "[upstream] url")]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "headers", "hint"),
    [
        *((status, headers, "") for status, headers in PASSING),
        *((status, {}, hint) for status, hint in SLOWLY),
        (302, {"Location": "http://127.0.0.1:1/"}, "[upstream] url"),
        (200, {}, "enrol"),
        (201, {}, "enrol"),
        (409, {}, "[upstream] url"),
    ],
)
async def test_every_answer(running, provide, books, status, headers, hint):
    """Whatever a post is answered that is no receipt, the record stays, its operator is told, and later it counts once."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour()
        await agent.arrive()
        taken = booked(books)
        agent.door.mood = lambda _: web.Response(status=status, headers=headers, text='{"error": "odd"}')
        await agent.hour()
        await agent.says("upstream:", hint or str(status))
        asked = len(agent.door.asked)
        await agent.hour()  # it is metered and sealed on

        assert booked(books) == taken
        assert sealed(agent.state)[-1][3] is None
        await until(lambda: len(agent.door.asked) > asked, what="another attempt")
        agent.door.mood = lambda _: None
        await agent.arrive()
        each_once(agent.state, books)
        assert await agent.trouble() == []


async def test_he_asks_for_a_pause(running, provide):
    """`Retry-After` is kept: not a millisecond sooner is anything sent."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour()
        await agent.arrive()
        agent.door.mood = lambda _: web.Response(status=429, headers={"Retry-After": "1800"})
        await agent.hour()
        await agent.says("answered 429")
        asked = len(agent.door.asked)
        await until(lambda: any(slept >= 1800 for slept in agent.clock.slept), what="the pause")
        agent.door.mood = lambda _: None
        agent.clock.advance(1800_000 - 1)
        agent.ring()
        await agent.says("answered 429")

        assert len(agent.door.asked) == asked
        await agent.arrive(longest_ms=361_000, step_ms=30_000)


@pytest.mark.parametrize("error", ["conflict", "fork"])
async def test_contradicted(running, provide, error):
    """Told of another record in its place the agent seals nothing more, over a restart too, and says what to look at."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour()
        await agent.arrive()
        agent.door.mood = lambda _: web.json_response({"error": error}, status=409)
        await agent.hour()
        await agent.says("which machine reports as this agent", "chain new")
        before = sealed(agent.state)
        agent.door.mood = lambda _: None
        await agent.hour(3)
        assert sealed(agent.state) == before
    async with running() as again, provide():
        await again.hour(3)
        await again.says("which machine reports as this agent", "chain new")
        assert sealed(again.state) == before


async def test_lost_disk(running, provide, books):
    """A provider who lost his disk gets, after one fresh invitation and without a restart, everything from then on and names what he lacks."""
    async with running() as agent:
        async with provide() as provider:
            await agent.enrol(provider)
            await agent.hour(5)
            await agent.arrive()
        lost = sealed(agent.state)
        shutil.rmtree(books)
        books.mkdir()
        async with provide() as provider:
            await agent.hour()
            await agent.says("does not know the key", "enrol again")
            assert booked(books) == []
            await agent.enrol(provider)
            await agent.hour()
            await agent.arrive()

            (row,) = await provider.books.agents()
            assert [(first, last) for _, first, last in row.missing] == [(1, len(lost))]
            assert booked(books) == sealed(agent.state)[len(lost) :]
            assert await agent.trouble() == []


async def test_older_copy(running, provide, books, tmp_path):
    """A provider who restored an older copy is sent what he lacks, from the ledger, without anybody's help, each once."""
    async with running() as agent:
        async with provide() as provider:
            await agent.enrol(provider)
            await agent.hour(2)
            await agent.arrive()
            backup(books / "books.db", tmp_path / "older.db")
            await agent.hour(4)
            await agent.arrive()
        for stale in books.glob("books.db*"):
            stale.unlink()
        shutil.copy2(tmp_path / "older.db", books / "books.db")
        async with provide():
            assert len(booked(books)) < len(sealed(agent.state))
            await agent.hour()
            await agent.arrive()
            await until(lambda: booked(books) == sealed(agent.state))

            each_once(agent.state, books)
            assert await agent.trouble() == []


async def test_restored_while_nobody_answered(running, provide, books, tmp_path):
    """A restored copy that sealed before the provider could be asked is found out when he answers: nothing of it counts before `chain new`."""
    state = tmp_path / "state"
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour(2)
        await agent.arrive()
        backup(state / "meter.db", tmp_path / "yesterday.db")
        await agent.hour(3)
        await agent.arrive()
    before = booked(books)
    for stale in state.glob("meter.db*"):
        stale.unlink()
    shutil.copy2(tmp_path / "yesterday.db", state / "meter.db")
    async with running() as restored:
        await restored.hour(2)  # nobody answers: there is no way to know
        async with provide():
            restored.clock.advance(HOUR_MS)
            await restored.says("restored", "chain new")
            sealed_then = sealed(state)
            await restored.hour(2)
            assert sealed(state) == sealed_then
            assert booked(books) == before

            async with http.open_session() as session:
                receiver = await app.receiver(restored.config, restored.parts.store, restored.clock, session)
                position = await receiver.position(keys.load(state))
            assert isinstance(position, upstream.Position)
            await restored.parts.store.write(lambda db: desk.new_chain(db, position))
            await restored.hour(2)
            await until(lambda: len(booked(books)) > len(before), what="the new chain")
            await until(lambda: sealed(state)[-1][3] == "counted")
        assert booked(books)[: len(before)] == before
        assert len({row[2] for row in booked(books)}) == len(booked(books))
        assert await restored.trouble() == []


async def test_two_agents_with_one_key(running, provide, books, tmp_path):
    """Of two copies of one agent the first to send goes on; the other stops sealing and says what to look at."""
    twin_state = tmp_path / "twin"
    async with running() as agent, provide() as provider:
        await agent.enrol(provider)
        await agent.hour(2)
        await agent.arrive()
        twin_state.mkdir(mode=0o700)
        shutil.copy2(agent.state / keys.KEY_FILE, twin_state)
        backup(agent.state / "meter.db", twin_state / "meter.db")
        async with running(twin_state) as twin:
            await until(lambda: twin.parts.closing.position_known)
            twin.office.snapshot("a.1")
            await agent.hour()
            await agent.arrive()
            await twin.parts.closing.seal_due()
            await twin.says("chain new")
            await agent.hour()
            mine = sealed(twin_state)
            await twin.hour(3)
            await agent.hour()
            await agent.arrive()

            assert sealed(twin_state) == mine
            each_once(agent.state, books)
            assert await agent.trouble() == []


async def test_refused_in_mid_chain(running, provide, books):
    """A record that can't be counted holds its place, those behind it follow, and both sides are told which and why."""
    async with running() as agent, provide() as provider:
        await agent.enrol(provider, ["globex"])  # the wrong tenant
        await agent.hour(2)
        await agent.arrive()
        told = await agent.says("refused", "not enrolled: acme")
        assert any("fresh invitation" in line for line in told)
        (row,) = await provider.books.agents()
        assert (row.counted, row.refused) == (0, len(sealed(agent.state)))

        await agent.enrol(provider, ["acme"])
        await agent.hour()
        await agent.arrive()

        each_once(agent.state, books)
        assert sealed(agent.state)[-1][3] == "counted"
        assert await agent.trouble() == []


async def test_not_enrolled_yet(running, provide, books):
    """Before it is enrolled it meters and seals, says how it gets enrolled, and everything arrives afterwards."""
    async with running() as agent, provide() as provider:
        await agent.hour(2)
        await agent.says("not enrolled", "pbx-meter enrol")

        await agent.enrol(provider)
        await agent.arrive()

        each_once(agent.state, books)
        assert await agent.parts.store.read(lambda db: ledger.fact(db, "receiver"))
        assert await agent.trouble() == []
