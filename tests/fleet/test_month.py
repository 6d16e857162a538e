"""A month of a fleet: every record once, whatever dies, and reports that are right to the last figure."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from delivery.reporting.usage import Brand, Difference, State
from meter import messages, signature
from provider import keys
from provider.books import Invited
from provider.month.closing import Closed, close
from provider.month.mailing import approve
from provider.month.sources import span
from provider.month.tree import Member
from provider.partners import Partner, Placement, problems
from provider.receiving import receive
from provider.storage.opening import Storage, open_storage
from tests.fleet import judging, naive
from tests.fleet.agents import PERIOD, Agent, fleet
from tests.fleet.receivers import Receivers, post_all, receivers, run

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
PROVIDER = Member("", "Provider", None, "en", Brand("Provider"))
#: Long after the month.
LATER = 1_764_000_000_000
PARENTS = {"north": None, "friesland": "north", "south": None}


@dataclass
class Months:
    """A fleet, and what the provider agreed about it.

    Attributes:
        silent: A tenant of which nothing comes; `open`: those that stay without final.
        moved: The tenant that moves from north to south in the middle of the month.
    """

    agents: list[Agent]
    placements: list[Placement] = field(default_factory=list)
    partner_of: dict[judging.Key, str | None] = field(default_factory=dict)
    silent: Agent | None = None
    open: list[judging.Key] = field(default_factory=list)
    moved: judging.Key = ("", "")
    receipts: dict[str, list[str]] = field(default_factory=dict)

    def by_hand(self) -> dict[judging.Key, naive.Tenant]:
        """Add everything up from the raw records."""
        absent = [(self.silent.id, tenant.id) for tenant in self.silent.tenants]
        found = naive.tenants((token for agent in self.agents for token in agent.tokens), absent)
        for place in self.placements:
            one = found[place.agent, place.tenant]
            one.capacity, one.basis = place.capacity, place.basis
        return found


def a_month(size: int) -> Months:
    """Return a fleet with partners, contracts, customers, and everything that goes wrong in a month."""
    chance = random.Random(size)
    agents = fleet(size)
    months = Months(agents, silent=agents[-1])
    months.open = [(agents[0].id, agents[0].tenants[0].id), (agents[1].id, agents[1].tenants[-1].id)]
    months.moved = (agents[2].id, agents[2].tenants[0].id)
    for agent in agents:
        for tenant in agent.tenants:
            key = (agent.id, tenant.id)
            partner = chance.choice(["north", "friesland", "south", None])
            customer = chance.choice(
                [None, None, *(f"{partner}-{number}" for number in range(size // 4 + 1))]
            )
            terms = {
                "customer": customer,
                "capacity": chance.choice([None, None, 2, 6, 10]),
                "basis": chance.choice([None, None, "calls"]),
            }
            if key == months.moved:
                months.placements.append(Placement(*key, partner="north", customer="moved"))
                months.placements.append(
                    Placement(*key, since=f"{PERIOD}-16", partner="south", customer="moved", capacity=3)
                )
                months.partner_of[key] = "south"
                continue
            if partner is None and chance.random() < 0.5:
                continue  # nobody wrote anything about it
            months.placements.append(Placement(*key, partner=partner, **terms))
            months.partner_of[key] = partner
    # Two placements of one tenant: what was agreed last counts.
    return months


async def enrol(storage: Storage, agents: Sequence[Agent]) -> None:
    for agent in agents:
        token = hashlib.sha256(agent.id.encode()).hexdigest()
        await storage.books.invite(token, Invited(agent.id, tuple(t.id for t in agent.tenants), LATER))
        assert await storage.books.enrol(token, agent.key.public, 1, lambda *_: "welcome") == "welcome"


async def agree(storage: Storage, months: Months) -> None:
    partners = [
        Partner(id_, id_.title(), parent=parent, email=(f"{id_}@partner.example",), brand=Brand(""))
        for id_, parent in PARENTS.items()
    ]
    assert await storage.partners.change(partners, months.placements, problems) == ()


def tokens_of(agent: Agent, months: Months) -> list[str]:
    """Let an agent live its month; those that stay open have an interim a day, as all do in the soak."""
    without = [tenant for id_, tenant in months.open if id_ == agent.id]
    return list(agent.month(interims=bool(without), without_final=without))


@asynccontextmanager
async def dying(running: Receivers, *, every_s: float):
    """Kill the receivers by turns, and start each again, while the block lasts."""
    done = asyncio.Event()

    async def reaper() -> None:
        turn = 0
        while not done.is_set():
            with_time = asyncio.timeout(every_s)
            try:
                async with with_time:
                    await done.wait()
            except TimeoutError:
                port = running.ports[turn % len(running.ports)]
                await running.kill(port)
                await running.start(port)
                turn += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(reaper())
        try:
            yield
        finally:
            done.set()


async def close_it(storage: Storage, at: int = LATER) -> Closed:
    return await close(storage, span(PERIOD, AMSTERDAM), PROVIDER, at)


@pytest.mark.timeout(600)
async def test_a_month_over_receivers_that_are_killed(tmp_path: Path, database: str | None) -> None:
    """Receivers are killed and restarted all through a month: every record is counted once, in order,
    with a receipt that holds; three finals missing, one correction and one final late, one tenant moved:
    every partner's reports equal an independent sum over the raw records, figure by figure.
    """
    months = a_month(60)
    await post_month(tmp_path, database, months, count=2 if database else 1, every_s=3)
    async with open_storage(tmp_path, database) as storage:
        await judge_month(storage, months)


async def post_month(data: Path, database: str | None, months: Months, *, count: int, every_s: float) -> None:
    """Post everything while receivers die; then hold the books against what was sealed."""
    agents = months.agents[:-1]
    async with open_storage(data, database) as storage:
        await enrol(storage, months.agents)
        await agree(storage, months)
    begun = time.monotonic()
    async with (
        receivers(data, database, count) as running,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as session,
    ):
        async with dying(running, every_s=every_s), asyncio.TaskGroup() as group:
            at_once = asyncio.Semaphore(32)

            async def live(agent: Agent) -> None:
                async with at_once:
                    months.receipts[agent.id] = []
                    tokens = await asyncio.to_thread(tokens_of, agent, months)
                    await post_all(session, running, tokens, months.receipts[agent.id])

            for agent in agents:
                group.create_task(live(agent))
        assert running.kills > 0
    sent = sum(len(agent.tokens) for agent in agents)
    print(f"{sent} records in {time.monotonic() - begun:.0f} s, {running.kills} kills")
    receiver = keys.load_or_make(data).public
    async with open_storage(data, database) as storage:
        for agent in agents:
            rows = await storage.books.records(agent.id)
            assert [row.token for row in rows] == agent.tokens
            assert [row.receipt for row in rows] == months.receipts[agent.id]
            for row in rows:
                receipt = messages.read_receipt(row.receipt, receiver)
                assert (receipt.sha256, receipt.sequence, receipt.status) == (
                    row.sha256,
                    row.sequence,
                    "counted",
                )
    code, said = await run(data, database, "audit")
    assert (code, "WHOLE" in said) == (0, True), said


async def judge_month(storage: Storage, months: Months) -> None:
    """Close, let things come late, close again; hold every report against the sum by hand."""
    first = await close_it(storage)
    judging.same(first.reports, months.by_hand(), months.partner_of, PARENTS)
    lacking = {(one.agent, one.tenant): one for one in first.reports.whole.missing}
    assert lacking.keys() == {*months.open, *((months.silent.id, t.id) for t in months.silent.tenants)}
    assert {lacking[key].state for key in months.open} == {State.OPEN}
    assert all(lacking[key].as_of is not None for key in months.open)
    assert not (await close_it(storage)).new

    await approve(storage, PERIOD, None, by="tester", now=LATER)
    corrected, late = months.agents[4], months.agents[0]
    tenant = corrected.tenants[0].id
    await take(storage, corrected.correct(tenant, lift=7), late.final(months.open[0][1]))

    second = await close_it(storage, LATER + 1)
    judging.same(second.reports, months.by_hand(), months.partner_of, PARENTS)
    whole = second.reports.whole
    assert (second.new, whole.revision, whole.compared) == (True, 2, 1)
    changed = {(one.agent, one.tenant) for one in whole.differences if one.agent}
    assert changed == {(corrected.id, tenant), months.open[0]}
    named = {(one.what, one.before, one.after) for one in whole.differences if one.agent == corrected.id}
    assert ("state", "final", "corrected") in named
    by_key = {(one.agent, one.tenant): one for one in (*first.reports.whole.tenants,)}
    before = by_key[corrected.id, tenant].peak.level
    assert ("peak.level", str(before), str(before + 7)) in named
    for report in second.reports.partners:
        mine = {(one.agent, one.tenant) for one in report.tenants}
        assert {(one.agent, one.tenant) for one in report.differences if one.agent} == changed & mine
    kept = await storage.closings.closings(PERIOD)
    assert [one.document for one in kept] == [first.closing.document, second.closing.document]
    assert kept[1].approved_at is None
    missing = Difference("", "", "heap.missing", str(len(lacking)), str(len(lacking) - 1))
    assert [one for one in whole.differences if one.what == "heap.missing"] == [missing]


async def take(storage: Storage, *tokens: str) -> None:
    for token in tokens:
        reply = await receive(token, storage.books, receiver=signature.new_key(), now=LATER)
        assert reply.status == 201, reply
