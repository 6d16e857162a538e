"""The books on SQLite: WAL, `synchronous=FULL`, STRICT tables, one thread, one transaction a call.

Rules of this file:
- A sqlite-utils connection belongs to one thread: everything runs on the books' own.
- A transaction begins with a write. That takes SQLite's write lock before anything
  is read, so a second process (`import` beside `serve`) waits instead of judging by
  what is about to change. This is the one lock per agent.
- Nothing is decided here: rules come in, rows go out.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlite_utils import Database

from meter import signature
from meter.model import Instant
from meter.schema import KeyChange, UsageSummary, instant
from meter.signature import PublicKey
from provider import sqlite_reports
from provider.books import (
    AgentRow,
    Arrival,
    BooksUnusable,
    Head,
    Invited,
    KeyState,
    Known,
    Page,
    RecordRow,
    Ruling,
    SummaryRow,
    Taken,
)
from provider.sqlite_migrations import migrations
from provider.sqlite_reports import first, select

FILE: Final = "books.db"
#: How long a call waits for another process to finish its transaction.
_BUSY_S: Final = 15.0

T = TypeVar("T")


@asynccontextmanager
async def open_books(path: Path) -> AsyncIterator[SqliteBooks]:
    """Open the books, make or bring their tables up to date, and close them at the end.

    Raises:
        BooksUnusable: The file can't be opened, is damaged, or is no SQLite file.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="books") as thread:
        db = await loop.run_in_executor(thread, _open, path)
        try:
            yield SqliteBooks(db, thread)
        finally:
            await loop.run_in_executor(thread, db.close)


class SqliteBooks:
    """Books (see `provider.books`) in one SQLite file. Made by `open_books`."""

    def __init__(self, db: Database, thread: ThreadPoolExecutor) -> None:
        self._db = db
        self._thread = thread

    async def invite(self, token_sha256: str, invited: Invited) -> None:
        """See `Books.invite`."""
        await self._run(_invite, token_sha256, invited)

    async def enrol(
        self,
        token_sha256: str,
        key: PublicKey,
        at: Instant,
        rule: Callable[[Invited | None, Known | None], str | None],
    ) -> str | None:
        """See `Books.enrol`."""
        return await self._run(_enrol, token_sha256, key, at, rule)

    async def key(self, thumbprint: str) -> Known | None:
        """See `Books.key`."""
        return await self._run(_key, thumbprint)

    async def withdraw(self, agent: str, thumbprint: str | None = None) -> Sequence[str]:
        """See `Books.withdraw`."""
        return await self._run(_withdraw, agent, thumbprint)

    async def take(self, arrival: Arrival, rule: Callable[[Page], Ruling]) -> Ruling:
        """See `Books.take`."""
        return await self._run(_take, arrival, rule)

    async def head(self, agent: str) -> Head | None:
        """See `Books.head`."""
        return await self._run(sqlite_reports.head, agent)

    async def agents(self) -> Sequence[AgentRow]:
        """See `Books.agents`."""
        return await self._run(sqlite_reports.agents)

    async def summaries(
        self, *, agent: str | None = None, tenant: str | None = None, every: bool = False
    ) -> Sequence[SummaryRow]:
        """See `Books.summaries`."""
        return await self._run(sqlite_reports.summaries, agent, tenant, every)

    async def records(self, agent: str) -> Sequence[RecordRow]:
        """See `Books.records`."""
        return await self._run(sqlite_reports.records, agent)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        def run() -> T:
            try:
                return work(self._db, *args)
            except sqlite3.Error as error:
                raise BooksUnusable(str(error)) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, run)


def _open(path: Path) -> Database:
    try:
        db = Database(sqlite3.connect(path, timeout=_BUSY_S))
        try:
            db.enable_wal()
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            migrations.apply(db)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise BooksUnusable(f"{path}: {error}") from error
    return db


def _invite(db: Database, token_sha256: str, invited: Invited) -> None:
    with db.atomic():
        db.execute(
            "INSERT INTO invitations (token_sha256, agent, tenants, expires_at) VALUES (?, ?, ?, ?)",
            (token_sha256, invited.agent, json.dumps(invited.tenants), invited.expires_at),
        )


