"""A Debian that was booted by its own systemd, in namespaces of its own: no virtual machine, no network.

It has one loopback, its own processes, mounts and names, and an overlay of the root, so that
what happens in it is gone with it. It shares the kernel and its clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_START_S: Final = 60.0
_HIERARCHY: Final = Path("/sys/fs/cgroup/systemd")

#: $1: the root, $2: an empty folder, $3: a root that lies in it at /srv/asterisk, or nothing. What a container manager does, and no more: systemd makes its user
#: namespaces only from a real root (hence pivot_root), and hands out credentials over shared mounts. Debian
#: 13's must be told that the old hierarchy of groups is meant.
_BOOT: Final = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
if [ -n "$3" ]; then
  mkdir -p srv/asterisk "$2/beside" "$2/scratch"
  mount -t overlay overlay -o "lowerdir=$3,upperdir=$2/beside,workdir=$2/scratch" srv/asterisk
fi
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do cp -a "/dev/$node" "dev/$node"; done
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t mqueue mqueue dev/mqueue
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir old
pivot_root . old
exec env -i container=test SYSTEMD_PROC_CMDLINE=SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 PATH=/usr/sbin:/usr/bin sh -c '
  umount -l /old; rmdir /old; mount --make-rshared /
  exec /usr/lib/systemd/systemd --unit=multi-user.target'
"""


class MachineError(Exception):
    """A machine does not do what a test needs; what it said stands in the sentence."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A booted Debian.

    Attributes:
        pid: Of its systemd, on this machine.
    """

    pid: int

    def run(self, *command: str, given: str | bytes = "", within_s: float = 60) -> str:
        """Run a command in it as root and return what it wrote.

        Raises:
            MachineError: It ended with another code than 0.
        """
        code, said = self.attempt(*command, given=given, within_s=within_s)
        if code != 0:
            raise MachineError(f"{' '.join(command)}: {code}\n{said}")
        return said

    def attempt(self, *command: str, given: str | bytes = "", within_s: float = 60) -> tuple[int, str]:
        """Run a command in it as root; return its code and all that it wrote."""
        enter = ["nsenter", f"--target={self.pid}", "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        done = subprocess.run(
            [*enter, *clean, *command],
            input=given.encode() if isinstance(given, str) else given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=within_s,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def put(self, path: str, content: str | bytes, *, mode: str = "644", group: str = "root") -> None:
        """Write a file in it, root's."""
        self.run("sh", "-c", 'mkdir -p "${1%/*}"; cat > "$1"', "sh", path, given=content)
        self.run("chgrp", group, path)
        self.run("chmod", mode, path)

    def shows(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, as systemd has them now."""
        said = self.run("systemctl", "show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in said.splitlines())

    def until(self, holds: Callable[[], bool], *, within_s: float = 30, what: str) -> float:
        """Wait until something holds, and return how many seconds that took.

        Raises:
            MachineError: It does not; with the end of the journal.
        """
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > within_s:
                _, journal = self.attempt("journalctl", "--no-pager", "--lines=40")
                raise MachineError(f"after {within_s} s not yet: {what}\n{journal}")
            time.sleep(0.05)
        return time.monotonic() - began


@contextmanager
def booted(root: Path, asterisk: Path | None = None) -> Iterator[Machine]:
    """Give a booted machine; at the end nothing of it is left.

    Args:
        root: The Debian that it boots.
        asterisk: A root with an Asterisk, which lies at /srv/asterisk then.
    """
    home = Path(tempfile.mkdtemp(prefix="pbx-meter-machine-"))
    groups = _make_groups(home.name)
    spaces = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child=KILL"]
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces]
    command += ["sh", "-c", _BOOT, "sh", str(root), str(home), str(asterisk or "")]
    # It has to be in its groups before the namespace is made: that is where the namespace's roots are.
    join = 'for group in $0; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'
    enter = ["sh", "-c", join, " ".join(map(str, groups)), *command]
    with (home / "console").open("w+b") as console:
        process = subprocess.Popen(enter, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            yield _wait_until_booted(process, home / "console")
        finally:
            process.kill()
            process.wait(10)
            for group in groups:
                _remove(group)
            shutil.rmtree(home, ignore_errors=True)


def _make_groups(name: str) -> list[Path]:
    """Make a group of its own in each hierarchy, so that its systemd has nothing to do with this machine's."""
    if not os.path.ismount(_HIERARCHY):
        # A machine whose own systemd does without this hierarchy: it is made beside what is there.
        _HIERARCHY.mkdir(exist_ok=True)
        mount = ["mount", "-t", "cgroup", "-o", "none,name=systemd", "cgroup", str(_HIERARCHY)]
        subprocess.run(mount, check=True)
    ours = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    groups = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        for controllers, path in ours:
            of_it = set(controllers.split(",")) <= set(options.split(","))
            # Who joins a group of cpusets must be given processors first; systemd makes none of these.
            if (kind, controllers) == ("cgroup2", "") or (
                kind == "cgroup" and of_it and "cpuset" not in options
            ):
                group = Path(place, path.lstrip("/"), name)
                group.mkdir(exist_ok=True)
                groups.append(group)
    return groups


def _remove(group: Path) -> None:
    """Remove a group and those that its systemd made; its processes were killed with their namespace."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


def _wait_until_booted(process: subprocess.Popen[bytes], console: Path) -> Machine:
    deadline = time.monotonic() + _START_S
    said = ""
    while time.monotonic() < deadline and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            machine = Machine(int(children[0]))
            code, said = machine.attempt("systemctl", "is-system-running", "--wait")
            if code == 0:
                return machine
        time.sleep(0.05)
    raise MachineError(f"it did not boot: {said}\n{console.read_text(errors='replace')}")
