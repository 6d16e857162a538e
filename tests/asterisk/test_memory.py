"""What the agent holds in memory: at rest, under two hundred calls of a real Asterisk, and after them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from agent import status
from tests.asterisk import agents
from tests.asterisk.calls import Kind, Script
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until

pytestmark = [pytest.mark.asterisk, pytest.mark.soak, pytest.mark.timeout(300)]

#: What systemd starts, here with this Python. PBX_METER_SERVICE names an installed one to measure instead.
LAUNCHER: Final = Path(__file__).parents[2] / "deploy/debian/pbx-meter-agent"
COMMAND: Final = os.environ.get("PBX_METER_SERVICE", f"{sys.executable} -I {LAUNCHER}").split()
CALLS: Final = 200
TALK_MS: Final = 25_000
ROUNDS: Final = 4
KB: Final = 1024
MB: Final = 1_000_000


@asynccontextmanager
async def service(file: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """The agent as its service starts it, in a process of its own."""
    with log.open("wb") as to:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            str(file),
            stdout=to,
            stderr=to,
            env=os.environ
            | {"FROZENLIST_NO_EXTENSIONS": "1"},  # the package has none (deploy/debian/build.py)
        )
    try:
        yield process
    finally:
        await agents.ended(process, signal.SIGTERM)


def memory(pid: int) -> dict[str, float]:
    """Return a process's resident (Rss), proportional (Pss) and own (Uss) memory in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) * KB / MB for line in lines}
    return {
        "Rss": found["Rss"],
        "Pss": found["Pss"],
        "Uss": found["Private_Clean"] + found["Private_Dirty"],
    }


def told(moment: str, figures: dict[str, float]) -> str:
    return f"{moment:<18}" + ", ".join(f"{name} {mb:.1f} MB" for name, mb in figures.items())


async def test_memory_under_two_hundred_calls(
    asterisk_instance: Instance, asterisk_network: Network, tmp_path: Path
) -> None:
    """At rest the agent holds 80 MB at most; 200 simultaneous calls add 6 MB at most, and the next 200 nothing to speak of."""
    file = agents.configured(asterisk_instance, tmp_path)
    socket = agents.loaded(file).agent.socket

    async def now() -> dict[str, Any]:
        return await status.ask(socket) or {"tenants": {}, "records": {"sealed": 0}}

    async def up() -> int:
        """How many trunk legs the agent counts now."""
        levels = [tenant["levels"]["channels"]["now"] for tenant in (await now())["tenants"].values()]
        return sum(level or 0 for level in levels)

    async def sealed() -> bool:
        return (await now())["records"]["sealed"] > 1

    async def all_up() -> bool:
        return await up() == CALLS

    async def none_up() -> bool:
        return await up() == 0

    def scripts(first: int) -> list[Script]:
        return [
            Script(
                first + n,
                Kind.ANSWERED,
                tenant,
                trunk,
                at_ms=n * 40,
                talk_ms=TALK_MS - n * 40,
            )
            for n in range(CALLS)
            for tenant, trunk in [("acme", "trunk-kpn") if n % 2 else ("globex", "trunk-kpn2")]
        ]

    async with service(file, tmp_path / "log") as process:
        await until(sealed, within_s=60)
        at_rest = memory(process.pid)
        figures = []
        for number in range(ROUNDS):
            async with asterisk_network.place(scripts(1 + number * CALLS)) as placed:
                await until(all_up, within_s=TALK_MS / 1000)
                figures.append(memory(process.pid))
                await placed.finished()
            await until(none_up, within_s=10)
        afterwards = memory(process.pid)

    print(f"\nAsterisk {asterisk_instance.version}, {' '.join(COMMAND)}")
    print(told("at rest", at_rest), *(told(f"under {CALLS} calls", each) for each in figures), sep="\n")
    print(told("afterwards", afterwards))
    assert at_rest["Rss"] <= 80
    assert max(each["Rss"] for each in figures) - at_rest["Rss"] <= 6
    assert afterwards["Rss"] - figures[1]["Rss"] <= 1
