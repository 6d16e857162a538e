"""A whole agent beside a simulated 3CX, in skipped time."""

from __future__ import annotations

import asyncio
import email
import email.policy
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import app, desk
from agent.clock import Clock
from agent.configured import plan_of
from agent.running import Running
from agent.store import outbox, records
from agent.store.database import Database
from config.load import load
from config.model import Config
from connectors.threecx.simulator import OWNER, SimulatedThreeCX
from meter import signature
from meter.canonical import exact
from meter.periods import MINUTE_MS, Period

#: The start of a period of five minutes.
BEGIN = 1_793_923_200_000
PERIOD_MS = 5 * MINUTE_MS

CONFIG = """\
[agent]
id = "ams-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"
period = "5min"
grace = "0s"

[[pbx]]
name = "cloud"
kind = "3cx"
url = "{url}"
client_id = "{client}"
secret = "only-for-simulations"
{more}

[[tenant]]
id = "main"
match = {{ departments = ["DEFAULT"] }}
capacity = 3
alerts = ["noc@partner.example"]

[[tenant]]
id = "sales"
match = {{ departments = ["GRP0001"] }}

[smtp]
host = "127.0.0.1"
port = 2525
sender = "meter@partner.example"
"""


class LoopClock(Clock):
    """A clock that goes by the loop's time, which skips what is idle."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        super().__init__()

    def boot(self) -> int:
        return round((self._loop.time() - self._began) * 1000) + 5_000_000

    def wall(self) -> int:
        return BEGIN + 10_000 + self.boot() - 5_000_000


def listening_port() -> int:
    """Return a free port that no outgoing connection can have: who knocks at a closed port of those may meet himself."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


@dataclass
class Beside:
    """The agent, and the 3CX that it is beside."""

    parts: app.Agent
    config: Config
    pbx: SimulatedThreeCX

    async def at(self, ms: int) -> None:
        """Wait until so long after the first period's start."""
        await asyncio.sleep((BEGIN + ms - self.parts.clock.now()) / 1000)

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something holds; ten minutes of the loop's time at most."""
        async with asyncio.timeout(600):
            while not await holds():  # noqa: ASYNC110 - what is waited for is on disk
                await asyncio.sleep(1)  # of the loop's time, which is skipped

    async def sealed(self, kind: str, tenant: str = "main") -> list[dict[str, Any]]:
        """Return what a tenant's records of a kind say of the first period."""
        found = await self.parts.store.read(lambda db: list(records.every(db)))
        return [
            exact(signature.unverified_payload(one.jws, signature.TYP_RECORD))["data"]
            for one in found
            if one.kind == kind and (one.tenant, one.period_start) == (tenant, BEGIN) and one.jws is not None
        ]

    async def subjects(self) -> list[str]:
        """Return the subjects of the mails that wait to be sent."""
        at = self.parts.clock.now() + 1
        rows = await self.parts.store.read(lambda db: outbox.due(db, "mail", at, 10))
        return [
            str(email.message_from_bytes(row.body, policy=email.policy.default)["Subject"]) for row in rows
        ]

    async def recomputed(self, period: Period, tenant: str = "main") -> tuple[str, ...]:
        """Return how the sealed record of a period differs from the ledger."""

        def work(db: Database) -> tuple[str, ...]:
            found = desk.recompute(db, plan_of(self.config), tenant, period)
            assert found.sealed is not None
            return found.differences

        return await self.parts.store.fold(work)


@asynccontextmanager
async def beside(
    tmp_path: Path, client: str = OWNER.client_id, more: str = "", text: str = "", **how: Any
) -> AsyncIterator[Beside]:
    """Run an agent beside a simulated 3CX."""
    clock = LoopClock()
    async with SimulatedThreeCX(clock.now, **how) as pbx:
        config = configured(tmp_path, pbx, client, more, text)
        async with running(config, clock, pbx) as found:
            yield found


def configured(
    tmp_path: Path, pbx: SimulatedThreeCX, client: str = OWNER.client_id, more: str = "", text: str = ""
) -> Config:
    """Return the configuration of an agent beside a simulated 3CX."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(state=tmp_path / "state", url=pbx.url, client=client, more=more) + text)
    file.chmod(0o600)
    return load(file)


@asynccontextmanager
async def running(config: Config, clock: LoopClock, pbx: SimulatedThreeCX) -> AsyncIterator[Beside]:
    """Let an agent's loops turn."""
    async with app.agent(config, clock) as parts, asyncio.TaskGroup() as loops:
        parts.closing.position_known = True
        found = Beside(parts, config, pbx)

        async def look() -> None:
            while True:
                parts.sampling.mind_time()
                known_at = clock.now()
                await parts.sampling.commit()
                await parts.closing.seal_due(known_at)
                await parts.calls.read_due()
                await parts.amending.correct_due()
                await asyncio.sleep(5)

        turning = [
            loops.create_task(one)
            for one in (parts.sampling.run(), Running(parts, 5, None).beat(), parts.links[0].follow(), look())
        ]
        yield found
        for task in turning:
            task.cancel()
