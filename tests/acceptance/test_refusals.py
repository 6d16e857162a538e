"""What the agent refuses to start with: whose fault it is, the exit code, and the next thing to type."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Site, site

DEFECTS = [
    ('timezone = "Europe/Amsterdam"', 'timezone = "Europe/Amsterdm"'),
    ("port = ", 'secret = "in-plain-sight"\nporto = '),
    ("capacity = 16", "capacity = 0"),
    ('match = { trunks = ["PJSIP/trunk-kpn2"]', 'match = { trunks = ["PJSIP/trunk-kpn3"]'),
    ('interim = "1h"', 'interim = "hourly"'),
]


@pytest.fixture
async def nowhere(tmp_path: Path) -> AsyncIterator[Site]:
    """Give a site on which nothing was started."""
    async with site(tmp_path / "site") as it:
        yield it


async def test_config_errors(nowhere):
    """All errors of a configuration are said at once, each with its key and a hint, no secret; exit code 78."""
    nowhere.write_config(DEFECTS)

    checked, started = await asyncio.gather(nowhere.meter("check"), nowhere.meter("run"))

    for said in (checked, started):
        assert said.code == 78
        for key in (
            "agent.timezone",
            "pbx[0].porto",
            "pbx[0].secret",
            "tenant[0].capacity",
            "upstream.interim",
        ):
            assert f": {key}" in said.err
        assert "did you mean Europe/Amsterdam?" in said.err
        assert "did you mean port?" in said.err
        assert "in-plain-sight" not in said.err + said.out
        assert "only-for-simulations" not in said.err + said.out
        assert "Traceback" not in said.err
        assert all(str(nowhere.config) in line and "; " in line for line in said.err.splitlines())


async def test_a_state_directory_that_cant_be_used(nowhere):
    """A state directory, database or key that can't be used ends the agent with 74, a sentence and a hint."""
    (nowhere.folder / "file").write_text("")
    (nowhere.folder / "damaged").mkdir(mode=0o700)
    (nowhere.folder / "damaged" / "meter.db").write_bytes(b"no database" * 1000)
    (nowhere.folder / "open-key").mkdir(mode=0o700)
    (nowhere.folder / "open-key" / "signing-key.json").write_text("{}")
    (nowhere.folder / "open-key" / "signing-key.json").chmod(0o644)
    states = {"inside-a-file": "file/state", "damaged": "damaged", "open-key": "open-key"}
    for name, state in states.items():
        nowhere.write_config([(f'state_dir = "{nowhere.state}"', f'state_dir = "{nowhere.folder / state}"')])
        nowhere.config.rename(nowhere.folder / f"{name}.toml")

    ends = await asyncio.gather(
        *(nowhere.meter("run", config=nowhere.folder / f"{name}.toml") for name in states)
    )

    said = dict(zip(states, ends, strict=True))
    assert {name: each.code for name, each in said.items()} == dict.fromkeys(said, 74)
    assert all("  -> " in each.err and "Traceback" not in each.err for each in said.values())
    assert "chmod 600" in said["open-key"].err
    assert "is damaged" in said["damaged"].err
