"""Real `pbx-meter-provider serve` processes over one data folder, and agents that post to any of them."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
STARTED_S = 60


def listening_port() -> int:
    """Return a free port that no outgoing connection can have."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def command(data: Path, database: str | None, *words: str, config: Path | None = None) -> list[str]:
    """Return a command line of the provider."""
    given = ["--data", str(data)]
    given += ["--database", database] if database else []
    given += ["--config", str(config)] if config else []
    return [sys.executable, "-c", "from provider.cli import main; main()", *given, *words]


async def run(data: Path, database: str | None, *words: str, config: Path | None = None) -> tuple[int, str]:
    """Run a command of the provider to its end; return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command(data, database, *words, config=config),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(300):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, said.decode()


@dataclass
class Receivers:
    """Processes that serve, each at a port of its own."""

    data: Path
    database: str | None
    config: Path | None = None
    ports: list[int] = field(default_factory=list)
    processes: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    kills: int = 0

    async def start(self, port: int | None = None) -> None:
        """Start one, and wait until it listens."""
        port = port or listening_port()
        process = await asyncio.create_subprocess_exec(
            *command(self.data, self.database, "serve", "--port", str(port), config=self.config),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self.processes[port] = process
        async with asyncio.timeout(STARTED_S):
            while b"listening" not in (line := await process.stdout.readline()):
                assert line, "the receiver ended before it listened"
        if port not in self.ports:
            self.ports.append(port)

    async def kill(self, port: int) -> None:
        """Kill one as a power cut would."""
        self.processes[port].send_signal(signal.SIGKILL)
        await self.processes[port].wait()
        self.kills += 1

    async def stop(self) -> None:
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(30):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


@asynccontextmanager
async def receivers(
    data: Path, database: str | None, count: int, config: Path | None = None
) -> AsyncIterator[Receivers]:
    """Have that many receivers running within the block."""
    running = Receivers(data, database, config)
    try:
        for _ in range(count):
            await running.start()
        yield running
    finally:
        await running.stop()


async def post_all(
    session: aiohttp.ClientSession, running: Receivers, tokens: Iterable[str], receipts: list[str]
) -> None:
    """Post an agent's records in order, to any receiver, each until there is a receipt for it."""
    for token in tokens:
        receipts += [await post(session, running.ports, token)]


async def post(session: aiohttp.ClientSession, ports: Sequence[int], token: str) -> str:
    async with asyncio.timeout(120):
        while True:
            url = f"http://127.0.0.1:{random.choice(ports)}/v1/summaries"
            try:
                async with session.post(
                    url, data=token, headers={"Content-Type": "application/jose"}
                ) as answer:
                    said = await answer.text()
                    if answer.status in (200, 201):
                        return said
                    assert answer.status in (429, 500, 503), (answer.status, said)
            except (aiohttp.ClientError, ConnectionError):
                pass
            await asyncio.sleep(0.02)  # as an agent would wait, only shorter
