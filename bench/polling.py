"""What following a large 3CX costs: 5,000 users, 20 trunks and 600 simultaneous calls, polled every 2 s.

    python -m bench.polling [--seconds 60]

The simulated 3CX runs in this process, the agent in one of its own, as it would be deployed.
Its CPU time and memory are those of the kernel (/proc), the 3CX's are not in them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from agent.clock import Clock
from connectors.threecx.simulated import cycles, directory
from connectors.threecx.simulator import OWNER, SimulatedThreeCX

USERS = 5_000
TRUNKS = 20
CALLS = 600

_CONFIG = """\
[agent]
id = "bench-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"

[[pbx]]
name = "cloud"
kind = "3cx"
url = "{url}"
client_id = "{client}"
secret = "{secret}"
poll = "2s"

[[tenant]]
id = "everybody"
default = true
capacity = 1000
"""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mib(pid: int) -> dict[str, float]:
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in {"VmRSS", "VmHWM"}:
            found[name] = int(value.split()[0]) / 1024
    return found


def _configuration(folder: Path, url: str) -> Path:
    file = folder / "config.toml"
    file.touch(0o600)
    file.write_text(
        _CONFIG.format(state=folder / "state", url=url, client=OWNER.client_id, secret=OWNER.secret)
    )
    return file


async def _measure(seconds: float) -> None:
    now = Clock().now
    users = tuple(directory.User(str(number)) for number in range(20_000, 20_000 + USERS))
    trunks = tuple(
        directory.Trunk(str(number), f"Line {number}") for number in range(10_000, 10_000 + TRUNKS)
    )
    with tempfile.TemporaryDirectory() as folder:
        async with SimulatedThreeCX(now, users=users, trunks=trunks) as pbx:
            for number in range(CALLS):
                cycles.begin(
                    pbx.exchange, "inbound", at=now(), trunk=str(10_000 + number % TRUNKS),
                    extension=str(20_000 + number), ring_s=2, talk_s=86_400,
                )  # fmt: skip
            file = _configuration(Path(folder), pbx.url)
            began = now()
            agent = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "agent", "run", "--config", str(file),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                async with asyncio.timeout(60):
                    await pbx.asked("GET */ActiveCalls", CALLS // 100 + 1)
                first_poll_s = (now() - began) / 1000
                start_cpu_s = _cpu_s(agent.pid)
                await asyncio.sleep(10)  # users are read, calls are opened
                settled_s, polls = _cpu_s(agent.pid), _polls(pbx)
                since = now()
                await asyncio.sleep(seconds)
                used_s, over_s = _cpu_s(agent.pid) - settled_s, (now() - since) / 1000
                made = (_polls(pbx) - polls) / (CALLS // 100)
                memory = _memory_mib(agent.pid)
            finally:
                agent.terminate()
                await agent.wait()
    print(f"{USERS} users, {TRUNKS} trunks, {CALLS} calls up, {CALLS // 100} pages a poll")
    print(f"first poll {first_poll_s:.1f} s after the start, {start_cpu_s:.1f} s of CPU until then")
    print(
        f"then {100 * used_s / over_s:.1f} % of one core, {1000 * used_s / max(1, made):.0f} ms of CPU a poll"
    )
    print(f"memory {memory['VmRSS']:.0f} MiB, at most {memory['VmHWM']:.0f} MiB")


def _polls(pbx: SimulatedThreeCX) -> int:
    return sum(path.endswith("ActiveCalls") for path in pbx.received)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60.0)
    asyncio.run(_measure(arguments.parse_args().seconds))
