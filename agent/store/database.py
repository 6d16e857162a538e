"""The state directory's one SQLite file: who may touch it, and from which thread.

Rules of this file:
- only agent.store imports sqlite_utils; a connection belongs to one thread;
- `write` runs its work in one transaction: all of it is on disk, or nothing happened;
- `read` and `fold` have a thread and a connection of their own each, so that a long fold
  makes neither a commit wait nor a mail;
- these rows are invoices: WAL, `synchronous=FULL`, STRICT tables.
"""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from agent.store.migrations import SCHEMA

T = TypeVar("T")

NAME = "meter.db"

#: What work gets: the name that others know the library's class by.
__all__ = ["NAME", "Database", "Store", "StoreError", "damaged", "disk_hint"]


class StoreError(Exception):
    """The state directory can't be used.

    Args:
        message: What is wrong, with the file.
        hint: The next thing to type.
        damaged: Whether the file itself is at fault (nothing may be written any more), or
            only the disk (it may get better by itself).
    """

    def __init__(self, message: str, *, hint: str, damaged: bool) -> None:
        super().__init__(message)
        self.hint = hint
        self.damaged = damaged


def damaged(path: Path, why: object) -> StoreError:
    """Return what is said of a file that is not what was written."""
    return StoreError(
        f"{path} is damaged: {why}",
        hint=f"stop the agent, keep a copy of {path.parent}, then restore the last good copy of {path.name} "
        "or move it away to begin afresh, and type: pbx-meter chain new",
        damaged=True,
    )


def disk_hint(error: OSError, folder: Path) -> str | None:
    """Return what to type if the disk of a folder is at fault; None: it is something else."""
    if error.errno == errno.EROFS:
        return f"the disk is mounted read-only: dmesg says why; then: mount -o remount,rw $(findmnt -no TARGET -T {folder})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"make room there: df -h {folder}; df -i {folder}"
    return None


class Store:
    """The database of one agent.

    Args:
        state_dir: The folder; it must exist.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._folder = ThreadPoolExecutor(1, thread_name_prefix="store-fold")
        self._write_db: Database | None = None
        self._read_db: Database | None = None
        self._fold_db: Database | None = None

    async def open(self) -> None:
        """Open the file, make it if it is not there, and bring its tables up to date.

        Raises:
            StoreError: It can't be opened, or is no database of this program.
        """
        loop = asyncio.get_running_loop()
        try:
            self._write_db = await loop.run_in_executor(self._writer, _connect, self.path)
            await loop.run_in_executor(self._writer, _migrate, self._write_db)
            self._read_db = await loop.run_in_executor(self._reader, _connect, self.path)
            self._fold_db = await loop.run_in_executor(self._folder, _connect, self.path)
        except sqlite3.Error as error:
            await self.close()
            raise self._translated(error) from error
        except OSError as error:
            await self.close()
            raise StoreError(
                f"{self.path} can't be used: {error.strerror}",
                hint=disk_hint(error, self.path.parent)
                or f"let the agent's user own it: ls -ld {self.path.parent}",
                damaged=False,
            ) from error

    async def examine(self) -> None:
        """Look through the whole file: damage is found at the start, not at the end of a month.

        Raises:
            StoreError: It is damaged.
        """
        found = await self.read(lambda db: db.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise damaged(self.path, str(found).splitlines()[-1])

    async def close(self) -> None:
        """Close the file. Work that runs is finished first."""
        loop = asyncio.get_running_loop()
        connections = (
            (self._folder, self._fold_db),
            (self._reader, self._read_db),
            (self._writer, self._write_db),
        )
        for executor, db in connections:
            if db is not None:
                await loop.run_in_executor(executor, db.close)
            executor.shutdown(wait=False)
        self._fold_db = self._read_db = self._write_db = None

    async def write(self, work: Callable[[Database], T]) -> T:
        """Run `work` in one transaction and return what it returns, once that is on disk.

        Raises:
            StoreError: The disk or the file failed; nothing of it happened.
        """
        return await self._run(self._writer, self._write_db, _alone, work)

    async def read(self, work: Callable[[Database], T]) -> T:
        """Run `work`, which only reads, over one consistent state of the database."""
        return await self._run(self._reader, self._read_db, _atomic, work)

    async def fold(self, work: Callable[[Database], T]) -> T:
        """Run `work` as `read` does, but for work that takes its time: nobody who reads waits for it."""
        return await self._run(self._folder, self._fold_db, _atomic, work)

    async def _run(
        self,
        executor: ThreadPoolExecutor,
        db: Database | None,
        call: Callable[[Database, Callable[[Database], T]], T],
        work: Callable[[Database], T],
    ) -> T:
        if db is None:
            msg = "the store is not open"
            raise RuntimeError(msg)
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, call, db, work)
        except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
            ours = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError)
            if ours or getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":
                raise  # a bug, not a disk
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorname", "") or ""
        where = self.path.parent
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return damaged(self.path, error)
        if code == "SQLITE_FULL":
            return StoreError(
                f"the disk of {where} is full", hint=f"make room there: df -h {where}", damaged=False
            )
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return StoreError(
                f"{self.path} can't be written: {error}",
                hint=f"let the agent's user own it: ls -ld {where}; mount shows whether the disk is read-only",
                damaged=False,
            )
        return StoreError(
            f"{self.path}: {error}", hint=f"look at the disk: df -h {where}; dmesg", damaged=False
        )


def _connect(path: Path) -> Database:
    connection = sqlite3.connect(path, timeout=10)
    path.chmod(0o600)
    db = Database(connection, strict=True)
    # The page first: once there is a table it stands. A sealed interim of 4.7 KB leaves most of a second page
    # of 4 KB empty, and there are 720 of a tenant's in a month.
    for pragma in (
        "page_size=2048",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
    ):
        db.execute(f"PRAGMA {pragma}").fetchall()
    return db


def _migrate(db: Database) -> None:
    SCHEMA.apply(db)


def _alone(db: Database, work: Callable[[Database], T]) -> T:
    """Run work as the only writer. Of two processes the second waits, rather than fail after both have read."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        found = work(db)
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise
    return found


def _atomic(db: Database, work: Callable[[Database], T]) -> T:
    with db.atomic():
        return work(db)
