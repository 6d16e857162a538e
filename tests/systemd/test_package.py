"""The Debian package: it comes without a network, is updated without loss, and goes without a trace."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest
from sqlite_utils import Database

from agent.store.migrations import SCHEMA
from tests.systemd import installed, roots
from tests.systemd.machine import Machine

pytestmark = [pytest.mark.systemd, pytest.mark.soak, pytest.mark.timeout(600)]

#: What dpkg, systemd and the C library write down of any package's coming and going.
BOOKKEEPING = re.compile(
    r"/(var/(lib/dpkg|lib/systemd|log|cache|tmp)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/\.pwd|root)"
)


def files(machine: Machine) -> set[str]:
    said = machine.run("find", "/", "-xdev", "-not", "-path", "/tmp/*")
    return {name for name in said.splitlines() if not BOOKKEEPING.match(name)}


def legs(machine: Machine) -> int:
    """Return how many legs the ledger holds."""
    ask = "import sqlite3; print(sqlite3.connect('/var/lib/pbx-meter/meter.db').execute('SELECT count(*) FROM legs').fetchone()[0])"
    return int(machine.run("python3", "-c", ask))


def test_it_holds_every_python(package: Path) -> None:
    """What is compiled is there for the Python of Debian 12, Ubuntu 24.04 and Debian 13, and no pip or byte-code."""
    names = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(package)], check=True, stdout=subprocess.PIPE
    ).stdout
    listed = subprocess.run(["tar", "-t"], input=names, check=True, stdout=subprocess.PIPE).stdout.decode()
    compiled: dict[str, set[str]] = {}
    for stem, python in re.findall(r"/([^/\n]+)\.cpython-(\d+)-\S+\.so", listed):
        compiled.setdefault(stem, set()).add(python)

    assert compiled.keys() >= {"_pydantic_core", "_http_parser", "_cffi_backend"}
    assert {stem: found for stem, found in compiled.items() if found != {"311", "312", "313"}} == {}
    assert re.findall(r".*(?:/pip/|__pycache__|\.pyc).*", listed) == []
    print(f"package: {package.stat().st_size / 1e6:.1f} MB")


@pytest.mark.parametrize("machine", roots.SUITES, indirect=True)
def test_it_comes_without_a_network_and_goes_without_a_trace(machine: Machine, package: Path) -> None:
    """On a fresh Debian 12 and 13 and Ubuntu 24.04 it installs without a network, waits for a configuration, runs; purged, nothing is left of it."""
    before = files(machine)

    said = installed.install(machine, package)

    assert "pbx-meter init asterisk" in said
    assert machine.run("pbx-meter", "--version").startswith("pbx-meter, version ")
    assert machine.run("stat", "-c", "%U %G %a", "/var/lib/pbx-meter", "/etc/pbx-meter").splitlines() == [
        "pbx-meter pbx-meter 700",
        "root pbx-meter 750",
    ]
    assert machine.shows("pbx-meter.service", "UnitFileState", "ActiveState") == {
        "UnitFileState": "enabled",
        "ActiveState": "inactive",
    }
    machine.run("test", "-s", "/usr/share/man/man1/pbx-meter.1.gz")
    machine.run("grep", "-q", "^### `config.not_reloaded`", "/usr/share/pbx-meter/RUNBOOK.md")
    machine.run(
        "test",
        "-s",
        "/usr/share/doc/pbx-meter/README.md",
        "-a",
        "-s",
        "/usr/share/pbx-meter/config.example.toml",
    )
    complete = "source /usr/share/bash-completion/completions/pbx-meter; complete -p pbx-meter"
    assert "pbx-meter" in machine.run("bash", "-c", complete)
    words = "COMP_WORDS='pbx-meter summ' COMP_CWORD=1 _PBX_METER_COMPLETE=bash_complete pbx-meter"
    assert machine.run("sh", "-c", words) == "plain,summaries\n"
    assert machine.run("dpkg", "--verify", "pbx-meter") == ""

    installed.configure(machine)
    machine.run("systemctl", "start", "pbx-meter")
    machine.until(lambda: installed.follows(machine), what="the PBX is followed")

    machine.run("systemctl", "stop", "simulated")
    machine.run("dpkg", "--purge", "pbx-meter")

    assert files(machine) - before == set()
    assert machine.attempt("id", "pbx-meter")[0] != 0
    assert machine.attempt("systemctl", "status", "pbx-meter")[0] == 4  # no such unit


def test_removed_it_stops_and_keeps_what_was_metered(machine: Machine, package: Path) -> None:
    """Removal stops the agent and leaves state and configuration; installed again, it goes on by itself."""
    installed.install(machine, package)
    installed.configure(machine)
    machine.run("systemctl", "start", "pbx-meter")
    machine.until(lambda: bool(installed.follows(machine) and installed.records(machine)), what="a record")
    key, sealed = machine.run("pbx-meter", "keys", "show"), installed.records(machine)

    machine.run("dpkg", "--remove", "pbx-meter")

    assert machine.attempt("pgrep", "-u", "pbx-meter")[0] != 0
    assert machine.attempt("test", "-e", "/opt/pbx-meter")[0] != 0
    installed.install(machine, package)
    machine.until(lambda: installed.follows(machine), what="the PBX is followed again")
    assert machine.run("pbx-meter", "keys", "show") == key
    assert installed.records(machine)[: len(sealed)] == sealed


@pytest.mark.parametrize("machine", roots.SUITES, indirect=True)
def test_an_update_loses_nothing(machine: Machine, package: Path, tmp_path: Path) -> None:
    """Over the running agent of the version before: same key, same records, more legs, a gap of seconds, no old module."""
    before = installed.another(package, "0.0.1", tmp_path)
    installed.install(machine, before)
    installed.configure(machine)
    machine.run("systemctl", "start", "pbx-meter")
    machine.until(lambda: bool(installed.follows(machine) and installed.records(machine)), what="a record")
    gone = "/opt/pbx-meter/lib/python3/site-packages/agent/gone.py"
    machine.run("test", "-e", gone)
    pid = machine.shows("pbx-meter.service", "MainPID")
    key, sealed, counted = machine.run("pbx-meter", "keys", "show"), installed.records(machine), legs(machine)
    machine.run("sh", "-c", "echo '# mine' >> /etc/pbx-meter/config.toml")

    installed.install(machine, package)
    machine.until(lambda: installed.follows(machine), what="the PBX is followed again")

    assert machine.shows("pbx-meter.service", "MainPID") != pid
    assert machine.attempt("test", "-e", gone)[0] != 0
    assert machine.run("pbx-meter", "keys", "show") == key
    assert installed.records(machine)[: len(sealed)] == sealed
    assert legs(machine) >= counted
    assert machine.run("tail", "-1", "/etc/pbx-meter/config.toml") == "# mine\n"
    gaps = "import sqlite3; print([list(r) for r in sqlite3.connect('/var/lib/pbx-meter/meter.db').execute('SELECT started, ended FROM gaps WHERE ended IS NOT NULL')])"
    longest_ms = max(
        (end - start for start, end in json.loads(machine.run("python3", "-c", gaps))[1:]), default=0
    )
    print(f"gap of the update: {longest_ms} ms")
    assert 0 < longest_ms < 30_000


def test_an_update_brings_the_database_up_to_date(machine: Machine, package: Path, tmp_path: Path) -> None:
    """A database of the first schema, with a leg in it, is migrated by the new agent's start and keeps the leg."""
    file = tmp_path / "meter.db"
    db = Database(sqlite3.connect(file))
    SCHEMA.apply(db, stop_before="0002_records")
    db["words"].insert_all([{"id": 1, "text": "pbx1"}, {"id": 2, "text": "acme"}])  # type: ignore[union-attr]
    db["legs"].insert(  # type: ignore[union-attr]
        {"row": 1, "pbx": 1, "leg": "1.1", "direction": 0, "tenant": 2, "started": 1, "start_known": 0,
         "ended": 2, "end_known": 0}
    )  # fmt: skip
    db.conn.commit()
    db.close()
    installed.install(machine, installed.another(package, "0.0.1", tmp_path))
    installed.configure(machine)
    machine.put("/var/lib/pbx-meter/meter.db", file.read_bytes(), mode="600")
    machine.run("chown", "pbx-meter:pbx-meter", "/var/lib/pbx-meter/meter.db")

    installed.install(machine, package)
    machine.run("systemctl", "start", "pbx-meter")
    machine.until(lambda: installed.follows(machine), what="the PBX is followed")

    ask = "import sqlite3; print(*sqlite3.connect('/var/lib/pbx-meter/meter.db').execute(\"SELECT (SELECT count(*) FROM legs WHERE leg = '1.1'), (SELECT count(*) FROM sqlite_master WHERE name = 'records')\").fetchone())"
    assert machine.run("python3", "-c", ask) == "1 1\n"
