"""Find or build the Debian roots that hold a real Asterisk: 22 from sid, 16 from bullseye.

A root is built once with debootstrap into a cache outside the checkout
(`PBX_METER_CACHE`, else /var/cache/pbx-meter for root, else the XDG cache) and is
never written to again: an instance mounts it read-only (tests.asterisk.instance).
Building is atomic (a partial root has another name) and locked between processes.

The mirror is the one that this machine's own apt reads, or `PBX_METER_DEBIAN_MIRROR`.
Suites move: the version that was found is recorded beside the root.

Run it to build ahead of the tests: `python -m tests.asterisk.roots`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The Asterisk generation that a test names, and the Debian suite that has it.
SUITES: Final = {"22": "sid", "16": "bullseye"}

MIRROR_VARIABLE: Final = "PBX_METER_DEBIAN_MIRROR"

#: Debian's programs that the harness runs, and the package that each is in.
PROGRAMS: Final = {
    "debootstrap": "debootstrap",
    "sipp": "sip-tester",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}

_BUILD_TIMEOUT_S: Final = 900

#: Names of whole Debian suites beside the machine's own codename; security, updates and
#: other makers' repositories have other names and no asterisk.
_ALIASES: Final = frozenset({"stable", "testing", "unstable", "sid", "oldstable"})


class RootError(Exception):
    """A root can't be had: one sentence that says what is missing."""


@dataclass(frozen=True, slots=True)
class Root:
    """A directory with a Debian that has Asterisk in it; read-only by agreement.

    Attributes:
        generation: What tests ask for: "22" or "16".
        path: Where it is.
        version: What `asterisk -V` said when it was built (`22.10.1~dfsg+…`).
    """

    generation: str
    path: Path
    version: str


def missing() -> list[str]:
    """Say what this machine lacks to run a real Asterisk; empty: nothing.

    A Debian mirror is asked for only where a root is not in the cache yet.
    """
    lacks = []
    if os.geteuid() != 0:
        lacks.append("not root (debootstrap, mounts and packet capture need it)")
    lacks += [
        f"no {program} (Debian: apt-get install {package})"
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    absent = [generation for generation in SUITES if _found(generation) is None]
    if absent and mirror() is None:
        lacks.append(
            f"no cached root for Asterisk {', '.join(absent)} and no Debian mirror in apt's sources: set {MIRROR_VARIABLE}"
        )
    return lacks


def root(generation: str) -> Root:
    """Return the root of one generation, built first if the cache lacks it (a minute or two).

    Raises:
        RootError: It can't be built; the sentence says why.
    """
    home = cache() / "roots"
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"asterisk-{generation}.lock"):
        return _found(generation) or _built(generation)


def cache() -> Path:
    """Return the directory that outlives checkouts."""
    if named := os.environ.get("PBX_METER_CACHE"):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/cache/pbx-meter")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pbx-meter"


def mirror() -> str | None:
    """Return the Debian mirror: the environment's, else the first of apt's own; None: neither.

    Only a Debian's own sources count: Ubuntu's mirrors have neither sid nor bullseye.
    """
    if named := os.environ.get(MIRROR_VARIABLE):
        return named
    if not re.search(r"^ID=\"?debian\"?$", _text(Path("/etc/os-release")), re.MULTILINE):
        return None
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    codenames = set(re.findall(r"^VERSION_CODENAME=(\w+)", _text(Path("/etc/os-release")), re.MULTILINE))
    for file in files:
        for uri, suites in sources(_text(file), deb822=file.suffix == ".sources"):
            if not (codenames | _ALIASES).isdisjoint(suites):
                return uri
    return None


def sources(text: str, *, deb822: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give (URI, suites) of each binary source in one file of apt's, in either of its formats."""
    if not deb822:
        for found in re.finditer(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE):
            yield found[1], (found[2],)
        return
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {key.lower(): value.split() for key, _, value in (line.partition(":") for line in lines)}
        if "deb" in fields.get("types", ()) and fields.get("enabled") != ["no"]:
            for uri in fields.get("uris", ()):
                yield uri, tuple(fields.get("suites", ()))


def _found(generation: str) -> Root | None:
    path = cache() / "roots" / f"asterisk-{generation}"
    version = path.with_suffix(".version")
    return Root(generation, path, version.read_text().strip()) if version.exists() and path.exists() else None


def _built(generation: str) -> Root:
    if (uri := mirror()) is None:
        raise RootError(f"no Debian mirror in apt's sources: set {MIRROR_VARIABLE}")
    path = cache() / "roots" / f"asterisk-{generation}"
    partial = path.with_name(f"{path.name}.partial")  # one at most: we hold the lock
    for left in (path, partial):
        shutil.rmtree(left, ignore_errors=True)
    log = path.with_suffix(".log")
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=asterisk",
        SUITES[generation],
        str(partial),
        uri,
    ]
    with log.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=out, check=False, timeout=_BUILD_TIMEOUT_S)
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise RootError(
            f"debootstrap of {SUITES[generation]} failed ({' '.join(last)}); all of it is in {log}"
        )
    _prepare(partial)
    said = subprocess.run(
        ["chroot", str(partial), "asterisk", "-V"], check=True, capture_output=True, text=True
    )
    version = said.stdout.split()[1]
    partial.rename(path)
    path.with_suffix(".version").write_text(f"{version}\n")
    return Root(generation, path, version)


def _prepare(path: Path) -> None:
    """Make name look-ups answer at once, and let go of what only apt needs.

    Asterisk looks up its own host's name and the DNS root; without an answer
    every call hangs for seconds.
    """
    names = f"127.0.0.1 localhost {socket.gethostname()} A.ROOT-SERVERS.NET\n"
    (path / "etc/hosts").write_text(names)
    nsswitch = path / "etc/nsswitch.conf"
    nsswitch.write_text(re.sub(r"^hosts:.*$", "hosts: files", nsswitch.read_text(), flags=re.MULTILINE))
    (path / "etc/resolv.conf").unlink(missing_ok=True)
    (path / "etc/resolv.conf").write_text("")
    (path / "instance").mkdir()
    for spare in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale"):
        shutil.rmtree(path / spare, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def main() -> int:
    """Build what the cache lacks and say what is there. 0: all is ready, 1: a sentence says what is not."""
    if lacks := missing():
        print("no real Asterisk here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    for generation in SUITES:
        try:
            found = root(generation)
        except RootError as error:
            print(f"Asterisk {generation}: {error}", file=sys.stderr)
            return 1
        print(f"Asterisk {generation}: {found.version} in {found.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
