"""Loop: the call records that polled PBXs keep themselves -> ledger.

Polls miss what is shorter than their interval; the PBX's own records tell it, once the
call has ended. They are laid beside what the polls saw, never in its place, and every
figure of the period is taken anew. Before a period closes they are asked for what ended
in it; a final waits for them, but not for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from agent.clock import Clock
from agent.contracts import Calendar, Contract
from agent.sampling import Sampling
from agent.store import told
from agent.store.database import Database, Store
from agent.supervisor import Link
from connectors.connector import CallsTold
from connectors.errors import ConnectorError
from meter.account import Account
from meter.model import Instant, Leg
from meter.periods import HOUR_MS
from meter.presence import FOREVER
from meter.telling import telling
from meter.tenancy import Tenancy
from meter.witness import judged

log = structlog.get_logger(__name__)

#: A final waits at most so long for call records that don't come, in ms.
PATIENCE_MS: Final = 2 * HOUR_MS
#: A poll may see a change so many intervals late before there is a gap.
LATE_INTERVALS: Final = 3


class CallLog:
    """Reads the call records of every PBX that keeps some.

    Args:
        links: The PBXs that are not followed by events.
        intervals_ms: How far apart their polls are; 0: there are none.
        contracts, calendars: The tenants of the configuration.
        tenancy: Whose a leg is.
        sampling: The live figures, which are taken anew.
        load: Makes a tenant's account from the ledger.
        store, clock: Where it goes, and when it is.
    """

    def __init__(
        self,
        links: Sequence[Link],
        intervals_ms: Mapping[str, int],
        contracts: Mapping[str, Contract],
        calendars: Mapping[str, Calendar],
        tenancy: Tenancy,
        sampling: Sampling,
        load: Callable[[Database, str], Account],
        store: Store,
        clock: Clock,
    ) -> None:
        self._links = links
        self._intervals_ms = intervals_ms
        self._contracts = contracts
        self._calendars = calendars
        self._tenancy = tenancy
        self._sampling = sampling
        self._load = load
        self._store = store
        self._clock = clock
        self._until: dict[str, Instant | None] = {}
        self._trouble: dict[str, str] = {}

    def known_up_to(self, tenant: str) -> Instant:
        """Return up to when call records told everything of a tenant; FOREVER where none are to be had."""
        now = self._clock.now()
        pbxs = self._contracts[tenant].terms.pbxs
        known = [until for pbx in pbxs if (until := self._until.get(pbx)) is not None]
        return min((until for until in known if now - until < PATIENCE_MS), default=FOREVER)

    async def read_due(self) -> None:
        """Read what every PBX has to tell by now."""
        for link in self._links:
            name = link.connector.name
            if name not in self._until:
                self._until[name] = await self._store.read(partial(told.told_until, pbx=name))
            if link.up:
                await self._read(link)

    async def _read(self, link: Link) -> None:
        name = link.connector.name
        until = self._until[name]
        try:
            found = await link.connector.read_calls(until, soon=self._period_waits(name, until))
        except ConnectorError as error:
            if self._trouble.get(name) != str(error):
                log.warning("calllog.unread", pbx=name, error=str(error), hint=error.hint)
            self._trouble[name] = str(error)
            return
        self._trouble.pop(name, None)
        if found is not None:
            await self._merge(name, found)

    def _period_waits(self, pbx: str, until: Instant | None) -> bool:
        """Return whether a period ended that what was told does not reach."""
        now = self._clock.now()
        return until is not None and any(
            until < self._calendars[contract.tenant].at(now).start
            for contract in self._contracts.values()
            if pbx in contract.terms.pbxs
        )

    async def _merge(self, pbx: str, found: CallsTold) -> None:
        now = self._clock.now()
        await (
            self._sampling.commit()
        )  # what polls saw of these calls is in the ledger before they are compared
        fresh = await self._store.write(lambda db: self._tell(db, pbx, found, now))
        self._until[pbx] = max(found.end, self._until[pbx] or 0)
        if not fresh:
            return
        log.info("calllog.told", pbx=pbx, source=found.source, legs=len(fresh))
        tenants = {leg.tenant for leg in fresh if leg.tenant in self._contracts}
        owners = [tenant for tenant in tenants if tenant is not None]
        await self._sampling.reload(owners, self._load)
        self._sampling.judge_late(owners, min(leg.start for leg in fresh))

    def _tell(self, db: Database, pbx: str, found: CallsTold, now: Instant) -> list[Leg]:
        """Lay what is told beside what polls saw, in one transaction; return what was not told before."""
        known = told.known(db, pbx, {one.leg for one in found.legs})
        rows = [judged(one, pbx, self._tenancy) for one in found.legs if one.leg not in known]
        first = told.next_row(db)
        legs = [replace(leg, row=first - number) for number, leg in enumerate(filter(None, rows))]
        late_ms = LATE_INTERVALS * self._intervals_ms.get(pbx, 0)
        beside = telling(
            told.untold(
                db,
                pbx,
                min((leg.start for leg in legs), default=found.start) - late_ms,
                found.end + late_ms,
            ),
            legs,
            late_ms,
        )
        told.tell(db, beside.legs, beside.seen_as, now)
        told.cover(db, pbx, found.source, found.start, found.end)
        return list(beside.legs)
