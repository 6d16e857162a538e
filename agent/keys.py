"""The agent's signing key: made at the first start, kept in the state directory, never shown.

- A key file is only ever readable by its owner; one that others can read is refused.
- A key is written whole or not at all, and never over another one.
- A key change makes a *pending* key beside the present one. The key-change record is
  sealed with the present key (`change_record`), and only then does `adopt` put the
  pending key in its place: killed in between, whoever seals next adopts it (`current`).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final

from agent.store import ledger
from agent.store.database import Database, disk_hint
from meter import messages, periods, signature
from meter.model import DEFINITION, Instant
from meter.schema import KEY_CHANGE
from meter.signature import PrivateKey, Unverified

KEY_FILE: Final = "signing-key.json"
PENDING_FILE: Final = "signing-key-pending.json"

#: The fact that names the key of the newest key-change record; absent: there was none.
FACT: Final = "signing_key"

_OTHERS: Final = 0o077


class KeyTrouble(Exception):  # noqa: N818  # it says what is so
    """The key can't be used.

    Args:
        message: One sentence, without the key.
        hint: The next thing to type or do.
    """

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def load(state_dir: Path) -> PrivateKey:
    """Return the key that signs.

    Raises:
        KeyTrouble: There is none, others may read it, or it is damaged.
    """
    return _read(state_dir / KEY_FILE)


def current(db: Database, state_dir: Path) -> PrivateKey:
    """Return the key that signs the next record; finish a change that was begun. Call it in a write transaction.

    Raises:
        KeyTrouble: As `load` and `adopt`.
    """
    named = ledger.fact(db, FACT)
    return load(state_dir) if named is None else adopt(state_dir, named)


def load_or_make(state_dir: Path) -> PrivateKey:
    """Return the key that signs; make it at the first start.

    Raises:
        KeyTrouble: As `load`, or it can't be written.
    """
    return _read_or_make(state_dir / KEY_FILE)


def pending(state_dir: Path) -> PrivateKey | None:
    """Return the key of a change that has begun and is not finished, or None.

    Raises:
        KeyTrouble: As `load`.
    """
    path = state_dir / PENDING_FILE
    return _read(path) if path.exists() else None


def begin_change(state_dir: Path) -> PrivateKey:
    """Return the pending key; make it if no change has begun. Signs nothing but its own proof yet.

    Raises:
        KeyTrouble: As `load`, or it can't be written.
    """
    return _read_or_make(state_dir / PENDING_FILE)


def adopt(state_dir: Path, thumbprint: str) -> PrivateKey:
    """Put the key that a sealed key-change record names in its place. Twice is as good as once.

    Args:
        state_dir: The state directory.
        thumbprint: The new key of the newest key-change record that is sealed.

    Returns:
        The key that signs from now on.

    Raises:
        KeyTrouble: Neither the present nor the pending key is that one.
    """
    present = load(state_dir)
    if present.public.thumbprint == thumbprint:
        return present
    changed = pending(state_dir)
    if changed is None or changed.public.thumbprint != thumbprint:
        raise KeyTrouble(
            "the key that the last key-change record names is gone",
            hint="restore the state directory, or ask the provider to withdraw the key and enrol again",
        )
    (state_dir / PENDING_FILE).replace(state_dir / KEY_FILE)
    _sync(state_dir)
    return changed


def change_record(
    *,
    agent: dict[str, str],
    chain: dict[str, Any],
    sequence: int,
    previous_sha256: str | None,
    number: int,
    old: PrivateKey,
    new: PrivateKey,
    now: Instant,
) -> dict[str, Any]:
    """Return the key-change record, to be sealed with `old` as the next of the chain.

    Args:
        agent: `{"id", "version", "config_sha256"}`, as in every record.
        chain: `{"id", "continues"}`, as in every record.
        sequence: Its number in the chain.
        previous_sha256: The record before it; None if it is the first.
        number: How many changes of key this agent has made, this one included.
        old: The key that signs it.
        new: The key that signs the next record.
        now: When.
    """
    proof = messages.seal_key_proof(
        agent=agent["id"], chain=chain["id"], sequence=sequence, old=old.public.thumbprint, new=new
    )
    return {
        "specversion": "1.0",
        "type": KEY_CHANGE,
        "source": f"/agents/{agent['id']}",
        "subject": agent["id"],
        "id": f"{agent['id']}/key-change/{number}",
        "time": periods.iso(now),
        "datacontenttype": "application/json",
        "data": {
            "definition": DEFINITION,
            "agent": agent,
            "chain": chain,
            "sequence": sequence,
            "previous_sha256": previous_sha256,
            "tenant_sequence": None,
            "tenant_previous_sha256": None,
            "kind": "key-change",
            "number": number,
            "old_key": old.public.thumbprint,
            "new_key": new.public.jwk,
            "proof": proof,
        },
    }


def _read(path: Path) -> PrivateKey:
    try:
        # Asked of the open file: nobody can change its name in between.
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096)
    except FileNotFoundError:
        raise KeyTrouble(
            f"there is no key in {path.parent}", hint="start the agent once: `pbx-meter run` makes it"
        ) from None
    except (OSError, UnicodeError):
        raise KeyTrouble(
            f"{path} can't be read", hint=f"look at its owner: `ls -l {path}`; the agent's user must own it"
        ) from None
    if mode & _OTHERS:
        raise KeyTrouble(f"others can read {path}", hint=f"chmod 600 {path}")
    try:
        return signature.private_key(text)
    except Unverified as error:
        raise KeyTrouble(
            f"{path} is damaged: {error}",
            hint="restore it from a backup, or move it away and enrol the new key with a fresh invitation",
        ) from None


def _read_or_make(path: Path) -> PrivateKey:
    if not path.exists():
        _write(path, signature.new_key())
    return _read(path)


def _write(path: Path, key: PrivateKey) -> None:
    """Write a key file that appears whole; if another process was quicker, its key stays."""
    try:
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # its mode is 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(key.secret_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
            # link, unlike rename, never replaces a key that is already there.
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            Path(draft).unlink()
        _sync(path.parent)
    except OSError as error:
        raise KeyTrouble(
            f"no key can be written to {path.parent} ({error.strerror})",
            hint=disk_hint(error, path.parent)
            or f"make it and give it to the agent's user: `install -d -m 700 {path.parent}`",
        ) from error


def _sync(folder: Path) -> None:
    """Make a new name in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
