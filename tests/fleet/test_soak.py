"""The sizes that the provider is made for: 2,000 agents over receivers that die, and 20,000 tenants closed. Measured."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from meter import signature
from meter.schema import validate
from provider.partners import Partner, Placement, problems
from provider.storage import deriving
from provider.storage.opening import open_storage
from provider.storage.tables import agents as agents_table
from provider.storage.tables import chains, minute_series, records, summaries
from tests.fleet.agents import Agent, Tenant
from tests.fleet.test_month import a_month, close_it, judge_month, post_month

#: How many different months of minutes there are among the tenants.
DIFFERENT = 40


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
async def test_two_thousand_agents(tmp_path: Path, postgres_url: str) -> None:
    """2,000 agents post a month to two receivers on one PostgreSQL while one after the other is killed:
    nothing is lost or double, and the reports are right.
    """
    months = a_month(2000)
    await post_month(tmp_path, postgres_url, months, count=2, every_s=20)
    async with open_storage(tmp_path, postgres_url) as storage:
        begun = time.monotonic()
        await close_it(storage)
        print(f"closed {len(months.by_hand())} tenants in {time.monotonic() - begun:.1f} s")


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
async def test_the_reports_of_many(tmp_path: Path, database: str | None) -> None:
    """The reports of a fleet of 300 agents are right to the last figure."""
    months = a_month(300)
    await post_month(tmp_path, database, months, count=2 if database else 1, every_s=10)
    async with open_storage(tmp_path, database) as storage:
        await judge_month(storage, months)


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("size", [2_000, 20_000])
async def test_closing_many(tmp_path: Path, database: str | None, size: int) -> None:
    """A month of that many tenants under 200 partners is closed in minutes, by one process in bounded memory."""
    async with open_storage(tmp_path, database) as storage:
        await storage.database.write(fill, size)
        partners = [
            Partner(f"p{n}", f"Partner {n}", parent=None if n < 40 else f"p{n % 40}") for n in range(200)
        ]
        places = [
            Placement(f"agent-{n // 10}", f"t{n % 10}", partner=f"p{n % 200}", customer=f"c{n // 2}")
            for n in range(size)
        ]
        assert await storage.partners.change(partners, places, problems) == ()
        begun = time.monotonic()
        closed = await close_it(storage)
        took = time.monotonic() - begun
        print(f"{size} tenants closed in {took:.1f} s, document of {len(closed.closing.document)} bytes")

        assert closed.reports.whole.heap.tenants == size
        assert not closed.reports.whole.missing
        assert took < 900


def fill(connection: Connection, size: int) -> None:
    """Put a month of that many tenants into the books: finals that are signed, minute-series derived."""
    samples = [Agent(f"sample-{n}", [Tenant("t0", height=4 + n % 9)], seed=n) for n in range(DIFFERENT)]
    series: list[list[dict]] = []
    for sample in samples:
        parsed = [
            validate(signature.unverified_payload(t, signature.TYP_RECORD))
            for t in sample.month(interims=False)
        ]
        stood = deriving.Stood("", 1, 1, "", 0)
        series.append([deriving.series(record, stood) for record in parsed[:-1]])
    for batch in pieces(size, 500):
        rows: dict[object, list[dict]] = {records: [], summaries: [], minute_series: []}
        for number in batch:
            sample, agent, tenant = samples[number % DIFFERENT], f"agent-{number // 10}", f"t{number % 10}"
            if number % 10 == 0:
                connection.execute(
                    insert(agents_table).values(
                        id=agent, tenants=json.dumps([f"t{n}" for n in range(10)]), rejoining=0, chain="c"
                    )
                )
                connection.execute(
                    insert(chains).values(
                        agent=agent, id="c", number=1, starts_after=0, last=10, last_sha256=""
                    )
                )
            sample.id = agent
            token = renamed(sample, tenant)
            sha256 = signature.sha256_hex(token)
            record = validate(signature.unverified_payload(token, signature.TYP_RECORD))
            place = deriving.Stood(agent, 1, number % 10 + 1, sha256, 0)
            rows[summaries].append(deriving.summary(record, place))
            rows[records].append(
                {
                    "agent": agent, "chain": "c", "sequence": number % 10 + 1, "id": record.id, "sha256": sha256,
                    "previous_sha256": None, "status": "counted", "reason": None, "jws": token, "receipt": "",
                    "taken_at": 0,
                }
            )  # fmt: skip
            rows[minute_series] += [
                one | {"agent": agent, "tenant": tenant} for one in series[number % DIFFERENT]
            ]
        for table, values in rows.items():
            connection.execute(insert(table), values)


def renamed(sample: Agent, tenant: str) -> str:
    """Return the sample's final, as that tenant's."""
    account = sample.accounts["t0"]
    data = sample._data("t0", account.period.end) | {"kind": "final", "revision": 1, "next_by": None}
    data["tenant"] = {"id": tenant, "name": f"Customer {tenant}"}
    return sample._summary(tenant, data, account.period.end)


def pieces(size: int, most: int) -> list[range]:
    return [range(first, min(first + most, size)) for first in range(0, size, most)]
