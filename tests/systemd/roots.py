"""Find or build the roots that machines with systemd boot from: what a small server has, and python3.

Built once with debootstrap into the cache outside the checkout, like the roots of the real
Asterisk (tests.asterisk.roots), and never written to again. A Debian comes from Debian's mirror
(PBX_METER_DEBIAN_MIRROR), an Ubuntu from one of Ubuntu's (PBX_METER_UBUNTU_MIRROR), each from this
machine's own apt where that is such a system. Most machines know one of the two only, so an
Ubuntu that is out of reach is skipped where a Debian would be missed.

Run it to build ahead of the tests: `python -m tests.systemd.roots`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

from tests.asterisk.roots import MIRROR_VARIABLE, RootError, _locked, cache, mirror, sources

#: What the package is tried on: Debian 12 and 13, and Ubuntu 24.04.
SUITES: Final = ("bookworm", "trixie", "noble")
UBUNTU: Final = "noble"
UBUNTU_MIRROR_VARIABLE: Final = "PBX_METER_UBUNTU_MIRROR"

#: Debian's programs that these tests run, and the package that each is in.
PROGRAMS: Final = {
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}

#: What Debian's own installer puts on a server, of all that the package asks for.
_PACKAGES: Final = "systemd-sysv,dbus,python3"
_BUILD_TIMEOUT_S: Final = 900

#: Ubuntu's keys lie in a package that Debian has no more. It is taken from the mirror and known by
#: its hash; its archive key of 2018 is F6ECB376 2474EDA9 D21B7022 871920D1 991BC93C.
_UBUNTU_KEYS: Final = "pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb"
_UBUNTU_KEYS_SHA256: Final = "36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8"
_UBUNTU_KEYRING: Final = Path("usr/share/keyrings/ubuntu-archive-keyring.gpg")
_SCRIPTS: Final = Path("/usr/share/debootstrap/scripts")


def missing(*suites: str) -> list[str]:
    """Say what this machine lacks to boot a real systemd of these suites, or at all; empty: nothing."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("not root (debootstrap, mounts and namespaces need it)")
    lacks += [
        f"no {program} (Debian: apt-get install {package})"
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    lacks += [
        f"no cached root of {suite} and {_no_mirror(suite)}"
        for suite in suites
        if not _path(suite).exists() and _mirror(suite) is None
    ]
    return lacks


def root(suite: str) -> Path:
    """Return the root of one suite, built first if the cache lacks it (a minute or two).

    Raises:
        RootError: It can't be built; the sentence says why.
    """
    path = _path(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.with_suffix(".lock")):
        if not path.exists():
            _build(suite, path)
        return path


def _path(suite: str) -> Path:
    return cache() / "roots" / f"systemd-{suite}"


def _mirror(suite: str) -> str | None:
    """Return where a suite is to be had; None: nobody said."""
    if suite != UBUNTU:
        return mirror()
    if named := os.environ.get(UBUNTU_MIRROR_VARIABLE):
        return named
    if not re.search(r'^ID="?ubuntu"?$', Path("/etc/os-release").read_text(), re.MULTILINE):
        return None
    apt = Path("/etc/apt")
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]
    own = re.compile(r"ubuntu(-ports)?/?$")
    found = [
        uri
        for file in files
        if file.is_file()
        for uri, _ in sources(file.read_text(), deb822=file.suffix == ".sources")
    ]
    return next((uri for uri in found if own.search(uri)), None)


def _no_mirror(suite: str) -> str:
    system, variable = ("Ubuntu", UBUNTU_MIRROR_VARIABLE) if suite == UBUNTU else ("Debian", MIRROR_VARIABLE)
    return f"no {system} mirror in apt's sources: set {variable}"


def _ubuntus_own(uri: str, folder: Path) -> tuple[list[str], list[str]]:
    """Return what debootstrap is told of an Ubuntu that is younger than itself: its keys, its script."""
    script = (
        [] if (_SCRIPTS / UBUNTU).exists() else [str(_SCRIPTS / "gutsy")]
    )  # all Ubuntus since are that one
    if ("/" / _UBUNTU_KEYRING).exists():
        return [], script
    file = folder / "keys.deb"
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/{_UBUNTU_KEYS}", timeout=60) as answer:
            file.write_bytes(answer.read())
    except OSError as error:
        raise RootError(f"the Ubuntu mirror does not give {_UBUNTU_KEYS}: {error}") from error
    if hashlib.sha256(file.read_bytes()).hexdigest() != _UBUNTU_KEYS_SHA256:
        raise RootError(f"{_UBUNTU_KEYS} of the Ubuntu mirror is not what it was")
    subprocess.run(["dpkg-deb", "--extract", str(file), str(folder)], check=True)
    return [f"--keyring={folder / _UBUNTU_KEYRING}"], script


def _build(suite: str, path: Path) -> None:
    if (uri := _mirror(suite)) is None:
        raise RootError(_no_mirror(suite))
    partial = path.with_name(f"{path.name}.partial")  # one at most: we hold the lock
    shutil.rmtree(partial, ignore_errors=True)
    log = path.with_suffix(".log")
    with tempfile.TemporaryDirectory() as folder, log.open("wb") as out:
        keys, script = _ubuntus_own(uri, Path(folder)) if suite == UBUNTU else ([], [])
        options = ["--variant=minbase", f"--include={_PACKAGES}", *keys]
        command = ["debootstrap", *options, suite, str(partial), uri, *script]
        done = subprocess.run(command, stdout=out, stderr=out, check=False, timeout=_BUILD_TIMEOUT_S)
    if done.returncode != 0:
        raise RootError(f"debootstrap of {suite} failed; all of it is in {log}")
    (partial / "etc/resolv.conf").unlink(missing_ok=True)  # this machine's, and of no use without a network
    # The kernel is this machine's: there are no modules of its own to load.
    (partial / "etc/systemd/system/systemd-modules-load.service").symlink_to("/dev/null")
    for spare in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(partial / spare, ignore_errors=True)
    partial.rename(path)


def main() -> int:
    """Build the roots that the cache lacks. 0: they are there, 1: a sentence says what is not."""
    if lacks := missing(*(suite for suite in SUITES if suite != UBUNTU)):
        print("no real systemd here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    for suite in SUITES:
        if lacks := missing(suite):
            print(f"without {suite}:", *lacks, file=sys.stderr)
            continue
        try:
            print(f"{suite} with systemd: {root(suite)}")
        except RootError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