def _key(db: Database, thumbprint: str) -> Known | None:
    row = first(db, "SELECT agent, jwk, state FROM keys WHERE thumbprint = ?", thumbprint)
    return Known(row["agent"], signature.public_key(row["jwk"]), KeyState(row["state"])) if row else None


def _enrol(
    db: Database,
    token_sha256: str,
    key: PublicKey,
    at: Instant,
    rule: Callable[[Invited | None, Known | None], str | None],
) -> str | None:
    with db.atomic():
        # A write first: the lock. It touches nothing if the token is unknown.
        db.execute("UPDATE invitations SET agent = agent WHERE token_sha256 = ?", (token_sha256,))
        row = first(db, "SELECT * FROM invitations WHERE token_sha256 = ?", token_sha256)
        invited = _invited(row) if row else None
        answer = rule(invited, _key(db, key.thumbprint))
        if answer is not None and invited is not None and invited.used_by is None:
            db.execute(
                "INSERT INTO agents (id, tenants, rejoining) VALUES (?, ?, 1)"
                " ON CONFLICT (id) DO UPDATE SET tenants = excluded.tenants, rejoining = 1",
                (invited.agent, json.dumps(invited.tenants)),
            )
            _know(db, invited.agent, key)
            db.execute(
                "UPDATE invitations SET used_by = ?, used_at = ?, answer = ? WHERE token_sha256 = ?",
                (key.thumbprint, at, answer, token_sha256),
            )
    return answer


def _invited(row: dict[str, Any]) -> Invited:
    tenants = tuple(json.loads(row["tenants"]))
    return Invited(row["agent"], tenants, row["expires_at"], row["used_by"], row["answer"])


def _know(db: Database, agent: str, key: PublicKey) -> None:
    """Make a key the newest one of an agent; a key that is known already is known afresh."""
    db.execute(
        "INSERT INTO keys (thumbprint, agent, jwk, state, number)"
        " VALUES (?, ?, ?, 'active', (SELECT coalesce(max(number), 0) + 1 FROM keys))"
        " ON CONFLICT (thumbprint) DO UPDATE SET number = excluded.number",
        (key.thumbprint, agent, key.json()),
    )


def _withdraw(db: Database, agent: str, thumbprint: str | None) -> list[str]:
    with db.atomic():
        rows = db.execute(
            "UPDATE keys SET state = 'withdrawn'"
            " WHERE agent = ? AND thumbprint = coalesce(?, thumbprint) AND state != 'withdrawn'"
            " RETURNING thumbprint",
            (agent, thumbprint),
        ).fetchall()
    return [thumbprint for (thumbprint,) in rows]


def _take(db: Database, arrival: Arrival, rule: Callable[[Page], Ruling]) -> Ruling:
    with db.atomic():
        db.execute("UPDATE agents SET id = id WHERE id = ?", (arrival.agent,))  # the lock
        ruling = rule(_page(db, arrival))
        if isinstance(ruling, Taken):
            _write(db, arrival, ruling)
    return ruling


def _page(db: Database, arrival: Arrival) -> Page:
    """Gather what the books hold about an arrival."""
    agent, place = arrival.agent, arrival.place
    owner = first(db, "SELECT tenants, rejoining FROM agents WHERE id = ?", agent)
    key = _key(db, arrival.kid)
    if owner is None or key is None:
        return Page(frozenset(), KeyState.WITHDRAWN)
    twin = first(db, "SELECT receipt FROM records WHERE agent = ? AND sha256 = ?", agent, arrival.sha256)
    near = select(
        db,
        "SELECT id, sequence, sha256, previous_sha256 FROM records"
        " WHERE agent = ? AND chain = ? AND (id = ? OR sequence BETWEEN ? AND ?)",
        *(agent, place.chain, place.id, place.sequence - 1, place.sequence + 1),
    )
    at = {row["sequence"]: row for row in near}
    last = first(
        db, "SELECT max(sequence) AS last FROM records WHERE agent = ? AND chain = ?", agent, place.chain
    )
    return Page(
        tenants=frozenset(json.loads(owner["tenants"])),
        key=key.state,
        receipt=twin["receipt"] if twin else None,
        occupied=place.sequence in at or any(row["id"] == place.id for row in near),
        head=sqlite_reports.head(db, agent),
        last=last["last"] if last else None,
        before=at[place.sequence - 1]["sha256"] if place.sequence - 1 in at else None,
        after=at[place.sequence + 1]["previous_sha256"] if place.sequence + 1 in at else None,
        rejoining=bool(owner["rejoining"]),
        **_about(db, arrival),
    )


