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
from agent.sealing import Plan, facts_of
from agent.store import agreements, told
from agent.store.database import Database, Store
from agent.supervisor import Link
from connectors.connector import CallsTold
from connectors.errors import ConnectorError
from meter.account import Account
from meter.fold import Figures
from meter.model import Instant, Leg
from meter.periods import HOUR_MS
from meter.presence import FOREVER
from meter.summary import state
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
        plan: How this agent watches and seals.
        contracts, calendars: The tenants of the configuration.
        tenancy: Whose a leg is.
        sampling: The live figures, which are taken anew.
        load: Makes a tenant's account from the ledger.
        store, clock: Where it goes, and when it is.
    """

    def __init__(
        self,
        links: Sequence[Link],
        plan: Plan,
        contracts: Mapping[str, Contract],
        calendars: Mapping[str, Calendar],
        tenancy: Tenancy,
        sampling: Sampling,
        load: Callable[[Database, str], Account],
        store: Store,
        clock: Clock,
    ) -> None:
        self._links = links
        self._plan = plan
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
        fresh = await self._store.write(lambda db: self._tell(db, pbx, found))
        self._until[pbx] = max(found.end, self._until[pbx] or 0)
        if not fresh:
            return
        log.info("calllog.told", pbx=pbx, source=found.source, legs=len(fresh))
        tenants = {leg.tenant for leg in fresh if leg.tenant in self._contracts}
        owners = [tenant for tenant in tenants if tenant is not None]
        await self._sampling.reload(owners, self._load)
        await self._judge(owners, min(leg.start for leg in fresh), found, now)

    async def _judge(self, tenants: Sequence[str], since: Instant, found: CallsTold, now: Instant) -> None:
        """Judge what was told: of the running period, and of the one before if this tells of its close."""
        self._sampling.judge_late({t: self._sampling.view(t, now) for t in tenants}, since)
        for tenant in tenants:
            start = self._calendars[tenant].at(now).start
            if max(found.start, since) < start:
                closed = await self._store.fold(partial(self._closed, tenant=tenant, end=start))
                if closed is not None:
                    self._sampling.judge_late({tenant: closed}, since)

    def _closed(self, db: Database, tenant: str, end: Instant) -> Figures | None:
        """Return the figures of the period that ended at an instant, as the ledger has them now."""
        period = next((p for p in agreements.periods(db, tenant) if p.end == end), None)
        if period is None:
            return None
        facts, tz = facts_of(db, tenant, period.start, period.end, self._plan)
        return state(facts, period, period.end, tz).figures

    def _tell(self, db: Database, pbx: str, found: CallsTold) -> list[Leg]:
        """Lay what is told beside what polls saw, in one transaction; return what was not told before."""
        rows = [
            judged(one, pbx, self._tenancy)
            for one in found.legs
            if not told.is_known(db, pbx, one.leg, one.start)
        ]
        first = told.next_row(db)
        legs = [replace(leg, row=first - number) for number, leg in enumerate(filter(None, rows))]
        late_ms = LATE_INTERVALS * (self._plan.sampling[pbx].interval_ms or 0)
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
        told.tell(db, beside.legs, beside.seen_as, self._clock.now())
        told.cover(db, pbx, found.source, found.start, found.end)
        return list(beside.legs)
