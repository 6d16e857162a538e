"""An installation to be measured: a configuration for many tenants, the agent as its service starts it, and /proc."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent import status
from agent.clock import Clock
from config.load import load
from connectors.asterisk.simulator import LEAST
from meter.model import Instant

#: What systemd starts, here with this Python.
LAUNCHER: Final = Path(__file__).parents[1] / "deploy" / "debian" / "pbx-meter-agent"
PBX: Final = "pbx1"

_HEAD: Final = """\
[agent]
id = "ams-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"
{agent}
[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "{host}"
port = {port}
username = "{username}"
secret = "{secret}"
trunks = {trunks}
extensions = "[1-9][0-9]{{2}}"
"""
_TENANT: Final = """
[[tenant]]
id = "tenant-{number}"
name = "Tenant {number}"
match = {{ trunks = ["{trunk}"] }}
capacity = {capacity}
packages = [4, 8, 16, 32]
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """Where the PBX is, and as whom the agent logs in."""

    host: str = "127.0.0.1"
    port: int = 5038
    username: str = LEAST.username
    secret: str = LEAST.secret


def configured(
    folder: Path,
    trunks: Sequence[str],
    pbx: Watched | None = None,
    *,
    capacity: int = 8,
    agent: str = "",
    tenant: str = "",
    rest: str = "",
) -> Path:
    """Write a configuration with a tenant for every trunk; return its file.

    Args:
        folder: Where it, and the state directory, will be.
        trunks: Full endpoints, or globs.
        pbx: Where it is.
        capacity: Everybody's.
        agent: More lines for [agent].
        tenant: More lines for each [[tenant]].
        rest: More sections.
    """
    pbx = pbx or Watched()
    text = _HEAD.format(
        state=folder / "state", agent=agent, host=pbx.host, port=pbx.port, username=pbx.username,
        secret=pbx.secret, trunks=list(trunks),
    ).replace("'", '"')  # fmt: skip
    for number, trunk in enumerate(trunks):
        text += _TENANT.format(number=number, trunk=trunk, capacity=capacity) + tenant
    file = folder / "config.toml"
    file.touch(0o600)
    file.write_text(text + rest, encoding="utf-8")
    return file


class HandClock(Clock):
    """A clock that is moved by hand."""

    def __init__(self, at: Instant) -> None:
        self.at = self._begin = at
        super().__init__()

    def wall(self) -> Instant:
        """Return where it was moved to."""
        return self.at

    def boot(self) -> int:
        """Return the same, as time since a start an hour before."""
        return self.at - self._begin + 3_600_000


@asynccontextmanager
async def service(file: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the agent as its service starts it, in a process of its own, until the end of the block."""
    with log.open("ab") as to:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(LAUNCHER), str(file)), stdout=to, stderr=to
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def shows(
    file: Path, condition: Callable[[dict[str, Any]], Any], *, within_s: float = 30, every_s: float = 0.2
) -> dict[str, Any]:
    """Wait until the agent's own status meets a condition, and return it.

    Raises:
        TimeoutError: It does not in time.
    """
    socket = load(file).agent.socket
    async with asyncio.timeout(within_s):
        while True:
            found = await status.ask(socket)
            if found is not None and condition(found):
                return found
            await asyncio.sleep(every_s)


def channels(found: dict[str, Any]) -> int:
    """Return how many trunk legs a status shows now."""
    now = (tenant["levels"]["channels"]["now"] for tenant in found["tenants"].values())
    return sum(level or 0 for level in now)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has spent, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int | str) -> float:
    """Return a process's resident memory, in MB of 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def now_ms() -> int:
    """Return the machine's monotonic clock, the same in all its processes."""
    return time.monotonic_ns() // 1_000_000
