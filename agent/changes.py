"""Changes to files of this machine: shown before they are made, made whole or not at all.

A file that is there keeps its owner and mode, and stays beside the new one as `NAME~`. A secret is never shown:
neither what changes nor what stands around it, for a line may hold one without saying so (a webhook's URL).
"""

from __future__ import annotations

import difflib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Asterisk doesn't mind how a key is written.
_SECRET: Final = re.compile(r"(?i)^([-+ ]?[;#\s]*\w*(?:secret|password)\s*=>?\s*)\S.*$")


@dataclass(frozen=True, slots=True)
class Change:
    """What a file shall hold.

    Attributes:
        file: Which.
        text: What it shall hold.
        before: What it holds; None: it is not there.
        mode, owner, group: Of a file that is made; None: the maker's own.
        hidden: It is a secret and nothing else.
    """

    file: Path
    text: str = field(repr=False)
    before: str | None = field(repr=False)
    mode: int = 0o640
    owner: int | None = None
    group: int | None = None
    hidden: bool = False

    @property
    def is_one(self) -> bool:
        """Whether anything changes."""
        return self.text != self.before

    def lines(self) -> Iterator[str]:
        """Give what changes, as a reader of differences expects it; of a secret only that it does."""
        made = f"{self.file} (new, mode {self.mode:o})"
        if self.hidden:
            yield f"+++ {made}: a secret" if self.before is None else f"+++ {self.file}: another secret"
            return
        if self.before is None:
            yield f"+++ {made}"
            yield from (_masked(f"+{line}") for line in self.text.splitlines())
            return
        old, new = self.before.splitlines(), self.text.splitlines()
        for line in difflib.unified_diff(old, new, str(self.file), str(self.file), n=0, lineterm=""):
            yield _masked(line)


def change(
    file: Path,
    text: str,
    *,
    mode: int = 0o640,
    owner: int | None = None,
    group: int | None = None,
    hidden: bool = False,
) -> Change:
    """Return the change of a file into a text.

    Raises:
        OSError: What is there can't be read.
    """
    file = file.resolve()  # a link stays one
    return Change(file, text, read(file), mode, owner, group, hidden)


def read(file: Path) -> str | None:
    """Return what a file holds, byte for byte, whatever its encoding. None: it is not there.

    Raises:
        OSError: It can't be read.
    """
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def refused(change: Change) -> bool:
    """Whether this user can't make a change, as far as can be told before."""
    try:
        folder = next(parent for parent in change.file.parents if parent.exists())
    except PermissionError:
        return True
    return not os.access(folder, os.W_OK | os.X_OK, effective_ids=True)


def make(change: Change) -> None:
    """Make a change, on disk when this returns.

    Raises:
        OSError: It can't be made; the file is as it was.
    """
    folder = change.file.parent
    owner, group = (-1 if id_ is None else id_ for id_ in (change.owner, change.group))
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        os.chown(folder, owner, group)
        # Who may look into it is who may read what is in it, whatever the maker's umask.
        folder.chmod(change.mode | (change.mode & 0o444) >> 2 | 0o100)
    if change.before is None:
        _put(change.file, change.text, change.mode, owner, group)
        return
    there = change.file.stat()
    kept = change.file.with_name(change.file.name + "~")
    for file, text in ((kept, change.before), (change.file, change.text)):
        _put(file, text, stat.S_IMODE(there.st_mode), there.st_uid, there.st_gid)


def _put(file: Path, text: str, mode: int, owner: int, group: int) -> None:
    """Put a text in a file's place in one step; nobody else reads it meanwhile. -1: the maker's own."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".pbx-meter-")
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as to:
            to.write(text.encode("utf-8", "surrogateescape"))
            os.fchown(to.fileno(), owner, group)
            os.fchmod(to.fileno(), mode)
            to.flush()
            os.fsync(to.fileno())
        fresh.replace(file)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _masked(line: str) -> str:
    """Return a line without the secret that stands in it."""
    shown = line.encode("utf-8", "replace").decode()
    return _SECRET.sub(r"\1(hidden)", shown)
