"""A disk that is full, read-only or torn: counting goes on where it can, a start says what to do, no lie is signed."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import app
from agent.store import records
from agent.store.database import StoreError
from meter import chain, signature
from tests.integration.agent.conftest import Agency, rows, sealed
from tests.unit.agent.conftest import Office

PAGE = 4096


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of its own, of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False, capture_output=True)  # fmt: skip
    if done.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte of room."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                pass
    return ballast


def ran(config: Path) -> subprocess.CompletedProcess[str]:
    """Run the agent as an operator does, until it ends by itself."""
    argv = [sys.executable, "-I", "-m", "agent", "run", "--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


async def test_full_while_it_runs(small, write_config, clock):
    """On a full disk it counts on in memory, says so, seals nothing; with room again all of it is written and the figures are whole."""
    config = write_config(state=small / "state", period="5min", grace="0s")
    async with app.agent(config, clock) as parts:
        office = Office(parts, clock)
        office.snapshot()
        first = office.call()
        await office.live(2_000)
        ballast = fill(small)
        for _ in range(60):
            more = [office.call() for _ in range(3)]
            clock.advance(700)
            office.hang_up(*more)
            clock.advance(300)
            parts.sampling.mind_time()
            await parts.sampling.commit()
        assert parts.sampling.disk is not None
        trouble = (await parts.status.read(clock.now()))["trouble"]
        shown = parts.sampling.view("acme", clock.now()).levels
        before = sealed(config.agent.state_dir)
        clock.advance(300_000 - clock.now() % 300_000)
        assert parts.sampling.known_up_to("acme") == 0  # no final is made of facts that are not stored

        ballast.unlink()
        parts.sampling.mind_time()
        office.snapshot(first)
        await parts.sampling.commit()
        parts.closing.position_known = True
        await parts.closing.seal_due()

        assert any("is full" in line and "df -h" in line for line in trouble)
        assert not any(row[1].endswith("/final/1") for row in before)
        assert {level.value: found.peak.level for level, found in shown.items()} == {"channels": 4, "calls": 4, "answered": 4}  # fmt: skip
        ((legs,),) = rows(config.agent.state_dir / "meter.db", "SELECT count(*) FROM legs")
        assert legs == 181
        finals = [row for row in sealed(config.agent.state_dir) if "/final/" in row[1]]
        assert len(finals) == 1
        assert parts.sampling.disk is None


def test_full_at_the_start(small, write_config):
    """On a disk without a byte of room it does not start: 74, which disk, and how to look at it."""
    config = write_config(state=small / "state")
    (small / "state").mkdir(mode=0o700)
    fill(small)

    said = ran(config.agent.state_dir.parents[1] / "state.toml")

    assert said.returncode == 74, said.stderr
    assert "Traceback" not in said.stderr
    assert "df -h" in said.stderr


@pytest.mark.parametrize("used", [False, True], ids=["empty", "used before"])
async def test_read_only_at_the_start(small, write_config, clock, used):
    """On a disk that is mounted read-only it does not start: 74, and that the disk is read-only, not that a folder is missing."""
    config = write_config(state=small / "state")
    file = config.agent.state_dir.parents[1] / "state.toml"
    if used:
        async with app.agent(config, clock):
            pass
    await asyncio.to_thread(subprocess.run, ["mount", "-o", "remount,ro", small], check=True)

    said = await asyncio.to_thread(ran, file)

    assert said.returncode == 74, said.stderr
    assert "Traceback" not in said.stderr
    assert "read-only" in said.stderr.lower()
    assert "mount" in said.stderr


async def _lived(write_config, clock) -> Path:
    """Give the state of an agent that has sealed a good many records and counted a good many legs."""
    config = write_config(period="5min", grace="0s", rest='\n[upstream]\nurl = "http://127.0.0.1:9"\n')
    async with app.agent(config, clock) as parts:
        parts.closing.position_known = True
        parts.closing._synchronised = lambda: True
        office = Office(parts, clock)
        office.snapshot()
        for _ in range(12):
            office.hang_up(*[office.call() for _ in range(10)])
            stay = office.call()
            await Agency(parts, config, clock, None).hour()
            office.snapshot(stay)
            await parts.sampling.commit()
            await parts.closing.seal_due()
    return Path(config.agent.state_dir)


def _torn_copies(state: Path, to: Path) -> Iterator[tuple[str, Path]]:
    """Yield copies of a state directory, each with its database torn in another way."""
    whole = (state / "meter.db").read_bytes()
    noise = random.Random(7)
    pages = len(whole) // PAGE
    torn: dict[str, bytes] = {
        "half": whole[: len(whole) // 2],
        "cut in a page": whole[: len(whole) - PAGE // 2],
        "one page": whole[:PAGE],
        "zeros": whole[: PAGE * 2] + bytes(len(whole) - PAGE * 2),
    }
    for page in sorted(noise.sample(range(1, pages), 12)):
        start = page * PAGE
        torn[f"page {page} noise"] = whole[:start] + noise.randbytes(PAGE) + whole[start + PAGE :]
        torn[f"page {page} zeros"] = whole[:start] + bytes(PAGE) + whole[start + PAGE :]
    for name, content in torn.items():
        copy = to / name.replace(" ", "-")
        shutil.copytree(state, copy)
        (copy / "meter.db").write_bytes(content)
        yield name, copy


async def test_torn(write_config, clock, tmp_path):
    """Cut off, or with any of its pages zeroed or garbled, the database is refused with the next step, and nothing is signed."""
    state = await _lived(write_config, clock)
    assert not list(state.glob("meter.db-*"))  # all of it is in the file itself
    started = []
    for name, copy in _torn_copies(state, tmp_path / "copies"):
        before = (copy / "meter.db").read_bytes()
        config = write_config(state=copy, period="5min", grace="0s")
        refused = None
        try:
            async with app.agent(config, clock):
                started.append(name)
        except StoreError as error:
            refused = error
        if refused is None:
            continue
        assert refused.damaged, name
        assert "chain new" in refused.hint
        assert (copy / "meter.db").read_bytes() == before, name

    assert started == []


async def test_a_torn_record_is_not_built_upon(write_config, clock):
    """If the last record is no longer what its own hash says, nothing is sealed after it and it is said."""
    state = await _lived(write_config, clock)
    whole = (state / "meter.db").read_bytes()
    last = rows(state / "meter.db", "SELECT jws FROM records ORDER BY chain, sequence DESC LIMIT 1")[0][0]
    at = whole.index(last.split(".")[2].encode())
    (state / "meter.db").write_bytes(whole[:at] + b"AAAAAAAAAA" + whole[at + 10 :])
    before = sealed(state)
    config = write_config(period="5min", grace="0s")
    with pytest.raises(StoreError, match="is damaged"):
        async with app.agent(config, clock):
            pass

    assert sealed(state) == before


async def test_killed_with_a_torn_log(write_config, clock, tmp_path):
    """A write-ahead log that a power cut left half written costs what was not yet committed, never a sealed record twice."""
    config = write_config(period="5min", grace="0s", rest='\n[upstream]\nurl = "http://127.0.0.1:9"\n')
    state = config.agent.state_dir
    async with app.agent(config, clock) as parts:
        parts.closing.position_known = True
        parts.closing._synchronised = lambda: True
        agent = Agency(parts, config, clock, None)
        await agent.hour(3)
        copy = tmp_path / "copies" / "killed"
        shutil.copytree(state, copy, ignore=shutil.ignore_patterns("*-shm", "*.sock"))
        log = copy / "meter.db-wal"
        whole = log.read_bytes()
        known = {row[2] for row in sealed(state)}
    for share in (0.3, 0.7, 0.97):
        log.write_bytes(whole[: int(len(whole) * share)])
        shutil.copytree(copy, tmp_path / f"at-{share}")
        again = write_config(state=tmp_path / f"at-{share}", period="5min", grace="0s")
        async with app.agent(again, clock) as parts:
            left = sealed(again.agent.state_dir)
            assert {row[2] for row in left} <= known
            assert [row[0] for row in left] == list(range(1, len(left) + 1))
            tokens = await parts.store.read(lambda db: [r.jws for r in records.every(db)])
            key = signature.private_key((copy / "signing-key.json").read_text()).public
            assert not tokens or chain.examine(tokens, [key]).good


def test_the_tests_had_a_disk_to_tear(small):
    """The small disk is really full once it is filled, for root too."""
    fill(small)
    with pytest.raises(OSError, match="No space left"), (small / "more").open("wb", buffering=0) as file:
        file.write(b"x" * PAGE)
    assert os.statvfs(small).f_bavail == 0
