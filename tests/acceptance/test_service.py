"""What systemd starts is `pbx-meter run`: the same sentences, the same exit codes, without what only a terminal needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "deploy/debian/pbx-meter-agent"

CONFIG = """\
[agent]
id = "test-01"
state_dir = "{state}"
timezone = "Europe/Amsterdam"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret = "made up"
trunks = ["PJSIP/trunk"]
extensions = "1[0-9]{{2}}"

[[tenant]]
id = "acme"
default = true
{more}
"""


def ended(*command: str, **environment: str) -> tuple[int, str]:
    """Return how a program ended that does not come to run, and what it said, its lines as they are."""
    done = subprocess.run(
        [sys.executable, "-I", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("more", "code"),
    [("capacity = -1", 78), ("", 74)],
    ids=["a wrong configuration", "a database that is none"],
)
def test_it_ends_as_the_command_does(tmp_path: Path, more: str, code: int) -> None:
    """What the service says when it can't start, and its exit code, are those of `pbx-meter run`."""
    (tmp_path / "meter.db").write_text("something else")
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(state=tmp_path, more=more))
    file.chmod(0o600)

    by_service = ended(str(LAUNCHER), str(file))

    assert by_service[0] == code
    assert by_service == ended("-m", "agent", "run", "--config", str(file))
    assert by_service == ended(str(LAUNCHER), PBX_METER_CONFIG=str(file))


def test_it_leaves_out_what_a_terminal_needs(tmp_path: Path) -> None:
    """Neither the tables nor the other commands are loaded, not even by the libraries that would."""
    loaded = "import sys; sys.modules['rich'] = None; import agent.service; print(*sys.modules, sep='\\n')"
    code, said = ended("-c", loaded)

    assert code == 0
    names = set(said.split())
    assert {"agent.app", "structlog"} <= names
    assert names.isdisjoint({"rich.console", "pygments", "agent.cli", "agent.terminal", "agent.demo"})
    assert 'sys.modules["rich"] = None' in LAUNCHER.read_text()
