"""An administrator who has never heard of us, a fresh Debian 12, a real Asterisk 22: four commands to a counted record."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.asterisk import roots as asterisk_roots
from tests.systemd import installed, roots
from tests.systemd.machine import Machine, booted

pytestmark = [pytest.mark.systemd, pytest.mark.soak, pytest.mark.timeout(900)]

WITHIN_S: Final = 300
MOST_COMMANDS: Final = 4
RECEIVER: Final = (sys.executable, "-I", "-c", "from provider.cli import main; main()")
PROVIDER: Final = "http://127.0.0.1:8480"

#: What somebody wrote who has a provider's trunk and three telephones.
PJSIP: Final = """
[transport-udp]
type = transport
protocol = udp
bind = 127.0.0.1:5060

[carrier]
type = endpoint
context = from-carrier
disallow = all
allow = ulaw
aors = carrier
[carrier]
type = aor
contact = sip:127.0.0.1:5070
[carrier]
type = identify
endpoint = carrier
match = 127.0.0.1
""" + "".join(
    f"""
[{number}]
type = endpoint
context = internal
disallow = all
allow = ulaw
auth = {number}
aors = {number}
[{number}]
type = auth
auth_type = userpass
username = {number}
password = only-for-tests
[{number}]
type = aor
max_contacts = 1
"""
    for number in (101, 102, 103)
)

#: `asterisk` on the machine is the one in its root: its console, its files.
WRAPPER: Final = '#!/bin/sh\nexec chroot /srv/asterisk /usr/sbin/asterisk "$@"\n'


@pytest.fixture
def office(real: None) -> Iterator[Machine]:
    """A fresh Debian 12 with a real Asterisk 22, as Debian ships its configuration, beside a trunk that answers."""
    root = asterisk_roots.root("22").path
    with booted(roots.root("bookworm"), root) as machine:
        machine.run("mount", "--bind", "/dev", "/srv/asterisk/dev")
        machine.run("mount", "-t", "proc", "proc", "/srv/asterisk/proc")
        machine.run(
            "sh", "-c", "mkdir -p /etc/asterisk && mount --bind /srv/asterisk/etc/asterisk /etc/asterisk"
        )
        machine.run("sh", "-c", "mkdir -p /srv/asterisk/run/asterisk")
        machine.put("/etc/asterisk/pjsip.conf", PJSIP)
        machine.put("/usr/sbin/asterisk", WRAPPER, mode="755")
        machine.run("systemd-run", "--unit=asterisk", "--quiet", "chroot", "/srv/asterisk", "asterisk", "-f")
        machine.until(
            lambda: machine.attempt("asterisk", "-rx", "core waitfullybooted")[0] == 0,
            within_s=120,
            what="Asterisk is booted",
        )
        yield machine


@contextmanager
def beside(machine: Machine, *command: str, log: Path) -> Iterator[None]:
    """Let a program of this machine's run on the other one's loopback."""
    enter = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--target={machine.pid}", "--net", "--"]
    with log.open("wb") as to:
        process = subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=to, stderr=to)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def provider(data: Path, *words: str) -> list[dict[str, Any]]:
    """Type a command of the provider's; return the objects that it printed."""
    command = [*RECEIVER, "--data", str(data), *words, "--json"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def test_four_commands_and_five_minutes(office: Machine, package: Path, tmp_path: Path) -> None:
    """Install without network, `init`, `enrol`, start: the provider has counted its first record, and a call is counted."""
    books = tmp_path / "books"
    books.mkdir()
    typed: list[str] = []

    def types(*command: str) -> str:
        typed.append(" ".join(command[:3]))
        began = time.monotonic()
        said = office.run(*command, within_s=WITHIN_S)
        print(f"{time.monotonic() - began:6.1f} s  {typed[-1]}\n{said}")
        return said

    with ExitStack() as around:
        serve = [*RECEIVER, "--data", str(books), "serve"]
        around.enter_context(beside(office, *serve, log=tmp_path / "provider.log"))
        carrier = ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", "5070", "-nostdin"]
        around.enter_context(beside(office, *carrier, log=tmp_path / "carrier.log"))
        office.until(
            lambda: "listening" in (tmp_path / "provider.log").read_text(), what="the provider listens"
        )
        (invitation,) = provider(books, "enrol-token", "vm", "--tenant", "vm", "--url", PROVIDER)
        office.put("/var/tmp/pbx-meter.deb", package.read_bytes())

        began = time.monotonic()
        types("dpkg", "--install", "/var/tmp/pbx-meter.deb")
        types("pbx-meter", "init", "asterisk", "--yes", "--id", "vm", "--tenant", "vm")
        types("pbx-meter", "enrol", invitation["invitation"])
        types("systemctl", "start", "pbx-meter")
        office.until(
            lambda: any(row["counted"] for row in provider(books, "agents")),
            within_s=WITHIN_S,
            what="the first record is counted",
        )
        took_s = time.monotonic() - began
        print(f"{took_s:6.1f} s  from nothing to the first record that the provider counted")

        office.until(lambda: bool(observed(office)), what="the PBX is seen")
        office.run("asterisk", "-rx", "channel originate PJSIP/123@carrier application Wait 8")
        office.until(lambda: level(office) == 1, within_s=20, what="the call counts")
        office.until(lambda: level(office) == 0, within_s=30, what="its end counts")

    assert len(typed) <= MOST_COMMANDS
    assert took_s < WITHIN_S
    (found,) = provider(books, "summaries")
    assert (found["tenant"], found["state"]) == ("vm", "open")
    assert "PJSIP/carrier" in office.run("cat", "/etc/pbx-meter/config.toml")


def observed(machine: Machine) -> bool:
    """Say whether the agent sees its PBX."""
    found = installed.status(machine)
    return found is not None and all(pbx["observed"] for pbx in found["pbxs"].values())


def level(machine: Machine) -> int | None:
    """Return how many lines are in use, as the agent says."""
    found = installed.status(machine)
    (tenant,) = found["tenants"].values() if found else ({},)
    return tenant["levels"]["channels"]["now"] if tenant else None
