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
from agent.store import agreements, notices, told
from agent.store.database import Database, Store
from agent.supervisor import Link
from connectors.connector import CallsTold
from connectors.errors import ConnectorError
from meter.account import Account
from meter.fold import Figures
from meter.model import Instant, Leg
from meter.periods import HOUR_MS, period_of
from meter.presence import FOREVER
from meter.summary import state
from meter.telling import SLACK_MS, telling
from meter.tenancy import Tenancy
from meter.witness import judged

log = structlog.get_logger(__name__)

#: A final waits at most so long for call records that don't come, in ms.
PATIENCE_MS: Final = 2 * HOUR_MS
#: Call records that can't be read are asked for again after growing waits, in ms.
FIRST_WAIT_MS: Final = 5_000
LONGEST_WAIT_MS: Final = 5 * 60_000
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
        self._waits_ms: dict[str, int] = {}
        self._again_at: dict[str, int] = {}

    def known_up_to(self, tenant: str) -> Instant:
        """Return up to when call records told everything of a tenant; FOREVER where none are to be had."""
        now = self._clock.now()
        pbxs = self._contracts[tenant].terms.pbxs
        known = [until for pbx in pbxs if (until := self._until.get(pbx)) is not None]
        return min((until for until in known if now - until < PATIENCE_MS), default=FOREVER)

    async def load(self) -> None:
        """Find out up to when everything was told before. To be called before anything is sealed."""
        for link in self._links:
            name = link.connector.name
            self._until[name] = await self._store.read(partial(told.told_until, pbx=name))

    def begin(self, until: Mapping[str, Instant | None]) -> None:
        """Take up to when everything was told of each PBX, instead of `load`."""
        self._until = {link.connector.name: until[link.connector.name] for link in self._links}

    async def read_due(self) -> None:
        """Read what every PBX has to tell by now."""
        for link in self._links:
            if link.up and self._clock.boot() >= self._again_at.get(link.connector.name, 0):
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
            wait_ms = self._waits_ms[name] = min(LONGEST_WAIT_MS, 2 * self._waits_ms.get(name, FIRST_WAIT_MS))
            self._again_at[name] = self._clock.boot() + wait_ms
            return
        self._trouble.pop(name, None)
        self._waits_ms.pop(name, None)
        if found is not None:
            await self._merge(name, found)

    def _period_waits(self, pbx: str, until: Instant | None) -> bool:
        """Return whether a period, or a day, ended that what was told does not reach."""
        now = self._clock.now()
        return until is not None and any(
            until
            < max(self._calendars[contract.tenant].at(now).start, period_of(now, "day", contract.tz).start)
            for contract in self._contracts.values()
            if pbx in contract.terms.pbxs
        )

    async def _merge(self, pbx: str, found: CallsTold) -> None:
        now = self._clock.now()
        found = self._seen_to_end(pbx, found)
        if found.end <= found.start:
            return
        await self._sampling.commit()  # what polls saw of these calls comes before they are compared
        fresh, owners = await self._store.write(lambda db: self._tell(db, pbx, found))
        self._until[pbx] = max(found.end, self._until[pbx] or 0)
        if not fresh:
            return
        log.info("calllog.told", pbx=pbx, source=found.source, legs=len(fresh))
        await self._sampling.reload(owners, self._load)
        await self._judge(owners, min(leg.start for leg in fresh), found, now)

    def _seen_to_end(self, pbx: str, found: CallsTold) -> CallsTold:
        """Return what is told of calls whose end the polls have seen too; the rest is told again later.

        A call that the polls still show could not be found among the legs that they saw end.
        """
        interval_ms = self._plan.sampling[pbx].interval_ms
        if interval_ms is None:
            return found
        late_ms = LATE_INTERVALS * interval_ms + SLACK_MS[found.source]
        polled_at = self._sampling.levels.pbxs[pbx].doubted_at
        end = min(found.end, self._clock.now() - late_ms, polled_at - SLACK_MS[found.source])
        legs = tuple(leg for leg in found.legs if leg.end < end)
        return replace(found, end=max(end, found.start), legs=legs)

    async def _judge(self, tenants: Sequence[str], since: Instant, found: CallsTold, now: Instant) -> None:
        """Judge what was told: of the running period, and of the one before if this tells of its close."""
        for tenant in tenants:
            self._sampling.judge_late(tenant, self._sampling.view(tenant, now), since)
            start = self._calendars[tenant].at(now).start
            if max(found.start, since) < start:
                closed = await self._store.fold(partial(self._closed, tenant=tenant, end=start))
                if closed is not None:
                    self._sampling.judge_late(tenant, closed[0], since, closed[1])

    def _closed(self, db: Database, tenant: str, end: Instant) -> tuple[Figures, Instant | None] | None:
        """Return the figures of the period that ended at an instant, and when its last over notice was."""
        period = next((p for p in agreements.periods(db, tenant) if p.end == end), None)
        if period is None:
            return None
        facts, tz = facts_of(db, tenant, period.start, period.end, self._plan)
        figures = state(facts, period, period.end, tz).figures
        return figures, notices.last_over(db, tenant, period.name)

    def _tell(self, db: Database, pbx: str, found: CallsTold) -> tuple[list[Leg], list[str]]:
        """Lay what is told beside what polls saw, in one transaction.

        Returns:
            What was not told before, and the tenants whose figures it changes.
        """
        once = {(one.leg, one.start): one for one in found.legs}.values()  # a line may come twice
        rows = [
            judged(one, pbx, self._tenancy) for one in once if not told.is_known(db, pbx, one.leg, one.start)
        ]
        first = told.next_row(db)
        legs = [replace(leg, row=first - number) for number, leg in enumerate(filter(None, rows))]
        late_ms = LATE_INTERVALS * (self._plan.sampling[pbx].interval_ms or 0)
        since = min((leg.start for leg in legs), default=found.start) - late_ms
        polled = told.untold(db, pbx, since, found.end + late_ms)
        beside = telling(polled, legs, late_ms, SLACK_MS[found.source])
        told.tell(db, beside.legs, beside.seen_as, self._clock.now())
        told.cover(db, pbx, found.source, found.start, found.end)
        owners = {leg.tenant for leg in beside.legs}
        owners |= {leg.tenant for leg in polled if leg.row in beside.seen_as}
        return list(beside.legs), sorted(t for t in owners if t is not None and t in self._contracts)
