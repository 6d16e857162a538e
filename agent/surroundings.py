"""What the machine around the agent says of itself: the Asterisk beside it, the time zone, its name.

Looked at by `pbx-meter init` and by nobody else; the agent itself never starts a process.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import socket
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Final

from agent import changes
from connectors.asterisk import account, cdr, proposing, written
from connectors.asterisk.written import Written

_ANSWER_S: Final = 20
_PROCESSES: Final = Path("/proc")
#: Of call records so many bytes, the newest, tell enough.
_CALL_RECORDS_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Beside:
    """The Asterisk of this machine.

    Attributes:
        folder: Of its configuration.
        product: `Asterisk 22.10.1`; "Asterisk" if it doesn't say.
        release: (22, 10); None: unknown.
        manager: What manager.conf says.
        files: What the files say that tell of endpoints.
        carried: Endpoints that carried outside calls, by its call records.
    """

    folder: Path
    product: str
    release: tuple[int, int] | None
    manager: Written
    files: Mapping[str, Written]
    carried: frozenset[str]


def look(folder: Path, program: str, call_records: Path) -> Beside:
    """Look at the Asterisk of this machine. Reads only.

    Args:
        folder: Of its configuration.
        program: Its program, asked for its version.
        call_records: cdr_csv's Master.csv; it need not be there.

    Raises:
        OSError: A file of the configuration can't be read.
    """

    def reading(pattern: str) -> Iterator[tuple[str, str]]:
        if "\0" in pattern:
            return
        for name in sorted(glob.glob(pattern, root_dir=folder)):  # noqa: PTH207 -- Path.glob refuses some patterns
            if (file := folder / name).is_file():
                yield str(file), file.read_text("utf-8", "replace")

    said = say(program, "-V") or ""
    return Beside(
        folder,
        said.split("~")[0].split("+")[0].strip() or "Asterisk",
        account.release_of(said),
        written.read(account.CONF, reading),
        {name: written.read(name, reading) for name in proposing.FILES},
        _carried(call_records),
    )


@dataclass(frozen=True, slots=True)
class Access:
    """Owner, group and mode of a file that Asterisk reads; None: the maker's own."""

    owner: int | None
    group: int | None
    mode: int


def access(folder: Path, processes: Path = _PROCESSES) -> Access:
    """Return how a new file with a secret is made in Asterisk's folder, so that Asterisk reads it.

    As manager.conf, which Asterisk reads. Where everybody reads that, only Asterisk's group does, if it can be
    told: that of its process, or else of the user `asterisk`.

    Raises:
        OSError: manager.conf can't be looked at.
    """
    conf = (folder / account.CONF).stat()
    root = os.geteuid() == 0
    if not conf.st_mode & stat.S_IROTH:
        return Access(conf.st_uid if root else None, conf.st_gid, 0o600 | conf.st_mode & stat.S_IRGRP)
    group = _group(processes)
    if group is not None and (root or group in {os.getegid(), *os.getgroups()}):
        return Access(None, group, 0o640)
    return Access(None, None, 0o644)


def _group(processes: Path) -> int | None:
    """Return the group that Asterisk reads files as; None: it can't be told."""
    found = {group for file in processes.glob("[0-9]*/status") if (group := _group_of(file)) is not None}
    if not found:
        try:
            return pwd.getpwnam("asterisk").pw_gid
        except KeyError:
            return None
    return found.pop() if len(found) == 1 else None


def _group_of(status: Path) -> int | None:
    """Return the group that a process reads files as, if it is an Asterisk and no console of one.

    Its folder's owner doesn't tell: of a process that gave up root, as Asterisk does, that is root still.
    """
    try:
        said = status.read_text(errors="replace")
        words = status.with_name("cmdline").read_text(errors="replace").split("\0")
    except OSError:  # it ended meanwhile
        return None
    if not said.startswith("Name:\tasterisk\n") or any(re.match(r"-[A-Za-z]*[rR]", word) for word in words):
        return None
    ids = re.search(r"^Gid:\t\d+\t\d+\t\d+\t(\d+)", said, re.MULTILINE)
    return int(ids[1]) if ids else None


def say(program: str, *words: str) -> str | None:
    """Return what Asterisk's program answers; None: it is not there, or does not answer."""
    try:
        done = subprocess.run(  # noqa: S603 -- the administrator names the program, the words are ours
            [program, *words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def timezone() -> str:
    """Return the IANA name of this machine's time zone; "UTC" if it has none."""
    found = re.search(r"zoneinfo/(?:posix/|right/)?(.+)$", str(Path("/etc/localtime").resolve()))
    name = found[1] if found else (changes.read(Path("/etc/timezone")) or "").strip()
    return name if re.fullmatch(r"[A-Za-z0-9_+/-]+", name) and name != "Etc/UTC" else "UTC"


def name() -> str:
    """Return this machine's name as an id."""
    slug = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return slug[:63] or "pbx"


def _carried(file: Path) -> frozenset[str]:
    """Return the endpoints that carried outside calls; none if there are no call records of the kind we read."""
    try:
        with file.open("rb") as records:
            records.seek(0, 2)
            records.seek(max(0, records.tell() - _CALL_RECORDS_BYTES))
            cut = records.tell() > 0
            text = records.read().decode(errors="replace")
        return proposing.carried_outside(cdr.read(text.partition("\n")[2] if cut else text, UTC))
    except (OSError, cdr.Unreadable):
        return frozenset()
