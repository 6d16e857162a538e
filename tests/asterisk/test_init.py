"""`pbx-meter init` beside a real Asterisk: from its own files to the first record that a provider counts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from config.load import load
from config.model import Asterisk
from provider.serving import serving
from tests.asterisk.calls import Kind, Script
from tests.asterisk.instance import Instance
from tests.asterisk.network import Network
from tests.asterisk.patience import until

pytestmark = [pytest.mark.asterisk, pytest.mark.timeout(180)]

#: From the first command to the first record that is counted.
WITHIN_S = 300


@pytest.fixture
def program(asterisk_instance: Instance, tmp_path: Path) -> Path:
    """Asterisk's own program, which answers in the root and the mounts of the running one."""
    process = asterisk_instance._process
    assert process is not None
    file = tmp_path / "asterisk"
    file.write_text(
        f"#!/bin/sh\nexec nsenter -t {process.pid} -m -- chroot {asterisk_instance.root.path} "
        'asterisk -C /instance/etc/asterisk.conf "$@"\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture(params=["debian", "bare", "freepbx"])
def folder(request: pytest.FixtureRequest, asterisk_instance: Instance, program: Path) -> Iterator[Path]:
    """Its configuration, manager.conf as Debian has it, without any include, and as FreePBX has it; afterwards as it was."""
    etc = asterisk_instance.home / "etc"
    before = (etc / "manager.conf").read_text()
    text = "\n".join(line for line in before.splitlines() if not line.startswith("bindaddr"))
    text = text.replace("[general]\n", f"[general]\nbindaddr = {asterisk_instance.host}\n")
    if request.param == "debian":
        (etc / "manager.d").mkdir()
        (etc / "manager.d" / "README.conf").write_text("; put yours here\n")
        text += '\n#include "manager.d/*.conf" \n'
    elif request.param == "freepbx":
        (etc / "manager_custom.conf").write_text("")
        text += "\n#include manager_custom.conf\n"
    (etc / "manager.conf").write_text(text)
    asks(program, "manager reload")
    try:
        yield etc
    finally:
        for added in (*etc.glob("manager*~"), etc / "manager_custom.conf"):
            added.unlink(missing_ok=True)
        shutil.rmtree(etc / "manager.d", ignore_errors=True)
        (etc / "manager.conf").write_text(before)
        asks(program, "manager reload")


def asks(program: Path, command: str) -> str:
    """Type a command at Asterisk's console; return what it answers."""
    return subprocess.run([program, "-rx", command], check=True, capture_output=True, text=True).stdout


async def meter(*words: str) -> str:
    """Type a command of pbx-meter; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", "agent", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "200"},
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


@asynccontextmanager
async def started(config: Path, log: Path) -> AsyncIterator[None]:
    """An agent in a process of its own, as systemd starts it."""
    with log.open("ab") as to:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "agent", "run", "--config", str(config)), stdout=to, stderr=to
        )
    try:
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            await process.wait()


async def init(folder: Path, program: Path, home: Path, *words: str) -> Path:
    """Type `pbx-meter init asterisk --yes …`; return the configuration."""
    config = home / "etc" / "config.toml"
    config.parent.mkdir()
    await meter(
        *("init", "asterisk", "--yes", "--account", "counter", "--tenant", "acme", *words),
        *("--asterisk-dir", str(folder), "--asterisk", str(program)),
        *("--config", str(config), "--state-dir", str(home / "state")),
    )
    return config


async def test_the_account_gets_in_and_asterisk_has_nothing_to_complain_of(
    asterisk_instance: Instance, program: Path, folder: Path, tmp_path: Path
) -> None:
    """Wherever this manager.conf wants it, the account is read, has least rights, and `check` finds trunks and phones."""
    complaints = asterisk_instance.complaints()

    config = await init(folder, program, tmp_path)

    (found,) = load(config).pbx
    assert isinstance(found, Asterisk)
    assert found.trunks == ("PJSIP/trunk-kpn", "PJSIP/trunk-kpn2", "PJSIP/trunk-shared")
    assert found.extensions is not None
    assert found.extensions.pattern == "1[0-9]{2}"
    shown = asks(program, "manager show user counter")
    assert {"read perm: call", "write perm: reporting", "ACL: yes"} <= {
        line.strip() for line in shown.splitlines()
    }
    assert asterisk_instance.complaints() == complaints
    assert "All of it is there already." in await meter(
        *("init", "asterisk", "--yes", "--config", str(config)),
        *("--asterisk-dir", str(folder), "--asterisk", str(program)),
    )


@pytest.mark.parametrize("folder", ["debian"], indirect=True)
async def test_from_its_own_files_to_the_first_counted_record(
    asterisk_instance: Instance, asterisk_network: Network, program: Path, folder: Path, tmp_path: Path
) -> None:
    """`init` and `enrol` are all that is typed before the start; then the provider counts the first record, and calls count."""
    books = tmp_path / "books"
    books.mkdir()
    begun = time.monotonic()
    async with serving(books) as receiver:
        line = (await receiver.invite("pbx-01", ["acme"])).line()

        config = await init(folder, program, tmp_path, "--provider", line)
        await meter("enrol", line, "--config", str(config))

        async with started(config, tmp_path / "log"):
            assert await _said_of_the_first(config) == "counted"
            took_s = time.monotonic() - begun
            async with asterisk_network.place([
                Script(1, Kind.ANSWERED, "acme", "trunk-kpn", talk_ms=1_500),
                Script(2, Kind.OUTBOUND, "globex", "trunk-kpn2", talk_ms=1_500),
                Script(3, Kind.INTERNAL, "acme", talk_ms=1_500),
            ]) as placed:  # fmt: skip
                await placed.finished()
            said = await meter("recompute", "--json", "--config", str(config))
    content = json.loads(said)["acme"]["content"]
    assert content["levels"]["channels"]["peak"] == 2
    assert (content["traffic"]["in"]["legs"], content["traffic"]["out"]["legs"]) == (1, 1)
    assert took_s < WITHIN_S
    print(
        f"Asterisk {asterisk_instance.generation}: init, enrol, start, first counted record in {took_s:.1f} s"
    )


async def _said_of_the_first(config: Path) -> str:
    """Wait until the provider said something of the first record; return what."""
    found: list[str] = []

    async def is_there() -> bool:
        # The agent's first start makes the database.
        if not (load(config).agent.state_dir / "meter.db").exists():
            return False
        said = await meter("summaries", "--all", "--json", "--config", str(config))
        rows = [json.loads(row) for row in said.splitlines()]
        found[:] = [row["status"] for row in rows if row["kind"] == "interim" and row["status"]]
        return bool(found)

    await until(is_there, within_s=60)
    return found[0]
