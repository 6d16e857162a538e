"""Reads the extension lists: who is a user of whom, every six hours and before a period closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from agent.clock import Clock
from agent.contracts import Calendar, Contract
from agent.store import readings
from agent.store.database import Database, Store
from agent.supervisor import Link
from connectors.connector import ExtensionList
from connectors.errors import ConnectorError
from meter.model import Instant, Reading
from meter.periods import HOUR_MS
from meter.tenancy import Tenancy

log = structlog.get_logger(__name__)

#: A reading that failed is tried again after so long, in ms.
RETRY_MS = 5 * 60_000


@dataclass(frozen=True, slots=True)
class Unread:
    """Readings of one PBX that fail: since when without a good one between them, the last reason, and how often it is read."""

    since: Instant
    why: ConnectorError
    every_ms: int


class ExtensionReading:
    """Reads the extensions of every PBX when they are due.

    Args:
        links: The PBXs.
        contracts, calendars: The tenants of the configuration.
        tenancy: Whose an extension is.
        every_ms: How often each PBX is read.
        store, clock: Where readings go, and when it is.

    Attributes:
        unread: The PBXs whose last reading failed.
    """

    def __init__(
        self,
        links: Sequence[Link],
        contracts: Mapping[str, Contract],
        calendars: Mapping[str, Calendar],
        tenancy: Tenancy,
        every_ms: Mapping[str, int],
        store: Store,
        clock: Clock,
    ) -> None:
        self.unread: dict[str, Unread] = {}
        self._links = links
        self._contracts = contracts
        self._calendars = calendars
        self._tenancy = tenancy
        self._every_ms = every_ms
        self._store = store
        self._clock = clock
        self._read_at: dict[str, Instant] = {}
        self._tried_at: dict[str, Instant] = {}
        self._said: dict[str, str] = {}

    async def read_due(self) -> None:
        """Read every PBX that is due and whose link works."""
        for link in self._links:
            name, now = link.connector.name, self._clock.now()
            tried_at = self._tried_at.get(name)
            if not link.up or not self._is_due(name, now) or (tried_at and now - tried_at < RETRY_MS):
                continue
            self._tried_at[name] = now
            await self._read(link)

    def _is_due(self, name: str, now: Instant) -> bool:
        read_at = self._read_at.get(name)
        if read_at is None or now - read_at >= self._every_ms[name]:
            return True
        for contract in self._contracts.values():
            if name in contract.terms.user_pbxs:
                period = self._calendars[contract.tenant].at(now)
                if read_at < max(period.start, period.end - HOUR_MS) <= now:
                    return True
        return False

    async def _read(self, link: Link) -> None:
        name = link.connector.name
        try:
            found = await link.connector.read_extensions()
        except ConnectorError as error:
            if self._said.get(name) != str(error):
                log.warning("extensions.unread", pbx=name, error=str(error), hint=error.hint)
            self._said[name] = str(error)
            at = self._clock.now()
            failed = [Reading(name, tenant, at, None, "") for tenant in self._tenants_on(name)]
            since = await self._store.write(lambda db: _keep_failed(db, name, failed))
            self.unread[name] = Unread(since, error, self._every_ms[name])
            return
        await self._store.write(lambda db: self._keep(db, name, found))
        self._read_at[name] = found.at
        self._tried_at.pop(name, None)
        self._said.pop(name, None)
        self.unread.pop(name, None)

    def was_read(self, name: str) -> bool:
        """Return whether the extensions of a PBX were tried since the start, well or not."""
        return name in self._read_at or name in self.unread

    def _tenants_on(self, pbx: str) -> list[str | None]:
        return [c.tenant for c in self._contracts.values() if pbx in c.terms.user_pbxs] + [None]

    def _keep(self, db: Database, pbx: str, found: ExtensionList) -> None:
        """Count the list per tenant, compare it with the last one of its source, and keep it."""
        owners = {
            self._tenancy.redacted(extension.number): self._tenancy.user_of(
                pbx, extension.number, extension.departments
            )
            for extension in found.extensions
            if self._tenancy.is_billed(pbx, extension.endpoint)
        }
        before = readings.extensions(db, pbx, found.source)
        first = not before
        counted = []
        for tenant in self._tenants_on(pbx):
            now = {number for number, owner in owners.items() if owner == tenant}
            then = {number for number, owner in before.items() if owner == tenant}
            counted.append(
                Reading(
                    pbx=pbx,
                    tenant=tenant,
                    at=found.at,
                    count=len(now),
                    source=found.source,
                    created=0 if first else len(now - then),
                    removed=0 if first else len(then - now),
                    pbx_own_count=found.pbx_own_count,
                )
            )
        readings.read(db, counted)
        readings.replace_extensions(db, pbx, found.source, owners)
        log.info("extensions.read", pbx=pbx, source=found.source, users=len(owners))


def _keep_failed(db: Database, pbx: str, failed: Sequence[Reading]) -> Instant:
    """Keep readings that failed; return since when they do."""
    readings.read(db, failed)
    since = readings.unread_since(db, pbx)
    return failed[-1].at if since is None else since
