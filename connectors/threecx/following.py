"""A file that another program writes, read as it grows, is turned (renamed and begun anew) or cut."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class New:
    """What one look found.

    Attributes:
        data: What was written since; b"": nothing more for now.
        turned: The file was renamed or removed and is read to its end: another one has its name.
        cut: The file was cut short: what was written in between is lost.
    """

    data: bytes = b""
    turned: bool = False
    cut: bool = False


class Following:
    """One file by its name, from its beginning. A look that is not `took` was none: the next one finds the same.

    A file that was cut and has grown past its former length between two looks is not noticed.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._position = 0

    def look(self) -> New:
        """Return what is new. Blocks for as long as the disk does; may be called in a thread.

        Raises:
            OSError: There is no such file now, or it may not be read. What is open stays open.
        """
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY)
        file = self._file
        if data := os.pread(file, _CHUNK_BYTES, self._position):
            return New(data)
        own, there = os.fstat(file), self._path.stat()
        if own.st_size < self._position:
            return New(cut=True)
        if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino):
            return New()
        data = os.pread(
            file, _CHUNK_BYTES, self._position
        )  # its writer's last words, before it took the next
        return New(data, turned=not data)

    def took(self, new: New) -> None:
        """Go on behind what a look found: in the file, at its beginning, or in the next one."""
        self._position = 0 if new.cut or new.turned else self._position + len(new.data)
        if new.turned:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.close()
