"""From a real call to the provider's books, through a dead provider and a killed agent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from agent.store import ledger
from agent.store.database import Store
from meter import chain, signature
from meter.model import Cause, Gap
from meter.presence import FOREVER
from provider.serving import serving
from tests.asterisk import agents
from tests.asterisk import wire as wires
from tests.asterisk.calls import mix
from tests.asterisk.configuration import free_port
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until
from tests.asterisk.wire import Wire

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(400)]


class Mailbox:
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


async def meter(file: Path, *words: str) -> tuple[int, str]:
    """Run a command of pbx-meter; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "agent", *words, "--config", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "160"},
    )
    async with asyncio.timeout(30):
        said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def stored_gaps(home: Path) -> list[Gap]:
    """Every gap of the PBX that the ledger holds."""
    store = Store(home / "state")
    await store.open()
    try:
        return (await store.read(lambda db: ledger.gaps(db, ["pbx1"], 0, FOREVER)))["pbx1"]
    finally:
        await store.close()


@asynccontextmanager
async def running(file: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent in a process of its own, its link up."""
    with log.open("ab") as to:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "agent", "run", "--config", str(file)), stdout=to, stderr=to
        )

    async def is_up() -> bool:
        code, said = await meter(file, "status", "--json")
        return code == 0 and json.loads(said)["pbxs"]["pbx1"]["link"] == "up"

    try:
        await until(is_up, within_s=20)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await process.wait()


@pytest.mark.parametrize("size", [40, pytest.param(300, marks=pytest.mark.soak)])
async def test_books_equal_sealed_records_whatever_died(
    asterisk_instance: Instance, asterisk_network: Network, wire: Wire, tmp_path: Path, size: int
) -> None:
    """A provider that is down for the whole run and an agent killed in its midst lose and double nothing.

    The provider's books end equal to the agent's sealed records, every receipt is stored, the
    chain is unbroken, the time that the agent was dead is a gap, no peak is invented, and every
    notice is one mail.
    """
    port = free_port("127.0.0.1")
    box = Mailbox()
    sink = Controller(box, hostname="127.0.0.1", port=free_port("127.0.0.1"))
    sink.start()
    books = tmp_path / "books"
    books.mkdir()
    home = tmp_path / "agent"
    file = agents.configured(
        asterisk_instance, home, capacity=2, smtp_port=sink.port, upstream=f"http://127.0.0.1:{port}"
    )
    try:
        async with serving(books, port=port) as receiver:
            line = (await receiver.invite("test-01", ["acme", "globex"])).line()
            code, said = await meter(file, "enrol", line)
            assert code == 0, said
            code, said = await meter(file, "check")
            assert code == 0, said
        scripts = mix(seed=2000 + size, trunk_legs=size, per_s=6)
        log = tmp_path / "agent.log"
        async with asterisk_network.place(scripts) as placed:
            async with running(file, log) as first:
                await until(lambda: bool(box.mails), within_s=30)
                await asyncio.sleep(2.5)  # so that something was committed and something was not
                first.kill()
                await first.wait()
            async with running(file, log):
                await placed.finished()
                status: dict[str, Any] = {}

                async def sealed_some() -> bool:
                    _, found = await meter(file, "status", "--json")
                    status.update(json.loads(found))
                    return bool(status["outbox"]["waiting"] >= 2)

                await until(sealed_some, within_s=30)
                assert status["records"]["receipted"] == 0
                async with serving(books, port=port) as receiver:

                    async def all_receipted() -> bool:
                        _, found = await meter(file, "status", "--json")
                        records = json.loads(found)["records"]
                        return records["sealed"] == records["receipted"] > 0

                    await until(all_receipted, within_s=90)
                    code, said = await meter(file, "export")
                    sealed = said.split()
                    kept = [record.token for record in await receiver.books.records("test-01")]
                    assert sealed[: len(kept)] == kept[: len(sealed)]
                    assert len(kept) >= status["records"]["sealed"]
        code, recomputed = await meter(file, "recompute", "--json")
        assert code == 0, recomputed
        code, shown = await meter(file, "keys", "show")
        verdict = chain.examine(sealed, [signature.public_key(shown.splitlines()[0])])
        assert verdict.good, verdict.lines
        code, said = await meter(file, "summaries", "--all", "--json")
        rows = [json.loads(row) for row in said.splitlines()]
        assert {row["status"] for row in rows[: len(kept)]} == {"counted"}
    finally:
        sink.stop()
    for tenant, found in json.loads(recomputed).items():
        mine = [leg for leg in wire.legs() if placed.tenant(leg) == tenant]
        for level, spans in agents.levels(mine, placed.merges).items():
            assert found["content"]["levels"][level]["peak"] <= wires.peak_bounds(spans)[1]
    # Of the ledger itself: the run may have crossed from one 5-minute period into the next.
    assert Cause.AGENT_DOWN in {gap.cause for gap in await stored_gaps(home)}
    ids = [mail["Message-ID"] for mail in box.mails]
    assert len(ids) == len(set(ids)) > 0
