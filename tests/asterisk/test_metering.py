"""The whole agent beside a real Asterisk counts what the wire carries, on both versions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import app, configured, desk
from agent import running as agent_running
from agent.clock import Clock
from agent.store import agreements
from config.model import Config
from meter import schema, signature
from tests.asterisk import agents, witness
from tests.asterisk.calls import EVERY_KIND, Kind, Script, mix
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.wire import Wire

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(400)]

FIVE_MINUTES = 300_000


def at_the_start_of_a_period() -> Clock:
    """A clock on which a 5-minute period has just begun: what a test does falls into one period."""
    wall = Clock().wall()
    return Clock(ahead_ms=FIVE_MINUTES - wall % FIVE_MINUTES)


@asynccontextmanager
async def running(config: Config, clock: Clock) -> AsyncIterator[app.Agent]:
    """An agent whose loops turn, with every PBX's link up."""
    parts: list[app.Agent] = []
    task = asyncio.get_running_loop().create_task(
        agent_running.run(config, clock, look_every_s=0.2, started=parts.append)
    )
    try:
        await until(lambda: task.done() or bool(parts), within_s=10)
        if task.done():
            task.result()
        await until(lambda: all(link.up for link in parts[0].links), within_s=15)
        yield parts[0]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def recomputed(parts: app.Agent, config: Config) -> dict[str, dict[str, Any]]:
    """Every tenant's figures, folded from the ledger alone."""
    await until(lambda: parts.clock.now() > parts.sampling.turned_at, within_s=1)
    parts.sampling.mind_time()  # what was told in the last millisecond is before `as_of` too
    await parts.sampling.commit()
    plan = configured.plan_of(config)

    def work(db: Any) -> dict[str, dict[str, Any]]:
        return {
            tenant: desk.recompute(db, plan, tenant, desk.period_named(db, tenant, None)).content
            for tenant in agreements.tenants(db)
        }

    return await parts.store.read(work)


def settled(parts: app.Agent) -> Callable[[], bool]:
    """Whether no leg is up any more as the agent knows it."""
    return lambda: not any(p.legs for p in parts.sampling.levels.pbxs.values())


def live(parts: app.Agent, tenant: str) -> dict[str, tuple[Any, ...]]:
    """The running account's peaks and traffic of a tenant."""
    figures = parts.sampling.view(tenant, parts.clock.now())
    peaks = {level.value: (f.peak.level, f.peak.at) for level, f in figures.levels.items() if f.peak}
    flows = {
        way.value: (t.legs, t.answered, t.answered_ms, t.billable_s) for way, t in figures.traffic.items()
    }
    return peaks | flows


