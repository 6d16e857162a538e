"""What an administrator types on a machine: install, configure, look."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.systemd.machine import Machine

SECRET: Final = "only-for-simulations"
CONFIG: Final = """
[agent]
id = "test-01"
state_dir = "/var/lib/pbx-meter"
timezone = "Europe/Amsterdam"
socket = "/run/pbx-meter/agent.sock"

[[pbx]]
name = "pbx1"
kind = "asterisk"
host = "127.0.0.1"
username = "meter"
secret_file = "secrets/ami-secret"
trunks = ["PJSIP/trunk*"]
extensions = "[1-9][0-9]{2}"

[[tenant]]
id = "acme"
default = true
capacity = 8
"""


def install(machine: Machine, package: Path) -> str:
    """Install a package file and return what dpkg said."""
    machine.put("/var/tmp/pbx-meter.deb", package.read_bytes())
    return machine.run("dpkg", "--install", "/var/tmp/pbx-meter.deb", within_s=120)


def configure(machine: Machine) -> None:
    """Write a configuration, and let a simulated Asterisk live an office's day."""
    machine.put("/etc/pbx-meter/secrets/ami-secret", SECRET + "\n", mode="600")
    machine.put("/etc/pbx-meter/config.toml", CONFIG, mode="640", group="pbx-meter")
    machine.run("systemd-run", "--unit=simulated", "--quiet", "pbx-meter", "simulate", "asterisk")
    machine.until(lambda: check(machine) == 0, what="the simulated Asterisk answers")


def check(machine: Machine) -> int:
    """Return the exit code of `pbx-meter check`."""
    return machine.attempt("pbx-meter", "check")[0]


def status(machine: Machine) -> dict[str, Any] | None:
    """Return what the running agent says of itself; None: none answers."""
    code, said = machine.attempt("pbx-meter", "status", "--json")
    found: dict[str, Any] | None = json.loads(said) if code == 0 else None
    return found


def follows(machine: Machine) -> bool:
    """Say whether an agent answers that is linked to its PBX."""
    found = status(machine)
    return found is not None and found["pbxs"]["pbx1"]["link"] == "up"


def records(machine: Machine) -> list[dict[str, Any]]:
    """Return the sealed records, interims too."""
    return [
        json.loads(line)
        for line in machine.run("pbx-meter", "summaries", "--all", "--json").splitlines()
        if line[0] == "{"
    ]


def another(package: Path, version: str, folder: Path) -> Path:
    """Make of a package another version, which has a module more."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    lines = control.read_text().splitlines()
    control.write_text(
        "\n".join(f"Version: {version}" if one.startswith("Version:") else one for one in lines) + "\n"
    )
    (tree / "opt/pbx-meter/lib/python3/site-packages/agent/gone.py").write_text(
        '"""What the next version is without."""\n'
    )
    made = folder / f"pbx-meter_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "-Zgzip", "-z1", "--build", str(tree), str(made)], check=True, capture_output=True
    )
    return made