def _about(db: Database, arrival: Arrival) -> dict[str, Any]:
    """Gather what bears on the content."""
    record = arrival.record
    if isinstance(record, KeyChange):
        new_key = signature.public_key(record.data.new_key.model_dump())
        return {"new_key_known": _key(db, new_key.thumbprint) is not None}
    if not isinstance(record, UsageSummary):
        return {}
    counted = select(
        db,
        "SELECT revision, sha256 FROM summaries WHERE agent = ? AND tenant = ? AND period = ?"
        " AND kind != 'interim' ORDER BY revision",
        *(arrival.agent, record.data.tenant.id, record.data.period.name),
    )
    replaces = record.data.replaces
    return {
        "newest": counted[-1]["revision"] if counted else 0,
        "newest_sha256": counted[-1]["sha256"] if counted else None,
        "revision_counted": any(row["revision"] == record.data.revision for row in counted),
        "replaces_refused": replaces is not None
        and first(
            db,
            "SELECT 1 FROM records WHERE agent = ? AND sha256 = ? AND status = 'refused'",
            *(arrival.agent, replaces.sha256),
        )
        is not None,
    }


def _write(db: Database, arrival: Arrival, taken: Taken) -> None:
    """Write a record, its receipt, and everything that follows from it."""
    agent, place = arrival.agent, arrival.place
    opened = db.execute(
        "INSERT INTO chains (agent, id, number, starts_after, continues)"
        " VALUES (?, ?, (SELECT count(*) + 1 FROM chains WHERE agent = ?), ?, ?) ON CONFLICT DO NOTHING",
        (
            *(agent, place.chain, agent, place.sequence - 1),
            json.dumps(place.continues) if place.continues else None,
        ),
    ).rowcount
    db.execute(
        "INSERT INTO records (agent, chain, sequence, id, sha256, previous_sha256, status, reason, jws,"
        " receipt, taken_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(agent, place.chain, place.sequence, place.id, arrival.sha256, place.previous_sha256),
            *("counted" if taken.reason is None else "refused", taken.reason),
            *(arrival.token, taken.receipt, arrival.at),
        ),
    )
    db.execute("UPDATE agents SET rejoining = 0 WHERE id = ?", (agent,))
    if opened:
        db.execute("UPDATE agents SET chain = ? WHERE id = ?", (place.chain, agent))
    # A key ends when a newer one has signed, or when it has itself handed over.
    db.execute(
        "UPDATE keys SET state = 'superseded' WHERE agent = ? AND state = 'active'"
        " AND number < (SELECT number FROM keys WHERE thumbprint = ?)",
        (agent, arrival.kid),
    )
    if taken.new_key is not None:
        db.execute(
            "UPDATE keys SET state = 'superseded' WHERE thumbprint = ? AND state = 'active'", (arrival.kid,)
        )
        _know(db, agent, taken.new_key)
    if taken.reason is None and isinstance(arrival.record, UsageSummary):
        _summarise(db, arrival, arrival.record)


def _summarise(db: Database, arrival: Arrival, record: UsageSummary) -> None:
    """Keep what a counted summary states; of interims only the newest."""
    data, levels = record.data, record.data.levels
    of = (arrival.agent, data.tenant.id, data.period.name)
    as_of = instant(data.as_of)
    if data.kind == "interim":
        kept = first(
            db,
            "SELECT max(as_of) AS as_of FROM summaries WHERE agent = ? AND tenant = ? AND period = ?",
            *of,
        )
        if kept and kept["as_of"] is not None and kept["as_of"] > as_of:
            return
        db.execute(
            "DELETE FROM summaries WHERE agent = ? AND tenant = ? AND period = ? AND kind = 'interim'", of
        )
    db.execute(
        "INSERT INTO summaries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *of,
            *(data.kind, data.revision, arrival.sha256, as_of, data.capacity.basis, data.capacity.lines),
            *(levels.channels.peak, levels.calls.peak, levels.answered.peak, data.users.at_close),
            *(data.coverage.expected_ms, data.coverage.observed_ms),
        ),
    )
