"""Find or build the Debian roots that machines with systemd boot from: what a small server has, and python3.

Built once with debootstrap into the cache outside the checkout, like the roots of the real
Asterisk (tests.asterisk.roots), and never written to again.

Run it to build ahead of the tests: `python -m tests.systemd.roots`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.asterisk.roots import MIRROR_VARIABLE, RootError, _locked, cache, mirror

#: The Debians that the package is tried on: 12 and 13.
SUITES: Final = ("bookworm", "trixie")

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


def missing() -> list[str]:
    """Say what this machine lacks to boot a real systemd; empty: nothing."""
    lacks = []
    if os.geteuid() != 0:
        lacks.append("not root (debootstrap, mounts and namespaces need it)")
    lacks += [
        f"no {program} (Debian: apt-get install {package})"
        for program, package in PROGRAMS.items()
        if shutil.which(program) is None
    ]
    absent = [suite for suite in SUITES if not _path(suite).exists()]
    if absent and mirror() is None:
        lacks.append(
            f"no cached root of {', '.join(absent)} and no Debian mirror in apt's sources: set {MIRROR_VARIABLE}"
        )
    return lacks


def root(suite: str) -> Path:
    """Return the root of one Debian, built first if the cache lacks it (a minute or two).

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


def _build(suite: str, path: Path) -> None:
    if (uri := mirror()) is None:
        raise RootError(f"no Debian mirror in apt's sources: set {MIRROR_VARIABLE}")
    partial = path.with_name(f"{path.name}.partial")  # one at most: we hold the lock
    shutil.rmtree(partial, ignore_errors=True)
    log = path.with_suffix(".log")
    command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", suite, str(partial), uri]
    with log.open("wb") as out:
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
    """Build the root if the cache lacks it. 0: it is there, 1: a sentence says what is not."""
    if lacks := missing():
        print("no real systemd here:", *lacks, sep="\n  ", file=sys.stderr)
        return 1
    for suite in SUITES:
        try:
            print(f"Debian {suite} with systemd: {root(suite)}")
        except RootError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
