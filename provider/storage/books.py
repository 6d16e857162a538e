"""The books (see `provider.books`) in a database. Each method is one transaction; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy.exc import OperationalError

from meter.model import Instant
from meter.signature import PublicKey
from provider.books import Arrival, BooksUnusable, Invited, Known, Page, Ruling
from provider.statements import AgentRow, Audit, Head, RecordRow, SeriesRow, SummaryRow
from provider.storage import auditing, enrolling, reading, rebuilding, taking
from provider.storage.database import Store
from provider.storage.gathering import Gathering

_Taking: TypeAlias = tuple[Arrival, Callable[[Page], Ruling]]


class StoredBooks:
    """Books (see `provider.books`) in one database. Made by `open_storage`."""

    def __init__(self, database: Store) -> None:
        self._database = database
        self._keys: Gathering[str, Known | None] = Gathering(
            lambda asked: database.beside(_keys, database, asked), name=str
        )
        self._taking: Gathering[_Taking, Ruling] = Gathering(
            lambda asked: database.alone(_taken, database, asked), name=lambda one: one[0].agent
        )

    async def invite(self, token_sha256: str, invited: Invited) -> None:
        """See `Books.invite`."""
        await self._database.write(enrolling.invite, token_sha256, invited)

    async def enrol(
        self,
        token_sha256: str,
        key: PublicKey,
        at: Instant,
        rule: Callable[[Invited | None, Known | None], str | None],
    ) -> str | None:
        """See `Books.enrol`."""
        return await self._database.write(enrolling.enrol, token_sha256, key, at, rule)

    async def key(self, thumbprint: str) -> Known | None:
        """See `Books.key`."""
        return await self._keys.ask(thumbprint)

    async def withdraw(
        self, agent: str, thumbprint: str | None = None, *, at: Instant | None = None
    ) -> Sequence[str]:
        """See `Books.withdraw`."""
        return await self._database.write(enrolling.withdraw, agent, thumbprint, at)

    async def take(self, arrival: Arrival, rule: Callable[[Page], Ruling]) -> Ruling:
        """See `Books.take`."""
        return await self._taking.ask((arrival, rule))

    async def head(self, agent: str) -> Head | None:
        """See `Books.head`."""
        return await self._database.read(reading.head, agent)

    async def agents(self) -> Sequence[AgentRow]:
        """See `Books.agents`."""
        return await self._database.read(reading.all_agents)

    async def summaries(
        self,
        *,
        agent: str | None = None,
        tenant: str | None = None,
        period: str | None = None,
        every: bool = False,
    ) -> Sequence[SummaryRow]:
        """See `Books.summaries`."""
        return await self._database.read(reading.newest, agent, tenant, period, every=every)

    async def interims(self, *, period: str | None = None) -> Sequence[SummaryRow]:
        """See `Books.interims`."""
        return await self._database.read(reading.interims, period)

    async def series(
        self, start: Instant, end: Instant, *, of: Sequence[tuple[str, str]] | None = None
    ) -> Sequence[SeriesRow]:
        """See `Books.series`."""
        return await self._database.read(reading.series, start, end, of)

    async def records(self, agent: str) -> Sequence[RecordRow]:
        """See `Books.records`."""
        return await self._database.read(reading.taken, agent)

    async def signed(self, of: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """See `Books.signed`."""
        return await self._database.read(reading.signed, of)

    async def rebuild(self) -> int:
        """Make everything derived again from the signed records; return how many rows there are.

        Records are taken meanwhile: it is one transaction an agent.
        """
        rows = 0
        for agent in await self._database.read(rebuilding.agents_of):
            rows += await self._database.write(rebuilding.rebuild, agent)
        await self._database.write(rebuilding.is_fresh)
        return rows

    async def audit(self, receiver: PublicKey) -> Audit:
        """See `Books.audit`."""
        return await auditing.audit(self._database, receiver)


def _keys(database: Store, asked: Sequence[str]) -> Sequence[Known | Exception | None]:
    found = database.read_now(enrolling.all_known, asked)
    return [found.get(thumbprint) for thumbprint in asked]


def _taken(database: Store, asked: Sequence[_Taking]) -> Sequence[Ruling | Exception]:
    """Take records together; if the database refuses that, each by itself, so that none suffers for another."""
    try:
        return database.write_now(taking.take, asked)
    except BooksUnusable as error:
        if len(asked) == 1 or isinstance(error.__cause__, OperationalError):
            return [error] * len(asked)
    return [outcome for one in asked for outcome in _taken(database, [one])]