def stated(content: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """The same of a record's content."""
    peaks = {
        name: (level["peak"], level["peak_at"] and schema.instant(level["peak_at"]))
        for name, level in content["levels"].items()
    }
    return peaks | {way: tuple(flow.values()) for way, flow in content["traffic"].items()}


@pytest.mark.parametrize("size", [60, pytest.param(320, marks=pytest.mark.soak)])
async def test_a_random_mix_is_counted_to_the_last_leg(
    asterisk_instance: Instance, asterisk_network: Network, wire: Wire, tmp_path: Path, size: int
) -> None:
    """In a random mix of calls the peaks of all levels, the legs and the answered seconds are the wire's.

    Both tenants, over their own and a shared trunk; then the figures are folded again
    from the ledger and are the same, and the period closes at the next start with them.
    """
    clock = at_the_start_of_a_period()
    file = agents.configured(asterisk_instance, tmp_path)
    config = agents.loaded(file)
    scripts = mix(seed=1000 + size, trunk_legs=size, per_s=8)
    async with running(config, clock) as parts:
        async with asterisk_network.place(scripts) as placed:
            await placed.finished()
        await until(settled(parts), within_s=5)
        content = await recomputed(parts, config)
        lines = agents.compare(placed, wire.legs(), content)
        for tenant, found in content.items():
            assert live(parts, tenant) == stated(found)
        pbx = parts.sampling.levels.pbxs["pbx1"]
        assert (pbx.missed_starts, pbx.missed_hangups) == (0, 0)
        assert parts.sampling.levels.unclassified.get("pbx1", 0) == 0
        assert parts.sampling.levels.unassigned.get("pbx1", 0) == 0
    print(f"\nAsterisk {asterisk_instance.version}, {len(wire.legs())} trunk legs", *lines, sep="\n  ")
    later = Clock(ahead_ms=clock.wall() - Clock().wall() + FIVE_MINUTES)
    async with running(config, later) as parts:
        await until((tmp_path / "state").exists, within_s=1)
        finals = await sealed_finals(parts)
    for tenant, found in content.items():
        assert stated(finals[tenant])["channels"] == stated(found)["channels"]
        assert finals[tenant]["traffic"] == found["traffic"]
        assert finals[tenant]["coverage"]["gaps"]["list"][-1]["cause"] == "agent_down"


async def sealed_finals(parts: app.Agent) -> dict[str, dict[str, Any]]:
    """Each tenant's first final, as it was signed."""
    from agent.store import records  # noqa: PLC0415 - only here

    found: dict[str, dict[str, Any]] = {}
    for _ in range(100):
        rows = await parts.store.read(lambda db: list(records.every(db)))
        for row in rows:
            if row.kind == "final" and row.tenant not in found and row.jws is not None:
                payload = signature.unverified_payload(row.jws, signature.TYP_RECORD)
                found[str(row.tenant)] = schema.validate(payload).model_dump(mode="json", by_alias=True)[
                    "data"
                ]
        if len(found) == 2:
            break
        await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("account", ["meter", "meter-filtered", "meter-system"])
async def test_every_kind_of_call_counts_as_its_script_says(
    asterisk_instance: Instance, asterisk_network: Network, wire: Wire, tmp_path: Path, account: str
) -> None:
    """Each kind of call counts on each level as the definition says, with least rights, an event filter, and more."""
    config = agents.loaded(agents.configured(asterisk_instance, tmp_path, account=account))
    async with running(config, at_the_start_of_a_period()) as parts:
        async with asterisk_network.place(EVERY_KIND) as placed:
            await placed.finished()
        await until(settled(parts), within_s=5)
        agents.compare(placed, wire.legs(), await recomputed(parts, config))


async def test_calls_before_the_start_and_a_restart_in_their_midst(
    asterisk_instance: Instance, asterisk_network: Network, tmp_path: Path
) -> None:
    """Calls that are up before the agent starts count from then on; Asterisk killed in their midst ends them."""
    config = agents.loaded(agents.configured(asterisk_instance, tmp_path))
    clock = at_the_start_of_a_period()
    long = tuple(Script(n, Kind.IVR, "acme", "trunk-kpn", talk_ms=600_000) for n in range(1, 4))
    async with asterisk_network.place(long) as placed:
        async with asyncio.timeout(15):
            while len(await witness.channels(asterisk_instance)) < 3:
                pass
        async with running(config, clock) as parts:
            assert list(parts.sampling.levels.now("acme").values()) == [3, 3, 3]
            began_at = parts.sampling.levels.pbxs["pbx1"].agreed_at
            parts.links[0].connector.resnapshot()
            await until(lambda: parts.sampling.levels.pbxs["pbx1"].agreed_at > began_at, within_s=10)
            asterisk_instance.kill()
            await until(lambda: not parts.links[0].up, within_s=10)
            asterisk_instance.start()
            await until(lambda: parts.links[0].up, within_s=30)
            assert list(parts.sampling.levels.now("acme").values()) == [0, 0, 0]
            content = (await recomputed(parts, config))["acme"]
    assert placed.scripts == long
    assert content["levels"]["channels"]["peak"] == 3
    assert content["levels"]["answered"]["peak"] == 3
    assert content["traffic"]["unknown"]["legs"] == 3, (
        "a snapshot does not show which way an answered leg went"
    )
    assert {"not_installed", "link_lost"} >= {g["cause"] for g in content["coverage"]["gaps"]["list"]}
