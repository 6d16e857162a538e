"""The receiver's own key: it signs receipts, and agents pin it. It outlives the books.

Keep a copy of this file apart from the books: with it and fresh invitations a
receiver that lost its books carries on; without it every agent must enrol again.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from meter import signature
from meter.signature import PrivateKey, Unverified

KEY_FILE: Final = "receiver-key.json"


class KeyTrouble(Exception):  # noqa: N818  # it says what is so
    """The receiver's key can't be used. `hint`: the next thing to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def load_or_make(folder: Path) -> PrivateKey:
    """Return the receiver's key; make it, readable by its owner only, if there is none.

    Raises:
        KeyTrouble: Others may read it, it is damaged, or it can't be read or written.
    """
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _write(path, signature.new_key().secret_json())
        if path.stat().st_mode & 0o077:
            raise KeyTrouble(f"others can read {path}", hint=f"chmod 600 {path}")
        return signature.private_key(path.read_text("ascii"))
    except OSError as error:
        raise KeyTrouble(
            f"{path}: {error.strerror}", hint=f"give {folder} to the receiver's user: `ls -ld {folder}`"
        ) from error
    except (Unverified, UnicodeError) as error:
        raise KeyTrouble(f"{path} is damaged", hint="restore it from its copy") from error


def _write(path: Path, text: str) -> None:
    """Write the file whole or not at all; a key that is there by then stays."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
